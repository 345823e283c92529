//! What a simulated call costs in the simulator's engine: calls a second, shape by shape, and events
//! a second of the logs that judge.
//!
//! It judges nothing itself. Invariant: what is timed is the engine, on calls that are made up
//! without chance; a call is its arrival and its end.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant as Clock};

use paceline_core::Instant;
use paceline_sim::engine::{Ask, Log, Meter, Rolling, Rule, shapes};

const CALLS: u64 = 3_000_000;
const WINDOW: Duration = Duration::from_secs(60);

/// Between calls, and from a call's arrival to its end: 300 in flight, 6,000 in a window.
const GAP: Duration = Duration::from_millis(10);
const LATENCY: Duration = Duration::from_secs(3);

fn main() {
    // A little below what is asked for, so that some are refused.
    let rules = shapes(6_000 * 1_000, WINDOW).expect("a minute is a window");
    for (name, rule) in rules {
        say(name, "calls", || calls(rule));
    }
    say("log", "events", || {
        let mut log = Log::new();
        events().for_each(|(at, amount)| log.add(at, amount));
        black_box(log.worst_window(WINDOW));
    });
    say("rolling", "events", || {
        let mut rolling = Rolling::new(WINDOW);
        events().for_each(|(at, amount)| rolling.add(at, amount).expect("they come in order"));
        black_box(rolling.worst());
    });
}

fn events() -> impl Iterator<Item = (Instant, u64)> {
    let start = Instant::ORIGIN;
    (0..CALLS).scan(start, |now, number| {
        *now = *now + GAP;
        Some((*now, total(number)))
    })
}

/// From 512 to 1,535 tokens, as if by chance.
const fn total(number: u64) -> u64 {
    512 + (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54)
}

/// Calls against one limit.
fn calls(rule: Rule) {
    let mut meter = Meter::new(rule);
    let mut flying = VecDeque::new();
    for (now, total) in events() {
        while let Some((end, call)) = flying.front().copied().filter(|(end, _)| *end <= now) {
            flying.pop_front();
            meter.complete(call, end);
        }
        if let Ok(call) = meter.arrive(Ask::new(total).input(200).most(1_535), now) {
            flying.push_back((now + LATENCY, call));
        }
    }
    black_box(meter.peak());
}

#[expect(clippy::print_stdout, reason = "what this program says goes through here")]
fn say(name: &str, unit: &str, work: impl FnOnce()) {
    let start = Clock::now();
    work();
    let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
    println!("{name:26} {:>6} thousand {unit} a second", CALLS * 1_000_000 / nanos);
}
