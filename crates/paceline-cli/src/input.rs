//! The file of prompts: opened, checked whole, then read row by row.
//!
//! The first pass finds every fault before anything is sent. Invariant: memory is bounded by the
//! longest line and 24 bytes or so a row, never by the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::UserError;

mod parse;

use parse::{Format, Parser};
pub(crate) use parse::{Row, RowRequest};

/// How rows become requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct InputOptions {
    /// The field or column that holds the prompt, where it is not one of those that are looked for.
    pub(crate) field: Option<String>,
    /// Everything else that makes up the effective request, for ids by content.
    pub(crate) settings: Value,
}

/// A checked file of prompts.
#[derive(Debug)]
pub(crate) struct Input {
    path: PathBuf,
    options: InputOptions,
    format: Format,
    rows: u64,
    ids: HashMap<u128, u64>,
    fingerprint: Fingerprint,
}

/// What tells one file from another, and from a longer one that begins alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    /// The file's length.
    pub(crate) bytes: u64,
    /// SHA-256 of so many bytes, in hexadecimal.
    pub(crate) sha256: String,
}

/// The longest line that is read: 64 MiB.
const MAX_LINE: u64 = 64 << 20;

impl Input {
    /// Opens and checks the whole file; `see` gets every row.
    ///
    /// # Errors
    /// [`UserError`] naming the file, the line, what was found there and what to do.
    pub(crate) fn open(
        path: &Path,
        options: InputOptions,
        mut see: impl FnMut(&Row),
    ) -> Result<Self, UserError> {
        let mut lines = Lines::open(path)?;
        parse::refuse_other_kinds(path)?;
        let mut ids = HashMap::new();
        let mut parser: Option<Parser> = None;
        let mut rows = 0;
        while let Some((line, text)) = lines.next_line()? {
            if text.trim().is_empty() {
                continue;
            }
            let parser = match &mut parser {
                Some(parser) => parser,
                None => parser.insert(Parser::of(path, text, &options)?),
            };
            let Some(row) = parser.row(path, line, text)? else { continue };
            if let Some(first) = ids.insert(id_hash(&row.id), line) {
                return Err(duplicate(path, &row.id, first, line));
            }
            rows += 1;
            see(&row);
        }
        let Some(parser) = parser.filter(|_| rows > 0) else {
            return Err(UserError::usage(format!("{} has no rows", path.display()))
                .hint("put one prompt on each line: JSON objects, tab-separated values or text"));
        };
        let (format, fingerprint) = (parser.format(), lines.fingerprint());
        Ok(Self { path: path.to_owned(), options, format, rows, ids, fingerprint })
    }

    /// How many rows there are.
    pub(crate) const fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether a row has this id.
    pub(crate) fn has_id(&self, id: &str) -> bool {
        self.ids.contains_key(&id_hash(id))
    }

    /// What tells this file from another.
    pub(crate) const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Whether the file still begins with what `older` was made of.
    pub(crate) fn begins_with(&self, older: &Fingerprint) -> Result<bool, UserError> {
        if older.bytes >= self.fingerprint.bytes {
            return Ok(*older == self.fingerprint);
        }
        let file = open(&self.path)?;
        let mut hasher = Sha256::new();
        let mut start = BufReader::new(file.take(older.bytes));
        loop {
            let buffer = start.fill_buf().map_err(|error| unreadable(&self.path, &error))?;
            if buffer.is_empty() {
                return Ok(hex(&hasher.finalize()) == older.sha256);
            }
            hasher.update(buffer);
            let read = buffer.len();
            start.consume(read);
        }
    }

    /// Reads the rows again, one by one.
    ///
    /// # Errors
    /// Where the file can't be opened any more; each row, where the file has changed.
    pub(crate) fn read(&self) -> Result<Rows, UserError> {
        let lines = Lines::open(&self.path)?;
        Ok(Rows { path: self.path.clone(), lines, parser: Parser::new(self.format, &self.options) })
    }
}

/// The rows of a checked file.
#[derive(Debug)]
pub(crate) struct Rows {
    path: PathBuf,
    lines: Lines,
    parser: Parser,
}

