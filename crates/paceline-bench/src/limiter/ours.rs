//! Our rows: which form of `paceline-limiter` each of them measures.
//!
//! What is not there yet is `None`, which becomes a row that was not measured, never one left out.
//! Invariant: a limiter here is one that a user can build through the public interface.

use std::collections::VecDeque;
use std::hash::Hash;
use std::hint::black_box;
use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{
    Actual, Admission, Amount, Clock, Completion, Demand, Dimension, Instant, LimitKey, Quota,
    Receipt, Refusal,
};
use paceline_limiter::clock::{CoarseClock, QuantaClock, SharedKeyedLimiter, SharedLimiter};
use paceline_limiter::{ChargeRule, Limit, Limiter, Pacing, Profile, tokio};

use super::bare;
use super::peers::Cycle;
use super::timer::{Awaited, PLACES, Side, Subject};
use super::waiters::{Crowd, WAITERS};

/// The title of what is shared between threads.
const SHARED: &str = "clock::SharedLimiter::try_acquire()";

/// The title of what is awaited.
const AWAITED: &str = "tokio::SharedLimiter::acquire().await, on a QuantaClock";

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
    Some(Side::new("ours", SHARED, on_time(limiter(limits, kind))))
}

/// The lock and the clock of it alone: what a decision can't cost less than.
pub(super) fn floor() -> Side {
    let limiter = SharedLimiter::new(Limiter::new());
    let title = "clock::SharedLimiter::resume() of no pause";
    Side::new("ours", title, move || !limiter.resume(black_box(&LimitKey::All), None))
}

/// So many limits with windows behind pacers, written out by hand.
pub(super) fn by_hand(limits: usize) -> Side {
    bare::side(limits, &Call::new().demand, 280)
}

/// The same on a clock that is a few milliseconds late.
pub(super) fn coarse(limits: usize, kind: Kind) -> Option<Side> {
    let clock = CoarseClock::start(Duration::from_millis(1)).ok()?;
    let limiter = SharedLimiter::with_coarse_clock(limiter(limits, kind), clock);
    let title = "clock::SharedLimiter::try_acquire(), on a CoarseClock of 1 ms";
    Some(Side::new("ours", title, Shared { limiter, call: Call::new() }))
}

/// The same without sharing, the time given.
pub(super) fn pure(limits: usize, kind: Kind) -> Option<Side> {
    let subject = Pure { limiter: limiter(limits, kind), call: Call::new(), now: Instant::ORIGIN };
    Some(Side::new("ours", "Limiter::try_acquire(), time given", subject))
}

/// Two limits of which one pools many calls, with so many in flight throughout.
pub(super) fn flow(in_flight: usize) -> Option<Side> {
    let mut subject = on_time(pooling());
    subject.call.demand = lasting(&subject.call.demand);
    for _ in 0..in_flight {
        let receipt = subject.limiter.try_acquire(&subject.call.demand).ok()?;
        subject.limiter.sent(receipt);
    }
    Some(Side::new("ours", SHARED, subject))
}

/// The same, each decision in a new slot of the window: the work that is done once per slot.
pub(super) fn flow_slot(in_flight: usize) -> Option<Side> {
    let mut call = Call::new();
    call.demand = lasting(&call.demand);
    let mut limiter = pooling();
    let now = Instant::ORIGIN + Duration::from_secs(3_600);
    let others: Option<VecDeque<_>> = (0..in_flight)
        .map(|_| {
            let receipt = limiter.try_acquire(&call.demand, now).ok()?;
            limiter.sent(receipt, now);
            Some(receipt)
        })
        .collect();
    let renewed = in_flight.div_ceil(PLACES);
    let subject = Slots { limiter, call, now, others: others?, renewed };
    Some(Side::new("ours", "Limiter::try_acquire(), each in a new slot", subject))
}

/// Two limits that are spent.
pub(super) fn refusing() -> Option<Side> {
    let mut spent = Limiter::new();
    let quota = Quota::per_hour(NonZeroU64::MIN);
    spent.add(Limit::new(LimitKey::All, Dimension::Requests, quota)).ok()?;
    spent.add(limit(1, Kind::Guarded)).ok()?;
    let mut subject = on_time(spent);
    Subject::acquire(&mut subject, 0);
    Subject::settle(&mut subject, 0);
    Some(Side::new("ours", SHARED, subject))
}

/// One limiter asked by two threads.
pub(super) fn two_threads(limits: usize, kind: Kind) -> Option<Side> {
    let one = on_time(limiter(limits, kind));
    let other = Shared { limiter: one.limiter.clone(), call: Call::new() };
    Some(Side::two_threads("ours", SHARED, [one, other]))
}

/// Awaited where nobody has to wait.
pub(super) fn awaited(limits: usize, kind: Kind) -> Option<Side> {
    let limiter = tokio::SharedLimiter::with_clock(limiter(limits, kind), QuantaClock::new());
    Some(Side::awaited("ours", AWAITED, Tasks { limiter, call: Call::new() }))
}

