//! What a limiter knows, as plain data that outlives a restart.
//!
//! It writes nothing anywhere. Invariant: a limiter that was restored admits nothing that the one
//! that was saved would not have admitted.

use std::time::Duration;

use paceline_core::Instant;

use super::pauses::SavedPause;
use super::{Limiter, calls};
use crate::state::{End, SavedLimit};

/// What a limiter knew when it was saved: what counts in every window, what is spent, what the
/// pacers owe, the pauses, the delay bounds that refusals made wider, and which limits fell back
/// from [`ChargeRule::Flow`](crate::ChargeRule::Flow).
///
/// Calls that were in flight are in it as if they used what was reserved and lasted as long as they
/// could; under Flow they land what was expected of them, as late as they could.
///
/// What is *not* in it: what others are thought to count, those who wait and what fair shares they
/// have had, how near Flow is to the bound on its pace, and a pause that never ends.
///
/// With the feature `serde` it is serialised as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Saved {
    /// The form of this data: [`Saved::VERSION`].
    pub version: u32,
    /// Every limit.
    pub limits: Vec<SavedLimit>,
    /// Every pause.
    #[cfg_attr(feature = "serde", serde(default))]
    pub pauses: Vec<SavedPause>,
}

/// What came of [`Limiter::restore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Restored {
    /// So many limits go on where they were; `unknown` saved ones have no counterpart here.
    Limits {
        /// How many go on.
        restored: usize,
        /// How many were not found.
        unknown: usize,
    },
    /// It was saved in another form than this version reads; nothing has changed.
    OtherVersion {
        /// The form it has.
        found: u32,
    },
}

impl Saved {
    /// The form that this version writes and reads.
    pub const VERSION: u32 = 2;
}

impl Limiter {
    /// What it knows now, for [`Limiter::restore`] in a later process.
    pub fn save(&mut self, now: Instant) -> Saved {
        let now = self.advance(now);
        // On a copy of every limit, what is in flight is taken as used.
        let mut copies: Vec<_> = self.limits.copies().collect();
        for call in self.limits.calls.iter() {
            let sent =
                if call.sent_ns == calls::NOT_SENT { call.admitted_ns } else { call.sent_ns };
            let over = Instant::from_nanos(sent.saturating_add(call.latest_ns));
            for charge in call.charges() {
                if let Some(Some(state)) = copies.get_mut(charge.limit as usize) {
                    state.settle(charge, End { actual: None, over: over.max(now) }, now);
                }
            }
        }
        let flows = self.limits.iter().map(|state| state.save_flow(now));
        let limits = copies.iter_mut().flatten().zip(flows).map(|(state, flow)| {
            let mut saved = state.save(now);
            saved.flow = flow;
            saved
        });
        let limits = limits.collect();
        let pauses = self.limits.pauses.save(now);
        Saved { version: Saved::VERSION, limits, pauses }
    }

    /// Goes on from what was saved `elapsed` ago, in the limits that were added before and have
    /// the same key, dimension and window. Amounts are those of the limits here. Pauses that are
    /// not over go on, whatever limits there are.
    ///
    /// Call it once, after the limits were added and before the first call: what calls have done
    /// since would be corrected by nothing.
    pub fn restore(&mut self, saved: &Saved, elapsed: Duration, now: Instant) -> Restored {
        let now = self.advance(now);
        if saved.version != Saved::VERSION {
            return Restored::OtherVersion { found: saved.version };
        }
        let mut restored = 0;
        for limit in &saved.limits {
            let found = self.limits.iter().find(|state| {
                state.limit().key() == &limit.key
                    && state.dimension() == limit.dimension
                    && state.limit().quota().window() == limit.window
            });
            if let Some(state) = found {
                state.restore(limit, elapsed, now);
                restored += 1;
            }
        }
        self.limits.pauses.restore(&saved.pauses, elapsed, now);
        Restored::Limits { restored, unknown: saved.limits.len() - restored }
    }
}
