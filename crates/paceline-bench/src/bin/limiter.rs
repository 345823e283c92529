//! The program behind `cargo xtask bench limiter`: shows a table, writes the rows.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use paceline_bench::limiter::{cases, measure};
use paceline_bench::program::{self, say};

/// Measures what a decision costs, beside its peers in the same run.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the rows go, as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Only these cases.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds of each comparison; each gives every side about 5 ms.
    #[arg(long, default_value_t = 61)]
    rounds: u32,
    /// Say what is measured, and measure nothing.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        return program::list(cases());
    }
    program::end(run(&arguments))
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let rows = measure(&arguments.only, arguments.rounds.max(1), &mut say)?;
    program::keep(&rows, arguments.out.as_deref())
}
