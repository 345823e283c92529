//! What surrounds a wait does as it likes: wakers that hold other waits, runtimes that go away.
#![cfg(feature = "tokio")]

use std::future::Future as _;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use paceline_core::{Acquire, Actual, Admission, Amount, Demand, Dimension, LimitKey, Quota};
use paceline_limiter::tokio::SharedLimiter;
use paceline_limiter::{Limit, Limiter};
use tokio::runtime::{Builder, Runtime};

fn limiter() -> &'static SharedLimiter {
    let limiter = SharedLimiter::new(Limiter::new());
    let one = NonZeroU64::MIN;
    for limit in [
        Limit::new(LimitKey::All, Dimension::InFlight, Quota::once(one)),
        Limit::new(LimitKey::All, Dimension::Requests, Quota::per_day(one)),
    ] {
        limiter.add(limit).expect("a legal limit");
    }
    // So that what waits may outlive the test's own.
    Box::leak(Box::new(limiter))
}

fn demand() -> &'static Demand {
    let one = Amount::exact(1);
    let demand = Demand::new().with(Dimension::InFlight, one).with(Dimension::Requests, one);
    Box::leak(Box::new(demand))
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

fn poll(wait: &mut Pin<Box<Acquire<'static>>>, waker: &Waker) -> bool {
    matches!(wait.as_mut().poll(&mut Context::from_waker(waker)), Poll::Ready(Ok(_)))
}

/// Counts how often it is woken, and may hold another wait as a task would.
#[derive(Default)]
struct Task {
    woken: AtomicUsize,
    #[expect(dead_code, reason = "it is held for as long as the task is")]
    holds: Mutex<Option<Pin<Box<Acquire<'static>>>>>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
    }
}

/// The last waker of a task takes with it what the task waits for.
fn holding(wait: Pin<Box<Acquire<'static>>>) -> Waker {
    let task = Task { holds: Mutex::new(Some(wait)), ..Task::default() };
    Waker::from(Arc::new(task))
}

#[test]
fn a_waker_that_holds_a_wait_of_the_same_limiter_can_be_let_go_of() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let (limiter, demand) = (limiter(), demand());
    let receipt = limiter.try_acquire(demand).expect("one fits");
    let waits = || {
        let mut wait = Box::pin(limiter.acquire(demand));
        assert!(!poll(&mut wait, Waker::noop()));
        wait
    };
    let mut first = waits();
    // One waker takes the place of another, which was the last of its task.
    for _ in 0..3 {
        let inner = waits();
        let waker = holding(inner);
        assert!(!poll(&mut first, &waker));
    }
    assert_eq!(limiter.snapshot().waiting, 2);
    assert!(!poll(&mut first, Waker::noop()));
    assert_eq!(limiter.snapshot().waiting, 1);
    // The same where the wait goes away, and where it is woken.
    let inner = waits();
    let mut second = waits();
    assert!(!poll(&mut second, &holding(inner)));
    drop(second);
    assert_eq!(limiter.snapshot().waiting, 1);
    let inner = waits();
    assert!(!poll(&mut first, &holding(inner)));
    limiter.cancel_unsent(receipt);
    assert!(poll(&mut first, Waker::noop()));
    assert_eq!(limiter.snapshot().waiting, 0);
}

#[test]
fn a_wait_that_outlives_its_runtime_is_woken_by_what_others_do() {
    let (limiter, demand) = (limiter(), demand());
    let receipt = limiter.try_acquire(demand).expect("one fits");
    let task = Arc::new(Task::default());
    let waker = Waker::from(Arc::clone(&task));
    let mut wait = Box::pin(limiter.acquire(demand));
    let gone = runtime();
    gone.block_on(async { assert!(!poll(&mut wait, &waker)) });
    drop(gone);
    let before = task.woken.load(Ordering::Relaxed);
    // Now time alone brings it, in a day: its alarm would be set, but nobody is left to go off.
    limiter.sent(receipt);
    limiter.settle(receipt, &Actual::new());
    assert!(task.woken.load(Ordering::Relaxed) > before, "it is to look for itself");
    // In another runtime it goes on waiting, and is woken when it may go.
    let runtime = runtime();
    let _entered = runtime.enter();
    assert!(!poll(&mut wait, &waker));
    let before = task.woken.load(Ordering::Relaxed);
    let two = NonZeroU64::MIN.saturating_add(1);
    assert!(limiter.set_limit(&LimitKey::All, Dimension::Requests, Quota::per_day(two)));
    assert_eq!(task.woken.load(Ordering::Relaxed), before + 1);
    assert!(poll(&mut wait, &waker));
}
