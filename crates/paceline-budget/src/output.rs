//! How long an answer will be, and how long it will take: distributions that learn.
//!
//! Both are taken as lognormal. Invariant: every quantile is finite and at least what was
//! expected; a cap on visible output never bounds what is billed.

use std::time::Duration;

use paceline_core::{Amount, Completion};

use crate::input::ceil;

/// Logarithms of what was seen: mean and variance, older ones fading.
#[derive(Clone, Copy, Debug)]
struct Logs {
    weight: f64,
    mean: f64,
    squares: f64,
    /// The mean of the values themselves: where they are not lognormal, such as empty answers
    /// among long ones, the logarithms would put it too high.
    average: f64,
    prior_mean: f64,
    prior_variance: f64,
    longest: f64,
}

/// How much two answers' worth of prior weigh against what was seen.
const PRIOR_WEIGHT: f64 = 2.0;
/// What was seen weighs as much as this many answers at most, so that a change is followed.
const MEMORY: f64 = 400.0;
/// The 99.9 % quantile of the normal distribution.
const Z_999: f64 = 3.09;
/// The 0.5 % quantile.
const Z_005: f64 = -2.58;

impl Logs {
    fn new(typical: f64, deviation: f64) -> Self {
        Self {
            weight: 0.0,
            mean: 0.0,
            squares: 0.0,
            average: 0.0,
            prior_mean: typical.ln(),
            prior_variance: deviation * deviation,
            longest: 0.0,
        }
    }

    fn see(&mut self, value: f64) {
        let log = value.max(1e-3).ln();
        if !log.is_finite() {
            return;
        }
        if self.weight >= MEMORY {
            let fade = (MEMORY - 1.0) / self.weight;
            self.weight *= fade;
            self.squares *= fade;
        }
        self.weight += 1.0;
        let step = log - self.mean;
        self.mean += step / self.weight;
        self.squares += step * (log - self.mean);
        self.average += (value - self.average) / self.weight;
        // The longest of late is a bound of its own; it fades by half in some 700 answers.
        self.longest = (self.longest * 0.999).max(value);
    }

    fn center(&self) -> f64 {
        // The prior's mean weighs half an answer: one answer says more than none.
        (self.prior_mean * 0.5 + self.mean * self.weight) / (0.5 + self.weight)
    }

    fn deviation(&self) -> f64 {
        let total = PRIOR_WEIGHT + self.weight;
        let center = self.mean - self.prior_mean;
        // Where the prior's mean was wrong, the first answers must not look more certain for it.
        let between = center * center * self.weight * 0.5 / (0.5 + self.weight) / total;
        ((self.prior_variance * PRIOR_WEIGHT + self.squares) / total + between).sqrt()
    }

    fn mean_value(&self) -> f64 {
        let prior = (self.prior_mean + self.prior_variance / 2.0).exp();
        ((prior * 0.5 + self.average * self.weight) / (0.5 + self.weight)).min(1e9)
    }

    fn quantile(&self, z: f64) -> f64 {
        (self.center() + z * self.deviation()).exp().min(1e9)
    }
}

/// The billed output of one model, visible and reasoning together.
#[derive(Clone, Debug)]
pub struct OutputModel(Logs);

impl Default for OutputModel {
    /// Before any answer: 300 tokens in the middle, 99.9 % below 6,600.
    fn default() -> Self {
        Self(Logs::new(300.0, 1.0))
    }
}

impl OutputModel {
    /// Mean, deviation, and an upper amount that 99.9 % of the answers stay below.
    pub fn estimate(&self) -> Amount {
        let mean = self.0.mean_value();
        let variance = self.0.deviation().powi(2).exp() - 1.0;
        let deviation = (mean * variance.sqrt()).min(1e9);
        let upper = self.0.quantile(Z_999).max(self.0.longest);
        Amount::expected(ceil(mean)).spread(ceil(deviation)).upper(ceil(upper))
    }

    /// Learns from one answer. An empty one counts as one token, which has a logarithm.
    pub fn learn(&mut self, output_tokens: u64) {
        self.0.see(output_tokens.max(1) as f64);
    }
}

/// The time from the sending to the end of an answer, for one model.
#[derive(Clone, Debug)]
pub struct LatencyModel(Logs);

impl Default for LatencyModel {
    /// Before any answer: 5 s in the middle, 99.9 % below 3.4 minutes.
    fn default() -> Self {
        Self(Logs::new(5.0, 1.2))
    }
}

impl LatencyModel {
    /// From the 0.5 % to the 99.9 % quantile.
    pub fn estimate(&self) -> Completion {
        let latest = self.0.quantile(Z_999).max(self.0.longest);
        Completion::between(seconds(self.0.quantile(Z_005)), seconds(latest))
    }

    /// The mean.
    pub fn mean(&self) -> Duration {
        seconds(self.0.mean_value())
    }

    /// Learns from one answer.
    pub fn learn(&mut self, elapsed: Duration) {
        self.0.see(elapsed.as_secs_f64());
    }
}

/// At most a day: nothing that an API answers takes longer.
fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.clamp(0.0, 86_400.0)).unwrap_or(Duration::from_secs(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answers: impl IntoIterator<Item = u64>) -> Amount {
        let mut model = OutputModel::default();
        answers.into_iter().for_each(|tokens| model.learn(tokens));
        model.estimate()
    }

    #[test]
    fn before_any_answer_the_prior_speaks() {
        // Lognormal about 300 with deviation 1: mean 300 e^0.5, quantile 300 e^3.09.
        let estimate = after([]);
        assert_eq!((estimate.expected_amount(), estimate.upper_amount()), (495, 6_594));
    }

    #[test]
    fn the_mean_is_that_of_the_answers_even_with_empty_ones_among_them() {
        let estimate = after((0..400).map(|i| if i % 20 == 0 { 0 } else { 300 }));
        assert!(estimate.expected_amount().abs_diff(285) <= 3, "{estimate:?}");
        assert!(estimate.upper_amount() < 50 * 300, "{estimate:?}");
    }

    #[test]
    fn the_longest_answer_of_late_is_inside_the_bound() {
        let estimate = after((0..300).map(|i| if i == 250 { 60_000 } else { 40 }));
        assert!(estimate.upper_amount() > 55_000, "{estimate:?}");
    }

    #[test]
    fn equal_answers_narrow_the_bound() {
        let estimate = after([100; 200]);
        assert!(estimate.expected_amount().abs_diff(100) <= 2, "{estimate:?}");
        assert!(estimate.upper_amount() < 200, "{estimate:?}");
    }

    #[test]
    fn the_time_narrows_to_what_was_seen() {
        let mut model = LatencyModel::default();
        (0..200).for_each(|_| model.learn(Duration::from_secs(2)));
        let range = model.estimate();
        assert!(range.earliest() > Duration::from_millis(1_000), "{range:?}");
        assert!(range.latest() < Duration::from_secs(5), "{range:?}");
        model.learn(Duration::MAX);
        assert!(model.estimate().latest() <= Duration::from_secs(86_400));
    }
}
