//! What a snapshot shows is what the next call meets.

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{
    Actual, Amount, Completion, Demand, Dimension, Instant, LimitKey, Quota, Refusal,
};
use paceline_limiter::{Binds, ChargeRule, Limit, LimitSnapshot, Limiter, Pacing};

const UNITS: Dimension = Dimension::TotalTokens;

fn not_zero(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).expect("not zero")
}

fn at(millis: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(millis)
}

fn limiter(limit: u64, paced: Pacing, rule: ChargeRule) -> Limiter {
    let quota = Quota::per_minute(not_zero(limit));
    let limit = Limit::new(LimitKey::All, UNITS, quota).charged(rule).paced(paced);
    let mut limiter = Limiter::new();
    limiter.add(limit).expect("a legal limit");
    limiter
}

fn ask(expected: u64, upper: u64) -> Demand {
    let lasts = Completion::between(Duration::ZERO, Duration::from_secs(20));
    Demand::call(Amount::expected(expected).upper(upper)).completes(lasts)
}

fn look(limiter: &mut Limiter, now: Instant) -> LimitSnapshot {
    limiter.snapshot(now).limits.remove(0)
}

/// Whether one unit is refused now, and until when; it is taken back where it is not.
fn refusal_of_one(limiter: &mut Limiter, now: Instant) -> Option<Option<Instant>> {
    match limiter.try_acquire(&Demand::new().with(UNITS, Amount::exact(1)), now) {
        Ok(receipt) => {
            assert!(limiter.cancel_unsent(receipt, now));
            None
        }
        Err(Refusal::NotUntil(blocked)) => Some(blocked.until),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_bucket_shows_what_is_in_it() {
    let mut limiter = limiter(60, Pacing::Bucket, ChargeRule::Completion);
    let fresh = look(&mut limiter, at(0));
    assert_eq!((fresh.used, fresh.held, fresh.free), (0, 0, 60));
    let receipt = limiter.try_acquire(&ask(40, 40), at(0)).expect("a full bucket");
    let after = look(&mut limiter, at(10_500));
    assert_eq!((after.used, after.held, after.free), (30, 0, 30));
    assert!(limiter.try_acquire(&ask(31, 31), at(10_500)).is_err());
    // It used 70, and owes 10 more than it holds.
    limiter.settle(receipt, &Actual::new().with(UNITS, 100), at(10_500));
    let owes = look(&mut limiter, at(10_500));
    assert_eq!((owes.used, owes.free, owes.binds), (90, 0, Some(Binds::Pace)));
    assert_eq!(owes.next_free_at, Some(at(41_000)));
    assert!(limiter.try_acquire(&ask(30, 30), at(10_500)).is_err());
}

#[test]
fn what_is_shown_as_free_is_admitted_and_one_more_is_not() {
    for (pacing, rule) in [
        (Pacing::Bucket, ChargeRule::Completion),
        (Pacing::None, ChargeRule::Completion),
        (Pacing::None, ChargeRule::Arrival),
    ] {
        for step in 0..40 {
            let mut limiter = limiter(60, pacing, rule);
            for amount in [20, 25, 10] {
                let receipt = limiter.try_acquire(&ask(amount, amount), at(1_000)).expect("room");
                limiter.settle(receipt, &Actual::new(), at(1_000 + amount));
            }
            let now = at(3_000 + 2_000 * step);
            let free = look(&mut limiter, now).free;
            assert!(limiter.try_acquire(&ask(free + 1, free + 1), now).is_err());
            assert!(limiter.try_acquire(&ask(free, free), now).is_ok(), "{pacing:?} {step}");
        }
    }
}

#[test]
fn flow_shows_room_while_it_admits_and_the_moment_when_it_does_not() {
    let mut limiter = limiter(100_000, Pacing::None, ChargeRule::Flow);
    let (mut free_beside_held, mut waits) = (0, 0);
    let mut in_flight = std::collections::VecDeque::new();
    for step in 0..4_000 {
        let now = at(step * 100);
        if in_flight.front().is_some_and(|(ends, _)| *ends <= step) {
            let (_, receipt) = in_flight.pop_front().expect("it was there");
            limiter.settle(receipt, &Actual::new().with(UNITS, 290), now);
        }
        let seen = look(&mut limiter, now);
        match refusal_of_one(&mut limiter, now) {
            None => {
                assert_eq!((seen.free > 0, seen.next_free_at), (true, None), "at step {step}");
                // By upper amounts it would be full.
                free_beside_held += u64::from(seen.used + seen.held >= 100_000);
            }
            Some(until) => {
                assert_eq!((seen.free, seen.next_free_at), (0, until), "at step {step}");
                waits += u64::from(until.is_some());
            }
        }
        let Ok(receipt) = limiter.try_acquire(&ask(300, 30_000), now) else { continue };
        limiter.sent(receipt, now);
        in_flight.push_back((step + 20, receipt));
    }
    assert!(free_beside_held > 100 && waits > 100, "{free_beside_held} and {waits}");
}
