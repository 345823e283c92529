//! The shared forms under every order in which threads can take the lock: `cargo xtask loom`.
//!
//! loom runs each model once for every order that makes a difference, and fails where a thread that
//! blocks is never woken. Time stands still and only a settlement helps, so no timer is needed;
//! tokio's is there because a waiter makes one.
#![cfg(loom)]

use std::num::{NonZeroU64, NonZeroUsize};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use loom::thread;
use paceline_core::{
    Actual, Admission, Amount, Demand, Dimension, LimitKey, ManualClock, Quota, Receipt, Refusal,
};
use paceline_limiter::{KeyedLimiter, Limit, Limiter, clock, tokio};

type Waiting = Pin<Box<dyn Future<Output = Result<Receipt, Refusal>> + Send>>;
type Tasks = tokio::SharedLimiter<ManualClock>;

/// Explores a model, and says in how many orders.
fn explore(name: &str, model: impl Fn() + Send + Sync + 'static) {
    // Waiters make their timers in here; nobody drives it. loom's threads all run on this one.
    let runtime = ::tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let _inside = runtime.enter();
    let orders = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&orders);
    loom::model(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    #[expect(clippy::print_stdout, reason = "how much was explored is a result")]
    {
        println!("{name}: {} orders", orders.load(Ordering::Relaxed));
    }
}

fn in_flight(most: u64) -> Limit {
    let most = Quota::once(NonZeroU64::new(most).expect("not zero"));
    Limit::new(LimitKey::All, Dimension::InFlight, most)
}

fn per_minute(limit: u64) -> Limit {
    let quota = Quota::per_minute(NonZeroU64::new(limit).expect("not zero"));
    Limit::new(LimitKey::All, Dimension::Requests, quota)
}

fn limiter(limits: impl IntoIterator<Item = Limit>) -> Limiter {
    let mut limiter = Limiter::new();
    for limit in limits {
        limiter.add(limit).expect("a legal limit");
    }
    limiter
}

fn call() -> Demand {
    Demand::call(Amount::exact(1))
}

/// Counts how often a waiter is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// One who waits for a place, with the count of its wake-ups.
struct Waiter {
    future: Waiting,
    woken: Arc<Woken>,
}

impl Waiter {
    fn new(limiter: &Tasks) -> Self {
        let limiter = limiter.clone();
        let future = Box::pin(async move { limiter.acquire(&call()).await });
        Self { future, woken: Arc::default() }
    }

