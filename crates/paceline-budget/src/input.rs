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
    prior: [[f64; COUNT]; COUNT],
    /// Absolute standardised residuals of late, for the bound.
    residuals: VecDeque<f64>,
    /// Rises with surprises, falls with calm: a changed tokenizer or hidden text.
    alarm: f64,
    calm_for: u32,
}

/// Tokens per count of a class before anything was learned. Set by hand on 2026-11-24 from
/// published ratios: one token a short English word, one a digit and 0.72 a Han character as the
/// published Grok-1 tokenizer has them, and the bytes per token of the other scripts; wide
/// deviations let the first answers overrule them.
const PRIOR: [(Class, f64); COUNT] = [
    (Class::Constant, 100.0),
    (Class::FurtherMessages, 4.0),
    (Class::Words, 1.02),
    (Class::LettersBeyondFive, 0.08),
    (Class::Digits, 0.8),
    (Class::MarkRuns, 0.9),
    (Class::FurtherMarks, 0.4),
    (Class::LineBreaks, 0.9),
    (Class::SpaceRuns, 0.25),
    (Class::LatinExtended, 0.5),
    (Class::Cyrillic, 0.28),
    (Class::Greek, 0.5),
    (Class::Hebrew, 0.45),
    (Class::Arabic, 0.4),
    (Class::Indic, 0.45),
    (Class::SouthEastAsian, 0.4),
    (Class::Kana, 0.6),
    (Class::Han, 0.75),
    (Class::Hangul, 0.7),
    (Class::OtherMarks, 0.8),
    (Class::Emoji, 2.0),
    (Class::Other, 1.0),
];

/// How far the text of a class may be from all classes together: one factor common to all.
const COMMON: f64 = 0.3;
/// Process noise, as a share of the prior variance per answer.
const DRIFT: f64 = 1e-5;
/// Standardised residuals kept, and how many normal ones they begin with.
const KEPT: usize = 256;
const SEEDED: usize = 24;
/// The 99.9 % quantile of the normal distribution.
const Z_999: f64 = 3.09;

impl InputModel {
    /// A model whose requests carry about `constant` tokens of hidden text, known to `deviation`.
    pub fn new(constant: f64, deviation: f64) -> Self {
        let mut weights = [0.0; COUNT];
        let mut prior = [[0.0; COUNT]; COUNT];
        for (class, weight) in PRIOR {
            weights[class as usize] = weight;
        }
        weights[Class::Constant as usize] = constant;
        for i in 0..COUNT {
            let own = match i {
                _ if i == Class::Constant as usize => deviation,
                _ if i == Class::FurtherMessages as usize => 2.0,
                _ if i >= Class::LatinExtended as usize => 0.5 * weights[i] + 0.1,
                _ => 0.25 * weights[i] + 0.05,
            };
            prior[i][i] = own * own;
        }
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
            prior,
            residuals: seeded.collect(),
            alarm: 0.0,
            calm_for: 0,
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
        let variance = spread + noise(mean);
        let standardised = (residual / variance.sqrt()).abs();
        self.remember(standardised);
        self.watch(standardised);
        for i in 0..COUNT {
            self.weights[i] += gain[i] / variance * residual;
            for j in 0..COUNT {
                self.covariance[i][j] -= gain[i] * gain[j] / variance;
            }
            self.covariance[i][i] += DRIFT * self.prior[i][i];
        }
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
