//! How much may pass: an amount per window.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// An amount `limit` per window, or once and for all.
///
/// The unit is that of the limit's [`Dimension`](crate::Dimension).
///
/// ```
/// use std::num::NonZeroU64;
/// use std::time::Duration;
/// use paceline_core::Quota;
///
/// let per_minute = Quota::per_minute(NonZeroU64::new(480).unwrap());
/// assert_eq!(per_minute.window(), Some(Duration::from_secs(60)));
/// assert_eq!(per_minute.to_string(), "480/min");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    limit: NonZeroU64,
    refill: Refill,
}

/// When a quota comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refill {
    /// What was counted leaves after this long; never zero.
    Rolling(
        /// The window's length.
        Duration,
    ),
    /// Never: what is spent stays spent until the caller renews the limit.
    Never,
}

/// Why a quota can't be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaError {
    /// The window was zero.
    ZeroWindow,
    /// The window was longer than [`Quota::MAX_WINDOW`].
    WindowTooLong,
}

impl Quota {
    /// The longest window: 366 days.
    pub const MAX_WINDOW: Duration = Duration::from_secs(366 * 86_400);

    /// `limit` in any rolling second.
    pub const fn per_second(limit: NonZeroU64) -> Self {
        Self { limit, refill: Refill::Rolling(Duration::from_secs(1)) }
    }

    /// `limit` in any rolling minute.
    pub const fn per_minute(limit: NonZeroU64) -> Self {
        Self { limit, refill: Refill::Rolling(Duration::from_secs(60)) }
    }

    /// `limit` in any rolling hour.
    pub const fn per_hour(limit: NonZeroU64) -> Self {
        Self { limit, refill: Refill::Rolling(Duration::from_secs(3_600)) }
    }

    /// `limit` in any rolling 24 hours.
    pub const fn per_day(limit: NonZeroU64) -> Self {
        Self { limit, refill: Refill::Rolling(Duration::from_secs(86_400)) }
    }

    /// `limit` once: it does not come back by itself. Spending caps are of this kind.
    pub const fn once(limit: NonZeroU64) -> Self {
        Self { limit, refill: Refill::Never }
    }

    /// `limit` in any rolling `window`.
    ///
    /// # Errors
    /// [`QuotaError`] where the window is zero or longer than [`Quota::MAX_WINDOW`].
    pub const fn per(limit: NonZeroU64, window: Duration) -> Result<Self, QuotaError> {
        if window.is_zero() {
            return Err(QuotaError::ZeroWindow);
        }
        if window.as_nanos() > Self::MAX_WINDOW.as_nanos() {
            return Err(QuotaError::WindowTooLong);
        }
        Ok(Self { limit, refill: Refill::Rolling(window) })
    }

    /// The amount.
    #[inline]
    pub const fn limit(self) -> NonZeroU64 {
        self.limit
    }

    /// When it comes back.
    #[inline]
    pub const fn refill(self) -> Refill {
        self.refill
    }

    /// The window's length; `None` for a quota that never comes back.
    #[inline]
    pub const fn window(self) -> Option<Duration> {
        match self.refill {
            Refill::Rolling(window) => Some(window),
            Refill::Never => None,
        }
    }

    /// The same window with another amount.
    pub const fn with_limit(self, limit: NonZeroU64) -> Self {
        Self { limit, refill: self.refill }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.limit;
        match self.refill {
            Refill::Never => write!(f, "{limit} in all"),
            Refill::Rolling(window) => match (window.as_secs(), window.subsec_nanos()) {
                (1, 0) => write!(f, "{limit}/s"),
                (60, 0) => write!(f, "{limit}/min"),
                (3_600, 0) => write!(f, "{limit}/h"),
                (86_400, 0) => write!(f, "{limit}/day"),
                _ => write!(f, "{limit} per {window:?}"),
            },
        }
    }
}

impl fmt::Display for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroWindow => "a quota's window is longer than zero",
            Self::WindowTooLong => "a quota's window is 366 days at most",
        })
    }
}

impl std::error::Error for QuotaError {}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: NonZeroU64 = NonZeroU64::new(10).expect("ten is not zero");

    #[test]
    fn windows_are_bounded() {
        assert_eq!(Quota::per(TEN, Duration::ZERO), Err(QuotaError::ZeroWindow));
        assert_eq!(Quota::per(TEN, Duration::MAX), Err(QuotaError::WindowTooLong));
        assert_eq!(Quota::per(TEN, Duration::from_secs(60)), Ok(Quota::per_minute(TEN)));
    }

    #[test]
    fn it_is_shown_as_one_would_say_it() {
        assert_eq!(Quota::per_second(TEN).to_string(), "10/s");
        assert_eq!(Quota::once(TEN).to_string(), "10 in all");
        let odd = Quota::per(TEN, Duration::from_millis(1_500)).expect("a legal window");
        assert_eq!(odd.to_string(), "10 per 1.5s");
    }
}
