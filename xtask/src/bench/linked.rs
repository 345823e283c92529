//! Benchmarks that link our crates: programs of `paceline-bench`, which `xtask` only starts.
//!
//! Such a program shows its runs and writes its rows; they are read here, so that they are kept
//! and judged like all others. Invariant: what is no row is an error, never left out.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::row::{Compare, Row};
use crate::shell::{Failure, Outcome, Workspace, about, finish};

/// The units that rows come in.
const UNITS: [&str; 17] = [
    "share",
    "per 10,000",
    "per s",
    "limits",
    "requests",
    "calls",
    "kills",
    "s",
    "ms",
    "ns",
    "ratio",
    "polls",
    "bytes",
    "MB/s",
    "us",
    "allocations",
    "connections",
];

/// Runs a program of `paceline-bench`, which shows what it has to say.
pub(crate) fn start(workspace: &Workspace, program: &str, arguments: &[OsString]) -> Outcome {
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--release", "--locked", "-p", "paceline-bench", "--bin", program, "--"]);
    cargo.args(arguments);
    finish(cargo)
}

/// Runs one that measures, and reads the rows that it writes to `file`.
pub(super) fn measure(
    workspace: &Workspace,
    program: &str,
    mut arguments: Vec<OsString>,
    file: &Path,
) -> Outcome<Vec<Row>> {
    // So that what is read afterwards is what was measured now.
    if file.exists() {
        fs::remove_file(file).map_err(|why| about("remove", file, why))?;
    }
    arguments.extend(["--out".into(), file.into()]);
    start(workspace, program, &arguments)?;
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
    let measured = match row.get("peer")? {
        Value::Null => measured,
        Value::String(peer) => measured.beside(peer),
        peer => measured.peer(peer.as_f64()?),
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
            Row::new("arrivals.chat.wait_99", 4.5, "s").peer(4.0),
            Row::new("one/pacer", 1.25, "ratio").beside("governor 0.10.4 check()"),
            Row::not_measured("shared.chat.used", "share"),
        ]);
        let rows = rows(&text).unwrap();
        assert_eq!(to_json(&rows), text);
        let met: Vec<_> = rows.iter().map(Row::is_met).collect();
        assert_eq!(met, [true, false, true, true, false]);
    }

    #[test]
    fn what_is_no_row_is_caught() {
        let row = r#"{"name":"a","value":1,"unit":"share","target":2,"cmp":"<=","peer":null}"#;
        assert!(rows(&format!("[{row}]")).is_some());
        assert_eq!(rows(&format!("[{}]", row.replace("share", "leagues"))), None);
        assert_eq!(rows(&format!("[{}]", row.replace("<=", "<"))), None);
        assert_eq!(rows(&format!("[{}]", row.replace("null", "[]"))), None);
        assert_eq!(rows(r#"[{"name":"a"}]"#), None);
        assert_eq!(rows("seed 1"), None);
    }
}
