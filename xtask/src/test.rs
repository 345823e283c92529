//! `cargo xtask test`: the quick gate, step by step, on stable Rust and nothing else.
//!
//! It runs no benchmark and nothing that needs another program. Invariants: it stops at the first
//! step that fails and names the command to repeat; tests that were ignored, or no tests at all,
//! are a failure; its last line names what it did not run.

use std::process::Command;
use std::time::Instant;

use clap::ValueEnum;

use crate::shell::{Failure, Outcome, Workspace, finish, finish_watched, say};
use crate::{deps, loom, tidy};

/// A suite that needs a program beside Rust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Limits shared through a Redis or Valkey server.
    Redis,
    /// Pages in a real browser.
    Browser,
    /// Other people's clients against our servers.
    Clients,
}

/// One step of the gate.
#[derive(Clone, Debug)]
struct Step {
    name: String,
    /// The command as a person would type it again.
    repeat: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// A function of this program.
    Own(fn(&Workspace) -> Outcome),
    /// A command that ends well or not.
    Cargo(Vec<&'static str>),
    /// The same, with warnings of rustdoc as errors.
    Doc(Vec<&'static str>),
    /// A test runner, whose tests are counted.
    Counted(Vec<&'static str>),
}

/// The crates that must compile without their default features, each by itself.
const BARE: [&str; 5] =
    ["paceline-core", "paceline-limiter", "paceline-transport", "paceline-sim", "paceline"];

/// Runs the gate.
pub(crate) fn run(workspace: &Workspace, with: &[Suite]) -> Outcome {
    if let Some(suite) = with.first() {
        let name = suite.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
        return Err(Failure::usage(format!("there is no suite named {name} yet")));
    }
    gate(workspace)?;
    say(
        "not run here: --with redis,browser,clients (no such suites yet); fuzz (cargo xtask fuzz); \
         miri, mutants, deny, audit, feature powerset (cargo xtask ci --full); measurements \
         (cargo xtask bench)",
    );
    Ok(())
}

/// Runs every step.
pub(crate) fn gate(workspace: &Workspace) -> Outcome {
    run_steps(workspace, &steps())
}

/// Runs steps in order, up to the first that fails.
fn run_steps(workspace: &Workspace, steps: &[Step]) -> Outcome {
    for (index, step) in steps.iter().enumerate() {
        let number = format!("step {}/{}", index + 1, steps.len());
        say(format!("{number} {}: {}", step.name, step.repeat));
        let start = Instant::now();
        step.run(workspace).map_err(|why| {
            let Step { name, repeat, .. } = step;
            Failure::check(format!("{number} {name} failed: {why}\nto repeat it: {repeat}"))
        })?;
        say(format!("{number} {}: ok in {:.1} s", step.name, start.elapsed().as_secs_f64()));
    }
    Ok(())
}

fn steps() -> Vec<Step> {
    let mut steps = vec![
        Step::cargo("fmt", "fmt --all --check"),
        Step::own("tidy", tidy::run),
        Step::own("deps", deps::run),
        Step::cargo(
            "clippy",
            "clippy --workspace --all-targets --all-features --locked -- -D warnings",
        ),
    ];
    for name in BARE {
        let arguments =
            ["clippy", "-p", name, "--lib", "--no-default-features", "--locked", "--", "-D"];
        let arguments = arguments.into_iter().chain(["warnings"]).collect();
        steps.push(Step::new(format!("bare {name}"), Kind::Cargo(arguments)));
    }
    steps.extend([
        Step::new("doc", Kind::Doc(words("doc --workspace --no-deps --all-features --locked"))),
        Step::new("test", Kind::Counted(words("test --workspace --all-features --locked"))),
        Step::own("loom", loom::run),
    ]);
    steps
}

fn words(line: &'static str) -> Vec<&'static str> {
    line.split(' ').collect()
}

impl Step {
    /// A cargo command, its arguments separated by single spaces.
    fn cargo(name: &str, arguments: &'static str) -> Self {
        Self::new(name, Kind::Cargo(words(arguments)))
    }

    fn own(name: &str, task: fn(&Workspace) -> Outcome) -> Self {
        Self { name: name.into(), repeat: format!("cargo xtask {name}"), kind: Kind::Own(task) }
    }

    fn new(name: impl Into<String>, kind: Kind) -> Self {
        let repeat = match &kind {
            Kind::Own(_) => String::new(),
            Kind::Cargo(arguments) | Kind::Counted(arguments) => {
                format!("cargo {}", arguments.join(" "))
            }
            Kind::Doc(arguments) => {
                format!("RUSTDOCFLAGS=\"-D warnings\" cargo {}", arguments.join(" "))
            }
        };
        Self { name: name.into(), repeat, kind }
    }

    fn run(&self, workspace: &Workspace) -> Outcome {
        let cargo = |arguments: &[&str]| -> Command {
            let mut command = workspace.cargo();
            command.args(arguments);
            command
        };
        match &self.kind {
            Kind::Own(task) => task(workspace),
            Kind::Cargo(arguments) => finish(cargo(arguments)),
            Kind::Doc(arguments) => {
                let mut command = cargo(arguments);
                command.env("RUSTDOCFLAGS", "-D warnings");
                finish(command)
            }
            Kind::Counted(arguments) => {
                let mut tally = Tally::default();
                let ended = finish_watched(cargo(arguments), |line| tally.read(line));
                say(format!("{} passed, {} failed", tally.passed, tally.failed));
                ended.and_then(|()| tally.verdict())
            }
        }
    }
}

/// What the test binaries said of themselves, added up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Tally {
    /// Takes in a closing line of a test binary; any other line is nothing.
    pub(crate) fn read(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let counts = counts.split_once(". ").map_or("", |(_, counts)| counts);
        for part in counts.split("; ") {
            let Some((number, what)) = part.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    pub(crate) fn verdict(&self) -> Outcome {
        match self {
            Self { failed: 1.., .. } => Err(Failure::check("tests failed")),
            Self { ignored: 1.., .. } => Err(Failure::check(format!(
                "{} tests were ignored; a test that does not run is no test",
                self.ignored
            ))),
            Self { passed: 0, .. } => Err(Failure::check("no test ran")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn the_closing_lines_of_test_binaries_are_added_up() {
        let tally = tally(&[
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 4 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        ]);
        assert_eq!(tally, Tally { passed: 7, failed: 2, ignored: 1 });
    }

    #[test]
    fn no_test_an_ignored_one_and_a_failed_one_are_failures() {
        let verdict = |line: &str| tally(&[line]).verdict();
        assert!(verdict("").is_err());
        assert!(verdict("test result: ok. 0 passed; 0 failed; 0 ignored").is_err());
        assert!(verdict("test result: ok. 5 passed; 0 failed; 1 ignored").is_err());
        assert!(verdict("test result: FAILED. 5 passed; 1 failed; 0 ignored").is_err());
        assert!(verdict("test result: ok. 5 passed; 0 failed; 0 ignored").is_ok());
    }

    #[test]
    fn a_suite_that_does_not_exist_yet_is_an_error_before_anything_runs() {
        let outcome = run(&Workspace::find(), &[Suite::Redis]);
        assert_eq!(outcome, Err(Failure::usage("there is no suite named redis yet")));
        assert_eq!(outcome.unwrap_err().exit_code(), 2);
    }

    #[test]
    fn every_command_that_resolves_dependencies_is_held_to_the_lock_file() {
        let others = ["fmt", "tidy", "deps", "loom"];
        for step in steps().iter().filter(|step| !others.contains(&&*step.name)) {
            assert!(step.repeat.contains("--locked"), "{}", step.repeat);
        }
    }

    #[test]
    fn a_failing_step_stops_the_rest_and_names_its_command() {
        let bad: fn(&Workspace) -> Outcome = |_| Err(Failure::check("seven things are wrong"));
        let never: fn(&Workspace) -> Outcome = |_| panic!("a step after the one that failed ran");
        let steps = [Step::own("tidy", bad), Step::own("deps", never)];
        let Err(Failure::Check(why)) = run_steps(&Workspace::find(), &steps) else { panic!() };
        assert_eq!(
            why,
            "step 1/2 tidy failed: seven things are wrong\nto repeat it: cargo xtask tidy"
        );
    }
}
