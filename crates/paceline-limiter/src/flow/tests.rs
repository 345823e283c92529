//! What Flow promises of single calls; what it reaches is measured in virtual time elsewhere.

use std::time::Duration;

use paceline_core::{Amount, Completion, Instant, Tag};

use super::{Ask, Flight, Flow, Passed};

const LIMIT: u64 = 60_000;

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn flow() -> Flow {
    Flow::new(LIMIT, Duration::from_secs(60), Duration::from_millis(50))
}

/// A call with an output of 0 to `most`, 100 tokens of input, over within 10 s.
fn ask(mean: u64, most: u64) -> Ask<'static> {
    Ask {
        amount: Amount::expected(100 + mean).spread(mean / 2).upper(100 + most),
        input: Amount::exact(100),
        completes: Some(Completion::between(Duration::ZERO, Duration::from_secs(10))),
        class: None,
    }
}

/// One call after the other that used `actual`, each for a second.
fn run(flow: &mut Flow, times: u64, actual: u64) -> u64 {
    let ask = ask(900, 4_000);
    let mut now = 0;
    for _ in 0..times {
        now = until_admitted(flow, &ask, now);
        let flight = flow.admit(&ask, at(now));
        now += 1_000;
        flow.settle(flight, actual, at(now));
    }
    now
}

/// The first moment from `now` on at which it may leave; every refusal has to name a later one.
#[track_caller]
fn until_admitted(flow: &mut Flow, ask: &Ask<'_>, now: u64) -> u64 {
    let mut now = now;
    loop {
        match flow.verdict(ask, at(now)) {
            Ok(()) => return now,
            Err(until) => {
                let until = until.expect("nothing is in flight, so time helps");
                assert!(until > at(now));
                now = until.as_nanos().div_ceil(1_000_000);
            }
        }
    }
}

#[test]
fn settled_to_what_was_used_the_credit_is_exact() {
    let mut flow = flow();
    let ask = ask(900, 4_000);
    let empty = flow.credit.level();
    assert_eq!(flow.verdict(&ask, at(0)), Ok(()));
    assert_eq!(flow.credit.level(), empty, "nothing is kept of a call that did not leave");
    let flight = flow.admit(&ask, at(0));
    // The first call to leave begins the credit; it goes back whole.
    flow.refused(flight, at(0));
    let begun = flow.credit.level();
    let flight = flow.admit(&ask, at(0));
    assert_eq!(flow.credit.level(), begun - 1_000);
    flow.settle(flight, 400, at(0));
    assert_eq!(flow.credit.level(), begun - 400);
    let flight = flow.admit(&ask, at(0));
    flow.refused(flight, at(0));
    assert_eq!(flow.credit.level(), begun - 400);
    // A thousand a second come back, up to two limits.
    flow.counted(at(1_500));
    assert_eq!(flow.credit.level(), begun - 400 + 1_500);
    flow.counted(at(1_000_000));
    assert_eq!(flow.credit.level(), i128::from(2 * LIMIT));
    flow.set_limit(LIMIT / 2, at(1_000_000));
    assert_eq!(flow.credit.level(), i128::from(LIMIT));
    flow.set_factor(Flow::WHOLE / 2, at(1_000_000));
    flow.credit.set_level(0);
    flow.counted(at(1_004_000));
    assert_eq!(flow.credit.level(), 1_000);
}

#[test]
fn in_the_long_run_it_uses_the_limit_and_no_more() {
    let mut flow = flow();
    let passed = run(&mut flow, 2_000, 1_000);
    let used = 2_000.0 * 1_000.0 * 60_000.0 / (passed as f64 * LIMIT as f64);
    assert!((0.95..=1.0).contains(&used), "{used}");
}

