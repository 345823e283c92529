//! What is believed of a tokenizer before it has answered: weights, and how far they may be off.
//!
//! The weights of public tokenizers are fitted (`cargo xtask fit`) and lie in a table with its
//! date. Invariant: a prior's covariance is symmetric and positive.

mod table;

use super::Matrix;
use crate::features::{COUNT, Class, FIRST_OF_TEXT};

/// The weights to start from, and their covariance.
#[derive(Clone, Debug, PartialEq)]
pub struct InputPrior {
    pub(super) weights: [f64; COUNT],
    pub(super) covariance: Box<Matrix>,
}

/// How far the text of a class may be from all classes together: one factor common to all.
const COMMON: f64 = 0.3;
/// Of no text, hence not fitted: the class, tokens each, known to.
const BY_HAND: [(Class, f64, f64); 6] = [
    (Class::Constant, 100.0, UNKNOWN_DEVIATION),
    (Class::FurtherMessages, 4.0, 2.0),
    (Class::Tools, 8.0, 12.0),
    // 256 to 1,792 by size; the maker's own program counts 765.
    (Class::Images, 765.0, 400.0),
    (Class::Borrowed, 0.0, 1e-6),
    (Class::RandomRuns, 0.05, 0.15),
];
/// How well hidden text is known of which nothing is known.
pub(super) const UNKNOWN_DEVIATION: f64 = 80.0;

impl InputPrior {
    /// From all tokenizers of the table.
    pub fn fitted() -> Self {
        Self::fitted_without(&[])
    }

    /// From all tokenizers of the table but these by name, to judge by them.
    pub fn fitted_without(tokenizers: &[&str]) -> Self {
        let kept = |name: &str| !tokenizers.contains(&name);
        let of: Vec<_> =
            table::FITTED.iter().filter(|(name, _)| kept(name)).map(|(_, it)| it).collect();
        let many = of.len().max(1) as f64;
        let mut weights: [f64; COUNT] = std::array::from_fn(|class| {
            of.iter().map(|weights| weights[class]).sum::<f64>() / many
        });
        let mut covariance = Box::new([[0.0; COUNT]; COUNT]);
        for class in FIRST_OF_TEXT..COUNT {
            let own = own_deviation(class, weights[class]);
            covariance[class][class] = own * own;
        }
        // As far as the known ones differ: the variance of a sample, of which the mean is one of them.
        for other in &of {
            for i in FIRST_OF_TEXT..COUNT {
                for j in FIRST_OF_TEXT..COUNT {
                    let (i_off, j_off) = (other[i] - weights[i], other[j] - weights[j]);
                    covariance[i][j] += i_off * j_off / (many - 1.0).max(1.0);
                }
            }
        }
        for (class, weight, own) in BY_HAND {
            let class = class as usize;
            weights[class] = weight;
            covariance[class] = [0.0; COUNT];
            covariance.iter_mut().for_each(|row| row[class] = 0.0);
            covariance[class][class] = own * own;
        }
        // The common factor binds the text's classes together, not what is hidden.
        for i in FIRST_OF_TEXT..COUNT {
            for j in FIRST_OF_TEXT..COUNT {
                covariance[i][j] += COMMON * weights[i] * COMMON * weights[j];
            }
        }
        Self { weights, covariance }
    }

    /// Beside the count of another tokenizer: that is believed, the classes correct it.
    #[must_use]
    pub fn borrowing(mut self) -> Self {
        let borrowed = Class::Borrowed as usize;
        for class in FIRST_OF_TEXT..COUNT {
            let own = own_deviation(class, self.weights[class]) * BORROWED_SHARE;
            self.weights[class] = 0.0;
            self.covariance[class] = [0.0; COUNT];
            self.covariance[class][class] = own * own;
        }
        self.weights[borrowed] = 1.05;
        self.covariance[borrowed] = [0.0; COUNT];
        self.covariance[borrowed][borrowed] = 0.25 * 0.25;
        self
    }

    pub(super) fn is_borrowing(&self) -> bool {
        self.weights[Class::Borrowed as usize] != 0.0
    }

    /// With hidden text of so many tokens a request, known to so many.
    #[must_use]
    pub(super) fn hidden(mut self, tokens: f64, deviation: f64) -> Self {
        const HIDDEN: usize = Class::Constant as usize;
        self.weights[HIDDEN] = tokens;
        self.covariance[HIDDEN][HIDDEN] = deviation * deviation;
        self
    }
}

/// What two tokenizers differ by beside one factor, as a share of what a class may be off by.
const BORROWED_SHARE: f64 = 0.8;

/// How far a class may be from what was fitted, by itself.
fn own_deviation(class: usize, weight: f64) -> f64 {
    let beside = match class {
        // Bits, several to a letter.
        ALPHABETS | EAST_ASIAN | SOUTH_EAST_ASIAN => BITS,
        _ if class >= FIRST_FOREIGN => FOREIGN,
        _ => ASCII,
    };
    0.25 * weight.abs() + beside
}

const ALPHABETS: usize = Class::AlphabetSurprise as usize;
const EAST_ASIAN: usize = Class::EastAsianSurprise as usize;
const SOUTH_EAST_ASIAN: usize = Class::SouthEastAsianSurprise as usize;
/// The first class beyond ASCII; tokenizers differ most in these.
const FIRST_FOREIGN: usize = Class::ForeignWords as usize;
/// Tokens that a class may be off by beside a quarter of its weight.
const ASCII: f64 = 0.15;
const FOREIGN: f64 = 0.5;
const BITS: f64 = 0.03;
