//! The benchmark `overhead`: what the client costs beside bare reqwest.
//!
//! Two programs of `paceline-bench`: `overhead` measures time and connections, `overhead-memory`
//! allocations, as counting those would slow down everything else. Invariant: the rows of both go
//! to one file.

use std::ffi::OsString;
use std::path::Path;

use super::linked;
use super::row::Row;
use crate::shell::{Outcome, Workspace, say};

/// The item that the second program measures.
const ALLOCATIONS: &str = "allocations";

/// What the programs are told.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) only: Option<&'a str>,
    pub(super) rounds: Option<u32>,
    pub(super) list: bool,
}

/// Measures, by way of `file`; lists the items where that was asked for.
pub(super) fn measure(workspace: &Workspace, asked: &Asked<'_>, file: &Path) -> Outcome<Vec<Row>> {
    if asked.list {
        linked::start(workspace, "overhead", &["--list".into()])?;
        say(format!("{ALLOCATIONS:9} what is allocated for each call, in blocks and bytes"));
        return Ok(Vec::new());
    }
    let only: Option<Vec<&str>> = asked.only.map(|only| only.split(',').collect());
    let (timed, counted) = split(only);
    let mut rows = Vec::new();
    if timed.as_ref().is_none_or(|items| !items.is_empty()) {
        let rounds = asked.rounds.map(|rounds| ("--rounds", rounds.to_string()));
        let only = timed.map(|items| ("--only", items.join(",")));
        let arguments: Vec<OsString> = rounds
            .into_iter()
            .chain(only)
            .flat_map(|(name, value)| [name.into(), value.into()])
            .collect();
        rows.extend(linked::measure(workspace, "overhead", arguments, file)?);
    }
    if counted {
        rows.extend(linked::measure(workspace, "overhead-memory", Vec::new(), file)?);
    }
    Ok(rows)
}

/// The items that are timed, all where none is named; and whether allocations are to be counted.
fn split(only: Option<Vec<&str>>) -> (Option<Vec<&str>>, bool) {
    let Some(only) = only else { return (None, true) };
    let (counted, timed): (Vec<_>, Vec<_>) =
        only.into_iter().partition(|item| *item == ALLOCATIONS);
    (Some(timed), !counted.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_counted_apart_and_only_where_that_is_asked_for() {
        assert_eq!(split(None), (None, true));
        assert_eq!(split(Some(vec!["cpu", "allocations"])), (Some(vec!["cpu"]), true));
        assert_eq!(split(Some(vec!["wait"])), (Some(vec!["wait"]), false));
        assert_eq!(split(Some(vec!["allocations"])), (Some(Vec::new()), true));
    }
}
