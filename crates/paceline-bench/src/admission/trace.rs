//! Real lengths: the rows of a public trace.
//!
//! It reads two numbers a row and keeps nothing of when they were. Invariant: a trace that was
//! read has at least one row.

use std::fs;
use std::path::Path;

/// Where the trace of conversations lies, seen from the folder of the data.
pub(crate) const CONVERSATIONS: &str = "traces/azure_conv.csv";

/// Input and output tokens of every row of a file `TIMESTAMP,ContextTokens,GeneratedTokens`.
pub(crate) fn read(path: &Path) -> Result<Vec<(u64, u64)>, String> {
    let text = fs::read_to_string(path)
        .map_err(|why| format!("the trace {} can't be read: {why}", path.display()))?;
    let rows: Option<Vec<_>> = text.lines().skip(1).map(row).collect();
    match rows {
        Some(rows) if !rows.is_empty() => Ok(rows),
        _ => Err(format!("{} is no trace of lengths", path.display())),
    }
}

fn row(line: &str) -> Option<(u64, u64)> {
    let mut cells = line.split(',').skip(1);
    let mut cell = || cells.next()?.trim().parse().ok();
    Some((cell()?, cell()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_two_numbers_after_a_time() {
        assert_eq!(row("2023-11-16 18:15:46.6805900,374,44"), Some((374, 44)));
        assert_eq!(row("2023-11-16 18:15:46.6805900,374"), None);
        assert_eq!(row("t,a,b"), None);
    }
}
