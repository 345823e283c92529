//! How many input tokens a request has: a model of the tokenizer that learns from every answer.
//!
//! A Kalman filter over the weights of the classes, on the relative residual. Invariant: every
//! estimate is finite, at least 1, and its upper amount is never below it, whatever was learned.

mod beside;
mod bound;
mod prior;
mod state;
mod total;

use paceline_core::Amount;

use crate::features::{COUNT, Class, Features, NAMES};
pub(crate) use beside::Inputs;
use bound::Bound;
pub use prior::InputPrior;
use prior::UNKNOWN_DEVIATION;
pub use state::{InputState, StateError};
pub use total::{JobTotal, TotalRange};

/// A number for every two classes; some 25 kB, hence never on the stack for long.
type Matrix = [[f64; COUNT]; COUNT];

/// The weights of one model's tokenizer, and how sure they are.
#[derive(Clone, Debug)]
pub struct InputModel {
    weights: [f64; COUNT],
    covariance: Box<Matrix>,
    /// The weights and their covariance before anything was learned.
    prior: InputPrior,
    bound: Bound,
    /// The variance of the residuals that no weights explain, as a multiple of what was expected.
    scatter: f64,
    /// Rises with surprises, falls with calm: a changed tokenizer or hidden text.
    alarm: f64,
    calm_for: u32,
    /// Answers in a row that were beyond belief, and that were missed by a large factor.
    beyond: u32,
    lost: u32,
    /// Whether being lost was met by another hidden text, and it is not yet known to have helped.
    restarted: bool,
    /// Classes that were met in what was learned from.
    met: [bool; COUNT],
    learned: u64,
}

/// Process noise, as a share of the prior variance per answer.
const DRIFT: f64 = 3e-6;
/// A single standardised residual beyond this is taken as if it were this large.
const BELIEVED: f64 = 4.0;
/// A model that misses by this factor so often in a row is lost: another endpoint, tools that
/// read for the model, a row of absurd answers.
const LOST: f64 = 2.0;
const LOST_FOR: u32 = 4;
/// Answers without alarm after which a restart has helped.
const RESTED: u32 = 20;
/// How far one answer moves what is believed of the scatter, the most it is taken to show, and the
/// least and the most that is believed.
const SCATTER_STEP: f64 = 0.02;
const MOST_SEEN: f64 = 9.0;
const SCATTERS: (f64, f64) = (0.25, 4.0);
/// The class of what is hidden in a request.
const HIDDEN: usize = Class::Constant as usize;
/// By which share of the prior the weights are widened in alarm, and what is hidden.
const WIDENED: f64 = 0.3;
const HIDDEN_WIDENED: f64 = 2.0;
/// The 99.9 % quantile of the normal distribution.
const Z_999: f64 = 3.09;

impl InputModel {
    /// A model whose requests carry about `constant` tokens of hidden text, known to `deviation`.
    /// What is no number, or below zero, is taken as 100 known to 80; nothing is known better
    /// than to a token.
    pub fn new(constant: f64, deviation: f64) -> Self {
        Self::with_prior(InputPrior::fitted(), constant, deviation)
    }

    /// The same from another prior.
    pub fn with_prior(prior: InputPrior, constant: f64, deviation: f64) -> Self {
        let sane = |value: f64, else_: f64| {
            if value.is_finite() && value >= 0.0 { value.min(1e9) } else { else_ }
        };
        let deviation = sane(deviation, UNKNOWN_DEVIATION).max(1.0);
        let prior = prior.hidden(sane(constant, 100.0), deviation);
        Self {
            weights: prior.weights,
            covariance: prior.covariance.clone(),
            prior,
            bound: Bound::default(),
            scatter: 1.0,
            alarm: 0.0,
            calm_for: 0,
            beyond: 0,
            lost: 0,
            restarted: false,
            met: [false; COUNT],
            learned: 0,
        }
    }

    /// The tokens of a request: mean, deviation, and an upper amount that 99.9 % stay below.
    pub fn estimate(&self, features: &Features) -> Amount {
        let x = features.regressors();
        let mean = self.mean(&x);
        let deviation = mean * self.relative_deviation(&x, mean);
        let upper = mean + Z_999 * self.bound.scale() * deviation;
        Amount::expected(ceil(mean)).spread(ceil(deviation)).upper(ceil(upper))
    }

    /// What 95 % of requests like this stay below, held by what was seen of late; in tokens.
    pub fn upper_95(&self, features: &Features) -> u64 {
        let x = features.regressors();
        let mean = self.mean(&x);
        ceil(mean * (1.0 + self.bound.quantile() * self.relative_deviation(&x, mean)))
    }

    /// Which features made the estimate, in tokens each, the largest first. They add up to the
    /// mean, but where that is bounded below.
    pub fn explain(&self, features: &Features) -> Vec<(&'static str, f64)> {
        let parts = features.regressors().into_iter().zip(self.weights).map(|(x, w)| x * w);
        let mut parts: Vec<_> = NAMES.into_iter().zip(parts).filter(|(_, it)| *it != 0.0).collect();
        parts.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        parts
    }

    /// How many answers were learned from.
    pub const fn learned(&self) -> u64 {
        self.learned
    }

