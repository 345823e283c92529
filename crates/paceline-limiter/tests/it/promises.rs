//! S1, S2 and S3 under random calls, delays and settlements.

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{
    Actual, Amount, Completion, Demand, Dimension, Instant, LimitKey, Quota, Receipt,
};
use paceline_limiter::{ChargeRule, Limit, Limiter, Pacing, Snapshot};
use proptest::prelude::*;

use crate::oracle::Log;

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;

/// One call, as fate has it: when it is asked for, how long each part takes, how it ends.
#[derive(Clone, Debug)]
struct Fate {
    pause_ms: u64,
    expected: u64,
    extra: u64,
    to_send_ms: u64,
    delay_ms: u64,
    head_ms: u64,
    work_ms: u64,
    used_percent: u64,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Settled,
    Unknown,
    NeverSent,
    SentNotKnown,
}

fn fate() -> impl Strategy<Value = Fate> {
    let end = prop_oneof![
        6 => Just(End::Settled),
        2 => Just(End::Unknown),
        1 => Just(End::NeverSent),
        1 => Just(End::SentNotKnown),
    ];
    let times = (0..400_u64, 0..50_u64, 0..=75_u64, 0..500_u64, 0..4_000_u64);
    (times, 1..80_u64, 0..120_u64, 0..=100_u64, end).prop_map(
        |((pause_ms, to_send_ms, delay_ms, head_ms, work_ms), expected, extra, used, end)| Fate {
            pause_ms,
            expected,
            extra,
            to_send_ms,
            delay_ms,
            head_ms,
            work_ms,
            used_percent: used,
            end,
        },
    )
}

/// What is still to happen to admitted calls.
#[derive(Clone, Copy, Debug)]
enum Event {
    Sent(Receipt, u64),
    Head(Receipt),
    Settle(Receipt, Option<u64>),
    Cancel(Receipt),
}

struct Run {
    limiter: Limiter,
    now: u64,
    pending: Vec<(u64, Event)>,
    arrivals: Log,
    completions: Log,
    ends: Vec<u64>,
}

const REQUESTS: u64 = 7;
const TOKENS: u64 = 400;
const DELAY: Duration = Duration::from_millis(75);
const LATEST: Duration = Duration::from_secs(5);

impl Run {
    fn new(pacing: Pacing) -> Self {
        let not_zero = |n| NonZeroU64::new(n).expect("not zero");
        let mut limiter = Limiter::new();
        let requests = Quota::per_second(not_zero(REQUESTS));
        let tokens = Quota::per(not_zero(TOKENS), Duration::from_secs(10)).expect("a window");
        let limits = [
            Limit::new(LimitKey::All, Dimension::Requests, requests).delay(DELAY).paced(pacing),
            Limit::new(LimitKey::All, Dimension::TotalTokens, tokens),
            Limit::new(LimitKey::All, Dimension::InFlight, Quota::once(not_zero(6))),
        ];
        for limit in limits {
            limiter.add(limit).expect("a legal limit");
        }
        let (arrivals, completions) = (Log::default(), Log::default());
        Self { limiter, now: 0, pending: Vec::new(), arrivals, completions, ends: Vec::new() }
    }

