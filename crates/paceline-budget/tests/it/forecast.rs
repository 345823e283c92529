//! The forecast against requests that are then made.

use paceline_budget::AverageUse;

use crate::Chance;

/// How many in a hundred runs the number that fits into what `number` requests use on average lies
/// in the range, after `seen` of them; and in how many it is less.
fn inside(seen: u64, number: u64, use_of: impl Fn(&mut Chance) -> f64) -> (f64, f64) {
    const RUNS: u64 = 1_500;
    let request = |chance: &mut Chance| use_of(chance) as u64;
    let mut chance = Chance(1);
    let mean = (0..200_000).map(|_| request(&mut chance)).sum::<u64>() / 200_000;
    let (mut inside, mut fewer) = (0_u32, 0_u32);
    for seed in 0..RUNS {
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed + 2));
        let mut average = AverageUse::default();
        (0..seen).for_each(|_| average.add(request(&mut chance)));
        let Some(fit) = average.fits(number * mean) else { continue };
        let (mut left, mut made) = (number * mean, 0);
        while let Some(rest) = left.checked_sub(request(&mut chance)) {
            left = rest;
            made += 1;
        }
        inside += u32::from((fit.low..=fit.high).contains(&made));
        fewer += u32::from(made < fit.low);
    }
    let share = |of: u32| 100.0 * f64::from(of) / RUNS as f64;
    (share(inside), share(fewer))
}

#[test]
fn the_range_of_lognormal_requests_holds_nine_times_in_ten_from_the_second_on() {
    for deviation in [0.2, 0.5, 1.0] {
        for seen in [2, 5, 10, 30, 100] {
            for number in [5, 50, 500] {
                let request = |chance: &mut Chance| (7.0 + deviation * chance.normal()).exp();
                let (held, fewer) = inside(seen, number, request);
                // 1,500 runs at 90 %: a deviation of 0.8 points.
                let of = format!("{held} % after {seen} of {deviation}, {number} fit");
                assert!(held >= 87.5, "{of}");
                // The side that costs: fewer fit than was said.
                assert!(fewer <= 9.5, "{fewer} % fewer, {of}");
            }
        }
    }
}

#[test]
fn it_holds_for_what_is_not_lognormal_once_ten_were_seen() {
    let even = |chance: &mut Chance| 100.0 + chance.below(900) as f64;
    let two_sizes = |chance: &mut Chance| if chance.below(2) == 0 { 100.0 } else { 10_000.0 };
    let some_free = |chance: &mut Chance| if chance.below(5) == 0 { 0.0 } else { 500.0 };
    for seen in [10, 100] {
        for (name, (held, _)) in [
            ("even", inside(seen, 50, even)),
            ("two sizes", inside(seen, 50, two_sizes)),
            ("some free", inside(seen, 50, some_free)),
        ] {
            assert!(held >= 90.0, "{name} after {seen}: {held}");
        }
    }
}

#[test]
fn what_many_requests_have_shown_is_told_closely() {
    let mut chance = Chance(7);
    let mut average = AverageUse::default();
    (0..300).for_each(|_| average.add((7.0 + 0.5 * chance.normal()).exp() as u64));
    let remaining = 1_000 * average.mean() as u64;
    let fit = average.fits(remaining).expect("many were seen");
    // By the central limit: 1.65 times 0.53 / sqrt(300), and a little for the thousand to come.
    assert!((930..960).contains(&fit.low), "{fit:?}");
    assert!((1_040..1_080).contains(&fit.high), "{fit:?}");
}
