//! Mistakes of other limiters that no timed scenario can show: how often a waiter is polled, what
//! happens between a wake-up and its poll, and what two threads do at once.
//!
//! Each test is named after the public issue. The others are `tests/scenarios/peer-*.toml`.

use std::num::NonZeroU64;

use paceline_core::{Amount, Demand, Dimension, Instant, LimitKey, Quota, Refusal};
use paceline_limiter::{Limit, Limiter, Pacing};

fn not_zero(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).expect("not zero")
}

fn ask(tokens: u64) -> Demand {
    Demand::new().with(Dimension::TotalTokens, Amount::exact(tokens))
}

fn tokens(quota: Quota) -> Limit {
    Limit::new(LimitKey::All, Dimension::TotalTokens, quota)
}

/// smithy-lang/smithy-rs rounded a shortfall below a nanosecond to a wait of zero: here, for
/// rates from slow to absurd, a refusal's moment is ahead and asking then succeeds.
#[test]
fn smithy_whoever_asks_again_when_told_to_is_admitted() {
    for pacing in [Pacing::None, Pacing::Bucket, Pacing::Even, Pacing::Burst(not_zero(2))] {
        for limit in [3, 7, 60, 999_983, 4_000_000_007, Limit::MAX_AMOUNT] {
            let mut limiter = Limiter::new();
            let limit = tokens(Quota::per_second(not_zero(limit))).paced(pacing);
            limiter.add(limit).expect("a legal limit");
            let mut now = Instant::from_nanos(1_234_567);
            let mut asked = 0;
            for _ in 0..50 {
                asked += 1;
                let answer = limiter.try_acquire(&ask(1), now);
                let receipt = match answer {
                    Ok(receipt) => receipt,
                    Err(Refusal::NotUntil(blocked)) => {
                        let until = blocked.until.expect("nothing is in flight");
                        assert!(until > now, "a wait of zero: {blocked:?}");
                        now = until;
                        asked += 1;
                        limiter.try_acquire(&ask(1), now).expect("its time has come")
                    }
                    Err(other) => panic!("{other:?}"),
                };
                assert!(limiter.settle(receipt, &paceline_core::Actual::new(), now));
            }
            assert!((50..=100).contains(&asked));
        }
    }
}

#[cfg(feature = "tokio")]
#[expect(clippy::disallowed_methods, reason = "tests of what waits and of threads")]
mod waiting {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::Duration;

    use paceline_core::{Actual, Admission};
    use paceline_limiter::tokio::SharedLimiter;

    use super::*;

