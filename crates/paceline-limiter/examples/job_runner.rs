//! A job runner that stays below two limits and settles to what each job really took.
//!
//! `cargo run -p paceline-limiter --features tokio --example job_runner`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program, not the library")]

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{Actual, Admission, Amount, Demand, Dimension, LimitKey, Quota};
use paceline_limiter::tokio::SharedLimiter;
use paceline_limiter::{Limit, Limiter, Pacing};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let per_second = Quota::per_second(NonZeroU64::new(20).ok_or("twenty")?);
    let units = Quota::per(NonZeroU64::new(2_000).ok_or("two thousand")?, Duration::from_secs(2))?;
    let limiter = SharedLimiter::new(Limiter::new());
    limiter.add(Limit::new(LimitKey::All, Dimension::Requests, per_second).paced(Pacing::Even))?;
    limiter.add(Limit::new(LimitKey::All, Dimension::TotalTokens, units))?;

    let started = limiter.now();
    for job in 0..30_u64 {
        // Probably 80 units, at most 200; what it took is known only afterwards.
        let receipt = limiter.acquire(&Demand::call(Amount::expected(80).upper(200))).await?;
        limiter.sent(receipt);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let took = 60 + job % 5 * 20;
        limiter.settle(receipt, &Actual::new().with(Dimension::TotalTokens, took));
    }
    println!("30 jobs in {:.1?}", limiter.now().since(started));
    for limit in limiter.snapshot().limits {
        println!("{:>8} of {} {}", limit.used, limit.quota, limit.dimension);
    }
    Ok(())
}
