//! Time as an argument: a monotonic instant in nanoseconds and the trait of what can tell it.
//!
//! Nothing here reads a clock. The origin of an [`Instant`] is the clock's own; instants of two
//! clocks must not be mixed.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moment on a monotonic clock: nanoseconds since that clock's origin (584 years fit).
///
/// Arithmetic saturates in both directions, so a clock that steps back yields zero durations
/// and never a wrapped one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Instant(u64);

impl Instant {
    /// The origin of the clock.
    pub const ORIGIN: Self = Self(0);
    /// The last moment that can be told.
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the clock's origin.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero where it is not after it.
    #[inline]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::MAX`].
    #[inline]
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(nanos(later)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::ORIGIN`].
    #[inline]
    fn sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(earlier)))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// A moment of wall time: milliseconds since 1970-01-01 00:00 UTC.
///
/// For dates, journals and ledgers; never for pacing, because wall clocks step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct UnixMillis(i64);

impl UnixMillis {
    /// The moment so many milliseconds after 1970-01-01 00:00 UTC.
    pub const fn new(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01 00:00 UTC; below zero before it.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero where it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(if millis > 0 { millis.unsigned_abs() } else { 0 })
    }
}

/// What can tell the time: one monotonic clock, shared by all who compare its instants.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment. May repeat; where it steps back, the limits mint nothing.
    fn now(&self) -> Instant;

    /// By how much [`Clock::now`] may lag behind, at most. Whoever keeps limits on this clock adds
    /// it to the delay bounds. It must not change. Default: nothing.
    fn staleness(&self) -> Duration {
        Duration::ZERO
    }
}

/// A clock that stands still until it is told to move, for tests and simulations.
///
/// Clones share the same time.
///
/// ```
/// use std::time::Duration;
/// use paceline_core::{Clock, ManualClock};
///
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_millis(20));
/// assert_eq!(clock.now().since(before), Duration::from_millis(20));
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that stands at [`Instant::ORIGIN`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now() + by);
    }

    /// Puts the clock at a moment, later or earlier.
    pub fn set(&self, now: Instant) {
        self.0.store(now.0, Ordering::Release);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant(self.0.load(Ordering::Acquire))
    }
}

/// A duration in whole nanoseconds, saturating.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_steps_back_yields_zero() {
        let later = Instant::from_nanos(5);
        assert_eq!(Instant::ORIGIN.since(later), Duration::ZERO);
        assert_eq!(Instant::ORIGIN - Duration::from_secs(1), Instant::ORIGIN);
        assert_eq!(Instant::MAX + Duration::MAX, Instant::MAX);
    }

    #[test]
    fn it_is_shown_in_seconds() {
        assert_eq!(Instant::from_nanos(1_000_000_007).to_string(), "1.000000007s");
    }
}
