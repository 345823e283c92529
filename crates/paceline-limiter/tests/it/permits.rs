//! A permit ends its call once, whatever becomes of its owner, in every shared form.
#![cfg(any(feature = "clock", feature = "tokio"))]

use std::num::NonZeroU64;

use paceline_core::{Actual, Amount, Demand, Dimension, LimitKey, ManualClock, Quota, Receipt};
use paceline_limiter::{Issuer, Limit, Limiter, Permit, Snapshot};

const UNITS: Dimension = Dimension::custom::<0>();

fn not_zero(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).expect("not zero")
}

/// Two places at a time, and 10,000 units a minute.
fn limits() -> [Limit; 2] {
    let places = Quota::once(not_zero(2));
    [
        Limit::new(LimitKey::All, Dimension::InFlight, places),
        Limit::new(LimitKey::All, UNITS, Quota::per_minute(not_zero(10_000))),
    ]
}

fn limiter() -> Limiter {
    let mut limiter = Limiter::new();
    for limit in limits() {
        limiter.add(limit).expect("a legal limit");
    }
    limiter
}

/// A call that will probably use 100 units, and 400 at most.
fn call() -> Demand {
    Demand::new()
        .with(Dimension::InFlight, Amount::exact(1))
        .with(UNITS, Amount::expected(100).upper(400))
}

/// How many calls are in flight, how many places they hold, and units used and held.
fn state(snapshot: &Snapshot) -> (usize, u64, u64, u64) {
    let [places, units] = &snapshot.limits[..] else { panic!("two limits") };
    (snapshot.in_flight, places.held, units.used, units.held)
}

/// Every way in which a permit can end, and what the limits have counted after it.
fn ends_once<H: Issuer>(
    permit: impl Fn() -> Permit<H>,
    again: impl Fn(Receipt) -> bool,
    look: impl Fn() -> Snapshot,
) {
    let mut used = 0;
    let mut over = |receipt, counted| {
        used += counted;
        assert_eq!(state(&look()), (0, 0, used, 0));
        assert!(!again(receipt), "it was ended already");
        assert_eq!(state(&look()), (0, 0, used, 0));
    };
    let granted = permit();
    let receipt = granted.receipt();
    let (in_flight, places, units_used, held) = state(&look());
    assert_eq!((in_flight, places, units_used, held), (1, 1, 0, 400));
    drop(granted);
    over(receipt, 0);

    let unsent = permit();
    let receipt = unsent.receipt();
    unsent.cancel_unsent();
    over(receipt, 0);

    // A connection that was refused.
    let mut refused = permit();
    let receipt = refused.receipt();
    refused.sent();
    refused.cancel_unsent();
    over(receipt, 0);

    let mut settled = permit();
    let receipt = settled.receipt();
    settled.sent();
    settled.head_received();
    settled.progress(30);
    settled.settle(&Actual::new().with(UNITS, 70));
    over(receipt, 70);

    let never_said = permit();
    let receipt = never_said.receipt();
    never_said.settle(&Actual::new().with(UNITS, 20));
    over(receipt, 20);

    let mut dropped = permit();
    let receipt = dropped.receipt();
    dropped.sent();
    drop(dropped);
    over(receipt, 400);

    let mut taken = permit();
    taken.sent();
    let receipt = taken.into_receipt();
    assert_eq!(look().in_flight, 1, "whoever took it settles it");
    assert!(again(receipt));
    over(receipt, 400);
}

#[cfg(feature = "clock")]
#[test]
fn a_permit_for_threads_ends_its_call_once() {
    let limiter = paceline_limiter::clock::SharedLimiter::with_clock(limiter(), ManualClock::new());
    ends_once(
        || limiter.permit(&call()).expect("room"),
        |receipt| limiter.settle(receipt, &Actual::new()),
        || limiter.snapshot(),
    );
}