#[test]
fn debt_waits_for_exactly_what_it_lacks() {
    let mut flow = flow();
    let ask = ask(900, 4_000);
    assert_eq!(flow.verdict(&ask, at(0)), Ok(()));
    let flight = flow.admit(&ask, at(0));
    let over = u64::try_from(flow.credit.level() + 1_000).expect("it had credit");
    flow.settle(flight, over + 5_000, at(0));
    // In 5,000 ms the debt is paid; a nanosecond later there is credit.
    let blocked = flow.verdict(&ask, at(0));
    let until = blocked.expect_err("in debt").expect("time helps");
    assert!(until > at(4_999) && until <= at(5_001), "{until}");
    assert_eq!(flow.verdict(&ask, until), Ok(()));
}

#[test]
fn what_could_land_and_not_fit_holds_others_back() {
    let large = ask(19_000, 20_000);
    let small = Ask { class: Some(&Tag::from("small")), ..ask(100, 100) };
    let mut flow = flow();
    assert_eq!(flow.verdict(&large, at(0)), Ok(()));
    let flight = flow.admit(&large, at(0));
    flow.record_past(45_000, at(0), at(0));
    flow.credit.set_level(50_000);
    flow.peak.give(20_000);
    // It is due now, and would make it more than the limit; soon after it left it was not.
    let fits = |flow: &mut Flow, millis| flow.verdict(&small, at(millis)).is_ok();
    assert!(fits(&mut flow, 1));
    assert!(!fits(&mut flow, 9_800));
    flow.refused(flight, at(9_800));
    assert!(fits(&mut flow, 9_950));
}

#[test]
fn a_full_window_names_the_moment_at_which_it_is_not() {
    let mut flow = flow();
    let ask = ask(100, 100);
    flow.verdict(&ask, at(1_000)).expect("nothing was counted");
    flow.record_past(LIMIT, at(1_000), at(1_000));
    flow.credit.set_level(1_000);
    let until = flow.verdict(&ask, at(1_000)).expect_err("full").expect("time helps");
    // A window after the end of its slot, which is 134 ms long.
    assert!(until > at(61_000) && until <= at(61_135), "{until}");
    assert_eq!(flow.verdict(&ask, until), Ok(()));
    assert_eq!(flow.counted(until), 0);
    let never = Ask { input: Amount::exact(LIMIT + 1), ..ask };
    assert_eq!(flow.verdict(&never, until), Err(None));
}

#[test]
fn a_margin_counts_as_if_it_were_settled() {
    let mut flow = flow();
    let ask = ask(100, 100);
    flow.verdict(&ask, at(0)).expect("nothing was counted");
    flow.set_margin(LIMIT);
    assert!(flow.verdict(&ask, at(1)).is_err());
    flow.set_margin(0);
    assert_eq!(flow.verdict(&ask, at(2)), Ok(()));
}

#[test]
fn a_clock_that_steps_back_gives_nothing() {
    let mut flow = flow();
    let ask = ask(900, 4_000);
    flow.verdict(&ask, at(10_000)).expect("nothing was counted");
    let flight = flow.admit(&ask, at(10_000));
    let level = flow.credit.level();
    flow.settle(flight, 1_000, at(4_000));
    flow.counted(at(9_000));
    flow.counted(at(10_000));
    assert_eq!(flow.credit.level(), level);
    // It is stamped at 10 s, not at 4.
    assert_eq!(flow.counted(at(69_900)), 1_000);
    assert_eq!(flow.counted(at(70_200)), 0);
}

#[test]
fn a_call_that_takes_longer_than_all_is_expected_at_its_largest() {
    let mut flow = flow();
    let ask = ask(900, 4_000);
    let flight = flow.admit(&ask, at(0));
    flow.counted(at(5_000));
    let halfway = flow.forecast.guard();
    flow.counted(at(60_000));
    let overdue = flow.forecast.guard();
    // Expected, and as the largest that may land: (1 + 5/6) (4,000 + 100).
    assert!(overdue >= 7_500 && halfway < overdue, "{halfway} {overdue}");
    flow.settle(flight, 1, at(60_000));
    flow.counted(at(61_000));
    assert!(flow.forecast.guard() < 10, "{}", flow.forecast.guard());
}

