//! The benchmark `admission`: one client against one server in virtual time.
//!
//! It links nothing of ours: the program `admission` of `paceline-bench` measures, shows its runs
//! and writes its rows; they are read here, so that they are kept and judged like all others.
//! Invariant: what is no row is an error, never left out.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::row::{Compare, Row};
use crate::shell::{Failure, Outcome, Workspace, about, finish};

/// Where the public data is, seen from the top of the workspace.
const DATA: &str = "../shared/data";

/// The units of its rows.
const UNITS: [&str; 6] = ["share", "per 10,000", "limits", "requests", "calls", "s"];

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
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--release", "--locked", "-p", "paceline-bench", "--bin", "admission"]);
    cargo.args(["--", "--data"]).arg(workspace.root().join(DATA)).arg("--out").arg(file);
    let numbers = [("--windows", asked.windows), ("--seed", asked.seed)];
    let numbers = numbers.map(|(name, number)| (name, number.map(|number| number.to_string())));
    let words = [("--only", asked.only), ("--loads", asked.loads)];
    let words = words.map(|(name, word)| (name, word.map(str::to_owned)));
    for (name, value) in numbers.into_iter().chain(words) {
        if let Some(value) = value {
            cargo.args([name, &value]);
        }
    }
    if asked.list {
        cargo.arg("--list");
        return finish(cargo).map(|()| Vec::new());
    }
    // So that what is read afterwards is what was measured now.
    if file.exists() {
        fs::remove_file(file).map_err(|why| about("remove", file, why))?;
    }
    finish(cargo)?;
    let text = fs::read_to_string(file).map_err(|why| about("read", file, why))?;
    rows(&text).ok_or_else(|| Failure::check(format!("{} holds no rows", file.display())))
}

fn rows(text: &str) -> Option<Vec<Row>> {
    let rows: Vec<Value> = serde_json::from_str(text).ok()?;
    rows.iter().map(row).collect()
}

fn row(row: &Value) -> Option<Row> {
    let name = row.get("name")?.as_str()?;
    let unit = row.get("unit")?.as_str()?;
    let unit = UNITS.into_iter().find(|known| *known == unit)?;
    let measured = match row.get("value")? {
        Value::Null => Row::not_measured(name, unit),
        value => Row::new(name, value.as_f64()?, unit),
    };
    let (compare, target) = (row.get("cmp")?, row.get("target")?);
    let compare = match compare.as_str() {
        None => return Some(measured),
        Some(">=") => Compare::AtLeast,
        Some("<=") => Compare::AtMost,
        Some(_) => return None,
    };
    Some(measured.target(compare, target.as_f64()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::row::to_json;

    #[test]
    fn rows_come_through_as_they_were_written() {
        let text = to_json(&[
            Row::new("flow.chat.used", 0.995, "share").target(Compare::AtLeast, 0.99),
            Row::new("flow.chat.refused", 2.0, "per 10,000").target(Compare::AtMost, 1.0),
            Row::new("arrivals.chat.wait_99", 4.5, "s"),
            Row::not_measured("shared.chat.used", "share"),
        ]);
        let rows = rows(&text).unwrap();
        assert_eq!(to_json(&rows), text);
        assert_eq!(rows.iter().map(Row::is_met).collect::<Vec<_>>(), [true, false, true, false]);
    }

    #[test]
    fn what_is_no_row_is_caught() {
        let row = r#"{"name":"a","value":1,"unit":"share","target":2,"cmp":"<=","peer":null}"#;
        assert!(rows(&format!("[{row}]")).is_some());
        assert_eq!(rows(&format!("[{}]", row.replace("share", "leagues"))), None);
        assert_eq!(rows(&format!("[{}]", row.replace("<=", "<"))), None);
        assert_eq!(rows(r#"[{"name":"a"}]"#), None);
        assert_eq!(rows("seed 1"), None);
    }
}
