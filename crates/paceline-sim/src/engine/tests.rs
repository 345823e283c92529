//! The engine by tables worked out by hand; `recount` judges it by random calls.

mod recount;

use std::time::Duration;

use paceline_core::Instant;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

fn meter(limit: u64, window: u64, shape: Shape, charge: Charge) -> Meter {
    let rule = Rule::new(limit, Duration::from_nanos(window), shape, charge);
    Meter::new(rule.expect("the tests' rules are legal"))
}

fn bucket(capacity: u64) -> Shape {
    Shape::Bucket { capacity }
}

/// Counts an amount at each moment, then looks at what is used at others.
#[track_caller]
fn check(shape: Shape, counts: &[(u64, u64)], used: &[(u64, u64)]) {
    let mut meter = meter(10, 100, shape, Charge::Arrival);
    for (now, amount) in counts {
        meter.count(*amount, at(*now));
    }
    for (now, expected) in used {
        assert_eq!(meter.used(at(*now)), *expected, "{shape:?} at {now}");
        assert_eq!(
            meter.clone().remaining(at(*now)),
            meter.rule().most().saturating_sub(*expected)
        );
    }
}

#[test]
fn what_is_exactly_a_window_old_has_left_a_sliding_one() {
    check(Shape::Sliding, &[(0, 3), (50, 4)], &[(50, 7), (99, 7), (100, 4), (149, 4), (150, 0)]);
}

#[test]
fn an_aligned_window_starts_from_zero_at_its_boundary_and_not_before() {
    check(Shape::Aligned, &[(1, 3), (99, 4)], &[(99, 7), (100, 0)]);
    check(Shape::Aligned, &[(99, 4), (100, 2)], &[(100, 2), (199, 2), (200, 0)]);
}

#[test]
fn two_counters_weigh_the_window_before_and_round_up() {
    // All 7 of it at the boundary, then 7 * 0.99 = 6.93, and 7 * 0.01 = 0.07 at the last moment.
    let used = [(99, 7), (100, 7), (101, 7), (150, 4), (171, 3), (172, 2), (199, 1), (200, 0)];
    check(Shape::TwoCounter, &[(0, 3), (99, 4)], &used);
    // 4 * 0.75 = 3 exactly, and the present 2. Two windows on, nothing of the first is left.
    check(Shape::TwoCounter, &[(10, 4), (125, 2)], &[(125, 5), (200, 2), (225, 2), (300, 0)]);
}

#[test]
fn two_counters_decide_as_the_fraction_does() {
    let mut meter = meter(10, 100, Shape::TwoCounter, Charge::Arrival);
    meter.count(9, at(0));
    // 9 * 0.89 = 8.01 and 2 are more than 10; 9 * 0.88 = 7.92 and 2 are not.
    assert_eq!(meter.arrive(Ask::new(2), at(111)), Err(Exceeded { actual: 11, limit: 10 }));
    assert!(meter.arrive(Ask::new(2), at(112)).is_ok());
}

#[test]
fn slices_are_forgotten_whole() {
    let slices = |count| Shape::Slices { count };
    check(slices(4), &[(0, 1), (24, 2), (25, 4)], &[(99, 7), (100, 4), (124, 4), (125, 0)]);
    // A third of 100: slices begin at 0, 34, 67 and 100.
    check(slices(3), &[(33, 1), (34, 2)], &[(99, 3), (100, 2), (133, 2), (134, 0)]);
    // One slice is an aligned window.
    check(slices(1), &[(1, 3), (99, 4)], &[(99, 7), (100, 0)]);
}

#[test]
fn a_bucket_is_refilled_without_steps_and_what_it_lacks_is_rounded_up() {
    // 10 a window of 100 is 1 in 10.
    let used = [(0, 5), (1, 5), (9, 5), (10, 4), (11, 4), (49, 1), (50, 0), (90, 0)];
    check(bucket(5), &[(0, 5)], &used);
    // 3 at 0 lack 2.5 at 5; with 2 more 4.5, of which 0.1 is left at 49.
    check(bucket(5), &[(0, 3), (5, 2)], &[(5, 5), (10, 4), (49, 1), (50, 0)]);
}

#[test]
fn a_bucket_loses_no_fraction_however_often_it_is_looked_at() {
    let mut meter = meter(10, 3, bucket(40), Charge::Arrival);
    meter.count(40, at(0));
    for now in 1..12 {
        meter.count(0, at(now));
        assert_eq!(meter.used(at(now)), (120 - 10 * now).div_ceil(3));
    }
    assert_eq!(meter.used(at(12)), 0);
}

