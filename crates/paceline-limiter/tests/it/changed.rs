//! Limits that change while they are in use: replaced, stated anew, cut and raised.

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{Actual, Amount, Demand, Dimension, Instant, LimitKey, Observation, Quota};
use paceline_limiter::{ChargeRule, Limit, LimitError, Limiter, Pacing, Profile};

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

const PACINGS: [Pacing; 4] =
    [Pacing::None, Pacing::Even, Pacing::Bucket, Pacing::Burst(NonZeroU64::MIN.saturating_add(49))];

#[test]
fn a_limit_that_is_set_is_bounded_and_mints_nothing() {
    for pacing in PACINGS {
        let mut limiter = Limiter::new();
        limiter.add(per_minute(100).paced(pacing)).expect("a legal limit");
        let before = admitted(&mut limiter, 200, at(60));
        let set = |limiter: &mut Limiter, most| {
            let quota = Quota::per_minute(not_zero(most));
            assert!(limiter.set_limit(&LimitKey::All, UNITS, quota, at(60)));
            limiter.snapshot(at(60)).limits[0].quota.limit().get()
        };
        assert_eq!(set(&mut limiter, u64::MAX), Limit::MAX_AMOUNT, "{pacing:?}");
        let all = Demand::new().with(UNITS, Amount::exact(Limit::MAX_AMOUNT));
        let refused = limiter.try_acquire(&all, at(60));
        assert!(refused.is_err(), "{pacing:?} has counted {before} and admits all");
        // Below the burst that was stated, and back.
        assert_eq!(set(&mut limiter, 2), 2);
        assert_eq!(set(&mut limiter, 100), 100);
        let after = admitted(&mut limiter, 200, at(60));
        let most = if pacing == Pacing::Even { 1 } else { 100 };
        assert!(before + after <= most, "{pacing:?}: {before} and {after}");
    }
}

#[test]
fn a_limit_that_is_stated_is_bounded_in_every_profile() {
    for profile in [Profile::Grok, Profile::Smooth, Profile::Burst, Profile::Bucket] {
        let mut limiter = Limiter::new().with_profile(profile);
        for dimension in [Dimension::Requests, UNITS, Dimension::InFlight] {
            let quota = Quota::per_minute(not_zero(u64::MAX));
            limiter.observe(&Observation::Stated { key: LimitKey::All, dimension, quota }, at(0));
        }
        let seen = limiter.snapshot(at(0)).limits;
        assert_eq!(seen.len(), 3, "{profile:?}");
        assert!(seen.iter().all(|limit| limit.quota.limit().get() == Limit::MAX_AMOUNT));
    }
}

#[test]
fn a_limit_of_another_kind_in_its_place_mints_nothing() {
    let burst = Pacing::Burst(not_zero(40));
    let kinds =
        || [Pacing::None, Pacing::Even, burst, Pacing::Bucket].map(|p| per_minute(100).paced(p));
    for from in kinds() {
        for to in kinds() {
            for (asked, second) in [(100, 0), (100, 30), (60, 30), (20, 90)] {
                let mut limiter = Limiter::new();
                limiter.add(from.clone()).expect("a legal limit");
                for n in 0..asked {
                    // One a second, so that every pacer lets nearly all through.
                    let _ = limiter.try_acquire(&units(1), at(n));
                }
                let now = at(asked + second);
                let before = limiter.snapshot(now).limits[0].free;
                limiter.replace(to.clone(), now).expect("a legal limit");
                let between = limiter.snapshot(now).limits[0].free;
                limiter.replace(from.clone(), now).expect("a legal limit");
                let after = admitted(&mut limiter, 200, now) as u64;
                let what = (from.pacing(), to.pacing(), asked, second);
                assert!(
                    between <= before && after <= before,
                    "{what:?}: {before} {between} {after}"
                );
            }
        }
    }
}

#[test]
fn what_is_spent_stays_spent_while_only_what_is_in_flight_counts() {
    let cap = |rule| {
        let quota = Quota::once(not_zero(10));
        Limit::new(LimitKey::All, UNITS, quota).charged(rule).delay(Duration::ZERO)
    };
    let flying = cap(ChargeRule::WhileInFlight);
    let spent = cap(ChargeRule::Completion);
    let mut limiter = Limiter::new();
    limiter.add(spent.clone()).expect("a legal limit");
    let first = limiter.try_acquire(&units(3), at(0)).expect("room");
    limiter.settle(first, &Actual::new(), at(0));
    let before = limiter.try_acquire(&units(2), at(0)).expect("room");
    limiter.replace(flying, at(1)).expect("a legal limit");
    let during = limiter.try_acquire(&units(4), at(1)).expect("2 of 10 are in flight");
    limiter.settle(before, &Actual::new(), at(1));
    limiter.settle(during, &Actual::new(), at(1));
    limiter.replace(spent, at(2)).expect("a legal limit");
    assert_eq!(limiter.snapshot(at(2)).limits[0].used, 9);
    assert!(limiter.try_acquire(&units(2), at(2)).is_err());
    assert!(limiter.renew(&LimitKey::All, UNITS));
    assert!(limiter.try_acquire(&units(10), at(2)).is_ok());
}

#[test]
fn a_call_that_leaves_at_the_end_of_all_time_frees_what_it_held_once() {
    let mut limiter = Limiter::new();
    limiter.add(per_minute(100).charged(ChargeRule::Arrival)).expect("a legal limit");
    let first = limiter.try_acquire(&units(40), Instant::MAX).expect("room for both");
    let _second = limiter.try_acquire(&units(40), Instant::MAX).expect("room for both");
    assert!(limiter.sent(first, Instant::MAX));
    assert!(limiter.settle(first, &Actual::new(), Instant::MAX));
    assert_eq!(limiter.snapshot(Instant::MAX).limits[0].held, 40);
}

#[test]
fn a_limit_on_calls_in_flight_is_stated_without_a_window() {
    let mut limiter = Limiter::new();
    for most in [3, 5] {
        let quota = Quota::per_minute(not_zero(most));
        let (key, dimension) = (LimitKey::All, Dimension::InFlight);
        limiter.observe(&Observation::Stated { key, dimension, quota }, at(0));
        let limits = limiter.snapshot(at(0)).limits;
        assert_eq!((limits.len(), limits[0].quota), (1, Quota::once(not_zero(most))));
    }
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
            let _ = limiter.try_acquire(&units(1)).expect("a whole burst is free");
        }
        clock.set(at(10));
        limiter.add(bucket(6_000)).expect("a legal limit");
        let free = (0..).take_while(|_| limiter.try_acquire(&units(1)).is_ok()).count();
        assert_eq!(free, 10);
        let refused = limiter.try_acquire(&units(1));
        assert!(matches!(refused, Err(Refusal::NotUntil(_))), "{refused:?}");
    }
}
