//! L2: nobody waits for ever while it would fit, whoever else comes, goes, settles or changes
//! limits; in both waiting forms.
#![cfg(feature = "tokio")]
#![expect(clippy::disallowed_methods, reason = "tests of what waits")]

use std::future::Future as _;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use paceline_core::{Actual, Admission, Amount, Demand, Dimension, LimitKey, Quota};
use paceline_limiter::tokio::SharedLimiter;
use paceline_limiter::{ChargeRule, Limit, Limiter, Overtaking, Pacing, QueuePolicy};
use proptest::prelude::*;
use tokio::time::{sleep, timeout};

/// Times are multiples of this, so that much happens in one moment.
const MOMENT: u64 = 40;

/// One task: when it comes, what it asks, how long it has patience, and how it ends.
#[derive(Clone, Debug)]
struct Task {
    after_ms: u64,
    tokens: u64,
    /// `None`: it waits for as long as it takes.
    patience_ms: Option<u64>,
    work_ms: u64,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Settled(u64),
    Unknown,
    NeverSent,
}

/// What else happens.
#[derive(Clone, Debug)]
enum Deed {
    Limit(u64),
    Pause(u64),
    Resume,
}

const LIMIT: u64 = 100;

fn quota(limit: u64) -> Quota {
    let limit = NonZeroU64::new(limit).expect("not zero");
    Quota::per(limit, Duration::from_millis(1_000)).expect("a window")
}

fn task() -> impl Strategy<Value = Task> {
    let end = prop_oneof![
        4 => (0..=100_u64).prop_map(End::Settled),
        1 => Just(End::Unknown),
        1 => Just(End::NeverSent)
    ];
    // Most of what waits goes away again.
    let patience = prop_oneof![1 => Just(None), 2 => (0..1_500 / MOMENT).prop_map(Some)];
    (0..2_000 / MOMENT, 1..=LIMIT, patience, 0..800 / MOMENT, end).prop_map(
        |(after, tokens, patience, work, end)| Task {
            after_ms: after * MOMENT,
            tokens,
            patience_ms: patience.map(|patience| patience * MOMENT),
            work_ms: work * MOMENT,
            end,
        },
    )
}

fn deed() -> impl Strategy<Value = (u64, Deed)> {
    let deed = prop_oneof![
        2 => (1..=LIMIT).prop_map(Deed::Limit),
        1 => (0..500_u64).prop_map(Deed::Pause),
        1 => Just(Deed::Resume)
    ];
    (0..3_000_u64, deed)
}

fn shared(pacing: Pacing, rule: ChargeRule) -> SharedLimiter {
    let limiter = SharedLimiter::new(Limiter::new());
    let tokens = Limit::new(LimitKey::All, Dimension::TotalTokens, quota(LIMIT));
    let tokens = tokens.charged(rule).paced(pacing).delay(Duration::from_millis(20));
    let in_flight = NonZeroU64::new(5).expect("not zero");
    for limit in [tokens, Limit::new(LimitKey::All, Dimension::InFlight, Quota::once(in_flight))] {
        limiter.add(limit).expect("a legal limit");
    }
    limiter
}

async fn run(limiter: SharedLimiter, task: Task, admitted: Arc<AtomicU64>) {
    sleep(Duration::from_millis(task.after_ms)).await;
    let demand = Demand::call(Amount::exact(task.tokens));
    let asked = limiter.acquire(&demand);
    let receipt = match task.patience_ms {
        None => asked.await,
        // The time is looked at first: a grant of the same moment is never seen.
        Some(patience) => tokio::select! {
            biased;
            () = sleep(Duration::from_millis(patience)) => return,
            answer = asked => answer,
        },
    };
    // Above a limit that was cut meanwhile it is refused, and that is an answer.
    let Ok(receipt) = receipt else { return };
    admitted.fetch_add(1, Ordering::Relaxed);
    if matches!(task.end, End::NeverSent) {
        sleep(Duration::from_millis(task.work_ms)).await;
        return limiter.cancel_unsent(receipt);
    }
    limiter.sent(receipt);
    sleep(Duration::from_millis(task.work_ms)).await;
    let mut actual = Actual::new();
    if let End::Settled(percent) = task.end {
        actual = actual.with(Dimension::TotalTokens, task.tokens * percent / 100);
    }
    limiter.settle(receipt, &actual);
}

