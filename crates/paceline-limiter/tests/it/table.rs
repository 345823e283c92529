//! Rules by example: (at, ask, expect).

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{
    Actual, Amount, Demand, Dimension, Instant, LimitKey, LimiterId, Observation, Quota, Receipt,
    Refusal,
};
use paceline_limiter::{Limit, Limiter, Profile, QueuePolicy, Served};

fn not_zero(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).expect("not zero")
}

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn limiter(limits: impl IntoIterator<Item = Limit>) -> Limiter {
    let mut limiter = Limiter::new();
    for limit in limits {
        limiter.add(limit).expect("a legal limit");
    }
    limiter
}

fn per_minute(dimension: Dimension, limit: u64) -> Limit {
    Limit::new(LimitKey::All, dimension, Quota::per_minute(not_zero(limit)))
}

fn tokens(expected: u64, upper: u64) -> Demand {
    Demand::call(Amount::expected(expected).upper(upper))
}

/// The longest slot of a window of a minute, in milliseconds: 1/246 of it.
const SLOT: u64 = 245;

/// What leaves a window leaves it at that moment or a slot later, never earlier.
#[track_caller]
fn assert_leaves(until: Option<Instant>, millis: u64) {
    assert!(
        until.is_some_and(|until| (at(millis)..=at(millis + SLOT)).contains(&until)),
        "{until:?}"
    );
}

#[test]
fn all_limits_admit_or_none_is_charged() {
    let mut limiter =
        limiter([per_minute(Dimension::Requests, 10), per_minute(Dimension::TotalTokens, 100)]);
    let _ = limiter.try_acquire(&tokens(60, 60), at(0)).expect("fits");
    for _ in 0..20 {
        let refused = limiter.try_acquire(&tokens(60, 60), at(0));
        assert!(matches!(refused, Err(Refusal::NotUntil(_))));
    }
    // Twenty refusals have used no request.
    let used: Vec<u64> = limiter.snapshot(at(0)).limits.iter().map(|limit| limit.held).collect();
    assert_eq!(used, [1, 60]);
}

#[test]
fn a_refusal_names_the_limit_and_the_moment() {
    let mut limiter = limiter([per_minute(Dimension::Requests, 1).delay(Duration::ZERO)]);
    let receipt = limiter.try_acquire(&tokens(1, 1), at(0)).expect("fits");
    limiter.sent(receipt, at(0));
    let Err(Refusal::NotUntil(blocked)) = limiter.try_acquire(&tokens(1, 1), at(10)) else {
        panic!("one request a minute");
    };
    assert_eq!(blocked.by.map(|by| by.dimension), Some(Dimension::Requests));
    assert_leaves(blocked.until, 60_000);
    assert!(limiter.try_acquire(&tokens(1, 1), at(59_999)).is_err());
    assert!(limiter.try_acquire(&tokens(1, 1), at(60_000 + SLOT)).is_ok());
}

#[test]
fn what_is_in_flight_blocks_without_a_time() {
    let mut limiter = limiter([per_minute(Dimension::TotalTokens, 100)]);
    let receipt = limiter.try_acquire(&tokens(10, 90), at(0)).expect("fits");
    let Err(Refusal::NotUntil(blocked)) = limiter.try_acquire(&tokens(20, 20), at(0)) else {
        panic!("90 are held");
    };
    assert_eq!(blocked.until, None);
    limiter.settle(receipt, &Actual::new().with(Dimension::TotalTokens, 10), at(5));
    assert!(limiter.try_acquire(&tokens(20, 90), at(5)).is_ok());
}

#[test]
fn more_than_the_limit_is_refused_for_ever_and_at_once() {
    let mut limiter = limiter([per_minute(Dimension::TotalTokens, 100)]);
    let asked = limiter.enqueue(tokens(101, 101), at(0));
    assert!(matches!(asked, Err(Refusal::Never { asked: 101, .. })));
}

#[test]
fn an_overrun_is_a_debt_that_delays() {
    let mut limiter = limiter([per_minute(Dimension::TotalTokens, 100)]);
    let receipt = limiter.try_acquire(&tokens(10, 20), at(0)).expect("fits");
    limiter.settle(receipt, &Actual::new().with(Dimension::TotalTokens, 150), at(0));
    assert!(limiter.try_acquire(&tokens(1, 1), at(59_999)).is_err());
    assert!(limiter.try_acquire(&tokens(1, 1), at(60_000 + SLOT)).is_ok());
}

#[test]
fn money_in_flight_waits_and_money_spent_refuses() {
    let cap = Limit::new(LimitKey::All, Dimension::Money, Quota::once(not_zero(100)));
    let mut limiter = limiter([cap]);
    let ask = |upper| Demand::new().with(Dimension::Money, Amount::expected(30).upper(upper));
    let first = limiter.try_acquire(&ask(80), at(0)).expect("fits");
    assert!(matches!(limiter.try_acquire(&ask(40), at(0)), Err(Refusal::NotUntil(_))));
    limiter.settle(first, &Actual::new().with(Dimension::Money, 50), at(1));
    let second = limiter.try_acquire(&ask(40), at(1)).expect("half is left");
    limiter.settle(second, &Actual::new(), at(2));
    let spent = limiter.try_acquire(&ask(40), at(3_600_000));
    assert!(matches!(spent, Err(Refusal::Exhausted { spent: 90, asked: 40, .. })), "{spent:?}");
}

