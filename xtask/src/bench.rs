//! `cargo xtask bench NAME`: measures, and writes what came out as rows.
//!
//! A benchmark is a function that yields [`Row`]s; this file builds the program first and keeps
//! the rows. It is no part of the test command. Invariant: a row that misses its target, or could
//! not be measured, makes the command fail, after every row has been written and shown.

mod admission;
mod chance;
mod estimator;
mod ledger;
mod limiter;
pub(crate) mod linked;
mod overhead;
mod row;
mod run;
mod unknown;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use cargo_metadata::MetadataCommand;
use clap::ValueEnum;

use crate::shell::{Failure, Outcome, Workspace, about, complain, finish, say};
use row::Row;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The benchmark.
    #[arg(value_enum)]
    name: Name,
    /// Only this item of it, or of `admission`, `estimator`, `ledger`, `limiter` and `overhead` these, separated by
    /// commas; the rows then go to NAME-ITEM.json.
    #[arg(long)]
    only: Option<String>,
    /// What random moments are drawn from; by default from the time. It is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Of `admission` and `unknown`: windows counted in each run.
    #[arg(long)]
    windows: Option<u64>,
    /// Of `admission`: calls in flight at the quota, separated by commas.
    #[arg(long)]
    loads: Option<String>,
    /// Of `limiter` and `overhead`: rounds of each comparison.
    #[arg(long)]
    rounds: Option<u32>,
    /// Of `ledger`: processes killed.
    #[arg(long)]
    kills: Option<u64>,
    /// Of `ledger`: seconds of each load at a pace.
    #[arg(long)]
    seconds: Option<u64>,
    /// Say what is measured, and measure nothing.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Whole runs of the program `paceline` against the simulated server.
    Run,
    /// Admission in virtual time: how full the quota runs, how often a call is refused. From a
    /// fixed seed unless told otherwise.
    Admission,
    /// How good the estimates of calls are, on texts that nothing was fitted on. From a fixed seed
    /// unless told otherwise.
    Estimator,
    /// What a decision of the limiter costs, beside its peers in the same run.
    Limiter,
    /// What recording every attempt costs, and what it survives.
    Ledger,
    /// What the client costs beside bare reqwest.
    Overhead,
    /// The whole client against servers whose rule it does not know, in virtual time: how much of the quota it
    /// uses and how often it is refused, in the first minute and after it.
    Unknown,
}

/// One thing that a benchmark measures.
struct Item {
    /// Its name, and the first part of the name of each of its rows.
    name: &'static str,
    /// What its rows mean, and how long it takes.
    about: &'static str,
    measure: fn(&Bench) -> Outcome<Vec<Row>>,
}

/// What an item may use.
struct Bench {
    /// The release program.
    program: PathBuf,
    /// The public prompts, which are not part of the project.
    prompts: PathBuf,
    /// The folder that results and traces go to.
    folder: PathBuf,
    seed: u64,
}

impl Bench {
    /// An empty folder for an item's files. What an earlier measurement left there is removed.
    fn fresh_folder(&self, item: &str) -> Outcome<PathBuf> {
        let folder = self.folder.join(item);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|why| about("empty", &folder, why))?;
        }
        fs::create_dir_all(&folder).map_err(|why| about("make", &folder, why))?;
        Ok(folder)
    }

    /// A file of prompts by its name.
    fn prompts(&self, name: &str) -> Outcome<PathBuf> {
        let path = self.prompts.join(name);
        if path.is_file() {
            return Ok(path);
        }
        Err(Failure::usage(format!(
            "this measures on public prompts that are not part of the project: {name} has to be in \
             {PROMPTS}, seen from the top of the workspace (docs/testing.md says which files)"
        )))
    }
}

/// Where the public prompts are, seen from the top of the workspace.
const PROMPTS: &str = "../shared/data/prompts";

