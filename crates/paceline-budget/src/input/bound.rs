//! How far beyond an estimate the truth may lie, learned from how far it lay.
//!
//! A conformal quantile over a window of standardised residuals, at a level that is moved so that
//! the share of truths below the bound is held. Invariant: the quantile is finite and above 0.

use std::collections::VecDeque;

/// Standardised residuals of late, signed: above 0 is more than expected.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) residuals: VecDeque<f64>,
    /// The level that the quantile is taken at.
    pub(super) level: f64,
    /// Answers since the last alarm.
    pub(super) calm: u32,
}

/// The share of truths that lie below the bound.
const SHARE: f64 = 0.95;
/// How far one answer moves the level.
const STEP: f64 = 0.01;
/// The least and the highest level.
const LEVELS: (f64, f64) = (0.80, 0.998);
/// The least quantile at first and after a change, as residuals grow before the window has seen
/// them; and in calm.
const LEAST: f64 = 1.0;
const LEAST_IN_CALM: f64 = 0.2;
/// Answers in a row without alarm that are calm.
pub(super) const CALM: u32 = 60;
const MOST: f64 = 8.0;
/// Standardised residuals kept, and how many normal ones they begin with.
pub(super) const KEPT: usize = 256;
const SEEDED: usize = 24;
/// The middles of 24 equal parts of the normal distribution, the upper half.
const NORMAL: [f64; SEEDED / 2] =
    [0.05, 0.16, 0.26, 0.37, 0.49, 0.61, 0.74, 0.89, 1.05, 1.26, 1.53, 2.04];
/// The 95 % quantile of a normal distribution of which both sides count.
const TWO_SIDED_95: f64 = 1.96;

impl Default for Bound {
    fn default() -> Self {
        let seeded = NORMAL.into_iter().flat_map(|place| [place, -place]).collect();
        Self { residuals: seeded, level: SHARE, calm: 0 }
    }
}

impl Bound {
    /// Learns where a truth lay, in deviations, and whether that was below the bound.
    pub(super) fn learn(&mut self, standardised: f64) {
        if !standardised.is_finite() {
            return;
        }
        let missed = if standardised > self.quantile() { 1.0 } else { 0.0 };
        self.level = (self.level + STEP * (missed - (1.0 - SHARE))).clamp(LEVELS.0, LEVELS.1);
        self.calm = self.calm.saturating_add(1);
        if self.residuals.len() >= KEPT {
            self.residuals.pop_front();
        }
        self.residuals.push_back(standardised);
    }

    /// How many deviations above the estimate 95 % of the truths stay below.
    pub(super) fn quantile(&self) -> f64 {
        let least = if self.calm < CALM { LEAST } else { LEAST_IN_CALM };
        // The next one is one more among them.
        let place = (self.level * (self.residuals.len() + 1) as f64).ceil() as usize;
        let quantile = in_order(self.residuals.iter().copied(), place.saturating_sub(1));
        quantile.unwrap_or(TWO_SIDED_95).clamp(least, MOST)
    }

    /// By how much residuals pass those of a normal distribution at 95 %; at least 1.
    pub(super) fn scale(&self) -> f64 {
        let place = (self.residuals.len() * 95).div_ceil(100).saturating_sub(1);
        let distances = self.residuals.iter().map(|residual| residual.abs());
        let quantile = in_order(distances, place).unwrap_or(TWO_SIDED_95);
        (quantile / TWO_SIDED_95).clamp(1.0, 5.0)
    }
}

/// The one at a place in the order of sizes, or the largest where there are fewer. Sorting all of them
/// for it was a sixth of what a call costs.
fn in_order(residuals: impl Iterator<Item = f64>, place: usize) -> Option<f64> {
    let mut residuals: Vec<f64> = residuals.collect();
    let place = place.min(residuals.len().checked_sub(1)?);
    Some(*residuals.select_nth_unstable_by(place, f64::total_cmp).1)
}
