//! What a model has learned, as plain data that can be kept and read again.
//!
//! Covariance is kept of the classes that were met, as its lower half, in the precision that it
//! means something in; of all others the prior's is taken again. Invariant: what is read again is
//! a model that could have been learned, or it is refused.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::bound::KEPT;
use super::{Bound, HIDDEN, InputModel, InputPrior, Matrix, SCATTERS};
use crate::features::{COUNT, NAMES};

/// What an [`InputModel`] has learned, to be kept: 6 kB at most where 30 classes were met, 20 where
/// all were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputState {
    /// Of the classes that it was learned for.
    classes: String,
    weights: Vec<f32>,
    /// The places of the classes that were met, rising.
    met: Vec<usize>,
    /// Of these the lower half, row by row.
    covariance: Vec<f32>,
    /// What is hidden in a request, as believed at first, and how well that was known.
    hidden: (f32, f32),
    borrowing: bool,
    residuals: Vec<f32>,
    level: f32,
    scatter: f32,
    calm: u32,
    learned: u64,
}

/// Why what was kept is no state of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It is of another program or of other classes.
    #[error("the state was learned for other features than these; start without it")]
    Foreign,
    /// It is of a later version.
    #[error("the state is of version {0}, later than this program knows; use the later program")]
    Newer(u32),
    /// Numbers that no model can have.
    #[error("the state is corrupt: {0}; start without it")]
    Corrupt(&'static str),
}

