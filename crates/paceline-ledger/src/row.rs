//! One attempt as a row: how it is written, and how it reads.
//!
//! Invariants: an attempt has one row, whatever is replayed; its first outcome stands; a cost that
//! can't be one is not believed, and what was reserved stands in for it.

use paceline_budget::{AttemptId, Ending, Intent, Outcome, Price, Spend};
use paceline_core::{Caller, Certainty, ModelId, Money, Tag, UnixMillis, Usage};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

/// One attempt, as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// Which opening of the ledger recorded it; unique within the file, whoever shares it.
    pub run: i64,
    /// Which attempt of which call of that run.
    pub id: AttemptId,
    /// The model; empty where the attempt was never announced.
    pub model: ModelId,
    /// The place in a program that it comes from.
    pub tag: Option<Tag>,
    /// Whom it was made for.
    pub caller: Option<Caller>,
    /// When its intent was recorded.
    pub sent_at: UnixMillis,
    /// By when it is over, as far as that was known: one without an outcome that is later than
    /// this is not in flight any more.
    pub latest: Option<UnixMillis>,
    /// Tokens reserved for it.
    pub reserved_tokens: u64,
    /// Money reserved for it.
    pub reserved: Money,
    /// How it ended; `None` while it is in flight, and for ever where its program died.
    pub ending: Option<Ending>,
    /// When it was over.
    pub ended_at: Option<UnixMillis>,
    /// The status of the answer, where one came.
    pub status: Option<u16>,
    /// Input and output tokens, where a usage came.
    pub tokens: Option<(u64, u64)>,
    /// How sure the tokens are.
    pub certainty: Option<Certainty>,
    /// What was entered for it, once it is over.
    pub cost: Option<Money>,
    /// The reported cost was below zero or absurdly large, so that what was reserved stands in
    /// for it.
    pub cost_refused: bool,
}

impl Attempt {
    /// The money that counts as spent: its cost, or while there is no outcome what was reserved.
    pub fn spent(&self) -> Money {
        self.cost.unwrap_or(self.reserved)
    }

    /// Whether it may not have been charged, though it counts as spent: no good answer came, or
    /// there is no outcome.
    pub fn is_possible(&self) -> bool {
        matches!(self.ending, None | Some(Ending::MaybeCharged))
    }

    /// The tokens that count as used: those reported, or what was reserved where none were and the
    /// attempt may have used some.
    pub fn counted_tokens(&self) -> u64 {
        match (self.tokens, self.ending) {
            (Some((input, output)), _) => input.saturating_add(output),
            (None, Some(Ending::Refused | Ending::NotSent)) => 0,
            (None, _) => self.reserved_tokens,
        }
    }

    /// Whether its row says what no call can have spent: below zero, above [`Price::MOST`] or above
    /// [`Usage::MAX_TOKENS`]. Then a [`Spend`] made of it has what was reserved instead.
    pub fn is_absurd(&self) -> bool {
        !can_cost(self.spent()) || self.counted_tokens() > Usage::MAX_TOKENS
    }
}

fn can_cost(money: Money) -> bool {
    (Money::ZERO..=Price::MOST).contains(&money)
}

/// What an attempt counts for a budget, at the moment at which a client would have counted it: when
/// it was over, or while it has no outcome when it was sent.
///
/// What no call can have spent is not believed, and what was reserved stands in for it; what can't
/// have been reserved either counts as the most that a call can spend. So it is never refused by
/// [`Budgets::restore`](paceline_budget::Budgets::restore).
impl From<&Attempt> for Spend {
    fn from(attempt: &Attempt) -> Self {
        let money = Some(attempt.spent()).filter(|spent| can_cost(*spent));
        let money = money.unwrap_or(attempt.reserved.clamp(Money::ZERO, Price::MOST));
        let tokens = Some(attempt.counted_tokens()).filter(|tokens| *tokens <= Usage::MAX_TOKENS);
        let tokens = tokens.unwrap_or(attempt.reserved_tokens.min(Usage::MAX_TOKENS));
        let spend = Self::new(attempt.ended_at.unwrap_or(attempt.sent_at))
            .money(money)
            .total_tokens(tokens)
            .model(attempt.model.clone());
        let spend = match &attempt.tag {
            Some(tag) => spend.tag(tag.clone()),
            None => spend,
        };
        match &attempt.caller {
            Some(caller) => spend.caller(caller.clone()),
            None => spend,
        }
    }
}

/// The columns that [`read`] expects, in order.
pub(crate) const COLUMNS: &str = "run, call, attempt, model, tag, caller, sent_ms, \
    reserved_tokens, reserved_ticks, ending, ended_ms, status, input_tokens, output_tokens, \
    certainty, cost_ticks, cost_refused, latest_ms";

