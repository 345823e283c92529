//! The benchmark `ledger`: what recording costs, and what it survives.
//!
//! The program `ledger` of `paceline-bench` measures. Invariant: its files lie in the folder of
//! the results, so that the disk measured is the one that is built on.

use std::ffi::OsString;
use std::path::Path;

use super::linked;
use super::row::Row;
use crate::shell::{Outcome, Workspace};

/// What the program is told.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) only: Option<&'a str>,
    pub(super) kills: Option<u64>,
    pub(super) seconds: Option<u64>,
    pub(super) seed: Option<u64>,
    pub(super) list: bool,
}

/// Measures, by way of a file that the rows come in; lists the items where that was asked for.
pub(super) fn measure(
    workspace: &Workspace,
    asked: &Asked<'_>,
    folder: &Path,
    file: &Path,
) -> Outcome<Vec<Row>> {
    if asked.list {
        return linked::start(workspace, "ledger", &["--list".into()]).map(|()| Vec::new());
    }
    let mut arguments: Vec<OsString> = vec!["--folder".into(), folder.into()];
    let numbers = [("--kills", asked.kills), ("--seconds", asked.seconds), ("--seed", asked.seed)];
    for (name, number) in numbers {
        let number = number.map(|number| number.to_string());
        arguments.extend(number.into_iter().flat_map(|number| [name.into(), number.into()]));
    }
    arguments.extend(asked.only.into_iter().flat_map(|only| ["--only".into(), only.into()]));
    linked::measure(workspace, "ledger", arguments, file)
}