/// A limit for each of many keys.
pub(super) fn keyed<K: Clone + Eq + Hash + 'static>(keys: Vec<K>) -> Option<Side> {
    let limiter = SharedKeyedLimiter::new([limit(0, Kind::Pacer)]).ok()?;
    let subject = Keyed { limiter, keys: Cycle::new(keys), call: Call::new() };
    Some(Side::new("ours", "SharedKeyedLimiter::try_acquire()", subject))
}

/// Those who wait in line, one after the other, or as many at once as come in twice the slack.
pub(super) fn crowd(slack: Duration) -> Option<Crowd> {
    Some(Crowd::new("ours", AWAITED, move || {
        let limiter = tokio::SharedLimiter::with_clock(Limiter::new(), QuantaClock::new());
        let waiters = u64::try_from(WAITERS).expect("some thousands");
        let quota = Quota::per_second(NonZeroU64::new(waiters).expect("some thousands"));
        let at_once = u128::from(waiters) * slack.as_millis() * 2 / 1_000;
        let at_once = u64::try_from(at_once).ok().and_then(NonZeroU64::new);
        let limit = Limit::new(LimitKey::All, Dimension::Requests, quota)
            .paced(at_once.map_or(Pacing::Even, Pacing::Burst))
            .delay(Duration::ZERO);
        limiter.add(limit).expect("paced so it is legal");
        limiter.set_slack(slack);
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
    let limit =
        |key, quota| Limit::new(key, Dimension::TotalTokens, quota).charged(ChargeRule::Flow);
    Some(Held { limiter: Limiter::new(), limit })
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

    /// No limit holds anything up in its first second.
    pub(super) fn know_the_past(&mut self) {
        know_the_past(&mut self.limiter);
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

/// A pacer for requests, and for tokens a limit that pools the calls in flight.
fn pooling() -> Limiter {
    let mut limiter = limiter(1, Kind::Pacer);
    let tokens = Limit::new(LimitKey::All, Dimension::TotalTokens, Quota::per_minute(PLENTY));
    limiter.add(tokens.charged(ChargeRule::Flow)).expect("a legal limit");
    know_the_past(&mut limiter);
    limiter
}

/// As after a restart whose history is known: nothing is held up in the first second.
fn know_the_past(limiter: &mut Limiter) {
    let mut saved = limiter.save(Instant::ORIGIN);
    saved.limits.iter_mut().for_each(|limit| limit.flow = None);
    limiter.restore(&saved, Duration::ZERO, Instant::ORIGIN);
}

/// A demand of which it is known when it will be over, as most of them are.
fn lasting(demand: &Demand) -> Demand {
    let range = Completion::between(Duration::from_millis(500), Duration::from_secs(20));
    demand.clone().completes(range)
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

struct Shared<C = QuantaClock> {
    limiter: SharedLimiter<C>,
    call: Call,
}

fn on_time(limiter: Limiter) -> Shared {
    Shared { limiter: SharedLimiter::new(limiter), call: Call::new() }
}

impl<C: Clock> Subject for Shared<C> {
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

struct Tasks {
    limiter: tokio::SharedLimiter<QuantaClock>,
    call: Call,
}

impl Awaited for Tasks {
    const SETTLES: bool = true;

    async fn acquire(&mut self, place: usize) -> bool {
        let receipt = self.limiter.acquire(black_box(&self.call.demand)).await.ok();
        self.call.receipts[place] = receipt;
        receipt.is_some()
    }

    fn settle(&mut self, place: usize) {
        if let Some(receipt) = self.call.receipts[place].take() {
            self.limiter.settle(receipt, black_box(&self.call.actual));
        }
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

/// One decision a slot, with others in flight, of which some are over each time.
struct Slots {
    limiter: Limiter,
    call: Call,
    now: Instant,
    others: VecDeque<Receipt>,
    /// How many of the others are settled and replaced with each call, so that each of them lasts
    /// for as many slots as there are places.
    renewed: usize,
}

impl Slots {
    /// At least a slot of a window of a minute.
    const SLOT: Duration = Duration::from_nanos(1 << 28);
}

impl Subject for Slots {
    const SETTLES: bool = true;

    fn acquire(&mut self, place: usize) -> bool {
        self.now = self.now + Self::SLOT;
        let receipt = self.limiter.try_acquire(black_box(&self.call.demand), self.now).ok();
        self.call.receipts[place] = receipt;
        receipt.is_some()
    }

    fn settle(&mut self, place: usize) {
        if let Some(receipt) = self.call.receipts[place].take() {
            self.limiter.settle(receipt, black_box(&self.call.actual), self.now);
        }
        for _ in 0..self.renewed {
            let Some(over) = self.others.pop_front() else { return };
            self.limiter.settle(over, black_box(&self.call.actual), self.now);
            if let Ok(next) = self.limiter.try_acquire(black_box(&self.call.demand), self.now) {
                self.limiter.sent(next, self.now);
                self.others.push_back(next);
            }
        }
    }
}