    fn at(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    /// Lets everything happen that is due by `until`, in order.
    fn pass(&mut self, until: u64) {
        loop {
            self.pending.sort_by_key(|(at, _)| *at);
            if self.pending.first().is_none_or(|(at, _)| *at > until) {
                break;
            }
            let (at, event) = self.pending.remove(0);
            self.now = self.now.max(at);
            let now = self.at();
            match event {
                Event::Sent(receipt, delay) => {
                    assert!(self.limiter.sent(receipt, now));
                    self.arrivals.count(at + delay, 1);
                }
                Event::Head(receipt) => {
                    self.limiter.head_received(receipt, now);
                }
                Event::Settle(receipt, used) => {
                    let actual = used.map_or(Actual::new(), |used| {
                        Actual::new().with(Dimension::TotalTokens, used)
                    });
                    assert!(self.limiter.settle(receipt, &actual, now));
                    assert!(!self.limiter.settle(receipt, &actual, now), "settled twice");
                }
                Event::Cancel(receipt) => assert!(self.limiter.cancel_unsent(receipt, now)),
            }
        }
        self.now = self.now.max(until);
    }

    fn call(&mut self, fate: &Fate) {
        self.pass(self.now + fate.pause_ms * MILLI);
        let upper = fate.expected + fate.extra;
        let demand = Demand::call(Amount::expected(fate.expected).upper(upper))
            .completes(Completion::between(Duration::ZERO, LATEST));
        let now = self.at();
        let before = self.limiter.snapshot(now);
        let Ok(receipt) = self.limiter.try_acquire(&demand, now) else {
            // S2: a refusal changes nothing.
            assert_eq!(self.limiter.snapshot(now), before);
            return;
        };
        let sent = self.now + fate.to_send_ms * MILLI;
        let counted = fate.delay_ms * MILLI;
        // The head can't come before the server has counted the arrival.
        let head = sent + counted + fate.head_ms * MILLI;
        let over = head + fate.work_ms * MILLI;
        let used = upper * fate.used_percent / 100;
        if fate.end == End::NeverSent {
            self.pending.push((sent, Event::Cancel(receipt)));
            return;
        }
        self.pending.push((sent, Event::Sent(receipt, counted)));
        match fate.end {
            End::Settled => {
                self.pending.push((head, Event::Head(receipt)));
                // The server charges somewhere between head and the end that we hear of.
                self.completions.count(head + (over - head) / 2, used);
                self.pending.push((over, Event::Settle(receipt, Some(used))));
            }
            // We drop it early; the server works on and charges within the promised range.
            _ => {
                let dropped = sent + fate.work_ms.min(200) * MILLI;
                let charged = (over + 500 * MILLI).min(sent + 4 * SECOND);
                self.completions.count(charged, used);
                self.pending.push((dropped, Event::Settle(receipt, None)));
            }
        }
        self.ends.push(over);
    }

    /// S3: when all is settled and the windows have passed, nothing is left.
    fn drain(&mut self) -> Snapshot {
        self.pass(self.now + 60 * SECOND);
        self.limiter.snapshot(self.at())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_rolling_window_ever_passes_its_limit(
        fates in prop::collection::vec(fate(), 1..120),
        paced in any::<bool>(),
    ) {
        let mut run = Run::new(if paced { Pacing::Even } else { Pacing::None });
        for fate in &fates {
            run.call(fate);
        }
        let idle = run.drain();
        prop_assert!(run.arrivals.worst_window(SECOND) <= REQUESTS);
        prop_assert!(run.completions.worst_window(10 * SECOND) <= TOKENS);
        prop_assert_eq!(idle.in_flight, 0);
        for limit in idle.limits {
            prop_assert_eq!((limit.used, limit.held), (0, 0), "{:?}", limit.dimension);
        }
    }

    #[test]
    fn even_spacing_alone_keeps_any_window_at_the_server(
        delays in prop::collection::vec(0..=75_u64, 200),
        asked_every_us in 1..30_000_u64,
        limit in 1..60_u64,
    ) {
        let mut limiter = Limiter::new();
        let quota = Quota::per_second(NonZeroU64::new(limit).expect("not zero"));
        // Each call is told to be counted (its head is there) when it leaves, though the server counts
        // it up to the delay bound later. So the rolling window behind the pacer forgets it too early
        // to help, and what covers the delay is the spacing alone.
        let even = Limit::new(LimitKey::All, Dimension::Requests, quota)
            .charged(ChargeRule::Arrival).delay(DELAY).paced(Pacing::Even);
        limiter.add(even).expect("a legal limit");
        let mut log = Log::default();
        let mut now = 0;
        for delay in delays {
            let demand = Demand::new().with(Dimension::Requests, Amount::exact(1));
            let receipt = loop {
                match limiter.try_acquire(&demand, Instant::from_nanos(now)) {
                    Ok(receipt) => break receipt,
                    Err(_) => now += asked_every_us * 1_000,
                }
            };
            limiter.sent(receipt, Instant::from_nanos(now));
            log.count(now + delay * MILLI, 1);
            limiter.head_received(receipt, Instant::from_nanos(now));
        }
        prop_assert!(log.worst_window(SECOND) <= limit);
    }
}
