//! The file: opened, checked to be a ledger, and brought to the present form.
//!
//! Invariants: a file that is not ours, is of a later version or is damaged is never written; each
//! step of a migration is done whole, with the version that it leads to, or not at all.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::{LedgerError, LedgerErrorKind};

/// `Pace` in ASCII: in the header of each of our files.
const APPLICATION: i32 = 0x5061_6365;

/// What every SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What every rollback journal of SQLite's begins with.
const JOURNAL_MAGIC: &[u8; 8] = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7";

/// What leads from each version to the next; the version is how many of them were done. A step
/// that was released is never changed again.
pub(crate) const STEPS: &[&str] = &["
    CREATE TABLE run (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        simulated INTEGER NOT NULL,
        started_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE attempt (
        run INTEGER NOT NULL REFERENCES run (id),
        call TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        model TEXT NOT NULL,
        tag TEXT,
        caller TEXT,
        sent_ms INTEGER NOT NULL,
        latest_ms INTEGER,
        reserved_tokens INTEGER NOT NULL,
        reserved_ticks INTEGER NOT NULL,
        ending TEXT CHECK (ending IN ('answered', 'refused', 'not_sent', 'maybe_charged')),
        ended_ms INTEGER,
        status INTEGER,
        input_tokens INTEGER,
        output_tokens INTEGER,
        reasoning_tokens INTEGER,
        cached_tokens INTEGER,
        certainty TEXT,
        cost_ticks INTEGER,
        cost_refused INTEGER NOT NULL DEFAULT 0,
        UNIQUE (run, call, attempt)
    ) STRICT;
    CREATE INDEX attempt_sent ON attempt (sent_ms);
"];

/// Up to this size a file is read through when it is opened, so that damage is found before
/// anything is sent: some tenths of a second at most.
const CHECKED_BYTES: u64 = 64 << 20;

/// The write-ahead log is cut to this once it is folded in.
const LOG_BYTES: u32 = 16 << 20;

/// Opens a ledger to write to, and makes it where there is none.
pub(crate) fn open_to_write(path: &Path) -> Result<Connection, LedgerError> {
    create(path)?;
    look_at_header(path)?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    migrate(path, &mut connection, STEPS)?;
    let failed = |error| LedgerError::sqlite(path, error);
    let mode: String = retried(|| {
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
    })
    .map_err(failed)?;
    if mode != "wal" {
        let why = "its file system can't hold a write-ahead log";
        return Err(LedgerError::detailed(LedgerErrorKind::Io, path, why));
    }
    set_up(path, &connection)?;
    check(path, &connection)?;
    Ok(connection)
}

/// One more connection to a ledger that this program has open to write to.
pub(crate) fn open_beside(path: &Path) -> Result<Connection, LedgerError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    set_up(path, &connection)?;
    Ok(connection)
}

fn set_up(path: &Path, connection: &Connection) -> Result<(), LedgerError> {
    let failed = |error| LedgerError::sqlite(path, error);
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    connection
        .pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |_| Ok(()))
        .map_err(failed)
}

/// Opens a ledger to read from, also while it is written.
pub(crate) fn open_to_read(path: &Path) -> Result<Connection, LedgerError> {
    look_at_header(path)?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let state = match state(path, &connection, STEPS.len()) {
        // A program was killed between the two halves of a commit, which SQLite undoes.
        Err(error) if error.needs_recovery() => {
            connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            state(path, &connection, STEPS.len())?
        }
        known => known?,
    };
    match state {
        State::Current => {}
        State::Empty => {
            let what = "nothing was recorded in it";
            return Err(LedgerError::detailed(LedgerErrorKind::Missing, path, what));
        }
        State::Older(_) => {
            connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            migrate(path, &mut connection, STEPS)?;
        }
    }
    let failed = |error| LedgerError::sqlite(path, error);
    connection.pragma_update(None, "query_only", true).map_err(failed)?;
    check(path, &connection).map(|()| connection)
}