#[test]
fn first_come_first_served_even_when_a_later_one_would_fit() {
    let mut limiter = limiter([per_minute(Dimension::TotalTokens, 100)]);
    let held = limiter.try_acquire(&tokens(50, 50), at(0)).expect("fits");
    let large = limiter.enqueue(tokens(80, 80), at(0)).expect("waits");
    let small = limiter.enqueue(tokens(10, 10), at(0)).expect("waits");
    assert_eq!(limiter.poll(at(1)), None);
    assert!(limiter.try_acquire(&tokens(1, 1), at(1)).is_err(), "others wait in front");
    limiter.settle(held, &Actual::new().with(Dimension::TotalTokens, 0), at(2));
    assert!(matches!(limiter.poll(at(2)), Some(Served::Granted(ticket, _)) if ticket == large));
    assert!(matches!(limiter.poll(at(2)), Some(Served::Granted(ticket, _)) if ticket == small));
}

#[test]
fn a_deadline_that_can_not_be_met_is_refused_at_once_and_one_that_passes_is_refused_then() {
    let mut limiter = limiter([per_minute(Dimension::Requests, 1).delay(Duration::ZERO)]);
    let receipt = limiter.try_acquire(&tokens(1, 1), at(0)).expect("fits");
    limiter.sent(receipt, at(0));
    let refused = limiter.enqueue(tokens(1, 1).deadline(at(60_000)), at(1));
    let Err(Refusal::Deadline { earliest }) = refused else { panic!("too early: {refused:?}") };
    assert_leaves(earliest, 60_000);
    // The first may be late, and leave its turn to the second.
    limiter.enqueue(tokens(1, 1).deadline(at(60_900)), at(1)).expect("waits");
    let second = limiter.enqueue(tokens(1, 1).deadline(at(61_000)), at(1)).expect("may wait");
    assert!(matches!(limiter.poll(at(60_000 + SLOT)), Some(Served::Granted(..))));
    assert_eq!(limiter.poll(at(61_000)), None);
    assert!(matches!(
        limiter.poll(at(61_001)),
        Some(Served::Refused(ticket, Refusal::Deadline { .. })) if ticket == second
    ));
}

#[test]
fn the_queue_is_bounded() {
    let policy = QueuePolicy::new().max_waiting(2);
    let limiter = limiter([per_minute(Dimension::TotalTokens, 1)]);
    let mut limiter = limiter.with_queue(policy).expect("a policy that can be kept");
    let _ = limiter.try_acquire(&tokens(1, 1), at(0)).expect("fits");
    limiter.enqueue(tokens(1, 1), at(0)).expect("the first waits");
    limiter.enqueue(tokens(1, 1), at(0)).expect("the second waits");
    assert_eq!(limiter.enqueue(tokens(1, 1), at(0)), Err(Refusal::QueueFull { waiting: 2 }));
}

#[test]
fn another_queue_gives_no_ticket_again() {
    let mut limiter = limiter([per_minute(Dimension::TotalTokens, 1)]);
    let _ = limiter.try_acquire(&tokens(1, 1), at(0)).expect("fits");
    let forgotten = limiter.enqueue(tokens(1, 1), at(0)).expect("it waits");
    let policy = QueuePolicy::new().max_waiting(1);
    let mut limiter = limiter.with_queue(policy).expect("a policy that can be kept");
    assert!(!limiter.leave(forgotten));
    let other = limiter.enqueue(tokens(1, 1), at(0)).expect("it waits");
    assert!(!limiter.leave(forgotten), "{forgotten:?} finds {other:?}");
    assert_eq!(limiter.waiting(), 1);
}

#[test]
fn a_pause_holds_what_it_names_and_is_never_shortened() {
    let mut limiter = limiter([per_minute(Dimension::Requests, 100)]);
    let grok = LimitKey::Model("grok-4.3".into());
    limiter.pause_until(&grok, None, at(2_000), at(0));
    limiter.pause_until(&grok, None, at(1_000), at(0));
    let ask = tokens(1, 1).model("grok-4.3");
    assert!(limiter.try_acquire(&ask, at(1_999)).is_err());
    assert!(limiter.try_acquire(&tokens(1, 1).model("grok-4.7"), at(1_999)).is_ok());
    assert!(limiter.try_acquire(&ask, at(2_000)).is_ok());
}

