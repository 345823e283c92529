//! One limit, as it is stated: what is counted, how much, when, and how it is spaced.
//!
//! Plain data and its checks; the running state is elsewhere.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{Dimension, LimitKey, Quota, Refill};

use crate::pacer::Rate;

/// One limit that calls are held against.
///
/// ```
/// use std::num::NonZeroU64;
/// use paceline_limiter::{ChargeRule, Dimension, Limit, LimitKey, Quota};
///
/// let tokens = NonZeroU64::new(60_000).unwrap();
/// let limit = Limit::new(LimitKey::All, Dimension::TotalTokens, Quota::per_minute(tokens));
/// assert_eq!(limit.rule(), ChargeRule::Completion);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    key: LimitKey,
    dimension: Dimension,
    quota: Quota,
    rule: ChargeRule,
    pacing: Pacing,
    /// The burst as it was stated, and of which limit.
    burst: Option<(NonZeroU64, NonZeroU64)>,
    delay: Duration,
}

/// The moment at which the server counts a call, which the limit's own count has to cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChargeRule {
    /// When the call arrives: between our sending it and the head of its answer, and at most the
    /// delay bound after the sending.
    ///
    /// Counts what was reserved from the admission until a window after that bound; settling
    /// edits it in place. Default for requests.
    Arrival,
    /// When the call is over, by what it used.
    ///
    /// Counts the upper amount from the admission until it is settled (*hold*), then what it used
    /// for a window more. Never above the limit, whatever the server does in between. Default for
    /// tokens and money.
    Completion,
    /// When the call is over, by what it used, on a server that is *known* to look only at what has
    /// already been counted when it judges a call.
    ///
    /// Admits by a credit of one limit a window and by a forecast of what could land before the
    /// call is judged (*flow*). It uses nearly all of the limit where [`ChargeRule::Completion`]
    /// can't, because calls last long or their length is not known; single windows may pass the
    /// limit, as such a server lets them. Needs a quota that comes back; keeps the upper amounts
    /// as well, so that it can fall back to [`ChargeRule::Completion`] at any moment.
    Flow,
    /// In full when the call arrives (input and the most output), cut to what the server keeps
    /// when the call is over.
    ///
    /// Counts the upper amount as [`ChargeRule::Arrival`] does; settling edits it in place.
    HeldMax,
    /// Only while the call is in flight. Default for [`Dimension::InFlight`]. Nothing of it comes
    /// back with time: needs a quota of [`Refill::Never`].
    WhileInFlight,
}

/// How admissions are spaced in front of the rolling window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pacing {
    /// Not at all: the rolling window alone decides.
    #[default]
    None,
    /// At most this much at once, then at (L − burst)/(W + d), so that one burst and one window
    /// stay within L together. Charged with the expected amount. More than the burst is admitted
    /// into debt.
    Burst(
        /// The most at once: at least 1 and below L.
        NonZeroU64,
    ),
    /// One by one, (W + d + one timer tick)/L apart: at most L fall into any window at the
    /// server, however it counts.
    Even,
    /// A plain token bucket of capacity L refilled at L/W, with no rolling window behind it. Only
    /// for servers known to be one: up to 2 L pass in one window.
    Bucket,
}

/// Why a limit can't be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitError {
    /// The burst is not below the limit, so nothing would be left to refill.
    BurstNotBelowLimit {
        /// The burst.
        burst: u64,
        /// The limit.
        limit: u64,
    },
    /// A quota above [`Limit::MAX_AMOUNT`].
    TooLarge {
        /// The amount.
        limit: u64,
    },
    /// A delay bound above [`Limit::MAX_DELAY`].
    DelayTooLong {
        /// The delay bound.
        delay: Duration,
    },
    /// A quota that never comes back can't be paced.
    PacedWithoutRefill,
    /// [`ChargeRule::WhileInFlight`] counts in no window, and needs a quota of [`Refill::Never`].
    InFlightWithRefill,
    /// [`ChargeRule::WhileInFlight`] has no window to pace.
    PacedInFlight,
    /// [`ChargeRule::Flow`] needs a quota that comes back, and its rolling window, so no
    /// [`Pacing::Bucket`].
    FlowWithoutWindow,
    /// There is a limit of the same key, dimension and refill, which only
    /// [`Limiter::replace`](crate::Limiter::replace) replaces.
    AlreadyThere,
    /// More limits than the limiter takes.
    TooManyLimits {
        /// How many it takes.
        most: usize,
    },
}

