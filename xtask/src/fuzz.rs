//! `cargo xtask fuzz`: random input for every parser, by libFuzzer.
//!
//! It needs nightly Rust and cargo-fuzz, and says so where they are missing. What it finds new goes to the target
//! folder; the committed corpus is only read. Invariant: a target that did not say how many
//! inputs it tried has failed.

use clap::Args;

use crate::bench::target_folder;
use crate::shell::{Failure, Outcome, Workspace, finish_watched_errors, say};

/// How long, and which.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Minutes for each parser.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_440))]
    minutes: u32,
    /// Only these parsers.
    #[arg(long, value_delimiter = ',', value_parser = TARGETS)]
    only: Vec<String>,
}

/// Feeds one parser after the other.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    let probe = workspace.any_cargo().args(["+nightly", "fuzz", "--version"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return Err(Failure::usage(
            "fuzzing needs nightly Rust and cargo-fuzz: `rustup toolchain install nightly`, \
             `cargo install cargo-fuzz`",
        ));
    }
    let all = TARGETS.into_iter().filter(|target| {
        arguments.only.is_empty() || arguments.only.iter().any(|only| only == target)
    });
    let target_folder = target_folder(workspace)?.join("fuzz");
    for target in all {
        let found = target_folder.join("corpus").join(target);
        std::fs::create_dir_all(&found).map_err(|error| {
            Failure::check(format!("can't make the folder {}: {error}", found.display()))
        })?;
        let mut command = workspace.any_cargo();
        command.args(["+nightly", "fuzz", "run", "--fuzz-dir", FOLDER, "--sanitizer", "none"]);
        command.arg("--target-dir");
        command.arg(target_folder.join("build")).arg(target).arg(&found);
        command.arg(format!("{FOLDER}/corpus/{target}")).args(["--", "-print_final_stats=1"]);
        command.args(["-timeout=10", "-rss_limit_mb=1024", "-max_len=4096"]);
        command.arg(format!("-max_total_time={}", 60 * arguments.minutes));
        let mut tried = None;
        finish_watched_errors(command, |line| {
            if let Some(count) = line.trim().strip_prefix("stat::number_of_executed_units:") {
                tried = count.trim().parse::<u64>().ok();
            }
        })?;
        let tried = tried.ok_or_else(|| Failure::check(format!("{target} tried nothing")))?;
        say(format!("fuzz: {target}: {tried} inputs, no law broken"));
    }
    Ok(())
}

const FOLDER: &str = "crates/paceline-transport/fuzz";

/// One for each parser.
const TARGETS: [&str; 5] = ["headers", "retry_after", "error_body", "usage", "event_stream"];
