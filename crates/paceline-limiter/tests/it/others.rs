//! What a limit does when the server refuses and our own count had not reached it.

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{
    Actual, Amount, ChargeMoment, Demand, Dimension, Instant, LimitKey, Observation, Quota,
    Receipt, Refusal,
};
use paceline_limiter::{Binds, ChargeRule, Limit, LimitSnapshot, Limiter};

const TOKENS: Dimension = Dimension::TotalTokens;

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn limiter(rule: ChargeRule) -> Limiter {
    let quota = Quota::per_minute(NonZeroU64::new(1_000).expect("not zero"));
    let mut limiter = Limiter::new();
    limiter.add(Limit::new(LimitKey::All, TOKENS, quota).charged(rule)).expect("legal");
    limiter
}

fn call(tokens: u64) -> Demand {
    let amount = |tokens| Amount::expected(tokens).upper(tokens);
    // A tenth is output.
    Demand::call(amount(tokens)).with(Dimension::InputTokens, amount(tokens - tokens / 10))
}

fn send(limiter: &mut Limiter, tokens: u64, now: Instant) -> Receipt {
    let receipt = limiter.try_acquire(&call(tokens), now).expect("fits");
    limiter.sent(receipt, now);
    receipt
}

fn settle(limiter: &mut Limiter, receipt: Receipt, tokens: u64, now: Instant) {
    limiter.settle(receipt, &Actual::new().with(TOKENS, tokens), now);
}

/// The server refuses the call, and says what it had counted, or not.
fn refuse(limiter: &mut Limiter, receipt: Receipt, actual: Option<u64>, now: Instant) {
    let limit = actual.map(|_| 1_000);
    let (key, dimension, receipt_of_it) = (LimitKey::All, Some(TOKENS), Some(receipt));
    let refused = Observation::Refused { key, dimension, actual, limit, receipt: receipt_of_it };
    limiter.observe(&refused, now);
    settle(limiter, receipt, 0, now);
}

fn look(limiter: &mut Limiter, now: Instant) -> LimitSnapshot {
    limiter.snapshot(now).limits.remove(0)
}

/// One call long ago, so that the window before is known; its count has left by 200 s.
fn known(rule: ChargeRule) -> Limiter {
    let mut limiter = limiter(rule);
    let receipt = send(&mut limiter, 10, at(1));
    settle(&mut limiter, receipt, 10, at(2));
    limiter
}

#[test]
fn a_refusal_that_is_not_explained_lowers_what_is_in_force_and_time_restores_it() {
    for rule in [ChargeRule::Completion, ChargeRule::Flow] {
        let mut limiter = known(rule);
        let used = send(&mut limiter, 600, at(200));
        settle(&mut limiter, used, 600, at(201));
        let receipt = send(&mut limiter, 100, at(210));
        assert_eq!(look(&mut limiter, at(210)).in_force, 1_000, "{rule:?}");
        refuse(&mut limiter, receipt, None, at(211));
        // The first one is believed for a window and a half; another says that they stay.
        assert!(look(&mut limiter, at(211)).in_force < 700, "{rule:?}");
        let again = Observation::Refused {
            key: LimitKey::All,
            dimension: Some(TOKENS),
            actual: None,
            limit: None,
            receipt: None,
        };
        limiter.observe(&again, at(212));
        let limit = look(&mut limiter, at(212));
        // Others had 400 at least, less what the server could see of the call, and a step more.
        assert!((450..=600).contains(&limit.in_force), "{rule:?}: {limit:?}");
        assert_eq!((limit.others, limit.binds), (1_000 - limit.in_force, Some(Binds::Others)));
        let large = limiter.try_acquire(&call(900), at(300));
        assert!(matches!(large, Err(Refusal::NotUntil(_))), "{rule:?}: not never: {large:?}");
        assert!(look(&mut limiter, at(3_600)).in_force > 650);
        assert_eq!(look(&mut limiter, at(40_000)).in_force, 1_000);
        assert!(limiter.try_acquire(&call(900), at(40_000)).is_ok(), "{rule:?}");
    }
}

/// As the documentation of `observe` has it: doubled by each refusal that is not explained, halved by each
/// ten minutes without one.
#[test]
fn a_delay_bound_that_was_doubled_twice_is_halved_once_every_ten_minutes() {
    for rule in [ChargeRule::Completion, ChargeRule::Flow] {
        let mut limiter = known(rule);
        let stated = look(&mut limiter, at(200)).delay_bound;
        for second in [210, 400] {
            let receipt = send(&mut limiter, 50, at(second));
            refuse(&mut limiter, receipt, None, at(second + 1));
        }
        let bounds = [402, 1_000, 1_002, 1_600, 1_602, 9_000]
            .map(|second| look(&mut limiter, at(second)).delay_bound);
        let (twice, once) = (stated * 4, stated * 2);
        assert_eq!(bounds, [twice, twice, once, once, stated, stated], "{rule:?}");
    }
}

#[test]
fn what_was_there_before_a_restart_leaves_within_a_window_or_so() {
    for rule in [ChargeRule::Completion, ChargeRule::Flow] {
        let mut limiter = limiter(rule);
        let receipt = send(&mut limiter, 100, at(500));
        refuse(&mut limiter, receipt, None, at(501));
        assert_eq!(look(&mut limiter, at(501)).in_force, 1);
        let half = look(&mut limiter, at(535)).in_force;
        assert!((400..=600).contains(&half), "{rule:?}: {half}");
        assert_eq!(look(&mut limiter, at(567)).in_force, 1_000);
    }
}

