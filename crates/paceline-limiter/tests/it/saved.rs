//! Saved and restored: nothing is forgotten over a restart, and nothing is kept for longer.

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{
    Actual, Amount, Completion, Demand, Dimension, Instant, LimitKey, Quota, Refusal,
};
use paceline_limiter::{Limit, Limiter, Pacing, Restored, Saved};

/// The longest slot of a window of a minute.
const SLOT: Duration = Duration::from_millis(245);

fn not_zero(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).expect("not zero")
}

fn after(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(seconds)
}

fn limiter(limits: impl IntoIterator<Item = Limit>) -> Limiter {
    let mut limiter = Limiter::new();
    for limit in limits {
        limiter.add(limit).expect("a legal limit");
    }
    limiter
}

fn units_per_minute(limit: u64) -> Limit {
    Limit::new(LimitKey::All, Dimension::TotalTokens, Quota::per_minute(not_zero(limit)))
}

fn units(amount: u64) -> Demand {
    Demand::new().with(Dimension::TotalTokens, Amount::exact(amount))
}

fn restore(limits: impl IntoIterator<Item = Limit>, saved: &Saved, now: Instant) -> Limiter {
    let mut limiter = limiter(limits);
    let restored = limiter.restore(saved, Duration::from_secs(5), now);
    assert_eq!(restored, Restored::Limits { restored: 1, unknown: 0 });
    limiter
}

#[test]
fn a_window_goes_on_where_it_was() {
    let mut old = limiter([units_per_minute(100)]);
    for (second, amount) in [(0, 60), (20, 40)] {
        let receipt = old.try_acquire(&units(amount), after(second)).expect("room");
        old.settle(receipt, &Actual::new(), after(second));
    }
    let saved = old.save(after(30));
    // Another process, another origin of time, five seconds later.
    let mut new = restore([units_per_minute(100)], &saved, after(1_000));
    assert_eq!(new.snapshot(after(1_000)).limits[0].used, 100);
    for (second, amount) in [(1_025, 60), (1_045, 40)] {
        assert!(new.try_acquire(&units(1), after(second) - SLOT).is_err(), "before {second}");
        let by = after(second) + SLOT + SLOT;
        assert!(new.try_acquire(&units(amount), by).is_ok(), "by {second}");
    }
}

#[test]
fn what_was_in_flight_is_taken_as_used_as_late_as_it_could_be() {
    let mut old = limiter([units_per_minute(100)]);
    let lasts = Completion::between(Duration::ZERO, Duration::from_secs(15));
    let _ = old.try_acquire(&units(90).completes(lasts), after(0)).expect("room");
    let saved = old.save(after(10));
    // Over by 15, gone by 75: 60 after what is 15 here.
    let mut new = restore([units_per_minute(100)], &saved, after(15));
    assert_eq!(new.in_flight(), 0);
    assert!(new.try_acquire(&units(11), after(75) - SLOT).is_err());
    assert!(new.try_acquire(&units(11), after(75) + SLOT + SLOT).is_ok());
    // The one that was saved has noticed nothing.
    assert_eq!((old.in_flight(), old.snapshot(after(10)).limits[0].held), (1, 90));
}

#[test]
fn what_is_spent_stays_spent() {
    let cap = || Limit::new(LimitKey::All, Dimension::Money, Quota::once(not_zero(10)));
    let spend = |amount| Demand::new().with(Dimension::Money, Amount::exact(amount));
    let mut old = limiter([cap()]);
    let receipt = old.try_acquire(&spend(9), after(0)).expect("room");
    old.settle(receipt, &Actual::new().with(Dimension::Money, 4), after(0));
    let mut new = restore([cap()], &old.save(after(1)), after(7));
    let refusal = new.try_acquire(&spend(7), after(7)).expect_err("4 are spent");
    assert!(matches!(refusal, Refusal::Exhausted { spent: 4, asked: 7, .. }));
    assert!(new.try_acquire(&spend(6), after(7)).is_ok());
}

#[test]
fn a_bucket_owes_what_time_has_not_worked_off() {
    let bucket = || units_per_minute(60).paced(Pacing::Bucket);
    let mut old = limiter([bucket()]);
    let receipt = old.try_acquire(&units(60), after(0)).expect("a full bucket");
    old.settle(receipt, &Actual::new(), after(0));
    // One a second: 10 came back before it was saved and 5 since.
    let mut new = restore([bucket()], &old.save(after(10)), after(500));
    assert!(new.try_acquire(&units(16), after(500)).is_err());
    assert!(new.try_acquire(&units(15), after(500)).is_ok());
}

#[test]
fn another_form_and_unknown_limits_are_told() {
    let mut old = limiter([
        units_per_minute(100),
        Limit::new(LimitKey::All, Dimension::TotalTokens, Quota::per_hour(not_zero(9))),
    ]);
    let mut saved = old.save(after(0));
    let mut new = limiter([units_per_minute(50)]);
    let restored = new.restore(&saved, Duration::ZERO, after(0));
    assert_eq!(restored, Restored::Limits { restored: 1, unknown: 1 });
    saved.version = Saved::VERSION + 1;
    let restored = new.restore(&saved, Duration::ZERO, after(0));
    assert_eq!(restored, Restored::OtherVersion { found: Saved::VERSION + 1 });
}

#[cfg(feature = "serde")]
#[test]
fn what_was_written_to_a_file_is_what_was_saved() {
    use paceline_limiter::ChargeRule;

    let limits = || {
        let model = LimitKey::Model("m".into());
        [
            units_per_minute(1_000),
            units_per_minute(1_000_000).charged(ChargeRule::Flow),
            Limit::new(model, Dimension::Requests, Quota::per_second(not_zero(9)))
                .paced(Pacing::Bucket),
            Limit::new(LimitKey::All, Dimension::Money, Quota::once(not_zero(50))),
        ]
    };
    // Limits of one key, dimension and window are one limit, so Flow has one of its own.
    for without in 0..2 {
        let limits = || limits().into_iter().enumerate().filter(move |(n, _)| *n != without);
        let limits = || limits().map(|(_, limit)| limit);
        let mut old = limiter(limits());
        let call = units(30).model("m").with(Dimension::Requests, Amount::exact(1));
        let call = call.with(Dimension::Money, Amount::expected(2).upper(5));
        for second in 0..6 {
            let receipt = old.try_acquire(&call, after(second)).expect("room");
            old.sent(receipt, after(second));
            if second % 3 != 0 {
                let used = Actual::new().with(Dimension::TotalTokens, 20 + second);
                old.settle(receipt, &used.with(Dimension::Money, 1), after(second + 1));
            }
        }
        let saved = old.save(after(10));
        let text = serde_json::to_string(&saved).expect("plain data");
        let read: Saved = serde_json::from_str(&text).expect("what was written");
        assert_eq!(read, saved);
        // And it does the same.
        let (mut one, mut other) = (limiter(limits()), limiter(limits()));
        for (limiter, saved) in [(&mut one, &saved), (&mut other, &read)] {
            let restored = limiter.restore(saved, Duration::from_secs(5), after(500));
            assert_eq!(restored, Restored::Limits { restored: 3, unknown: 0 });
        }
        let (one, other) = (one.snapshot(after(500)), other.snapshot(after(500)));
        assert_eq!(one.limits, other.limits);
        assert!(one.limits.iter().any(|limit| limit.used > 0));
    }
}
