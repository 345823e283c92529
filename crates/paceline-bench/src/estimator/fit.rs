//! Fits the tables that `paceline-budget` starts from, on the side of the texts that never judges.
//!
//! Two steps, as the weights need the bitmaps compiled in: first what is common in writing, then
//! what each class weighs in each public tokenizer. Invariant: no text of the judging side is
//! looked at, and the same texts give the same tables.

mod common;
mod weights;

use std::path::Path;

/// Which table to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Table {
    /// What is common in writing.
    Common,
    /// What each class weighs.
    Weights,
}

/// Fits a table; what comes back is its Rust source. What was fitted on is shown. A dictionary of
/// Chinese words (`dict.txt` of jieba) adds to what is common.
///
/// # Errors
/// A text for people where the public data can't be read.
pub fn fit(
    table: Table,
    data: &Path,
    dictionary: Option<&Path>,
    date: &str,
    show: &mut dyn FnMut(&str),
) -> Result<String, String> {
    match table {
        Table::Common => common::fit(data, dictionary, date, show),
        Table::Weights => weights::fit(data, date, show),
    }
}
