//! How many input tokens a request has: a model of the tokenizer that learns from every answer.
//!
//! A Kalman filter over the weights of the classes, on the relative residual. Invariant: every
//! estimate is finite, at least 1, and its upper amount is never below it, whatever was learned.

use std::collections::VecDeque;

use paceline_core::Amount;

use crate::features::{COUNT, Class, Features};

/// The weights of one model's tokenizer, and how sure they are.
#[derive(Clone, Debug)]
pub struct InputModel {
    weights: [f64; COUNT],
    covariance: [[f64; COUNT]; COUNT],
    /// The weights and their covariance before anything was learned.
    start: [f64; COUNT],
    prior: [[f64; COUNT]; COUNT],
    /// Absolute standardised residuals of late, for the bound.
    residuals: VecDeque<f64>,
    /// Rises with surprises, falls with calm: a changed tokenizer or hidden text.
    alarm: f64,
    calm_for: u32,
    /// Answers in a row that were beyond belief, and that were missed by a large factor.
    beyond: u32,
    lost: u32,
}

/// What a class weighs before anything was learned: tokens per count, and their deviation.
///
/// Fitted on 2026-11-24 by non-negative least squares on the relative residual, over 5,181 public
/// texts: word problems in five languages (GSM8K, MGSM), chat and programming tasks (MT-Bench,
/// HumanEval), the interface texts of Django in 32 languages, its code, and the README files and
/// code of some 150 crates. The weight is the mean of what fits the public tokenizers `o200k` and
/// `cl100k`, rounded; for scripts other than Latin the deviation is half of the range from the
/// smallest to the largest of these two and `r50k`, at least 0.3. Set by hand: digits, which the
/// published tokenizers of Grok take one by one; random runs, spaces and marks beyond ASCII, of
/// which the texts say little; and all other deviations. No tokenizer used is Grok's, so the
/// first answers overrule all this.
const PRIOR: [(Class, f64, f64); COUNT] = [
    (Class::Constant, 100.0, 80.0),
    (Class::FurtherMessages, 4.0, 2.0),
    (Class::Words, 0.96, 0.3),
    (Class::LettersBeyondFive, 0.16, 0.1),
    (Class::Digits, 0.9, 0.25),
    (Class::DigitGroups, 0.15, 0.25),
    (Class::RandomRuns, 0.1, 0.15),
    (Class::MarkRuns, 0.85, 0.3),
    (Class::FurtherMarks, 0.2, 0.15),
    (Class::LineBreaks, 0.7, 0.3),
    (Class::SpaceRuns, 0.05, 0.15),
    (Class::WordsBeyondLatin, 0.6, 0.4),
    (Class::LatinExtended, 0.35, 0.7),
    (Class::Cyrillic, 0.33, 0.5),
    (Class::Greek, 0.63, 0.5),
    (Class::Hebrew, 0.66, 0.5),
    (Class::Arabic, 0.45, 0.55),
    (Class::Devanagari, 0.7, 0.8),
    (Class::Indic, 0.95, 1.2),
    (Class::SouthEastAsian, 0.75, 0.85),
    (Class::Kana, 0.77, 0.3),
    (Class::Han, 1.0, 0.7),
    (Class::Hangul, 0.67, 1.15),
    (Class::OtherMarks, 1.4, 0.6),
    (Class::Emoji, 2.0, 1.0),
    (Class::Other, 1.25, 1.0),
];

/// How far the text of a class may be from all classes together: one factor common to all.
const COMMON: f64 = 0.3;
/// Process noise, as a share of the prior variance per answer.
const DRIFT: f64 = 1e-5;
/// A single standardised residual beyond this is taken as if it were this large.
const BELIEVED: f64 = 4.0;
/// A model that misses by this factor so often in a row is lost: another endpoint, tools that
/// read for the model, a row of absurd answers.
const LOST: f64 = 2.0;
const LOST_FOR: u32 = 4;
/// How well hidden text is known of which nothing is known.
const UNKNOWN_DEVIATION: f64 = 80.0;
/// Standardised residuals kept, and how many normal ones they begin with.
const KEPT: usize = 256;
const SEEDED: usize = 24;
/// The 99.9 % quantile of the normal distribution.
const Z_999: f64 = 3.09;

impl InputModel {
    /// A model whose requests carry about `constant` tokens of hidden text, known to `deviation`.
    /// What is no number, or below zero, is taken as 100 known to 80; nothing is known better
    /// than to a token.
    pub fn new(constant: f64, deviation: f64) -> Self {
        let sane = |value: f64, else_: f64| {
            if value.is_finite() && value >= 0.0 { value.min(1e9) } else { else_ }
        };
        let (constant, deviation) =
            (sane(constant, 100.0), sane(deviation, UNKNOWN_DEVIATION).max(1.0));
        let mut weights = [0.0; COUNT];
        let mut prior = [[0.0; COUNT]; COUNT];
        for (class, weight, own) in PRIOR {
            weights[class as usize] = weight;
            prior[class as usize][class as usize] = own * own;
        }
        weights[Class::Constant as usize] = constant;
        prior[Class::Constant as usize][Class::Constant as usize] = deviation * deviation;
        // The common factor binds the text's classes together, not the hidden text.
        for i in Class::Words as usize..COUNT {
            for j in Class::Words as usize..COUNT {
                prior[i][j] += COMMON * weights[i] * COMMON * weights[j];
            }
        }
        let seeded = (0..SEEDED).map(|i| HALF_NORMAL[i % HALF_NORMAL.len()]);
        Self {
            weights,
            covariance: prior,
            start: weights,
            prior,
            residuals: seeded.collect(),
            alarm: 0.0,
            calm_for: 0,
            beyond: 0,
            lost: 0,
        }
    }

