//! The program behind `cargo xtask bench unknown`: shows a table, writes the rows.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use paceline_bench::program::{self, say};
use paceline_bench::unknown::{Options, measure};

/// Measures the whole client against servers whose rule it does not know.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder of the public data.
    #[arg(long)]
    data: PathBuf,
    /// Where the rows go, as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Only cases whose name begins so, such as `chat/sliding`.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Whole windows after the first.
    #[arg(long, default_value_t = 20)]
    windows: u64,
    /// What chance is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut options = Options::new(arguments.data);
    options.only = arguments.only;
    options.windows = arguments.windows.max(1);
    options.seed = arguments.seed;
    let rows = measure(&options, &mut say);
    program::end(rows.and_then(|rows| program::keep(&rows, arguments.out.as_deref())))
}
