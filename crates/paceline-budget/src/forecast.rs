//! How many more requests fit into what is left, judged by the average of those so far.

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
        self.count += 1;
        let used = used as f64;
        let step = used - self.mean;
        self.mean += step / self.count as f64;
        self.squares += step * (used - self.mean);
    }

    /// How many requests were added.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The mean; 0 where nothing was added.
    pub const fn mean(&self) -> f64 {
        self.mean
    }

    /// How many more requests fit into `remaining`: the expected number, and a range that holds
    /// with 90 %, from the uncertainty of the mean and the chance of the sum. Rounded down;
    /// `None` where nothing is known, or a request uses nothing.
    pub fn fits(&self, remaining: u64) -> Option<Fit> {
        if self.count == 0 || self.mean <= 0.0 {
            return None;
        }
        let left = remaining as f64;
        let expected = left / self.mean;
        // One request says nothing of the spread: take it as large as the mean.
        let variance = if self.count > 1 {
            self.squares / (self.count - 1) as f64
        } else {
            self.mean * self.mean
        };
        // The number that fits has the relative deviation sqrt(v (1/k + 1/n)) / mean.
        let relative =
            (variance * (1.0 / expected.max(1.0) + 1.0 / self.count as f64)).sqrt() / self.mean;
        let beyond = Z_95 * relative;
        Some(Fit {
            low: (expected / (1.0 + beyond)) as u64,
            expected: expected as u64,
            high: (expected * (1.0 + beyond)) as u64,
        })
    }
}

/// The 95 % quantile of the normal distribution: 5 % on either side leave 90 %.
const Z_95: f64 = 1.645;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_nothing() {
        assert_eq!(AverageUse::default().fits(10), None);
    }

    #[test]
    fn equal_requests_leave_no_doubt() {
        let mut average = AverageUse::default();
        (0..10).for_each(|_| average.add(40));
        assert_eq!(average.fits(999), Some(Fit { low: 24, expected: 24, high: 24 }));
        assert_eq!(average.fits(39), Some(Fit { low: 0, expected: 0, high: 0 }));
    }
}