    fn shared(limit: Limit) -> SharedLimiter {
        let mut limiter = Limiter::new();
        limiter.add(limit).expect("a legal limit");
        SharedLimiter::new(limiter)
    }

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Woken(AtomicU64);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll<F: Future + Unpin>(future: &mut F, woken: &Arc<Woken>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(woken));
        std::pin::Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    /// How many polls so many who wait take together.
    async fn polls_of(waiters: u64, limit: Limit) -> u64 {
        let limiter = shared(limit);
        let polls = Arc::new(AtomicU64::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..waiters {
            let (limiter, polls) = (limiter.clone(), Arc::clone(&polls));
            tasks.spawn(async move {
                let demand = ask(1);
                let mut acquire = pin!(limiter.acquire(&demand));
                let counted = poll_fn(|context| {
                    polls.fetch_add(1, Ordering::Relaxed);
                    acquire.as_mut().poll(context)
                });
                let receipt = counted.await.expect("it only has to wait");
                limiter.settle(receipt, &Actual::new());
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.expect("no task panics");
        }
        polls.load(Ordering::Relaxed)
    }

    /// boinkor-net/governor: N who wait in `until_ready` are polled N²/2 times, as each is woken
    /// for each permit.
    #[tokio::test(start_paused = true)]
    async fn governor_two_thousand_who_wait_are_not_polled_a_million_times() {
        for pacing in [Pacing::Bucket, Pacing::Even, Pacing::None] {
            for rate in [100, 1_000] {
                let limit = tokens(Quota::per_second(not_zero(rate))).paced(pacing);
                let polls = polls_of(2_000, limit.delay(Duration::ZERO)).await;
                assert!(polls <= POLLS_EACH * 2_000, "{pacing:?} at {rate}/s: {polls} polls");
            }
        }
    }

    /// When it comes, when it has become the first and sets its timer, and when that fires.
    const POLLS_EACH: u64 = 2;

    /// python/asyncio#270: a waiter that is cancelled after it was woken takes the wake-up with
    /// it. Here the next one is granted and woken.
    #[tokio::test(start_paused = true)]
    async fn asyncio_270_a_waiter_cancelled_after_being_woken_passes_the_wake_on() {
        let limiter = shared(tokens(Quota::per_minute(not_zero(100))));
        let running = limiter.try_acquire(&ask(100)).expect("fits");
        let demand = ask(100);
        let (first, second) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let mut a = Box::pin(limiter.acquire(&demand));
        let mut b = Box::pin(limiter.acquire(&demand));
        assert!(poll(&mut a, &first).is_pending());
        assert!(poll(&mut b, &second).is_pending());
        limiter.cancel_unsent(running);
        assert!(first.0.load(Ordering::SeqCst) > 0, "the first was woken");
        // Whatever woke the second so far has been looked into: there is nothing for it yet.
        assert!(poll(&mut b, &second).is_pending());
        let before = second.0.load(Ordering::SeqCst);
        drop(a);
        assert!(second.0.load(Ordering::SeqCst) > before, "the wake-up was passed on");
        assert!(matches!(poll(&mut b, &second), Poll::Ready(Ok(_))));
    }

    /// The same for one who was granted, and dropped, without ever having been polled.
    #[tokio::test(start_paused = true)]
    async fn asyncio_270_a_waiter_that_was_never_polled_passes_its_grant_on() {
        let limiter = shared(tokens(Quota::per_minute(not_zero(100))));
        let running = limiter.try_acquire(&ask(100)).expect("fits");
        let demand = ask(100);
        let woken = Arc::new(Woken::default());
        let a = limiter.acquire(&demand);
        let mut b = Box::pin(limiter.acquire(&demand));
        assert!(poll(&mut b, &woken).is_pending());
        limiter.cancel_unsent(running);
        assert!(poll(&mut b, &woken).is_pending());
        let before = woken.0.load(Ordering::SeqCst);
        drop(a);
        assert!(woken.0.load(Ordering::SeqCst) > before, "the wake-up was passed on");
        assert!(matches!(poll(&mut b, &woken), Poll::Ready(Ok(_))));
    }

    /// udoprog/leaky-bucket: a waiter that is dropped writes back the state it had seen. Here a
    /// drop leaves the limits as they are.
    #[tokio::test(start_paused = true)]
    async fn leaky_bucket_a_dropped_waiter_writes_no_stale_state_back() {
        let limit = tokens(Quota::per_minute(not_zero(100)));
        let limiter = shared(limit);
        let running = limiter.try_acquire(&ask(60)).expect("fits");
        let demand = ask(100);
        let woken = Arc::new(Woken::default());
        let mut waiter = Box::pin(limiter.acquire(&demand));
        assert!(poll(&mut waiter, &woken).is_pending());
        // All of this is news to the one who waits.
        limiter.sent(running);
        limiter.settle(running, &Actual::new().with(Dimension::TotalTokens, 90));
        let quota = Quota::per_minute(not_zero(120));
        assert!(limiter.set_limit(&LimitKey::All, Dimension::TotalTokens, quota));
        let before = limiter.snapshot();
        assert_eq!((before.limits[0].used, before.limits[0].free), (90, 30));
        drop(waiter);
        let after = limiter.snapshot();
        assert_eq!(after.limits, before.limits);
        assert_eq!(after.waiting, 0);
    }

    /// joshrotenberg/tower-resilience#394 checked one atomic and subtracted from another: two
    /// threads then both took the last unit.
    #[tokio::test(start_paused = true)]
    async fn tower_resilience_394_two_threads_get_no_more_than_one() {
        let here = tokio::runtime::Handle::current();
        for round in 0..20 {
            let limiter = shared(tokens(Quota::per_minute(not_zero(1_000))));
            let granted = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for thread in 0..2 {
                    let (limiter, granted, here) = (&limiter, &granted, &here);
                    scope.spawn(move || {
                        let _clock = here.enter();
                        for turn in 0..2_000 {
                            let amount = 1 + (turn + thread + round) % 3;
                            let Ok(receipt) = limiter.try_acquire(&ask(amount)) else { continue };
                            if turn % 5 == 0 {
                                limiter.cancel_unsent(receipt);
                            } else {
                                granted.fetch_add(amount, Ordering::SeqCst);
                            }
                        }
                    });
                }
            });
            let held = limiter.snapshot().limits[0].held;
            let granted = granted.load(Ordering::SeqCst);
            assert!(granted <= 1_000, "{granted} of 1000");
            assert_eq!(held, granted, "what is counted is what was handed out");
            assert!(granted >= 998, "{granted} of 1000 although everybody asked");
        }
    }
}
