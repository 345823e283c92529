//! The fullest window of a run too long to keep.
//!
//! It holds what the present window needs and no more. Invariant: an event enters the window only
//! when no earlier one can come any more, so that windows are added up in the order of time.

use std::collections::VecDeque;
use std::time::Duration;

use paceline_core::Instant;
use thiserror::Error;

use super::slots::Slots;

/// The most that was ever in a window `(t - length, t]`, for runs too long for a
/// [`Log`](super::Log).
///
/// Holds 32 bytes for each moment of the last window, and 16 for each event that another one may
/// still come before. No window of the clock holds more than it says: each is also one of the
/// rolling ones.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use paceline_core::Instant;
/// use paceline_sim::engine::{Rolling, TooLate};
///
/// let at = |seconds| Instant::ORIGIN + Duration::from_secs(seconds);
/// let minute = Duration::from_secs(60);
/// let mut worst = Rolling::new(minute).late(Duration::from_secs(30));
/// worst.add(at(100), 4)?;
/// // Told late, but not too late.
/// worst.add(at(70), 3)?;
/// assert_eq!(worst.worst(), 7);
/// worst.add(at(131), 2)?;
/// assert_eq!(worst.add(at(100), 1).unwrap_err().earliest, at(101));
/// assert_eq!(worst.worst(), 7);
/// # Ok::<(), TooLate>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rolling {
    window: Slots,
    late: Duration,
    /// Events that another one may still come before, in the order of time.
    pending: VecDeque<(Instant, u64)>,
    latest: Instant,
    worst: u128,
}

/// An event that came later than was allowed for. It has not been counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("the event at {at} is told too late: windows are settled up to {earliest}")]
#[non_exhaustive]
pub struct TooLate {
    /// When it happened.
    pub at: Instant,
    /// The earliest moment that was still open.
    pub earliest: Instant,
}

impl Rolling {
    /// For windows of this length; of no length they hold nothing. Events have to come in the
    /// order of time, unless [`Rolling::late`] says otherwise.
    pub const fn new(length: Duration) -> Self {
        Self {
            window: Slots::new(length.as_nanos()),
            late: Duration::ZERO,
            pending: VecDeque::new(),
            latest: Instant::ORIGIN,
            worst: 0,
        }
    }

    /// Events may be told up to this much after the latest one. Set it before the first event.
    #[must_use]
    pub const fn late(mut self, late: Duration) -> Self {
        self.late = late;
        self
    }

    /// So much was counted then.
    ///
    /// # Errors
    /// [`TooLate`], and nothing changes, where a later event has settled that moment.
    pub fn add(&mut self, at: Instant, amount: u64) -> Result<(), TooLate> {
        let earliest = self.latest - self.late;
        if at < earliest {
            return Err(TooLate { at, earliest });
        }
        self.latest = self.latest.max(at);
        // Most come nearly in order, so the place is sought from the end.
        let after = self.pending.iter().rev().take_while(|(other, _)| *other > at).count();
        self.pending.insert(self.pending.len() - after, (at, amount));
        self.settle();
        Ok(())
    }

    /// The most in any window so far. Adds up what may still be joined by earlier events anew.
    pub fn worst(&self) -> u128 {
        if self.pending.is_empty() {
            return self.worst;
        }
        let mut so_far = self.clone();
        so_far.late = Duration::ZERO;
        so_far.settle();
        so_far.worst
    }

    /// How many moments and events it holds at present.
    pub fn held(&self) -> usize {
        self.window.held() + self.pending.len()
    }

    /// Moves into the window what nothing can come before any more. Others may still come at the
    /// same moment; they add to it, and the most is looked at again.
    fn settle(&mut self) {
        let earliest = self.latest - self.late;
        while let Some((at, amount)) = self.pending.front().copied() {
            if at > earliest {
                break;
            }
            self.pending.pop_front();
            let place = u128::from(at.as_nanos());
            self.window.add(place, amount);
            self.worst = self.worst.max(self.window.sum(place));
        }
    }
}
