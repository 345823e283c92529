//! What a request uses on average, and how many more fit into what is left.
//!
//! Uses are taken as lognormal, as the costs of calls nearly are: a few very large ones make much of
//! the sum, and few samples hold one. So the range is reckoned in logarithms, and the more to the
//! side of a larger mean the fewer requests were seen. Invariant: a range holds what is expected.

/// The average use of a request, in any one unit: tokens, or ticks of money.
///
/// The token budgeting of the early Grok guides: what does a request use on average, and how
/// many more fit?
///
/// ```
/// use paceline_budget::AverageUse;
/// let mut average = AverageUse::default();
/// for tokens in [300, 500, 400] {
///     average.add(tokens);
/// }
/// let fit = average.fits(100_000).expect("three were seen");
/// assert_eq!(fit.expected, 250);
/// assert!(fit.low < 250 && fit.high > 250);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AverageUse {
    uses: Moments,
    logs: Moments,
}

/// Mean, and squares about it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
}

/// How many more requests fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fit {
    /// At least so many, with 95 % confidence.
    pub low: u64,
    /// So many, if the average holds.
    pub expected: u64,
    /// At most so many, with 95 % confidence.
    pub high: u64,
}

impl AverageUse {
    /// Adds what one request used.
    pub fn add(&mut self, used: u64) {
        self.uses.add(used as f64);
        self.logs.add((used.max(1) as f64).ln());
    }

    /// How many requests were added.
    pub const fn count(&self) -> u64 {
        self.uses.count
    }

    /// The mean; 0 where nothing was added.
    pub const fn mean(&self) -> f64 {
        self.uses.mean
    }

    /// How many more requests fit into `remaining`: the expected number, and a range that holds nine
    /// times in ten if the requests to come are like those so far. Rounded down; `None` where
    /// nothing is known, or a request uses nothing.
    ///
    /// Measured on lognormal uses with a deviation of 0.2 to 1 in logarithms and on two traces of
    /// real calls, from two requests on: 89 to 100 % hold, the more the fewer were seen. With a
    /// deviation of 1.5 it is 86 to 92 %. What nobody can see in a sample is not in its range:
    /// where one request in twenty uses a hundred times what the others do, ten requests tell as
    /// good as nothing.
    pub fn fits(&self, remaining: u64) -> Option<Fit> {
        if self.count() == 0 || self.mean() <= 0.0 {
            return None;
        }
        let expected = remaining as f64 / self.mean();
        let sample = self.sample();
        Some(Fit {
            low: sample.fewest(expected).min(expected) as u64,
            expected: expected as u64,
            high: sample.most(expected).max(expected) as u64,
        })
    }

    /// What is believed of the scatter.
    fn sample(&self) -> Sample {
        // What the variance is in logarithms by the uses themselves: the logarithms say it better
        // where these are lognormal, and say far too much where some are next to nothing.
        let by_uses = (self.uses.variance() / (self.mean() * self.mean())).ln_1p();
        let of_logs = self.logs.variance().clamp(by_uses, MOST_OF_LOGS * by_uses);
        let seen = self.count() as f64 - 1.0;
        let freedom = seen + BELIEVED_FREEDOM;
        let variance = (seen * of_logs + BELIEVED_FREEDOM * BELIEVED_VARIANCE) / freedom;
        Sample { count: self.count() as f64, freedom, variance }
    }
}

/// Before anything was seen, variances are believed as if so many more requests had shown that of a
/// deviation of 0.8.
const BELIEVED_FREEDOM: f64 = 2.0;
const BELIEVED_VARIANCE: f64 = 0.64;
/// By how much the variance of logarithms may pass what the uses say of it: in samples of lognormal
/// numbers it seldom is more.
const MOST_OF_LOGS: f64 = 2.5;
/// The 95 % quantile of the normal distribution: 5 % on either side leave 90 %.
const Z_95: f64 = 1.645;
/// The number that fits and the chance in its sum hang on each other; they agree after some rounds.
const ROUNDS: usize = 8;

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let step = value - self.mean;
        self.mean += step / self.count as f64;
        self.squares += step * (value - self.mean);
    }

    /// Nothing where there is one value, or none.
    fn variance(&self) -> f64 {
        if self.count < 2 { 0.0 } else { self.squares / (self.count - 1) as f64 }
    }
}

