//! What is saved goes on in a later process, as if it had never stopped.

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{
    Actual, Amount, ChargeMoment, Demand, Dimension, Instant, LimitKey, Observation, Quota,
};
use paceline_limiter::{ChargeRule, Limit, Limiter, Pacing, Restored, Saved};

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(seconds)
}

/// 100 units a minute, 10 of them at once.
fn limiter() -> Limiter {
    let not_zero = |n| NonZeroU64::new(n).expect("not zero");
    let quota = Quota::per_minute(not_zero(100));
    let limit = Limit::new(LimitKey::All, Dimension::TotalTokens, quota).delay(Duration::ZERO);
    let mut limiter = Limiter::new();
    limiter.add(limit.paced(Pacing::Burst(not_zero(10)))).expect("a legal limit");
    limiter
}

fn ask(expected: u64, upper: u64) -> Demand {
    Demand::call(Amount::expected(expected).upper(upper))
}

#[test]
fn a_restart_forgets_nothing_and_frees_nothing() {
    let mut before = limiter();
    let settled = before.try_acquire(&ask(10, 40), at(0)).expect("fits");
    before.settle(settled, &Actual::new().with(Dimension::TotalTokens, 40), at(1));
    // Pays for 30 more than was expected, at 1.5 a second.
    let in_flight = before.try_acquire(&ask(5, 60), at(40)).expect("fits");
    before.sent(in_flight, at(40));
    let saved = before.save(at(41));

    // 5 s later, in another process with a clock of its own.
    let mut after = limiter();
    let restored = after.restore(&saved, Duration::from_secs(5), at(1_000));
    assert_eq!(restored, Restored::Limits { restored: 1, unknown: 0 });
    assert!(after.try_acquire(&ask(1, 1), at(1_000)).is_err(), "100 of 100 count");
    // The 40 leave at 61 of the old clock, 15 s on; the 60 in flight count as used when saved.
    assert!(after.try_acquire(&ask(1, 40), at(1_013)).is_err());
    assert!(after.try_acquire(&ask(1, 41), at(1_017)).is_err());
    assert!(after.try_acquire(&ask(1, 40), at(1_017)).is_ok());
}

#[test]
fn what_was_saved_by_another_version_changes_nothing() {
    let mut limiter = limiter();
    let full = limiter.try_acquire(&ask(10, 100), at(0)).expect("fits");
    limiter.settle(full, &Actual::new(), at(0));
    let mut saved = limiter.save(at(1));
    saved.version = Saved::VERSION + 1;
    let mut after = self::limiter();
    let restored = after.restore(&saved, Duration::ZERO, at(0));
    assert_eq!(restored, Restored::OtherVersion { found: Saved::VERSION + 1 });
    assert!(after.try_acquire(&ask(10, 100), at(0)).is_ok());
}

/// Another process, `elapsed` seconds later, whose clock shows 1,000 then.
fn next(limit: Limit, saved: &Saved, elapsed: u64) -> Limiter {
    let mut limiter = Limiter::new();
    limiter.add(limit).expect("a legal limit");
    let restored = limiter.restore(saved, Duration::from_secs(elapsed), at(1_000));
    assert_eq!(restored, Restored::Limits { restored: 1, unknown: 0 });
    limiter
}

fn tokens(rule: ChargeRule) -> Limit {
    let quota = Quota::per_minute(NonZeroU64::new(100).expect("not zero"));
    Limit::new(LimitKey::All, Dimension::TotalTokens, quota).charged(rule)
}

fn refused() -> Observation {
    Observation::Refused {
        key: LimitKey::All,
        dimension: Some(Dimension::TotalTokens),
        actual: None,
        limit: Some(100),
        receipt: None,
    }
}

#[test]
fn a_pause_outlives_a_restart() {
    let mut before = limiter();
    before.pause_until(&LimitKey::All, None, at(60), at(0));
    // One that was closed for good says nothing to the next process.
    before.pause_until(&LimitKey::Model("m".into()), None, Instant::MAX, at(0));
    let saved = before.save(at(10));
    let mut after = next(tokens(ChargeRule::Completion), &saved, 20);
    let last = at(1_030) - Duration::from_nanos(1);
    assert!(after.try_acquire(&ask(1, 1), last).is_err(), "30 s are left");
    assert!(after.try_acquire(&ask(1, 1).model("m"), at(1_030)).is_ok());
    let mut long_after = next(tokens(ChargeRule::Completion), &saved, 50);
    assert!(long_after.try_acquire(&ask(1, 1), at(1_000)).is_ok());
}

