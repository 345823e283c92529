//! Threads share a database of 500 read units a second; what a query cost is known afterwards.
//!
//! `cargo run -p paceline-limiter --features clock --example database_units`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program, not the library")]
mod judge;
use std::{error::Error, num::NonZeroU64, thread, time::Duration};

use paceline_limiter::{Actual, Amount, Demand, Dimension, Instant, LimitKey, Quota, Refusal};
use paceline_limiter::{Limit, Limiter, clock::SharedLimiter};

const READ_UNITS: Dimension = Dimension::custom::<0>();

/// One query: when it was over, and its cost.
fn query(limiter: &SharedLimiter, cost: u64) -> Result<(Instant, u64), Refusal> {
    let estimate = Demand::new().with(READ_UNITS, Amount::expected(30).upper(80));
    let mut permit = limiter.permit(&estimate)?; // may block
    permit.sent(); // from here on it counts, also where the thread panics
    thread::sleep(Duration::from_millis(10)); // the query runs, and says what it cost
    let over = limiter.now();
    permit.settle(&Actual::new().with(READ_UNITS, cost)); // the rest is free at once
    Ok((over, cost))
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let limiter = SharedLimiter::new(Limiter::new());
    let units = Quota::per_second(NonZeroU64::new(500).ok_or("zero")?);
    limiter.add(Limit::new(LimitKey::All, READ_UNITS, units))?;
    let costs = [[12, 31, 8, 60, 25, 77, 30, 14, 41, 22], [50, 9, 33, 28, 64, 11, 20, 45, 38, 71]];
    let log = thread::scope(|scope| {
        let work = |costs: [u64; 10]| costs.map(|cost| query(&limiter, cost));
        let threads = costs.map(|costs| scope.spawn(move || work(costs)));
        let log = threads.into_iter().flat_map(|t| t.join().expect("no query panics"));
        log.collect::<Result<Vec<_>, _>>()
    })?;
    let most = judge::fullest_second(&log);
    println!("{} queries; the fullest second: {most} of 500 read units", log.len());
    (most <= 500).then_some(()).ok_or_else(|| "the limit was passed".into())
}
