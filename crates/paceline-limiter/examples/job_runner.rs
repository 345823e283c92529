//! A job runner that stays below 20 jobs a second *and* 1,000 units of work a second.
//!
//! `cargo run -p paceline-limiter --features tokio --example job_runner`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program, not the library")]
mod judge;
use std::{error::Error, num::NonZeroU64, time::Duration};

use paceline_limiter::{Actual, Admission, Amount, Demand, Dimension, LimitKey, Quota};
use paceline_limiter::{Limit, Limiter, Pacing, tokio::SharedLimiter};

const UNITS: Dimension = Dimension::custom::<0>();

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let limiter = SharedLimiter::new(Limiter::new());
    let jobs = Quota::per_second(NonZeroU64::new(20).ok_or("zero")?);
    limiter.add(Limit::new(LimitKey::All, Dimension::Requests, jobs).paced(Pacing::Even))?;
    let units = Quota::per_second(NonZeroU64::new(1_000).ok_or("zero")?);
    limiter.add(Limit::new(LimitKey::All, UNITS, units))?;
    let amount = Amount::expected(60).upper(100); // what a job takes as a rule, and at most
    let job = Demand::new().with(Dimension::Requests, Amount::exact(1)).with(UNITS, amount);
    let (mut starts, mut running) = (Vec::new(), tokio::task::JoinSet::new());
    for number in 0..30 {
        let mut permit = limiter.permit(&job).await?; // waits for both limits at once
        permit.sent();
        starts.push((limiter.now(), 1));
        let limiter = limiter.clone();
        running.spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await; // the work
            let took = 20 + 20 * (number % 5); // 20 to 100 units, known only now
            permit.settle(&Actual::new().with(UNITS, took)); // the rest is free at once
            (limiter.now(), took)
        });
    }
    let units = judge::fullest_second(&running.join_all().await);
    let jobs = judge::fullest_second(&starts);
    println!("the fullest second: {jobs} of 20 jobs, {units} of 1,000 units");
    (jobs <= 20 && units <= 1_000).then_some(()).ok_or_else(|| "a limit was passed".into())
}