#[test]
fn more_than_a_bucket_holds_is_let_in_when_it_is_full() {
    let mut meter = meter(10, 100, bucket(5), Charge::Arrival);
    assert!(meter.arrive(Ask::new(12), at(0)).is_ok());
    assert_eq!((meter.used(at(0)), meter.remaining(at(0)), meter.peak()), (12, 0, 12));
    // In debt it refuses all, and what it can't hold until it is full to the last fraction.
    assert_eq!(meter.arrive(Ask::new(1), at(70)), Err(Exceeded { actual: 6, limit: 5 }));
    assert!(meter.arrive(Ask::new(1), at(80)).is_ok());
    assert_eq!(meter.arrive(Ask::new(12), at(129)), Err(Exceeded { actual: 13, limit: 5 }));
    assert!(meter.arrive(Ask::new(12), at(130)).is_ok());
}

#[test]
fn a_bucket_gets_back_what_was_held_and_not_used_but_no_more_than_it_lacks() {
    let mut meter = meter(10, 100, bucket(8), Charge::Held);
    let call = meter.arrive(Ask::new(2).most(8), at(0)).expect("it is full");
    assert!(meter.complete(call, at(15)));
    // It lacked 6.5.
    assert_eq!(meter.used(at(15)), 1);
    let call = meter.arrive(Ask::new(1).most(7), at(20)).expect("it lacks nothing");
    assert!(meter.complete(call, at(35)));
    assert_eq!(meter.used(at(35)), 0);
    assert!(meter.arrive(Ask::new(8), at(35)).is_ok());
    let over = meter.arrive(Ask::new(9).most(0), at(35)).expect("nothing is asked of it");
    assert!(meter.complete(over, at(35)));
    assert_eq!(meter.used(at(35)), 17);
}

#[test]
fn each_charge_counts_at_its_moment() {
    #[track_caller]
    fn counts(charge: Charge, expected: [u64; 4]) {
        let mut meter = meter(100, 100, Shape::Sliding, charge);
        let ask = Ask::new(30).input(10).most(50);
        let call = meter.arrive(ask, at(0)).expect("nothing is counted");
        let arrived = meter.used(at(0));
        assert!(meter.complete(call, at(60)));
        let used = [60, 100, 160].map(|now| meter.used(at(now)));
        assert_eq!([arrived, used[0], used[1], used[2]], expected, "{charge:?}");
    }
    counts(Charge::Arrival, [30, 30, 0, 0]);
    counts(Charge::Completion, [0, 30, 30, 0]);
    counts(Charge::Held, [50, 30, 0, 0]);
}

#[test]
fn each_charge_judges_by_its_amount() {
    let ask = Ask::new(30).input(10).most(50);
    for (charge, judged_by) in [(Charge::Arrival, 30), (Charge::Completion, 10), (Charge::Held, 50)]
    {
        let mut meter = meter(100, 100, Shape::Sliding, charge);
        meter.count(101 - judged_by, at(0));
        let refused = Exceeded { actual: 101, limit: 100 };
        assert_eq!(meter.arrive(ask, at(0)), Err(refused), "{charge:?}");
        assert_eq!((meter.used(at(0)), meter.open()), (101 - judged_by, 0));
        meter.set_limit(101, at(0));
        assert!(meter.arrive(ask, at(0)).is_ok(), "{charge:?}");
    }
}

#[test]
fn what_is_settled_after_it_has_left_changes_nothing() {
    for shape in [Shape::Sliding, Shape::Aligned, Shape::TwoCounter, Shape::Slices { count: 4 }] {
        let mut meter = meter(100, 100, shape, Charge::Held);
        let call = meter.arrive(Ask::new(30).most(50), at(0)).expect("nothing is counted");
        meter.count(7, at(250));
        assert!(meter.complete(call, at(250)));
        assert_eq!(meter.used(at(250)), 7, "{shape:?}");
    }
}

#[test]
fn a_call_is_over_once() {
    for charge in [Charge::Arrival, Charge::Completion, Charge::Held] {
        for shape in [Shape::Sliding, bucket(100)] {
            let mut meter = meter(100, 100, shape, charge);
            let call = meter.arrive(Ask::new(30).most(50), at(0)).expect("nothing is counted");
            assert!(meter.complete(call, at(1)));
            assert_eq!(meter.open(), 0);
            let used = meter.used(at(1));
            assert!(!meter.complete(call, at(90)));
            // Not even the time: a later moment would have been remembered.
            meter.count(0, at(1));
            assert_eq!(meter.used(at(1)), used);
        }
    }
}

