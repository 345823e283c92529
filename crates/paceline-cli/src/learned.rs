//! What the estimator has learned, kept between runs in a file of its own.
//!
//! It stands beside the ledger where there is one, for all runs on it, and else beside the output.
//! Simulated answers teach nothing about real ones, so theirs is another file. It is written when a run
//! ends, whole or not at all, and by the last of several runs. Invariant: a file that can't be used is
//! never written over.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use paceline::Client;
use paceline::budget::{Estimator, EstimatorState};

use crate::args::RunArgs;
use crate::error::{UserError, warn};

/// Far more than 64 models come to.
const MOST_BYTES: u64 = 64 << 20;

/// Where it is kept; `None` where it is not wanted.
pub(crate) fn path(args: &RunArgs, out: &Path) -> Option<PathBuf> {
    if args.no_estimator {
        return None;
    }
    let beside = |path: &Path, ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    Some(match (&args.estimator, &args.ledger) {
        (Some(path), _) => path.clone(),
        (None, Some(ledger)) if args.simulate => beside(ledger, ".sim.estimator"),
        (None, Some(ledger)) => beside(ledger, ".estimator"),
        (None, None) => beside(out, ".estimator"),
    })
}

/// What earlier runs have learned; `None` where there was none.
///
/// # Errors
/// Where the file can't be read, is something else, of a later version or damaged. It is left as it is.
pub(crate) fn load(path: &Path) -> Result<Option<EstimatorState>, UserError> {
    let unreadable = |error: std::io::Error| {
        UserError::usage(format!("can't read what was learned, {}", path.display()))
            .cause(error)
            .hint("make it readable, or start without it by --no-estimator")
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(unusable(path, "it is larger than any that was saved"));
    }
    let state: EstimatorState =
        serde_json::from_slice(&bytes).map_err(|error| unusable(path, error))?;
    Estimator::restore(&state).map_err(|error| unusable(path, error))?;
    Ok(Some(state))
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> UserError {
    UserError::usage(format!("{} does not hold what an estimator has learned", path.display()))
        .cause(why)
        .hint(
            "it was left as it is: move it away to start anew, name another file with --estimator \
             FILE, or start without one by --no-estimator",
        )
}

/// Keeps what a client has learned. Where that fails it is said, as the answers are there all the same.
pub(crate) fn save(path: &Path, client: &Client) {
    if client.accuracy().count == 0 {
        return;
    }
    if let Err(error) = write(path, &client.estimator_state()) {
        let path = path.display();
        warn(format!("can't keep what was learned in {path}: {error}; the next run knows less"));
    }
}

/// Writes it whole: a new file takes the place of the old one.
fn write(path: &Path, state: &EstimatorState) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(state)?;
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(new);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let written = options.open(&new).and_then(|mut file| {
        file.write_all(&bytes)?;
        // Else a loss of power could leave the new name on an empty file.
        file.sync_all()
    });
    let placed = written.and_then(|()| fs::rename(&new, path));
    if placed.is_err() {
        // What is half written helps nobody; where it can't be removed either, nothing more is lost.
        let _ = fs::remove_file(&new);
    }
    placed
}