/// Measures.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    let (name, items) = match arguments.name {
        Name::Run => ("run", run::ITEMS),
        Name::Admission => return run_admission(workspace, arguments),
        Name::Estimator => return run_estimator(workspace, arguments),
        Name::Limiter => return run_limiter(workspace, arguments),
        Name::Ledger => return run_ledger(workspace, arguments),
        Name::Overhead => return run_overhead(workspace, arguments),
        Name::Unknown => return run_unknown(workspace, arguments),
    };
    if arguments.list {
        items.iter().for_each(|item| say(format!("{:8} {}", item.name, item.about)));
        return Ok(());
    }
    let chosen = chosen(items, arguments.only.as_deref())?;
    let target = target_folder(workspace)?;
    build(workspace)?;
    let results = target.join("paceline-bench");
    let bench = Bench {
        program: target.join("release").join(format!("paceline{}", std::env::consts::EXE_SUFFIX)),
        prompts: workspace.root().join(PROMPTS),
        folder: results.join(name),
        seed: arguments.seed.unwrap_or_else(seed_of_the_time),
    };
    say(format!("seed {}", bench.seed));
    let mut rows = Vec::new();
    for item in chosen {
        say(format!("measuring {}: {}", item.name, item.about));
        match (item.measure)(&bench) {
            Ok(measured) => rows.extend(measured),
            Err(usage @ Failure::Usage(_)) => return Err(usage),
            // The other items may take long and are worth having.
            Err(why) => {
                complain(&why);
                rows.push(Row::not_measured(item.name, ""));
            }
        }
    }
    keep(&results.join(file_name(name, arguments.only.as_deref())), &rows)
}

/// Measures admission, which is a program of its own.
fn run_admission(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    let results = target_folder(workspace)?.join("paceline-bench");
    let asked = admission::Asked {
        only: arguments.only.as_deref(),
        windows: arguments.windows,
        loads: arguments.loads.as_deref(),
        seed: arguments.seed,
        list: arguments.list,
    };
    let file = results.join(file_name("admission", arguments.only.as_deref()));
    let rows = admission::measure(workspace, &asked, &file)?;
    if arguments.list { Ok(()) } else { keep(&file, &rows) }
}

/// Measures estimates, which is a program of its own.
fn run_estimator(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    let results = target_folder(workspace)?.join("paceline-bench");
    let only = arguments.only.as_deref();
    let asked = estimator::Asked { only, seed: arguments.seed, list: arguments.list };
    let file = results.join(file_name("estimator", only));
    let rows = estimator::measure(workspace, &asked, &file)?;
    if arguments.list { Ok(()) } else { keep(&file, &rows) }
}

/// Measures decisions, by programs of their own.
fn run_limiter(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    let results = target_folder(workspace)?.join("paceline-bench");
    let only = arguments.only.as_deref();
    let asked = limiter::Asked { only, rounds: arguments.rounds, list: arguments.list };
    let file = results.join(file_name("limiter", only));
    let rows = limiter::measure(workspace, &asked, &file)?;
    if arguments.list { Ok(()) } else { keep(&file, &rows) }
}

/// Measures the ledger, by a program of its own.
fn run_ledger(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    let results = target_folder(workspace)?.join("paceline-bench");
    let only = arguments.only.as_deref();
    let asked = ledger::Asked {
        only,
        kills: arguments.kills,
        seconds: arguments.seconds,
        seed: arguments.seed,
        list: arguments.list,
    };
    let file = results.join(file_name("ledger", only));
    let rows = ledger::measure(workspace, &asked, &results.join("ledger"), &file)?;
    if arguments.list { Ok(()) } else { keep(&file, &rows) }
}

