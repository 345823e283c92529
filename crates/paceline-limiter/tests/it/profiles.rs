//! What the profiles claim of servers, at full load.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{
    Actual, Amount, Completion, Demand, Dimension, Instant, LimitKey, Quota, Receipt, Refusal,
};
use paceline_limiter::{Limiter, Profile};
use paceline_sim::engine::{Ask, Call, Charge, Meter, Rule, Shape};

const MINUTE: Duration = Duration::from_secs(60);

/// A full minute, as the server counts them.
const START: Instant = Instant::from_nanos(3_600 * 1_000_000_000);

/// As below, of so many a minute.
fn refused(profile: Profile, limit: u64, shape: Shape, ways: &[Duration]) -> (u64, u64) {
    let quota = Quota::per_minute(NonZeroU64::new(limit).expect("not zero"));
    refused_of(profile, quota, shape, ways)
}

/// Makes each call as soon as it is admitted, for ten minutes; how many a server refuses, and of
/// how many.
fn refused_of(profile: Profile, quota: Quota, shape: Shape, ways: &[Duration]) -> (u64, u64) {
    let (limit, window) = (quota.limit().get(), quota.window().expect("a window"));
    let delay = ways.iter().copied().max().expect("a way");
    let mut limiter = Limiter::new();
    limiter
        .add(profile.limit(LimitKey::All, Dimension::Requests, quota, delay))
        .expect("a legal limit");
    let rule = Rule::new(limit, window, shape, Charge::Arrival).expect("a legal rule");
    let one = Demand::new().with(Dimension::Requests, Amount::exact(1));
    let (mut now, mut arrivals) = (START, Vec::new());
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
fn the_others_are_refused_by_no_shape_of_arrivals_that_they_claim() {
    let ways = [Duration::from_millis(75), Duration::ZERO, Duration::from_millis(30)];
    for limit in [1, 2, 3, 10, 59, 480, 6_000] {
        for profile in [Profile::Grok, Profile::GrokStrict, Profile::Burst] {
            for shape in [Shape::Sliding, Shape::Aligned] {
                let (refused, _) = refused(profile, limit, shape, &ways);
                assert_eq!(refused, 0, "{profile:?}, {limit} a minute, {shape:?}");
            }
        }
        let bucket = Shape::Bucket { capacity: limit };
        let (refused, _) = refused(Profile::Bucket, limit, bucket, &ways[1..2]);
        assert_eq!(refused, 0, "{limit} a minute");
    }
}

#[test]
fn a_limit_per_second_is_passed_by_no_profile_that_claims_windows() {
    let ways = [Duration::from_millis(75), Duration::ZERO, Duration::from_millis(30)];
    for limit in [1, 2, 8, 60, 250] {
        for profile in [Profile::Grok, Profile::GrokStrict, Profile::Burst, Profile::Smooth] {
            for shape in [Shape::Sliding, Shape::Aligned] {
                let quota = Quota::per_second(NonZeroU64::new(limit).expect("not zero"));
                let (refused, of) = refused_of(profile, quota, shape, &ways);
                assert_eq!(refused, 0, "{profile:?}, {limit} a second, {shape:?}");
                // A burst is given up in front of every window, and the delay is added to it.
                assert!(of >= 600 * limit * 2 / 5, "{profile:?}, {limit} a second: {of}");
            }
        }
    }
}

/// When calls that are counted when they are over end.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// 0.2 to 3 s after they were sent.
    Apart,
    /// All at the same moments, twice a minute.
    Together,
    /// Those of the first half minute just after it is over, those of the second half just after the
    /// minute that follows, all others soon.
    InTurn,
}

enum Event {
    Arrives(Receipt, u64),
    Over(Call, Receipt, u64),
    Heard(Receipt, u64),
}

/// A client that always has work, and a server of tokens.
struct Tokens {
    limiter: Limiter,
    meter: Meter,
    events: BTreeMap<(Instant, u64), Event>,
    seed: u64,
    number: u64,
    refused: u64,
}

impl Tokens {
    const LIMIT: u64 = 60_000;
    const DELAY: Duration = Duration::from_millis(75);

    fn new(profile: Profile, shape: Shape, charge: Charge) -> Self {
        let quota = Quota::per_minute(NonZeroU64::new(Self::LIMIT).expect("not zero"));
        let mut limiter = Limiter::new();
        limiter
            .add(profile.limit(LimitKey::All, Dimension::TotalTokens, quota, Self::DELAY))
            .expect("a legal limit");
        let rule = Rule::new(Self::LIMIT, MINUTE, shape, charge).expect("a legal rule");
        let meter = Meter::new(rule);
        Self { limiter, meter, events: BTreeMap::new(), seed: 7, number: 0, refused: 0 }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.number += 1;
        self.events.insert((at, self.number), event);
    }

