//! Running other programs, saying what happens, and how a task ends.
//!
//! It decides nothing about what to run. Invariant: a program that could not be started or ended
//! otherwise than well is a [`Failure`], never silence.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How a task ends.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a task did not end well.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Something that was checked is not as it has to be: exit 1.
    Check(String),
    /// What was asked for can't be done as asked: exit 2.
    Usage(String),
}

impl Failure {
    pub(crate) fn check(what: impl Into<String>) -> Self {
        Self::Check(what.into())
    }

    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Usage(what.into())
    }

    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Check(_) => 1,
            Self::Usage(_) => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check(what) | Self::Usage(what) => f.write_str(what),
        }
    }
}

/// A failure about a file: what could not be done with it, and why.
pub(crate) fn about(what: &str, path: &Path, why: impl fmt::Display) -> Failure {
    Failure::check(format!("can't {what} {}: {why}", path.display()))
}

/// Prints a line.
#[expect(clippy::print_stdout, reason = "what this program says goes through here")]
pub(crate) fn say(line: impl fmt::Display) {
    println!("{line}");
}

/// Prints why something failed, on standard error.
#[expect(clippy::print_stderr, reason = "what this program complains of goes through here")]
pub(crate) fn complain(failure: &Failure) {
    eprintln!("error: {failure}");
}

/// The workspace that this program belongs to, and the cargo that runs it.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    cargo: OsString,
}

impl Workspace {
    /// Finds it by the manifest of this package.
    pub(crate) fn find() -> Self {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf);
        Self { root, cargo: std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()) }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn cargo_path(&self) -> &OsStr {
        &self.cargo
    }

    /// A cargo command at the workspace's root, with the same toolchain as this program.
    pub(crate) fn cargo(&self) -> Command {
        self.command(&self.cargo)
    }

    /// A cargo command of whichever toolchain its first argument names, as `+nightly`: found by name and
    /// not by path, so that it reaches rustup.
    pub(crate) fn any_cargo(&self) -> Command {
        let mut command = self.command("cargo");
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        command
    }

    /// A command at the workspace's root, without what `cargo run` told this program about its
    /// own package: build scripts that look at such variables would run again and again.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_of_this_package) {
                command.env_remove(name);
            }
        }
        command
    }
}

fn is_of_this_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

/// Runs a command that shows its own output.
pub(crate) fn finish(mut command: Command) -> Outcome {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::check(format!("it ended with {status}"))),
        Err(why) => Err(Failure::check(format!("it can't be started: {why}"))),
    }
}

/// Runs a command, passes its standard output on, and shows each line of it to `seen` as well.
pub(crate) fn finish_watched(mut command: Command, seen: impl FnMut(&str)) -> Outcome {
    command.stdout(Stdio::piped());
    watch(
        command,
        |child| child.stdout.take().map(|output| Box::new(output) as Box<dyn Read>),
        seen,
    )
}

/// The same of a command that says everything on standard error.
pub(crate) fn finish_watched_errors(mut command: Command, seen: impl FnMut(&str)) -> Outcome {
    command.stderr(Stdio::piped());
    watch(
        command,
        |child| child.stderr.take().map(|output| Box::new(output) as Box<dyn Read>),
        seen,
    )
}

fn watch(
    mut command: Command,
    output: impl FnOnce(&mut Child) -> Option<Box<dyn Read>>,
    mut seen: impl FnMut(&str),
) -> Outcome {
    let mut child =
        command.spawn().map_err(|why| Failure::check(format!("it can't be started: {why}")))?;
    if let Some(output) = output(&mut child) {
        let mut line = Vec::new();
        let mut output = BufReader::new(output);
        while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            say(text.trim_end_matches(['\n', '\r']));
            seen(text.trim_end());
            line.clear();
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::check(format!("it ended with {status}"))),
        Err(why) => Err(Failure::check(format!("it can't be waited for: {why}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_and_one_that_is_missing_are_failures() {
        let workspace = Workspace::find();
        let mut bad = workspace.cargo();
        bad.arg("no-such-subcommand-of-cargo").stderr(Stdio::null());
        assert!(matches!(finish(bad), Err(Failure::Check(why)) if why.contains("ended with")));
        let missing = workspace.command("no-such-program-of-paceline");
        assert!(matches!(finish(missing), Err(Failure::Check(why)) if why.contains("started")));
    }

    #[test]
    fn each_line_of_a_watched_command_is_seen() {
        let mut version = Workspace::find().cargo();
        version.arg("--version");
        let mut lines = Vec::new();
        finish_watched(version, |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("cargo "));
    }

    #[test]
    fn what_cargo_said_of_this_package_is_not_handed_on() {
        assert!(is_of_this_package("CARGO_PKG_NAME"));
        assert!(is_of_this_package("CARGO_MANIFEST_DIR"));
        assert!(!is_of_this_package("CARGO_TARGET_DIR"));
        assert!(!is_of_this_package("CARGO_TERM_COLOR"));
    }
}
