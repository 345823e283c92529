//! The forecast against requests that are then made.

use paceline_budget::AverageUse;

use crate::Chance;

#[test]
fn the_number_that_fits_lies_in_the_range_nine_times_in_ten() {
    let (mut inside, mut runs) = (0_u32, 0_u32);
    for seed in 0..400 {
        let mut chance = Chance(seed);
        let mut request = || (5.0 + 0.6 * chance.normal()).exp() as u64 + 50;
        let mut average = AverageUse::default();
        (0..40).for_each(|_| average.add(request()));
        let remaining = 30_000;
        let fit = average.fits(remaining).expect("forty were seen");
        let (mut left, mut made) = (remaining, 0);
        while let Some(rest) = left.checked_sub(request()) {
            left = rest;
            made += 1;
        }
        runs += 1;
        inside += u32::from((fit.low..=fit.high).contains(&made));
    }
    // 400 runs at 90 %: 360 are expected, with a deviation of 6.
    assert!((330..=385).contains(&inside), "{inside} of {runs}");
}
