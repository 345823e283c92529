//! The program behind `cargo xtask bench overhead`: shows a table, writes the rows.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use paceline_bench::overhead::{Options, items, measure, serve};
use paceline_bench::program::{self, say};

/// Measures what the client costs beside bare reqwest.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the rows go, as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Only these items.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How often each side has its turn.
    #[arg(long, default_value_t = Options::new().rounds)]
    rounds: u32,
    /// Say what is measured, and measure nothing.
    #[arg(long)]
    list: bool,
    /// Be the server.
    #[arg(long, hide = true)]
    serve: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.serve {
        return program::end(serve());
    }
    if arguments.list {
        return program::list(items());
    }
    program::end(run(&arguments))
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let mut options = Options::new();
    options.only.clone_from(&arguments.only);
    options.rounds = arguments.rounds.max(1);
    let rows = measure(&options, &mut say)?;
    program::keep(&rows, arguments.out.as_deref())
}
