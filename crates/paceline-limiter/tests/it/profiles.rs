//! What the profiles claim of servers, at full load.

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{Amount, Demand, Dimension, Instant, LimitKey, Quota, Refusal};
use paceline_limiter::{Limiter, Profile};
use paceline_sim::engine::{Ask, Charge, Meter, Rule, Shape};

const MINUTE: Duration = Duration::from_secs(60);

/// Makes each call as soon as it is admitted, for ten minutes; how many a server refuses.
fn refused(profile: Profile, limit: u64, shape: Shape, ways: &[Duration]) -> (u64, u64) {
    let quota = Quota::per_minute(NonZeroU64::new(limit).expect("not zero"));
    let delay = ways.iter().copied().max().expect("a way");
    let mut limiter = Limiter::new();
    limiter
        .add(profile.limit(LimitKey::All, Dimension::Requests, quota, delay))
        .expect("a legal limit");
    let rule = Rule::new(limit, MINUTE, shape, Charge::Arrival).expect("a legal rule");
    let one = Demand::new().with(Dimension::Requests, Amount::exact(1));
    let (mut now, mut arrivals) = (Instant::ORIGIN + MINUTE * 60, Vec::new());
    let end = now + MINUTE * 10;
    while now < end {
        match limiter.try_acquire(&one, now) {
            Ok(receipt) => {
                limiter.sent(receipt, now);
                arrivals.push(now + ways[arrivals.len() % ways.len()]);
            }
            Err(Refusal::NotUntil(blocked)) => now = blocked.until.expect("time brings it"),
            Err(other) => panic!("{other:?}"),
        }
    }
    arrivals.sort_unstable();
    let mut meter = Meter::new(rule);
    let refused = arrivals.iter().filter(|at| meter.arrive(Ask::new(1), **at).is_err()).count();
    (refused as u64, arrivals.len() as u64)
}

#[test]
fn smooth_is_refused_by_no_shape_that_counts_arrivals() {
    let ways = [Duration::from_millis(75), Duration::ZERO, Duration::from_millis(30)];
    for limit in [2, 3, 10, 59, 60, 61, 119, 480, 6_000] {
        let third = Shape::Slices { count: 3 };
        for shape in [Shape::Sliding, Shape::Aligned, third, Shape::TwoCounter] {
            for ways in [&ways[..], &ways[1..2]] {
                let (refused, of) = refused(Profile::Smooth, limit, shape, ways);
                assert_eq!(refused, 0, "of {of}: {limit} a minute, {shape:?}, {ways:?}");
                // No more than one burst a window is given up for that, nor half of it.
                let least = 10 * (limit - (limit / 60).max(1)).max(1) * 99 / 100;
                assert!(of >= least, "{of}: {limit} a minute, {shape:?}");
            }
        }
    }
}

#[test]
fn smooth_is_refused_by_no_bucket_where_every_call_is_as_long_on_its_way() {
    for limit in [2, 3, 10, 59, 60, 61, 119, 480, 6_000] {
        let shape = Shape::Bucket { capacity: (limit / 60).max(1) };
        let (refused, of) = refused(Profile::Smooth, limit, shape, &[Duration::ZERO]);
        assert_eq!(refused, 0, "of {of}: {limit} a minute, {shape:?}");
    }
}

#[test]
fn the_others_are_refused_by_no_shape_that_they_claim() {
    let ways = [Duration::from_millis(75), Duration::ZERO, Duration::from_millis(30)];
    for limit in [1, 2, 3, 10, 59, 480, 6_000] {
        for profile in [Profile::Grok, Profile::GrokStrict, Profile::Burst] {
            let (refused, _) = refused(profile, limit, Shape::Sliding, &ways);
            assert_eq!(refused, 0, "{profile:?}, {limit} a minute");
        }
        let bucket = Shape::Bucket { capacity: limit };
        let (refused, _) = refused(Profile::Bucket, limit, bucket, &ways[1..2]);
        assert_eq!(refused, 0, "{limit} a minute");
    }
}
