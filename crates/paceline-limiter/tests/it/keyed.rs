//! Limits by key, judged by a limiter of its own for every key that is never forgotten.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use paceline_core::{
    Actual, Amount, Clock as _, Demand, Dimension, Instant, LimitKey, LimiterId, ManualClock,
    Quota, Receipt, Refusal,
};
use paceline_limiter::clock::SharedKeyedLimiter;
use paceline_limiter::{ChargeRule, KeyedError, KeyedLimiter, Limit, LimitError, Limiter, Pacing};
use proptest::prelude::*;

use crate::oracle::Log;

const SECOND: u64 = 1_000_000_000;

fn not_zero(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).expect("not zero")
}

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn keys(most: usize) -> NonZeroUsize {
    NonZeroUsize::new(most).expect("not zero")
}

fn per_second(limit: u64) -> Limit {
    Limit::new(LimitKey::All, Dimension::Requests, Quota::per_second(not_zero(limit)))
        .delay(Duration::ZERO)
}

fn one() -> Demand {
    Demand::new().with(Dimension::Requests, Amount::exact(1))
}

fn call(units: u64) -> Demand {
    Demand::call(Amount::exact(units))
}

/// What a key may have to keep to.
fn template(which: u8) -> Vec<Limit> {
    let units = Quota::per(not_zero(40), Duration::from_secs(2)).expect("a window");
    let units = Limit::new(LimitKey::All, Dimension::TotalTokens, units);
    match which {
        0 => vec![per_second(3), units],
        1 => vec![per_second(4).paced(Pacing::Even)],
        2 => vec![units.paced(Pacing::Bucket), per_second(4).paced(Pacing::Burst(not_zero(2)))],
        3 => {
            let two = Quota::once(not_zero(2));
            let mine = LimitKey::Model("mine".into());
            vec![
                Limit::new(LimitKey::All, Dimension::InFlight, two),
                Limit::new(mine, Dimension::Requests, Quota::per_second(NonZeroU64::MIN)),
            ]
        }
        4 => vec![
            units.paced(Pacing::Bucket),
            Limit::new(LimitKey::Model("mine".into()), Dimension::Requests, per_second(2).quota())
                .paced(Pacing::Bucket),
            Limit::new(LimitKey::All, Dimension::Money, Quota::once(not_zero(9))),
            per_second(7).paced(Pacing::Bucket),
        ],
        5 => vec![per_second(3).paced(Pacing::Bucket)],
        _ => vec![Limit::new(LimitKey::All, Dimension::Money, Quota::once(not_zero(9))), units],
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask { key: u8, units: u64, mine: bool },
    Sent(usize),
    HeadReceived(usize),
    Settle { call: usize, percent: u64 },
    Cancel(usize),
    Pass(u64),
    EvictIdle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..7_u8, 1..50_u64, any::<bool>())
            .prop_map(|(key, units, mine)| Step::Ask { key, units, mine }),
        2 => (0..9_usize).prop_map(Step::Sent),
        1 => (0..9_usize).prop_map(Step::HeadReceived),
        4 => (0..9_usize, 0..200_u64).prop_map(|(call, percent)| Step::Settle { call, percent }),
        1 => (0..9_usize).prop_map(Step::Cancel),
        3 => (1..900_u64).prop_map(Step::Pass),
        1 => Just(Step::Pass(5_000)),
        1 => Just(Step::EvictIdle),
    ]
}

/// The keyed limiter, and a limiter for every key ever asked for.
struct Pair {
    keyed: KeyedLimiter<u8>,
    template: Vec<Limit>,
    naive: BTreeMap<u8, Limiter>,
    calls: Vec<(u8, Receipt, Receipt, u64, u64)>,
    granted: BTreeMap<u8, Log>,
    now: u64,
}

const MOST: usize = 3;

