//! The program behind `cargo xtask fit`: fits one table and writes its source.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use paceline_bench::estimator::{Table, fit};
use paceline_bench::program::{self, say};

/// Fits a table that the estimator starts from.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder of the public data.
    #[arg(long)]
    data: PathBuf,
    /// A dictionary of Chinese words, `dict.txt` of jieba.
    #[arg(long)]
    dictionary: Option<PathBuf>,
    /// The table.
    #[arg(long, value_enum)]
    table: Which,
    /// The day, as it will stand in the table: year-month-day.
    #[arg(long)]
    date: String,
    /// Where the table goes.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// What is common in writing.
    Common,
    /// What each class weighs.
    Weights,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let table = match arguments.table {
        Which::Common => Table::Common,
        Which::Weights => Table::Weights,
    };
    let written =
        fit(table, &arguments.data, arguments.dictionary.as_deref(), &arguments.date, &mut say)
            .and_then(|source| program::keep(&source, Some(&arguments.out)));
    program::end(written)
}
