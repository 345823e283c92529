//! How a call ends at one limit: what it had reserved is let go of, and what it used is counted.
//!
//! Invariant: the short way leaves exactly what the long way leaves.

use paceline_core::Instant;

use super::{Charge, Counts, End, HELD, LimitState};

impl LimitState {
    /// The call is over. `left`: when it left, where that was never told.
    ///
    /// Most calls end where nothing has moved since they were admitted: their amount is let go of
    /// and counted in one step.
    #[inline]
    pub(crate) fn end(
        &mut self,
        charge: &mut Charge,
        left: Option<Instant>,
        end: End,
        now: Instant,
    ) {
        if now.as_nanos() >= self.quick_until || charge.stamp_ns != HELD {
            return self.end_otherwise(charge, left, end, now);
        }
        let used = match (end.actual, &mut self.pacer) {
            (Some(actual), Some(pacer)) => {
                pacer.settle(&charge.paced, actual, now);
                actual
            }
            (Some(actual), None) => actual,
            (None, _) => charge.reserved.max(charge.paced.amount()),
        };
        if let Some(left) = left {
            self.start.leave(left);
        }
        self.let_go(charge.reserved);
        let stamp = match left {
            Some(left) if self.on_arrival => self.counted_by(left),
            _ => self.told(end.over),
        };
        match &mut self.counts {
            Counts::Window(window) => self.used += window.add(stamp, used),
            Counts::Pacer => {}
            _ => self.count(stamp, used, now),
        }
    }

    /// The same, whatever has happened.
    #[inline(never)]
    fn end_otherwise(
        &mut self,
        charge: &mut Charge,
        left: Option<Instant>,
        end: End,
        now: Instant,
    ) {
        if let Some(left) = left {
            self.sent(charge, left);
        }
        self.settle(charge, end, now);
    }

    /// By when a call that leaves then is counted, where calls are on arrival.
    #[inline]
    pub(super) fn counted_by(&self, left: Instant) -> Instant {
        Instant::from_nanos(left.as_nanos().saturating_add(self.delay_ns).min(HELD - 1))
    }

    /// The call is over, and it was told when it left.
    pub(crate) fn settle(&mut self, charge: &Charge, end: End, now: Instant) {
        if let (Some(pacer), Some(actual)) = (&mut self.pacer, end.actual) {
            pacer.settle(&charge.paced, actual, now);
        }
        if !self.holds {
            // It may have been admitted while amounts were held.
            if charge.stamp_ns == HELD {
                self.let_go(charge.reserved);
            }
            return;
        }
        let used = end.actual.unwrap_or_else(|| charge.reserved.max(charge.paced.amount()));
        if self.flow.is_some() || self.others.is_some() {
            self.leave(charge, end, used, now);
        }
        if charge.stamp_ns == HELD {
            self.let_go(charge.reserved);
            self.count(self.told(end.over), used, now);
        } else if used != charge.reserved {
            let stamp = Instant::from_nanos(charge.stamp_ns);
            self.uncount(stamp, charge.reserved, now);
            self.count(stamp, used, now);
        }
    }

    /// A call is no longer one of those that are pooled.
    #[cold]
    fn leave(&mut self, charge: &Charge, end: End, used: u64, now: Instant) {
        if self.others.is_some() {
            self.note_count(now);
        }
        let (flight, over) = (self.flight(charge), self.told(end.over));
        if let Some(flow) = &mut self.flow {
            match flight {
                // It was refused: it says nothing of what its like come to.
                Some(flight) if end.actual == Some(0) => flow.refused(flight, now),
                Some(flight) => match end.actual {
                    Some(actual) => flow.settle(flight, actual, now),
                    None => flow.lose(flight, over, now),
                },
                None => flow.record_past(used, over, now),
            }
        }
    }

    /// A moment on the server's clock that a clock which lags tells as `at`, at the latest.
    #[inline]
    pub(super) const fn told(&self, at: Instant) -> Instant {
        Instant::from_nanos(at.as_nanos().saturating_add(self.staleness_ns))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use paceline_core::{Amount, Demand, Dimension, LimitKey, Quota};

    use super::*;
    use crate::limit::{ChargeRule, Limit, Pacing};

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    /// Every kind of limit that is kept without Flow.
    fn limits() -> Vec<Limit> {
        let quota = Quota::per_minute(NonZeroU64::new(10_000).expect("not zero"));
        let limit = Limit::new(LimitKey::All, Dimension::TotalTokens, quota);
        let burst = Pacing::Burst(NonZeroU64::new(4_000).expect("not zero"));
        let rules = [ChargeRule::Arrival, ChargeRule::Completion, ChargeRule::HeldMax];
        let mut limits: Vec<Limit> = rules
            .into_iter()
            .flat_map(|rule| {
                [limit.clone().charged(rule), limit.clone().charged(rule).paced(burst)]
            })
            .collect();
        limits.push(limit.clone().charged(ChargeRule::Arrival).paced(Pacing::Bucket));
        limits
    }

    #[test]
    fn a_call_that_ends_the_short_way_leaves_what_it_leaves_the_long_way() {
        let demand = Demand::call(Amount::expected(300).upper(900));
        let mut ends = 0;
        for limit in limits() {
            for used in [None, Some(0), Some(280), Some(300), Some(900), Some(2_000)] {
                for (told, end) in [(true, 400), (false, 400), (false, 61_500), (true, 200_000)] {
                    let mut state = LimitState::new(limit.clone(), Duration::from_millis(3));
                    let amount = demand.amount(Dimension::TotalTokens).expect("it asks");
                    state.record_past(Amount::exact(50), at(50), at(100));
                    let mut charge = Charge::default();
                    assert!(state.try_charge(amount, &demand, at(100), &mut charge));
                    if told {
                        state.sent(&mut charge, at(150));
                    }
                    let left = (!told).then_some(at(100));
                    let over = End { actual: used, over: at(end) };
                    let (mut long, mut same) = (state.clone(), charge);
                    state.end(&mut charge, left, over, at(end));
                    long.end_otherwise(&mut same, left, over, at(end));
                    for now in [end, end + 30_000, end + 70_000] {
                        let seen =
                            |state: &mut LimitState| format!("{:?}", state.snapshot(at(now)));
                        assert_eq!(
                            seen(&mut state),
                            seen(&mut long),
                            "{limit:?} {used:?} {told} {end}"
                        );
                    }
                    ends += 1;
                }
            }
        }
        assert_eq!(ends, 7 * 6 * 4);
    }
}