/// Makes an empty file that only its owner can read. One that is there is left alone.
fn create(path: &Path) -> Result<(), LedgerError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let why = "its folder does not exist";
            Err(LedgerError::detailed(LedgerErrorKind::Io, path, why))
        }
        Err(error) => Err(LedgerError::io(path, error)),
    }
}

/// Refuses what is no SQLite file before SQLite sees it.
fn look_at_header(path: &Path) -> Result<(), LedgerError> {
    let failed = |error| LedgerError::io(path, error);
    if fs::metadata(path).map_err(failed)?.is_dir() {
        return Err(LedgerError::detailed(LedgerErrorKind::Foreign, path, "it is a folder"));
    }
    let start = beginning(path, MAGIC.len()).map_err(failed)?;
    if start.is_empty() || start == MAGIC {
        return Ok(());
    }
    // A program that was killed while it made the file may have written its first page last. What
    // it did is undone from the journal, which only SQLite writes.
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    let is_begun = start.iter().all(|byte| *byte == 0)
        && beginning(Path::new(&journal), JOURNAL_MAGIC.len())
            .is_ok_and(|start| start == JOURNAL_MAGIC);
    if is_begun {
        return Ok(());
    }
    Err(LedgerError::new(LedgerErrorKind::Foreign, path))
}

fn beginning(path: &Path, length: usize) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    fs::File::open(path)?.take(length as u64).read_to_end(&mut start)?;
    Ok(start)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, LedgerError> {
    let failed = |error| LedgerError::sqlite(path, error);
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_handler(Some(wait_for_others)).map_err(failed)?;
    // Nothing that the file itself says is run.
    connection.pragma_update(None, "trusted_schema", false).map_err(failed)?;
    Ok(connection)
}

/// Waits while another program writes: a short while often, then longer; ten seconds in all.
fn wait_for_others(times: i32) -> bool {
    match times {
        0..100 => thread::sleep(Duration::from_micros(200)),
        100..2_100 => thread::sleep(Duration::from_millis(5)),
        _ => return false,
    }
    true
}

/// The same for those who try again by themselves: one second in all.
pub(crate) fn wait_a_second(times: i32) -> bool {
    times < 300 && wait_for_others(times)
}

/// Tries again where SQLite answers busy without waiting.
fn retried<T>(mut run: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let mut times = 0;
    loop {
        match run() {
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                    && wait_for_others(times) =>
            {
                times += 1;
            }
            done => return done,
        }
    }
}

/// What a file is to us.
enum State {
    Empty,
    Older(usize),
    Current,
}

fn state(path: &Path, connection: &Connection, latest: usize) -> Result<State, LedgerError> {
    let (application, version, tables) =
        marks(connection).map_err(|error| LedgerError::sqlite(path, error))?;
    if application == 0 && version == 0 && tables == 0 {
        return Ok(State::Empty);
    }
    let version = usize::try_from(version);
    match version {
        _ if application != APPLICATION => Err(LedgerError::detailed(
            LedgerErrorKind::Foreign,
            path,
            "it is an SQLite file of another program",
        )),
        Ok(version) if version == latest => Ok(State::Current),
        Ok(version @ 1..) if version < latest => Ok(State::Older(version)),
        Ok(version @ 1..) => {
            let what = format!("version {version}, and this program knows {latest}");
            Err(LedgerError::detailed(LedgerErrorKind::Newer, path, what))
        }
        _ => Err(LedgerError::detailed(LedgerErrorKind::Damaged, path, "it has no version")),
    }
}

/// The application, the version and how many tables there are, all at one moment: another program
/// may be making the file right now.
fn marks(connection: &Connection) -> rusqlite::Result<(i32, i32, u64)> {
    let look = || {
        let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables = connection.query_row(tables, [], |row| row.get(0))?;
        Ok((number("application_id")?, number("user_version")?, tables))
    };
    // Within a transaction or without one.
    connection.execute_batch("SAVEPOINT look")?;
    let marks = look();
    let ended = connection.execute_batch("RELEASE look");
    marks.and_then(|marks| ended.map(|()| marks))
}

