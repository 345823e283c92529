//! Paceline's automation: everything that a person or a workflow runs, in one program.
//!
//! It does not build anything into the crates and keeps no state of its own but benchmark results
//! in the target folder. Whatever was asked for and not done is said; nothing unfinished exits
//! with 0.

mod bench;
mod ci;
mod deps;
mod fit;
mod fuzz;
mod loom;
mod oracle;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::shell::{Outcome, Workspace, complain};

/// Paceline's automation.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// The quick gate: formatting, tidiness, dependencies, lints, documentation, tests.
    Test {
        /// Also the suites that need a program beside Rust, separated by commas.
        #[arg(long, value_enum, value_delimiter = ',')]
        with: Vec<test::Suite>,
    },
    /// The dependency arrows and the allow-list of third-party crates.
    Deps,
    /// What no compiler checks: lengths, layout, leftovers.
    Tidy,
    /// The limiter's shared forms, in every order in which threads can take their lock.
    Loom,
    /// The limiter against its oracle: random steps and every short sequence.
    Oracle(oracle::Arguments),
    /// Random input for every parser, by libFuzzer; needs nightly Rust and cargo-fuzz.
    Fuzz(fuzz::Arguments),
    /// Measures; writes the rows to target/paceline-bench/NAME.json.
    Bench(bench::Arguments),
    /// Fits the tables that the estimator starts from, and writes them in place.
    Fit(fit::Arguments),
    /// The quick gate; with --full also what is slow, where its tool is installed.
    Ci {
        /// Also what is slow.
        #[arg(long)]
        full: bool,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(task: &Task) -> Outcome {
    let workspace = Workspace::find();
    match task {
        Task::Test { with } => test::run(&workspace, with),
        Task::Deps => deps::run(&workspace),
        Task::Tidy => tidy::run(&workspace),
        Task::Loom => loom::run(&workspace),
        Task::Oracle(arguments) => oracle::run(&workspace, arguments),
        Task::Fuzz(arguments) => fuzz::run(&workspace, arguments),
        Task::Bench(arguments) => bench::run(&workspace, arguments),
        Task::Fit(arguments) => fit::run(&workspace, arguments),
        Task::Ci { full: false } => test::run(&workspace, &[]),
        Task::Ci { full: true } => ci::run(&workspace),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn suites_are_separated_by_commas_and_an_unknown_one_is_an_error() {
        let given = |with: &str| Arguments::try_parse_from(["xtask", "test", "--with", with]);
        let Task::Test { with } = given("redis,browser").unwrap().task else { panic!() };
        assert_eq!(with, [test::Suite::Redis, test::Suite::Browser]);
        assert!(given("redis,postgres").unwrap_err().to_string().contains("postgres"));
    }
}
