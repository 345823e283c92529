//! The limiter held against an oracle that shares nothing with it: random worlds, all short
//! sequences, and the naive log that judges both.
//!
//! `cargo xtask oracle` runs the same for longer. A failure names its world; `PACELINE_WORLD`
//! runs that one alone.

mod books;
mod deeds;
mod exhaustive;
mod judge;
mod life;
pub(crate) mod naive;
mod news;
pub(crate) mod plan;
pub(crate) mod random;
mod server;
mod tally;
mod world;

use paceline_limiter::ChargeRule;

use self::random::Random;
use self::tally::Tally;
use self::world::World;

/// What a server counted, and when, in nanoseconds: every event, nothing ever forgotten.
#[derive(Debug, Default)]
pub(crate) struct Log(Vec<(u64, u64)>);

impl Log {
    pub(crate) fn count(&mut self, at: u64, amount: u64) {
        self.0.push((at, amount));
    }

    /// The most that was counted in any window `(t - length, t]`, over every `t` that matters:
    /// the moments of the events themselves.
    pub(crate) fn worst_window(&self, length: u64) -> u64 {
        let in_window = |end: u64| {
            let events = self.0.iter();
            events.filter(|(at, _)| *at <= end && at + length > end).map(|(_, n)| n).sum()
        };
        self.0.iter().map(|(end, _)| in_window(*end)).max().unwrap_or(0)
    }
}

#[test]
fn it_finds_the_worst_of_all_rolling_windows() {
    let mut log = Log::default();
    for (at, amount) in [(0, 5), (9, 3), (10, 4), (19, 2), (25, 1)] {
        log.count(at, amount);
    }
    // (9, 10] and 0 has just left: 3 + 4; with 19 it is (9, 19]: 4 + 2; (0, 9]: 5 + 3.
    assert_eq!(log.worst_window(10), 8);
    assert_eq!(log.worst_window(11), 12);
    assert_eq!(log.worst_window(1), 5);
}

/// One world of a run.
fn world(seed: u64, number: u64) -> Tally {
    let seed = Random::new(seed ^ number.wrapping_mul(0xA24B_AED4_963E_E407)).next();
    let mut world = World::new(seed);
    let operations = 500 + seed % 2_500;
    if let Err(why) = world.run(operations) {
        let plan = &world.plan;
        let place = format!("world {number}, operation {}", world.operation);
        world.tally.violations.push(format!("{place}: {why}\n    {plan:?}"));
    }
    world.tally
}

#[test]
#[expect(clippy::print_stdout, reason = "seeds and counts are what it is run for")]
fn random_worlds_keep_every_promise() {
    let seed = setting("PACELINE_SEED").unwrap_or(20_260_101);
    let steps = setting("PACELINE_ORACLE_STEPS").unwrap_or(SHORT);
    let mut tally = Tally::default();
    if let Some(number) = setting("PACELINE_WORLD") {
        tally.add(&mut world(seed, number));
    } else {
        let mut number = 0;
        while tally.steps < steps && tally.violations.len() < 20 {
            tally.add(&mut world(seed, number));
            number += 1;
        }
    }
    println!("oracle: random, seed {seed}: {tally}");
    for violation in &tally.violations {
        println!("violation in {violation}");
    }
    assert!(tally.violations.is_empty(), "{} violations", tally.violations.len());
}

/// Worlds in which long runs found something, as seed and number.
const FOUND: [(u64, u64); 5] = [
    // A delay bound was due to be narrowed, and a verdict of Flow came before that.
    (20_260_101, 2_870),
    // A pause was forgotten with the call that had gone ahead before it.
    (20_260_101, 35_523),
    (20_260_101, 41_957),
    (20_260_101, 49_704),
    (20_260_101, 55_489),
];

#[test]
fn worlds_that_once_broke_a_promise_keep_it() {
    for (seed, number) in FOUND {
        let tally = world(seed, number);
        assert!(tally.violations.is_empty() && tally.steps > 0, "{:?}", tally.violations);
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "counts are what it is run for")]
fn every_short_sequence_is_decided_as_by_a_naive_limiter() {
    let depth = |name, short| setting(name).map_or(short, |depth| usize::try_from(depth).unwrap());
    let (all, merged) = (depth("PACELINE_ORACLE_DEPTH", 3), depth("PACELINE_ORACLE_MERGED", 4));
    for rule in [ChargeRule::Completion, ChargeRule::Arrival, ChargeRule::HeldMax] {
        let walked = exhaustive::all(rule, all);
        println!("oracle: exhaustive, {rule:?}: all {walked} sequences of up to {all} operations");
        let (walked, states) = exhaustive::merged(rule, merged);
        println!(
            "oracle: exhaustive, {rule:?}: up to {merged} operations, equal states merged: \
             {walked} sequences, {states} states"
        );
    }
}

/// In the test command.
const SHORT: u64 = 250_000;

/// A number from outside, for longer runs.
#[expect(clippy::disallowed_methods, reason = "the tests of an hour and of a second are the same")]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|why| panic!("{name}={text}: {why}")))
}
