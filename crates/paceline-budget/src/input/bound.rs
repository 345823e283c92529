//! How far beyond an estimate the truth may lie, learned from how far it lay.
//!
//! A conformal quantile over a window of standardised residuals, at a level that is moved so that
//! the share of truths below the bound is held. Invariant: the quantile is finite and above 0.

use std::collections::VecDeque;

/// Standardised residuals of late, signed: above 0 is more than expected.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bound {
    residuals: VecDeque<f64>,
    /// The same in the order of their sizes, with their signs and without.
    signed: Ordered,
    distances: Ordered,
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
        Self::of(seeded, SHARE, 0)
    }
}

/// Numbers in the order of their sizes. To sort them for each estimate was a sixth of what a call cost, to pick
/// one a twentieth.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ordered(Vec<f64>);

impl Ordered {
    fn place(&self, number: f64) -> usize {
        self.0.partition_point(|other| other.total_cmp(&number).is_lt())
    }

    fn add(&mut self, number: f64) {
        self.0.insert(self.place(number), number);
    }

    /// Takes one out that is there.
    fn take(&mut self, number: f64) {
        let place = self.place(number);
        if place < self.0.len() {
            self.0.remove(place);
        }
    }

    /// The one at a place, or the largest where there are fewer.
    fn at(&self, place: usize) -> Option<f64> {
        self.0.get(place).or(self.0.last()).copied()
    }
}

impl Bound {
    /// One that goes on from these residuals, the oldest first.
    pub(super) fn of(residuals: VecDeque<f64>, level: f64, calm: u32) -> Self {
        let (mut signed, mut distances) = (Ordered::default(), Ordered::default());
        for residual in &residuals {
            signed.add(*residual);
            distances.add(residual.abs());
        }
        Self { residuals, signed, distances, level, calm }
    }

    /// Those of late, the oldest first.
    pub(super) fn residuals(&self) -> impl Iterator<Item = f64> + '_ {
        self.residuals.iter().copied()
    }

    /// Learns where a truth lay, in deviations, and whether that was below the bound.
    pub(super) fn learn(&mut self, standardised: f64) {
        if !standardised.is_finite() {
            return;
        }
        let missed = if standardised > self.quantile() { 1.0 } else { 0.0 };
        self.level = (self.level + STEP * (missed - (1.0 - SHARE))).clamp(LEVELS.0, LEVELS.1);
        self.calm = self.calm.saturating_add(1);
        if self.residuals.len() >= KEPT {
            if let Some(oldest) = self.residuals.pop_front() {
                self.signed.take(oldest);
                self.distances.take(oldest.abs());
            }
        }
        self.residuals.push_back(standardised);
        self.signed.add(standardised);
        self.distances.add(standardised.abs());
    }

    /// How many deviations above the estimate 95 % of the truths stay below.
    pub(super) fn quantile(&self) -> f64 {
        let least = if self.calm < CALM { LEAST } else { LEAST_IN_CALM };
        // The next one is one more among them.
        let place = (self.level * (self.residuals.len() + 1) as f64).ceil() as usize;
        let quantile = self.signed.at(place.saturating_sub(1));
        quantile.unwrap_or(TWO_SIDED_95).clamp(least, MOST)
    }

    /// By how much residuals pass those of a normal distribution at 95 %; at least 1.
    pub(super) fn scale(&self) -> f64 {
        let place = (self.residuals.len() * 95).div_ceil(100).saturating_sub(1);
        let quantile = self.distances.at(place).unwrap_or(TWO_SIDED_95);
        (quantile / TWO_SIDED_95).clamp(1.0, 5.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_in_order_is_what_is_kept() {
        let mut bound = Bound::default();
        let mut seed = 7_u64;
        for _ in 0..1_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Many are equal.
            bound.learn(f64::from((seed >> 60) as u32) / 4.0 - 2.0);
            let mut sorted: Vec<f64> = bound.residuals().collect();
            sorted.sort_by(f64::total_cmp);
            assert_eq!(bound.signed.0, sorted);
            let mut sorted: Vec<f64> = bound.residuals().map(f64::abs).collect();
            sorted.sort_by(f64::total_cmp);
            assert_eq!(bound.distances.0, sorted);
        }
        assert_eq!(bound.residuals().count(), KEPT);
        let again = Bound::of(bound.residuals.clone(), bound.level, bound.calm);
        assert_eq!(again, bound);
    }
}
