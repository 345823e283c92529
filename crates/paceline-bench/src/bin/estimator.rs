//! The program behind `cargo xtask bench estimator`: shows every run, writes the rows.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use paceline_bench::estimator::{JudgedBy, Options, measure, sections};
use paceline_bench::program::{self, say};

/// Measures the estimates of calls.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder of the public data.
    #[arg(long)]
    data: PathBuf,
    /// Where the rows go, as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Only these sections.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// What chance is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Judge by the documents that the tables were fitted on: to choose constants, not to quote.
    #[arg(long)]
    choose: bool,
    /// Say what is measured, and measure nothing.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        return program::list(sections());
    }
    program::end(run(arguments))
}

fn run(arguments: Arguments) -> Result<(), String> {
    let mut options = Options::new(arguments.data);
    options.only = arguments.only;
    options.seed = arguments.seed;
    if arguments.choose {
        options.judged_by = JudgedBy::Fitted;
    }
    say(&format!("seed {}", options.seed));
    let rows = measure(&options, &mut say)?;
    program::keep(&rows, arguments.out.as_deref())
}