/// The classes, told by their names: a state of other classes means nothing here.
fn classes() -> String {
    let hash = NAMES
        .iter()
        .flat_map(|name| name.bytes().chain([0]))
        .fold(HASH, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

const HASH: u64 = 0xcbf2_9ce4_8422_2325;

impl InputModel {
    /// What it has learned.
    pub fn state(&self) -> InputState {
        let met: Vec<_> = (0..COUNT).filter(|class| self.met[*class]).collect();
        let lower = met
            .iter()
            .enumerate()
            .flat_map(|(row, i)| met[..=row].iter().map(|j| self.covariance[*i][*j] as f32));
        InputState {
            classes: classes(),
            weights: self.weights.iter().map(|weight| *weight as f32).collect(),
            covariance: lower.collect(),
            met: met.clone(),
            hidden: (self.prior.weights[0] as f32, self.prior.covariance[0][0].sqrt() as f32),
            borrowing: self.prior.is_borrowing(),
            residuals: self.bound.residuals().map(|residual| residual as f32).collect(),
            level: self.bound.level as f32,
            scatter: self.scatter as f32,
            calm: self.bound.calm,
            learned: self.learned,
        }
    }

    /// The model that had learned this.
    ///
    /// # Errors
    /// Where it was learned for other features, or is of numbers that no model can have.
    pub fn restore(state: &InputState) -> Result<Self, StateError> {
        if state.classes != classes() {
            return Err(StateError::Foreign);
        }
        let prior = InputPrior::fitted();
        let prior = if state.borrowing { prior.borrowing() } else { prior };
        let (hidden, known_to) = state.hidden;
        if !(0.0..=MOST_HIDDEN).contains(&hidden) || !(1.0..=MOST_HIDDEN).contains(&known_to) {
            return Err(StateError::Corrupt("no hidden text is so long"));
        }
        let mut model = Self::with_prior(prior, f64::from(hidden), f64::from(known_to));
        let weights = numbers(&state.weights, "a weight is no number")?;
        model.weights =
            weights.try_into().map_err(|_| StateError::Corrupt("weights are missing"))?;
        if !model.has_likely_weights() {
            return Err(StateError::Corrupt("a weight is none that a tokenizer has"));
        }
        model.restore_covariance(state)?;
        if !is_positive(model.covariance.clone()) {
            return Err(StateError::Corrupt("the covariance is not positive"));
        }
        model.bound = bound(state)?;
        model.scatter = f64::from(state.scatter);
        if !(SCATTERS.0..=SCATTERS.1).contains(&model.scatter) {
            return Err(StateError::Corrupt("truths do not scatter so"));
        }
        if state.learned > MOST_COUNTED {
            return Err(StateError::Corrupt("nobody learned so often"));
        }
        model.learned = state.learned;
        Ok(model)
    }
}

/// Tokens of hidden text; no request is longer.
const MOST_HIDDEN: f32 = 1e7;
/// How far below nothing it may have been learned to be.
const LEAST_HIDDEN: f64 = -1e3;
/// How many deviations of the prior a weight may be off: with public tokenizers it was 10 at most.
const MOST_DEVIATIONS: f64 = 20.0;
/// How much more the prior may have been widened.
const MOST_WIDENED: f64 = 1e4;
/// Counts beyond this are none that were counted; floating point still tells them apart.
const MOST_COUNTED: u64 = 1 << 53;
/// Residuals are bounded when they are learned: 20 over the least noise.
const MOST_STANDARDISED: f64 = 1e3;

impl InputModel {
    /// Whether every weight is near enough to what a tokenizer has.
    fn has_likely_weights(&self) -> bool {
        let hidden = self.weights[HIDDEN];
        let near = |class: usize| {
            let off = self.weights[class] - self.prior.weights[class];
            off.abs() <= MOST_DEVIATIONS * self.prior.covariance[class][class].sqrt()
        };
        (LEAST_HIDDEN..=f64::from(MOST_HIDDEN)).contains(&hidden) && (HIDDEN + 1..COUNT).all(near)
    }

    fn restore_covariance(&mut self, state: &InputState) -> Result<(), StateError> {
        let met = &state.met;
        let rising = met.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising || met.last().is_some_and(|last| *last >= COUNT) {
            return Err(StateError::Corrupt("there are no such classes"));
        }
        let lower = numbers(&state.covariance, "a covariance is no number")?;
        if lower.len() != met.len() * (met.len() + 1) / 2 {
            return Err(StateError::Corrupt("covariances are missing"));
        }
        let mut lower = lower.into_iter();
        for i in met {
            self.met[*i] = true;
            // What was met has parted from what was not.
            for j in 0..COUNT {
                self.covariance[*i][j] = 0.0;
                self.covariance[j][*i] = 0.0;
            }
        }
        for (row, i) in met.iter().enumerate() {
            for j in &met[..=row] {
                let value = lower.next().unwrap_or_default();
                let most = MOST_WIDENED
                    * (self.prior.covariance[*i][*i] * self.prior.covariance[*j][*j]).sqrt();
                if value.abs() > most {
                    return Err(StateError::Corrupt("a covariance is none that was learned"));
                }
                self.covariance[*i][*j] = value;
                self.covariance[*j][*i] = value;
            }
        }
        Ok(())
    }
}

fn numbers(kept: &[f32], why: &'static str) -> Result<Vec<f64>, StateError> {
    let sane = |value: &f32| value.is_finite() && value.abs() < 1e12;
    if !kept.iter().all(sane) {
        return Err(StateError::Corrupt(why));
    }
    Ok(kept.iter().map(|value| f64::from(*value)).collect())
}

fn bound(state: &InputState) -> Result<Bound, StateError> {
    let residuals = numbers(&state.residuals, "a residual is no number")?;
    if residuals.iter().any(|residual| residual.abs() > MOST_STANDARDISED) {
        return Err(StateError::Corrupt("a residual is none that was learned"));
    }
    if residuals.is_empty() || residuals.len() > KEPT {
        return Err(StateError::Corrupt("residuals are missing, or too many"));
    }
    if !(0.0..=1.0).contains(&state.level) {
        return Err(StateError::Corrupt("the level is no share"));
    }
    let residuals = VecDeque::from(residuals);
    Ok(Bound::of(residuals, f64::from(state.level), state.calm))
}

/// Whether a matrix is positive, but for what rounding to the precision kept takes away: by
/// elimination of what each row explains of the others.
fn is_positive(mut matrix: Box<Matrix>) -> bool {
    let diagonal: [f64; COUNT] = std::array::from_fn(|i| matrix[i][i]);
    for i in 0..COUNT {
        let pivot = matrix[i][i];
        // What is left of two classes, too, is no more alike than each is like itself.
        let alike = |j: usize| matrix[i][j].powi(2) <= diagonal[i] * diagonal[j] * (1.0 + ROUNDING);
        if diagonal[i] <= 0.0 || pivot < -ROUNDING * diagonal[i] || !(i..COUNT).all(alike) {
            return false;
        }
        if pivot <= ROUNDING * diagonal[i] {
            continue;
        }
        let row = matrix[i];
        for j in i + 1..COUNT {
            let share = row[j] / pivot;
            for k in i + 1..COUNT {
                matrix[j][k] -= share * row[k];
            }
        }
    }
    true
}

/// A share of a variance that is taken for rounding.
const ROUNDING: f64 = 1e-3;