    /// How many calls are refused, and of how many, in ten minutes.
    fn run(mut self, ends: Ends, upper: u64) -> (u64, u64) {
        // 150 units each on average, between 51 and 249, of which 50 are there from the start.
        let longest = match ends {
            Ends::Apart => Duration::from_secs(3),
            Ends::Together => Duration::from_secs(30),
            Ends::InTurn => Duration::from_secs(91),
        };
        let call = Demand::new()
            .with(Dimension::InputTokens, Amount::exact(50))
            .with(Dimension::TotalTokens, Amount::expected(150).spread(58).upper(upper))
            .completes(Completion::between(Duration::from_millis(200), longest));
        let (mut now, mut asked) = (START, 0);
        let end = now + MINUTE * 10;
        while now < end {
            while let Some(event) = self.events.first_entry().filter(|next| next.key().0 <= now) {
                let ((at, _), event) = event.remove_entry();
                self.happens(event, at, ends, upper);
            }
            match self.limiter.try_acquire(&call, now) {
                Ok(receipt) => {
                    self.limiter.sent(receipt, now);
                    asked += 1;
                    let way = self.random(75);
                    let used = (51 + self.random(199)).min(upper);
                    self.at(now + Duration::from_millis(way), Event::Arrives(receipt, used));
                }
                Err(Refusal::NotUntil(blocked)) => {
                    let event = self.events.first_key_value().map(|((at, _), _)| *at);
                    now = blocked.until.into_iter().chain(event).min().expect("something helps");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        (self.refused, asked)
    }

    fn happens(&mut self, event: Event, now: Instant, ends: Ends, upper: u64) {
        match event {
            Event::Arrives(receipt, used) => {
                self.limiter.head_received(receipt, now);
                let Ok(call) = self.meter.arrive(Ask::new(used).input(50).most(upper), now) else {
                    self.refused += 1;
                    self.at(now, Event::Heard(receipt, 0));
                    return;
                };
                let work = match ends {
                    Ends::Apart => Duration::from_millis(200 + self.random(2_800)),
                    Ends::Together => {
                        let half = 30_000_000_000;
                        Duration::from_nanos(half - now.as_nanos() % half)
                    }
                    Ends::InTurn => match now.since(START).as_secs() {
                        0..30 => (START + MINUTE + Duration::from_millis(100)).since(now),
                        30..60 => (START + MINUTE * 2 + Duration::from_millis(200)).since(now),
                        _ => Duration::from_millis(200),
                    },
                };
                self.at(now + work, Event::Over(call, receipt, used));
            }
            Event::Over(call, receipt, used) => {
                assert!(self.meter.complete(call, now));
                let way = self.random(75);
                self.at(now + Duration::from_millis(way), Event::Heard(receipt, used));
            }
            Event::Heard(receipt, used) => {
                let actual = Actual::new().with(Dimension::TotalTokens, used);
                assert!(self.limiter.settle(receipt, &actual, now));
            }
        }
    }
}

#[test]
fn windows_refuse_nothing_of_a_profile_that_holds_whenever_they_count() {
    for profile in [Profile::GrokStrict, Profile::Burst, Profile::Smooth] {
        for shape in [Shape::Sliding, Shape::Aligned] {
            for charge in [Charge::Arrival, Charge::Completion, Charge::Held] {
                for ends in [Ends::Apart, Ends::Together, Ends::InTurn] {
                    let (refused, of) = Tokens::new(profile, shape, charge).run(ends, 900);
                    let case = (profile, shape, charge, ends);
                    assert_eq!(refused, 0, "of {of}: {case:?}");
                    assert!(of > 500, "{of}: {case:?}");
                }
            }
        }
    }
}

#[test]
fn a_sliding_window_that_counts_completions_refuses_next_to_nothing_of_grok() {
    let (refused, of) =
        Tokens::new(Profile::Grok, Shape::Sliding, Charge::Completion).run(Ends::Apart, 900);
    assert!(refused * 10_000 <= of, "{refused} of {of}");
    // Nearly all of ten minutes of 60,000, in calls of 150.
    assert!(of >= 3_800, "{of}");
}

#[test]
fn what_smooth_does_not_claim_of_completions_is_refused() {
    for shape in [Shape::TwoCounter, Shape::Bucket { capacity: Tokens::LIMIT / 60 }] {
        let (refused, of) =
            Tokens::new(Profile::Smooth, shape, Charge::Completion).run(Ends::InTurn, 150);
        assert!(refused > 0, "of {of}: {shape:?} could be claimed after all");
    }
}
