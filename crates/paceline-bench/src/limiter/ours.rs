//! Our rows: which form of `paceline-limiter` each of them measures.
//!
//! What is not there yet is `None`, which becomes a row that was not measured, never one left out.
//! Invariant: a limiter here is one that a user can build through the public interface.

use std::hash::Hash;
use std::hint::black_box;
use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{
    Actual, Admission, Amount, Demand, Dimension, Instant, LimitKey, Quota, Receipt, Refusal,
};
use paceline_limiter::clock::SharedKeyedLimiter;
use paceline_limiter::tokio::SharedLimiter;
use paceline_limiter::{ChargeRule, Limit, Limiter, Pacing, Profile};

use super::peers::Cycle;
use super::timer::{Awaited, PLACES, Side, Subject};
use super::waiters::{Crowd, WAITERS};

/// The title of what is shared between threads.
const SHARED: &str = "SharedLimiter::try_acquire(), on tokio's clock";

/// How a limit is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A pacer alone, charged on arrival.
    Pacer,
    /// A rolling window behind a pacer; tokens are held until they are settled.
    Guarded,
}

/// So many limits, shared, on an exact clock.
pub(super) fn shared(limits: usize, kind: Kind) -> Option<Side> {
    Some(Side::new("ours", SHARED, Shared::new(limiter(limits, kind))))
}

/// The same on a clock that is a few milliseconds late.
pub(super) fn coarse(_limits: usize, _kind: Kind) -> Option<Side> {
    None
}

/// The same without sharing, the time given.
pub(super) fn pure(limits: usize, kind: Kind) -> Option<Side> {
    let subject = Pure { limiter: limiter(limits, kind), call: Call::new(), now: Instant::ORIGIN };
    Some(Side::new("ours", "Limiter::try_acquire(), time given", subject))
}

/// Two limits of which one pools many calls, with so many in flight throughout.
pub(super) fn flow(_in_flight: usize) -> Option<Side> {
    None
}

/// The same, each decision in a new slot of the window: the work that is done once per slot.
pub(super) fn flow_slot(_in_flight: usize) -> Option<Side> {
    None
}

/// Two limits that are spent.
pub(super) fn refusing() -> Option<Side> {
    let mut spent = Limiter::new();
    let quota = Quota::per_hour(NonZeroU64::MIN);
    spent.add(Limit::new(LimitKey::All, Dimension::Requests, quota)).ok()?;
    spent.add(limit(1, Kind::Guarded)).ok()?;
    let mut subject = Shared::new(spent);
    Subject::acquire(&mut subject, 0);
    Subject::settle(&mut subject, 0);
    Some(Side::new("ours", SHARED, subject))
}

/// One limiter asked by two threads.
pub(super) fn two_threads(limits: usize, kind: Kind) -> Option<Side> {
    let one = Shared::new(limiter(limits, kind));
    let other = Shared { limiter: one.limiter.clone(), call: Call::new() };
    Some(Side::two_threads("ours", SHARED, [one, other]))
}

/// Awaited where nobody has to wait.
pub(super) fn awaited(limits: usize, kind: Kind) -> Option<Side> {
    let subject = Shared::new(limiter(limits, kind));
    Some(Side::awaited("ours", "SharedLimiter::acquire().await, on tokio's clock", subject))
}

/// A limit for each of many keys.
pub(super) fn keyed<K: Clone + Eq + Hash + 'static>(keys: Vec<K>) -> Option<Side> {
    let limiter = SharedKeyedLimiter::new([limit(0, Kind::Pacer)]).ok()?;
    let subject = Keyed { limiter, keys: Cycle::new(keys), call: Call::new() };
    Some(Side::new("ours", "SharedKeyedLimiter::try_acquire()", subject))
}

/// Those who wait in line.
pub(super) fn crowd() -> Option<Crowd> {
    Some(Crowd::new("ours", "SharedLimiter::acquire().await, on tokio's clock", || {
        let limiter = SharedLimiter::new(Limiter::new());
        let quota = u64::try_from(WAITERS).ok().and_then(NonZeroU64::new);
        let quota = Quota::per_second(quota.expect("some thousands"));
        let limit = Limit::new(LimitKey::All, Dimension::Requests, quota);
        limiter
            .add(limit.paced(Pacing::Even).delay(Duration::ZERO))
            .expect("evenly paced is legal");
        move || {
            let limiter = limiter.clone();
            async move {
                let demand = Demand::new().with(Dimension::Requests, Amount::exact(1));
                let receipt = limiter.acquire(&demand).await.expect("one always fits");
                limiter.settle(receipt, &Actual::new());
            }
        }
    }))
}

/// A limiter in virtual time, for what granularity and memory cost.
#[derive(Debug)]
pub(super) struct Held {
    limiter: Limiter,
    limit: fn(LimitKey, Quota) -> Limit,
}

/// Whose tokens are held until they are settled.
pub(super) fn holding() -> Option<Held> {
    let limit = |key, quota| Limit::new(key, Dimension::TotalTokens, quota);
    Some(Held { limiter: Limiter::new(), limit })
}

/// Whose tokens are pooled over the calls in flight.
pub(super) fn flowing() -> Option<Held> {
    None
}

/// Whose requests are counted on arrival, kept as the profile for xAI does it.
pub(super) fn arriving() -> Option<Held> {
    let limit =
        |key, quota| Profile::Grok.limit(key, Dimension::Requests, quota, Limit::DEFAULT_DELAY);
    Some(Held { limiter: Limiter::new(), limit })
}

