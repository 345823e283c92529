//! Stands in for `paceline_sim::engine` until that is there, by the same names: one limit of a
//! server, in the shapes that servers have.
//!
//! The real one replaces it whole: this file goes, and whoever uses it names the other. Invariant:
//! a call is judged by what has been counted, never by what is to come.

use std::collections::VecDeque;
use std::time::Duration;

use paceline_core::Instant;

use super::workload::{real, whole};

/// How a server's count forgets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    /// An exact log of the last window.
    Sliding,
    /// From zero at every full window of the clock.
    Aligned,
    /// The present aligned window, and of the one before what has not slid out.
    TwoCounter,
    /// A bucket of so much, refilled at the limit a window.
    Bucket {
        /// What it holds at most.
        capacity: u64,
    },
}

/// When a call is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    /// All of it when it arrives.
    Arrival,
    /// All of it when it is over; its input is looked at when it arrives.
    Completion,
    /// What it could use when it arrives, cut to what it used when it is over.
    Held,
}

/// One limit and how it is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    limit: u64,
    window: Duration,
    shape: Shape,
    charge: Charge,
}

/// What arrives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) input: u64,
    pub(super) total: u64,
    /// What it could use.
    pub(super) most: u64,
}

/// A call that was admitted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    arrived: Instant,
    ask: Ask,
}

/// A call that was refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exceeded;

/// The running count of one limit.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    rule: Rule,
    /// What was counted and when, as far as the shape looks back.
    log: VecDeque<(Instant, u64)>,
    sum: u64,
    /// What a bucket lacks, in tokens, and when that was so.
    lacks: f64,
    at: Instant,
    peak: u64,
}

impl Rule {
    pub(super) const fn new(limit: u64, window: Duration, shape: Shape, charge: Charge) -> Self {
        Self { limit, window, shape, charge }
    }
}

impl Meter {
    pub(super) const fn new(rule: Rule) -> Self {
        let log = VecDeque::new();
        Self { rule, log, sum: 0, lacks: 0.0, at: Instant::ORIGIN, peak: 0 }
    }

    /// Admits a call that arrives, or refuses it.
    pub(super) fn arrive(&mut self, ask: Ask, now: Instant) -> Result<Call, Exceeded> {
        let (judged, counted) = match self.rule.charge {
            Charge::Arrival => (ask.total, ask.total),
            Charge::Completion => (ask.input, 0),
            Charge::Held => (ask.most, ask.most),
        };
        let (most, judged) = match self.rule.shape {
            // More than it holds is let in when it is full.
            Shape::Bucket { capacity } => (capacity, judged.min(capacity)),
            _ => (self.rule.limit, judged),
        };
        if self.used(now) + judged > most {
            return Err(Exceeded);
        }
        if counted > 0 {
            self.count(counted, now);
        }
        Ok(Call { arrived: now, ask })
    }

    /// A call is over.
    pub(super) fn complete(&mut self, call: Call, now: Instant) -> bool {
        match self.rule.charge {
            Charge::Arrival => {}
            Charge::Completion => self.count(call.ask.total, now),
            Charge::Held => {
                let back = call.ask.most - call.ask.total;
                let place = self.log.partition_point(|(at, _)| *at < call.arrived);
                let held = self.log.get_mut(place);
                let held = held.filter(|(at, amount)| *at == call.arrived && *amount >= back);
                if let Some((_, amount)) = held {
                    *amount -= back;
                    self.sum -= back;
                }
            }
        }
        true
    }

    /// Counts something, whatever that makes.
    pub(super) fn count(&mut self, amount: u64, now: Instant) {
        self.forget(now);
        self.lacks += real(amount);
        self.log.push_back((now, amount));
        self.sum += amount;
        self.peak = self.peak.max(self.used(now));
    }

    /// What is counted now; what a bucket lacks.
    pub(super) fn used(&mut self, now: Instant) -> u64 {
        self.forget(now);
        match self.rule.shape {
            Shape::Sliding | Shape::Aligned => self.sum,
            Shape::TwoCounter => {
                let start = self.start(now);
                let present = self.log.iter().rev().take_while(|(at, _)| *at >= start);
                let present: u64 = present.map(|(_, amount)| amount).sum();
                let slid = now.since(start).as_secs_f64() / self.rule.window.as_secs_f64();
                present + whole(real(self.sum - present) * (1.0 - slid))
            }
            Shape::Bucket { .. } => whole(self.lacks),
        }
    }

    pub(super) fn remaining(&mut self, now: Instant) -> u64 {
        let used = self.used(now);
        self.rule.limit.saturating_sub(used)
    }

    /// The most that was ever counted at once.
    pub(super) const fn peak(&self) -> u64 {
        self.peak
    }

    pub(super) fn set_limit(&mut self, limit: u64, now: Instant) {
        self.forget(now);
        self.rule.limit = limit;
    }

    fn forget(&mut self, now: Instant) {
        let window = self.rule.window;
        let rate = real(self.rule.limit) / window.as_secs_f64();
        self.lacks = (self.lacks - now.since(self.at).as_secs_f64() * rate).max(0.0);
        self.at = now;
        let start = self.start(now);
        let is_old = |at: Instant| match self.rule.shape {
            Shape::Sliding => at + window <= now,
            Shape::Aligned => at < start,
            Shape::TwoCounter => at + window < start,
            Shape::Bucket { .. } => true,
        };
        while let Some((_, amount)) = self.log.front().filter(|(at, _)| is_old(*at)) {
            self.sum -= amount;
            self.log.pop_front();
        }
    }

    /// When the present aligned window began.
    fn start(&self, now: Instant) -> Instant {
        let window = self.rule.window.as_nanos().max(1);
        let since = u128::from(now.as_nanos()) % window;
        now - Duration::from_nanos(u64::try_from(since).unwrap_or(0))
    }
}

/// Every shape that is known, by name.
pub(super) fn shapes(limit: u64, window: Duration) -> Vec<(&'static str, Rule)> {
    use Charge::{Arrival, Completion, Held};
    use Shape::{Aligned, Bucket, Sliding, TwoCounter};
    let part = |of: u64| Bucket { capacity: limit / of };
    [
        ("sliding, completion", Sliding, Completion),
        ("sliding, arrival", Sliding, Arrival),
        ("aligned, completion", Aligned, Completion),
        ("aligned, arrival", Aligned, Arrival),
        ("two counters, completion", TwoCounter, Completion),
        ("two counters, arrival", TwoCounter, Arrival),
        ("bucket L, completion", part(1), Completion),
        ("bucket L, arrival", part(1), Arrival),
        ("bucket L/4, completion", part(4), Completion),
        ("bucket L/4, arrival", part(4), Arrival),
        ("bucket L/60, completion", part(60), Completion),
        ("bucket L/60, arrival", part(60), Arrival),
        ("held", Sliding, Held),
    ]
    .map(|(name, shape, charge)| (name, Rule::new(limit, window, shape, charge)))
    .into()
}
