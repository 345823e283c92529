//! The program behind `cargo xtask bench limiter`: shows a table, writes the rows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use paceline_bench::limiter::{cases, measure};

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
        cases().for_each(|(name, about)| say(&format!("{name:9} {about}")));
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            complain(&why);
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let rows = measure(&arguments.only, arguments.rounds.max(1), &mut say)?;
    match &arguments.out {
        Some(out) => write(out, &rows),
        None => {
            say(&rows);
            Ok(())
        }
    }
}

fn write(out: &Path, rows: &str) -> Result<(), String> {
    let folder = out.parent().map_or(Ok(()), fs::create_dir_all);
    folder
        .and_then(|()| fs::write(out, rows))
        .map_err(|why| format!("can't write {}: {why}", out.display()))
}

#[expect(clippy::print_stdout, reason = "what this program says goes through here")]
fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "what this program complains of goes through here")]
fn complain(why: &str) {
    eprintln!("error: {why}");
}
