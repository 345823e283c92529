//! The journal of sends beside the output: what a run that died may have spent.
//!
//! JSON lines: a header, then each attempt's intent before it leaves and its outcome after.
//! Invariant: an intent is with the operating system before its attempt leaves, so a killed
//! program loses none. A power loss may lose the last seconds.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use paceline_budget::{Ending, Intent, Outcome, Record, RecordError, Recorded};
use paceline_core::{ModelId, Money, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::UserError;
use crate::input::{Fingerprint, Input};
use crate::lines::Lines;

/// The open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    lines: Mutex<Lines>,
}

/// What a run is of; another run may go on only where this is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) input: Fingerprint,
    pub(crate) settings: Value,
    pub(crate) simulated: bool,
}

/// What earlier runs did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Past {
    /// Attempts of the last minute or so, and all that may still be counted.
    pub(crate) sends: Vec<PastSend>,
    /// All money ever spent, attempts without an outcome at what they had reserved.
    pub(crate) spent: Money,
    /// Attempts without an outcome: in flight when a run was killed.
    pub(crate) unfinished: u64,
    /// The highest attempt number that was used.
    pub(crate) attempts: u64,
}

/// An attempt that limits may still count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PastSend {
    model: String,
    sent_ms: i64,
    over_ms: i64,
    tokens: u64,
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Header(Header),
    /// An attempt that is about to leave.
    Intent {
        call: String,
        attempt: u32,
        model: String,
        at: i64,
        tokens: u64,
        cost: i64,
        latest_ms: u64,
    },
    /// What became of it; without tokens what was reserved is spent.
    Outcome {
        call: String,
        attempt: u32,
        at: i64,
        tokens: Option<u64>,
        cost: i64,
        sent: bool,
    },
    /// What earlier lines added up to, when they were folded.
    Folded {
        spent: i64,
        unfinished: u64,
        sends: Vec<PastSend>,
    },
}

/// How long limits may count a call: a minute, and as much again for slow clocks and answers.
const KEPT_MS: i64 = 120_000;

impl PastSend {
    pub(crate) fn model(&self) -> ModelId {
        ModelId::from(self.model.as_str())
    }

    pub(crate) const fn sent_at(&self) -> UnixMillis {
        UnixMillis::new(self.sent_ms)
    }

    pub(crate) const fn over_at(&self) -> UnixMillis {
        UnixMillis::new(self.over_ms)
    }

    pub(crate) const fn tokens(&self) -> u64 {
        self.tokens
    }
}

impl Journal {
    /// The journal's path beside an output file.
    pub(crate) fn path_beside(out: &Path) -> PathBuf {
        let mut name = out.as_os_str().to_owned();
        name.push(".journal");
        PathBuf::from(name)
    }

    /// Opens or creates the journal, checks that it is of the same run, and folds what is old.
    /// The output file must be locked before.
    ///
    /// # Errors
    /// [`UserError`] where it is of another run, can't be read or can't be written.
    pub(crate) fn open(
        path: &Path,
        header: &Header,
        input: &Input,
        now: UnixMillis,
    ) -> Result<(Self, Past), UserError> {
        let past = match File::open(path) {
            Ok(file) => read(path, file, header, input, now)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Past::default(),
            Err(error) => return Err(unusable(path, &error)),
        };
        let file = fold(path, header, &past).map_err(|error| unusable(path, &error))?;
        let lines = Lines::new(file).map_err(|error| unusable(path, &error))?;
        Ok((Self { path: path.to_owned(), lines: Mutex::new(lines) }, past))
    }

    fn write(&self, line: &Line) -> Result<(), RecordError> {
        let mut text = serde_json::to_string(line).map_err(|error| {
            RecordError::new("the journal's line can't be made").with_source(error)
        })?;
        text.push('\n');
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.add(text.as_bytes()).map_err(|error| {
            let path = self.path.display();
            RecordError::new(format!(
                "the journal {path} can't be written; make room or mend the disk"
            ))
            .with_source(error)
        })
    }
}

impl Record for Journal {
    fn intent<'a>(&'a self, intent: &'a Intent) -> Recorded<'a> {
        let written = self.write(&Line::Intent {
            call: intent.id.call.clone(),
            attempt: intent.id.attempt,
            model: intent.model.as_str().to_owned(),
            at: intent.at.as_millis(),
            tokens: intent.total_tokens,
            cost: narrow(intent.cost),
            latest_ms: intent
                .latest
                .map_or(0, |latest| u64::try_from(latest.as_millis()).unwrap_or(u64::MAX)),
        });
        Box::pin(std::future::ready(written))
    }

    fn outcome(&self, outcome: &Outcome) -> Result<(), RecordError> {
        let tokens = match outcome.ending {
            Ending::Refused | Ending::NotSent => Some(0),
            _ => outcome.usage.map(|usage| usage.total_tokens()),
        };
        self.write(&Line::Outcome {
            call: outcome.id.call.clone(),
            attempt: outcome.id.attempt,
            at: outcome.at.as_millis(),
            tokens,
            cost: narrow(outcome.cost),
            sent: outcome.ending != Ending::NotSent,
        })
    }
}

