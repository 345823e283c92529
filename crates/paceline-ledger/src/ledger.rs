//! The ledger that is written: a handle, and the one thread that writes.
//!
//! Invariants: an intent is committed before its future is ready; everything that one group holds
//! is committed whole or not at all; the first failure is the last, as nothing that follows a
//! failed commit can be trusted. A file that another program keeps to itself is no failure: nothing
//! was begun, so the group waits.

use std::collections::HashMap;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use paceline_budget::{AttemptId, Ending, Intent, Outcome, Record, RecordError, Recorded};
use paceline_core::UnixMillis;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

use crate::error::{LedgerError, LedgerErrorKind};
use crate::fold::Folder;
use crate::follow::Others;
use crate::query::Reader;
use crate::queue::{Commit, Job, Queue};
use crate::{row, schema};

/// Who records, as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunInfo {
    name: String,
    simulated: bool,
}

impl RunInfo {
    /// A program or a job, by a name for people.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), simulated: false }
    }

    /// Its money is not real: totals leave it out unless they are asked for it.
    #[must_use]
    pub const fn simulated(mut self) -> Self {
        self.simulated = true;
        self
    }
}

/// A ledger that attempts are recorded in.
///
/// Give it to a client as its [`Record`]. Other programs may have the same file open, and one
/// program may open it more than once: every opening is a run of its own, and names of calls have
/// to be unique within one. So clients that name calls by themselves need an opening each.
///
/// Dropping it writes what is queued and waits for that, some milliseconds; [`Ledger::close`]
/// does the same and says how it went.
pub struct Ledger {
    path: PathBuf,
    run: i64,
    is_simulated: bool,
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Ledger {
    /// Opens a ledger, and makes it where there is none. The folder has to be there. A file that
    /// it makes can be read and written by its owner alone.
    ///
    /// # Errors
    /// [`LedgerError`] where the file is something else, of a later version, damaged or can't be
    /// written. It is not changed then.
    pub fn open(path: impl AsRef<Path>, info: &RunInfo) -> Result<Self, LedgerError> {
        let path = path.as_ref();
        let connection = schema::open_to_write(path)?;
        Self::start(path, connection, info)
    }

    fn start(path: &Path, mut connection: Connection, info: &RunInfo) -> Result<Self, LedgerError> {
        let failed = |error| LedgerError::sqlite(path, error);
        connection
            .execute(
                "INSERT INTO run (name, simulated, started_ms) VALUES (?1, ?2, ?3)",
                params![info.name, info.simulated, wall_millis()],
            )
            .map_err(failed)?;
        let run = connection.last_insert_rowid();
        connection.busy_handler(Some(schema::wait_a_second)).map_err(failed)?;
        let queue = Arc::new(Queue::default());
        let folder = Folder::start(path, &mut connection, &queue)?;
        let writer =
            Writer { path: path.to_owned(), run, connection, folder, queue: Arc::clone(&queue) };
        let thread = thread::Builder::new()
            .name("paceline-ledger".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| LedgerError::io(path, error))?;
        let is_simulated = info.simulated;
        let thread = Mutex::new(Some(thread));
        Ok(Self { path: path.to_owned(), run, is_simulated, queue, thread })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of this opening, unique within the file.
    pub const fn run(&self) -> i64 {
        self.run
    }

    /// A reader of the same file, such as for what was spent before.
    ///
    /// # Errors
    /// [`LedgerError`] where the file can't be read.
    pub fn reader(&self) -> Result<Reader, LedgerError> {
        Reader::open(&self.path)
    }

    /// What everybody else spends who writes to the file, other openings of this program included:
    /// everything that was sent at this moment or later, and from then on what is added. Where the
    /// money of this opening is not real, theirs is that which is not either.
    ///
    /// ```
    /// use paceline_budget::{Budget, Budgets, Period};
    /// # use paceline_budget::{AttemptId, Ending, Outcome, Record};
    /// use paceline_core::{Money, UnixMillis};
    /// use paceline_ledger::{Change, Ledger, RunInfo};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ledger.db");
    /// # let now = UnixMillis::new(1_795_000_000_000);
    /// # let other = Ledger::open(&path, &RunInfo::new("somebody else"))?;
    /// # let id = AttemptId::new("row-1", 1);
    /// # other.outcome(&Outcome::new(id, now, Ending::Answered).cost(Money::from_ticks(412)))?;
    /// # other.flush()?;
    /// let ledger = Ledger::open(&path, &RunInfo::new("summaries"))?;
    /// let mut budgets = Budgets::new();
    /// budgets.add(Budget::money(Money::from_usd(10), Period::Day)?)?;
    ///
    /// // Two days back, for the calls that were under way at midnight. Then again and again.
    /// let mut others = ledger.others(UnixMillis::new(now.as_millis() - 2 * 86_400_000))?;
    /// others.look(now, |change| match change {
    ///     Change::TakenBack(spend) => budgets.take_back([spend]),
    ///     Change::Spent(spend) => drop(budgets.restore([spend])),
    ///     _ => {}
    /// })?;
    /// assert_eq!(budgets.standings(now).next().map(|standing| standing.spent), Some(412));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`LedgerError`] where the file can't be read.
    pub fn others(&self, since: UnixMillis) -> Result<Others, LedgerError> {
        let reader = self.reader()?;
        let reader = if self.is_simulated { reader.simulated() } else { reader };
        Ok(Others::new(reader, self.run, since))
    }

    /// For how long another program has kept the file to itself, while it does; `None` otherwise. It
    /// is known after a second. Intents wait meanwhile, without end, so nothing is sent; outcomes are
    /// kept in memory. [`Ledger::close`] gives up after some seconds.
    pub fn held_up(&self) -> Option<Duration> {
        self.queue.held_up()
    }

    /// Waits on this thread until everything that was recorded before is committed, also while
    /// another program keeps the file to itself.
    ///
    /// # Errors
    /// [`LedgerError`] where writing has failed, or the ledger is closed.
    pub fn flush(&self) -> Result<(), LedgerError> {
        self.queue.flush()
    }

    /// Writes what is queued, waits for it, and takes nothing more. Where writing failed before,
    /// the outcomes since then are tried once more, on a file that is opened anew.
    ///
    /// Closing twice is closing once.
    ///
    /// # Errors
    /// [`LedgerErrorKind::OutcomesLost`] where outcomes could not be kept: their attempts count
    /// as spent at what was reserved.
    pub fn close(&self) -> Result<(), LedgerError> {
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the thread has ended the queue like any failure.
            drop(thread.join());
        }
        let unkept = self.queue.take_unkept();
        if unkept.is_empty() {
            return Ok(());
        }
        self.keep_anew(&unkept).map_err(|error| {
            let count = unkept.len();
            let what = if count == 1 { "1 of them".into() } else { format!("{count} of them") };
            LedgerError::detailed(
                LedgerErrorKind::OutcomesLost,
                &self.path,
                format!("{what}, because {error}"),
            )
        })
    }

    fn keep_anew(&self, outcomes: &[Outcome]) -> Result<(), LedgerError> {
        let failed = |error| LedgerError::sqlite(&self.path, error);
        let mut connection = schema::open_to_write(&self.path)?;
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        for outcome in outcomes {
            row::close(&transaction, self.run, outcome).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }
}

impl Record for Ledger {
    fn intent<'a>(&'a self, intent: &'a Intent) -> Recorded<'a> {
        Box::pin(Commit::new(&self.queue, intent))
    }

    fn outcome(&self, outcome: &Outcome) -> Result<(), RecordError> {
        self.queue.push_outcome(outcome.clone()).map_err(|error| error.to_record_error())
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // Whoever wants to know how it went closes it first.
        drop(self.close());
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("path", &self.path)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// The one that writes.
struct Writer {
    path: PathBuf,
    run: i64,
    connection: Connection,
    folder: Folder,
    queue: Arc<Queue>,
}

/// Ends the queue, however the thread ends, so that nobody waits for it in vain.
struct EndOfThread<'a>(&'a Queue, &'a Path);

impl Drop for EndOfThread<'_> {
    fn drop(&mut self) {
        let closed = LedgerError::new(LedgerErrorKind::Closed, self.1);
        self.0.end(&closed, Vec::new());
    }
}

impl Writer {
    fn run(self) {
        let Self { path, run, connection, mut folder, queue } = self;
        let _end = EndOfThread(&queue, &path);
        let mut refused = Refused::default();
        let mut last = Instant::now();
        while let Some(group) = queue.next_group(last) {
            last = Instant::now();
            // A panic must leave nobody waiting either.
            let committed = panic::catch_unwind(AssertUnwindSafe(|| {
                commit(&connection, run, &group, &mut refused, &queue)
                    .map_err(|error| LedgerError::sqlite(&path, error))
            }));
            let committed = committed.unwrap_or_else(|_| {
                let why = "the thread that writes broke";
                Err(LedgerError::detailed(LedgerErrorKind::Io, &path, why))
            });
            match committed {
                Ok(duplicates) => answer(&path, group, &duplicates),
                Err(error) => {
                    queue.end(&error, group);
                    break;
                }
            }
            if let Err(error) = folder.committed(&connection) {
                queue.end(&LedgerError::sqlite(&path, error), Vec::new());
                break;
            }
        }
        // The last connection to close folds what is left, and that should be this one.
        folder.end();
    }
}

/// Attempts that were refused because their name was taken, and how often. Each is followed by an
/// outcome that says it was not sent, which must not close the one that has the name.
type Refused = HashMap<AttemptId, u32>;

/// Commits a group; which of its jobs were intents of attempts that had a row already.
fn commit(
    connection: &Connection,
    run: i64,
    group: &[Job],
    refused: &mut Refused,
    queue: &Queue,
) -> rusqlite::Result<Vec<usize>> {
    let mut duplicates = Vec::new();
    let transaction = begin(connection, queue)?;
    for (at, job) in group.iter().enumerate() {
        match job {
            Job::Intent(intent, _) => {
                if !row::insert(&transaction, run, intent)? {
                    duplicates.push(at);
                    *refused.entry(intent.id.clone()).or_default() += 1;
                }
            }
            Job::Outcome(outcome) if is_of_refused(outcome, refused) => {}
            Job::Outcome(outcome) => row::close(&transaction, run, outcome)?,
            Job::Flush(_) => {}
        }
    }
    transaction.commit()?;
    Ok(duplicates)
}

/// Begins to write. Waits while another program does, however long, unless the ledger is closing.
fn begin<'a>(connection: &'a Connection, queue: &Queue) -> rusqlite::Result<Transaction<'a>> {
    let since = Instant::now();
    loop {
        match Transaction::new_unchecked(connection, TransactionBehavior::Immediate) {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && !queue.is_closing() =>
            {
                queue.set_held_up(Some(since));
            }
            begun => {
                queue.set_held_up(None);
                return begun;
            }
        }
    }
}

fn is_of_refused(outcome: &Outcome, refused: &mut Refused) -> bool {
    if outcome.ending != Ending::NotSent {
        return false;
    }
    let Some(times) = refused.get_mut(&outcome.id) else { return false };
    *times -= 1;
    if *times == 0 {
        refused.remove(&outcome.id);
    }
    true
}

/// Tells those who wait.
fn answer(path: &Path, group: Vec<Job>, duplicates: &[usize]) {
    for (at, job) in group.into_iter().enumerate() {
        match job {
            Job::Intent(..) if duplicates.contains(&at) => {
                let Job::Intent(intent, ticket) = job else { continue };
                let name = format!("attempt {} of {:?}", intent.id.attempt, intent.id.call);
                let kind = LedgerErrorKind::Duplicate;
                ticket.resolve(Err(LedgerError::detailed(kind, path, name)));
            }
            Job::Intent(_, ticket) | Job::Flush(ticket) => ticket.resolve(Ok(())),
            Job::Outcome(_) => {}
        }
    }
}

fn wall_millis() -> i64 {
    let millis = |elapsed: Duration| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

#[cfg(test)]
mod tests;