#[test]
fn refused_requests_count_where_they_are_counted() {
    let mut meter = meter(2, 100, Shape::Sliding, Charge::Arrival);
    for now in [0, 1] {
        assert!(meter.arrive(Ask::new(1), at(now)).is_ok());
    }
    assert_eq!(meter.arrive(Ask::new(1), at(60)), Err(Exceeded { actual: 3, limit: 2 }));
    assert_eq!(meter.used(at(60)), 2);
    meter.count(1, at(60));
    assert_eq!(meter.used(at(60)), 3);
    assert_eq!((meter.used(at(110)), meter.remaining(at(110))), (1, 1));
}

#[test]
fn time_that_steps_back_is_the_latest_there_was() {
    for shape in [Shape::Sliding, Shape::Aligned, Shape::TwoCounter, bucket(10)] {
        let mut meter = meter(10, 100, shape, Charge::Arrival);
        meter.count(4, at(500));
        meter.count(3, at(20));
        assert_eq!(meter.used(at(0)), 7, "{shape:?}");
        assert_eq!(meter.used(at(500)), 7, "{shape:?}");
        assert!(meter.arrive(Ask::new(4), at(420)).is_err(), "{shape:?}");
        // Looking ahead moves nothing.
        assert_eq!(meter.used(at(900)), 0, "{shape:?}");
        assert_eq!(meter.used(at(500)), 7, "{shape:?}");
    }
}

#[test]
fn sums_beyond_64_bits_are_told_as_the_most_there_is_and_leave_whole() {
    let shapes = [Shape::Sliding, Shape::Aligned, Shape::TwoCounter, Shape::Slices { count: 7 }];
    for shape in shapes {
        let mut meter = meter(u64::MAX, 100, shape, Charge::Completion);
        for _ in 0..3 {
            meter.count(u64::MAX, at(0));
        }
        assert_eq!(
            (meter.used(at(0)), meter.remaining(at(0)), meter.peak()),
            (u64::MAX, 0, u64::MAX)
        );
        let refused = Exceeded { actual: u64::MAX, limit: u64::MAX };
        assert_eq!(meter.arrive(Ask::new(u64::MAX), at(0)), Err(refused));
        assert_eq!(meter.used(at(200)), 0, "{shape:?}");
    }
}

#[test]
fn a_bucket_in_debt_beyond_64_bits_is_refilled_exactly() {
    let mut meter = meter(u64::MAX, 1, bucket(u64::MAX), Charge::Arrival);
    for _ in 0..3 {
        meter.count(u64::MAX, at(0));
    }
    assert_eq!(meter.used(at(1)), u64::MAX);
    assert_eq!(meter.used(at(2)), u64::MAX);
    assert_eq!(meter.remaining(at(2)), 0);
    assert_eq!(meter.used(at(3)), 0);
    assert_eq!(meter.used(Instant::MAX), 0);
}

#[test]
fn windows_longer_than_any_clock_overflow_nothing() {
    let shapes = [Shape::Sliding, Shape::Aligned, Shape::TwoCounter, Shape::Slices { count: 9 }];
    for shape in shapes.into_iter().chain([bucket(u64::MAX)]) {
        let rule = Rule::new(1, Duration::MAX, shape, Charge::Held).expect("it is legal");
        let mut meter = Meter::new(rule);
        meter.count(u64::MAX, at(0));
        assert_eq!(meter.used(Instant::MAX), u64::MAX, "{shape:?}");
        meter.count(u64::MAX, Instant::MAX);
        assert_eq!(meter.peak(), u64::MAX);
    }
    // 2^64 - 1 nanoseconds are a window with a second one, just.
    let mut meter = meter(1, u64::MAX, Shape::TwoCounter, Charge::Arrival);
    meter.count(u64::MAX, at(0));
    meter.count(u64::MAX, at(0));
    assert_eq!(meter.used(Instant::MAX), u64::MAX);
}

#[test]
fn another_limit_holds_at_once_and_a_bucket_is_first_refilled_at_the_old_one() {
    let mut meter = meter(10, 100, bucket(10), Charge::Arrival);
    meter.count(10, at(0));
    meter.set_limit(100, at(50));
    assert_eq!([50, 51, 55].map(|now| meter.used(at(now))), [5, 4, 0]);
    assert_eq!((meter.rule().limit(), meter.rule().most()), (100, 10));
    meter.set_limit(0, at(51));
    assert_eq!(meter.used(at(99_999)), 4);
}

