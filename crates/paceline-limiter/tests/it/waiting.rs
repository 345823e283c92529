//! The waiting form, under paused time.
#![cfg(feature = "tokio")]
#![expect(clippy::disallowed_methods, reason = "tests of what waits")]

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paceline_core::{Actual, Admission, Amount, Demand, Dimension, LimitKey, Quota, Refusal};
use paceline_limiter::tokio::SharedLimiter;
use paceline_limiter::{Limit, Limiter, Pacing};
use tokio::time::{sleep, timeout};

fn shared(limits: impl IntoIterator<Item = Limit>) -> SharedLimiter {
    let limiter = SharedLimiter::new(Limiter::new());
    for limit in limits {
        limiter.add(limit).expect("a legal limit");
    }
    limiter
}

fn tokens_per_minute(limit: u64) -> Limit {
    let quota = Quota::per_minute(NonZeroU64::new(limit).expect("not zero"));
    Limit::new(LimitKey::All, Dimension::TotalTokens, quota)
}

fn ask(tokens: u64) -> Demand {
    Demand::call(Amount::exact(tokens))
}

#[tokio::test(start_paused = true)]
async fn what_fits_is_ready_without_waiting() {
    let limiter = shared([tokens_per_minute(100)]);
    let (all, one) = (ask(100), ask(1));
    // A grant that is dropped goes back, so it is kept.
    let first = limiter.acquire(&all);
    assert!(first.is_ready());
    assert!(!limiter.acquire(&one).is_ready());
    assert!(limiter.acquire(&ask(101)).is_ready(), "refused for ever, at once");
}