#[test]
fn an_unknown_use_counts_the_upper_amount_as_late_as_it_can_land() {
    let mut flow = flow();
    let ask = ask(900, 4_000);
    let flight = flow.admit(&ask, at(0));
    flow.lose(flight, at(10_000), at(1_000));
    assert_eq!(flow.counted(at(1_000)), 4_100);
    assert_eq!(flow.counted(at(69_900)), 4_100);
    assert_eq!(flow.counted(at(70_200)), 0);
}

#[test]
fn progress_tells_how_much_can_land() {
    let guard = |progress: &[(u64, u64)]| {
        let mut flow = flow();
        let ask = ask(4_000, 20_000);
        let flight = flow.admit(&ask, at(0));
        for (millis, output) in progress {
            flow.progress(flight, *output, at(*millis));
        }
        flow.counted(at(6_000));
        let guard = flow.forecast.guard();
        flow.settle(flight, 300, at(6_000));
        flow.counted(at(7_000));
        assert!(flow.forecast.guard() < 10, "{}", flow.forecast.guard());
        guard
    };
    let unseen = guard(&[]);
    // A twentieth as fast as was said.
    let slow = guard(&[(1_000, 100), (2_000, 200), (3_000, 300), (4_000, 400)]);
    let fast = guard(&[(1_000, 3_000), (2_000, 6_000), (3_000, 9_000), (4_000, 12_000)]);
    assert!(slow < unseen / 4 && fast > unseen, "{slow} {unseen} {fast}");
}

#[test]
fn a_restart_forgets_nothing_that_counts() {
    let mut flow = flow();
    let end = run(&mut flow, 100, 900);
    let ask = ask(900, 4_000);
    let flying = flow.admit(&ask, at(end));
    let (counted, level) = (flow.counted(at(end)), flow.credit.level());
    let saved = flow.save(at(end));
    let mut other = self::flow();
    other.restore(saved.clone(), Duration::from_secs(2), at(500_000));
    assert_eq!(other.credit.level(), level + 2_000);
    let charged = flow.flights.iter().map(|call| call.charged).sum::<u64>();
    // A second's worth of calls has left; what flew counts until 10 s and a window have passed.
    let now = other.counted(at(500_000));
    assert!(now <= counted + u128::from(charged) && now + 4_000 > counted, "{now} {counted}");
    flow.refused(flying, at(end));
    assert_eq!(other.counted(at(567_000)), u128::from(charged));
    assert_eq!(other.counted(at(569_000)), 0);
    // What it learned is there as soon as a call of that class comes.
    other.verdict(&ask, at(600_000)).expect("the window is empty");
    assert_eq!(saved.classes[0].calls.len(), 100);
    assert_eq!(other.save(at(600_000)).classes[0].calls, saved.classes[0].calls);
}

#[test]
fn a_class_remembers_so_many_calls_and_there_are_so_many_classes() {
    let mut flow = flow();
    let mut flights: Vec<Flight> = Vec::new();
    for class in 0..40 {
        let tag = Tag::from(format!("class {class}"));
        let ask = Ask { class: Some(&tag), ..ask(1, 2) };
        for call in 0..600 {
            flights.push(flow.admit(&ask, at(call)));
        }
        for flight in flights.drain(..) {
            flow.settle(flight, 101, at(1_000));
        }
    }
    assert_eq!(flow.classes.len(), super::classes::CLASSES);
    let saved = flow.save(at(1_000));
    assert!(saved.classes.iter().all(|class| class.calls.len() <= super::class::SAMPLE));
    assert_eq!(flow.in_flight(), 0);
    assert_eq!(flow.flights.inputs(), 0);
}

#[test]
fn windows_above_the_limit_are_told() {
    let mut flow = flow();
    for (millis, amount) in [(0, LIMIT), (1_000, 1), (2_000, 5), (70_000, LIMIT + 2)] {
        flow.record_past(amount, at(millis), at(millis));
    }
    let highest = u128::from(LIMIT) + 6;
    assert_eq!(flow.passed(), Passed { times: 2, highest });
}