    /// Learns from what the server counted.
    pub fn learn(&mut self, features: &Features, actual: u64) {
        let x = features.regressors();
        let mean = self.mean(&x);
        let residual = ((actual as f64 - mean) / mean).clamp(-0.95, 20.0);
        let z = x.map(|value| value / mean);
        let gain = multiply(&self.covariance, &z);
        let spread = dot(&z, &gain).max(0.0);
        let expected = spread + self.scatter * noise(mean);
        let signed = residual / expected.sqrt();
        let standardised = signed.abs();
        self.learned = self.learned.saturating_add(1);
        self.met.iter_mut().zip(x).for_each(|(met, x)| *met |= x != 0.0);
        self.bound.learn(signed);
        self.learn_scatter(residual * residual - spread, noise(mean));
        self.watch(standardised);
        // One absurd answer pulls no harder than one at the edge of belief; a second one in a
        // row is taken at its word.
        let doubt = if self.beyond == 0 { (standardised / BELIEVED).max(1.0) } else { 1.0 };
        self.beyond = if standardised > BELIEVED { self.beyond.saturating_add(1) } else { 0 };
        let variance = expected * doubt;
        for i in 0..COUNT {
            self.weights[i] += gain[i] / variance * residual;
            let pull = gain[i] / variance;
            self.covariance[i].iter_mut().zip(gain).for_each(|(value, gain)| *value -= pull * gain);
            self.covariance[i][i] += DRIFT * self.prior.covariance[i][i];
        }
        let factor = mean / (actual as f64).max(1.0);
        let found = (1.0 / LOST..=LOST).contains(&factor);
        self.lost = if found { 0 } else { self.lost + 1 };
        self.restarted &= self.bound.calm < RESTED;
        if self.lost >= LOST_FOR || !self.is_sane() {
            self.start_anew(&x, actual as f64);
        }
    }

    /// Rounding may make a variance negative, and huge counts may overflow.
    fn is_sane(&self) -> bool {
        self.weights.iter().all(|weight| weight.is_finite())
            && (0..COUNT).all(|i| self.covariance[i][i].is_finite() && self.covariance[i][i] > 0.0)
    }

    /// Another hidden text first, as that changes most often: as much as the answer at hand
    /// implies. Where that was in vain, back to the prior. Steps are relative to the estimate, so
    /// they never bring back weights that are far off.
    fn start_anew(&mut self, x: &[f64; COUNT], actual: f64) {
        let again = self.restarted || !self.is_sane();
        if again {
            self.weights = self.prior.weights;
        }
        let text = dot(&self.weights, x) - self.weights[HIDDEN] * x[HIDDEN];
        let hidden = (actual - text).clamp(0.0, 1e12);
        let deviation = (0.3 * hidden).max(UNKNOWN_DEVIATION);
        self.weights[HIDDEN] = hidden;
        self.prior.covariance[HIDDEN][HIDDEN] = deviation * deviation;
        if again {
            self.covariance.clone_from(&self.prior.covariance);
        } else {
            for class in 0..COUNT {
                self.covariance[HIDDEN][class] = 0.0;
                self.covariance[class][HIDDEN] = 0.0;
            }
            self.covariance[HIDDEN][HIDDEN] = deviation * deviation;
        }
        self.restarted = !again;
        self.lost = 0;
    }

    fn mean(&self, x: &[f64; COUNT]) -> f64 {
        let mean = dot(&self.weights, x);
        if mean.is_finite() { mean.clamp(1.0, 1e12) } else { 1.0 }
    }

    fn relative_deviation(&self, x: &[f64; COUNT], mean: f64) -> f64 {
        let z = x.map(|value| value / mean);
        let spread = dot(&z, &multiply(&self.covariance, &z));
        let deviation = (spread.max(0.0) + self.scatter * noise(mean)).sqrt();
        if deviation.is_finite() { deviation.min(10.0) } else { 10.0 }
    }

    /// Learns how far truths scatter about any weights: in some scripts, and with some tokenizers,
    /// twice as far as in others. One answer beyond belief counts as one at its edge.
    fn learn_scatter(&mut self, beyond_weights: f64, expected: f64) {
        let seen = (beyond_weights / expected).clamp(-1.0, MOST_SEEN);
        let scatter = self.scatter + SCATTER_STEP * (seen - self.scatter);
        self.scatter = scatter.clamp(SCATTERS.0, SCATTERS.1);
    }

    /// Widens the prior again where surprises pile up.
    fn watch(&mut self, standardised: f64) {
        self.calm_for = self.calm_for.saturating_sub(1);
        self.alarm =
            if standardised > 2.2 { self.alarm + 1.0 } else { (self.alarm - 0.34).max(0.0) };
        if self.alarm >= 2.0 && self.calm_for == 0 {
            for (row, prior) in self.covariance.iter_mut().zip(self.prior.covariance.iter()) {
                for (value, prior) in row.iter_mut().zip(prior) {
                    *value += WIDENED * prior;
                }
            }
            self.covariance[HIDDEN][HIDDEN] +=
                (HIDDEN_WIDENED - WIDENED) * self.prior.covariance[HIDDEN][HIDDEN];
            self.alarm = 0.0;
            self.calm_for = 8;
            self.bound.calm = 0;
        }
    }
}

/// The variance of the relative residual of a right model: 3 %, and the grain of whole tokens.
fn noise(tokens: f64) -> f64 {
    0.03 * 0.03 + 0.25 / tokens.max(1.0)
}

fn dot(a: &[f64; COUNT], b: &[f64; COUNT]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A symmetric matrix times a vector of which most is zero.
fn multiply(matrix: &Matrix, vector: &[f64; COUNT]) -> [f64; COUNT] {
    let mut product = [0.0; COUNT];
    for (row, value) in matrix.iter().zip(vector).filter(|(_, value)| **value != 0.0) {
        product.iter_mut().zip(row).for_each(|(sum, weight)| *sum += weight * value);
    }
    product
}

/// Up to the next whole number; the cast saturates, and takes what is no number as 0.
pub(crate) fn ceil(value: f64) -> u64 {
    value.ceil() as u64
}
