//! `cargo xtask ci --full`: the quick gate, then what is slow, where its tool is installed.
//!
//! It installs nothing. Invariants: a tool that is missing is named as not run and never counts
//! as passed; the exit code is another than 0 only where something that ran has failed.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::shell::{Failure, Outcome, Workspace, finish, say};
use crate::test;

/// A slow check by a tool that may be missing.
struct Slow {
    name: &'static str,
    /// Ends well only where the tool is installed.
    probe: &'static [&'static str],
    /// The arguments of cargo that run it.
    run: &'static [&'static str],
}

/// The one that may leave something over: `cargo mutants` fails where a single mutant survives.
const MUTANTS: &str = "mutants";

/// Of a hundred mutants so many may survive.
const MAY_SURVIVE: u64 = 10;

/// The slow checks, the quickest first.
const SLOW: [Slow; 6] = [
    Slow {
        name: "deny",
        probe: &["deny", "--version"],
        run: &["deny", "--workspace", "--all-features", "check", "advisories", "bans", "sources"],
    },
    Slow { name: "audit", probe: &["audit", "--version"], run: &["audit"] },
    Slow {
        name: "powerset",
        probe: &["hack", "--version"],
        run: &["hack", "check", "--workspace", "--feature-powerset", "--no-dev-deps", "--locked"],
    },
    Slow {
        name: "miri",
        probe: &["+nightly", "miri", "--version"],
        run: &[
            "+nightly",
            "miri",
            "test",
            "-p",
            "paceline-core",
            "-p",
            "paceline-limiter",
            "-p",
            "paceline-budget",
            "--lib",
        ],
    },
    Slow { name: "fuzz", probe: &["+nightly", "fuzz", "--version"], run: &["xtask", "fuzz"] },
    Slow {
        name: MUTANTS,
        probe: &["mutants", "--version"],
        run: &[
            "mutants",
            "-p",
            "paceline-core",
            "-p",
            "paceline-limiter",
            "-p",
            "paceline-budget",
            // A mutant that waits for ever is caught. It bounds all tests of a crate together, which
            // take a quarter of a minute, and thrice that on a machine that is busy.
            "--timeout",
            "180",
            // Only loom compiles it, so that no test of this run could notice.
            "--exclude-re",
            " explored::",
            "--all-features",
            "--",
            "--lib",
            "--tests",
        ],
    },
];

/// What belongs to the full run and does not exist, each with the reason.
const MISSING: [&str; 1] = ["semver (nothing is published yet)"];

/// How one slow check went.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Passed,
    Failed(String),
    NotInstalled,
}

/// Runs the quick gate and every slow check whose tool is there.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    test::gate(workspace)?;
    let ended: Vec<_> = SLOW.iter().map(|slow| (slow.name, run_one(workspace, slow))).collect();
    say(format!("not run: {}", not_run(&ended).join(", ")));
    verdict(&ended)
}

fn run_one(workspace: &Workspace, slow: &Slow) -> Ended {
    let cargo = |arguments: &[&str]| -> Command {
        let mut command = workspace.any_cargo();
        command.args(arguments);
        // What a random test finds in one mutant would otherwise be tried on all that follow, and
        // count them as caught where it fails without any.
        command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
        command
    };
    let mut probe = cargo(slow.probe);
    probe.stdout(Stdio::null()).stderr(Stdio::null());
    if finish(probe).is_err() {
        return Ended::NotInstalled;
    }
    say(format!("slow {}: cargo {}", slow.name, slow.run.join(" ")));
    let start = Instant::now();
    let ran = finish(cargo(slow.run));
    let ran = match ran {
        Err(why) if slow.name == MUTANTS => few_survived(workspace, why),
        other => other,
    };
    match ran {
        Ok(()) => {
            say(format!("slow {}: ok in {:.1} s", slow.name, start.elapsed().as_secs_f64()));
            Ended::Passed
        }
        Err(why) => {
            say(format!("slow {}: failed: {why}", slow.name));
            Ended::Failed(format!(
                "{}: {why}; to repeat it: cargo {}",
                slow.name,
                slow.run.join(" ")
            ))
        }
    }
}

