//! The program behind `cargo xtask bench admission`: shows every run, writes the rows.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use paceline_bench::admission::{Options, cases, measure};
use paceline_bench::program::{self, say};

/// Measures one client against one server in virtual time.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder of the public data.
    #[arg(long)]
    data: PathBuf,
    /// Where the rows go, as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Only these cases.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Windows counted in each run; by default as many as it takes.
    #[arg(long)]
    windows: Option<u64>,
    /// What chance is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many calls are in flight at the quota, run by run.
    #[arg(long, value_delimiter = ',', default_values_t = [8, 32, 128])]
    loads: Vec<u64>,
    /// Say what is measured, and measure nothing.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        return program::list(cases());
    }
    program::end(run(arguments))
}

fn run(arguments: Arguments) -> Result<(), String> {
    let mut options = Options::new(arguments.data);
    options.only = arguments.only;
    options.windows = arguments.windows;
    options.seed = arguments.seed;
    options.loads = arguments.loads;
    say(&format!("seed {}", options.seed));
    let rows = measure(&options, &mut say)?;
    program::keep(&rows, arguments.out.as_deref())
}
