//! What is saved goes on in a later process, as if it had never stopped.

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{Actual, Amount, Demand, Dimension, Instant, LimitKey, Quota};
use paceline_limiter::{Limit, Limiter, Pacing, Restored, Saved};

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(seconds)
}

/// 100 units a minute, 10 of them at once.
fn limiter() -> Limiter {
    let not_zero = |n| NonZeroU64::new(n).expect("not zero");
    let quota = Quota::per_minute(not_zero(100));
    let limit = Limit::new(LimitKey::All, Dimension::TotalTokens, quota).delay(Duration::ZERO);
    let mut limiter = Limiter::new();
    limiter.add(limit.paced(Pacing::Burst(not_zero(10)))).expect("a legal limit");
    limiter
}

fn ask(expected: u64, upper: u64) -> Demand {
    Demand::call(Amount::expected(expected).upper(upper))
}

#[test]
fn a_restart_forgets_nothing_and_frees_nothing() {
    let mut before = limiter();
    let settled = before.try_acquire(&ask(10, 40), at(0)).expect("fits");
    before.settle(settled, &Actual::new().with(Dimension::TotalTokens, 40), at(1));
    // Pays for 30 more than was expected, at 1.5 a second.
    let in_flight = before.try_acquire(&ask(5, 60), at(40)).expect("fits");
    before.sent(in_flight, at(40));
    let saved = before.save(at(41));

    // 5 s later, in another process with a clock of its own.
    let mut after = limiter();
    let restored = after.restore(&saved, Duration::from_secs(5), at(1_000));
    assert_eq!(restored, Restored::Limits { restored: 1, unknown: 0 });
    assert!(after.try_acquire(&ask(1, 1), at(1_000)).is_err(), "100 of 100 count");
    // The 40 leave at 61 of the old clock, 15 s on; the 60 in flight count as used when saved.
    assert!(after.try_acquire(&ask(1, 40), at(1_013)).is_err());
    assert!(after.try_acquire(&ask(1, 41), at(1_017)).is_err());
    assert!(after.try_acquire(&ask(1, 40), at(1_017)).is_ok());
}

#[test]
fn what_was_saved_by_another_version_changes_nothing() {
    let mut limiter = limiter();
    let full = limiter.try_acquire(&ask(10, 100), at(0)).expect("fits");
    limiter.settle(full, &Actual::new(), at(0));
    let mut saved = limiter.save(at(1));
    saved.version = Saved::VERSION + 1;
    let mut after = self::limiter();
    let restored = after.restore(&saved, Duration::ZERO, at(0));
    assert_eq!(restored, Restored::OtherVersion { found: Saved::VERSION + 1 });
    assert!(after.try_acquire(&ask(10, 100), at(0)).is_ok());
}
