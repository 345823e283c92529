//! What a ledger says: sums by scope and by group, and rows; also while it is written.
//!
//! Invariant: every figure is added up from rows when it is asked for, in integers, from one
//! moment's view of the file.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use paceline_core::{LimitKey, ModelId, Money, Tag, UnixMillis};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use crate::error::{LedgerError, LedgerErrorKind};
use crate::row::{self, Attempt};
use crate::schema;

/// A ledger that is only read. Programs may write to it meanwhile; nobody waits for the other.
pub struct Reader {
    path: PathBuf,
    connection: Connection,
    simulated: bool,
}

/// Which attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Range {
    /// Those whose intents were recorded at this moment or later. Default: all.
    pub since: Option<UnixMillis>,
    /// Those whose intents were recorded before this moment. Default: all.
    pub until: Option<UnixMillis>,
    /// Of which scope. Default: every attempt.
    pub scope: LimitKey,
}

/// What [`Reader::usage`] groups by. Hours and days are those of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Grouping {
    /// The hour of the intent.
    Hour,
    /// The day of the intent.
    Day,
    /// The model.
    Model,
    /// The tag.
    Tag,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Group {
    /// An hour or a day, by its first moment.
    From(UnixMillis),
    /// A model; its name is empty where attempts were never announced.
    Model(ModelId),
    /// A tag, or those without one.
    Tag(Option<Tag>),
}

/// What attempts come to.
///
/// Three kinds of money add up to [`Totals::spent`]: what is known, what may have been charged
/// though no good answer came, and what is or was in flight and has no outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// All attempts; the counts below add up to it.
    pub attempts: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Those that the server refused.
    pub refused: u64,
    /// Those that never left.
    pub not_sent: u64,
    /// Those that may have been charged though no good answer came.
    pub maybe_charged: u64,
    /// Those without an outcome: in flight now, or when their program died.
    pub open: u64,
    /// Tokens of prompts, as far as they were reported.
    pub input_tokens: u128,
    /// Tokens generated, reasoning included, as far as they were reported.
    pub output_tokens: u128,
    /// Tokens of reasoning, a part of the output.
    pub reasoning_tokens: u128,
    /// Tokens of prompts that came from the cache, a part of the input.
    pub cached_input_tokens: u128,
    /// All tokens that count as used: those reported, and what was reserved for attempts that
    /// were answered without a usage, may have been charged or have no outcome.
    pub counted_tokens: u128,
    /// Money for attempts that were answered or refused.
    pub known: Money,
    /// Money for attempts that may have been charged.
    pub possible: Money,
    /// Money reserved for attempts without an outcome.
    pub open_reserved: Money,
    /// Attempts that were answered without a usage, at what was reserved or estimated.
    pub without_usage: u64,
    /// Attempts whose reported cost was not believed, at what was reserved.
    pub cost_refused: u64,
}

impl Default for Range {
    fn default() -> Self {
        Self { since: None, until: None, scope: LimitKey::All }
    }
}

impl Range {
    /// Since a moment, that moment included.
    pub fn since(moment: UnixMillis) -> Self {
        Self { since: Some(moment), ..Self::default() }
    }

    /// Before a moment.
    #[must_use]
    pub const fn until(mut self, moment: UnixMillis) -> Self {
        self.until = Some(moment);
        self
    }

    /// Of one model, tag or caller.
    #[must_use]
    pub fn of(mut self, scope: LimitKey) -> Self {
        self.scope = scope;
        self
    }
}

impl Totals {
    /// All the money that counts as spent.
    pub fn spent(&self) -> Money {
        self.known + self.possible + self.open_reserved
    }

    /// With those of other attempts.
    pub fn add(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.answered += other.answered;
        self.refused += other.refused;
        self.not_sent += other.not_sent;
        self.maybe_charged += other.maybe_charged;
        self.open += other.open;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
        self.cached_input_tokens += other.cached_input_tokens;
        self.counted_tokens += other.counted_tokens;
        self.known += other.known;
        self.possible += other.possible;
        self.open_reserved += other.open_reserved;
        self.without_usage += other.without_usage;
        self.cost_refused += other.cost_refused;
    }
}

