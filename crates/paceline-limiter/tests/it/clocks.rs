//! Clocks that lag behind: S1 holds in every shared form, by what the clock says of itself.
#![cfg(all(feature = "clock", feature = "tokio"))]

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{
    Actual, Admission, Amount, Clock, Demand, Dimension, Instant, LimitKey, ManualClock, Quota,
    Receipt,
};
use paceline_limiter::clock::{CoarseClock, SharedKeyedLimiter};
use paceline_limiter::{ChargeRule, KeyedLimiter, Limit, Limiter, clock, tokio};
use paceline_sim::engine::Rolling;

const WINDOW: Duration = Duration::from_secs(1);
const DELAY: Duration = Duration::from_millis(20);
const LAG_MS: u64 = 137;

/// Shows the time of the last of its ticks, at its latest.
#[derive(Clone, Debug)]
struct Lagging(ManualClock);

impl Clock for Lagging {
    fn now(&self) -> Instant {
        let lag = LAG_MS * 1_000_000;
        Instant::from_nanos(self.0.now().as_nanos() / lag * lag)
    }

    fn staleness(&self) -> Duration {
        Duration::from_millis(LAG_MS)
    }
}

/// What a form does here.
trait Form {
    fn ask(&self, demand: &Demand) -> Option<Receipt>;
    fn sent(&self, receipt: Receipt);
    fn settle(&self, receipt: Receipt);
}

struct Keyed(SharedKeyedLimiter<u8, Lagging>);

impl Form for Keyed {
    fn ask(&self, demand: &Demand) -> Option<Receipt> {
        self.0.try_acquire(&0, demand).ok()
    }

    fn sent(&self, receipt: Receipt) {
        self.0.sent(receipt);
    }

    fn settle(&self, receipt: Receipt) {
        self.0.settle(receipt, &Actual::new().with(Dimension::Requests, 1));
    }
}

impl Form for clock::SharedLimiter<Lagging> {
    fn ask(&self, demand: &Demand) -> Option<Receipt> {
        self.try_acquire(demand).ok()
    }

    fn sent(&self, receipt: Receipt) {
        self.sent(receipt);
    }

    fn settle(&self, receipt: Receipt) {
        self.settle(receipt, &Actual::new().with(Dimension::Requests, 1));
    }
}

impl Form for tokio::SharedLimiter<Lagging> {
    fn ask(&self, demand: &Demand) -> Option<Receipt> {
        self.try_acquire(demand).ok()
    }

    fn sent(&self, receipt: Receipt) {
        Admission::sent(self, receipt);
    }

    fn settle(&self, receipt: Receipt) {
        Admission::settle(self, receipt, &Actual::new().with(Dimension::Requests, 1));
    }
}

const LIMIT: NonZeroU64 = NonZeroU64::MIN.saturating_add(9);

fn limit(rule: ChargeRule) -> Limit {
    let quota = Quota::per(LIMIT, WINDOW).expect("a window");
    Limit::new(LimitKey::All, Dimension::Requests, quota).charged(rule).delay(DELAY)
}

fn forms(rule: ChargeRule, time: &ManualClock) -> [Box<dyn Form>; 3] {
    let lagging = || Lagging(time.clone());
    let limiter = || {
        let mut limiter = Limiter::new();
        limiter.add(limit(rule)).expect("a legal limit");
        limiter
    };
    let keyed = KeyedLimiter::new([limit(rule)]).expect("a legal limit");
    [
        Box::new(clock::SharedLimiter::with_clock(limiter(), lagging())),
        Box::new(tokio::SharedLimiter::with_clock(limiter(), lagging())),
        Box::new(Keyed(SharedKeyedLimiter::with_clock(keyed, lagging()))),
    ]
}

/// The fullest window at a server that counts a call up to the delay bound after it was sent, or
/// when it is over.
fn fullest(form: &dyn Form, rule: ChargeRule, time: &ManualClock) -> u128 {
    let one = Demand::new().with(Dimension::Requests, Amount::exact(1));
    let (mut counted, mut random) = (Vec::new(), 1_u64);
    for millis in (200_000_u64..230_000).step_by(3) {
        let now = Instant::ORIGIN + Duration::from_millis(millis);
        time.set(now);
        let Some(receipt) = form.ask(&one) else { continue };
        form.sent(receipt);
        form.settle(receipt);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let way = if rule == ChargeRule::Arrival { (random >> 33) % 20 } else { 0 };
        counted.push(now + Duration::from_millis(way));
    }
    assert!(counted.len() > 100, "{} admitted", counted.len());
    counted.sort();
    let mut log = Rolling::new(WINDOW);
    counted.into_iter().for_each(|at| log.add(at, 1).expect("in order"));
    log.worst()
}

#[test]
fn a_clock_that_lags_passes_no_limit_in_any_form() {
    for rule in [ChargeRule::Arrival, ChargeRule::Completion, ChargeRule::HeldMax] {
        let time = ManualClock::new();
        for (place, form) in forms(rule, &time).iter().enumerate() {
            time.set(Instant::ORIGIN);
            let worst = fullest(form.as_ref(), rule, &time);
            assert!(worst <= u128::from(LIMIT.get()), "{rule:?}, form {place}: {worst}");
        }
    }
}

#[test]
fn a_coarse_clock_says_by_how_much_it_may_lag() {
    let clock = CoarseClock::start(Duration::from_millis(1)).expect("a thread");
    assert_eq!(clock.staleness(), Duration::from_millis(4));
    assert!(clock.worst_lag() < Duration::from_secs(3_600), "nothing has passed yet");
}