async fn change(limiter: SharedLimiter, after_ms: u64, deed: Deed) {
    sleep(Duration::from_millis(after_ms)).await;
    match deed {
        Deed::Limit(limit) => {
            limiter.set_limit(&LimitKey::All, Dimension::TotalTokens, quota(limit));
        }
        Deed::Pause(ms) => {
            limiter.pause(&LimitKey::All, None, limiter.now() + Duration::from_millis(ms));
        }
        Deed::Resume => {
            limiter.resume(&LimitKey::All, None);
        }
    }
}

/// Looks all the time that the first who waits would not fit: what fits is admitted within the
/// next ticks of the timer, however the tasks of one moment are ordered.
async fn watch(limiter: SharedLimiter) {
    let mut late = 0;
    loop {
        let seen = limiter.snapshot();
        late += 1;
        match &seen.blocked {
            None if seen.waiting > 0 => assert!(late < 5, "it fits and waits: {seen:?}"),
            None => late = 0,
            // It says when, or it waits for a call in flight.
            Some(blocked) => {
                late = 0;
                let is_later = blocked.until.map(|until| until > limiter.now());
                assert!(is_later.unwrap_or(seen.in_flight > 0), "{seen:?}");
            }
        }
        sleep(Duration::from_millis(1)).await;
    }
}

fn schedule(tasks: Vec<Task>, deeds: Vec<(u64, Deed)>, pacing: Pacing, rule: ChargeRule) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let limiter = shared(pacing, rule);
        let watcher = tokio::spawn(watch(limiter.clone()));
        let admitted = Arc::new(AtomicU64::new(0));
        let mut all = tokio::task::JoinSet::new();
        for task in tasks {
            all.spawn(run(limiter.clone(), task, Arc::clone(&admitted)));
        }
        for (after_ms, deed) in deeds {
            all.spawn(change(limiter.clone(), after_ms, deed));
        }
        // Each window admits at least one of them; a debt is paid off at a unit a window at worst.
        let ended =
            async { while all.join_next().await.transpose().expect("no panic").is_some() {} };
        let ended = timeout(Duration::from_secs(600), ended).await;
        assert!(ended.is_ok(), "somebody waits for ever: {:?}", limiter.snapshot());
        assert!(!watcher.is_finished(), "{:?}", watcher.await);
        sleep(Duration::from_secs(3)).await;
        let idle = limiter.snapshot();
        assert_eq!((idle.in_flight, idle.waiting), (0, 0));
        assert!(idle.limits.iter().all(|limit| (limit.used, limit.held) == (0, 0)), "{idle:?}");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn nobody_waits_for_ever_while_it_would_fit(
        tasks in prop::collection::vec(task(), 1..40),
        deeds in prop::collection::vec(deed(), 0..4),
        pacing in prop_oneof![
            2 => Just(Pacing::None),
            1 => Just(Pacing::Burst(NonZeroU64::new(20).expect("not zero"))),
        ],
        rule in prop_oneof![Just(ChargeRule::Completion), Just(ChargeRule::Arrival)],
    ) {
        schedule(tasks, deeds, pacing, rule);
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_at_once_that_is_never_looked_at_goes_back() {
    let limiter = shared(Pacing::None, ChargeRule::Completion);
    let demand = Demand::call(Amount::exact(LIMIT));
    drop(limiter.acquire(&demand));
    let idle = limiter.snapshot();
    assert_eq!((idle.in_flight, idle.limits[0].held), (0, 0));
    let receipt = limiter.acquire(&demand).await.expect("nothing is held");
    limiter.cancel_unsent(receipt);
}

#[tokio::test(start_paused = true)]
async fn who_waits_elsewhere_than_it_began_is_woken_there() {
    let limiter = shared(Pacing::None, ChargeRule::Arrival);
    let all = Demand::call(Amount::exact(LIMIT));
    let receipt = limiter.acquire(&all).await.expect("fits");
    limiter.sent(receipt);
    limiter.settle(receipt, &Actual::new());
    let demand = Demand::call(Amount::exact(1));
    let mut waiting = Box::pin(limiter.acquire(&demand));
    // Polled once by somebody who does not care.
    let mut nobody = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut nobody).is_pending());
    let (begun, late) = (limiter.now(), Duration::from_secs(10));
    let woken = timeout(late, waiting).await;
    assert!(matches!(woken, Ok(Ok(_))), "{woken:?}");
    // A timeout looks once more when it ends.
    assert!(limiter.now() < begun + late);
}

