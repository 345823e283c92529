//! What the ledger costs and what it survives: appends, waits of intents, kills, restoring.
//!
//! It writes to a real folder, so the disk is part of what is measured. Invariant: what was
//! recorded is counted afterwards, and a figure whose rows are not all there is no figure.
//!
//! | module | holds |
//! |---|---|
//! | `load` | many calls at once, as fast as they go or at a pace, and how long each intent waits |
//! | `scene` | processes under load that are killed, and the judge of what they leave |

mod load;
#[path = "../../paceline-ledger/tests/it/kill/scene.rs"]
mod scene;

use std::ops::ControlFlow;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use paceline_budget::{Budget, Budgets, Period, Spend};
use paceline_core::Money;
use paceline_ledger::{Grouping, Range, Reader};

use crate::row::{self, Row};
use load::{Kept, Load, Others};
use scene::{Scene, Seen};

/// How to measure.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// An empty folder for the files, on the disk that is to be measured.
    pub folder: PathBuf,
    /// The items by name; all of them where none is named.
    pub only: Vec<String>,
    /// How many processes are killed.
    pub kills: u64,
    /// How long each load at a pace lasts, in seconds.
    pub seconds: u64,
    /// What chance is drawn from.
    pub seed: u64,
}

impl Options {
    /// Everything, at full length.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, only: Vec::new(), kills: 1_000, seconds: 20, seed: 1 }
    }
}

/// One thing that is measured.
struct Item {
    name: &'static str,
    about: &'static str,
    measure: fn(&mut Bench<'_>) -> Result<(), String>,
}

struct Bench<'a> {
    options: &'a Options,
    rows: Vec<Row>,
    show: &'a mut dyn FnMut(&str),
}

const ITEMS: [Item; 4] = [
    Item {
        name: "appends",
        about: "attempts a second as fast as they go, an intent and an outcome each",
        measure: appends,
    },
    Item {
        name: "wait",
        about: "how long an intent waits at a pace, with the ledger and without any",
        measure: waits,
    },
    Item {
        name: "restore",
        about: "reading a million rows, as a budget that is restored and `paceline usage` do",
        measure: restore,
    },
    Item {
        name: "kills",
        about: "processes killed by SIGKILL under load: rows lost, counted twice, money off",
        measure: kills,
    },
];

/// The name of every item, and what it is.
pub fn items() -> impl Iterator<Item = (&'static str, &'static str)> {
    ITEMS.iter().map(|item| (item.name, item.about))
}

/// The process that the item `kills` starts and kills; it never ends by itself.
pub fn child(path: &Path) -> ! {
    scene::child(path)
}

/// Measures. What is measured is shown as lines; what comes back is the JSON list of the rows.
///
/// # Errors
/// A text for people where an item is named that there is not, or a file can't be used.
pub fn measure(options: &Options, show: &mut dyn FnMut(&str)) -> Result<String, String> {
    for name in &options.only {
        if !ITEMS.iter().any(|item| item.name == name) {
            let names: Vec<_> = items().map(|(name, _)| name).collect();
            return Err(format!("there is no item {name}; there are {}", names.join(", ")));
        }
    }
    let mut bench = Bench { options, rows: Vec::new(), show };
    for item in &ITEMS {
        if options.only.is_empty() || options.only.iter().any(|name| name == item.name) {
            (bench.show)(&format!("{}: {}", item.name, item.about));
            (item.measure)(&mut bench)?;
        }
    }
    Ok(row::to_json(&bench.rows))
}

impl Bench<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.options.folder.join(format!("{name}.db"))
    }

    fn keep(&mut self, row: Row) {
        (self.show)(&format!("  {} {} {} {}", row.name(), row.value(), row.unit(), row.held_to()));
        self.rows.push(row);
    }
}

fn appends(bench: &mut Bench<'_>) -> Result<(), String> {
    for at_once in [1, 32, 512] {
        let path = bench.file(&format!("appends-{at_once}"));
        let load = Load { at_once, attempts: if at_once == 1 { 20_000 } else { 200_000 } };
        let rate = load.flat_out(&path)?;
        bench.keep(Row::new(format!("appends/{at_once}_at_once"), rate, "per s"));
    }
    Ok(())
}