impl Iterator for Rows {
    type Item = Result<Row, UserError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (line, text) = match self.lines.next_line() {
                Ok(Some(next)) => next,
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            };
            if text.trim().is_empty() {
                continue;
            }
            if let Some(row) = self.parser.row(&self.path, line, text).transpose() {
                return Some(row);
            }
        }
    }
}

/// A row's id in 16 bytes. Two of a billion ids share one with a chance of 10⁻²¹.
pub(crate) fn id_hash(id: &str) -> u128 {
    let digest = Sha256::digest(id.as_bytes());
    digest.iter().take(16).fold(0, |hash, byte| hash << 8 | u128::from(*byte))
}

/// The lines of a file, counted from 1, with the hash of all that was read.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    buffer: Vec<u8>,
    line: u64,
    bytes: u64,
    hasher: Sha256,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, UserError> {
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::with_capacity(1 << 16, open(path)?),
            buffer: Vec::new(),
            line: 0,
            bytes: 0,
            hasher: Sha256::new(),
        })
    }

    /// The next line without its end; `None` behind the last.
    fn next_line(&mut self) -> Result<Option<(u64, &str)>, UserError> {
        self.buffer.clear();
        let mut bounded = (&mut self.reader).take(MAX_LINE + 1);
        let read = bounded
            .read_until(b'\n', &mut self.buffer)
            .map_err(|error| unreadable(&self.path, &error))?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        self.bytes += read as u64;
        self.hasher.update(&self.buffer);
        if read as u64 > MAX_LINE {
            let what = format!("line {} of {} is too long", self.line, self.path.display());
            return Err(UserError::usage(what)
                .cause(format!("a line may have {} MiB", MAX_LINE >> 20))
                .hint("break the row up, or check that the file has line ends"));
        }
        let mut text = self.buffer.as_slice();
        text = text.strip_suffix(b"\n").unwrap_or(text);
        text = text.strip_suffix(b"\r").unwrap_or(text);
        if self.line == 1 {
            text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        }
        let error = match std::str::from_utf8(text) {
            Ok(text) if !text.contains('\0') => return Ok(Some((self.line, text))),
            other => other.err(),
        };
        Err(self.not_text(text, error))
    }

    /// What is wrong with a line that holds no text.
    fn not_text(&self, text: &[u8], error: Option<std::str::Utf8Error>) -> UserError {
        let (line, shown) = (self.line, self.path.display());
        let has_zeros = text.contains(&0);
        let cause = match error {
            _ if has_zeros => "it holds zero bytes, as UTF-16 has them".to_owned(),
            Some(error) => {
                let column = error.valid_up_to() + 1;
                format!("the byte at column {column} is not part of a character")
            }
            None => String::new(),
        };
        let from = if has_zeros { "UTF-16" } else { "WINDOWS-1252" };
        UserError::usage(format!("line {line} of {shown} is not UTF-8")).cause(cause).hint(format!(
            "save the file as UTF-8, for example with `iconv -f {from} -t UTF-8 {shown} > new-{}`",
            self.path.file_name().unwrap_or_default().to_string_lossy()
        ))
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint { bytes: self.bytes, sha256: hex(&self.hasher.clone().finalize()) }
    }
}

/// Opens a file for reading, or says what is in the way.
fn open(path: &Path) -> Result<File, UserError> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(UserError::usage(format!("{shown} is a directory"))
            .hint("name a file of prompts: JSONL, TSV or plain lines")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(UserError::usage(format!("there is no file {shown}"))
                .hint("check the path; examples/questions.jsonl is one to try"))
        }
        _ => File::open(path).map_err(|error| unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> UserError {
    UserError::usage(format!("can't read {}", path.display())).cause(error)
}

fn duplicate(path: &Path, id: &str, first: u64, second: u64) -> UserError {
    let what = format!("lines {first} and {second} of {} have the same id {id:?}", path.display());
    UserError::usage(what).hint("give every row an id of its own, or none: then one is made")
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