    fn poll(&mut self) -> Option<Result<Receipt, Refusal>> {
        let waker = Waker::from(Arc::clone(&self.woken));
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    /// One that has been polled once and waits.
    fn waiting(limiter: &Tasks) -> Self {
        let mut waiter = Self::new(limiter);
        assert!(waiter.poll().is_none(), "there is no room");
        waiter
    }
}

/// A limiter of one call at a time, and the call that is in flight.
fn occupied() -> (Tasks, Receipt) {
    let limiter = Tasks::with_clock(limiter([in_flight(1)]), ManualClock::new());
    let receipt = limiter.try_acquire(&call()).expect("room for the first");
    (limiter, receipt)
}

#[track_caller]
fn assert_idle(limiter: &Tasks) {
    let snapshot = limiter.snapshot();
    let held: u64 = snapshot.limits.iter().map(|limit| limit.held).sum();
    assert_eq!((snapshot.in_flight, snapshot.waiting, held), (0, 0, 0));
}

#[test]
fn threads_are_never_in_flight_beyond_the_limit() {
    explore("threads in flight", || {
        let limits = [in_flight(1), per_minute(2)];
        let limiter = clock::SharedLimiter::with_clock(limiter(limits), ManualClock::new());
        let inside = Arc::new(AtomicUsize::new(0));
        let granted = Arc::new(AtomicUsize::new(0));
        let work = |limiter: clock::SharedLimiter<ManualClock>| {
            let (inside, granted) = (Arc::clone(&inside), Arc::clone(&granted));
            move || {
                for _ in 0..2 {
                    if let Ok(receipt) = limiter.try_acquire(&call()) {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                        granted.fetch_add(1, Ordering::SeqCst);
                        limiter.sent(receipt);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        assert!(limiter.settle(receipt, &Actual::new()));
                    }
                }
            }
        };
        let other = thread::spawn(work(limiter.clone()));
        work(limiter.clone())();
        other.join().expect("no panic");
        let granted = granted.load(Ordering::SeqCst);
        assert!((1..=2).contains(&granted), "{granted} in a minute of 2");
        assert_eq!(limiter.snapshot().limits[1].used, granted as u64);
    });
}

#[test]
fn a_receipt_is_settled_once_whoever_comes_first() {
    explore("settled once", || {
        let limiter = clock::SharedLimiter::with_clock(limiter([in_flight(2)]), ManualClock::new());
        let receipt = limiter.try_acquire(&call()).expect("room");
        let other = limiter.clone();
        let other = thread::spawn(move || other.cancel_unsent(receipt));
        let here = limiter.settle(receipt, &Actual::new());
        assert!(here != other.join().expect("no panic"), "exactly one of them");
        assert_eq!(limiter.snapshot().in_flight, 0);
    });
}

#[test]
fn a_settlement_beside_the_first_poll_is_not_missed() {
    explore("poll and settle", || {
        let (limiter, receipt) = occupied();
        let other = limiter.clone();
        let other = thread::spawn(move || other.settle(receipt, &Actual::new()));
        let mut waiter = Waiter::new(&limiter);
        let first = waiter.poll();
        other.join().expect("no panic");
        if first.is_none() {
            assert!(waiter.woken.times() > 0, "it waits and nobody woke it");
            assert!(matches!(waiter.poll(), Some(Ok(_))));
        }
        assert_eq!(limiter.snapshot().in_flight, 1);
    });
}

#[test]
fn a_waiter_that_goes_away_while_another_settles_wakes_the_next() {
    explore("cancel and settle, another waits", || {
        let (limiter, receipt) = occupied();
        let first = Waiter::waiting(&limiter);
        let mut second = Waiter::waiting(&limiter);
        let cancels = thread::spawn(move || drop(first));
        limiter.settle(receipt, &Actual::new());
        cancels.join().expect("no panic");
        assert!(second.woken.times() > 0, "its turn came and nobody woke it");
        let Some(Ok(receipt)) = second.poll() else { panic!("there is room") };
        limiter.settle(receipt, &Actual::new());
        assert_idle(&limiter);
    });
}

#[test]
fn a_grant_beside_a_cancellation_leaks_nothing() {
    explore("grant and drop", || {
        let (limiter, receipt) = occupied();
        let waiter = Waiter::waiting(&limiter);
        let cancels = thread::spawn(move || drop(waiter));
        limiter.settle(receipt, &Actual::new());
        cancels.join().expect("no panic");
        assert_idle(&limiter);
        assert!(limiter.try_acquire(&call()).is_ok());
    });
}

#[test]
fn a_pause_that_ends_beside_a_poll_is_not_missed() {
    explore("poll and resume", || {
        let limiter = Tasks::with_clock(limiter([in_flight(1)]), ManualClock::new());
        limiter.pause(&LimitKey::All, None, paceline_core::Instant::MAX);
        let mut waiter = Waiter::waiting(&limiter);
        let other = limiter.clone();
        let other = thread::spawn(move || other.resume(&LimitKey::All, None));
        let again = waiter.poll();
        assert!(other.join().expect("no panic"));
        if again.is_none() {
            assert!(waiter.woken.times() > 0, "it waits and nobody woke it");
            assert!(matches!(waiter.poll(), Some(Ok(_))));
        }
    });
}

/// A limiter for threads, of one call at a time.
fn one_at_a_time() -> clock::SharedLimiter<ManualClock> {
    clock::SharedLimiter::with_clock(limiter([in_flight(1)]), ManualClock::new())
}

#[test]
fn a_thread_that_blocks_beside_a_settlement_is_woken() {
    explore("block and settle", || {
        let limiter = one_at_a_time();
        let receipt = limiter.try_acquire(&call()).expect("room for the first");
        let other = limiter.clone();
        let blocks = thread::spawn(move || {
            let receipt = other.acquire(&call()).expect("it only has to wait");
            assert!(other.settle(receipt, &Actual::new()));
        });
        assert!(limiter.settle(receipt, &Actual::new()));
        blocks.join().expect("no panic");
        assert_eq!(limiter.snapshot().in_flight, 0);
    });
}

#[test]
fn a_permit_that_is_dropped_wakes_the_thread_that_blocks() {
    explore("permits in turn", || {
        let limiter = one_at_a_time();
        let first = limiter.try_permit(&call()).expect("room for the first");
        let other = limiter.clone();
        let blocks = thread::spawn(move || {
            let mut permit = other.permit(&call()).expect("it only has to wait");
            permit.sent();
        });
        drop(first);
        // Behind the other, or in front of it.
        drop(limiter.permit(&call()).expect("it only has to wait"));
        blocks.join().expect("no panic");
        let snapshot = limiter.snapshot();
        assert_eq!((snapshot.in_flight, snapshot.waiting, snapshot.limits[0].held), (0, 0, 0));
    });
}

#[test]
fn two_threads_that_bring_the_same_new_key_share_its_limits() {
    explore("one new key", || {
        let keyed = KeyedLimiter::<u8>::new([per_minute(1)]).expect("a legal limit");
        // So few keys that they lie in one shard: each would be a lock more to explore.
        let keyed = keyed.with_max_keys(NonZeroUsize::MIN);
        let keyed = clock::SharedKeyedLimiter::with_clock(keyed, ManualClock::new());
        let ask = |limiter: clock::SharedKeyedLimiter<u8, ManualClock>| {
            move || {
                let receipt = limiter.try_acquire(&7, &call()).ok();
                limiter.evict_idle();
                receipt.map(|receipt| assert!(limiter.settle(receipt, &Actual::new()))).is_some()
            }
        };
        let other = thread::spawn(ask(keyed.clone()));
        let here = ask(keyed.clone())();
        assert!(here != other.join().expect("no panic"), "one in a minute");
        assert_eq!((keyed.len(), keyed.evict_idle()), (1, 0));
    });
}

/// One call at a time for each key. So few keys that they lie in one shard: each would be a lock
/// more to explore.
fn keyed(keys: usize) -> clock::SharedKeyedLimiter<u8, ManualClock> {
    let keyed = KeyedLimiter::<u8>::new([in_flight(1)]).expect("a legal limit");
    let keyed = keyed.with_max_keys(NonZeroUsize::new(keys).expect("not zero"));
    clock::SharedKeyedLimiter::with_clock(keyed, ManualClock::new())
}

#[test]
fn a_key_is_not_forgotten_under_a_call_that_is_let_in_beside_the_eviction() {
    explore("evict and acquire", || {
        let limiter = keyed(2);
        let old = limiter.try_acquire(&7, &call()).expect("room for the first");
        let other = limiter.clone();
        let evicts = thread::spawn(move || other.evict_idle());
        assert!(limiter.settle(old, &Actual::new()));
        let receipt = limiter.try_acquire(&7, &call()).expect("the first is over");
        assert!(evicts.join().expect("no panic") <= 1);
        // Forgotten or not in between, it is kept now, and full.
        assert_eq!((limiter.len(), limiter.evict_idle()), (1, 0));
        assert!(limiter.try_acquire(&7, &call()).is_err(), "two at once");
        assert!(!limiter.settle(old, &Actual::new()), "that one is over");
        assert!(limiter.settle(receipt, &Actual::new()));
        assert_eq!((limiter.evict_idle(), limiter.len()), (1, 0));
    });
}

#[test]
fn a_new_key_takes_the_place_only_of_one_whose_call_is_over() {
    explore("settle and a new key", || {
        let limiter = keyed(1);
        let old = limiter.try_acquire(&7, &call()).expect("room for the first");
        let other = limiter.clone();
        let comes = thread::spawn(move || other.try_acquire(&8, &call()));
        // Whoever comes first: a busy key keeps its place, so that its receipt is good.
        assert!(limiter.settle(old, &Actual::new()));
        match comes.join().expect("no panic") {
            Ok(receipt) => {
                assert!(limiter.snapshot(&7).is_none(), "it made room");
                assert!(!limiter.settle(old, &Actual::new()), "that one is over");
                assert!(limiter.settle(receipt, &Actual::new()));
            }
            Err(refusal) => {
                assert!(matches!(refusal, Refusal::Unavailable { .. }), "{refusal}");
                assert!(limiter.try_acquire(&8, &call()).is_ok(), "there is room by now");
            }
        }
        assert_eq!(limiter.len(), 1);
    });
}

#[test]
fn a_snapshot_of_a_key_beside_a_settlement_shows_one_of_two_states() {
    explore("snapshot and settle", || {
        let limiter = keyed(2);
        let receipt = limiter.try_acquire(&7, &call()).expect("room for the first");
        let other = limiter.clone();
        let settles = thread::spawn(move || other.settle(receipt, &Actual::new()));
        let seen = limiter.snapshot(&7).expect("a busy key is kept, and an idle one until evicted");
        let seen = (seen.in_flight, seen.limits[0].held);
        assert!(matches!(seen, (0, 0) | (1, 1)), "half a settlement: {seen:?}");
        assert!(settles.join().expect("no panic"));
        let after = limiter.snapshot(&7).expect("nobody evicted it");
        assert_eq!((after.in_flight, after.limits[0].held), (0, 0));
    });
}

#[test]
fn a_permit_of_a_key_that_is_dropped_beside_a_grant_frees_its_place_once() {
    explore("permit of a key dropped, another asks", || {
        let limiter = keyed(2);
        let permit = limiter.try_permit(&7, &call()).expect("room for the first");
        let drops = thread::spawn(move || drop(permit));
        let granted = limiter.try_acquire(&7, &call()).ok();
        drops.join().expect("no panic");
        match granted {
            Some(receipt) => {
                assert!(limiter.try_acquire(&7, &call()).is_err(), "two at once");
                assert!(limiter.settle(receipt, &Actual::new()));
            }
            None => assert!(limiter.try_permit(&7, &call()).is_ok(), "its place is free"),
        }
        assert_eq!((limiter.evict_idle(), limiter.len()), (1, 0));
    });
}
