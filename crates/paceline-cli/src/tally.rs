//! What a run has sent and spent so far, kept while it is recorded.
//!
//! Memory: 24 bytes an attempt. Invariant: every attempt that left is counted once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use paceline_budget::{Averages, Ending, Intent, Outcome, Record, RecordError, Recorded};
use paceline_core::{Dimension, Money, UnixMillis};

use crate::account::Account;

/// A record that counts what passes on its way to the journal and the ledger.
#[derive(Debug)]
pub(crate) struct Tally {
    account: Account,
    counts: Mutex<Counts>,
}

/// The counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) retries: u64,
    pub(crate) by_status: BTreeMap<u16, u64>,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) reasoning_tokens: u64,
    pub(crate) cost: Money,
    /// What a call uses, as far as that was reported.
    pub(crate) averages: Averages,
    /// Every attempt that left: when it was sent, when it was over, and its tokens.
    pub(crate) calls: Vec<(i64, i64, u32)>,
    open: HashMap<(String, u32), UnixMillis>,
    /// Calls that were answered and whose answers nobody has taken yet, by name.
    untaken: HashSet<String>,
}

impl Tally {
    pub(crate) fn new(account: Account) -> Self {
        Self { account, counts: Mutex::default() }
    }

    /// The answer of a call is in good hands: it was written, or the row goes on with it.
    pub(crate) fn taken(&self, call: &str) {
        self.counts().untaken.remove(call);
    }

    /// Whether an attempt has an intent and no outcome, or an answer that nobody has taken yet. From
    /// the intent to the moment at which the answer is taken there is no gap.
    pub(crate) fn is_owed(&self) -> bool {
        let counts = self.counts();
        !counts.open.is_empty() || !counts.untaken.is_empty()
    }

    /// A look at the counts.
    pub(crate) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    pub(crate) fn status_429(&self) -> u64 {
        self.by_status.get(&429).copied().unwrap_or(0)
    }

    pub(crate) const fn total_tokens(&self) -> u64 {
        self.input_tokens + self.output_tokens
    }

    fn close(&mut self, outcome: &Outcome) {
        let key = (outcome.id.call.clone(), outcome.id.attempt);
        if outcome.ending == Ending::Answered {
            self.untaken.insert(key.0.clone());
        }
        let sent = self.open.remove(&key).unwrap_or(outcome.at);
        if outcome.ending == Ending::NotSent {
            return;
        }
        self.requests += 1;
        self.retries += u64::from(outcome.id.attempt > 1);
        if let Some(status) = outcome.status {
            *self.by_status.entry(status).or_default() += 1;
        }
        self.cost += outcome.cost;
        let mut tokens = 0;
        if let Some(usage) = &outcome.usage {
            tokens = usage.total_tokens();
            self.input_tokens += usage.input_tokens();
            self.output_tokens += usage.output_tokens();
            self.reasoning_tokens += usage.reasoning_tokens();
            self.averages.add(Dimension::TotalTokens, tokens);
            self.averages.add(Dimension::Money, outcome.cost.as_amount());
        }
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.calls.push((sent.as_millis(), outcome.at.as_millis(), tokens));
    }
}

impl Record for Tally {
    fn intent<'a>(&'a self, intent: &'a Intent) -> Recorded<'a> {
        self.counts().open.insert((intent.id.call.clone(), intent.id.attempt), intent.at);
        self.account.intent(intent)
    }

    fn outcome(&self, outcome: &Outcome) -> Result<(), RecordError> {
        self.counts().close(outcome);
        self.account.outcome(outcome)
    }
}

#[cfg(test)]
mod tests {
    use paceline_budget::AttemptId;

    use super::*;

    #[test]
    fn an_answer_is_owed_from_its_intent_until_it_is_taken() {
        let mut counts = Counts::default();
        let (id, at) = (|n| AttemptId::new("row", n), UnixMillis::new(0));
        let owed = |counts: &Counts| !counts.open.is_empty() || !counts.untaken.is_empty();
        counts.open.insert(("row".to_owned(), 1), at);
        assert!(owed(&counts), "it may be answered");
        counts.close(&Outcome::new(id(1), at, Ending::Refused).status(429));
        assert!(!owed(&counts), "it waits to be sent again, which never comes after a stop");
        counts.open.insert(("row".to_owned(), 2), at);
        counts.close(&Outcome::new(id(2), at, Ending::Answered).status(200));
        assert!(owed(&counts), "it was paid for, and is not written yet");
        counts.untaken.remove("row");
        assert!(!owed(&counts));
    }
}
