//! `cargo xtask fit`: fits the tables that the estimator starts from, and writes them in place.
//!
//! The program `fit` of `paceline-bench` fits: first what is common in writing, then, with that
//! compiled in, what each class weighs. What it saw is shown; the tables are committed by hand.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::bench::linked;
use crate::shell::{Outcome, Workspace, say};

/// How to fit.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The day, as it will stand in the tables: year-month-day.
    #[arg(long)]
    date: String,
    /// A dictionary of Chinese words, `dict.txt` of jieba 0.42.1; without it interface texts alone
    /// say what is common.
    #[arg(long)]
    dictionary: Option<PathBuf>,
    /// Only the weights.
    #[arg(long)]
    weights_only: bool,
}

/// Where the public data is, seen from the top of the workspace.
const DATA: &str = "../shared/data";
/// The tables, and where each is, seen from there too.
const TABLES: [(&str, &str); 2] = [
    ("common", "crates/paceline-budget/src/features/common/table.rs"),
    ("weights", "crates/paceline-budget/src/input/prior/table.rs"),
];

/// Fits both tables, one after the other.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    for (table, path) in TABLES {
        if arguments.weights_only && table == "common" {
            continue;
        }
        let data = workspace.root().join(DATA);
        let out = workspace.root().join(path);
        let mut told: Vec<OsString> = vec!["--data".into(), data.into(), "--table".into()];
        told.extend([table.into(), "--date".into(), arguments.date.clone().into()]);
        told.extend(["--out".into(), out.into()]);
        if let Some(dictionary) = &arguments.dictionary {
            told.extend(["--dictionary".into(), dictionary.into()]);
        }
        linked::start(workspace, "fit", &told)?;
        say(format!("written: {path}"));
    }
    Ok(())
}
