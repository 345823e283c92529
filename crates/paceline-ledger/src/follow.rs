//! What others record in a ledger, followed while they do.
//!
//! A budget that several programs share has to know what each of them spends. Invariant: what was
//! handed out and not taken back is, attempt by attempt, what its row said when it was looked at
//! last: what was reserved while there is no outcome, and what is entered for it afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use paceline_budget::Spend;
use paceline_core::UnixMillis;

use crate::error::LedgerError;
use crate::query::Reader;

/// The attempts of everybody else who writes to a ledger; see
/// [`Ledger::others`](crate::Ledger::others).
pub struct Others {
    reader: Reader,
    own: i64,
    since: UnixMillis,
    /// The last row that was seen. Rows are only ever added behind it.
    last: Option<i64>,
    /// Those without an outcome, by their rows.
    open: BTreeMap<i64, Open>,
    absurd: u64,
}

/// An attempt without an outcome, as it was handed out.
struct Open {
    spend: Spend,
    /// By when it is over; where that is not known, when it was sent.
    latest: UnixMillis,
}

/// Something that others spend, or spent less than it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It counts from now on.
    Spent(Spend),
    /// It was handed out before and does not count any more: what was reserved for an attempt that is
    /// over. What that came to is handed out next.
    TakenBack(Spend),
}

/// The most attempts without an outcome that are looked at again; of more, the oldest go on counting
/// at what was reserved.
const MOST_OPEN: usize = 20_000;
/// An attempt that should be over for so long has no outcome any more: its program died.
const GIVEN_UP: Duration = Duration::from_secs(600);

impl Others {
    pub(crate) const fn new(reader: Reader, own: i64, since: UnixMillis) -> Self {
        Self { reader, own, since, last: None, open: BTreeMap::new(), absurd: 0 }
    }

    /// Hands out what has changed since the last look; at the first, all there is. `now` is the wall
    /// clock's.
    ///
    /// It reads the rows that were added since, and those again that had no outcome, some
    /// microseconds each, on this thread. Memory: at most 20,000 attempts without an outcome.
    ///
    /// # Errors
    /// [`LedgerError`] where the file can't be read any more. What was handed out before stands, and
    /// the next look goes on from there.
    pub fn look(
        &mut self,
        now: UnixMillis,
        mut change: impl FnMut(Change),
    ) -> Result<(), LedgerError> {
        let mut closed = Vec::new();
        for row in self.open.keys() {
            let attempt = self.reader.row(*row)?;
            closed.extend(attempt.filter(|a| a.ending.is_some()).map(|attempt| (*row, attempt)));
        }
        for (row, attempt) in closed {
            self.absurd += u64::from(attempt.is_absurd());
            if let Some(open) = self.open.remove(&row) {
                change(Change::TakenBack(open.spend));
                change(Change::Spent(Spend::from(&attempt)));
            }
        }
        let Self { reader, last, open, absurd, .. } = self;
        let is_given_up = |latest: UnixMillis| now.since(latest) >= GIVEN_UP;
        open.retain(|_, open| !is_given_up(open.latest));
        reader.rows_after(*last, self.since, self.own, |row, attempt| {
            *last = Some(row);
            *absurd += u64::from(attempt.is_absurd());
            let spend = Spend::from(&attempt);
            let latest = attempt.latest.unwrap_or(attempt.sent_at);
            if attempt.ending.is_none() && !is_given_up(latest) {
                open.insert(row, Open { spend: spend.clone(), latest });
                if open.len() > MOST_OPEN {
                    open.pop_first();
                }
            }
            change(Change::Spent(spend));
        })
    }

    /// Whether an attempt of theirs is in flight, as of the last look: it has no outcome, and may have
    /// one yet, because it need not be over. A part of what is reserved for it may come back.
    pub fn are_in_flight(&self, now: UnixMillis) -> bool {
        self.open.values().any(|open| open.latest > now)
    }

    /// How many of those handed out said [what no call can have spent](crate::Attempt::is_absurd).
    pub const fn absurd(&self) -> u64 {
        self.absurd
    }
}

impl fmt::Debug for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Others")
            .field("reader", &self.reader)
            .field("own", &self.own)
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}
