//! What the client costs beside bare reqwest, on the same machine against the same server.
//!
//! What bare reqwest does is what somebody would write without the client: it makes the same body from
//! the same JSON, sends the same bytes, and parses the same answer into a `serde_json::Value`. The server
//! is a process of its own and states limits that are in force and never bind, so that estimate, admission,
//! settlement and learning are part of what is measured. Invariant: a figure is the median of rounds in
//! which both sides took turns, and a call that was not answered is an error.
//!
//! | module | holds |
//! |---|---|
//! | `server`, `answers` | the server, and what it answers |
//! | `sides` | the two that call it |
//! | `load` | so many calls at once, in turns |

mod answers;
mod load;
mod server;
mod sides;

use std::time::{Duration, Instant};

use crate::locked::version;
use crate::row::{self, Row};
use load::{Load, Pair, Turn, median, runtime};
use server::{Kind, Server};
use sides::Side;

/// How to measure.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The items by name; all of them where none is named.
    pub only: Vec<String>,
    /// How often each side has its turn.
    pub rounds: u32,
}

impl Options {
    /// Everything, at full length.
    pub const fn new() -> Self {
        Self { only: Vec::new(), rounds: 21 }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// One thing that is measured.
struct Item {
    name: &'static str,
    about: &'static str,
    measure: fn(&mut Bench<'_>) -> Result<(), String>,
}

struct Bench<'a> {
    rounds: u32,
    rows: Vec<Row>,
    show: &'a mut dyn FnMut(&str),
}

const ITEMS: [Item; 3] = [
    Item {
        name: "cpu",
        about: "CPU time of the client's process for each call, no wait at the server",
        measure: cpu,
    },
    Item {
        name: "wait",
        about: "median latency, calls a second and connections where the server takes 5 ms",
        measure: waits,
    },
    Item {
        name: "stream",
        about: "a streamed answer of 4 MB, every event parsed: MB a second of its body",
        measure: streams,
    },
];

/// The name of every item, and what it is.
pub fn items() -> impl Iterator<Item = (&'static str, &'static str)> {
    ITEMS.iter().map(|item| (item.name, item.about))
}

/// The process that is called. It ends when whoever started it does.
///
/// # Errors
/// A text for people where it can't listen.
pub fn serve() -> Result<(), String> {
    server::serve()
}

/// Measures. What is measured is shown as lines; what comes back is the JSON list of the rows.
///
/// # Errors
/// A text for people where an item is named that there is not, or a call fails.
pub fn measure(options: &Options, show: &mut dyn FnMut(&str)) -> Result<String, String> {
    for name in &options.only {
        if !ITEMS.iter().any(|item| item.name == name) {
            let names: Vec<_> = items().map(|(name, _)| name).collect();
            return Err(format!("there is no item {name}; there are {}", names.join(", ")));
        }
    }
    let mut bench = Bench { rounds: options.rounds, rows: Vec::new(), show };
    for item in &ITEMS {
        if options.only.is_empty() || options.only.iter().any(|name| name == item.name) {
            (bench.show)(&format!("{}: {}", item.name, item.about));
            (item.measure)(&mut bench)?;
        }
    }
    Ok(row::to_json(&bench.rows))
}

/// Measures what a call allocates; `allocated` tells how many blocks and bytes were allocated so far.
/// What comes back is the JSON list of the rows.
///
/// # Errors
/// A text for people where a call fails.
pub fn measure_allocations(allocated: &dyn Fn() -> (u64, u64)) -> Result<String, String> {
    const CALLS: u64 = 1_000;
    let server = Server::start()?;
    let kind = Kind::Whole(Duration::ZERO);
    let runtime = runtime()?;
    let _inside = runtime.enter();
    let mut rows = Vec::new();
    for (name, side) in [("bare", Side::bare(&server, kind)?), ("ours", Side::ours(&server, kind)?)]
    {
        let (blocks, bytes) = runtime.block_on(async {
            side.begin(kind).await?;
            for _ in 0..CALLS {
                side.call().await?;
            }
            let (blocks, bytes) = allocated();
            for _ in 0..CALLS {
                side.call().await?;
            }
            let (blocks_after, bytes_after) = allocated();
            Ok::<_, String>((blocks_after - blocks, bytes_after - bytes))
        })?;
        let each = |count: u64| count as f64 / CALLS as f64;
        rows.push(Row::new(format!("allocations/{name}"), each(blocks), "allocations"));
        rows.push(Row::new(format!("allocations/{name}/bytes"), each(bytes), "bytes"));
    }
    Ok(row::to_json(&rows))
}

impl Bench<'_> {
    fn keep(&mut self, row: Row) {
        (self.show)(&format!("  {} {} {} {}", row.name(), row.value(), row.unit(), row.held_to()));
        self.rows.push(row);
    }

    /// What both sides came to, and the median of what `compare` makes of a round.
    fn both(&mut self, name: &str, unit: &'static str, pair: &Pair, of: fn(&Turn) -> f64) {
        let side =
            |choose: fn(&(Turn, Turn)) -> &Turn| median(pair.rounds.iter().map(choose).map(of));
        self.keep(Row::new(format!("{name}/bare"), side(|round| &round.0), unit));
        self.keep(Row::new(format!("{name}/ours"), side(|round| &round.1), unit));
    }
}

/// What the client is measured beside.
fn peer() -> String {
    format!("reqwest {}", version("reqwest"))
}

fn cpu(bench: &mut Bench<'_>) -> Result<(), String> {
    for load in [Load { at_once: 1, calls: 2_000 }, Load { at_once: 64, calls: 4_096 }] {
        let pair = load.pair(Duration::ZERO, bench.rounds)?;
        let name = format!("cpu/{}_in_flight", load.at_once);
        let more = median(pair.rounds.iter().map(|(bare, ours)| ours.cpu_us - bare.cpu_us));
        let mut row = Row::new(format!("{name}/more"), more, "us").beside(peer());
        row.at_most(10.0);
        bench.keep(row);
        bench.both(&name, "us", &pair, |turn| turn.cpu_us);
    }
    Ok(())
}

/// How long the server takes.
const WAIT: Duration = Duration::from_millis(5);

fn waits(bench: &mut Bench<'_>) -> Result<(), String> {
    for load in [
        Load { at_once: 1, calls: 100 },
        Load { at_once: 64, calls: 6_400 },
        Load { at_once: 512, calls: 10_240 },
    ] {
        let pair = load.pair(WAIT, bench.rounds)?;
        let name = format!("wait/{}_in_flight", load.at_once);
        let ratio = |of: fn(&Turn) -> f64| {
            median(pair.rounds.iter().map(|(bare, ours)| of(ours) / of(bare)))
        };
        let p50 = Row::new(format!("{name}/p50"), ratio(|turn| turn.median_ms), "ratio");
        let mut p50 = p50.beside(peer());
        p50.at_most(1.03);
        bench.keep(p50);
        let calls = Row::new(format!("{name}/throughput"), ratio(|turn| turn.calls_per_s), "ratio");
        let mut calls = calls.beside(peer());
        calls.at_least(0.95);
        bench.keep(calls);
        bench.both(&format!("{name}/p50"), "ms", &pair, |turn| turn.median_ms);
        bench.both(&format!("{name}/throughput"), "per s", &pair, |turn| turn.calls_per_s);
        bench.both(&format!("{name}/cpu"), "us", &pair, |turn| turn.cpu_us);
        let (bare, ours) = pair.connections;
        bench.keep(Row::new(format!("{name}/connections/bare"), bare as f64, "connections"));
        let name = format!("{name}/connections/ours");
        let mut ours = Row::new(name, ours as f64, "connections");
        // No more than there were calls at once: all of them are used again.
        ours.at_most(load.at_once as f64);
        bench.keep(ours);
    }
    Ok(())
}

fn streams(bench: &mut Bench<'_>) -> Result<(), String> {
    let server = Server::start()?;
    let runtime = runtime()?;
    let _inside = runtime.enter();
    let sides = [Side::bare(&server, Kind::Stream)?, Side::ours(&server, Kind::Stream)?];
    let megabytes = answers::stream().len() as f64 / 1e6;
    let mut rates = Vec::new();
    for side in &sides {
        runtime.block_on(side.begin(Kind::Stream))?;
    }
    for round in 0..bench.rounds {
        let mut rate = [0.0; 2];
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            let begun = Instant::now();
            runtime.block_on(sides[which].stream())?;
            rate[which] = megabytes / begun.elapsed().as_secs_f64();
        }
        rates.push(rate);
    }
    let ratio = median(rates.iter().map(|[bare, ours]| ours / bare));
    bench.keep(Row::new("stream/rate", ratio, "ratio").beside(peer()));
    for (which, name) in ["bare", "ours"].into_iter().enumerate() {
        let rate = median(rates.iter().map(|rate| rate[which]));
        bench.keep(Row::new(format!("stream/rate/{name}"), rate, "MB/s"));
    }
    Ok(())
}