/// With threads: each takes, works or gives back at once; all of them end, and nothing is left.
#[cfg(feature = "clock")]
#[test]
fn threads_that_wait_are_woken_and_leave_nothing() {
    use paceline_limiter::clock;

    let limiter = clock::SharedLimiter::new(Limiter::new());
    let tokens = Limit::new(LimitKey::All, Dimension::TotalTokens, quota(LIMIT));
    let in_flight = Quota::once(NonZeroU64::new(2).expect("not zero"));
    let limits = [tokens, Limit::new(LimitKey::All, Dimension::InFlight, in_flight)];
    for limit in limits {
        limiter.add(limit).expect("a legal limit");
    }
    let admitted = AtomicU64::new(0);
    std::thread::scope(|threads| {
        for thread in 0..8_u64 {
            let (limiter, admitted) = (&limiter, &admitted);
            threads.spawn(move || {
                for round in 0..50 {
                    let tokens = 1 + (thread * 7 + round * 13) % LIMIT;
                    // Only to fail rather than hang.
                    let deadline = limiter.now() + Duration::from_secs(60);
                    let ask = Demand::call(Amount::exact(tokens)).deadline(deadline);
                    let receipt = limiter.acquire(&ask).expect("it only has to wait");
                    admitted.fetch_add(1, Ordering::Relaxed);
                    if round % 3 == 0 {
                        assert!(limiter.cancel_unsent(receipt));
                    } else {
                        limiter.sent(receipt);
                        std::thread::yield_now();
                        let used = Actual::new().with(Dimension::TotalTokens, 0);
                        assert!(limiter.settle(receipt, &used));
                    }
                }
            });
        }
    });
    let idle = limiter.snapshot();
    assert_eq!(admitted.into_inner(), 400);
    assert_eq!((idle.in_flight, idle.waiting, idle.limits[0].held), (0, 0, 0));
}

/// One who may overtake waits for its own limit, not for the head's.
#[tokio::test(start_paused = true)]
async fn one_behind_a_head_that_waits_long_is_woken_at_its_own_time() {
    let policy = QueuePolicy::new().overtaking(Overtaking::IfHeadKeepsItsTime);
    let limiter = SharedLimiter::new(Limiter::new().with_queue(policy).expect("legal"));
    let model = |name: &str| LimitKey::Model(name.into());
    for name in ["slow", "quick"] {
        let limit = Limit::new(model(name), Dimension::Requests, quota(10)).paced(Pacing::Even);
        limiter.add(limit.delay(Duration::ZERO)).expect("legal");
    }
    let one = |name: &str| Demand::new().model(name).with(Dimension::Requests, Amount::exact(1));
    limiter.pause(&model("slow"), None, limiter.now() + Duration::from_secs(3_600));
    let waits = tokio::spawn({
        let (limiter, slow) = (limiter.clone(), one("slow"));
        async move { limiter.acquire(&slow).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(limiter.snapshot().waiting, 1);
    let started = tokio::time::Instant::now();
    let quick = one("quick");
    for _ in 0..11 {
        let receipt = limiter.acquire(&quick).await.expect("it has room");
        limiter.settle(receipt, &Actual::new());
    }
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(2), "{took:?}");
    assert!(!waits.is_finished(), "it waits for the end of its pause");
    waits.abort();
}
