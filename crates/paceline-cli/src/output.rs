//! The file of answers: one JSON row per input row, each exactly once.
//!
//! It is locked against a second writer. Invariant: a row stands in it whole or not at all; what
//! a kill tore off is cut at the next start, and nothing is changed in a file that is not ours.

use std::collections::{HashSet, VecDeque};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use paceline_core::{Certainty, Money, UnixMillis, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::UserError;
use crate::input::{Input, id_hash};
use crate::lines::Lines;
use crate::time::rfc3339;

mod rescue;

/// The open file, and what it held when it was opened.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    file: File,
    /// The same file, to be written; `None` until it was read.
    lines: Option<Lines>,
    /// Rows that could not be written, oldest first, and whether they failed.
    unwritten: VecDeque<(String, bool)>,
    done: HashSet<u128>,
    failed: HashSet<u128>,
}

/// Whether rows come from a simulated server; the two never mix in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Real,
    Simulated,
}

/// What happens to rows that failed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    Keep,
    RunAgain,
}

/// One row of answers.
#[derive(Debug)]
pub(crate) struct OutRow<'a> {
    pub(crate) id: &'a str,
    pub(crate) line: u64,
    pub(crate) model: &'a str,
    pub(crate) result: RowResult<'a>,
    pub(crate) usage: Option<Usage>,
    pub(crate) cost: Option<Money>,
    pub(crate) attempts: u32,
    pub(crate) sent_at: Option<UnixMillis>,
    pub(crate) finished_at: Option<UnixMillis>,
}

/// An answer, or why there is none.
#[derive(Debug)]
pub(crate) enum RowResult<'a> {
    Output(Value),
    Error { kind: &'a str, message: String, status: Option<u16> },
}

/// As much of a row as a resume has to know.
#[derive(Deserialize)]
struct Seen {
    id: String,
    /// Whether it holds an answer, be it `null`: rows of prompts have none.
    #[serde(default, deserialize_with = "present")]
    output: bool,
    error: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    simulated: bool,
}

/// How a file of answers ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With a line break, or it is empty.
    Whole,
    /// With a row that lacks its line break.
    Unbroken,
    /// With a part of a row, behind so many bytes.
    Torn { whole: u64 },
}

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    line: u64,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    usage: Option<Value>,
    cost_usd: Option<f64>,
    attempts: u32,
    sent_at: Option<String>,
    finished_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    simulated: Option<bool>,
}

impl Output {
    /// Opens or creates the file, locks it, mends its end and reads what it holds.
    ///
    /// # Errors
    /// [`UserError`] where it can't be written, another run holds it, or it belongs to another
    /// input or to the other kind of run.
    pub(crate) fn open(path: &Path, input: &Input, origin: Origin) -> Result<Self, UserError> {
        if path.is_dir() {
            return Err(UserError::usage(format!("{} is a directory", path.display()))
                .hint("name a file with --out"));
        }
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(
            |error| {
                UserError::usage(format!("can't write {}", path.display()))
                    .cause(error)
                    .hint("name another file with --out, in a folder that exists and is yours")
            },
        )?;
        lock(&file, path)?;
        let mut output = Self {
            path: path.to_owned(),
            file,
            lines: None,
            unwritten: VecDeque::new(),
            done: HashSet::new(),
            failed: HashSet::new(),
        };
        match output.read(input, origin)? {
            End::Whole => Ok(()),
            End::Unbroken => output.file.write_all(b"\n"),
            End::Torn { whole } => output.file.set_len(whole),
        }
        .map_err(|error| output.broken(&error))?;
        Ok(output)
    }

    /// Whether a row was answered before.
    pub(crate) fn is_done(&self, id: &str) -> bool {
        self.done.contains(&id_hash(id))
    }

    /// Whether a row failed before.
    pub(crate) fn has_failed(&self, id: &str) -> bool {
        self.failed.contains(&id_hash(id))
    }

    /// How many rows it holds: answered, and failed.
    #[cfg(test)]
    fn counts(&self) -> (u64, u64) {
        (self.done.len() as u64, self.failed.len() as u64)
    }

