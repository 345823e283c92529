//! The benchmark `unknown`: the whole client against servers whose rule it does not know.
//!
//! The program `unknown` of `paceline-bench` measures, in virtual time.

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
    pub(super) seed: Option<u64>,
}

/// Measures, by way of a file that the rows come in.
pub(super) fn measure(workspace: &Workspace, asked: &Asked<'_>, file: &Path) -> Outcome<Vec<Row>> {
    let data = workspace.root().join(DATA);
    let mut arguments: Vec<OsString> = vec!["--data".into(), data.into()];
    let numbers = [("--seed", asked.seed), ("--windows", asked.windows)];
    for (name, number) in numbers {
        let number = number.map(|number| number.to_string());
        arguments.extend(number.into_iter().flat_map(|number| [name.into(), number.into()]));
    }
    arguments.extend(asked.only.into_iter().flat_map(|only| ["--only".into(), only.into()]));
    linked::measure(workspace, "unknown", arguments, file)
}
