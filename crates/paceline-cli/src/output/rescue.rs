//! Rows that the file of answers has no room for: they are paid for, so they are put elsewhere.
//!
//! Invariant: a row that was finished ends in the file, in a file in the folder for temporary files,
//! or on standard output, and it is said where.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Output;
use crate::error::warn;

/// Names that are tried for the file of rescued rows.
const NAMES: u32 = 1_000;

/// Rows that are not in the file of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Aside {
    pub(crate) done: u64,
    pub(crate) failed: u64,
}

impl Output {
    /// Tries once more to write what could not be written, and puts elsewhere what still can't be.
    /// Answers how many rows are not in the file.
    pub(crate) fn rescue(&mut self) -> Aside {
        if self.unwritten.is_empty() || self.write_on().is_ok() {
            return Aside::default();
        }
        let failed = self.unwritten.iter().filter(|(_, has_failed)| *has_failed).count() as u64;
        let count = self.unwritten.len() as u64;
        let text: String = self.unwritten.drain(..).map(|(line, _)| line).collect();
        let out = self.path.display();
        match keep(&self.path, &text) {
            Ok(kept) => warn(format!(
                "{count} finished rows that {out} has no room for are in {kept}; make room, add \
                 them with cat {kept} >> {out}, and the same command goes on without asking for \
                 them again",
                kept = kept.display()
            )),
            Err(error) => {
                warn(format!(
                    "{count} finished rows could be written nowhere ({error}), and follow on \
                     standard output; make room, add them to {out}, and the same command goes on"
                ));
                let _ = io::stdout().write_all(text.as_bytes());
            }
        }
        Aside { done: count - failed, failed }
    }
}

/// Writes rows to a new file in the folder for temporary files.
fn keep(out: &Path, text: &str) -> io::Result<PathBuf> {
    let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for number in 0..NAMES {
        let path = std::env::temp_dir().join(format!("{name}.rescued-{number}"));
        let mut new = OpenOptions::new();
        new.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut new, 0o600);
        match new.open(&path) {
            Ok(mut file) => {
                let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
                return written.map(|()| path.clone()).inspect_err(|_| {
                    let _ = std::fs::remove_file(&path);
                });
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many files of rescued rows"))
}