#[cfg(feature = "clock")]
#[test]
fn a_permit_may_borrow_its_limiter() {
    let limiter = paceline_limiter::clock::SharedLimiter::with_clock(limiter(), ManualClock::new());
    ends_once(
        || Permit::new(&limiter, limiter.try_acquire(&call()).expect("room")),
        |receipt| limiter.settle(receipt, &Actual::new()),
        || limiter.snapshot(),
    );
}

#[cfg(feature = "clock")]
#[test]
fn a_permit_of_one_key_ends_its_call_once() {
    use paceline_limiter::KeyedLimiter;
    use paceline_limiter::clock::SharedKeyedLimiter;

    let keyed = KeyedLimiter::<String>::new(limits()).expect("legal limits");
    let limiter = SharedKeyedLimiter::with_clock(keyed, ManualClock::new());
    ends_once(
        || limiter.try_permit("a", &call()).expect("room"),
        |receipt| limiter.settle(receipt, &Actual::new()),
        || limiter.snapshot("a").expect("a key that was asked for"),
    );
}

/// What is counted on arrival is counted by when the answer begins: not at the delay bound after it left.
#[cfg(feature = "clock")]
#[test]
fn every_form_is_told_that_an_answer_has_begun_and_whether_a_pause_has_ended() {
    use std::time::Duration;

    use paceline_limiter::clock::{SharedKeyedLimiter, SharedLimiter};
    use paceline_limiter::{ChargeRule, KeyedLimiter};

    let late = Limit::new(LimitKey::All, UNITS, Quota::per_minute(not_zero(100)))
        .charged(ChargeRule::Arrival)
        .delay(Duration::from_secs(10));
    let all = Demand::new().with(UNITS, Amount::exact(100));
    fn answered<H: Issuer>(mut permit: Permit<H>, clock: &ManualClock, tells: bool) {
        permit.sent();
        clock.advance(Duration::from_secs(1));
        if tells {
            permit.head_received();
        }
        permit.settle(&Actual::new().with(UNITS, 100));
        clock.advance(Duration::from_secs(61));
    }
    for tells in [true, false] {
        let clock = ManualClock::new();
        let keyed = KeyedLimiter::<u8>::new([late.clone()]).expect("legal");
        let keyed = SharedKeyedLimiter::with_clock(keyed, clock.clone());
        answered(keyed.try_permit(&1, &all).expect("room"), &clock, tells);
        assert_eq!(keyed.try_permit(&1, &all).is_ok(), tells, "keyed");

        let clock = ManualClock::new();
        let shared = SharedLimiter::with_clock(Limiter::new(), clock.clone());
        shared.add(late.clone()).expect("legal");
        answered(shared.try_permit(&all).expect("room"), &clock, tells);
        assert_eq!(shared.try_permit(&all).is_ok(), tells, "shared");
        let until = paceline_core::Instant::MAX;
        assert!(!shared.resume(&LimitKey::All, None), "nothing is paused");
        shared.pause(&LimitKey::All, None, until);
        assert!(shared.resume(&LimitKey::All, None));
        assert!(!shared.resume(&LimitKey::All, None));
    }
}

#[cfg(feature = "clock")]
#[test]
fn a_permit_of_another_limiter_changes_nothing() {
    let shared =
        || paceline_limiter::clock::SharedLimiter::with_clock(limiter(), ManualClock::new());
    let (here, there) = (shared(), shared());
    let receipt = there.try_acquire(&call()).expect("room");
    let mut foreign = Permit::new(here.clone(), receipt);
    foreign.sent();
    drop(foreign);
    assert_eq!(state(&here.snapshot()), (0, 0, 0, 0));
    assert_eq!(state(&there.snapshot()), (1, 1, 0, 400));
    assert!(there.cancel_unsent(receipt));
}