#[test]
fn a_limit_of_zero_refuses_all_that_asks_for_something() {
    let mut meter = meter(0, 100, Shape::Sliding, Charge::Arrival);
    assert_eq!(meter.arrive(Ask::new(1), at(0)), Err(Exceeded { actual: 1, limit: 0 }));
    assert!(meter.arrive(Ask::new(0), at(0)).is_ok());
}

#[test]
fn a_rule_that_can_not_be_names_its_part() {
    let rule = |window, shape| Rule::new(1, window, shape, Charge::Arrival).map(drop);
    assert_eq!(rule(Duration::ZERO, Shape::Sliding), Err(InvalidRule::Window));
    assert_eq!(rule(HOUR, bucket(0)), Err(InvalidRule::Capacity));
    assert_eq!(rule(HOUR, Shape::Slices { count: 0 }), Err(InvalidRule::Count));
    assert_eq!(rule(HOUR, bucket(1)), Ok(()));
    assert_eq!(shapes(1, Duration::ZERO), Err(InvalidRule::Window));
    assert_eq!(InvalidRule::Window.to_string(), "the window is zero; it must be longer");
    let refused = Exceeded { actual: 3, limit: 2 };
    assert_eq!(refused.to_string(), "3 would be counted, 2 are allowed");
}

#[test]
fn thirteen_shapes_have_names_of_their_own() {
    let shapes = shapes(6_000, HOUR).expect("an hour is a window");
    let mut names = shapes.map(|(name, _)| name).to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 13);
    assert_eq!(shapes[0].1, Rule::new(6_000, HOUR, Shape::Sliding, Charge::Completion).unwrap());
    let most = [6, 8, 10].map(|place: usize| shapes[place].1.most());
    assert_eq!(most, [6_000, 1_500, 100]);
    let held = shapes[12].1;
    assert_eq!((held.shape(), held.charge(), held.window()), (Shape::Sliding, Charge::Held, HOUR));
    // A bucket of a sixtieth of less than 60 holds 1, not nothing.
    assert_eq!(super::shapes(59, HOUR).unwrap()[10].1.most(), 1);
}

#[test]
fn a_log_of_nothing_or_for_no_time_is_empty() {
    let mut log = Log::new();
    assert!(log.is_empty());
    assert_eq!((log.worst_window(HOUR), log.worst_aligned(HOUR)), (0, 0));
    log.add(at(5), 3);
    assert_eq!((log.worst_window(Duration::ZERO), log.worst_aligned(Duration::ZERO)), (0, 0));
    assert_eq!((log.worst_window(HOUR), log.worst_aligned(HOUR), log.len()), (3, 3, 1));
    let mut rolling = Rolling::new(Duration::ZERO);
    rolling.add(at(5), 3).unwrap();
    assert_eq!(rolling.worst(), 0);
}

#[test]
fn a_log_adds_up_beyond_64_bits() {
    let (mut log, mut rolling) = (Log::new(), Rolling::new(HOUR));
    for _ in 0..3 {
        log.add(at(5), u64::MAX);
        rolling.add(at(5), u64::MAX).unwrap();
    }
    let all = 3 * u128::from(u64::MAX);
    assert_eq!([log.total(), log.worst_window(HOUR), log.worst_aligned(HOUR)], [all; 3]);
    assert_eq!(rolling.worst(), all);
}

#[test]
fn an_event_told_too_late_is_refused_and_changes_nothing() {
    let mut rolling = Rolling::new(Duration::from_nanos(100)).late(Duration::from_nanos(10));
    rolling.add(at(50), 1).unwrap();
    rolling.add(at(40), 2).unwrap();
    assert_eq!(rolling.add(at(39), 4), Err(TooLate { at: at(39), earliest: at(40) }));
    rolling.add(at(40), 8).unwrap();
    assert_eq!(rolling.worst(), 11);
}

#[test]
fn a_rolling_log_keeps_the_last_window_only() {
    let mut rolling = Rolling::new(Duration::from_nanos(100)).late(Duration::from_nanos(10));
    for now in 0..10_000 {
        rolling.add(at(now), 1).unwrap();
        assert!(rolling.held() <= 110, "{} at {now}", rolling.held());
    }
    assert_eq!(rolling.worst(), 100);
}
