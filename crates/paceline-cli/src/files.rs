//! The files of a run, looked at before anything is opened: each is another one, and the report can
//! be written in the end.
//!
//! It changes no file. Invariant: what one option names is never written over by what another names.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use crate::args::RunArgs;
use crate::error::UserError;
use crate::journal::Journal;
use crate::servers;

/// Refuses two names for one file, and a report that there will be no place for.
///
/// # Errors
/// [`UserError`] naming the file, by which options it was named, and what to do.
pub(crate) fn check(args: &RunArgs, out: &Path, learned: Option<&Path>) -> Result<(), UserError> {
    let mut named = vec![
        ("the input", args.input.clone()),
        ("--out", out.to_owned()),
        ("the journal beside --out", Journal::path_beside(out)),
    ];
    named.extend(args.ledger.clone().map(|path| ("--ledger", path)));
    named.extend(args.report.clone().map(|path| ("--report", path)));
    if let Some(path) = learned {
        named.push(("--estimator", path.to_owned()));
        named.push(("what is learned of the server, beside --estimator", servers::path(path)));
    }
    distinct(&named)?;
    args.report.as_deref().map_or(Ok(()), can_be_written)
}

/// Writes the report; the answers are where they are, whatever becomes of it.
///
/// # Errors
/// Where it can't be written.
pub(crate) fn report(path: &Path, text: &str, out: &Path) -> Result<(), UserError> {
    std::fs::write(path, text).map_err(|error| {
        let out = out.display();
        UserError::usage(format!("can't write the report {}", path.display()))
            .cause(error)
            .hint(format!("name another file with --report; no answer in {out} is lost"))
    })
}

/// Every file has one name.
fn distinct(named: &[(&str, PathBuf)]) -> Result<(), UserError> {
    let mut seen: Vec<(&str, PathBuf)> = Vec::with_capacity(named.len());
    for (name, path) in named {
        let Some(real) = real(path) else { continue };
        if let Some((other, _)) = seen.iter().find(|(_, known)| *known == real) {
            let what = format!("{} is named twice: as {other} and as {name}", path.display());
            return Err(UserError::usage(what)
                .hint("give each a file of its own; nothing was sent or written"));
        }
        seen.push((name, real));
    }
    Ok(())
}

/// Where a path leads to; `None` for devices and pipes, which may be shared.
fn real(path: &Path) -> Option<PathBuf> {
    match path.metadata() {
        Ok(found) if found.is_file() || found.is_dir() => path.canonicalize().ok(),
        Ok(_) => None,
        // It does not exist yet.
        Err(_) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
            Some(folder.join(path.file_name()?))
        }
    }
}

/// Whether a file could be written now.
fn can_be_written(path: &Path) -> Result<(), UserError> {
    let fail = |cause: &str| {
        Err(UserError::usage(format!("can't write the report {}", path.display()))
            .cause(cause)
            .hint("name another file with --report, in a folder that exists and is yours"))
    };
    match path.metadata() {
        Ok(found) if found.is_dir() => fail("it is a directory"),
        Ok(found) if found.is_file() => match OpenOptions::new().append(true).open(path) {
            Ok(_) => Ok(()),
            Err(error) => fail(&error.to_string()),
        },
        Ok(_) => Ok(()),
        Err(_) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if folder.unwrap_or(Path::new(".")).is_dir() {
                Ok(())
            } else {
                fail("there is no such folder")
            }
        }
    }
}
