//! What can be wrong with a ledger, and the way out.
//!
//! No type of SQLite's is in a signature; its error is the source.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use paceline_budget::RecordError;
use rusqlite::{ErrorCode, ffi};

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LedgerErrorKind {
    /// There is no such file. Only reading says so: writing makes one.
    Missing,
    /// The file is something else; it was not touched.
    Foreign,
    /// A later version of the program made it; it was not touched.
    Newer,
    /// The file is damaged. What can be read of it was not changed.
    Damaged,
    /// The disk is full.
    Full,
    /// Another program kept it to itself for more than ten seconds while it was opened, or for some
    /// seconds while it was closed. Between the two it is waited for, see
    /// [`Ledger::held_up`](crate::Ledger::held_up).
    Busy,
    /// It can't be opened, read or written.
    Io,
    /// An attempt of this name was recorded before, so this one must not be sent.
    Duplicate,
    /// It was closed, and takes nothing more.
    Closed,
    /// Writing failed before, and some outcomes could not be kept after all. Their attempts count
    /// as spent at what was reserved.
    OutcomesLost,
}

/// Why a ledger can't be used. Cheap to clone; it names the file.
///
/// Its text says what happened; [`LedgerError::hint`] says what to do about it.
#[derive(Clone)]
pub struct LedgerError(Arc<Inner>);

struct Inner {
    kind: LedgerErrorKind,
    path: PathBuf,
    detail: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl LedgerError {
    pub(crate) fn new(kind: LedgerErrorKind, path: &Path) -> Self {
        Self(Arc::new(Inner { kind, path: path.to_owned(), detail: None, source: None }))
    }

    /// With a few words more.
    pub(crate) fn detailed(kind: LedgerErrorKind, path: &Path, detail: impl Into<String>) -> Self {
        let detail = Some(detail.into());
        Self(Arc::new(Inner { kind, path: path.to_owned(), detail, source: None }))
    }

    pub(crate) fn io(path: &Path, error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => LedgerErrorKind::Missing,
            std::io::ErrorKind::StorageFull => LedgerErrorKind::Full,
            _ => LedgerErrorKind::Io,
        };
        let source: Box<dyn Error + Send + Sync> = error.into();
        Self(Arc::new(Inner { kind, path: path.to_owned(), detail: None, source: Some(source) }))
    }

    pub(crate) fn sqlite(path: &Path, error: rusqlite::Error) -> Self {
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => LedgerErrorKind::Damaged,
            Some(ErrorCode::NotADatabase) => LedgerErrorKind::Foreign,
            Some(ErrorCode::DiskFull) => LedgerErrorKind::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => LedgerErrorKind::Busy,
            Some(_) => LedgerErrorKind::Io,
            // A value of another type than the one that was written.
            None => LedgerErrorKind::Damaged,
        };
        let source: Box<dyn Error + Send + Sync> = error.into();
        Self(Arc::new(Inner { kind, path: path.to_owned(), detail: None, source: Some(source) }))
    }

    /// What kind of trouble it is.
    pub fn kind(&self) -> LedgerErrorKind {
        self.0.kind
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What to do about it, in one sentence without a full stop.
    pub fn hint(&self) -> &'static str {
        match self.0.kind {
            LedgerErrorKind::Missing => "name the file that runs were recorded in",
            LedgerErrorKind::Foreign => "name another file; this one was left as it is",
            LedgerErrorKind::Newer => "update this program, or name another file",
            LedgerErrorKind::Damaged => {
                "move the file away with its -wal and -shm, save what can be read by \
                 `sqlite3 FILE .recover`, and start with a new one"
            }
            LedgerErrorKind::Full => "make room on the disk and go on",
            LedgerErrorKind::Busy => "find the program that holds it, or give each its own file",
            LedgerErrorKind::Io => "make the file and its folder readable and writable",
            LedgerErrorKind::Duplicate => "give every call a name of its own",
            LedgerErrorKind::Closed => "open it again",
            LedgerErrorKind::OutcomesLost => {
                "mend the disk; the attempts without an outcome count as spent"
            }
        }
    }

    /// Whether reading failed only because what a killed program left has to be cleared up first,
    /// for which a connection must be able to write.
    pub(crate) fn needs_recovery(&self) -> bool {
        let source = self.0.source.as_deref().and_then(|source| source.downcast_ref());
        let Some(rusqlite::Error::SqliteFailure(error, _)) = source else { return false };
        let codes = [
            ffi::SQLITE_READONLY_ROLLBACK,
            ffi::SQLITE_READONLY_RECOVERY,
            ffi::SQLITE_READONLY_CANTLOCK,
        ];
        codes.contains(&error.extended_code)
    }

    /// The same as the seam has it: a name that is taken concerns one attempt, all else every one.
    pub(crate) fn to_record_error(&self) -> RecordError {
        let error = match self.0.kind {
            LedgerErrorKind::Duplicate => RecordError::refused(self.to_string()),
            _ => RecordError::new(self.to_string()),
        };
        error.with_source(self.clone())
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.path.display();
        match self.0.kind {
            LedgerErrorKind::Missing => write!(f, "there is no ledger {path}"),
            LedgerErrorKind::Foreign => write!(f, "{path} is no ledger"),
            LedgerErrorKind::Newer => write!(f, "the ledger {path} is of a later version"),
            LedgerErrorKind::Damaged => write!(f, "the ledger {path} is damaged"),
            LedgerErrorKind::Full => write!(f, "no room is left for the ledger {path}"),
            LedgerErrorKind::Busy => write!(f, "another program holds the ledger {path}"),
            LedgerErrorKind::Io => write!(f, "the ledger {path} can't be used"),
            LedgerErrorKind::Duplicate => {
                write!(f, "the ledger {path} has an attempt of this name already")
            }
            LedgerErrorKind::Closed => write!(f, "the ledger {path} is closed"),
            LedgerErrorKind::OutcomesLost => write!(f, "outcomes are missing in the ledger {path}"),
        }?;
        match &self.0.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LedgerError")
            .field("kind", &self.0.kind)
            .field("path", &self.0.path)
            .field("detail", &self.0.detail)
            .field("source", &self.0.source)
            .finish()
    }
}

impl Error for LedgerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
