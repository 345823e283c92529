//! One run of the program as a child process: how it ended, how long it took, its peak memory.
//!
//! It knows nothing of what the program does. Invariants: no child outlives the value that holds
//! it, and none is waited for without bound.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::shell::{Failure, Outcome, about};

/// The longest that one run may take.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// How often a child is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The most of a log that an error shows.
const TAIL: usize = 1_500;

/// A run of the program that goes on.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    log: PathBuf,
    start: Instant,
    peak_kib: Option<u64>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finished {
    pub(super) wall: Duration,
    /// The most resident memory, in KiB; `None` where the system does not tell.
    pub(super) peak_kib: Option<u64>,
}

/// Arguments of the program, built one by one.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments(Vec<OsString>);

impl Arguments {
    pub(super) fn new(first: &str) -> Self {
        Self(vec![first.into()])
    }

    #[must_use]
    pub(super) fn flag(mut self, name: &str) -> Self {
        self.0.push(name.into());
        self
    }

    #[must_use]
    pub(super) fn path(mut self, path: &Path) -> Self {
        self.0.push(path.into());
        self
    }

    #[must_use]
    pub(super) fn option(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.0.extend([name.into(), value.into()]);
        self
    }
}

/// A command of the program that sees no key but one that is worth nothing, and no proxy.
pub(super) fn command(bench: &Bench, arguments: &Arguments) -> Command {
    let mut command = Command::new(&bench.program);
    command.args(&arguments.0).stdin(Stdio::null()).env("XAI_API_KEY", "not-a-real-key");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"]
    {
        command.env_remove(name);
    }
    command
}

/// Starts a run whose output for people is appended to a log.
pub(super) fn start(bench: &Bench, arguments: &Arguments, log: &Path) -> Outcome<Running> {
    let open = || File::options().create(true).append(true).open(log);
    let (out, err) =
        open().and_then(|out| Ok((out, open()?))).map_err(|why| about("write", log, why))?;
    let child = command(bench, arguments)
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|why| about("start", &bench.program, why))?;
    Ok(Running { child, log: log.to_owned(), start: Instant::now(), peak_kib: None })
}

/// Runs to the end, which has to be exit code 0.
pub(super) fn complete(bench: &Bench, arguments: &Arguments, log: &Path) -> Outcome<Finished> {
    start(bench, arguments, log)?.finish()
}

impl Running {
    /// Waits for the end, which has to be exit code 0.
    pub(super) fn finish(mut self) -> Outcome<Finished> {
        match self.wait_until(self.start + LONGEST)? {
            Some(status) if status.success() => {
                Ok(Finished { wall: self.start.elapsed(), peak_kib: self.peak_kib })
            }
            Some(status) => Err(self.failure(&format!("ended with {status}"))),
            None => Err(self.failure(&format!("still ran after {} s", LONGEST.as_secs()))),
        }
    }

    /// Kills it after a while, without a chance to put anything in order. An error where it has
    /// ended by itself before.
    pub(super) fn kill_after(mut self, pause: Duration) -> Outcome {
        if let Some(status) = self.wait_until(self.start + pause)? {
            return Err(self.failure(&format!("ended with {status} before it could be killed")));
        }
        // On Unix this is SIGKILL.
        self.child.kill().map_err(|why| self.failure(&format!("can't be killed: {why}")))?;
        self.child.wait().map(|_| ()).map_err(|why| self.failure(&format!("is not gone: {why}")))
    }

    fn wait_until(&mut self, moment: Instant) -> Outcome<Option<ExitStatus>> {
        loop {
            self.peak_kib = peak_kib(self.child.id()).or(self.peak_kib);
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(Some(status)),
                Ok(None) if Instant::now() >= moment => return Ok(None),
                Ok(None) => {
                    thread::sleep(LOOK.min(moment.saturating_duration_since(Instant::now())));
                }
                Err(why) => return Err(self.failure(&format!("can't be waited for: {why}"))),
            }
        }
    }

    fn failure(&self, what: &str) -> Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        Failure::check(format!(
            "the program {what}; the end of {}:\n{}",
            self.log.display(),
            tail(&log)
        ))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail where it has ended, which is well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The most resident memory that a process ever had, as Linux keeps it.
fn peak_kib(process: u32) -> Option<u64> {
    peak_in(&fs::read_to_string(format!("/proc/{process}/status")).ok()?)
}

fn peak_in(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn tail(log: &str) -> &str {
    let start = log.len().saturating_sub(TAIL);
    let start = (start..=log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(0);
    log[start..].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_from_a_process_status() {
        let status =
            "Name:\tpaceline\nVmPeak:\t  912345 kB\nVmHWM:\t   20480 kB\nVmRSS:\t 100 kB\n";
        assert_eq!(peak_in(status), Some(20_480));
        assert_eq!(peak_in("Name:\tzombie\n"), None);
    }

    #[test]
    fn the_tail_of_a_log_is_bounded_and_cut_between_characters() {
        let log = format!("first\n{}last\n", "ж".repeat(2_000));
        let tail = tail(&log);
        assert!(tail.len() <= TAIL && tail.ends_with("last") && !tail.contains("first"));
    }
}
