//! A bucket by what it lacks, exactly: whole units, and a part of one in fractions of the window.
//!
//! It refuses nothing and knows no capacity: that is its rule's. Invariant: what it lacks is
//! `whole + part / window`, with `part < window`, so that no refill is ever rounded.

use std::time::Duration;

use paceline_core::Instant;

/// What a bucket lacks, and when that was so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    whole: u128,
    part: u128,
    at: Instant,
}

impl Bucket {
    pub(super) const FULL: Self = Self { whole: 0, part: 0, at: Instant::ORIGIN };

    /// Refilled until `now`, at `limit` a window.
    #[must_use]
    pub(super) fn refilled(self, limit: u64, window: Duration, now: Instant) -> Self {
        let window = window.as_nanos();
        // Two factors of 64 bits fit.
        let refill = now.since(self.at).as_nanos() * u128::from(limit);
        let (whole, part) = (refill / window, refill % window);
        let (part, borrowed) = match self.part.checked_sub(part) {
            Some(left) => (left, 0),
            None => (self.part + (window - part), 1),
        };
        match self.whole.checked_sub(whole + borrowed) {
            Some(whole) => Self { whole, part, at: now },
            None => Self { at: now, ..Self::FULL },
        }
    }

    /// Takes out an amount, into debt where it has to be.
    pub(super) fn take(&mut self, amount: u64) {
        self.whole += u128::from(amount);
    }

    /// Gives an amount back; no more than makes it full.
    pub(super) fn give_back(&mut self, amount: u64) {
        match self.whole.checked_sub(u128::from(amount)) {
            Some(whole) => self.whole = whole,
            None => *self = Self { at: self.at, ..Self::FULL },
        }
    }

    /// What it lacks, rounded up.
    pub(super) fn lacks(&self) -> u128 {
        self.whole + u128::from(self.part > 0)
    }
}
