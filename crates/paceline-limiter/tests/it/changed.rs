//! Limits that change while they are in use: replaced, stated anew, cut and raised.

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{Amount, Demand, Dimension, Instant, LimitKey, Quota};
use paceline_limiter::{Limit, LimitError, Limiter, Pacing};

const UNITS: Dimension = Dimension::TotalTokens;

fn not_zero(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).expect("not zero")
}

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(seconds)
}

fn per_minute(limit: u64) -> Limit {
    let quota = Quota::per_minute(not_zero(limit));
    Limit::new(LimitKey::All, UNITS, quota).delay(Duration::ZERO)
}

fn units(amount: u64) -> Demand {
    Demand::new().with(UNITS, Amount::exact(amount))
}

/// How much is admitted, one by one, up to so much.
fn admitted(limiter: &mut Limiter, most: usize, now: Instant) -> usize {
    (0..most).take_while(|_| limiter.try_acquire(&units(1), now).is_ok()).count()
}

#[test]
fn idle_time_before_a_limit_is_replaced_counts_at_the_old_rate() {
    let slow = per_minute(60).paced(Pacing::Bucket);
    let fast = per_minute(6_000).paced(Pacing::Bucket);
    let mut limiter = Limiter::new();
    limiter.add(slow).expect("a legal limit");
    assert_eq!(admitted(&mut limiter, 100, at(0)), 60);
    // Ten seconds bring 10 at the old rate; they would have brought 1,000 at the new one.
    limiter.replace(fast, at(10)).expect("a legal limit");
    assert_eq!(admitted(&mut limiter, 10_000, at(10)), 10);
}

#[test]
fn a_limit_that_is_there_is_replaced_only_at_a_moment() {
    let mut limiter = Limiter::new();
    limiter.add(per_minute(60)).expect("a legal limit");
    let error = limiter.add(per_minute(70)).expect_err("it is there");
    assert_eq!((error, error.field()), (LimitError::AlreadyThere, "limits"));
    assert_eq!(limiter.snapshot(at(0)).limits[0].in_force, 60);
    limiter.replace(per_minute(70), at(0)).expect("a legal limit");
    assert_eq!(limiter.snapshot(at(0)).limits[0].in_force, 70);
}

#[test]
fn the_past_is_told_at_the_present_moment() {
    let mut limiter = Limiter::new();
    limiter.add(per_minute(10)).expect("a legal limit");
    // Two minutes ago is a window and more ago, though nobody has asked since.
    limiter.record_past(&units(7), at(30), at(150));
    limiter.record_past(&units(2), at(149), at(150));
    assert_eq!(limiter.snapshot(at(150)).limits[0].used, 2);
}

#[cfg(feature = "clock")]
mod shared {
    use paceline_core::{ManualClock, Refusal};
    use paceline_limiter::clock::SharedLimiter;

    use super::*;

    #[test]
    fn the_shared_form_replaces_and_records_at_its_clocks_now() {
        let clock = ManualClock::new();
        let limiter = SharedLimiter::with_clock(Limiter::new(), clock.clone());
        let bucket = |limit| per_minute(limit).paced(Pacing::Bucket);
        limiter.add(bucket(60)).expect("a legal limit");
        for _ in 0..60 {
            limiter.try_acquire(&units(1)).expect("a whole burst is free");
        }
        clock.set(at(10));
        limiter.add(bucket(6_000)).expect("a legal limit");
        let free = (0..).take_while(|_| limiter.try_acquire(&units(1)).is_ok()).count();
        assert_eq!(free, 10);
        let refused = limiter.try_acquire(&units(1));
        assert!(matches!(refused, Err(Refusal::NotUntil(_))), "{refused:?}");
    }
}
