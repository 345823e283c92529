//! The limiter alone, around any job: `cargo run -p paceline --example limiter_alone`.
#![expect(clippy::print_stdout, reason = "a program")]

use std::num::NonZeroU64;

use paceline::core::{Actual, Admission, Amount, Demand, Dimension, LimitKey, Quota};
use paceline::limiter::tokio::SharedLimiter;
use paceline::limiter::{Limit, Limiter, Pacing};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limiter = SharedLimiter::new(Limiter::new());
    let per_second = Quota::per_second(NonZeroU64::new(20).ok_or("twenty")?);
    let pages = Quota::per_minute(NonZeroU64::new(1_000).ok_or("a thousand")?);
    limiter.add(Limit::new(LimitKey::All, Dimension::Requests, per_second).paced(Pacing::Even))?;
    limiter.add(Limit::new(LimitKey::All, Dimension::custom::<0>(), pages))?;

    for query in 1..=10_u64 {
        let demand = Demand::new()
            .with(Dimension::Requests, Amount::exact(1))
            .with(Dimension::custom::<0>(), Amount::expected(40).upper(100));
        let receipt = limiter.acquire(&demand).await?;
        limiter.sent(receipt);
        // ... the job ...
        limiter.settle(receipt, &Actual::new().with(Dimension::custom::<0>(), 30 + query));
    }
    for limit in limiter.snapshot().limits {
        println!("{} of {} {}", limit.used, limit.quota, limit.dimension);
    }
    Ok(())
}
