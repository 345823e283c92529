//! The program behind `cargo xtask bench estimator`: shows every run, writes the rows.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use paceline_bench::estimator::{Options, measure, sections};

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
    /// Say what is measured, and measure nothing.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        sections().for_each(|(name, about)| say(&format!("{name:9} {about}")));
        return ExitCode::SUCCESS;
    }
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            complain(&why);
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    let mut options = Options::new(arguments.data);
    options.only = arguments.only;
    options.seed = arguments.seed;
    say(&format!("seed {}", options.seed));
    let rows = measure(&options, &mut say)?;
    match arguments.out {
        Some(out) => {
            write(&out, &rows).map_err(|why| format!("can't write {}: {why}", out.display()))
        }
        None => {
            say(&rows);
            Ok(())
        }
    }
}

fn write(out: &PathBuf, rows: &str) -> io::Result<()> {
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(out, rows)
}

#[expect(clippy::print_stdout, reason = "what this program says goes through here")]
fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "what this program complains of goes through here")]
fn complain(why: &str) {
    eprintln!("error: {why}");
}