impl Reader {
    /// Opens a ledger to read it. Attempts of simulated runs are left out.
    ///
    /// # Errors
    /// [`LedgerError`] where there is none, or it is something else, of a later version, damaged
    /// or can't be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let path = path.as_ref();
        let connection = schema::open_to_read(path)?;
        Ok(Self { path: path.to_owned(), connection, simulated: false })
    }

    /// Attempts of simulated runs instead of real ones.
    #[must_use]
    pub const fn simulated(mut self) -> Self {
        self.simulated = true;
        self
    }

    /// What attempts come to, for people. A budget starts with rows instead, each at its moment: it is
    /// restored from a [`Spend`](paceline_budget::Spend) of every attempt of [`Reader::for_each`].
    ///
    /// # Errors
    /// [`LedgerError`] where the file can't be read any more.
    pub fn totals(&self, range: &Range) -> Result<Totals, LedgerError> {
        let mut totals = Totals::default();
        self.select(&sums(), range, "", |row| {
            totals = read_totals(row, 0)?;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(totals)
    }

    /// The same by groups: in the order of time, or of names.
    ///
    /// # Errors
    /// [`LedgerError`] where the file can't be read any more.
    pub fn usage(&self, by: Grouping, range: &Range) -> Result<Vec<(Group, Totals)>, LedgerError> {
        // Rounded down, so that moments before 1970 fall into their day too.
        let (key, length) = match by {
            Grouping::Hour => ("sent_ms / 3600000 - (sent_ms % 3600000 < 0)", 3_600_000),
            Grouping::Day => ("sent_ms / 86400000 - (sent_ms % 86400000 < 0)", 86_400_000),
            Grouping::Model => ("model", 0),
            Grouping::Tag => ("tag", 0),
        };
        let columns = format!("{key}, {}", sums());
        let mut groups = Vec::new();
        self.select(&columns, range, "GROUP BY 1 ORDER BY 1", |row| {
            let group = match by {
                Grouping::Hour | Grouping::Day => {
                    let first = row.get::<_, i64>(0)?.saturating_mul(length);
                    Group::From(UnixMillis::new(first))
                }
                Grouping::Model => Group::Model(ModelId::from(row.get::<_, String>(0)?)),
                Grouping::Tag => Group::Tag(row.get::<_, Option<String>>(0)?.map(Tag::from)),
            };
            groups.push((group, read_totals(row, 1)?));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(groups)
    }

    /// Shows every attempt, in the order in which intents were committed, until it is told to
    /// stop. Memory: one row at a time.
    ///
    /// # Errors
    /// [`LedgerError`] where the file can't be read any more.
    pub fn for_each(
        &self,
        range: &Range,
        mut show: impl FnMut(Attempt) -> ControlFlow<()>,
    ) -> Result<(), LedgerError> {
        self.select(row::COLUMNS, range, "ORDER BY rowid", |row| Ok(show(row::read(row)?)))
    }

    /// The attempts that were added behind a row, by others than an opening of this file, with their
    /// rows. Those that were sent before a moment are left out.
    pub(crate) fn rows_after(
        &self,
        last: Option<i64>,
        since: UnixMillis,
        without: i64,
        mut show: impl FnMut(i64, Attempt),
    ) -> Result<(), LedgerError> {
        // At first by the moment, which has an index; then by the row, as there are few behind it.
        let by = if last.is_some() { "rowid > ?2 AND +sent_ms >= ?1" } else { "sent_ms >= ?1" };
        let query = format!(
            "SELECT {}, rowid FROM attempt WHERE {by} AND +run <> ?3 \
             AND +run IN (SELECT id FROM run WHERE simulated = ?4) ORDER BY rowid",
            row::COLUMNS
        );
        let mut read = || {
            let mut statement = self.connection.prepare_cached(&query)?;
            let last = last.unwrap_or(i64::MIN);
            let values = params![since.as_millis(), last, without, self.simulated];
            let mut rows = statement.query(values)?;
            while let Some(row) = rows.next()? {
                show(row.get("rowid")?, row::read(row)?);
            }
            Ok(())
        };
        read().map_err(|error| LedgerError::sqlite(&self.path, error))
    }

    /// The attempt of a row.
    pub(crate) fn row(&self, row: i64) -> Result<Option<Attempt>, LedgerError> {
        let query = format!("SELECT {} FROM attempt WHERE rowid = ?1", row::COLUMNS);
        let read = || {
            let mut statement = self.connection.prepare_cached(&query)?;
            statement.query_row([row], row::read).optional()
        };
        read().map_err(|error| LedgerError::sqlite(&self.path, error))
    }

    fn select(
        &self,
        columns: &str,
        range: &Range,
        rest: &str,
        mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<ControlFlow<()>>,
    ) -> Result<(), LedgerError> {
        let (scope, name) = match &range.scope {
            LimitKey::All => ("", None),
            LimitKey::Model(model) => ("AND model = ?4", Some(model.as_str())),
            LimitKey::Tag(tag) => ("AND tag = ?4", Some(tag.as_str())),
            LimitKey::Caller(caller) => ("AND caller = ?4", Some(caller.as_str())),
            other => {
                let what = format!("it does not tell {other} apart");
                return Err(LedgerError::detailed(LedgerErrorKind::Io, &self.path, what));
            }
        };
        let query = format!(
            "SELECT {columns} FROM attempt WHERE sent_ms >= ?1 AND (?2 IS NULL OR sent_ms < ?2) \
             AND run IN (SELECT id FROM run WHERE simulated = ?3) {scope} {rest}"
        );
        let since = range.since.map_or(i64::MIN, UnixMillis::as_millis);
        let until = range.until.map(UnixMillis::as_millis);
        let mut values = vec![
            Value::from(since),
            until.map_or(Value::Null, Value::from),
            Value::from(self.simulated),
        ];
        values.extend(name.map(|name| Value::from(name.to_owned())));
        let mut run = || {
            let mut statement = self.connection.prepare_cached(&query)?;
            let mut rows = statement.query(params_from_iter(&values))?;
            while let Some(row) = rows.next()? {
                if take(row)?.is_break() {
                    break;
                }
            }
            Ok(())
        };
        run().map_err(|error| LedgerError::sqlite(&self.path, error))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What is counted, in the order in which [`read_totals`] reads it.
const COUNTS: [&str; 8] = [
    "TRUE",
    "ending = 'answered'",
    "ending = 'refused'",
    "ending = 'not_sent'",
    "ending = 'maybe_charged'",
    "ending IS NULL",
    "ending = 'answered' AND input_tokens IS NULL",
    "cost_refused",
];

/// What is added up, after the counts.
const VALUES: [&str; 8] = [
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "CASE WHEN input_tokens IS NOT NULL THEN input_tokens + output_tokens \
     WHEN ending IN ('refused', 'not_sent') THEN 0 ELSE reserved_tokens END",
    "CASE WHEN ending IN ('answered', 'refused', 'not_sent') THEN cost_ticks END",
    "CASE WHEN ending = 'maybe_charged' THEN cost_ticks END",
    "CASE WHEN ending IS NULL THEN reserved_ticks END",
];

/// The columns of [`Totals`]. SQLite gives up where a sum of integers passes 64 bits, so the
/// upper and the lower half of each value are added up apart.
fn sums() -> String {
    let counts = COUNTS.iter().map(|condition| format!("count(*) FILTER (WHERE {condition})"));
    let halves = VALUES.iter().map(|value| {
        format!("coalesce(sum(({value}) >> 32), 0), coalesce(sum(({value}) & 4294967295), 0)")
    });
    counts.chain(halves).collect::<Vec<_>>().join(", ")
}

/// Reads the columns of [`sums`], the first of which is at `from`.
fn read_totals(row: &Row<'_>, from: usize) -> rusqlite::Result<Totals> {
    let count = |at: usize| row.get::<_, u64>(from + at);
    let sum = |at: usize| {
        let column = from + COUNTS.len() + 2 * at;
        let (upper, lower): (i64, i64) = (row.get(column)?, row.get(column + 1)?);
        Ok::<_, rusqlite::Error>((i128::from(upper) << 32) + i128::from(lower))
    };
    // Tokens are never below zero in a row.
    let tokens = |at| sum(at).map(|sum| u128::try_from(sum).unwrap_or(0));
    let money = |at| sum(at).map(Money::from_ticks);
    Ok(Totals {
        attempts: count(0)?,
        answered: count(1)?,
        refused: count(2)?,
        not_sent: count(3)?,
        maybe_charged: count(4)?,
        open: count(5)?,
        without_usage: count(6)?,
        cost_refused: count(7)?,
        input_tokens: tokens(0)?,
        output_tokens: tokens(1)?,
        reasoning_tokens: tokens(2)?,
        cached_input_tokens: tokens(3)?,
        counted_tokens: tokens(4)?,
        known: money(5)?,
        possible: money(6)?,
        open_reserved: money(7)?,
    })
}
