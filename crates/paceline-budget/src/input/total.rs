//! What a whole job will use: the sum over its requests, as a range.
//!
//! What is not known of the weights is the same in every request, so it adds up; the rest of each
//! request's residual is its own, so it evens out. Invariant: low <= expected <= high.

use super::{InputModel, ceil, dot, multiply};
use crate::features::{COUNT, Class, FIRST_OF_TEXT, Features};

/// The requests of a job, added up.
///
/// ```
/// use paceline_budget::{Features, InputModel, JobTotal};
/// let mut job = JobTotal::new();
/// for question in ["How many legs have 7 spiders?", "Name three rivers in Asia."] {
///     job.add(&Features::of_text(question));
/// }
/// let total = InputModel::new(6.0, 2.0).total(&job);
/// assert!(total.low <= 28 && 28 <= total.high, "{total:?}");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct JobTotal {
    sums: [f64; COUNT],
    requests: u64,
    /// Classes counted, and the squares of what each request counted: how unequal they are.
    size: f64,
    squares: f64,
}

/// Tokens of a whole job: what is expected, and a range that holds the truth in 95 of 100 jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TotalRange {
    /// The expected total, in tokens.
    pub expected: u64,
    /// The low end of the range; never below a token a request.
    pub low: u64,
    /// The high end.
    pub high: u64,
}

/// Deviations to both sides of 95 %, once something was learned and before: what is believed
/// beforehand comes of three tokenizers, and Student's quantile at three degrees is that wide.
const SIDES: f64 = 1.96;
const SIDES_BEFORE: f64 = 3.18;
/// What is left out of the model is partly alike in all requests: a share of the residual's
/// variance that does not even out.
const ALIKE: f64 = 0.1;

/// The logarithm of the widest factor to either side.
const MOST_ASIDE: f64 = 5.0;

impl Default for JobTotal {
    fn default() -> Self {
        Self { sums: [0.0; COUNT], requests: 0, size: 0.0, squares: 0.0 }
    }
}

impl JobTotal {
    /// A job without requests.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a request.
    pub fn add(&mut self, request: &Features) {
        let x = request.regressors();
        self.sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
        self.requests += 1;
        let size: f64 = x[FIRST_OF_TEXT..].iter().sum();
        self.size += size;
        self.squares += size * size;
    }

    /// How many requests were added.
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether another tokenizer counted too.
    pub(super) fn is_borrowing(&self) -> bool {
        self.sums[Class::Borrowed as usize] > 0.0
    }

    /// The sum of squares of the requests' shares in the whole: 1/n where all are alike.
    fn concentration(&self) -> f64 {
        let alike = 1.0 / self.requests.max(1) as f64;
        if self.size > 0.0 { (self.squares / (self.size * self.size)).max(alike) } else { alike }
    }
}

impl InputModel {
    /// The tokens of a whole job.
    pub fn total(&self, job: &JobTotal) -> TotalRange {
        let least = job.requests as f64;
        let mean = dot(&self.weights, &job.sums);
        let mean = if mean.is_finite() { mean.clamp(least, 1e15) } else { least };
        let unknown = dot(&job.sums, &multiply(&self.covariance, &job.sums)).max(0.0);
        let each = super::noise(mean / least.max(1.0)) * mean * mean;
        let own = each * (job.concentration() + ALIKE);
        let deviation = (unknown + own).sqrt();
        // A factor rather than an amount: a weight is as easily half as twice what was believed.
        let sides = SIDES + (SIDES_BEFORE - SIDES) / (1.0 + self.learned as f64);
        let aside = sides * self.bound.scale() * deviation / mean.max(1.0);
        let factor = if aside.is_finite() { aside.min(MOST_ASIDE).exp() } else { MOST_ASIDE.exp() };
        let low = (mean / factor).max(least).min(mean);
        TotalRange { expected: ceil(mean), low: low.floor() as u64, high: ceil(mean * factor) }
    }
}