#[test]
fn limits_are_created_changed_and_lifted_as_they_are_observed() {
    let mut limiter = Limiter::new().with_profile(Profile::GrokStrict);
    let key = LimitKey::Model("m".into());
    let stated = |limit| Observation::Stated {
        key: key.clone(),
        dimension: Dimension::TotalTokens,
        quota: Quota::per_minute(not_zero(limit)),
    };
    let ask = tokens(60, 60).model("m");
    limiter.observe(&stated(100), at(0));
    let _ = limiter.try_acquire(&ask, at(0)).expect("fits");
    assert!(limiter.try_acquire(&ask, at(0)).is_err());
    limiter.observe(&stated(120), at(0));
    let _ = limiter.try_acquire(&ask, at(0)).expect("the limit was raised");
    limiter.observe(&stated(50), at(0));
    assert!(matches!(limiter.try_acquire(&ask, at(0)), Err(Refusal::Never { .. })));
    let refill = Quota::per_minute(not_zero(1)).refill();
    let dimension = Dimension::TotalTokens;
    limiter.observe(&Observation::Unlimited { key, dimension, refill }, at(0));
    assert!(limiter.try_acquire(&ask, at(0)).is_ok());
}

#[test]
fn what_the_server_says_is_left_only_ever_tightens() {
    let mut limiter = limiter([per_minute(Dimension::TotalTokens, 100)]);
    let remaining = |remaining| Observation::Remaining {
        key: LimitKey::All,
        dimension: Dimension::TotalTokens,
        remaining,
        limit: 100,
    };
    let _ = limiter.try_acquire(&tokens(30, 30), at(0)).expect("fits");
    limiter.observe(&remaining(100), at(0));
    assert!(limiter.try_acquire(&tokens(71, 71), at(0)).is_err());
    limiter.observe(&remaining(20), at(0));
    assert!(limiter.try_acquire(&tokens(21, 21), at(0)).is_err());
    assert!(limiter.try_acquire(&tokens(20, 20), at(0)).is_ok());
}

#[test]
fn the_past_counts() {
    let mut limiter =
        limiter([per_minute(Dimension::TotalTokens, 100), per_minute(Dimension::Requests, 2)]);
    limiter.record_past(&tokens(70, 70), at(1_000), at(30_000));
    assert!(limiter.try_acquire(&tokens(31, 31), at(30_000)).is_err());
    limiter.record_past(&tokens(0, 0), at(29_000), at(30_000));
    let Err(Refusal::NotUntil(blocked)) = limiter.try_acquire(&tokens(1, 1), at(30_000)) else {
        panic!("two requests are counted");
    };
    assert_eq!(blocked.by.map(|by| by.dimension), Some(Dimension::Requests));
    // Sent at 1 s, counted there within the delay bound of 250 ms.
    assert_leaves(blocked.until, 61_250);
}

#[test]
fn a_clock_that_steps_back_mints_nothing_and_one_that_leaps_mints_one_window() {
    let mut limiter = limiter([per_minute(Dimension::TotalTokens, 100)]);
    let receipt = limiter.try_acquire(&tokens(100, 100), at(60_000)).expect("fits");
    limiter.settle(receipt, &Actual::new(), at(60_000));
    assert!(limiter.try_acquire(&tokens(1, 1), at(0)).is_err());
    let a_year = 366 * 86_400_000;
    assert!(limiter.try_acquire(&tokens(100, 100), at(a_year)).is_ok());
    assert!(limiter.try_acquire(&tokens(1, 1), at(a_year)).is_err());
    assert!(limiter.try_acquire(&tokens(1, 1), at(61_000)).is_err());
}

#[test]
fn a_foreign_receipt_changes_nothing() {
    let mut one = limiter([per_minute(Dimension::TotalTokens, 100)]);
    let receipt = one.try_acquire(&tokens(100, 100), at(0)).expect("fits");
    let foreign = Receipt::new(LimiterId::new(NonZeroU64::MAX), receipt.number());
    assert!(!one.settle(foreign, &Actual::new().with(Dimension::TotalTokens, 0), at(0)));
    assert!(!one.cancel_unsent(foreign, at(0)));
    assert!(one.try_acquire(&tokens(1, 1), at(0)).is_err());
}

#[test]
fn a_call_that_went_ahead_after_a_pause_and_never_left_leaves_no_trace() {
    let mut limiter = limiter([per_minute(Dimension::TotalTokens, 100)]);
    let refused = Observation::Refused {
        key: LimitKey::All,
        dimension: None,
        actual: None,
        limit: None,
        receipt: None,
    };
    limiter.observe(&refused, at(0));
    limiter.pause_until(&LimitKey::All, None, at(1_000), at(0));
    let before = limiter.snapshot(at(1_100));
    assert_eq!((before.pauses[0].until, before.pauses[0].probes), (at(1_000), true));
    let ahead = limiter.try_acquire(&tokens(1, 1), at(1_100)).expect("one goes ahead");
    let during = limiter.snapshot(at(1_100));
    assert_eq!((during.pauses[0].until, during.pauses[0].probes), (at(1_350), false));
    assert!(limiter.try_acquire(&tokens(1, 1), at(1_100)).is_err(), "the others wait for it");
    assert!(limiter.cancel_unsent(ahead, at(1_100)));
    assert_eq!(limiter.snapshot(at(1_100)), before);
    assert!(limiter.try_acquire(&tokens(1, 1), at(1_100)).is_ok(), "another one goes ahead");
    assert!(limiter.try_acquire(&tokens(1, 1), at(1_100)).is_err());
}