impl Limit {
    /// The largest amount: 2^62. Amounts that are counted saturate there.
    pub const MAX_AMOUNT: u64 = crate::window::MOST;
    /// The longest delay bound.
    pub const MAX_DELAY: Duration = Duration::from_secs(60);
    /// The delay bound that a limit starts with, for networks not known.
    pub const DEFAULT_DELAY: Duration = Duration::from_millis(250);

    /// A limit charged as its dimension usually is, not paced, with
    /// [`Limit::DEFAULT_DELAY`].
    pub const fn new(key: LimitKey, dimension: Dimension, quota: Quota) -> Self {
        let rule = match dimension {
            Dimension::Requests => ChargeRule::Arrival,
            Dimension::InFlight => ChargeRule::WhileInFlight,
            _ => ChargeRule::Completion,
        };
        let (pacing, delay) = (Pacing::None, Self::DEFAULT_DELAY);
        Self { key, dimension, quota, rule, pacing, burst: None, delay }
    }

    /// Charged by another rule.
    #[must_use]
    pub const fn charged(mut self, rule: ChargeRule) -> Self {
        self.rule = rule;
        self
    }

    /// Spaced in front of the window.
    #[must_use]
    pub const fn paced(mut self, pacing: Pacing) -> Self {
        self.pacing = pacing;
        self.burst = match pacing {
            Pacing::Burst(burst) => Some((burst, self.quota.limit())),
            _ => None,
        };
        self
    }

    /// With this bound on the *variation* of the one-way delay to the server: what was sent at
    /// `t` is counted there before `t + delay` more than the least delay.
    #[must_use]
    pub const fn delay(mut self, bound: Duration) -> Self {
        self.delay = bound;
        self
    }

    /// The same limit with another quota; a burst stays the same part of it as it was stated, at
    /// least 1. Where that is all of it, calls go one by one.
    #[must_use]
    pub(crate) fn with_quota(mut self, quota: Quota) -> Self {
        if let Some((burst, of)) = self.burst {
            let scaled = u128::from(burst.get()) * u128::from(quota.limit().get());
            self.pacing = u64::try_from(scaled / u128::from(of.get()))
                .ok()
                .and_then(NonZeroU64::new)
                .or(Some(NonZeroU64::MIN))
                .filter(|burst| *burst < quota.limit())
                .map_or(Pacing::Even, Pacing::Burst);
        }
        self.quota = quota;
        self
    }

    /// A quota that a limit can have: of [`Limit::MAX_AMOUNT`] at most.
    pub(crate) fn bounded(quota: Quota) -> Quota {
        quota.with_limit(quota.limit().min(MAX))
    }

    /// Whose calls it counts.
    pub const fn key(&self) -> &LimitKey {
        &self.key
    }

    /// What it counts.
    pub const fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// How much, and when it comes back.
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// When it is charged.
    pub const fn rule(&self) -> ChargeRule {
        self.rule
    }

    /// How it is spaced.
    pub const fn pacing(&self) -> Pacing {
        self.pacing
    }

    /// The bound on the variation of the one-way delay.
    pub const fn delay_bound(&self) -> Duration {
        self.delay
    }

