//! `cargo xtask oracle`: the limiter against its oracle, for as long as it takes to be believed.
//!
//! The test command runs the same code for some seconds; here it is compiled for speed. Invariant:
//! a run that did not say how many steps it took, and what it found, is a failure.

use clap::Args;

use crate::shell::{Failure, Outcome, Workspace, finish_watched, say};

/// How long, and from which seed.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Random steps.
    #[arg(long, default_value_t = 100_000_000)]
    steps: u64,
    /// Where chance begins; a run prints it.
    #[arg(long)]
    seed: Option<u64>,
    /// Every sequence of up to so many operations.
    #[arg(long, default_value_t = 5)]
    depth: u8,
    /// The same, where one of all that lead to the same state goes on.
    #[arg(long, default_value_t = 8)]
    merged: u8,
}

/// Runs the random worlds and every short sequence.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    let mut command = workspace.cargo();
    command.args(["test", "--release", "--locked", "-p", "paceline-limiter", "--all-features"]);
    command.args(["--test", "it", "--", "oracle::", "--nocapture", "--test-threads=1"]);
    let Arguments { steps, seed, depth, merged } = arguments;
    command.env("PACELINE_ORACLE_STEPS", steps.to_string());
    command.env("PACELINE_ORACLE_DEPTH", depth.to_string());
    command.env("PACELINE_ORACLE_MERGED", merged.to_string());
    if let Some(seed) = seed {
        command.env("PACELINE_SEED", seed.to_string());
    }
    let mut report = Report::default();
    let ended = finish_watched(command, |line| report.read(line));
    ended.and_then(|()| report.verdict(*steps))?;
    say(format!("oracle: {} steps and {} sequences: ok", report.steps, report.sequences));
    Ok(())
}

/// What the tests said of themselves.
#[derive(Debug, Default)]
struct Report {
    steps: u64,
    sequences: u64,
    violations: Option<u64>,
}

impl Report {
    /// Takes in one line; any other is nothing.
    fn read(&mut self, line: &str) {
        // The name of the test stands before it on the same line.
        let line = line.find("oracle: ").map_or(line, |start| &line[start..]);
        let words: Vec<&str> = line.split_whitespace().collect();
        let before = |word: &str| {
            let place = words.iter().position(|other| *other == word)?;
            words.get(place.checked_sub(1)?)?.parse::<u64>().ok()
        };
        if line.starts_with("oracle: random") {
            self.steps += before("steps").unwrap_or(0);
        } else if line.starts_with("oracle: exhaustive") {
            self.sequences += before("sequences").or_else(|| before("sequences,")).unwrap_or(0);
        } else if let Some(count) = line.trim().strip_prefix("violations: ") {
            self.violations = count.parse().ok();
        }
    }

    fn verdict(&self, steps: u64) -> Outcome {
        match self {
            Self { violations: Some(1..), .. } => Err(Failure::check("promises were broken")),
            Self { violations: None, .. } | Self { sequences: 0, .. } => {
                Err(Failure::check("the oracle did not run"))
            }
            Self { steps: taken, .. } if *taken < steps => {
                Err(Failure::check(format!("{taken} steps were taken, not {steps}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        lines.iter().for_each(|line| report.read(line));
        report
    }

    const RANDOM: &str =
        "test oracle::a ... oracle: random, seed 1: 1000 steps in 3 worlds: 70 admissions";
    const ALL: &str = "oracle: exhaustive, Arrival: all 44 sequences of up to 2 operations";
    const MERGED: &str = "oracle: exhaustive, Arrival: up to 4 operations: 55 sequences, 6 states";

    #[test]
    fn what_the_tests_say_is_understood() {
        let report = report(&[RANDOM, "  violations: 0", ALL, MERGED]);
        assert_eq!((report.steps, report.sequences), (1_000, 99));
        assert_eq!(report.verdict(1_000), Ok(()));
        assert!(report.verdict(1_001).is_err());
    }

    #[test]
    fn a_violation_and_silence_are_failures() {
        assert!(report(&[RANDOM, ALL, "  violations: 2"]).verdict(1).is_err());
        assert!(report(&[RANDOM, ALL]).verdict(1).is_err());
        assert!(report(&[RANDOM, "  violations: 0"]).verdict(1).is_err());
        assert!(report(&["violations: 0", ALL]).verdict(1).is_err());
    }
}
