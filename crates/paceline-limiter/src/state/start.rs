//! The first second of a limit that knows nothing of the window before it, or was refused.
//!
//! The server's window may be full, and until the first refusal is back every call that leaves is
//! refused. So few leave at first, and twice as many every eighth of a second; a second later
//! nothing is held up any more. It knows no limit.

use std::time::Duration;

use paceline_core::Instant;

/// When a limit began to count, when it began again, and how many calls it has let go since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    first: u64,
    since: u64,
    calls: u64,
}

impl Start {
    /// Nothing has been counted.
    pub(super) const NONE: Self = Self { first: u64::MAX, since: u64::MAX, calls: 0 };

    /// When it began to count, in nanoseconds.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// The window before is known.
    pub(super) const fn know(&mut self) {
        *self = Self { first: 0, since: 0, calls: 0 };
    }

    /// Begins again with the next call.
    pub(super) const fn again(&mut self) {
        *self = Self { first: self.first, since: u64::MAX, calls: 0 };
    }

    /// A call leaves.
    #[inline]
    pub(super) fn leave(&mut self, now: Instant) {
        self.first = self.first.min(now.as_nanos());
        self.since = self.since.min(now.as_nanos());
        self.calls = self.calls.saturating_add(1);
    }

    /// A call that was to leave then never did.
    pub(super) fn take_back(&mut self, left: Instant) {
        if left.as_nanos() < self.since {
            return;
        }
        self.calls = self.calls.saturating_sub(1);
        if self.calls == 0 {
            if self.first == self.since {
                self.first = u64::MAX;
            }
            self.since = u64::MAX;
        }
    }

    /// When one more may leave; `None` where it may now.
    #[inline]
    pub(super) fn opens_at(&self, now: Instant) -> Option<Instant> {
        let passed = now.as_nanos().saturating_sub(self.since);
        if passed >= LONG || self.calls < FEW << (passed / STEP) {
            return None;
        }
        let steps = (passed / STEP + 1)..=LONG / STEP;
        let step = steps.into_iter().find(|step| self.calls < FEW << step);
        Some(
            Instant::from_nanos(self.since)
                + Duration::from_nanos(step.map_or(LONG, |step| step * STEP)),
        )
    }
}

/// How many may leave at once: with the first probes no more than ten are refused.
const FEW: u64 = 4;

/// After that long twice as many: about the way to the server and back.
const STEP: u64 = 125_000_000;

/// From then on there is no bound: what is refused is known by then.
const LONG: u64 = 8 * STEP;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_leave_at_once_and_twice_as_many_every_eighth_of_a_second() {
        let at = |millis: u64| Instant::from_nanos(1_000_000_000 + millis * 1_000_000);
        let mut start = Start::NONE;
        for (millis, calls) in [(0, 4), (125, 8), (130, 8), (260, 16), (900, 512)] {
            while start.opens_at(at(millis)).is_none() {
                start.leave(at(millis));
            }
            assert_eq!(start.calls, calls, "after {millis} ms");
        }
        assert_eq!(start.opens_at(at(900)), Some(at(1_000)));
        assert_eq!(start.opens_at(at(1_000)), None);
        start.again();
        start.leave(at(5_000));
        assert_eq!((start.first(), start.calls), (1_000_000_000, 1));
        start.take_back(at(5_000));
        assert_eq!((start.first(), start.since), (1_000_000_000, u64::MAX));
        // What left before it began again is not one of those that it counts.
        start.leave(at(6_000));
        start.take_back(at(5_000));
        assert_eq!((start.since, start.calls), (7_000_000_000, 1));
        let mut once = Start::NONE;
        once.leave(at(0));
        once.take_back(at(0));
        assert_eq!(once.first(), u64::MAX);
        let mut known = Start::NONE;
        known.know();
        (0..1_000).for_each(|_| known.leave(at(1_000)));
        assert_eq!(known.opens_at(at(1_000)), None);
    }
}