    /// Checks what the types can't. [`Limiter::add`](crate::Limiter::add) does so, too.
    ///
    /// # Errors
    /// [`LimitError`] where the limit contradicts itself.
    pub fn check(&self) -> Result<(), LimitError> {
        let has_window = self.quota.window().is_some() && self.pacing != Pacing::Bucket;
        if self.rule == ChargeRule::Flow && !has_window {
            return Err(LimitError::FlowWithoutWindow);
        }
        if self.rule == ChargeRule::WhileInFlight && self.quota.refill() != Refill::Never {
            return Err(LimitError::InFlightWithRefill);
        }
        if self.quota.limit().get() > Self::MAX_AMOUNT {
            return Err(LimitError::TooLarge { limit: self.quota.limit().get() });
        }
        if self.delay > Self::MAX_DELAY {
            return Err(LimitError::DelayTooLong { delay: self.delay });
        }
        if self.pacing != Pacing::None {
            if self.rule == ChargeRule::WhileInFlight {
                return Err(LimitError::PacedInFlight);
            }
            if self.quota.refill() == Refill::Never {
                return Err(LimitError::PacedWithoutRefill);
            }
        }
        match self.pacing {
            Pacing::Burst(burst) if burst >= self.quota.limit() => {
                let limit = self.quota.limit().get();
                Err(LimitError::BurstNotBelowLimit { burst: burst.get(), limit })
            }
            _ => Ok(()),
        }
    }

    /// Whether a call counts from its arrival on.
    pub(crate) fn is_on_arrival(&self) -> bool {
        matches!(self.rule, ChargeRule::Arrival | ChargeRule::HeldMax)
    }

    /// The rate of its pacer, where it has one, on a clock that lags by up to so much: to the server
    /// that is one more way of which the delay varies.
    pub(crate) fn rate(&self, staleness: Duration) -> Option<Rate> {
        let delay = self.delay + staleness;
        let window = self.quota.window()?;
        let limit = self.quota.limit();
        match self.pacing {
            Pacing::None => None,
            Pacing::Burst(burst) => Some(Rate {
                amount: NonZeroU64::new(limit.get().saturating_sub(burst.get()))?,
                period: window + delay,
                burst,
                tolerance: Duration::ZERO,
            }),
            Pacing::Even => Some(Rate {
                amount: limit,
                period: window + delay + TICK,
                burst: NonZeroU64::MIN,
                tolerance: TICK,
            }),
            Pacing::Bucket => Some(Rate {
                amount: limit,
                period: window,
                burst: limit,
                tolerance: Duration::ZERO,
            }),
        }
    }
}

impl LimitError {
    /// The field of the policy that is wrong: `burst`, `quota`, `delay`, `pacing`, `rule` or `limits`.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::BurstNotBelowLimit { .. } => "burst",
            Self::TooLarge { .. } | Self::InFlightWithRefill => "quota",
            Self::DelayTooLong { .. } => "delay",
            Self::PacedWithoutRefill | Self::PacedInFlight => "pacing",
            Self::FlowWithoutWindow => "rule",
            Self::TooManyLimits { .. } | Self::AlreadyThere => "limits",
        }
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BurstNotBelowLimit { burst, limit } => {
                write!(f, "a burst of {burst} is not below the limit of {limit}")
            }
            Self::TooLarge { limit } => {
                write!(f, "a quota of {limit} is above {}", Limit::MAX_AMOUNT)
            }
            Self::DelayTooLong { delay } => {
                write!(f, "a delay bound of {delay:?} is above {:?}", Limit::MAX_DELAY)
            }
            Self::PacedWithoutRefill => f.write_str("a quota that never comes back can't be paced"),
            Self::InFlightWithRefill => {
                f.write_str("a limit on calls in flight has no window: its quota never comes back")
            }
            Self::PacedInFlight => f.write_str("a limit on calls in flight can't be paced"),
            Self::FlowWithoutWindow => f.write_str(
                "the rule `Flow` needs a quota that comes back, behind a pacer or none, not a bucket",
            ),
            Self::AlreadyThere => {
                f.write_str("there is a limit of the same key, dimension and refill")
            }
            Self::TooManyLimits { most } => write!(f, "a limiter takes {most} limits at most"),
        }
    }
}

impl std::error::Error for LimitError {}

/// The largest amount.
const MAX: NonZeroU64 = NonZeroU64::MIN.saturating_add(Limit::MAX_AMOUNT - 1);

