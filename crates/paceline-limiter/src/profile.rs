//! Ready answers to "how does this server count, and how do I stay below it?".

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{Dimension, LimitKey, Quota};

use crate::limit::{ChargeRule, Limit, Pacing};
use crate::limiter::counted;

/// How limits are kept for a kind of server.
///
/// A profile *claims* server shapes: nothing is refused there as long as delays stay within the
/// delay bound, calls use no more than their upper amount, and nobody else uses the same quota.
/// [Which profile do I want?](crate::guide::which_profile) compares them, with what each costs.
///
/// | profile | server shapes it claims |
/// |---|---|
/// | `Grok` | requests in a sliding or aligned window, counted on arrival; total tokens in a sliding window, counted on completion (at most 1 in 10,000 refused) |
/// | `GrokStrict` | requests in a sliding or aligned window, counted on arrival; tokens in a sliding or aligned window, counted on arrival, on completion, or held at their most |
/// | `Smooth` | sliding and aligned windows, counted as each limit says; two counters of 2 or more, counted on arrival; buckets of L/60 or more, counted on arrival and without variation of the one-way delay |
/// | `Burst` | sliding and aligned windows, counted as each limit says |
/// | `Bucket` | token buckets of capacity L, counted on arrival and without variation of the one-way delay |
///
/// What is counted on arrival and paced has to leave when it is admitted, its upper amounts the
/// expected ones and no larger than the burst. A bucket also gets what the delay lets bunch: to
/// refuse nothing with a variation of d, it has to hold L d/W more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// For the xAI API, and servers like it: request limits guarded, requests per second evenly
    /// spaced, total tokens by [`ChargeRule::Flow`].
    ///
    /// *Claims* sliding and aligned windows for requests, counted on arrival, and sliding windows
    /// for tokens, counted on completion, where at most 1 call in 10,000 is refused; single windows
    /// may pass the limit, as such a server lets them. A call that the server judges by its input
    /// names [`Dimension::InputTokens`]; of calls that did not, 2 in 100 were refused in a test.
    /// *Fails* on servers that count tokens when a call arrives, that estimate a window by two
    /// counters, and on token buckets smaller than the limit.
    ///
    /// It is the default of [`Limiter::with_profile`](crate::Limiter::with_profile), which is for
    /// limits that are merely [observed](crate::Limiter::observe). A limit that you
    /// [add](crate::Limiter::add) is kept as it says itself, whatever the profile.
    #[default]
    Grok,
    /// Like `Grok`, and tokens are held until they are settled.
    ///
    /// *Claims* sliding and aligned windows: for requests counted on arrival, for tokens counted on
    /// arrival, on completion or held at their most; no window passes its limit. *Fails* on servers
    /// that estimate a window by two counters, and on token buckets smaller than the limit. Calls that
    /// last as long as the window and could use ten times what they do leave most of it unused.
    GrokStrict,
    /// For servers whose rule is not known: small bursts of L/60 in front of every window.
    ///
    /// *Claims* sliding and aligned windows, counted as each limit says, and, counted on arrival,
    /// two counters of 2 or more and token buckets of L/60 or more. *Fails* on two counters and
    /// buckets that count on completion, since calls can end together however they began; on smaller
    /// buckets; and on a bucket of about L/60 for calls larger than that. A burst takes longer than
    /// with `Burst`.
    Smooth,
    /// Rolling windows only: as much at once as they allow.
    ///
    /// *Claims* sliding and aligned windows. *Fails* on servers that estimate a window by two
    /// counters and on token buckets smaller than the limit.
    Burst,
    /// A plain token bucket.
    ///
    /// *Claims* token buckets of capacity L, filled at L/W. *Fails* on every kind of window: up to
    /// 2 L pass in one.
    Bucket,
}

impl Profile {
    /// The limit that this profile keeps for a quota, with a bound on the variation of the
    /// one-way delay.
    pub fn limit(
        self,
        key: LimitKey,
        dimension: Dimension,
        quota: Quota,
        delay: Duration,
    ) -> Limit {
        let quota = counted(dimension, quota);
        let limit = Limit::new(key, dimension, quota).delay(delay);
        let Some(window) = quota.window() else { return limit };
        let is_short = window <= Duration::from_secs(1);
        match self {
            Self::Grok | Self::GrokStrict if is_short && dimension == Dimension::Requests => {
                limit.paced(Pacing::Even)
            }
            Self::Grok if dimension == Dimension::TotalTokens => limit.charged(ChargeRule::Flow),
            Self::Grok | Self::GrokStrict | Self::Burst => limit,
            Self::Smooth => limit.paced(small_burst(quota)),
            Self::Bucket => limit.paced(Pacing::Bucket),
        }
    }
}

/// A burst of L/60, at least 1. Not [`Pacing::Even`], which fills every window to the last and so
/// is refused by two counters, and catches up on lateness, which a bucket of 1 refuses.
fn small_burst(quota: Quota) -> Pacing {
    let burst = NonZeroU64::new(quota.limit().get() / 60).unwrap_or(NonZeroU64::MIN);
    // One in a window leaves nothing to refill.
    if burst < quota.limit() { Pacing::Burst(burst) } else { Pacing::Even }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_makes_legal_limits_of_every_quota() {
        let profiles =
            [Profile::Grok, Profile::GrokStrict, Profile::Smooth, Profile::Burst, Profile::Bucket];
        for profile in profiles {
            for dimension in Dimension::ALL {
                for amount in [1, 2, 59, 60, 61, 480, Limit::MAX_AMOUNT] {
                    let amount = NonZeroU64::new(amount).expect("not zero");
                    for quota in
                        [Quota::per_second(amount), Quota::per_minute(amount), Quota::once(amount)]
                    {
                        let limit =
                            profile.limit(LimitKey::All, dimension, quota, Limit::DEFAULT_DELAY);
                        assert_eq!(limit.check(), Ok(()), "{profile:?} {dimension} {quota}");
                    }
                }
            }
        }
    }
}
