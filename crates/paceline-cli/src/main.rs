//! The program `paceline`: run a file of prompts through Grok within its limits.

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::error::{EXIT_USAGE, UserError};

mod account;
mod args;
mod budgets;
mod elsewhere;
mod error;
mod files;
mod input;
mod interrupts;
mod journal;
mod learned;
mod limits;
mod lines;
mod output;
mod pause;
mod plan;
mod progress;
mod row;
mod run;
mod runner;
mod servers;
mod sim;
mod summary;
mod tally;
mod time;
mod usage;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let verbose = match &cli.command {
        Command::Run(args) => args.verbose,
        Command::Usage(_) | Command::Limits(_) | Command::Sim(_) => 0,
    };
    let level = match verbose {
        0 => "off",
        1 => "paceline=info",
        _ => "paceline=debug",
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            UserError::usage("the program can't be set up").cause(error).print();
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let ended = runtime.block_on(async {
        match &cli.command {
            Command::Run(args) => run::run(args).await,
            Command::Usage(args) => usage::run(args),
            Command::Limits(args) => limits::run(args).await,
            Command::Sim(args) => sim::run(args).await,
        }
    });
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            error.print();
            ExitCode::from(error.exit_code())
        }
    }
}