/// Open intents by call and attempt, and what all closed ones came to.
#[derive(Default)]
struct Reader {
    past: Past,
    open: HashMap<(String, u32), (PastSend, Money)>,
}

impl Reader {
    fn take(&mut self, line: Line, now: UnixMillis) {
        match line {
            Line::Header(_) => {}
            Line::Intent { call, attempt, model, at, tokens, cost, latest_ms } => {
                let latest = i64::try_from(latest_ms).unwrap_or(i64::MAX);
                let over_ms = at.saturating_add(latest);
                let send = PastSend { model, sent_ms: at, over_ms, tokens };
                self.open.insert((call, attempt), (send, Money::from_ticks(cost.into())));
            }
            Line::Outcome { call, attempt, at, tokens, cost, sent } => {
                let Some((mut send, _)) = self.open.remove(&(call, attempt)) else { return };
                self.past.spent += Money::from_ticks(cost.into());
                if let Some(tokens) = tokens {
                    send.tokens = tokens;
                    send.over_ms = at;
                }
                if sent {
                    self.keep(send, now);
                }
            }
            Line::Folded { spent, unfinished, sends } => {
                self.past.spent += Money::from_ticks(spent.into());
                self.past.unfinished += unfinished;
                sends.into_iter().for_each(|send| self.keep(send, now));
            }
        }
    }

    fn keep(&mut self, send: PastSend, now: UnixMillis) {
        if send.over_ms.max(send.sent_ms) > now.as_millis().saturating_sub(KEPT_MS) {
            self.past.sends.push(send);
        }
    }

    /// What was in flight counts as spent, as long as the server may still count it.
    fn finish(mut self, now: UnixMillis) -> Past {
        for (send, cost) in std::mem::take(&mut self.open).into_values() {
            self.past.unfinished += 1;
            self.past.spent += cost;
            self.keep(send, now);
        }
        self.past.sends.sort_by_key(|send| send.sent_ms);
        self.past
    }
}

fn read(
    path: &Path,
    file: File,
    header: &Header,
    input: &Input,
    now: UnixMillis,
) -> Result<Past, UserError> {
    let mut lines = BufReader::new(file);
    let mut reader = Reader::default();
    let (mut line, mut number) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line).map_err(|error| unusable(path, &error))?;
        if read == 0 {
            return Ok(reader.finish(now));
        }
        number += 1;
        let is_torn = line.last() != Some(&b'\n');
        let parsed: Line = match serde_json::from_slice(&line) {
            Ok(parsed) => parsed,
            // A kill tore the last line off: its attempt had not left yet.
            Err(_) if is_torn => continue,
            Err(error) => {
                let what = format!("line {number} of {} can't be read", path.display());
                return Err(UserError::usage(what)
                    .cause(error)
                    .hint("restore the file, or run with another --out"));
            }
        };
        match &parsed {
            Line::Header(older) => check(path, older, header, input)?,
            _ if number == 1 => {
                return Err(UserError::usage(format!("{} is no journal", path.display()))
                    .hint("move it away, or run with another --out"));
            }
            _ => {}
        }
        reader.take(parsed, now);
    }
}

/// Refuses to go on with a run of something else.
fn check(path: &Path, older: &Header, header: &Header, input: &Input) -> Result<(), UserError> {
    let other = |what: String| {
        Err(UserError::usage(what)
            .cause(format!("{} says so", path.display()))
            .hint("name another file with --out, or go back to the old settings"))
    };
    if older.version != header.version {
        return other(format!("the earlier run was made by another version ({})", older.version));
    }
    if older.simulated != header.simulated {
        let kind = if older.simulated { "simulated" } else { "real" };
        return other(format!("the earlier run was {kind}, and this one is not"));
    }
    if older.settings != header.settings {
        let (old, new) = (&older.settings, &header.settings);
        return other(format!("the earlier run had other settings: {old}, now {new}"));
    }
    if !input.begins_with(&older.input)? {
        return other("the earlier run was of another input".to_owned());
    }
    Ok(())
}

/// Rewrites the journal with what still matters, so that it never grows from run to run.
fn fold(path: &Path, header: &Header, past: &Past) -> std::io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".rewriting");
    let beside = PathBuf::from(name);
    let mut file = File::create(&beside)?;
    let folded = Line::Folded {
        spent: narrow(past.spent),
        unfinished: past.unfinished,
        sends: past.sends.clone(),
    };
    for line in [Line::Header(header.clone()), folded] {
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        file.write_all(text.as_bytes())?;
    }
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    OpenOptions::new().append(true).open(path)
}

/// Ticks as they stand in the file: up to 900 million dollars.
fn narrow(money: Money) -> i64 {
    i64::try_from(money.as_ticks()).unwrap_or(i64::MAX)
}

fn unusable(path: &Path, error: &std::io::Error) -> UserError {
    UserError::usage(format!("can't use the journal {}", path.display()))
        .cause(error)
        .hint("make it readable and writable, or run with another --out")
}

#[cfg(test)]
mod tests;
