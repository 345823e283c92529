//! The limits that every key has, as they were stated: what is the same for all keys stands here once.
//!
//! It counts nothing and never changes.

use std::time::Duration;

use paceline_core::{Amount, Demand, LimitKey};

use super::pace::Pace;
use crate::limit::Limit;
use crate::state::LimitState;

/// The limits of every key.
#[derive(Debug)]
pub(super) struct Stated {
    /// The first of which only the pacer counts.
    pub(super) first: Option<Pace>,
    /// Its like behind it.
    pub(super) behind: Vec<Pace>,
    /// The others, as a new key has them.
    pub(super) fresh: Vec<LimitState>,
    /// All of them in the order in which they were stated, as a new key has them.
    pub(super) all: Vec<(LimitState, Kind)>,
}

/// How a limit is kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Only its pacer counts.
    Paced,
    /// A key has a state of its own.
    Whole,
}

impl Stated {
    /// At most [`MAX_LIMITS`] legal limits, on a clock that lags by up to so much.
    pub(super) fn new(limits: impl IntoIterator<Item = Limit>, staleness: Duration) -> Self {
        let (mut paces, mut fresh, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for limit in limits {
            let pace = Pace::of(&limit, limit.rate(staleness));
            let state = LimitState::new(limit, staleness);
            if let Some(pace) = pace {
                paces.push(pace);
                all.push((state, Kind::Paced));
            } else {
                fresh.push(state.clone());
                all.push((state, Kind::Whole));
            }
        }
        let mut paces = paces.into_iter();
        Self { first: paces.next(), behind: paces.collect(), fresh, all }
    }

    /// The same limits on a clock that lags by up to so much.
    pub(super) fn on_lagging(&self, staleness: Duration) -> Self {
        Self::new(self.all.iter().map(|(state, _)| state.limit().clone()), staleness)
    }

    /// How far the clock may lag.
    #[cfg(feature = "clock")]
    pub(super) fn staleness(&self) -> Duration {
        self.all.first().map_or(Duration::ZERO, |(state, _)| state.staleness())
    }
}

/// What a demand asks of a limit, if that counts it.
#[inline]
pub(super) fn asked(limit: &LimitState, demand: &Demand) -> Option<Amount> {
    let key = limit.limit().key();
    let counts = *key == LimitKey::All || demand.is_counted_by(key);
    if counts { limit.asked(demand) } else { None }
}

/// How many limits each key may have.
pub(super) const MAX_LIMITS: usize = 16;