fn waits(bench: &mut Bench<'_>) -> Result<(), String> {
    for (name, per_second, others) in [
        ("100_per_s", 100, Others::None),
        ("1000_per_s", 1_000, Others::None),
        ("5000_per_s", 5_000, Others::None),
        ("1000_per_s_beside_a_reader", 1_000, Others::Reader),
        ("1000_per_s_beside_a_writer", 1_000, Others::Writer),
    ] {
        let attempts = per_second * bench.options.seconds;
        let path = bench.file(&format!("wait-{name}"));
        let on = load::at_a_pace(Kept::Ledger(&path, others), per_second, attempts)?;
        let handed = load::at_a_pace(Kept::HandedOver, per_second, attempts)?;
        let off = load::at_a_pace(Kept::Nowhere, per_second, attempts)?;
        for (state, waits) in [("on", on), ("thread_only", handed), ("off", off)] {
            let row = |share: f64, what: &str| {
                Row::new(format!("wait/{name}/{state}/{what}"), waits.quantile_ms(share), "ms")
            };
            let mut p99 = row(0.99, "p99");
            // More calls a second than any quota of the API has: only reported.
            if state == "on" && per_second <= 1_000 {
                p99.at_most(5.0);
            }
            bench.keep(row(0.5, "median"));
            bench.keep(p99);
            bench.keep(row(1.0, "most"));
        }
    }
    Ok(())
}

fn restore(bench: &mut Bench<'_>) -> Result<(), String> {
    let path = bench.file("restore");
    let load = Load { at_once: 512, attempts: 1_000_000 };
    load.flat_out(&path)?;
    let size = std::fs::metadata(&path).map_err(|why| why.to_string())?.len();
    let failed = |error: paceline_ledger::LedgerError| error.to_string();
    let begun = Instant::now();
    let reader = Reader::open(&path).map_err(failed)?;
    let totals = reader.totals(&Range::default()).map_err(failed)?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    if totals.answered != load.attempts {
        return Err(format!("{} of {} rows are there", totals.answered, load.attempts));
    }
    bench.keep(Row::new("restore/1M_rows", took, "ms"));
    let begun = Instant::now();
    reader.usage(Grouping::Day, &Range::default()).map_err(failed)?;
    bench.keep(Row::new("restore/1M_rows_by_day", begun.elapsed().as_secs_f64() * 1e3, "ms"));
    let begun = Instant::now();
    let mut budgets = Budgets::new();
    let daily = Budget::money(Money::from_usd(1_000), Period::Day);
    budgets.add(daily.map_err(|why| why.to_string())?).map_err(|why| why.to_string())?;
    let each = |attempt| {
        budgets.restore([Spend::from(&attempt)]);
        ControlFlow::Continue(())
    };
    reader.for_each(&Range::default(), each).map_err(failed)?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    bench.keep(Row::new("restore/1M_rows_into_a_budget", took, "ms"));
    bench.keep(Row::new("restore/bytes_per_row", size as f64 / load.attempts as f64, "bytes"));
    Ok(())
}

/// How many kills share one file.
const KILLS_A_FILE: u64 = 25;

fn kills(bench: &mut Bench<'_>) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|why| why.to_string())?;
    let (mut seen, mut wrong, mut scene) = (Seen::default(), 0_u64, None);
    for kill in 0..bench.options.kills {
        if kill % KILLS_A_FILE == 0 {
            scene = None;
        }
        let path = bench.file(&format!("kills-{kill}"));
        let seed = bench.options.seed.wrapping_add(kill);
        let (file, judge) =
            scene.get_or_insert_with(|| (path.clone(), Scene::new(path.clone(), seed)));
        let mut command = Command::new(&program);
        command.arg("--child").arg(&*file);
        match panic::catch_unwind(AssertUnwindSafe(|| judge.kill(command))) {
            Ok(one) => seen.add(&one),
            Err(_) => {
                // What went wrong has been printed; the file is kept, and a new one begun.
                wrong += 1;
                scene = None;
            }
        }
    }
    let mut judged = Row::new("kills/wrong", wrong as f64, "kills");
    judged.at_most(0.0);
    bench.keep(judged);
    let mut points = Row::new("kills/points", bench.options.kills as f64, "kills");
    points.at_least(1_000.0);
    bench.keep(points);
    bench.keep(Row::new("kills/sent", seen.sent as f64, "calls"));
    bench.keep(Row::new("kills/sent_without_outcome", seen.open as f64, "calls"));
    Ok(())
}
