//! Where a run's attempts are recorded: in the journal of its output, and in the ledger if asked.
//!
//! The journal is about going on with this output: what is still in the windows, what its budget
//! has left. The ledger is about all that was ever spent, by whichever run. Invariant: an attempt
//! leaves after both have its intent, and its outcome is given to both, whatever one of them says.

use std::path::Path;
use std::sync::Arc;

use paceline_budget::{Intent, Outcome, Record, RecordError, Recorded};
use paceline_ledger::{Ledger, LedgerError, RunInfo};

use crate::args::RunArgs;
use crate::error::{UserError, warn};
use crate::journal::Journal;

/// The records of one run.
#[derive(Debug)]
pub(crate) struct Account {
    journal: Journal,
    ledger: Option<Arc<Ledger>>,
}

impl Account {
    pub(crate) fn new(journal: Journal, ledger: Option<Arc<Ledger>>) -> Self {
        Self { journal, ledger }
    }

    async fn enter(&self, ledger: &Ledger, intent: &Intent) -> Result<(), RecordError> {
        self.journal.intent(intent).await?;
        ledger.intent(intent).await
    }
}

impl Record for Account {
    fn intent<'a>(&'a self, intent: &'a Intent) -> Recorded<'a> {
        match &self.ledger {
            Some(ledger) => Box::pin(self.enter(ledger, intent)),
            None => self.journal.intent(intent),
        }
    }

    fn outcome(&self, outcome: &Outcome) -> Result<(), RecordError> {
        let journalled = self.journal.outcome(outcome);
        let entered = self.ledger.as_ref().map_or(Ok(()), |ledger| ledger.outcome(outcome));
        journalled.and(entered)
    }
}

/// Opens the ledger that a run was asked to keep.
pub(crate) fn open(args: &RunArgs) -> Result<Option<Arc<Ledger>>, UserError> {
    let Some(path) = &args.ledger else { return Ok(None) };
    let name = args.input.display().to_string();
    let info = if args.simulate { RunInfo::new(name).simulated() } else { RunInfo::new(name) };
    let ledger = Ledger::open(path, &info).map_err(|error| unusable(path, &error))?;
    Ok(Some(Arc::new(ledger)))
}

/// Closes it; what could not be kept is said, as the answers are there all the same.
pub(crate) fn close(ledger: &Ledger) {
    if let Err(error) = ledger.close() {
        warn(format!("{error}; {}", error.hint()));
    }
}

/// A ledger that can't be used, for people.
pub(crate) fn unusable(path: &Path, error: &LedgerError) -> UserError {
    let shown = UserError::usage(error.to_string())
        .hint(error.hint().replace("FILE", &path.display().to_string()));
    match std::error::Error::source(error) {
        Some(source) => shown.cause(source),
        None => shown,
    }
}
