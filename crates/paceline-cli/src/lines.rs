//! A file that grows by whole lines.
//!
//! Invariant: a line stands in it whole or not at all, also where the disk was full in the middle of
//! one, as long as the program lives; what a kill tears off, whoever opens the file next mends.

use std::fs::File;
use std::io::{self, Write};

/// The open file, to be written at its end by nobody else.
#[derive(Debug)]
pub(crate) struct Lines {
    file: File,
    /// How long it is up to its last whole line.
    whole: u64,
    /// Whether something may stand behind that.
    is_torn: bool,
}

impl Lines {
    /// A file that ends with a whole line, opened to append.
    ///
    /// # Errors
    /// Where its length can't be read.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let whole = file.metadata()?.len();
        Ok(Self { file, whole, is_torn: false })
    }

    /// Adds a line, which ends with its line break.
    ///
    /// # Errors
    /// Where it could not be written in full; nothing of it stays.
    pub(crate) fn add(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.whole)?;
            self.is_torn = false;
        }
        match self.file.write_all(line) {
            Ok(()) => {
                self.whole += line.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.is_torn = self.file.set_len(self.whole).is_err();
                Err(error)
            }
        }
    }
}