/// Does the steps that are missing, all in one transaction.
pub(crate) fn migrate(
    path: &Path,
    connection: &mut Connection,
    steps: &[&str],
) -> Result<(), LedgerError> {
    if let State::Current = state(path, connection, steps.len())? {
        return Ok(());
    }
    let failed = |error| LedgerError::sqlite(path, error);
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    // Another program may have been first.
    let done = match state(path, &transaction, steps.len())? {
        State::Empty => 0,
        State::Older(version) => version,
        State::Current => return Ok(()),
    };
    for step in &steps[done..] {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION).map_err(failed)?;
    transaction.pragma_update(None, "user_version", steps.len()).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// Reads a file through that is not too large for it.
fn check(path: &Path, connection: &Connection) -> Result<(), LedgerError> {
    let size = fs::metadata(path).map_err(|error| LedgerError::io(path, error))?.len();
    if size > CHECKED_BYTES {
        return Ok(());
    }
    let found: String = connection
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .map_err(|error| LedgerError::sqlite(path, error))?;
    if found == "ok" {
        return Ok(());
    }
    // The first line is enough; it names pages, and the rest may be long.
    let found = found.lines().last().unwrap_or_default().to_owned();
    Err(LedgerError::detailed(LedgerErrorKind::Damaged, path, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.db");
        (folder, path)
    }

    #[test]
    fn a_later_step_is_done_once_and_keeps_the_rows() {
        let (_folder, path) = place();
        let mut connection = open_to_write(&path).expect("made");
        connection.execute("INSERT INTO run VALUES (7, 'old', 0, 5)", []).expect("a row");
        let later = [STEPS, &["ALTER TABLE run ADD COLUMN host TEXT NOT NULL DEFAULT '?';"]];
        let later = later.concat();
        for _ in 0..2 {
            migrate(&path, &mut connection, &later).expect("migrated");
        }
        let row = connection
            .query_row("SELECT name, host FROM run WHERE id = 7", [], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })
            .expect("still there");
        assert_eq!(row, ("old".to_owned(), "?".to_owned()));
        drop(connection);
        // And for this program it is now of a later version.
        for error in [open_to_write(&path).unwrap_err(), open_to_read(&path).unwrap_err()] {
            assert_eq!(error.kind(), LedgerErrorKind::Newer);
            assert!(error.to_string().contains("version 2, and this program knows 1"), "{error}");
        }
    }

    #[test]
    fn what_a_program_left_that_was_killed_while_it_made_the_file_is_undone() {
        let (_folder, path) = place();
        let making = Connection::open(&path).expect("made");
        // A cache of few pages, so that pages are in the file before the commit is.
        making.execute_batch("PRAGMA cache_size = 4; BEGIN IMMEDIATE;").expect("begun");
        making.execute_batch(STEPS[0]).expect("half done");
        for number in 0..2_000 {
            making
                .execute("INSERT INTO run VALUES (?1, 'half', 0, 0)", [number])
                .expect("half done");
        }
        let killed = path.with_file_name("killed.db");
        fs::copy(&path, &killed).expect("copied");
        let journal = path.with_file_name("ledger.db-journal");
        fs::copy(journal, path.with_file_name("killed.db-journal")).expect("copied");
        assert!(fs::metadata(&killed).expect("there").len() > 4_096, "pages are in it");
        // Nothing was ever recorded in it, to read from; and it can be made now.
        assert_eq!(open_to_read(&killed).unwrap_err().kind(), LedgerErrorKind::Missing);
        drop(open_to_write(&killed).expect("made now"));
        drop(open_to_read(&killed).expect("a ledger now"));
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_as_it_was() {
        let (_folder, path) = place();
        let mut connection = open_to_write(&path).expect("made");
        let later = [STEPS, &["CREATE TABLE more (a INTEGER) STRICT;", "no such thing;"]].concat();
        assert!(migrate(&path, &mut connection, &later).is_err());
        assert!(matches!(state(&path, &connection, 1), Ok(State::Current)));
        let more = "SELECT count(*) FROM sqlite_schema WHERE name = 'more'";
        assert_eq!(connection.query_row(more, [], |row| row.get::<_, u32>(0)), Ok(0));
    }
}
