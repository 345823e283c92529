//! How long answers are: a lognormal law, drawn anew for every call.
//!
//! It knows nothing of the prompt, so that nothing but past answers can foretell a length.

use std::ops::RangeInclusive;

use rand::rngs::StdRng;
use rand_distr::{Distribution, LogNormal};

/// Output tokens of an answer, reasoning included, before any cap of the request.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputLength {
    median: u64,
    sigma: f64,
    range: RangeInclusive<u64>,
}

impl Default for OutputLength {
    /// A median of 110 tokens, sigma 0.45, from 1 to 4,096.
    fn default() -> Self {
        Self { median: 110, sigma: 0.45, range: 1..=4_096 }
    }
}

impl OutputLength {
    /// Every answer has so many tokens.
    pub const fn fixed(tokens: u64) -> Self {
        Self { median: tokens, sigma: 0.0, range: tokens..=tokens }
    }

    /// Half of the answers are longer than this. 0 counts as 1.
    #[must_use]
    pub const fn median(mut self, tokens: u64) -> Self {
        self.median = tokens;
        self
    }

    /// The standard deviation of the logarithm; what is negative or no number counts as 0.
    #[must_use]
    pub const fn sigma(mut self, sigma: f64) -> Self {
        self.sigma = sigma;
        self
    }

    /// What is drawn outside is moved to the nearer end. Of an empty range, its start counts.
    #[must_use]
    pub const fn range(mut self, range: RangeInclusive<u64>) -> Self {
        self.range = range;
        self
    }

    pub(super) fn draw(&self, chance: &mut StdRng) -> u64 {
        let median = self.median.max(1) as f64;
        let sigma = if self.sigma.is_finite() { self.sigma.max(0.0) } else { 0.0 };
        let drawn = LogNormal::new(median.ln(), sigma).map_or(median, |law| law.sample(chance));
        let (least, most) = (*self.range.start(), *self.range.end());
        (drawn.round() as u64).min(most).max(least)
    }
}
