//! `cargo xtask loom`: the shared forms in every order in which threads can take their lock.
//!
//! Invariant: what is built for it lies in a folder of its own, as it is built another way, and
//! would otherwise be built anew after every other command.

use crate::bench::target_folder;
use crate::shell::{Outcome, Workspace, finish_watched};
use crate::test::Tally;

/// Explores every model.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let mut command = workspace.cargo();
    command.args(ARGUMENTS).env("RUSTFLAGS", "--cfg loom");
    command.env("CARGO_TARGET_DIR", target_folder(workspace)?.join("loom"));
    let mut tally = Tally::default();
    finish_watched(command, |line| tally.read(line))?;
    tally.verdict()
}

/// All models take a second. One that has grown too large to be explored is made smaller rather
/// than bounded.
const ARGUMENTS: [&str; 12] = [
    "test",
    "-p",
    "paceline-limiter",
    "--features",
    "clock,tokio",
    "--test",
    "loom",
    "--locked",
    "--",
    "--nocapture",
    "--test-threads",
    "1",
];
