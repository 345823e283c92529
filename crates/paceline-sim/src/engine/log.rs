//! Every event there was, and the fullest window among them.
//!
//! It knows of no limit and no rule. Invariant: nothing is left out and nothing is merged.

use std::borrow::Cow;
use std::time::Duration;

use paceline_core::Instant;

/// Every event there was: the naive log that a client is judged by.
///
/// Events may be added in any order. It holds 16 bytes for each; where that is too much,
/// [`Rolling`](super::Rolling) holds only the last window. Sums are exact.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use paceline_core::Instant;
/// use paceline_sim::engine::Log;
///
/// let at = |seconds| Instant::ORIGIN + Duration::from_secs(seconds);
/// let mut log = Log::new();
/// for (second, amount) in [(50, 3), (70, 4), (110, 5)] {
///     log.add(at(second), amount);
/// }
/// let minute = Duration::from_secs(60);
/// // 50 and 70; what is exactly a minute old, as 50 is at 110, has left.
/// assert_eq!(log.worst_window(minute), 9);
/// assert_eq!(log.worst_aligned(minute), 9);
/// assert_eq!(log.worst_window(minute * 2), 12);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Log {
    events: Vec<(Instant, u64)>,
}

impl Log {
    /// Nothing has happened yet.
    pub const fn new() -> Self {
        Self { events: Vec::new() }
    }

    /// So much was counted then.
    pub fn add(&mut self, at: Instant, amount: u64) {
        self.events.push((at, amount));
    }

    /// How many events there were.
    pub const fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there was none.
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The sum of all of them.
    pub fn total(&self) -> u128 {
        self.events.iter().map(|(_, amount)| u128::from(*amount)).sum()
    }

    /// The most in any window `(t - length, t]`; 0 for no length.
    ///
    /// One pass; where events were added out of order, a copy is sorted first.
    pub fn worst_window(&self, length: Duration) -> u128 {
        if length.is_zero() {
            return 0;
        }
        let events = self.in_order();
        let (mut worst, mut sum, mut first) = (0, 0, 0);
        for (at, amount) in events.iter() {
            sum += u128::from(*amount);
            while at.since(events[first].0) >= length {
                sum -= u128::from(events[first].1);
                first += 1;
            }
            worst = worst.max(sum);
        }
        worst
    }

    /// The most in any window `[n * length, (n + 1) * length)` of the clock; 0 for no length.
    ///
    /// Never more than [`Log::worst_window`]: each is one of those.
    pub fn worst_aligned(&self, length: Duration) -> u128 {
        if length.is_zero() {
            return 0;
        }
        let window = |at: Instant| u128::from(at.as_nanos()) / length.as_nanos();
        let events = self.in_order();
        let windows = events.chunk_by(|(one, _), (next, _)| window(*one) == window(*next));
        let sums = windows.map(|events| events.iter().map(|(_, sum)| u128::from(*sum)).sum());
        sums.max().unwrap_or(0)
    }

    fn in_order(&self) -> Cow<'_, [(Instant, u64)]> {
        if self.events.is_sorted_by_key(|(at, _)| *at) {
            return Cow::Borrowed(&self.events);
        }
        let mut events = self.events.clone();
        events.sort_by_key(|(at, _)| *at);
        Cow::Owned(events)
    }
}