#[tokio::test(start_paused = true)]
async fn waiters_go_in_the_order_in_which_they_came_and_each_as_soon_as_it_may() {
    let quota = Quota::per_second(NonZeroU64::new(10).expect("not zero"));
    let limiter = shared([Limit::new(LimitKey::All, Dimension::Requests, quota)
        .delay(Duration::ZERO)
        .paced(Pacing::Even)]);
    let started = limiter.now();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..50_u32 {
        let (limiter, order) = (limiter.clone(), Arc::clone(&order));
        tasks.spawn(async move {
            let receipt = limiter.acquire(&ask(1)).await.expect("it only has to wait");
            limiter.sent(receipt);
            limiter.head_received(receipt);
            limiter.settle(receipt, &Actual::new());
            order.lock().expect("nobody panics").push(number);
        });
        tokio::task::yield_now().await;
    }
    while tasks.join_next().await.is_some() {}
    assert_eq!(*order.lock().expect("nobody panics"), (0..50).collect::<Vec<_>>());
    // 49 gaps of 100.2 ms; a guard slot and a timer tick each may come on top of ten.
    let took = limiter.now().since(started);
    assert!(
        took >= Duration::from_millis(4_900) && took < Duration::from_millis(5_100),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_settlement_wakes_the_first_waiter_at_once() {
    let limiter = shared([tokens_per_minute(100)]);
    let receipt = limiter.acquire(&ask(100)).await.expect("fits");
    let waiter = {
        let limiter = limiter.clone();
        tokio::spawn(async move {
            let receipt = limiter.acquire(&ask(60)).await.expect("it only has to wait");
            (receipt, limiter.now())
        })
    };
    sleep(Duration::from_secs(7)).await;
    let settled = limiter.now();
    limiter.settle(receipt, &Actual::new().with(Dimension::TotalTokens, 40));
    let (_, admitted) = waiter.await.expect("it ran");
    assert_eq!(admitted, settled);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_goes_away_gives_its_place_to_the_next() {
    let limiter = shared([tokens_per_minute(100)]);
    let receipt = limiter.acquire(&ask(60)).await.expect("fits");
    let large = {
        let limiter = limiter.clone();
        tokio::spawn(async move { limiter.acquire(&ask(100)).await })
    };
    sleep(Duration::from_millis(1)).await;
    let small = {
        let limiter = limiter.clone();
        tokio::spawn(async move { limiter.acquire(&ask(40)).await })
    };
    sleep(Duration::from_millis(1)).await;
    assert_eq!(limiter.snapshot().waiting, 2);
    large.abort();
    let admitted = timeout(Duration::from_millis(1), small).await;
    assert!(matches!(admitted, Ok(Ok(Ok(_)))), "{admitted:?}");
    limiter.cancel_unsent(receipt);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_took_goes_back() {
    let limiter = shared([tokens_per_minute(100)]);
    let receipt = limiter.acquire(&ask(100)).await.expect("fits");
    let demand = ask(100);
    let mut waiting = Box::pin(limiter.acquire(&demand));
    assert!(timeout(Duration::from_millis(1), &mut waiting).await.is_err());
    limiter.cancel_unsent(receipt);
    // It has been granted now, but is dropped without being polled again.
    assert_eq!(limiter.snapshot().in_flight, 1);
    drop(waiting);
    let after = limiter.snapshot();
    assert_eq!((after.in_flight, after.waiting, after.limits[0].held), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_cancelled_waits_leak_nothing() {
    let limiter = shared([tokens_per_minute(500)]);
    let mut random = random_from(0x9E37_79B9_7F4A_7C15);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10_000 {
        let limiter = limiter.clone();
        let (tokens, patience, work) = (1 + random(300), random(3_000), random(800));
        tasks.spawn(async move {
            let demand = ask(tokens);
            let acquired = timeout(Duration::from_millis(patience), limiter.acquire(&demand)).await;
            if let Ok(Ok(receipt)) = acquired {
                limiter.sent(receipt);
                sleep(Duration::from_millis(work)).await;
                limiter.settle(receipt, &Actual::new().with(Dimension::TotalTokens, tokens / 2));
            }
        });
        if random(4) == 0 {
            sleep(Duration::from_millis(random(400))).await;
        }
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no task panics");
    }
    sleep(Duration::from_secs(61)).await;
    let idle = limiter.snapshot();
    assert_eq!((idle.in_flight, idle.waiting), (0, 0));
    assert_eq!((idle.limits[0].used, idle.limits[0].held), (0, 0));
}

/// Numbers that look random, from a seed that is not zero.
fn random_from(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    }
}

/// A few tasks that come, lose patience, are aborted at any moment, or work and end in any way.
async fn run_schedule(seed: u64) {
    let mut random = random_from(seed);
    let places = Quota::once(NonZeroU64::new(1 + random(3)).expect("not zero"));
    let places = Limit::new(LimitKey::All, Dimension::InFlight, places);
    let limiter = shared([tokens_per_minute(400), places]);
    let mut tasks = Vec::new();
    for _ in 0..2 + random(7) {
        let limiter = limiter.clone();
        let (tokens, end) = (1 + random(300), random(4));
        let (patience, work) = (random(90_000), random(2_000));
        let work = Duration::from_millis(work);
        tasks.push(tokio::spawn(async move {
            let demand = ask(tokens).with(Dimension::InFlight, Amount::exact(1));
            let patience = Duration::from_millis(patience);
            let Ok(granted) = timeout(patience, limiter.permit(&demand)).await else { return };
            let mut permit = granted.expect("it only has to wait");
            if end == 0 {
                return;
            }
            permit.sent();
            sleep(work).await;
            match end {
                1 => {}
                2 => permit.cancel_unsent(),
                _ => permit.settle(&Actual::new().with(Dimension::TotalTokens, tokens / 2)),
            }
        }));
        match random(4) {
            0 => sleep(Duration::from_millis(random(3_000))).await,
            1 => tokio::task::yield_now().await,
            2 => {
                let victim = usize::try_from(random(tasks.len() as u64)).expect("small");
                tasks[victim].abort();
            }
            _ => {}
        }
    }
    for task in tasks {
        if let Err(error) = task.await {
            assert!(error.is_cancelled(), "seed {seed}: {error}");
        }
    }
    let ended = limiter.snapshot();
    let held: u64 = ended.limits.iter().map(|limit| limit.held).sum();
    assert_eq!((ended.in_flight, ended.waiting, held), (0, 0, 0), "seed {seed}");
    sleep(Duration::from_secs(61)).await;
    let used: u64 = limiter.snapshot().limits.iter().map(|limit| limit.used).sum();
    assert_eq!(used, 0, "seed {seed}");
    // All of it can be had again, so nobody is thought to wait in front.
    let all = ask(400).with(Dimension::InFlight, Amount::exact(1));
    assert!(limiter.try_permit(&all).is_ok(), "seed {seed}");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_random_schedules_leak_nothing() {
    for number in 1..=10_000_u64 {
        run_schedule(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_wait() {
    let limiter = shared([tokens_per_minute(100)]);
    let _held = limiter.acquire(&ask(100)).await.expect("fits");
    let deadline = limiter.now() + Duration::from_secs(3);
    let demand = ask(1).deadline(deadline);
    let refused = limiter.acquire(&demand).await;
    assert!(matches!(refused, Err(Refusal::Deadline { .. })), "{refused:?}");
    assert!(limiter.now() >= deadline);
}

#[tokio::test(start_paused = true)]
async fn a_raised_limit_and_an_ended_pause_let_waiters_go() {
    let limiter = shared([tokens_per_minute(100)]);
    let _held = limiter.acquire(&ask(100)).await.expect("fits");
    let waiter = {
        let limiter = limiter.clone();
        tokio::spawn(async move { limiter.acquire(&ask(50)).await.map(|_| limiter.now()) })
    };
    sleep(Duration::from_millis(5)).await;
    let until = limiter.now() + Duration::from_secs(4);
    limiter.pause(&LimitKey::All, None, until);
    let quota = Quota::per_minute(NonZeroU64::new(200).expect("not zero"));
    assert!(limiter.set_limit(&LimitKey::All, Dimension::TotalTokens, quota));
    let admitted = waiter.await.expect("it ran").expect("it only has to wait");
    assert!(admitted >= until && admitted < until + Duration::from_millis(5));
}

/// A call every 100 ms and ten at once, of which ten have left; then so many wait.
async fn spaced_out(slack: Duration, deadlines: &[Option<u64>]) -> Vec<Result<Duration, Refusal>> {
    let quota = Quota::per(NonZeroU64::new(11).expect("not zero"), Duration::from_millis(100));
    let pacing = Pacing::Burst(NonZeroU64::new(10).expect("not zero"));
    let quota = quota.expect("a window");
    let limit = Limit::new(LimitKey::All, Dimension::Requests, quota);
    let limiter = shared([limit.paced(pacing).delay(Duration::ZERO)]);
    limiter.set_slack(slack);
    let call = Demand::call(Amount::exact(1));
    for _ in 0..10 {
        let receipt = limiter.try_acquire(&call).expect("ten at once");
        Admission::settle(&limiter, receipt, &Actual::new());
    }
    let started = limiter.now();
    let waiting: Vec<_> = deadlines
        .iter()
        .map(|deadline| {
            let (limiter, call) = (limiter.clone(), call.clone());
            let deadline = deadline.map(|ms| started + Duration::from_millis(ms));
            let call = deadline.into_iter().fold(call, Demand::deadline);
            tokio::spawn(async move {
                let receipt = limiter.acquire(&call).await?;
                Admission::settle(&limiter, receipt, &Actual::new());
                Ok(limiter.now().since(started))
            })
        })
        .collect();
    let mut left = Vec::new();
    for one in waiting {
        left.push(one.await.expect("it ran"));
    }
    left
}

#[tokio::test(start_paused = true)]
async fn with_slack_those_whose_time_comes_meanwhile_leave_in_one_go() {
    let ms = Duration::from_millis;
    let exact = spaced_out(Duration::ZERO, &[None; 6]).await;
    for (place, left) in (1..).zip(exact) {
        let left = left.expect("it only has to wait");
        assert!((ms(100) * place..ms(100) * place + ms(2)).contains(&left), "{left:?}");
    }
    // The first could leave after 100 ms and leaves after 350, with the two behind it.
    let late = spaced_out(ms(250), &[None; 6]).await;
    for (place, left) in late.into_iter().enumerate() {
        let left = left.expect("it only has to wait");
        let together = if place < 3 { ms(350) } else { ms(650) };
        assert!((together..together + ms(2)).contains(&left), "{place}: {left:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn slack_makes_nobody_miss_a_deadline() {
    let left = spaced_out(Duration::from_millis(250), &[None, Some(300), None]).await;
    let second = left[1].as_ref().expect("it could leave after 200 ms");
    assert!(*second <= Duration::from_millis(300), "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn slack_holds_up_nobody_whom_a_settlement_lets_go() {
    let limiter = shared([tokens_per_minute(100)]);
    limiter.set_slack(Duration::from_secs(1));
    let held = limiter.acquire(&ask(100)).await.expect("fits");
    let waiter = {
        let limiter = limiter.clone();
        tokio::spawn(async move { limiter.acquire(&ask(50)).await.map(|_| limiter.now()) })
    };
    sleep(Duration::from_millis(5)).await;
    let settled = limiter.now();
    Admission::settle(&limiter, held, &Actual::new().with(Dimension::TotalTokens, 10));
    let admitted = waiter.await.expect("it ran").expect("it only has to wait");
    assert!(admitted < settled + Duration::from_millis(2), "{admitted:?} {settled:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_end_of_a_pause_leaves_when_it_is_ended_early() {
    let limiter = shared([tokens_per_minute(100)]);
    assert!(!limiter.resume(&LimitKey::All, None), "there was no pause");
    let started = limiter.now();
    limiter.pause(&LimitKey::All, None, started + Duration::from_secs(50));
    let waiter = {
        let limiter = limiter.clone();
        tokio::spawn(async move { limiter.acquire(&ask(50)).await.map(|_| limiter.now()) })
    };
    sleep(Duration::from_secs(5)).await;
    assert!(limiter.resume(&LimitKey::All, None));
    let admitted = waiter.await.expect("it ran").expect("it only has to wait");
    assert!(admitted < started + Duration::from_secs(6), "{admitted:?} {started:?}");
}
