//! Folding the write-ahead log into the file, beside the thread that writes.
//!
//! Folding waits for the disk, some 20 ms at a time, and intents must not wait for that. Invariant:
//! a log that grows although it is folded, because writing never pauses or somebody reads for
//! long, is folded by the writer itself now and then, so that it is bounded by what readers hold.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, ErrorCode};

use crate::error::LedgerError;
use crate::queue::Queue;
use crate::schema;

/// The log is folded each time it has grown by so many pages: 4 MiB.
const PAGES: i32 = 1_024;

/// Beyond so many pages the writer folds it, each time it has grown by a quarter of that: 64 MiB.
const MOST_PAGES: i32 = 16_384;

/// The one that folds, as the writer knows it.
#[derive(Debug)]
pub(crate) struct Folder {
    /// How many pages the log has, as the last commit left it.
    pages: Arc<AtomicI32>,
    /// At how many the other thread is asked, and the writer folds.
    next: i32,
    next_own: i32,
    ask: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Folder {
    /// Starts the thread, for the connection that writes.
    pub(crate) fn start(
        path: &Path,
        writes: &mut Connection,
        queue: &Arc<Queue>,
    ) -> Result<Self, LedgerError> {
        let pages = Arc::new(AtomicI32::new(0));
        let seen = Arc::clone(&pages);
        // It takes the place of the hook by which SQLite folds within a commit.
        writes
            .wal_hook(Some(move |_: &mut _, pages| {
                seen.store(pages, Ordering::Relaxed);
                Ok(())
            }))
            .map_err(|error| LedgerError::sqlite(path, error))?;
        let folds = schema::open_beside(path)?;
        let (ask, asked) = mpsc::sync_channel(1);
        let (path, queue) = (path.to_owned(), Arc::clone(queue));
        let thread = thread::Builder::new()
            .name("paceline-ledger-fold".to_owned())
            .spawn({
                let path = path.clone();
                move || run(&path, &folds, &asked, &queue)
            })
            .map_err(|error| LedgerError::io(&path, error))?;
        Ok(Self { pages, next: PAGES, next_own: MOST_PAGES, ask, thread })
    }

    /// After a commit: has the log folded where it has grown.
    pub(crate) fn committed(&mut self, writes: &Connection) -> rusqlite::Result<()> {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages + PAGES < self.next {
            // It began anew.
            self.next = pages + PAGES;
        }
        if pages < MOST_PAGES {
            self.next_own = MOST_PAGES;
        }
        if pages >= self.next {
            self.next = pages + PAGES;
            // Where it is asked already, it looks at the whole log then.
            let _ = self.ask.try_send(());
        }
        if pages >= self.next_own {
            self.next_own = pages + MOST_PAGES / 4;
            fold(writes)?;
        }
        Ok(())
    }

    /// Ends the thread and waits for it.
    pub(crate) fn end(self) {
        drop(self.ask);
        // Where it broke there is no more to fold; closing folds what is left.
        drop(self.thread.join());
    }
}

/// A fold that fails, like a commit, is the last thing that is done.
fn run(path: &Path, folds: &Connection, asked: &Receiver<()>, queue: &Queue) {
    while let Ok(()) = asked.recv() {
        if let Err(error) = fold(folds) {
            queue.end(&LedgerError::sqlite(path, error), Vec::new());
            return;
        }
    }
}

/// Folds as much as nobody needs any more; where another connection is at it, nothing.
fn fold(connection: &Connection) -> rusqlite::Result<()> {
    let folded =
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i32>(0));
    match folded {
        Err(error) if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => Err(error),
        _ => Ok(()),
    }
}
