//! What a limiter learns while calls are made: limits stated, remainders, refusals.

use std::time::Duration;

use paceline_core::{Instant, Observation};

use super::Limiter;

impl Limiter {
    /// Takes in what was learned about a limit.
    ///
    /// A stated limit that is not known yet is created as the profile keeps it. A refusal widens
    /// the delay bound of the limit it names, up to [`MAX_WIDENED`](crate::MAX_WIDENED), and
    /// where it says what the server had counted, the count is raised to that.
    pub fn observe(&mut self, observation: &Observation, now: Instant) {
        let now = self.advance(now);
        match observation {
            Observation::Stated { key, dimension, quota }
                if !self.set_limit(key, *dimension, *quota, now) =>
            {
                let limit = self.profile.limit(key.clone(), *dimension, *quota, self.delay);
                // The profile makes legal limits; past `MAX_LIMITS` further keys go without.
                let _ = self.add(limit);
            }
            Observation::Unlimited { key, dimension, refill } => {
                self.limits.remove(key, *dimension, |quota| quota.refill() == *refill);
            }
            Observation::Remaining { key, dimension, remaining, .. } => {
                self.limits.each_named(key, Some(*dimension), |state| {
                    if state.limit().quota().window() == Some(MINUTE) {
                        state.tighten(*remaining, now);
                    }
                });
            }
            Observation::Refused { key, dimension, actual, limit } => {
                self.limits.each_named(key, *dimension, |state| {
                    let states_it = *limit == Some(state.limit().quota().limit().get());
                    if let (true, Some(actual), Some(limit)) = (states_it, actual, limit) {
                        state.tighten(limit.saturating_sub(*actual), now);
                    }
                    state.widen(MAX_WIDENED, now);
                });
            }
            _ => {}
        }
    }
}

/// The widest that refusals make a delay bound.
pub const MAX_WIDENED: Duration = Duration::from_secs(2);

/// The window that `x-ratelimit-remaining-*` speaks of.
const MINUTE: Duration = Duration::from_secs(60);