/// Measures the client against unknown servers, by a program of its own.
fn run_unknown(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    if arguments.list {
        return Err(Failure::usage(
            "its cases are WORKLOAD/SHAPE/HEADERS, such as chat/sliding+completion/silent; --only takes beginnings \
             of them",
        ));
    }
    let results = target_folder(workspace)?.join("paceline-bench");
    let only = arguments.only.as_deref();
    let asked = unknown::Asked { only, windows: arguments.windows, seed: arguments.seed };
    let file = results.join(file_name("unknown", only));
    let rows = unknown::measure(workspace, &asked, &file)?;
    keep(&file, &rows)
}

/// Measures the client, by programs of their own.
fn run_overhead(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    let results = target_folder(workspace)?.join("paceline-bench");
    let only = arguments.only.as_deref();
    let asked = overhead::Asked { only, rounds: arguments.rounds, list: arguments.list };
    let file = results.join(file_name("overhead", only));
    let rows = overhead::measure(workspace, &asked, &file)?;
    if arguments.list { Ok(()) } else { keep(&file, &rows) }
}

/// Where the rows go: NAME.json, or NAME-ITEM.json.
fn file_name(name: &str, only: Option<&str>) -> String {
    match only {
        Some(only) => format!("{name}-{}.json", only.replace([',', '/'], "-")),
        None => format!("{name}.json"),
    }
}

fn chosen<'a>(items: &'a [Item], only: Option<&str>) -> Outcome<Vec<&'a Item>> {
    let Some(only) = only else { return Ok(items.iter().collect()) };
    if let Some(item) = items.iter().find(|item| item.name == only) {
        return Ok(vec![item]);
    }
    let names: Vec<_> = items.iter().map(|item| item.name).collect();
    Err(Failure::usage(format!("there is no item {only}; there are {}", names.join(", "))))
}

/// The folder that cargo builds into.
pub(crate) fn target_folder(workspace: &Workspace) -> Outcome<PathBuf> {
    let metadata = MetadataCommand::new()
        .cargo_path(workspace.cargo_path())
        .current_dir(workspace.root())
        .no_deps()
        .exec()
        .map_err(|why| Failure::check(format!("cargo metadata failed: {why}")))?;
    Ok(metadata.target_directory.into_std_path_buf())
}

fn build(workspace: &Workspace) -> Outcome {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "-p", "paceline-cli"]);
    say("building the release program");
    finish(cargo).map_err(|why| Failure::check(format!("the program does not build: {why}")))
}

/// Writes the rows, shows them, and fails where one of them misses.
fn keep(file: &Path, rows: &[Row]) -> Outcome {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(|why| about("make", folder, why))?;
    }
    fs::write(file, row::to_json(rows)).map_err(|why| about("write", file, why))?;
    say(row::table(rows));
    say(format!("written to {}", file.display()));
    let missed: Vec<_> = rows.iter().filter(|row| !row.is_met()).map(|row| row.name()).collect();
    if missed.is_empty() {
        Ok(())
    } else {
        Err(Failure::check(format!("missed: {}", missed.join(", "))))
    }
}

fn seed_of_the_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() ^ u64::from(since.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_chosen_by_name_and_an_unknown_one_is_an_error_that_names_the_rest() {
        let names = |only| {
            let chosen = chosen(run::ITEMS, only);
            chosen.map(|items| items.iter().map(|item| item.name).collect::<Vec<_>>())
        };
        assert_eq!(names(None).unwrap().len(), run::ITEMS.len());
        assert_eq!(names(Some("kills")).unwrap(), ["kills"]);
        let Err(Failure::Usage(why)) = names(Some("speed")) else { panic!() };
        assert!(why.contains("there is no item speed") && why.contains("gsm8k"));
    }

    #[test]
    fn missing_prompts_are_an_error_that_says_where_they_belong() {
        let bench = Bench {
            program: PathBuf::new(),
            prompts: PathBuf::from("no/such/folder"),
            folder: PathBuf::new(),
            seed: 1,
        };
        let Err(Failure::Usage(why)) = bench.prompts("a.jsonl") else { panic!() };
        assert!(why.contains("a.jsonl has to be in ../shared/data/prompts"), "{why}");
    }
}
