//! The benchmark `limiter`: what a decision costs, beside its peers in the same run.
//!
//! Two programs of `paceline-bench`: `limiter` measures time, `limiter-memory` bytes, as counting
//! those would slow down everything else. Invariant: the rows of both go to one file.

use std::ffi::OsString;
use std::path::Path;

use super::linked;
use super::row::Row;
use crate::shell::{Outcome, Workspace, say};

/// The item that the second program measures.
const MEMORY: &str = "memory";

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
        linked::start(workspace, "limiter", &["--list".into()])?;
        say(format!("{MEMORY:9} bytes for each limit, every slot of its window used"));
        return Ok(Vec::new());
    }
    let (timed, memory) = split(asked.only);
    let mut rows = Vec::new();
    if timed.as_ref().is_none_or(|items| !items.is_empty()) {
        let rounds = asked.rounds.map(|rounds| ("--rounds", rounds.to_string()));
        let only = timed.map(|items| ("--only", items.join(",")));
        let arguments: Vec<OsString> = rounds
            .into_iter()
            .chain(only)
            .flat_map(|(name, value)| [name.into(), value.into()])
            .collect();
        rows.extend(linked::measure(workspace, "limiter", arguments, file)?);
    }
    if memory {
        rows.extend(linked::measure(workspace, "limiter-memory", Vec::new(), file)?);
    }
    Ok(rows)
}

/// The items that are timed, all where none is named; and whether memory is to be measured.
fn split(only: Option<&str>) -> (Option<Vec<&str>>, bool) {
    let Some(only) = only else { return (None, true) };
    let (memory, timed): (Vec<_>, Vec<_>) = only.split(',').partition(|item| *item == MEMORY);
    (Some(timed), !memory.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_measured_apart_and_only_where_it_is_asked_for() {
        assert_eq!(split(None), (None, true));
        assert_eq!(split(Some("one,memory,keyed")), (Some(vec!["one", "keyed"]), true));
        assert_eq!(split(Some("two")), (Some(vec!["two"]), false));
        assert_eq!(split(Some("memory")), (Some(Vec::new()), true));
    }
}