/// Writes an intent; `false` where the attempt has a row already.
pub(crate) fn insert(db: &Connection, run: i64, intent: &Intent) -> rusqlite::Result<bool> {
    let mut statement = db.prepare_cached(
        "INSERT INTO attempt (run, call, attempt, model, tag, caller, sent_ms, latest_ms, \
         reserved_tokens, reserved_ticks) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
         ON CONFLICT DO NOTHING",
    )?;
    let latest = intent.latest.map(|latest| i64::try_from(latest.as_millis()).unwrap_or(i64::MAX));
    let inserted = statement.execute(params![
        run,
        intent.id.call,
        intent.id.attempt,
        intent.model.as_str(),
        intent.tag.as_ref().map(Tag::as_str),
        intent.caller.as_ref().map(Caller::as_str),
        intent.at.as_millis(),
        latest.map(|latest| intent.at.as_millis().saturating_add(latest)),
        narrow(intent.total_tokens),
        // What can't be kept is entered as the most that can: more than it is, never less.
        i64::try_from(intent.cost.as_ticks().max(0)).unwrap_or(i64::MAX),
    ])?;
    Ok(inserted > 0)
}

/// Writes an outcome. A second one of the same attempt changes nothing, unless the first said that
/// it never left: then it was wrong, and what may have been spent counts.
pub(crate) fn close(db: &Connection, run: i64, outcome: &Outcome) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "UPDATE attempt SET ending = ?4, ended_ms = ?5, status = ?6, input_tokens = ?7, \
         output_tokens = ?8, reasoning_tokens = ?9, cached_tokens = ?10, certainty = ?11, \
         cost_ticks = coalesce(?12, reserved_ticks), cost_refused = ?12 IS NULL \
         WHERE run = ?1 AND call = ?2 AND attempt = ?3 \
         AND (ending IS NULL OR (ending = 'not_sent' AND ?4 <> 'not_sent'))",
    )?;
    let usage = outcome.usage.as_ref();
    let cost = i64::try_from(outcome.cost.as_ticks()).ok().filter(|cost| *cost >= 0);
    let closed = statement.execute(params![
        run,
        outcome.id.call,
        outcome.id.attempt,
        ending_name(outcome.ending),
        outcome.at.as_millis(),
        outcome.status,
        usage.map(|usage| narrow(usage.input_tokens())),
        usage.map(|usage| narrow(usage.output_tokens())),
        usage.map(|usage| narrow(usage.reasoning_tokens())),
        usage.map(|usage| narrow(usage.cached_input_tokens())),
        usage.map(|usage| certainty_name(usage.certainty())),
        cost,
    ])?;
    // What never left and was never announced leaves no trace. All else was spent, announced or
    // not, and must not be lost.
    if closed == 0 && outcome.ending != Ending::NotSent {
        let intent = Intent::new(outcome.id.clone(), ModelId::from(""), outcome.at);
        if insert(db, run, &intent)? {
            close(db, run, outcome)?;
        }
    }
    Ok(())
}

/// Reads a row of [`COLUMNS`].
pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let optional = |at| row.get::<_, Option<String>>(at);
    let ending = optional(9)?.map(|name| ending_of(&name)).transpose()?;
    let certainty = optional(14)?.map(|name| certainty_of(&name)).transpose()?;
    let tokens = row.get::<_, Option<u64>>(12)?.zip(row.get::<_, Option<u64>>(13)?);
    Ok(Attempt {
        run: row.get(0)?,
        id: AttemptId::new(row.get::<_, String>(1)?, row.get(2)?),
        model: ModelId::from(row.get::<_, String>(3)?),
        tag: optional(4)?.map(Tag::from),
        caller: optional(5)?.map(Caller::from),
        sent_at: UnixMillis::new(row.get(6)?),
        latest: row.get::<_, Option<i64>>(17)?.map(UnixMillis::new),
        reserved_tokens: row.get(7)?,
        reserved: Money::from_ticks(row.get::<_, i64>(8)?.into()),
        ending,
        ended_at: row.get::<_, Option<i64>>(10)?.map(UnixMillis::new),
        status: row.get(11)?,
        tokens,
        certainty,
        cost: row.get::<_, Option<i64>>(15)?.map(|ticks| Money::from_ticks(ticks.into())),
        cost_refused: row.get(16)?,
    })
}

const fn ending_name(ending: Ending) -> &'static str {
    match ending {
        Ending::Answered => "answered",
        Ending::Refused => "refused",
        Ending::NotSent => "not_sent",
        // An ending that is not known here may have cost something.
        _ => "maybe_charged",
    }
}

fn ending_of(name: &str) -> rusqlite::Result<Ending> {
    match name {
        "answered" => Ok(Ending::Answered),
        "refused" => Ok(Ending::Refused),
        "not_sent" => Ok(Ending::NotSent),
        "maybe_charged" => Ok(Ending::MaybeCharged),
        _ => Err(rusqlite::Error::InvalidColumnType(9, "ending".to_owned(), Type::Text)),
    }
}

const fn certainty_name(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Exact => "exact",
        Certainty::LowerBound => "lower_bound",
        Certainty::Estimated => "estimated",
    }
}

fn certainty_of(name: &str) -> rusqlite::Result<Certainty> {
    match name {
        "exact" => Ok(Certainty::Exact),
        "lower_bound" => Ok(Certainty::LowerBound),
        "estimated" => Ok(Certainty::Estimated),
        _ => Err(rusqlite::Error::InvalidColumnType(14, "certainty".to_owned(), Type::Text)),
    }
}

fn narrow(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}