impl Pair {
    fn new(template: Vec<Limit>) -> Self {
        let keyed = KeyedLimiter::new(template.clone()).expect("legal limits");
        Self {
            keyed: keyed.with_max_keys(keys(MOST)),
            template,
            naive: BTreeMap::new(),
            calls: Vec::new(),
            granted: BTreeMap::new(),
            now: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Ask { key, units, mine } => {
                // Some may use more than is expected of them.
                let demand = if units % 3 == 0 {
                    Demand::call(Amount::expected(units / 2).upper(units))
                } else {
                    call(units)
                };
                let demand = demand.with(Dimension::Money, Amount::exact(units / 16));
                self.ask(key, &if mine { demand.model("mine") } else { demand }, units);
            }
            Step::Sent(call) => {
                if let Some((key, receipt, naive, ..)) = self.calls.get(call) {
                    let now = at(self.now);
                    assert!(self.keyed.sent(*receipt, now));
                    assert!(self.naive.get_mut(key).expect("asked").sent(*naive, now));
                }
            }
            Step::HeadReceived(call) => {
                if let Some((key, receipt, naive, ..)) = self.calls.get(call) {
                    let now = at(self.now);
                    assert!(self.keyed.head_received(*receipt, now));
                    assert!(self.naive.get_mut(key).expect("asked").head_received(*naive, now));
                }
            }
            Step::Settle { call, percent } if call < self.calls.len() => {
                let (key, receipt, naive, units, granted) = self.calls.swap_remove(call);
                self.granted.entry(key).or_default().count(granted, 1);
                let mut actual = Actual::new();
                // Of some nobody knows what they used.
                if percent % 4 != 0 {
                    actual = actual.with(Dimension::TotalTokens, units * percent / 100);
                }
                let now = at(self.now);
                assert!(self.keyed.settle(receipt, &actual, now));
                assert!(!self.keyed.settle(receipt, &actual, now), "settled twice");
                self.naive.get_mut(&key).expect("asked").settle(naive, &actual, now);
            }
            Step::Cancel(call) if call < self.calls.len() => {
                // It never left, so no server counted it.
                let (key, receipt, naive, ..) = self.calls.swap_remove(call);
                assert!(self.keyed.cancel_unsent(receipt, at(self.now)));
                self.naive.get_mut(&key).expect("asked").cancel_unsent(naive, at(self.now));
            }
            Step::Settle { .. } | Step::Cancel(_) => {}
            Step::Pass(millis) => self.now += millis,
            Step::EvictIdle => {
                self.keyed.evict_idle(at(self.now));
                assert_eq!(self.keyed.len(), self.busy().len(), "exactly the busy ones are kept");
            }
        }
        self.check();
    }

    fn ask(&mut self, key: u8, demand: &Demand, units: u64) {
        let now = at(self.now);
        let is_new = self.keyed.snapshot(&key, now).is_none();
        let answer = self.keyed.try_acquire(&key, demand, now);
        if let Err(Refusal::Unavailable { .. }) = answer {
            assert!(is_new, "a key that is kept has its place");
            assert_eq!(self.busy().len(), MOST, "refused though a key was idle");
            return;
        }
        let naive = self.naive.entry(key).or_insert_with(|| {
            let mut limiter = Limiter::new();
            for limit in &self.template {
                limiter.add(limit.clone()).expect("a legal limit");
            }
            limiter
        });
        match (answer, naive.try_acquire(demand, now)) {
            (Ok(receipt), Ok(other)) => {
                self.calls.push((key, receipt, other, units, self.now * 1_000_000));
            }
            (Err(refusal), Err(other)) => assert_eq!(refusal, other),
            (answer, other) => panic!("{answer:?}, where one never forgotten says {other:?}"),
        }
    }

    /// The keys that remember something.
    fn busy(&mut self) -> Vec<u8> {
        let now = at(self.now);
        let busy = |(key, limiter): (&u8, &mut Limiter)| (!limiter.is_idle(now)).then_some(*key);
        self.naive.iter_mut().filter_map(busy).collect()
    }

