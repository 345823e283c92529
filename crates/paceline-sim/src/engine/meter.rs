//! The running count of one limit.
//!
//! It knows one limit only, and no name of it; whoever has several asks each. Invariant: a call is
//! counted once, and changes the count at most once more when it is over.

use std::collections::HashMap;

use paceline_core::Instant;
use thiserror::Error;

use super::bucket::Bucket;
use super::rule::{Charge, Rule, Shape};
use super::slots::Slots;

/// What a call that arrives will come to, in the limit's unit.
///
/// Which of the three matters is the rule's [`Charge`]. They need not be in order: a call may use
/// more than it could, as real ones do.
///
/// # Examples
/// ```
/// use paceline_sim::engine::Ask;
///
/// let ask = Ask::new(700).input(100).most(4_196);
/// assert_eq!((ask.input, ask.total, ask.most), (100, 700, 4_196));
/// assert_eq!(Ask::new(1), Ask::new(1).input(1).most(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Ask {
    /// What it brings.
    pub input: u64,
    /// What it will have used when it is over, input included.
    pub total: u64,
    /// What it could use, input included.
    pub most: u64,
}

/// A call that was admitted, as its meter knows it. It means nothing to another meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call(u64);

/// A call that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("{actual} would be counted, {limit} are allowed")]
#[non_exhaustive]
pub struct Exceeded {
    /// What was counted and what the call is judged by, at most [`u64::MAX`].
    pub actual: u64,
    /// The most that may be counted at once: the limit; for a bucket, its capacity.
    pub limit: u64,
}

/// The running count of one limit.
///
/// Where the time steps back, the latest moment is taken at which a call arrived or was over, or
/// something was counted or set. Sums are exact inside and at most [`u64::MAX`] where they are
/// told.
///
/// It holds 32 bytes for each moment of the last window at which something was counted (sliding;
/// other shapes hold a few counters), and an entry for each call that was admitted and is not
/// over: whoever does not complete calls lets it grow. A call costs the same however long the
/// window is.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use paceline_core::Instant;
/// use paceline_sim::engine::{Ask, Charge, Meter, Rule, Shape};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (minute, pair) = (Duration::from_secs(60), Shape::Bucket { capacity: 2 });
/// let mut requests = Meter::new(Rule::new(60, minute, pair, Charge::Arrival)?);
/// let start = Instant::ORIGIN;
/// requests.arrive(Ask::new(1), start)?;
/// requests.arrive(Ask::new(1), start)?;
/// let refused = requests.arrive(Ask::new(1), start).unwrap_err();
/// assert_eq!((refused.actual, refused.limit), (3, 2));
/// // A server that counts refused requests as well:
/// requests.count(1, start);
/// assert_eq!(requests.used(start), 3);
/// requests.arrive(Ask::new(1), start + Duration::from_secs(2))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Meter {
    rule: Rule,
    count: Count,
    /// Calls that are not over, by their numbers.
    open: HashMap<u64, Open>,
    next: u64,
    latest: Instant,
    peak: u128,
}

/// What was counted, as far as the shape looks back.
#[derive(Clone, Debug)]
enum Count {
    Slots(Slots),
    Bucket(Bucket),
}

#[derive(Clone, Copy, Debug)]
struct Open {
    arrived: Instant,
    ask: Ask,
}

impl Ask {
    /// All of it input, and no more than it could use.
    pub const fn new(total: u64) -> Self {
        Self { input: total, total, most: total }
    }

    /// So much of it is there from the start.
    #[must_use]
    pub const fn input(mut self, input: u64) -> Self {
        self.input = input;
        self
    }

    /// It could use so much.
    #[must_use]
    pub const fn most(mut self, most: u64) -> Self {
        self.most = most;
        self
    }
}

impl Meter {
    /// Nothing has been counted yet; a bucket is full.
    pub fn new(rule: Rule) -> Self {
        let count = match rule.shape() {
            Shape::Sliding => Count::Slots(Slots::new(rule.window().as_nanos())),
            Shape::Aligned => Count::Slots(Slots::new(1)),
            Shape::TwoCounter => Count::Slots(Slots::new(2)),
            Shape::Slices { count } => Count::Slots(Slots::new(u128::from(count))),
            Shape::Bucket { .. } => Count::Bucket(Bucket::FULL),
        };
        let (open, latest) = (HashMap::new(), Instant::ORIGIN);
        Self { rule, count, open, next: 0, latest, peak: 0 }
    }

    /// Admits a call that arrives, and counts it where it is counted on arrival; or refuses it and
    /// counts nothing.
    ///
    /// It is refused where what is counted and what it is judged by exceed [`Rule::most`]. A
    /// bucket that is full lets in more than it holds.
    ///
    /// # Errors
    /// [`Exceeded`], with both numbers.
    pub fn arrive(&mut self, ask: Ask, now: Instant) -> Result<Call, Exceeded> {
        let now = self.advance(now);
        let judged_by = match self.rule.charge() {
            Charge::Arrival => ask.total,
            Charge::Completion => ask.input,
            Charge::Held => ask.most,
        };
        let limit = self.rule.most();
        let looked_at = match self.rule.shape() {
            Shape::Bucket { capacity } => judged_by.min(capacity),
            _ => judged_by,
        };
        let used = self.used_exactly(now);
        if used + u128::from(looked_at) > u128::from(limit) {
            return Err(Exceeded { actual: told(used + u128::from(judged_by)), limit });
        }
        match self.rule.charge() {
            Charge::Arrival | Charge::Held => self.count(judged_by, now),
            Charge::Completion => {}
        }
        let number = self.next;
        self.next += 1;
        self.open.insert(number, Open { arrived: now, ask });
        Ok(Call(number))
    }

