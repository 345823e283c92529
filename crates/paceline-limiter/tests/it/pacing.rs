//! What a pacer lets through, by example.

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{Actual, Amount, Completion, Demand, Dimension, Instant, LimitKey, Quota};
use paceline_limiter::{ChargeRule, Limit, Limiter, Pacing};

fn per_second(dimension: Dimension, limit: u64, pacing: Pacing) -> Limiter {
    let quota = Quota::per_second(NonZeroU64::new(limit).expect("not zero"));
    let limit = Limit::new(LimitKey::All, dimension, quota).charged(ChargeRule::Arrival);
    let mut limiter = Limiter::new();
    limiter.add(limit.paced(pacing).delay(Duration::ZERO)).expect("a legal limit");
    limiter
}

#[test]
fn what_was_not_used_comes_back_and_no_more() {
    let mut limiter = per_second(Dimension::TotalTokens, 10, Pacing::Bucket);
    let ask = |units| Demand::call(Amount::exact(units));
    let now = Instant::ORIGIN;
    let receipt = limiter.try_acquire(&ask(10), now).expect("a full bucket");
    let used = Actual::new().with(Dimension::TotalTokens, 7);
    assert!(limiter.settle(receipt, &used, now));
    assert!(limiter.try_acquire(&ask(4), now).is_err());
    assert!(limiter.try_acquire(&ask(3), now).is_ok());
}

#[test]
fn even_spacing_forgives_a_tick_so_that_lateness_is_caught_up() {
    let mut limiter = per_second(Dimension::Requests, 10, Pacing::Even);
    let one = Demand::call(Amount::exact(1));
    // (1 s + 2 ms)/10 apart, each up to 2 ms early.
    let _ = limiter.try_acquire(&one, Instant::ORIGIN).expect("the first");
    for (micros, fits) in [(98_100, false), (98_300, true), (198_300, false), (198_500, true)] {
        let answer = limiter.try_acquire(&one, Instant::ORIGIN + Duration::from_micros(micros));
        assert_eq!(answer.is_ok(), fits, "{micros} µs");
    }
}

#[test]
fn the_first_call_of_a_small_limit_that_pools_calls_leaves_though_it_takes_no_time() {
    let quota = Quota::per_minute(NonZeroU64::new(60).expect("not zero"));
    let limit = Limit::new(LimitKey::All, Dimension::TotalTokens, quota);
    for latest in [Duration::ZERO, Duration::from_millis(500)] {
        let mut limiter = Limiter::new();
        limiter.add(limit.clone().charged(ChargeRule::Flow)).expect("a legal limit");
        let range = Completion::between(Duration::ZERO, latest);
        let one = Demand::call(Amount::exact(1)).completes(range);
        let first = limiter.try_acquire(&one, Instant::ORIGIN);
        assert!(first.is_ok(), "{latest:?}: {first:?}");
    }
}