    fn check(&mut self) {
        let now = at(self.now);
        assert!(self.keyed.len() <= MOST, "the bound holds");
        for key in self.busy() {
            let snapshot = self.keyed.snapshot(&key, now).expect("a busy key is never forgotten");
            assert_eq!(snapshot, self.naive.get_mut(&key).expect("busy").snapshot(now));
        }
        assert_eq!(self.keyed.in_flight(), self.calls.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_key_fares_as_with_a_limiter_of_its_own_that_forgets_nothing(
        which in 0..7_u8,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut pair = Pair::new(template(which));
        for step in &steps {
            pair.step(step);
        }
        // S1 by a log that knows no limiter, over every eviction in between.
        for (key, .., granted) in &pair.calls {
            pair.granted.entry(*key).or_default().count(*granted, 1);
        }
        let most = match which { 0 => 3, 1 | 2 => 4, _ => u64::MAX };
        for log in pair.granted.values() {
            prop_assert!(log.worst_window(SECOND) <= most);
        }
    }
}

#[test]
fn a_new_key_is_refused_while_every_place_is_busy_and_nothing_changes() {
    let limiter = KeyedLimiter::<String>::new([per_second(1)]).expect("a legal limit");
    let mut limiter = limiter.with_max_keys(keys(2));
    for key in ["a", "b"] {
        let receipt = limiter.try_acquire(key, &one(), at(0)).expect("the first of its second");
        assert!(limiter.settle(receipt, &Actual::new(), at(0)));
    }
    let refusal = limiter.try_acquire("c", &one(), at(900)).expect_err("both are busy");
    assert_eq!(
        refusal.to_string(),
        "the limits can't be asked: as many keys as are kept are in use"
    );
    assert_eq!((limiter.len(), limiter.snapshot("c", at(900))), (2, None));
    assert!(limiter.try_acquire("c", &one(), at(1_010)).is_ok());
    assert_eq!((limiter.len(), limiter.max_keys(), limiter.is_empty()), (2, 2, false));
}

#[test]
fn an_idle_key_far_from_the_hand_is_found_by_asking_again() {
    let limiter = KeyedLimiter::<u32>::new([per_second(1)]).expect("a legal limit");
    let mut limiter = limiter.with_max_keys(keys(100));
    for key in 0..99 {
        let _ = limiter.try_acquire(&key, &one(), at(0)).expect("the first");
    }
    let receipt = limiter.try_acquire(&99, &one(), at(0)).expect("the first");
    limiter.cancel_unsent(receipt, at(0));
    let tries = (1..).find(|_| limiter.try_acquire(&100, &one(), at(0)).is_ok());
    // 32 a time.
    assert_eq!((tries, limiter.len()), (Some(4), 100));
    assert_eq!(limiter.snapshot(&99, at(0)), None);
}

#[test]
fn limits_that_no_key_can_keep_are_named() {
    let new = |limits: Vec<Limit>| KeyedLimiter::<u8>::new(limits).map(|_| ());
    let burst = Pacing::Burst(not_zero(5));
    let error = LimitError::BurstNotBelowLimit { burst: 5, limit: 5 };
    assert_eq!(
        new(vec![per_second(3), per_second(5).paced(burst)]),
        Err(KeyedError::Limit { index: 1, error })
    );
    let named = KeyedError::Limit { index: 1, error };
    assert_eq!(named.to_string(), "limit 1 of every key is not possible");
    assert_eq!(named.source().map(ToString::to_string), Some(error.to_string()));
    let twice = vec![per_second(3), per_second(5)];
    assert_eq!(new(twice), Err(KeyedError::Repeated { index: 1 }));
    let flow = vec![per_second(3).charged(ChargeRule::Flow)];
    assert_eq!(new(flow), Err(KeyedError::Learns { index: 0 }));
    let limit = |seconds| {
        let quota = Quota::per(NonZeroU64::MIN, Duration::from_secs(seconds)).expect("a window");
        Limit::new(LimitKey::All, Dimension::Requests, quota)
    };
    assert_eq!(new((1..=16).map(limit).collect()), Ok(()));
    let many = (1..=17).map(limit).collect();
    assert_eq!(new(many), Err(KeyedError::TooManyLimits { most: 16 }));
}

#[test]
fn a_tenant_that_is_gone_takes_its_calls_with_it() {
    let quota = Quota::once(not_zero(2));
    let flying = Limit::new(LimitKey::All, Dimension::InFlight, quota);
    let mut limiter = KeyedLimiter::<String>::new([flying, per_second(9)]).expect("legal limits");
    let stays = limiter.try_acquire("stays", &call(1), at(0)).expect("room");
    let goes = limiter.try_acquire("goes", &call(1), at(0)).expect("room");
    limiter.retain(|key| key != "goes");
    assert_eq!((limiter.len(), limiter.snapshot("goes", at(0))), (1, None));
    // Another key has its place: what is settled late is not taken from that one.
    let _ = limiter.try_acquire("next", &call(1), at(0)).expect("room");
    let _ = limiter.try_acquire("next", &call(1), at(0)).expect("room");
    assert!(limiter.settle(goes, &Actual::new(), at(0)));
    assert!(limiter.try_acquire("next", &call(1), at(0)).is_err());
    assert!(limiter.settle(stays, &Actual::new(), at(0)));
    assert_eq!(limiter.snapshot("stays", at(0)).map(|snapshot| snapshot.in_flight), Some(0));
    assert_eq!(limiter.in_flight(), 2);
    assert_eq!(format!("{limiter:?}").matches("stays").count(), 0, "keys are not shown");
}

#[test]
fn a_receipt_of_another_limiter_changes_nothing() {
    let mut limiter = KeyedLimiter::<u8>::new([per_second(1)]).expect("a legal limit");
    let ours = limiter.try_acquire(&1, &one(), at(0)).expect("the first");
    let foreign = Receipt::new(LimiterId::new(NonZeroU64::MAX), ours.number());
    assert!(!limiter.sent(foreign, at(0)) && !limiter.head_received(foreign, at(0)));
    assert!(!limiter.settle(foreign, &Actual::new(), at(0)));
    assert!(!limiter.cancel_unsent(foreign, at(0)));
    assert!(limiter.sent(ours, at(0)) && limiter.head_received(ours, at(0)));
    assert!(limiter.try_acquire(&1, &one(), at(999)).is_err());
}

#[test]
fn a_clock_that_lags_keeps_what_was_counted_so_much_longer() {
    let limiter = KeyedLimiter::<u8>::new([per_second(1)]).expect("a legal limit");
    let mut limiter = limiter.with_staleness(Duration::from_millis(50));
    let receipt = limiter.try_acquire(&1, &one(), at(0)).expect("the first");
    limiter.settle(receipt, &Actual::new(), at(0));
    assert!(limiter.try_acquire(&1, &one(), at(1_049)).is_err());
    assert!(limiter.try_acquire(&1, &one(), at(1_060)).is_ok());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what threads do to each other is what is tested")]
fn threads_never_get_more_of_a_key_together() {
    const EACH: u64 = 5;
    let limits = [per_second(EACH)];
    let limiter = KeyedLimiter::<u64>::new(limits).expect("a legal limit");
    let clock = ManualClock::new();
    let limiter = SharedKeyedLimiter::with_clock(limiter, clock.clone());
    let granted: Vec<AtomicU64> = (0..50).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (limiter, granted) = (limiter.clone(), &granted);
            scope.spawn(move || {
                for round in 0..50 * 4 {
                    let key = (round * 7 + thread * 13) % 50;
                    if let Ok(receipt) = limiter.try_acquire(&key, &one()) {
                        granted[key as usize].fetch_add(1, Ordering::Relaxed);
                        assert!(limiter.sent(receipt) && limiter.head_received(receipt));
                        assert!(limiter.settle(receipt, &Actual::new()));
                        assert!(!limiter.cancel_unsent(receipt), "settled already");
                    }
                }
            });
        }
    });
    for granted in &granted {
        assert_eq!(granted.load(Ordering::Relaxed), EACH);
    }
    assert_eq!((limiter.len(), limiter.is_empty(), limiter.evict_idle()), (50, false, 0));
    assert_eq!(limiter.snapshot(&7).map(|snapshot| snapshot.limits[0].used), Some(EACH));
    limiter.retain(|key| *key < 20);
    assert_eq!(limiter.len(), 20);
    clock.advance(Duration::from_secs(2));
    assert_eq!((limiter.now(), limiter.evict_idle()), (clock.now(), 20));
}

#[test]
fn shards_share_the_bound() {
    let limiter = KeyedLimiter::<u64>::new([per_second(1)]).expect("a legal limit");
    let limiter = limiter.with_max_keys(keys(10_000));
    let limiter = SharedKeyedLimiter::with_clock(limiter, ManualClock::new());
    let granted = (0..20_000).filter(|key| limiter.try_acquire(key, &one()).is_ok()).count();
    // Every shard is full by now.
    assert_eq!((granted, limiter.len()), (10_000, 10_000));
    let other = Receipt::new(LimiterId::new(NonZeroU64::MAX), 0);
    assert!(!limiter.settle(other, &Actual::new()));
}