#[cfg(feature = "clock")]
#[test]
#[expect(clippy::disallowed_methods, reason = "a test of a thread")]
fn a_thread_that_panics_gives_its_place_back() {
    let limiter = paceline_limiter::clock::SharedLimiter::with_clock(limiter(), ManualClock::new());
    for sent in [false, true] {
        let limiter = limiter.clone();
        let thread = std::thread::spawn(move || {
            let mut permit = limiter.permit(&call()).expect("room");
            if sent {
                permit.sent();
            }
            std::panic::panic_any("the work failed");
        });
        assert!(thread.join().is_err());
    }
    // One never began; of the other nobody knows what it used.
    assert_eq!(state(&limiter.snapshot()), (0, 0, 400, 0));
}

#[cfg(feature = "tokio")]
#[expect(clippy::disallowed_methods, reason = "tests of tasks that are aborted")]
mod tasks {
    use std::future::pending;

    use paceline_core::Admission;
    use paceline_limiter::tokio::SharedLimiter;
    use tokio::task::yield_now;

    use super::*;

    #[test]
    fn a_permit_for_tasks_ends_its_call_once() {
        let limiter = SharedLimiter::with_clock(limiter(), ManualClock::new());
        ends_once(
            || limiter.try_permit(&call()).expect("room"),
            |receipt| {
                let before = limiter.snapshot().in_flight;
                limiter.settle(receipt, &Actual::new());
                limiter.snapshot().in_flight < before
            },
            || limiter.snapshot(),
        );
    }

    /// B1 of the review: a receipt that a task held when it was aborted was held for ever.
    #[tokio::test(start_paused = true)]
    async fn tasks_that_are_aborted_leave_nothing_in_flight() {
        let limiter = SharedLimiter::new(limiter());
        let work = |sent: bool| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let mut permit = limiter.permit(&call()).await.expect("it only has to wait");
                if sent {
                    permit.sent();
                }
                pending::<()>().await;
            })
        };
        // Two have a place, two wait for one.
        let tasks = [work(true), work(false), work(true), work(false)];
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(limiter.snapshot().waiting, 2);
        tasks[2].abort();
        tasks[0].abort();
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(limiter.snapshot().waiting, 0);
        // The last one has the place of the first.
        assert_eq!(state(&limiter.snapshot()).0, 2);
        for task in tasks {
            task.abort();
            assert!(task.await.expect_err("it never ends by itself").is_cancelled());
        }
        assert_eq!(state(&limiter.snapshot()), (0, 0, 400, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_that_was_waited_for_and_never_seen_goes_back() {
        let limiter = SharedLimiter::new(limiter());
        let (one, two) = (limiter.try_permit(&call()), limiter.try_permit(&call()));
        let call = call();
        let mut waits = Box::pin(limiter.permit(&call));
        assert!(poll_once(&mut waits).is_none(), "both places are taken");
        drop((one, two));
        assert_eq!(limiter.snapshot().in_flight, 1, "it has been granted one");
        drop(waits);
        assert_eq!(state(&limiter.snapshot()), (0, 0, 0, 0));
    }

    fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn a_pause_is_ended_once() {
        let limiter = SharedLimiter::with_clock(limiter(), ManualClock::new());
        assert!(!limiter.resume(&LimitKey::All, Some(UNITS)), "nothing is paused");
        limiter.pause(&LimitKey::All, Some(UNITS), paceline_core::Instant::MAX);
        assert!(limiter.try_permit(&call()).is_err());
        assert!(limiter.resume(&LimitKey::All, Some(UNITS)));
        assert!(!limiter.resume(&LimitKey::All, Some(UNITS)));
        assert!(limiter.try_permit(&call()).is_ok());
    }

    #[test]
    fn the_wait_for_a_permit_can_be_spawned() {
        fn is_send<T: Send + 'static>(_: &T) {}
        let limiter = SharedLimiter::with_clock(limiter(), ManualClock::new());
        is_send(&async move { limiter.permit(&call()).await });
    }
}