/// Whether no more mutants survived than may, by what `cargo mutants` wrote of its run; each of them is
/// in its list of missed ones, to be explained.
fn few_survived(workspace: &Workspace, why: Failure) -> Outcome {
    let written = workspace.root().join("mutants.out/outcomes.json");
    let tally = std::fs::read(written)
        .ok()
        .and_then(|json| serde_json::from_slice::<serde_json::Value>(&json).ok())
        .and_then(|outcomes| Tally::of(&outcomes));
    match tally {
        Some(tally) => {
            say(format!("{} of {} mutants survived", tally.survived, tally.tried));
            if tally.is_few() { Ok(()) } else { Err(why) }
        }
        None => Err(why),
    }
}

/// How many mutants were tried, and how many no test noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tally {
    tried: u64,
    survived: u64,
}

impl Tally {
    /// `None` where the run did not end, or is of another form.
    fn of(outcomes: &serde_json::Value) -> Option<Self> {
        let count = |name: &str| outcomes.get(name)?.as_u64();
        outcomes.get("end_time")?.as_str()?;
        let survived = count("missed")?;
        Some(Self { tried: survived + count("caught")? + count("timeout")?, survived })
    }

    /// Some were tried, and few enough survived.
    const fn is_few(self) -> bool {
        self.tried > 0 && self.survived * 100 <= self.tried * MAY_SURVIVE
    }
}

fn not_run(ended: &[(&str, Ended)]) -> Vec<String> {
    let missing = ended.iter().filter(|(_, ended)| *ended == Ended::NotInstalled);
    let missing = missing.map(|(name, _)| format!("{name} (tool not installed)"));
    missing.chain(MISSING.map(String::from)).collect()
}

fn verdict(ended: &[(&str, Ended)]) -> Outcome {
    let failed: Vec<&str> = ended
        .iter()
        .filter_map(|(_, ended)| match ended {
            Ended::Failed(why) => Some(why.as_str()),
            Ended::Passed | Ended::NotInstalled => None,
        })
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure::check(failed.join("\n"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named_and_does_not_fail_the_run() {
        let ended = [("deny", Ended::NotInstalled), ("audit", Ended::Passed)];
        assert_eq!(not_run(&ended)[0], "deny (tool not installed)");
        assert!(!not_run(&ended).iter().any(|line| line.contains("audit")));
        assert_eq!(verdict(&ended), Ok(()));
    }

    #[test]
    fn a_tool_that_ran_and_failed_fails_the_run() {
        let ended = [("deny", Ended::NotInstalled), ("miri", Ended::Failed("miri: broken".into()))];
        assert_eq!(verdict(&ended), Err(Failure::check("miri: broken")));
    }

    #[test]
    fn a_tenth_of_the_mutants_may_survive_and_a_run_that_broke_off_says_nothing() {
        let tally = |missed: u64, ended: Option<&str>| {
            Tally::of(&serde_json::json!({
                "missed": missed, "caught": 80, "timeout": 10, "unviable": 7, "end_time": ended,
            }))
        };
        let is_few = |missed| tally(missed, Some("then")).map(Tally::is_few);
        assert_eq!([is_few(0), is_few(10), is_few(11)], [Some(true), Some(true), Some(false)]);
        assert_eq!(tally(0, None), None);
        assert_eq!(Tally::of(&serde_json::json!({})), None);
        assert!(!Tally { tried: 0, survived: 0 }.is_few());
    }

    #[test]
    fn a_tool_that_is_not_there_is_found_missing() {
        let slow = Slow { name: "none", probe: &["no-such-tool-of-cargo"], run: &["--version"] };
        assert_eq!(run_one(&Workspace::find(), &slow), Ended::NotInstalled);
    }
}