/// One tick of the timer that wakes a waiter: 1 ms, and as much again for the wake-up.
const TICK: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn per_minute(limit: u64) -> Quota {
        Quota::per_minute(NonZeroU64::new(limit).expect("not zero"))
    }

    #[test]
    fn a_burst_is_the_same_part_of_a_limit_that_was_cut_and_raised_again() {
        let burst = |limit, burst| {
            let burst = NonZeroU64::new(burst).expect("not zero");
            let base = Limit::new(LimitKey::All, Dimension::Requests, per_minute(limit));
            base.paced(Pacing::Burst(burst))
        };
        let (hundred, two) = (burst(100, 10), burst(2, 1));
        let cut = hundred.clone().with_quota(per_minute(15));
        assert_eq!(cut.pacing(), burst(15, 1).pacing());
        assert_eq!(cut.with_quota(per_minute(100)), hundred);
        let cut = two.clone().with_quota(per_minute(1));
        assert_eq!(cut.pacing(), Pacing::Even);
        assert_eq!(cut.with_quota(per_minute(2)), two);
    }

    #[test]
    fn a_clock_that_lags_makes_a_pacer_slower_by_as_much() {
        let second = Duration::from_secs(1);
        let base = Limit::new(LimitKey::All, Dimension::Requests, per_minute(60)).delay(second);
        let burst = Pacing::Burst(NonZeroU64::MIN);
        for (pacing, seconds) in [(Pacing::Even, 64), (burst, 64), (Pacing::Bucket, 60)] {
            let rate = base.clone().paced(pacing).rate(3 * second).expect("it is paced");
            assert_eq!(rate.period.as_secs(), seconds, "{pacing:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let base = Limit::new(LimitKey::All, Dimension::Requests, per_minute(60));
        let sixty = NonZeroU64::new(60).expect("not zero");
        assert_eq!(
            base.clone().paced(Pacing::Burst(sixty)).check(),
            Err(LimitError::BurstNotBelowLimit { burst: 60, limit: 60 })
        );
        let flow = base.clone().charged(ChargeRule::Flow);
        assert_eq!(flow.clone().check(), Ok(()));
        let bucket = flow.paced(Pacing::Bucket).check().expect_err("a bucket has no window");
        assert_eq!((bucket, bucket.field()), (LimitError::FlowWithoutWindow, "rule"));
        let large = per_minute(Limit::MAX_AMOUNT + 1);
        let large = Limit::new(LimitKey::All, Dimension::Requests, large).check();
        assert_eq!(large.map_err(|error| error.field()), Err("quota"));
        let late = Duration::from_secs(61);
        assert_eq!(base.delay(late).check(), Err(LimitError::DelayTooLong { delay: late }));
        let once = Limit::new(LimitKey::All, Dimension::Money, Quota::once(sixty));
        assert_eq!(once.clone().check(), Ok(()));
        assert_eq!(once.clone().paced(Pacing::Even).check(), Err(LimitError::PacedWithoutRefill));
        let flying = once.charged(ChargeRule::WhileInFlight);
        assert_eq!(flying.check(), Ok(()));
        assert_eq!(flying.paced(Pacing::Even).check(), Err(LimitError::PacedInFlight));
        let flying = Limit::new(LimitKey::All, Dimension::InFlight, per_minute(9)).check();
        assert_eq!(flying, Err(LimitError::InFlightWithRefill));
        assert_eq!(flying.map_err(|error| error.field()), Err("quota"));
    }

    #[test]
    fn a_cut_quota_keeps_a_legal_burst() {
        let ten = NonZeroU64::new(10).expect("not zero");
        let base = Limit::new(LimitKey::All, Dimension::Requests, per_minute(100))
            .paced(Pacing::Burst(ten));
        for limit in [1, 2, 9, 50, 1_000_000] {
            let cut = base.clone().with_quota(per_minute(limit));
            assert_eq!(cut.check(), Ok(()), "at {limit}");
        }
        assert_eq!(
            base.with_quota(per_minute(50)).pacing(),
            Pacing::Burst(NonZeroU64::new(5).expect("not zero"))
        );
    }
}