/// Of how many requests, and how far they lie apart in natural logarithms.
#[derive(Clone, Copy, Debug)]
struct Sample {
    count: f64,
    freedom: f64,
    variance: f64,
}

impl Sample {
    /// So few fit if the mean is larger than it seems, and the sum of those to come by chance.
    fn fewest(&self, expected: f64) -> f64 {
        let too_small = self.freedom / chi_squared(-Z_95, self.freedom) - 1.0;
        self.solve(expected, |chance| self.aside(chance, too_small))
    }

    /// So many if both are smaller.
    fn most(&self, expected: f64) -> f64 {
        let too_large = 1.0 - self.freedom / chi_squared(Z_95, self.freedom);
        self.solve(expected, |chance| -self.aside(chance, too_large))
    }

    /// The logarithm of the factor to one side of the mean of so many requests to come: what isn't
    /// known of the middle and what chance does, and what isn't known of the variance, which moves
    /// the mean of a lognormal number by half (Zou, Huang and Zhang 2009).
    fn aside(&self, chance: f64, off: f64) -> f64 {
        let middle = student(self.freedom).powi(2) * (self.variance / self.count + chance);
        let variance = self.variance / 2.0 * off;
        (middle + variance * variance).sqrt()
    }

    /// How many fit where each uses more than the mean by a factor, of which the logarithm is told.
    fn solve(&self, expected: f64, aside: impl Fn(f64) -> f64) -> f64 {
        // A sum of lognormal numbers is nearly one, with this variance of its logarithm (Fenton).
        let relative = self.variance.min(MOST_VARIANCE).exp_m1();
        (0..ROUNDS).fold(expected, |fits, _| {
            let chance = (relative / fits.max(1.0)).ln_1p();
            expected * (chance / 2.0 - aside(chance)).exp()
        })
    }
}

/// Beyond this a variance of logarithms says nothing that a number can hold.
const MOST_VARIANCE: f64 = 20.0;

/// Student's 95 % quantile, by the first terms of its expansion; within 2 % from two degrees on.
fn student(freedom: f64) -> f64 {
    let z = Z_95;
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + (first + (second + third / freedom) / freedom) / freedom
}

/// The quantile of chi squared where the normal distribution's is `z` (Wilson and Hilferty).
fn chi_squared(z: f64, freedom: f64) -> f64 {
    let variance = 2.0 / (9.0 * freedom);
    let root: f64 = 1.0 - variance + z * variance.sqrt();
    freedom * root.max(0.02).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_nothing() {
        assert_eq!(AverageUse::default().fits(10), None);
        let mut free = AverageUse::default();
        free.add(0);
        assert_eq!(free.fits(10), None);
    }

    #[test]
    fn equal_requests_leave_less_doubt_the_more_there_are() {
        let fit = |count: u64, remaining: u64| {
            let mut average = AverageUse::default();
            (0..count).for_each(|_| average.add(40));
            average.fits(remaining).expect("some were seen")
        };
        assert_eq!(fit(10_000, 999), Fit { low: 24, expected: 24, high: 25 });
        assert_eq!(fit(10, 39).expected, 0);
        let (few, many) = (fit(10, 4_000), fit(100, 4_000));
        assert!(few.low < many.low && many.high < few.high, "{few:?} {many:?}");
        assert!(few.low > 70 && few.high < 140, "{few:?}");
    }

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, of_student, low, high) in [
            (2.0, 2.920, 0.103, 5.991),
            (5.0, 2.015, 1.145, 11.070),
            (10.0, 1.812, 3.940, 18.307),
            (100.0, 1.660, 77.929, 124.342),
        ] {
            assert!((student(freedom) / of_student - 1.0).abs() < 0.02, "{freedom}");
            assert!((chi_squared(-Z_95, freedom) - low).abs() < 0.1, "{freedom}");
            assert!((chi_squared(Z_95, freedom) / high - 1.0).abs() < 0.02, "{freedom}");
        }
    }

    #[test]
    fn no_use_is_too_large_or_too_unequal() {
        let mut average = AverageUse::default();
        for used in [0, u64::MAX, 1, u64::MAX / 2] {
            average.add(used);
            for remaining in [0, 1, u64::MAX] {
                let Some(fit) = average.fits(remaining) else { continue };
                assert!(fit.low <= fit.expected && fit.expected <= fit.high, "{fit:?}");
            }
        }
    }
}
