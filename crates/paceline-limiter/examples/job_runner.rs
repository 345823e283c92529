//! A job runner that stays below 20 jobs a second *and* 1,000 units of work a second.
//!
//! `cargo run -p paceline-limiter --features tokio --example job_runner`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program, not the library")]
mod judge;
use std::{error::Error, num::NonZeroU64, time::Duration};

use paceline_core::{Actual, Admission, Amount, Demand, Dimension, LimitKey, Quota};
use paceline_limiter::{Limit, Limiter, Pacing, tokio::SharedLimiter};

const UNITS: Dimension = Dimension::custom::<0>();

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let limiter = SharedLimiter::new(Limiter::new());
    let jobs = Quota::per_second(NonZeroU64::new(20).ok_or("zero")?);
    limiter.add(Limit::new(LimitKey::All, Dimension::Requests, jobs).paced(Pacing::Even))?;
    let units = Quota::per_second(NonZeroU64::new(1_000).ok_or("zero")?);
    limiter.add(Limit::new(LimitKey::All, UNITS, units))?;
    // A job takes 60 units as a rule and 100 at most. What it took is known when it is over.
    let job = Demand::new().with(Dimension::Requests, Amount::exact(1));
    let job = job.with(UNITS, Amount::expected(60).upper(100));
    let (mut starts, mut running) = (Vec::new(), tokio::task::JoinSet::new());
    for (limiter, took) in std::iter::repeat_n(limiter, 30).zip((20..=100).step_by(20).cycle()) {
        let receipt = limiter.acquire(&job).await?; // waits for both limits at once
        starts.push((limiter.now(), 1));
        limiter.sent(receipt);
        running.spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await; // the work
            let over = limiter.now();
            limiter.settle(receipt, &Actual::new().with(UNITS, took));
            (over, took)
        });
    }
    let units = judge::fullest_second(&running.join_all().await);
    let jobs = judge::fullest_second(&starts);
    println!("the fullest second: {jobs} of 20 jobs, {units} of 1,000 units");
    (jobs <= 20 && units <= 1_000).then_some(()).ok_or_else(|| "a limit was passed".into())
}