impl Held {
    /// Adds its limit of a key.
    pub(super) fn add(&mut self, key: LimitKey, quota: Quota) -> Option<()> {
        self.limiter.add((self.limit)(key, quota)).ok()
    }

    /// One call of exactly so much, over at once; or when to ask again.
    pub(super) fn call(&mut self, demand: &Demand, now: Instant) -> Result<(), Instant> {
        match self.limiter.try_acquire(demand, now) {
            Ok(receipt) => {
                let used = demand.amounts().fold(Actual::new(), |used, (dimension, amount)| {
                    used.with(dimension, amount.upper_amount())
                });
                self.limiter.sent(receipt, now);
                self.limiter.settle(receipt, &used, now);
                Ok(())
            }
            Err(Refusal::NotUntil(blocked)) => {
                Err(blocked.until.unwrap_or(now + Duration::from_millis(1)))
            }
            Err(_) => Err(Instant::MAX),
        }
    }
}

/// A limiter that always grants.
fn limiter(limits: usize, kind: Kind) -> Limiter {
    let mut limiter = Limiter::new();
    for index in 0..limits {
        limiter.add(limit(index, kind)).expect("a legal limit");
    }
    limiter
}

/// The first ones are of requests and tokens in a minute, then the same in a second, and so on.
fn limit(index: usize, kind: Kind) -> Limit {
    const DIMENSIONS: [Dimension; 4] = [
        Dimension::Requests,
        Dimension::TotalTokens,
        Dimension::InputTokens,
        Dimension::OutputTokens,
    ];
    let dimension = DIMENSIONS[index / 4 * 2 + index % 2];
    let quota = if index % 4 < 2 { Quota::per_minute(PLENTY) } else { Quota::per_second(PLENTY) };
    let limit = Limit::new(LimitKey::All, dimension, quota);
    match kind {
        Kind::Pacer => limit.charged(ChargeRule::Arrival).paced(Pacing::Bucket),
        Kind::Guarded => limit.paced(Pacing::Burst(BURST)),
    }
}

/// So much that it never runs out.
const PLENTY: NonZeroU64 = NonZeroU64::new(1 << 44).expect("a power of two");

/// The burst of it: as much again never runs out while it is measured.
const BURST: NonZeroU64 = NonZeroU64::new(1 << 43).expect("a power of two");

/// What a call asks for, what it turns out to have used, and what is outstanding.
struct Call {
    demand: Demand,
    actual: Actual,
    receipts: [Option<Receipt>; PLACES],
}

impl Call {
    fn new() -> Self {
        let tokens = Amount::expected(300).upper(900);
        let demand = Demand::call(tokens)
            .with(Dimension::InputTokens, Amount::exact(100))
            .with(Dimension::OutputTokens, Amount::expected(200).upper(800));
        let actual = Actual::new()
            .with(Dimension::TotalTokens, 280)
            .with(Dimension::InputTokens, 100)
            .with(Dimension::OutputTokens, 180);
        Self { demand, actual, receipts: [None; PLACES] }
    }
}

struct Shared {
    limiter: SharedLimiter,
    call: Call,
}

impl Shared {
    fn new(limiter: Limiter) -> Self {
        Self { limiter: SharedLimiter::new(limiter), call: Call::new() }
    }
}

impl Subject for Shared {
    const SETTLES: bool = true;

    fn acquire(&mut self, place: usize) -> bool {
        let receipt = self.limiter.try_acquire(black_box(&self.call.demand)).ok();
        self.call.receipts[place] = receipt;
        receipt.is_some()
    }

    fn settle(&mut self, place: usize) {
        if let Some(receipt) = self.call.receipts[place].take() {
            self.limiter.settle(receipt, black_box(&self.call.actual));
        }
    }
}

impl Awaited for Shared {
    const SETTLES: bool = true;

    async fn acquire(&mut self, place: usize) -> bool {
        let receipt = self.limiter.acquire(black_box(&self.call.demand)).await.ok();
        self.call.receipts[place] = receipt;
        receipt.is_some()
    }

    fn settle(&mut self, place: usize) {
        Subject::settle(self, place);
    }
}

struct Keyed<K> {
    limiter: SharedKeyedLimiter<K>,
    keys: Cycle<K>,
    call: Call,
}

impl<K: Clone + Eq + Hash> Subject for Keyed<K> {
    const SETTLES: bool = true;

    fn acquire(&mut self, place: usize) -> bool {
        let demand = black_box(&self.call.demand);
        let receipt = self.limiter.try_acquire(self.keys.next(), demand).ok();
        self.call.receipts[place] = receipt;
        receipt.is_some()
    }

    fn settle(&mut self, place: usize) {
        if let Some(receipt) = self.call.receipts[place].take() {
            self.limiter.settle(receipt, black_box(&self.call.actual));
        }
    }
}

struct Pure {
    limiter: Limiter,
    call: Call,
    now: Instant,
}

impl Subject for Pure {
    const SETTLES: bool = true;

    fn acquire(&mut self, place: usize) -> bool {
        self.now = self.now + Duration::from_nanos(100);
        let receipt = self.limiter.try_acquire(black_box(&self.call.demand), self.now).ok();
        self.call.receipts[place] = receipt;
        receipt.is_some()
    }

    fn settle(&mut self, place: usize) {
        if let Some(receipt) = self.call.receipts[place].take() {
            self.now = self.now + Duration::from_nanos(100);
            self.limiter.settle(receipt, black_box(&self.call.actual), self.now);
        }
    }
}
