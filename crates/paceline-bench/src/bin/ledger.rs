//! The program behind `cargo xtask bench ledger`: shows a table, writes the rows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use paceline_bench::ledger::{Options, child, items, measure};
use paceline_bench::program::{self, say};

/// Measures what the ledger costs and what it survives.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the rows go, as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
    /// A folder for the files, which is emptied, on the disk that is to be measured.
    #[arg(long, required_unless_present_any = ["list", "child"])]
    folder: Option<PathBuf>,
    /// Only these items.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How many processes are killed.
    #[arg(long, default_value_t = 1_000)]
    kills: u64,
    /// How long each load at a pace lasts.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// What chance is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Say what is measured, and measure nothing.
    #[arg(long)]
    list: bool,
    /// Be the process that is killed, on this file.
    #[arg(long, hide = true)]
    child: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(path) = &arguments.child {
        child(path);
    }
    if arguments.list {
        return program::list(items());
    }
    program::end(run(&arguments))
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let folder = arguments.folder.clone().unwrap_or_default();
    empty(&folder).map_err(|why| format!("can't empty {}: {why}", folder.display()))?;
    let mut options = Options::new(folder);
    options.only.clone_from(&arguments.only);
    options.kills = arguments.kills;
    options.seconds = arguments.seconds.max(1);
    options.seed = arguments.seed;
    let rows = measure(&options, &mut say)?;
    program::keep(&rows, arguments.out.as_deref())
}

/// Removes the files of an earlier measurement, and nothing else.
fn empty(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if [".db", ".db-wal", ".db-shm"].iter().any(|end| name.ends_with(end)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
