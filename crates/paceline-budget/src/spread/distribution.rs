//! What is known of a number before it is known: mean, variance, any quantile, what remains.

use super::grid::{CELLS, MOST, cell, low, width};
use super::level::{Chances, Levels};
use super::tree::Seen;

/// What is known of a whole number that is not known yet, such as the tokens of an answer.
///
/// Numbers are told apart to a sixteenth of themselves, and those above 134 million not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// The chance that it is at least the lowest number of each cell; one more than there are. For
    /// means, by what was seen.
    above: Vec<f64>,
    /// The same for quantiles, with what was not seen and might have been.
    careful: Vec<f64>,
    levels: Levels,
    /// It is never more than this.
    most: u64,
    /// It is certainly this much.
    least: u64,
}

impl Distribution {
    /// Of the chances that a number reaches each cell, for means and for quantiles.
    pub(super) fn new(above: Vec<f64>, careful: Vec<f64>, levels: Levels) -> Self {
        debug_assert_eq!((above.len(), careful.len()), (CELLS + 1, CELLS + 1));
        Self { above, careful, levels, most: MOST, least: 0 }
    }

    /// With a bound that it can't pass; what lay above it lies on it.
    #[must_use]
    pub(crate) fn bounded(mut self, most: u64) -> Self {
        self.most = most.min(self.most);
        self
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.moments().0
    }

    /// The variance.
    pub fn variance(&self) -> f64 {
        self.moments().1
    }

    /// Mean and variance.
    pub(crate) fn moments(&self) -> (f64, f64) {
        moments(&self.above, self.least, self.most)
    }

    /// The number that it stays at or below with this chance, from 0 to 1; a level that is no
    /// number counts as 1. The level is moved by how often such numbers were passed so far.
    pub fn quantile(&self, level: f64) -> u64 {
        self.unmoved_quantile(self.levels.moved(level))
    }

    /// The same with the level as it is.
    pub(super) fn unmoved_quantile(&self, level: f64) -> u64 {
        quantile(&self.careful, level).min(self.most).max(self.least)
    }

    /// What is known once it has been seen to reach `seen`: a stream narrows its own answer. The
    /// number is still the whole, `seen` included.
    #[must_use]
    pub fn reached(&self, seen: u64) -> Self {
        let seen = seen.min(self.most);
        let mut narrowed = self.clone();
        narrowed.least = self.least.max(seen);
        narrow(&mut narrowed.above, seen);
        narrow(&mut narrowed.careful, seen);
        narrowed
    }
}

/// Mean and variance of a number between two bounds, of the chances to reach each cell.
pub(super) fn moments(above: &[f64], least: u64, most: u64) -> (f64, f64) {
    let (mut mean, mut squares) = (0.0, 0.0);
    for (index, ends) in above.windows(2).enumerate() {
        let chance = ends[0] - ends[1];
        if chance <= 0.0 {
            continue;
        }
        let (low, width) = (low(index), width(index));
        if low > most {
            // All that is left lies on the bound.
            let most = most as f64;
            mean += ends[0] * most;
            squares += ends[0] * most * most;
            break;
        }
        let middle = (low as f64 + (width - 1) as f64 / 2.0).clamp(least as f64, most as f64);
        let within = ((width * width - 1) as f64) / 12.0;
        mean += chance * middle;
        squares += chance * (middle * middle + within);
    }
    (mean, (squares - mean * mean).max(0.0))
}

/// The number that one stays at or below with this chance, of the chances to reach each cell.
pub(super) fn quantile(careful: &[f64], level: f64) -> u64 {
    let rest = 1.0 - if level.is_nan() { 1.0 } else { level.clamp(0.0, 1.0) };
    // The first cell after which at most the rest is left.
    let after = careful[1..].partition_point(|above| *above > rest).min(CELLS - 1);
    let (begin, end) = (careful[after], careful[after + 1]);
    let width = width(after);
    let inside = if begin > end { ((begin - rest) / (begin - end)).clamp(0.0, 1.0) } else { 1.0 };
    // Up, so that the chance is reached: from the first number of the cell to its last.
    let step = ((inside * width as f64).ceil() as u64).clamp(1, width) - 1;
    low(after) + step
}

/// Of the chances to reach each cell, those once `seen` is reached.
fn narrow(above: &mut [f64], seen: u64) {
    let reached = 1.0 - below(above, seen);
    let from = cell(seen);
    let least = low(from).max(1) as f64;
    for (index, above) in above.iter_mut().enumerate() {
        *above = if index <= from {
            1.0
        } else if reached > 1e-12 {
            (*above / reached).min(1.0)
        } else {
            // Nothing was ever this long: as much again in the middle, and a long tail.
            least / low(index) as f64
        };
    }
    above[CELLS] = 0.0;
}

/// The chances that a number was to be below what was seen, and at or below it, of the chances to
/// reach each cell. Many are cut off at the same number; the whole cell stands for it.
pub(super) fn chances(above: &[f64], seen: Seen) -> Chances {
    let (from, to) = if seen.cut {
        let cell = cell(seen.number);
        (low(cell), low(cell + 1))
    } else {
        (seen.number, seen.number.saturating_add(1))
    };
    Chances::new(below(above, from), below(above, to))
}

/// The chance that it is below a number, of the chances to reach each cell.
fn below(above: &[f64], number: u64) -> f64 {
    let cell = cell(number);
    let (begin, end) = (above[cell], above[cell + 1]);
    let inside = number.min(MOST).saturating_sub(low(cell)) as f64 / width(cell) as f64;
    1.0 - (begin + (end - begin) * inside)
}
