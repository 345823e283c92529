//! OUT, the file of answers, read back: which rows are there, when they were sent, what they used.
//!
//! It trusts no summary of the program. Invariant: every line of OUT is looked at, and one that
//! can't be read is an error that names it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::Value;

use crate::bench::row::{Compare, Row, as_f64};
use crate::shell::{Failure, Outcome, about};

/// One line of OUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    /// The line of the input, from 1.
    line: u64,
    failed: bool,
    /// Milliseconds since 1970, of the last attempt.
    sent_ms: Option<i64>,
    finished_ms: Option<i64>,
    total_tokens: u64,
}

/// Everything in OUT.
#[derive(Debug)]
pub(super) struct Out(Vec<Line>);

/// How the rows of OUT compare to those of the input.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Rows of the input that are there exactly once and did not fail.
    pub(super) once: u64,
    /// Rows of OUT that are repeated, failed, or not of the input.
    pub(super) wrong: u64,
}

impl Out {
    pub(super) fn read(path: &Path) -> Outcome<Self> {
        let file = File::open(path).map_err(|why| about("read", path, why))?;
        Self::parse(BufReader::new(file)).map_err(|why| about("read", path, why))
    }

    fn parse(text: impl BufRead) -> Outcome<Self> {
        let mut lines = Vec::new();
        for (number, text) in text.lines().enumerate() {
            let bad = |why: String| Failure::check(format!("line {}: {why}", number + 1));
            let text = text.map_err(|why| bad(why.to_string()))?;
            let value: Value = serde_json::from_str(&text).map_err(|why| bad(why.to_string()))?;
            lines.push(Line::of(&value).map_err(bad)?);
        }
        Ok(Self(lines))
    }

    /// Counts the rows against an input whose rows are the lines 1 to `rows`.
    pub(super) fn tally(&self, rows: u64) -> Tally {
        let mut seen: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
        for line in &self.0 {
            let (count, failed) = seen.entry(line.line).or_default();
            *count += 1;
            *failed |= line.failed;
        }
        let mut tally = Tally::default();
        for (line, (count, failed)) in seen {
            if count == 1 && !failed && (1..=rows).contains(&line) {
                tally.once += 1;
            } else {
                tally.wrong += count;
            }
        }
        tally
    }

    /// The two rows that every item has.
    pub(super) fn rows(&self, item: &str, rows: u64) -> [Row; 2] {
        let tally = self.tally(rows);
        [
            Row::count(format!("{item}.rows_once"), tally.once, "rows")
                .target(Compare::Exactly, as_f64(rows)),
            Row::count(format!("{item}.rows_wrong"), tally.wrong, "rows")
                .target(Compare::Exactly, 0.0),
        ]
    }

    /// Milliseconds from the first send to the last; `None` where no row says when it was sent.
    pub(super) fn send_span_ms(&self) -> Option<i64> {
        let (first, last) = self.sends()?;
        Some(last - first)
    }

    /// The share of `per_minute` tokens that was used in whole minutes after the first until the
    /// last send, each token counted when its answer was finished. `None` where there is no such
    /// minute.
    pub(super) fn share_used(&self, per_minute: u64) -> Option<f64> {
        let (first, last) = self.sends()?;
        let (from, minutes) = (first + MINUTE_MS, (last - first) / MINUTE_MS - 1);
        if minutes < 1 {
            return None;
        }
        let until = from + minutes * MINUTE_MS;
        let inside = |line: &&Line| line.finished_ms.is_some_and(|at| (from..until).contains(&at));
        let used: u64 = self.0.iter().filter(inside).map(|line| line.total_tokens).sum();
        Some(as_f64(used) / as_f64(per_minute) / as_f64(minutes.unsigned_abs()))
    }

    fn sends(&self) -> Option<(i64, i64)> {
        let sent = || self.0.iter().filter_map(|line| line.sent_ms);
        Some((sent().min()?, sent().max()?))
    }
}

const MINUTE_MS: i64 = 60_000;

impl Line {
    fn of(row: &Value) -> Result<Self, String> {
        let line = row.get("line").and_then(Value::as_u64).ok_or("it has no number `line`")?;
        let moment = |name: &str| match row.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => match unix_ms(text) {
                Some(ms) => Ok(Some(ms)),
                None => Err(format!("`{name}` is not a moment in UTC: {text}")),
            },
            Some(_) => Err(format!("`{name}` is not a text")),
        };
        let failed = row.get("error").is_some_and(|error| !error.is_null());
        let (sent_ms, finished_ms) = (moment("sent_at")?, moment("finished_at")?);
        let total_tokens = row.pointer("/usage/total_tokens").and_then(Value::as_u64).unwrap_or(0);
        Ok(Self { line, failed, sent_ms, finished_ms, total_tokens })
    }
}

/// Milliseconds since 1970 of `2026-11-24T12:00:00.123Z`, the one form that is written.
fn unix_ms(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, millis) = time.split_once('.')?;
    let [year, month, day] = three(date, '-')?;
    let [hour, minute, second] = three(time, ':')?;
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && millis.len() == 3;
    let millis = digits(millis)?;
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    in_range.then_some(seconds * 1_000 + millis)
}

fn three(text: &str, between: char) -> Option<[i64; 3]> {
    let mut parts = text.split(between).map(digits);
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

fn digits(text: &str) -> Option<i64> {
    let is_number = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// Days from 1970-01-01 in the Gregorian calendar, counted by years that begin in March.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

#[cfg(test)]
mod tests;
