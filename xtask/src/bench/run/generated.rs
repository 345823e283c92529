//! Input made up on the spot: as many short questions as wanted, no two alike.
//!
//! Invariant: the same count gives the same file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::shell::{Outcome, about};

/// Writes so many rows.
pub(super) fn write(path: &Path, rows: u64) -> Outcome {
    let file = File::create(path).map_err(|why| about("write", path, why))?;
    write_to(BufWriter::new(file), rows).map_err(|why| about("write", path, why))
}

fn write_to(mut file: impl Write, rows: u64) -> std::io::Result<()> {
    for row in 1..=rows {
        let (packed, broken) = (row * 37 % 9_973, row * 11 % 89);
        writeln!(
            file,
            "{{\"id\":\"r{row:06}\",\"question\":\"Order {row}: a store packs {packed} boxes and \
             {broken} of them break. How many are whole? Answer with the number.\"}}"
        )?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn every_row_is_json_of_its_own() {
        let mut file = Vec::new();
        write_to(&mut file, 250).unwrap();
        let text = String::from_utf8(file).unwrap();
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let questions: BTreeSet<_> = rows.map(|row| row["question"].to_string()).collect();
        assert_eq!(questions.len(), 250);
        assert!(text.lines().last().unwrap().contains("\"r000250\""));
    }
}