#[test]
fn a_limit_may_change_its_order_of_magnitude_with_calls_in_flight() {
    let mut flow = flow();
    let ask = ask(900, 4_000);
    let flights: Vec<_> = (0..5).map(|call| flow.admit(&ask, at(call * 1_000))).collect();
    for limit in [u64::MAX, 1 << 40, 1 << 30, LIMIT] {
        flow.set_limit(limit, at(5_000));
        assert_eq!(flow.in_flight(), 5);
        flow.verdict(&ask, at(9_000)).ok();
    }
    for flight in flights {
        flow.settle(flight, 1_000, at(10_000));
    }
    assert_eq!(flow.counted(at(10_000)), 5_000);
    flow.counted(at(11_000));
    assert!(flow.forecast.guard() < 10, "{}", flow.forecast.guard());
}

#[test]
fn a_call_ages_from_its_sending() {
    let mut flow = flow();
    let ask = ask(900, 4_000);
    let flight = flow.admit(&ask, at(0));
    flow.sent(flight, at(60_000));
    flow.counted(at(61_000));
    assert!(flow.forecast.guard() < 4_000, "{}", flow.forecast.guard());
    flow.settle(flight, 500, at(62_000));
    assert_eq!(flow.in_flight(), 0);
}

#[test]
fn longer_ways_hold_back_more() {
    let mut flow = flow();
    let ask = ask(900, 4_000);
    let flights: Vec<_> = (0..8).map(|call| flow.admit(&ask, at(call))).collect();
    flow.counted(at(2_000));
    let near = flow.forecast.guard();
    flow.set_delay(Duration::from_millis(500), at(2_000));
    assert!(flow.forecast.guard() > near + 500, "{near} {}", flow.forecast.guard());
    assert_eq!(flights.len(), flow.in_flight());
}

#[test]
fn a_limit_with_one_class_takes_twelve_kibibytes_beside_its_calls() {
    let mut flow = flow();
    let ask = ask(900, 4_000);
    for call in 0..20_000 {
        let flight = flow.admit(&ask, at(call * 40));
        if call % 3 > 0 {
            flow.settle(flight, 500, at(call * 40 + 20));
        }
    }
    let ring = 8 * 449;
    let bytes = size_of::<Flow>() + ring + flow.classes[0].bytes();
    assert!(bytes <= 12 * 1_024, "{bytes}");
}

#[test]
fn what_is_cancelled_at_once_leaves_nothing_after_another_delay_bound() {
    let mut flow = flow();
    let ask = ask(900, 4_000);
    let now = run(&mut flow, 40, 1_000);
    // Another one is expected to land, too; and the second time there is nothing new to build curves of.
    flow.admit(&ask, at(now - 500));
    flow.set_delay(Duration::from_millis(60), at(now));
    flow.set_delay(Duration::from_secs(2), at(now));
    let before = flow.clone();
    let flight = flow.admit(&ask, at(now));
    assert!(flow.forecast.guard() > before.forecast.guard());
    flow.cancel(flight, at(now));
    assert_eq!(flow.forecast.guard(), before.forecast.guard());
    let by_quarter = |flow: &Flow| [1, 2, 3, 4].map(|quarter| flow.forecast.by_quarter(quarter));
    assert_eq!(by_quarter(&flow), by_quarter(&before));
}

/// 1.8 deviations of a window of independent calls, and 4/3 of their mean square over the limit.
#[test]
fn a_window_to_come_may_pass_the_limit_by_what_chance_makes_of_its_calls() {
    for sizes in [vec![1_000], vec![100, 100, 100, 10_000], vec![1]] {
        let mut flow = flow();
        for _ in 0..50 {
            sizes.iter().for_each(|size| flow.learn_size(*size));
        }
        let sum: u64 = sizes.iter().sum();
        let squares: u64 = sizes.iter().map(|size| size * size).sum();
        let each = squares as f64 / sum as f64;
        let expected = LIMIT as f64 + 1.8 * (each * LIMIT as f64).sqrt() + each * 4.0 / 3.0;
        let crest = flow.crest() as f64;
        assert!((crest / expected - 1.0).abs() < 0.001, "{sizes:?}: {crest} for {expected}");
    }
}