    /// Takes the failed rows out, so that they can be run again: rewritten and renamed.
    pub(crate) fn forget_failed(&mut self) -> Result<(), UserError> {
        if self.failed.is_empty() {
            return Ok(());
        }
        let rewritten = self.rewrite().map_err(|error| self.broken(&error))?;
        (self.file, self.lines) = (rewritten, None);
        self.failed.clear();
        Ok(())
    }

    /// Writes one row, whole.
    ///
    /// # Errors
    /// Where the disk is full or the file is gone; the row is kept, and written with the next one or by
    /// [`Output::rescue`].
    pub(crate) fn append(&mut self, row: &OutRow<'_>, origin: Origin) -> Result<(), UserError> {
        let mut line = row.to_json(origin);
        line.push('\n');
        self.unwritten.push_back((line, matches!(row.result, RowResult::Error { .. })));
        self.write_on().map_err(|error| self.broken(&error))
    }

    /// Writes what is not written yet.
    fn write_on(&mut self) -> std::io::Result<()> {
        while let Some((line, _)) = self.unwritten.front() {
            let lines = match &mut self.lines {
                Some(lines) => lines,
                none => none.insert(Lines::new(self.file.try_clone()?)?),
            };
            lines.add(line.as_bytes())?;
            self.unwritten.pop_front();
        }
        Ok(())
    }

    fn rewrite(&self) -> std::io::Result<File> {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".rewriting");
        let beside = PathBuf::from(name);
        let mut kept = OpenOptions::new().read(true).append(true).create(true).open(&beside)?;
        kept.set_len(0)?;
        // The new file is locked before it takes the old one's name, so that no run slips in.
        kept.try_lock().map_err(std::io::Error::other)?;
        let mut rows = BufReader::new(File::open(&self.path)?);
        let mut line = Vec::new();
        while rows.read_until(b'\n', &mut line)? > 0 {
            let seen: Option<Seen> = serde_json::from_slice(&line).ok();
            if seen.is_some_and(|seen| seen.error.is_none()) {
                kept.write_all(&line)?;
            }
            line.clear();
        }
        kept.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        Ok(kept)
    }

    /// Takes in what it holds; nothing is changed in it.
    fn read(&mut self, input: &Input, origin: Origin) -> Result<End, UserError> {
        let shown = self.path.display().to_string();
        let fail = |what: String| {
            UserError::usage(what).hint("name another file with --out; this one was left as it was")
        };
        let mut rows = BufReader::new(File::open(&self.path).map_err(|error| self.broken(&error))?);
        let (mut line, mut number, mut whole) = (Vec::new(), 0_u64, 0_u64);
        loop {
            line.clear();
            let read = rows.read_until(b'\n', &mut line).map_err(|error| self.broken(&error))?;
            if read == 0 {
                return Ok(End::Whole);
            }
            number += 1;
            let is_unbroken = line.last() != Some(&b'\n');
            let what = || format!("line {number} of {shown} is no row of answers");
            let seen: Seen = match serde_json::from_slice(&line) {
                Ok(seen) => seen,
                Err(_) if is_unbroken && begins_a_row(&line) => return Ok(End::Torn { whole }),
                Err(error) => return Err(fail(what()).cause(error)),
            };
            if !seen.output && seen.error.is_none() {
                return Err(fail(what()).cause("it holds neither an output nor an error"));
            }
            if seen.simulated != (origin == Origin::Simulated) {
                let (has, is) = match origin {
                    Origin::Real => ("simulated", "real"),
                    Origin::Simulated => ("real", "simulated"),
                };
                return Err(fail(format!("{shown} holds {has} answers, and this run is {is}")));
            }
            if !input.has_id(&seen.id) {
                return Err(self.foreign(&seen.id, number));
            }
            let hash = id_hash(&seen.id);
            if self.done.contains(&hash) || self.failed.contains(&hash) {
                return Err(fail(format!("{shown} holds row {:?} twice", seen.id)));
            }
            if seen.error.is_some() {
                self.failed.insert(hash)
            } else {
                self.done.insert(hash)
            };
            if is_unbroken {
                return Ok(End::Unbroken);
            }
            whole += read as u64;
        }
    }

    /// The file is of another run; one without an answer, as a wrong model leaves, may as well go.
    fn foreign(&self, id: &str, number: u64) -> UserError {
        let shown = self.path.display();
        let hint = if self.has_answers() {
            "name another file with --out, or go back to the old input and settings".to_owned()
        } else {
            let journal = crate::journal::Journal::path_beside(&self.path);
            let journal = journal.display();
            format!(
                "name another file with --out; this one holds no answer, only failed rows, so it \
                 can be removed too, with {journal}"
            )
        };
        UserError::usage(format!("{shown} belongs to another input or other settings"))
            .cause(format!("its row {id:?} on line {number} is not in the input"))
            .hint(hint)
    }

    /// Whether any row of it holds an answer; a file that can't be read is taken to.
    fn has_answers(&self) -> bool {
        let Ok(file) = File::open(&self.path) else { return true };
        BufReader::new(file).split(b'\n').any(|line| {
            let seen = line.map(|line| serde_json::from_slice::<Seen>(&line));
            !matches!(seen, Ok(Ok(seen)) if !seen.output)
        })
    }

    fn broken(&self, error: &std::io::Error) -> UserError {
        UserError::usage(format!("can't write {}", self.path.display()))
            .cause(error)
            .hint("make room or mend the disk; the same command then goes on where it stopped")
    }
}

