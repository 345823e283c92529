//! How often a decision allocates: for up to eight limits, never.
//!
//! A binary of its own, because it counts every allocation of its process; so it holds one test.
#![cfg(all(not(loom), feature = "tokio"))]

use std::future::Future;
use std::num::NonZeroU64;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use paceline_limiter::tokio::SharedLimiter;
use paceline_limiter::{
    Actual, Admission, Amount, Demand, Dimension, Instant, Limit, LimitKey, Limiter, ManualClock,
    Pacing, Quota,
};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// A limit of the shortest window lets through a little more than nine times this.
const CALLS: u64 = 64;

fn not_zero(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).expect("not zero")
}

/// So many limits, of every rule that a demand for the default dimensions meets.
fn limits(count: u64) -> impl Iterator<Item = Limit> {
    (0..count).map(|number| {
        let per = |seconds| Quota::per(not_zero(CALLS * 9), Duration::from_secs(seconds));
        // Told apart by their windows.
        let quota = per(1 + number).expect("a window");
        let limit = |dimension| Limit::new(LimitKey::All, dimension, quota);
        let places = Quota::once(not_zero(9));
        match number % 4 {
            0 => limit(Dimension::Requests).paced(Pacing::Burst(not_zero(CALLS))),
            1 => limit(Dimension::TotalTokens),
            2 => limit(Dimension::Requests).paced(Pacing::Bucket),
            _ if number == 3 => Limit::new(LimitKey::All, Dimension::InFlight, places),
            _ => limit(Dimension::TotalTokens).paced(Pacing::Burst(not_zero(CALLS))),
        }
    })
}

fn limiter(count: u64) -> Limiter {
    let mut limiter = Limiter::new();
    for limit in limits(count) {
        limiter.add(limit).expect("a legal limit");
    }
    limiter
}

/// Every decision and every end of a call, for some seconds; how many were admitted and refused.
fn decide(limiter: &mut Limiter, from: Instant) -> (usize, usize) {
    let demand = Demand::call(Amount::expected(3).upper(9));
    let (mut now, mut refused, mut admitted) = (from, 0, 0);
    for turn in 0..40 {
        let mut calls = [None; 16];
        for call in &mut calls {
            match limiter.try_acquire(&demand, now) {
                Ok(receipt) => *call = Some(receipt),
                Err(_) => refused += 1,
            }
        }
        for (number, receipt) in calls.into_iter().flatten().enumerate() {
            admitted += 1;
            if (number + turn) % 5 == 0 {
                assert!(limiter.cancel_unsent(receipt, now));
                continue;
            }
            limiter.sent(receipt, now);
            limiter.head_received(receipt, now);
            let used = Actual::new().with(Dimension::TotalTokens, 2);
            assert!(limiter.settle(receipt, &used, now));
        }
        now = now + Duration::from_millis(100);
    }
    (admitted, refused)
}

/// The same through the form for tasks, where the answer is known at once.
fn await_at_once(limiter: &SharedLimiter<ManualClock>) {
    let demand = Demand::call(Amount::exact(1));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..8 {
        let Poll::Ready(answer) = pin!(limiter.acquire(&demand)).poll(&mut context) else {
            panic!("there is room")
        };
        limiter.cancel_unsent(answer.expect("room"));
        let Poll::Ready(answer) = pin!(limiter.permit(&demand)).poll(&mut context) else {
            panic!("there is room")
        };
        answer.expect("room").cancel_unsent();
    }
}

/// How many allocations `work` makes.
fn allocations<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = dhat::HeapStats::get().total_blocks;
    let result = work();
    (dhat::HeapStats::get().total_blocks - before, result)
}

/// The least of three times: what runs the tests allocates now and then beside us, and what we do
/// we do each time.
fn least<T>(mut work: impl FnMut() -> T) -> (u64, T) {
    let runs = [(); 3].map(|()| allocations(&mut work));
    runs.into_iter().min_by_key(|(made, _)| *made).expect("there are three")
}

#[test]
fn up_to_eight_limits_decide_without_allocating() {
    let _profiler = dhat::Profiler::builder().testing().build();
    for count in 1..=8 {
        let mut limiter = limiter(count);
        // The places of calls in flight are made once.
        decide(&mut limiter, Instant::ORIGIN);
        let mut from = Instant::ORIGIN;
        let (made, (admitted, refused)) = least(|| {
            from = from + Duration::from_secs(60);
            decide(&mut limiter, from)
        });
        assert_eq!(made, 0, "{count} limits");
        assert!(admitted > 50, "{count} limits: {admitted}");
        assert!(refused > 0 || count < 4, "{count} limits: {refused} refused");

        let clock = ManualClock::new();
        clock.set(from + Duration::from_secs(60));
        let shared = SharedLimiter::with_clock(limiter, clock);
        assert_eq!(least(|| await_at_once(&shared)).0, 0, "{count} limits, awaited");
    }
    // What a ninth limit is charged with lies elsewhere: it is seen where a place is made.
    let first = |count| {
        let mut limiter = limiter(count);
        allocations(|| limiter.try_acquire(&Demand::call(Amount::exact(1)), Instant::ORIGIN)).0
    };
    assert_eq!(first(9), first(8) + 1);
}
