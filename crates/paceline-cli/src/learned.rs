//! What the estimator has learned, kept between runs in a file of its own.
//!
//! It stands beside the ledger where there is one, for all runs on it, and else beside the output.
//! Simulated answers teach nothing about real ones, so theirs is another file. It is written now and then
//! and when a run ends, whole or not at all, and by the last of several runs. Invariant: a file that can't be used is
//! never written over.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    Some(match (&args.estimator, &args.ledger) {
        (Some(path), _) => path.clone(),
        (None, Some(ledger)) if args.simulate => beside(ledger, ".sim.estimator"),
        (None, Some(ledger)) => beside(ledger, ".estimator"),
        (None, None) => beside(out, ".estimator"),
    })
}

/// A path with an ending more.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
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
    let Some(bytes) = read(path, MOST_BYTES).map_err(unreadable)? else { return Ok(None) };
    if bytes.len() as u64 > MOST_BYTES {
        return Err(unusable(path, "it is larger than any that was saved"));
    }
    let state: EstimatorState =
        serde_json::from_slice(&bytes).map_err(|error| unusable(path, error))?;
    Estimator::restore(&state).map_err(|error| unusable(path, error))?;
    Ok(Some(state))
}

/// A file as it is, up to a byte more than `most`; `None` where there is none.
pub(crate) fn read(path: &Path, most: u64) -> std::io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
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
    if let Err(error) = try_save(path, client) {
        let path = path.display();
        warn(format!("can't keep what was learned in {path}: {error}; the next run knows less"));
    }
}

fn try_save(path: &Path, client: &Client) -> std::io::Result<()> {
    if client.accuracy().count == 0 {
        return Ok(());
    }
    write(path, &serde_json::to_vec(&client.estimator_state())?)
}

/// Runs to its end, and keeps what was learned now and then meanwhile, so that a run that is killed has not
/// learned in vain: after two seconds, then after twice as long each time, up to half a minute. Where that
/// fails it is left to [`save`], which says so.
pub(crate) async fn saved_meanwhile<T>(
    path: Option<PathBuf>,
    client: &Client,
    run: impl Future<Output = T>,
) -> T {
    let client = client.clone();
    let saving = path.map(|path| tokio::spawn(save_again_and_again(path, client)));
    let ended = run.await;
    if let Some(saving) = saving {
        saving.abort();
        // It was told to end; when it has, nothing is being written any more.
        let _ = saving.await;
    }
    ended
}

async fn save_again_and_again(path: PathBuf, client: Client) {
    let mut pause = Duration::from_secs(2);
    loop {
        tokio::time::sleep(pause).await;
        // In place: it can only be aborted while it sleeps.
        if tokio::task::block_in_place(|| try_save(&path, &client)).is_err() {
            return;
        }
        pause = (pause * 2).min(Duration::from_secs(30));
    }
}

/// Writes it whole: a new file takes the place of the old one.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = beside(path, &format!(".{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let written = options.open(&new).and_then(|mut file| {
        file.write_all(bytes)?;
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