/// Whether a torn line can be the beginning of a row as it is written here; a loss of power may
/// leave zeros in its place.
fn begins_a_row(line: &[u8]) -> bool {
    const START: &[u8] = b"{\"id\":";
    let start = &START[..START.len().min(line.len())];
    line.starts_with(start) || line.iter().all(|byte| *byte == 0)
}

fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(value).map(|_| true)
}

fn lock(file: &File, path: &Path) -> Result<(), UserError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            Err(UserError::usage(format!("another run is writing {}", path.display()))
                .hint("wait for it to end, or name another file with --out"))
        }
        Err(TryLockError::Error(error)) => {
            Err(UserError::usage(format!("can't lock {}", path.display())).cause(error))
        }
    }
}

impl OutRow<'_> {
    fn to_json(&self, origin: Origin) -> String {
        let (output, error) = match &self.result {
            RowResult::Output(output) => (Some(output), None),
            RowResult::Error { kind, message, status } => {
                (None, Some(json!({ "kind": kind, "message": message, "status": status })))
            }
        };
        let row = Row {
            id: self.id,
            line: self.line,
            model: self.model,
            output,
            error,
            usage: self.usage.map(|usage| usage_json(&usage)),
            cost_usd: self.cost.map(usd),
            attempts: self.attempts,
            sent_at: self.sent_at.map(rfc3339),
            finished_at: self.finished_at.map(rfc3339),
            simulated: (origin == Origin::Simulated).then_some(true),
        };
        // Strings, numbers and lists of them: there is nothing in it that JSON can't say.
        serde_json::to_string(&row).unwrap_or_default()
    }
}

fn usage_json(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input_tokens(),
        "output_tokens": usage.output_tokens(),
        "reasoning_tokens": usage.reasoning_tokens(),
        "cached_input_tokens": usage.cached_input_tokens(),
        "total_tokens": usage.total_tokens(),
        "certainty": match usage.certainty() {
            Certainty::Exact => "exact",
            Certainty::LowerBound => "lower_bound",
            Certainty::Estimated => "estimated",
        },
    })
}

/// Money as a number whose shortest decimal form is the exact one, up to $900,000.
pub(crate) fn usd(cost: Money) -> f64 {
    let ticks = cost.as_ticks();
    let (whole, rest) = (ticks / Money::TICKS_PER_USD, (ticks % Money::TICKS_PER_USD).abs());
    let sign = if ticks < 0 && whole == 0 { "-" } else { "" };
    format!("{sign}{whole}.{rest:010}").parse().unwrap_or(0.0)
}

#[cfg(test)]
mod tests;