#[test]
fn one_call_goes_ahead_after_a_pause_over_a_restart() {
    let mut before = limiter();
    before.pause_until(&LimitKey::All, Some(Dimension::TotalTokens), at(60), at(0));
    before.observe(&refused(), at(0));
    let mut after = next(tokens(ChargeRule::Completion), &before.save(at(10)), 100);
    assert!(after.try_acquire(&ask(1, 1), at(1_000)).is_ok());
    assert!(after.try_acquire(&ask(1, 1), at(1_000)).is_err(), "the others wait for it");
    assert!(after.try_acquire(&ask(1, 1), at(1_001)).is_ok());
}

#[test]
fn what_refusals_taught_outlives_a_restart() {
    let stated = Duration::from_millis(250);
    let bound = |limiter: &mut Limiter, now| limiter.snapshot(now).limits[0].delay_bound;
    let mut before = Limiter::new();
    before.add(tokens(ChargeRule::Arrival)).expect("a legal limit");
    before.observe(&refused(), at(0));
    assert_eq!(bound(&mut before, at(0)), stated * 2);
    let saved = before.save(at(100));
    // It would have been halved 600 s after the refusal.
    let mut after = next(tokens(ChargeRule::Arrival), &saved, 300);
    assert_eq!(bound(&mut after, at(1_199)), stated * 2);
    assert_eq!(bound(&mut after, at(1_200)), stated);
    let mut long_after = next(tokens(ChargeRule::Arrival), &saved, 500);
    assert_eq!(bound(&mut long_after, at(1_000)), stated);
}

#[test]
fn what_fell_back_from_flow_stays_so_over_a_restart() {
    let counted = |moment| Observation::CountedOn {
        key: LimitKey::All,
        dimension: Dimension::TotalTokens,
        moment,
    };
    let rule = |limiter: &mut Limiter| limiter.snapshot(at(1_000)).limits[0].rule;
    let mut before = Limiter::new();
    before.add(tokens(ChargeRule::Flow)).expect("a legal limit");
    let call = before.try_acquire(&ask(90, 90), at(0)).expect("fits");
    before.settle(call, &Actual::new().with(Dimension::TotalTokens, 90), at(1));
    before.observe(&counted(ChargeMoment::Arrival), at(2));
    let saved = before.save(at(3));
    let mut after = next(tokens(ChargeRule::Flow), &saved, 1);
    assert_eq!(rule(&mut after), ChargeRule::Completion);
    assert!(after.try_acquire(&ask(11, 11), at(1_000)).is_err(), "90 of 100 are counted");
    // It returns as one that had never stopped would.
    after.observe(&counted(ChargeMoment::Completion), at(1_000));
    before.observe(&counted(ChargeMoment::Completion), at(4));
    assert_eq!(rule(&mut after), ChargeRule::Flow);
    let credit = |limiter: &mut Limiter, now| {
        limiter.save(now).limits[0].flow.as_ref().map(|flow| flow.credit).expect("kept by Flow")
    };
    let (one, other) = (credit(&mut before, at(4)), credit(&mut after, at(1_000)));
    // Saved in whole units, rounded down.
    assert!(other == one || other == one - 1, "{one} and {other}");
}

#[cfg(feature = "serde")]
#[test]
fn what_is_saved_is_read_as_it_was_written() {
    let mut limiter = Limiter::new();
    for rule in [ChargeRule::Flow, ChargeRule::Arrival] {
        let hundred = NonZeroU64::new(100).expect("not zero");
        let quota = match rule {
            ChargeRule::Flow => Quota::per_minute(hundred),
            _ => Quota::per_hour(hundred),
        };
        let limit = Limit::new(LimitKey::All, Dimension::TotalTokens, quota).charged(rule);
        limiter.add(limit.paced(Pacing::Even)).expect("a legal limit");
    }
    let call = limiter.try_acquire(&ask(9, 20).tag("t"), at(0)).expect("fits");
    limiter.settle(call, &Actual::new().with(Dimension::TotalTokens, 12), at(3));
    let _ = limiter.try_acquire(&ask(3, 5).tag("u"), at(900)).expect("fits");
    limiter.observe(&refused(), at(901));
    limiter.pause_until(&LimitKey::Caller("c".into()), Some(Dimension::Requests), at(940), at(901));
    let saved = limiter.save(at(902));
    assert!(saved.limits.iter().any(|limit| limit.widened.is_some()), "{saved:?}");
    let written = serde_json::to_string(&saved).expect("plain data");
    let read: Saved = serde_json::from_str(&written).expect("what was written");
    assert_eq!(read, saved);
}
