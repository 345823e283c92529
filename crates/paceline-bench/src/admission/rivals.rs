//! What ours is compared with: a token bucket that settles, and an oracle.
//!
//! Neither is meant to be used. Invariant: the bucket knows what ours knows; the oracle knows
//! everything and never lets a window pass the limit.

use std::collections::VecDeque;
use std::time::Duration;

use paceline_core::Instant;

use super::gate::{Gate, Refused};
use super::workload::{Call, Known, real, seconds, whole};
use super::world::WINDOW;

/// A token bucket as most clients have it: a burst of the limit, refilled at the limit a window,
/// charged with what is expected and settled to what was used. A refused call comes again after
/// half a second, doubling to 8 s.
#[derive(Debug)]
pub(super) struct Bucket {
    limit: f64,
    level: f64,
    at: Instant,
    known: [Known; 3],
}

/// Knows every call whole, and admits the next one as soon as no window passes the limit.
#[derive(Debug)]
pub(super) struct Oracle {
    limit: u64,
    /// When calls are counted and how much, in order.
    counts: VecDeque<(u64, u64)>,
    /// When the call that waits leaves, by its number.
    planned: Option<(u64, u64)>,
}

impl Bucket {
    pub(super) fn new(limit: u64, known: [Known; 3]) -> Self {
        Self { limit: real(limit), level: real(limit), at: Instant::ORIGIN, known }
    }

    fn expected(&self, call: &Call) -> f64 {
        real(call.estimate) + self.known[call.class.index()].output
    }
}

impl Gate for Bucket {
    type Pass = ();

    fn ask(&mut self, _: u64, call: &Call, now: Instant) -> Result<(), Option<Instant>> {
        let rate = self.limit / real(WINDOW);
        let passed = real(now.as_nanos() - self.at.as_nanos());
        self.level = (self.level + passed * rate).min(self.limit);
        self.at = now;
        let expected = self.expected(call);
        let missing = expected.min(self.limit) - self.level;
        if missing > 0.0 {
            let wait = whole((missing / rate).ceil()).max(1);
            return Err(Some(now + Duration::from_nanos(wait)));
        }
        self.level -= expected;
        Ok(())
    }

    fn settle(&mut self, (): (), call: &Call, _: Instant, _: Instant) {
        let back = self.expected(call) - real(call.total());
        self.level = (self.level + back).min(self.limit);
    }

    fn refused(&mut self, (): (), call: &Call, refusal: &Refused, _: Instant) -> Duration {
        self.level = (self.level + self.expected(call)).min(self.limit);
        let doubled = 0.5 * real(1 << (refusal.tries - 1).min(4));
        Duration::from_nanos(seconds(doubled * (1.0 - 0.25 * refusal.chance)))
    }
}

impl Oracle {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, counts: VecDeque::new(), planned: None }
    }

    /// The first moment from `now` on at which the call can leave.
    fn leaves(&self, call: &Call, now: u64) -> u64 {
        let mut leaves = now;
        loop {
            let ends = self.fits(call.total(), leaves + call.there + call.latency);
            let arrives = self.below(call.input, ends - call.latency);
            let later = arrives - call.there;
            if arrives + call.latency == ends {
                return later;
            }
            leaves = later;
        }
    }

    /// The first moment from `from` on at which so much can be counted.
    fn fits(&self, amount: u64, from: u64) -> u64 {
        let mut candidate = from;
        self.walk(from, |begins, ends, counted| {
            if begins >= candidate + WINDOW {
                return false;
            }
            if counted + amount > self.limit {
                candidate = ends;
            }
            true
        });
        candidate
    }

    /// The first moment from `from` on at which so much is left.
    fn below(&self, amount: u64, from: u64) -> u64 {
        let mut candidate = from;
        self.walk(from, |_, ends, counted| {
            let over = counted + amount > self.limit;
            if over {
                candidate = ends;
            }
            over
        });
        candidate
    }

    /// Shows what is counted in the window from `from` on, stretch by stretch, as long as `more`.
    fn walk(&self, from: u64, mut more: impl FnMut(u64, u64, u64) -> bool) {
        let enters = self.counts.partition_point(|(at, _)| *at <= from);
        let leaves = self.counts.partition_point(|(at, _)| *at + WINDOW <= from);
        let mut counted: u64 = self.counts.range(leaves..enters).map(|(_, amount)| amount).sum();
        let (mut enters, mut leaves, mut begins) = (enters, leaves, from);
        loop {
            let up = self.counts.get(enters);
            let Some(down) = self.counts.get(leaves) else { return };
            let (at, ends) = (down.0 + WINDOW, up.map_or(u64::MAX, |up| up.0));
            if !more(begins, at.min(ends), counted) {
                return;
            }
            begins = at.min(ends);
            if at <= ends {
                counted -= down.1;
                leaves += 1;
            } else if let Some(up) = up {
                counted += up.1;
                enters += 1;
            }
        }
    }
}

impl Gate for Oracle {
    type Pass = ();

    fn ask(&mut self, number: u64, call: &Call, now: Instant) -> Result<(), Option<Instant>> {
        let now = now.as_nanos();
        let leaves = match self.planned {
            Some((planned, leaves)) if planned == number => leaves,
            _ => self.leaves(call, now),
        };
        self.planned = Some((number, leaves));
        if leaves > now {
            return Err(Some(Instant::from_nanos(leaves)));
        }
        while self.counts.front().is_some_and(|(at, _)| at + WINDOW <= now) {
            self.counts.pop_front();
        }
        let ends = now + call.there + call.latency;
        let place = self.counts.partition_point(|(at, _)| *at <= ends);
        self.counts.insert(place, (ends, call.total()));
        Ok(())
    }

    fn settle(&mut self, (): (), _: &Call, _: Instant, _: Instant) {}

    fn refused(&mut self, (): (), _: &Call, _: &Refused, _: Instant) -> Duration {
        Duration::from_secs(1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::workload::{Class, SECOND};
    use super::*;

    fn call(output: u64, latency: u64) -> Call {
        let class = Class::Short;
        let latency = latency * SECOND;
        Call { class, input: 0, output, estimate: 0, first: 0, latency, there: 0, back: 0 }
    }

    #[track_caller]
    fn check(oracle: &mut Oracle, number: u64, call: &Call, asked: u64, leaves: u64) {
        let at = |second: u64| Instant::from_nanos(second * SECOND);
        if leaves > asked {
            assert_eq!(oracle.ask(number, call, at(asked)), Err(Some(at(leaves))));
        }
        assert_eq!(oracle.ask(number, call, at(leaves)), Ok(()));
    }

    #[test]
    fn the_oracle_waits_until_no_window_is_passed_and_no_longer() {
        let mut oracle = Oracle::new(100);
        check(&mut oracle, 1, &call(60, 10), 0, 0);
        check(&mut oracle, 2, &call(40, 70), 0, 0);
        // At 10 there are 60, at 70 only the 40 of the second, which leave at 130.
        check(&mut oracle, 3, &call(60, 5), 0, 65);
        check(&mut oracle, 4, &call(1, 5), 65, 125);
    }

    #[test]
    fn the_oracle_is_not_refused_for_the_input_either() {
        let mut oracle = Oracle::new(100);
        check(&mut oracle, 1, &call(100, 10), 0, 0);
        // It could end at 70 and so leave at 60, but the window is full until 70.
        check(&mut oracle, 2, &Call { input: 10, ..call(10, 10) }, 0, 70);
    }
}