#[test]
fn one_incident_lowers_it_once() {
    let mut limiter = known(ChargeRule::Completion);
    let receipts: Vec<Receipt> = (0..3).map(|_| send(&mut limiter, 10, at(200))).collect();
    refuse(&mut limiter, receipts[0], None, at(201));
    let once = look(&mut limiter, at(201)).in_force;
    refuse(&mut limiter, receipts[1], None, at(201));
    refuse(&mut limiter, receipts[2], None, at(201));
    assert_eq!(look(&mut limiter, at(201)).in_force, once);
}

#[test]
fn what_our_own_count_or_the_servers_explains_lowers_nothing() {
    let mut full = known(ChargeRule::Completion);
    let receipts: Vec<Receipt> = [900, 100].map(|n| send(&mut full, n, at(200))).into();
    settle(&mut full, receipts[0], 1_001, at(201));
    refuse(&mut full, receipts[1], None, at(202));
    assert_eq!(look(&mut full, at(202)).in_force, 1_000);

    for rule in [ChargeRule::Completion, ChargeRule::Flow] {
        let mut told = known(rule);
        let receipt = send(&mut told, 10, at(200));
        refuse(&mut told, receipt, Some(990), at(201));
        let limit = look(&mut told, at(201));
        assert_eq!((limit.in_force, limit.used), (1_000, 990), "{rule:?}: the count is corrected");
        assert!(told.try_acquire(&call(20), at(201)).is_err());
        // Again, and it is somebody who stays.
        let receipt = send(&mut told, 10, at(270));
        refuse(&mut told, receipt, Some(990), at(271));
        assert!(look(&mut told, at(271)).in_force < 1_000);
    }
}

#[test]
fn after_a_pause_that_follows_a_refusal_one_call_goes_ahead_alone() {
    let mut limiter = known(ChargeRule::Flow);
    let receipt = send(&mut limiter, 1, at(200));
    refuse(&mut limiter, receipt, None, at(200));
    limiter.pause_until(&LimitKey::All, Some(TOKENS), at(201), at(200));
    assert!(limiter.try_acquire(&call(1), at(200)).is_err());
    let later = at(290);
    let _ = send(&mut limiter, 1, later);
    assert!(limiter.try_acquire(&call(1), later).is_err(), "the probe is not back");
    assert!(limiter.try_acquire(&call(1), later + Duration::from_millis(250)).is_ok());
}

#[test]
fn headers_only_tighten_and_a_replica_that_has_not_heard_of_us_says_nothing() {
    let mut limiter = known(ChargeRule::Flow);
    let left = |remaining| {
        let (key, dimension, limit) = (LimitKey::All, TOKENS, 1_000);
        Observation::Remaining { key, dimension, remaining, limit }
    };
    limiter.observe(&left(100), at(199));
    assert_eq!(look(&mut limiter, at(199)).in_force, 1_000, "nothing was refused yet");
    let receipt = send(&mut limiter, 1, at(200));
    refuse(&mut limiter, receipt, None, at(200));
    limiter.observe(&left(400), at(202));
    let limit = look(&mut limiter, at(202));
    assert_eq!(limit.others, 600);
    assert!(limit.in_force < 400);
    limiter.observe(&left(1_000), at(203));
    assert_eq!(look(&mut limiter, at(203)).others, 600);
}

#[test]
fn flow_falls_back_to_holding_where_the_server_counts_on_arrival_and_returns() {
    let counted = |moment| {
        let (key, dimension) = (LimitKey::All, TOKENS);
        Observation::CountedOn { key, dimension, moment }
    };
    let mut limiter = known(ChargeRule::Flow);
    let before = send(&mut limiter, 10, at(200));
    limiter.observe(&counted(ChargeMoment::Arrival), at(201));
    assert_eq!(look(&mut limiter, at(201)).rule, ChargeRule::Completion);
    let _ = send(&mut limiter, 990, at(201));
    assert!(limiter.try_acquire(&call(1), at(201)).is_err(), "what it could use is held");
    limiter.observe(&counted(ChargeMoment::Completion), at(202));
    assert_eq!(look(&mut limiter, at(202)).rule, ChargeRule::Flow);
    // A call that the Flow of before admitted is not another one's end.
    let _ = send(&mut limiter, 20, at(203));
    settle(&mut limiter, before, 10, at(204));
    let limit = look(&mut limiter, at(204));
    assert_eq!((limit.used, limit.held), (10, 1_010));

    let mut holding = known(ChargeRule::Completion);
    holding.observe(&counted(ChargeMoment::Completion), at(201));
    assert_eq!(look(&mut holding, at(201)).rule, ChargeRule::Completion, "it never was Flow");
}

#[test]
fn a_refusal_before_any_call_of_ours_does_not_hold_for_ever() {
    let mut limiter = Limiter::new();
    let quota = Quota::per_minute(NonZeroU64::new(100).expect("not zero"));
    limiter.add(Limit::new(LimitKey::All, TOKENS, quota)).expect("legal");
    let told = Observation::Refused {
        key: LimitKey::All,
        dimension: Some(TOKENS),
        actual: None,
        limit: Some(100),
        receipt: None,
    };
    limiter.observe(&told, at(1_000));
    let demand = Demand::new().with(TOKENS, Amount::exact(50));
    let Err(Refusal::NotUntil(blocked)) = limiter.try_acquire(&demand, at(1_000)) else {
        panic!("others have it all");
    };
    let until = blocked.until.expect("what was there before us leaves within a window or so");
    assert!(until < at(1_070), "{until}");
    assert!(limiter.try_acquire(&demand, until).is_ok());
}
