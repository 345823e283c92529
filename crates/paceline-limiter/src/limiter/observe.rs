//! What a limiter learns while calls are made: limits stated, remainders, refusals.

use std::time::Duration;

use paceline_core::{Dimension, Instant, LimitKey, Observation, Quota, Receipt};

use super::{Limiter, Limits};
use crate::limit::{Limit, LimitError};
use crate::state::{Charge, Refused};

impl Limiter {
    /// Takes in what was learned about a limit.
    ///
    /// A stated limit that is not known yet is created as the profile keeps it, with
    /// [`Limit::MAX_AMOUNT`] at most; where there are [`Limiter::MAX_LIMITS`] already, its key goes
    /// without. Where a
    /// refusal says what the server had counted, the count is raised to that. Where our own count
    /// had not reached the limit, others are reckoned with from then on: less is in force until
    /// time, or what the server says is left, shows that there is more; and the delay bound is
    /// doubled, up to [`MAX_WIDENED`](crate::MAX_WIDENED), until ten minutes (or a window, where
    /// that is longer) without such a refusal halve it again. After a pause that follows, one call
    /// goes ahead alone. Where the refusal names no limit, the fullest is meant.
    ///
    /// A limit kept by [`ChargeRule::Flow`](crate::ChargeRule::Flow) falls back to
    /// [`ChargeRule::Completion`](crate::ChargeRule::Completion) when it is told that the server
    /// counts on arrival, and returns when it is told otherwise.
    pub fn observe(&mut self, observation: &Observation, now: Instant) {
        let now = self.advance(now);
        match observation {
            Observation::Stated { key, dimension, quota }
                if !self.set_limit(key, *dimension, counted(*dimension, *quota), now) =>
            {
                let quota = Limit::bounded(*quota);
                let limit = self.profile.limit(key.clone(), *dimension, quota, self.delay);
                let added = self.add(limit);
                // What else a limit can contradict, a profile's does not.
                debug_assert!(matches!(added, Ok(()) | Err(LimitError::TooManyLimits { .. })));
            }
            Observation::Unlimited { key, dimension, refill } => {
                let is_of_it =
                    |quota: Quota| quota.refill() == *refill || *dimension == Dimension::InFlight;
                self.limits.remove(key, *dimension, is_of_it);
            }
            // One that nothing has been counted on is a replica that has not heard of us.
            Observation::Remaining { remaining, limit, .. } if remaining == limit => {}
            Observation::Remaining { key, dimension, remaining, .. } => {
                self.limits.each_named(key, Some(*dimension), |state| {
                    if state.limit().quota().window() == Some(MINUTE) {
                        state.tighten(*remaining, now);
                    }
                });
            }
            Observation::Refused { key, dimension, actual, limit, receipt } => {
                let named = Named { key, dimension: *dimension, limit: *limit };
                self.limits.refused(&named, *actual, *receipt, now);
            }
            Observation::CountedOn { key, dimension, moment } => {
                self.limits.each_named(key, Some(*dimension), |state| {
                    state.counted_on(*moment, now);
                });
            }
            _ => {}
        }
    }
}

/// The limits that a refusal may mean.
struct Named<'a> {
    key: &'a LimitKey,
    dimension: Option<Dimension>,
    /// How much, where the server said so.
    limit: Option<u64>,
}

impl Limits {
    fn refused(
        &mut self,
        named: &Named<'_>,
        actual: Option<u64>,
        receipt: Option<Receipt>,
        now: Instant,
    ) {
        let &Named { key, dimension, limit } = named;
        let mut fullest = None;
        self.each_named(key, dimension, |state| {
            let states_it = limit.is_none_or(|limit| limit == state.limit().quota().limit().get());
            let fullness = state.fullness(now).filter(|_| states_it);
            // As full as another, it is the longer one that others may have filled.
            fullest = fullest.max(fullness.map(|fullness| (fullness, state.place())));
        });
        let Some((_, place)) = fullest else { return };
        self.pauses.probe(key, dimension, now);
        let call = receipt.and_then(|receipt| {
            self.with_call(receipt, |call, states| {
                let sent = Instant::from_nanos(call.sent_ns.min(now.as_nanos()));
                let of_it = |charge: &&mut Charge| {
                    let state = states.get(charge.limit as usize).and_then(Option::as_ref);
                    state.is_some_and(|state| state.place() == place)
                };
                (sent, call.charges().find(of_it).map(|charge| *charge))
            })
        });
        let (sent, charge) = call.unwrap_or((now, None));
        self.each_named(key, dimension, |state| {
            if state.place() == place {
                state.refused(charge.as_ref(), Refused { sent, actual }, now);
            }
        });
    }
}

/// The quota that a limit of this dimension can have: calls in flight come back when they end.
pub(crate) fn counted(dimension: Dimension, quota: Quota) -> Quota {
    if dimension == Dimension::InFlight { Quota::once(quota.limit()) } else { quota }
}

/// The widest that refusals make a delay bound.
pub const MAX_WIDENED: Duration = Duration::from_secs(2);

/// The window that `x-ratelimit-remaining-*` speaks of.
const MINUTE: Duration = Duration::from_secs(60);