    /// The tokens of a request: mean, deviation, and an upper amount that 99.9 % stay below.
    pub fn estimate(&self, features: &Features) -> Amount {
        let x = features.regressors();
        let mean = self.mean(&x);
        let deviation = mean * self.relative_deviation(&x, mean);
        let upper = mean + Z_999 * self.scale() * deviation;
        Amount::expected(ceil(mean)).spread(ceil(deviation)).upper(ceil(upper))
    }

    /// Learns from what the server counted.
    pub fn learn(&mut self, features: &Features, actual: u64) {
        let x = features.regressors();
        let mean = self.mean(&x);
        let residual = ((actual as f64 - mean) / mean).clamp(-0.95, 20.0);
        let z = x.map(|value| value / mean);
        let gain = multiply(&self.covariance, &z);
        let spread = dot(&z, &gain).max(0.0);
        let expected = spread + noise(mean);
        let standardised = (residual / expected.sqrt()).abs();
        self.remember(standardised);
        self.watch(standardised);
        // One absurd answer pulls no harder than one at the edge of belief; a second one in a
        // row is taken at its word.
        let doubt = if self.beyond == 0 { (standardised / BELIEVED).max(1.0) } else { 1.0 };
        self.beyond = if standardised > BELIEVED { self.beyond.saturating_add(1) } else { 0 };
        let variance = expected * doubt;
        for i in 0..COUNT {
            self.weights[i] += gain[i] / variance * residual;
            for j in 0..COUNT {
                self.covariance[i][j] -= gain[i] * gain[j] / variance;
            }
            self.covariance[i][i] += DRIFT * self.prior[i][i];
        }
        let factor = mean / (actual as f64).max(1.0);
        let found = (1.0 / LOST..=LOST).contains(&factor);
        self.lost = if found { 0 } else { self.lost + 1 };
        if self.lost >= LOST_FOR || !self.is_sane() {
            self.start_anew(&x, actual as f64);
        }
    }

    /// Rounding may make a variance negative, and huge counts may overflow.
    fn is_sane(&self) -> bool {
        self.weights.iter().all(|weight| weight.is_finite())
            && (0..COUNT).all(|i| self.covariance[i][i].is_finite() && self.covariance[i][i] > 0.0)
    }

    /// Back to the prior, with as much hidden text as the answer at hand implies. Steps are
    /// relative to the estimate, so they never bring back weights that are far off.
    fn start_anew(&mut self, x: &[f64; COUNT], actual: f64) {
        const HIDDEN: usize = Class::Constant as usize;
        let text = dot(&self.start, x) - self.start[HIDDEN];
        let hidden = (actual - text).clamp(0.0, 1e12);
        let deviation = (0.3 * hidden).max(UNKNOWN_DEVIATION);
        self.weights = self.start;
        self.weights[HIDDEN] = hidden;
        self.prior[HIDDEN][HIDDEN] = deviation * deviation;
        self.covariance = self.prior;
        self.lost = 0;
    }

    fn mean(&self, x: &[f64; COUNT]) -> f64 {
        let mean = dot(&self.weights, x);
        if mean.is_finite() { mean.clamp(1.0, 1e12) } else { 1.0 }
    }

    fn relative_deviation(&self, x: &[f64; COUNT], mean: f64) -> f64 {
        let z = x.map(|value| value / mean);
        let spread = dot(&z, &multiply(&self.covariance, &z));
        let deviation = (spread.max(0.0) + noise(mean)).sqrt();
        if deviation.is_finite() { deviation.min(10.0) } else { 10.0 }
    }

    /// By how much the residuals of late pass those of a normal distribution at 95 %; at least 1.
    fn scale(&self) -> f64 {
        let mut sorted: Vec<f64> = self.residuals.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() * 95).div_ceil(100).saturating_sub(1);
        let quantile = sorted.get(place).copied().unwrap_or(TWO_SIDED_95);
        (quantile / TWO_SIDED_95).clamp(1.0, 5.0)
    }

    fn remember(&mut self, standardised: f64) {
        if standardised.is_finite() {
            if self.residuals.len() >= KEPT {
                self.residuals.pop_front();
            }
            self.residuals.push_back(standardised);
        }
    }

    /// Widens the prior again where surprises pile up.
    fn watch(&mut self, standardised: f64) {
        self.calm_for = self.calm_for.saturating_sub(1);
        self.alarm =
            if standardised > 2.2 { self.alarm + 1.0 } else { (self.alarm - 0.34).max(0.0) };
        if self.alarm >= 2.0 && self.calm_for == 0 {
            for (row, prior) in self.covariance.iter_mut().zip(&self.prior) {
                for (value, prior) in row.iter_mut().zip(prior) {
                    *value += 0.3 * prior;
                }
            }
            self.alarm = 0.0;
            self.calm_for = 8;
        }
    }
}

/// The variance of the relative residual of a right model: 3 %, and the grain of whole tokens.
fn noise(tokens: f64) -> f64 {
    0.03 * 0.03 + 0.25 / tokens.max(1.0)
}

/// Quantiles of the absolute value of a normal distribution, to start from.
const HALF_NORMAL: [f64; 8] = [0.08, 0.24, 0.40, 0.58, 0.78, 1.01, 1.32, 1.86];
const TWO_SIDED_95: f64 = 1.96;

fn dot(a: &[f64; COUNT], b: &[f64; COUNT]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn multiply(matrix: &[[f64; COUNT]; COUNT], vector: &[f64; COUNT]) -> [f64; COUNT] {
    matrix.map(|row| dot(&row, vector))
}

/// Up to the next whole number; the cast saturates, and takes what is no number as 0.
pub(crate) fn ceil(value: f64) -> u64 {
    value.ceil() as u64
}
