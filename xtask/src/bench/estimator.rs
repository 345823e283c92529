//! The benchmark `estimator`: how good the estimates of calls are.
//!
//! The program `estimator` of `paceline-bench` measures. Invariant: it is told nothing that the
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
    pub(super) seed: Option<u64>,
    pub(super) list: bool,
}

/// Measures, by way of a file that the rows come in; lists the sections where that was asked for.
pub(super) fn measure(workspace: &Workspace, asked: &Asked<'_>, file: &Path) -> Outcome<Vec<Row>> {
    let data = workspace.root().join(DATA);
    let mut arguments: Vec<OsString> = vec!["--data".into(), data.into()];
    let seed = asked.seed.map(|seed| seed.to_string());
    let only = asked.only.map(str::to_owned);
    for (name, value) in [("--seed", seed), ("--only", only)] {
        arguments.extend(value.into_iter().flat_map(|value| [name.into(), value.into()]));
    }
    if asked.list {
        arguments.push("--list".into());
        return linked::start(workspace, "estimator", &arguments).map(|()| Vec::new());
    }
    linked::measure(workspace, "estimator", arguments, file)
}
