//! What is believed of numbers of which little was seen: that their logarithms are normal.

use serde::{Deserialize, Serialize};

use super::grid::{CELLS, low};

/// Logarithms of what was seen: mean and variance, older ones fading, with a prior.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Logs {
    weight: f64,
    mean: f64,
    squares: f64,
    prior_mean: f64,
    prior_variance: f64,
}

/// How much two answers' worth of prior weigh against what was seen.
const PRIOR_WEIGHT: f64 = 2.0;
/// What was seen weighs as much as this many answers at most, so that a change is followed.
const MEMORY: f64 = 400.0;
/// No whole number that fits in 64 bits has a larger logarithm.
const MOST_LOG: f64 = 45.0;

impl Logs {
    /// Before anything was seen: this in the middle, and so far about it in natural logarithms.
    pub(super) fn new(typical: f64, deviation: f64) -> Self {
        Self {
            weight: 0.0,
            mean: 0.0,
            squares: 0.0,
            prior_mean: typical.ln(),
            prior_variance: deviation * deviation,
        }
    }

    pub(super) fn see(&mut self, number: u64) {
        let log = (number.max(1) as f64).ln();
        if self.weight >= MEMORY {
            let fade = (MEMORY - 1.0) / self.weight;
            self.weight *= fade;
            self.squares *= fade;
        }
        self.weight += 1.0;
        let step = log - self.mean;
        self.mean += step / self.weight;
        self.squares += step * (log - self.mean);
    }

    /// Whether every number is one, for what comes from outside.
    pub(super) fn is_sound(&self) -> bool {
        let is_log = |log: f64| (0.0..=MOST_LOG).contains(&log);
        let rounded = 1.0 + 1e-6;
        (0.0..=MEMORY * rounded).contains(&self.weight)
            && is_log(self.mean)
            && is_log(self.prior_mean)
            && (0.0..=self.weight * MOST_LOG * MOST_LOG * rounded).contains(&self.squares)
            && (1e-6..=MOST_LOG * MOST_LOG).contains(&self.prior_variance)
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

    /// The chance that a number reaches each cell, and one more that is zero.
    pub(super) fn above(&self) -> Vec<f64> {
        let (center, deviation) = (self.center(), self.deviation().max(1e-3));
        let mut above: Vec<f64> = (0..CELLS)
            // Half a number below each cell, because whole numbers stand for what is about them.
            .map(|cell| (low(cell) as f64 - 0.5).max(f64::MIN_POSITIVE).ln())
            .map(|log| 1.0 - normal((log - center) / deviation))
            .collect();
        above[0] = 1.0;
        above.push(0.0);
        above
    }
}

/// The chance that a standard normal number is below `z`, within 2 in 10 million (Abramowitz and
/// Stegun 7.1.26).
fn normal(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736
                + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let tail = (poly * (-x * x).exp() / 2.0).clamp(0.0, 0.5);
    if z < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn the_normal_distribution_is_that_of_the_tables() {
        for (z, below) in [(0.0, 0.5), (1.0, 0.841_344_7), (-1.644_853_6, 0.05), (3.090_232, 0.999)]
        {
            assert!((normal(z) - below).abs() < 3e-7, "{z}");
        }
    }
}
