//! A pool of two workers: a paying tenant gets three times the share of a free one.
//!
//! `cargo run -p paceline-limiter --features tokio --example fair_pool`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program, not the library")]
use std::{error::Error, num::NonZeroU32, num::NonZeroU64, time::Duration};

use paceline_limiter::{Amount, Demand, Dimension, LimitKey, Quota, Refusal};
use paceline_limiter::{FairShare, Limit, Limiter, QueuePolicy, tokio::SharedLimiter};

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let three = NonZeroU32::new(3).ok_or("zero")?;
    let shares = FairShare::by_caller().weight("paying", three); // all others have weight 1
    let limiter = Limiter::new().with_queue(QueuePolicy::new().fair(shares))?;
    let limiter = SharedLimiter::new(limiter);
    let workers = Quota::once(NonZeroU64::new(2).ok_or("zero")?); // at most two at a time
    limiter.add(Limit::new(LimitKey::All, Dimension::InFlight, workers))?;
    let mut pool = tokio::task::JoinSet::new();
    for tenant in ["free", "paying"].repeat(40) {
        let limiter = limiter.clone();
        let job = Demand::new().with(Dimension::InFlight, Amount::exact(1)).caller(tenant);
        pool.spawn(async move {
            let mut worker = limiter.permit(&job).await?; // in the queue, until it is its turn
            worker.sent(); // it is used: that counts for the tenant's share
            tokio::time::sleep(Duration::from_millis(10)).await; // the work
            Ok::<_, Refusal>(tenant) // the worker is free again; so it is where this task is aborted
        });
    }
    let mut served = Vec::new();
    while served.len() < 48 {
        served.push(pool.join_next().await.ok_or("too few jobs")???);
    }
    // Both still have jobs waiting: three of four served are the paying tenant's, 36, or nearly.
    let paying = served.iter().filter(|tenant| **tenant == "paying").count();
    println!("of 48 jobs: {paying} paying, {} free", 48 - paying);
    (33..=39).contains(&paying).then_some(()).ok_or_else(|| "not fair".into())
}
