//! Distributions of whole numbers that learn: how many tokens an answer has, how long it takes.
//!
//! | part | holds |
//! |---|---|
//! | `grid` | the cells that numbers are counted in |
//! | [`Distribution`] | what is known of a number that is not known yet |
//! | `tree` | what was seen, from all calls of a model down to those most alike |
//! | `level` | the levels at which quantiles are read, moved so that they hold what they promise |
//!
//! It knows nothing of calls. Invariant: every quantile is finite, and a higher level never yields
//! a lower number.

mod distribution;
mod grid;
mod level;
mod logs;
mod tree;

pub use distribution::Distribution;
pub(crate) use tree::{Kind, Ladder, Seen, Tree};
