//! How much memory a limit takes, in a steady state: every slot of its window used, nothing
//! outstanding.
//!
//! It only asks how much is allocated; the program `limiter-memory` has the allocator that knows.
//! That is a program of its own, because counting would slow down whatever else is measured.
//! Invariant: what is counted is what was asked for and is still alive, not the allocator's own.

use std::hint::black_box;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, RateLimiter};
use paceline_core::{Amount, Demand, Dimension, Instant, LimitKey, Quota};
use throttle_net::Throttle;

use super::ours::{self, Held};
use crate::locked::version;
use crate::row::Row;

/// How many limits share what a limiter itself takes.
const LIMITS: usize = 64;

/// Moments at which every limit counts a call, spread over two windows.
const MOMENTS: u64 = 10_000;

/// Measures; `allocated` tells how many bytes are allocated now.
pub(super) fn measure(allocated: &dyn Fn() -> usize) -> Vec<Row> {
    let mut hold = Row::new("memory/hold", of_ours(allocated, ours::holding), "bytes");
    hold.at_most(4_096.0);
    let mut flow = Row::new("memory/flow", of_ours(allocated, ours::flowing), "bytes");
    flow.at_most(12_288.0);
    let mut rows = vec![hold, flow];
    rows.extend(of_peers(allocated));
    rows
}

fn of_ours(allocated: &dyn Fn() -> usize, make: impl Fn() -> Option<Held>) -> f64 {
    let limit = NonZeroU64::new(60_000).expect("not zero");
    let window = Duration::from_secs(60);
    let names: Vec<_> = (0..LIMITS).map(|index| format!("caller-{index}")).collect();
    let amount = Amount::exact(1);
    let demands: Vec<_> = names
        .iter()
        .map(|name| Demand::new().with(Dimension::TotalTokens, amount).caller(name.as_str()))
        .collect();
    let keys: Vec<_> = names.iter().map(|name| LimitKey::Caller(name.as_str().into())).collect();
    let before = allocated();
    let Some(mut held) = make() else { return f64::NAN };
    for key in keys {
        if held.add(key, Quota::per_minute(limit)).is_none() {
            return f64::NAN;
        }
    }
    held.know_the_past();
    let step = window * 2 / u32::try_from(MOMENTS).expect("some thousands");
    let mut now = Instant::ORIGIN + Duration::from_secs(3_600);
    for _ in 0..MOMENTS {
        now = now + step;
        for demand in &demands {
            if held.call(demand, now).is_err() {
                return f64::NAN;
            }
        }
    }
    each(allocated, before, LIMITS, held)
}

/// The peers' limits of one unit a call, which keep no window.
fn of_peers(allocated: &dyn Fn() -> usize) -> Vec<Row> {
    const KEYS: usize = 10_000;
    let quota = governor::Quota::per_second(NonZeroU32::MAX);
    let before = allocated();
    let limiters: Vec<DefaultDirectRateLimiter> =
        (0..LIMITS).map(|_| RateLimiter::direct(quota)).collect();
    let governor = each(allocated, before, LIMITS, limiters);
    let before = allocated();
    let keyed: DefaultKeyedRateLimiter<u64> = RateLimiter::keyed(quota);
    for key in 0..KEYS as u64 {
        let _ = keyed.check_key(&key);
    }
    let governor_keyed = each(allocated, before, KEYS, keyed);
    let before = allocated();
    let limiters: Vec<_> =
        (0..LIMITS).map(|_| leaky_bucket::RateLimiter::builder().build()).collect();
    let leaky_bucket = each(allocated, before, LIMITS, limiters);
    let before = allocated();
    let limiters: Vec<_> = (0..LIMITS).map(|_| Throttle::per_second(u32::MAX)).collect();
    let throttle = each(allocated, before, LIMITS, limiters);
    [
        ("governor", "governor", governor),
        ("governor", "governor-keyed", governor_keyed),
        ("leaky-bucket", "leaky-bucket", leaky_bucket),
        ("throttle-net", "throttle-net", throttle),
    ]
    .map(|(package, name, bytes)| {
        let row = Row::new(format!("memory/beside/{name}"), bytes, "bytes");
        row.beside(format!("{package} {}", version(package)))
    })
    .into()
}

/// What has been allocated since, for each of so many; `kept` is what keeps it.
#[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
fn each<T>(allocated: &dyn Fn() -> usize, before: usize, count: usize, kept: T) -> f64 {
    // What nobody looks at need not be allocated at all.
    let kept = black_box(kept);
    let bytes = allocated().saturating_sub(before);
    drop(kept);
    bytes as f64 / count as f64
}
