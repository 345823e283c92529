//! What one decision costs: two limits, acquire and settle, pure.

use std::hint::black_box;
use std::num::NonZeroU64;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use paceline_core::{Actual, Amount, Demand, Dimension, Instant, LimitKey, Quota};
use paceline_limiter::{Limit, Limiter};

fn decision(criterion: &mut Criterion) {
    let many = NonZeroU64::new(1 << 40).expect("not zero");
    let mut limiter = Limiter::new();
    for dimension in [Dimension::Requests, Dimension::TotalTokens] {
        let limit = Limit::new(LimitKey::All, dimension, Quota::per_minute(many));
        limiter.add(limit).expect("a legal limit");
    }
    let demand = Demand::call(Amount::expected(300).upper(900));
    let actual = Actual::new().with(Dimension::TotalTokens, 280);
    let mut now = Instant::ORIGIN;
    criterion.bench_function("two/hold/pure", |bench| {
        bench.iter(|| {
            now = now + Duration::from_micros(1);
            let receipt = limiter.try_acquire(black_box(&demand), now).expect("it fits");
            limiter.sent(receipt, now);
            limiter.settle(receipt, &actual, now)
        });
    });
}

criterion_group!(benches, decision);
criterion_main!(benches);
