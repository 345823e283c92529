//! The benchmark `admission`: one client against one server in virtual time.
//!
//! The program `admission` of `paceline-bench` measures. Invariant: it is told nothing that the
//! command line did not say, but where the public data is.

use std::ffi::OsString;
use std::path::Path;

use super::linked;
use super::row::Row;
use crate::shell::{Outcome, Workspace};

/// Where the public data is, seen from the top of the workspace.
const DATA: &str = "../shared/data";

/// What the program is told.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) only: Option<&'a str>,
    pub(super) windows: Option<u64>,
    pub(super) loads: Option<&'a str>,
    pub(super) seed: Option<u64>,
    pub(super) list: bool,
}

/// Measures, by way of a file that the rows come in; lists the cases where that was asked for.
pub(super) fn measure(workspace: &Workspace, asked: &Asked<'_>, file: &Path) -> Outcome<Vec<Row>> {
    let data = workspace.root().join(DATA);
    let mut arguments: Vec<OsString> = vec!["--data".into(), data.into()];
    let numbers = [("--windows", asked.windows), ("--seed", asked.seed)];
    let numbers = numbers.map(|(name, number)| (name, number.map(|number| number.to_string())));
    let words = [("--only", asked.only), ("--loads", asked.loads)];
    let words = words.map(|(name, word)| (name, word.map(str::to_owned)));
    for (name, value) in numbers.into_iter().chain(words) {
        arguments.extend(value.into_iter().flat_map(|value| [name.into(), value.into()]));
    }
    if asked.list {
        arguments.push("--list".into());
        return linked::start(workspace, "admission", &arguments).map(|()| Vec::new());
    }
    linked::measure(workspace, "admission", arguments, file)
}