    /// A call is over, and is counted as its rule says, whatever the limit. `false`, and nothing
    /// changes, where it is not open.
    pub fn complete(&mut self, call: Call, now: Instant) -> bool {
        let Some(Open { arrived, ask }) = self.open.remove(&call.0) else { return false };
        let now = self.advance(now);
        match self.rule.charge() {
            Charge::Arrival => {}
            Charge::Completion => self.count(ask.total, now),
            Charge::Held => self.settle(ask, arrived, now),
        }
        true
    }

    /// The same where it used another amount than was said when it arrived, such as a stream that its
    /// client broke off. What was counted on arrival stays.
    pub fn complete_with(&mut self, call: Call, total: u64, now: Instant) -> bool {
        if let Some(open) = self.open.get_mut(&call.0) {
            open.ask.total = total;
        }
        self.complete(call, now)
    }

    /// Counts an amount, whatever that makes. For what no call stands for, such as a request that
    /// is counted although it was refused.
    pub fn count(&mut self, amount: u64, now: Instant) {
        let now = self.advance(now);
        let place = self.place(now);
        match &mut self.count {
            Count::Slots(slots) => slots.add(place, amount),
            Count::Bucket(bucket) => bucket.take(amount),
        }
        self.note_peak(now);
    }

    /// Another limit from now on. What was counted stays counted, what a bucket was refilled with
    /// until now stays in it, and its capacity stays.
    pub fn set_limit(&mut self, limit: u64, now: Instant) {
        self.advance(now);
        self.rule = self.rule.with_limit(limit);
    }

    /// What is counted now; of a bucket, what it lacks. Fractions are rounded up.
    pub fn used(&self, now: Instant) -> u64 {
        told(self.used_exactly(now.max(self.latest)))
    }

    /// How much more may be counted now: what a bucket holds, or what the limit leaves. Zero where
    /// more was counted than is allowed. Fractions are rounded down.
    pub fn remaining(&self, now: Instant) -> u64 {
        self.rule.most().saturating_sub(self.used(now))
    }

    /// The most that was ever counted at once.
    pub fn peak(&self) -> u64 {
        told(self.peak)
    }

    /// How many calls were admitted and are not over.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The rule as it is now.
    pub const fn rule(&self) -> Rule {
        self.rule
    }

    /// The moment to count at, never before one that was seen, with all forgotten that has left.
    fn advance(&mut self, now: Instant) -> Instant {
        let now = now.max(self.latest);
        self.latest = now;
        let place = self.place(now);
        match &mut self.count {
            Count::Slots(slots) => slots.forget(place),
            Count::Bucket(bucket) => {
                *bucket = bucket.refilled(self.rule.limit(), self.rule.window(), now);
            }
        }
        now
    }

    /// What a call used stands in the place of what it could use.
    fn settle(&mut self, ask: Ask, arrived: Instant, now: Instant) {
        let place = self.place(arrived);
        match &mut self.count {
            Count::Slots(slots) => slots.replace(place, ask.most, ask.total),
            Count::Bucket(bucket) if ask.total > ask.most => bucket.take(ask.total - ask.most),
            Count::Bucket(bucket) => bucket.give_back(ask.most - ask.total),
        }
        self.note_peak(now);
    }

    /// The slot of a moment. Slices of a window that they do not divide begin at the first
    /// nanosecond after their exact beginning.
    fn place(&self, now: Instant) -> u128 {
        let (now, window) = (u128::from(now.as_nanos()), self.rule.window().as_nanos());
        match self.rule.shape() {
            Shape::Sliding => now,
            Shape::Aligned | Shape::TwoCounter => now / window,
            Shape::Slices { count } => now * u128::from(count) / window,
            Shape::Bucket { .. } => 0,
        }
    }

    fn used_exactly(&self, now: Instant) -> u128 {
        let place = self.place(now);
        let (limit, window) = (self.rule.limit(), self.rule.window());
        match (&self.count, self.rule.shape()) {
            (Count::Bucket(bucket), _) => bucket.refilled(limit, window, now).lacks(),
            (Count::Slots(slots), Shape::TwoCounter) => {
                let present = slots.at(place);
                let window = window.as_nanos();
                let reached = window - u128::from(now.as_nanos()) % window;
                present + share(slots.sum(place) - present, reached, window)
            }
            (Count::Slots(slots), _) => slots.sum(place),
        }
    }

    fn note_peak(&mut self, now: Instant) {
        self.peak = self.peak.max(self.used_exactly(now));
    }
}

/// `amount * part / whole`, rounded up, for a part that is no more than the whole.
///
/// An amount above 0 means that a window has passed, so that the whole is below 2^64 and nothing
/// overflows.
const fn share(amount: u128, part: u128, whole: u128) -> u128 {
    amount / whole * part + (amount % whole * part).div_ceil(whole)
}

/// As it is told: at most [`u64::MAX`].
fn told(amount: u128) -> u64 {
    u64::try_from(amount).unwrap_or(u64::MAX)
}
