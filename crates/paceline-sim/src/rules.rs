//! The rules by which a Grok server admits and counts, kept the naive way: exact logs.
//!
//! Pure: time is an argument. It shares nothing with any limiter, so that it can judge them.
//! Invariant: a window is `(now - W, now]`; what is exactly `W` old has left it.
//!
//! Sources: recorded traffic (a sliding minute, requests counted on arrival, tokens on
//! completion by actual use: measured, high confidence), the documented RPS = RPM/48 with a
//! minimum of 2 (high), refused requests counted (inferred, medium), a sliding second (assumed).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use paceline_core::Instant;

/// How much is allowed; `None` is not limited, 0 is no entitlement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Requests per second.
    pub rps: Option<u64>,
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute, input and output together.
    pub tpm: Option<u64>,
}

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum What {
    /// Requests per second.
    Rps,
    /// Requests per minute.
    Rpm,
    /// Tokens per minute.
    Tpm,
}

/// A limit that refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exceeded {
    /// Which limit.
    pub what: What,
    /// What is counted, this call included.
    pub actual: u64,
    /// What is allowed.
    pub limit: u64,
}

/// A call that was admitted and has not completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallNumber(u64);

/// What becomes of an arriving call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// It is worked on.
    Admitted(
        /// Its number, for its completion.
        CallNumber,
    ),
    /// It is refused by these limits.
    Refused(
        /// At least one.
        Vec<Exceeded>,
    ),
}

/// The counts of one model of one team.
#[derive(Clone, Debug)]
pub struct Rules {
    limits: Limits,
    /// Every arrival of the last minute, refused ones too.
    arrivals: VecDeque<Instant>,
    /// Every completion of the last minute, with its tokens.
    completions: VecDeque<(Instant, u64)>,
    open: HashMap<CallNumber, Instant>,
    next: u64,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

impl Limits {
    /// No limits.
    pub const fn new() -> Self {
        Self { rps: None, rpm: None, tpm: None }
    }

    /// With so many requests per second.
    #[must_use]
    pub const fn rps(mut self, limit: u64) -> Self {
        self.rps = Some(limit);
        self
    }

    /// With so many requests per minute; those per second follow where they are not given:
    /// ⌊RPM/48⌋, at least 2.
    #[must_use]
    pub const fn rpm(mut self, limit: u64) -> Self {
        self.rpm = Some(limit);
        self
    }

    /// With so many tokens per minute.
    #[must_use]
    pub const fn tpm(mut self, limit: u64) -> Self {
        self.tpm = Some(limit);
        self
    }

    /// The requests per second in force, given or following from those per minute.
    pub fn rps_in_force(&self) -> Option<u64> {
        self.rps.or_else(|| self.rpm.map(|rpm| if rpm == 0 { 0 } else { (rpm / 48).max(2) }))
    }
}

impl Rules {
    /// Nothing has been counted yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            arrivals: VecDeque::new(),
            completions: VecDeque::new(),
            open: HashMap::new(),
            next: 0,
        }
    }

    /// A call arrives. It is counted whether it is admitted or not.
    pub fn arrive(&mut self, now: Instant, input_tokens: u64) -> Decision {
        self.forget(now);
        self.arrivals.push_back(now);
        let mut exceeded = Vec::new();
        let mut check = |what, actual, limit: Option<u64>| {
            if let Some(limit) = limit.filter(|limit| actual > *limit || *limit == 0) {
                let actual = if limit == 0 { 0 } else { actual };
                exceeded.push(Exceeded { what, actual, limit });
            }
        };
        check(What::Rps, self.requests(now, SECOND), self.limits.rps_in_force());
        check(What::Rpm, self.requests(now, MINUTE), self.limits.rpm);
        check(What::Tpm, self.tokens(now).saturating_add(input_tokens), self.limits.tpm);
        if exceeded.is_empty() {
            let number = CallNumber(self.next);
            self.next += 1;
            self.open.insert(number, now);
            Decision::Admitted(number)
        } else {
            Decision::Refused(exceeded)
        }
    }

    /// A call is over: its tokens are counted now. `false` where it is not open.
    pub fn complete(&mut self, call: CallNumber, total_tokens: u64, now: Instant) -> bool {
        let was_open = self.open.remove(&call).is_some();
        if was_open {
            self.completions.push_back((now, total_tokens));
        }
        was_open
    }

    /// Requests of the present minute.
    pub fn used_requests(&self, now: Instant) -> u64 {
        self.requests(now, MINUTE)
    }

    /// Tokens completed in the present minute.
    pub fn used_tokens(&self, now: Instant) -> u64 {
        self.tokens(now)
    }

    /// What is allowed.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Allows another amount from now on; what was counted stays counted.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    fn requests(&self, now: Instant, window: Duration) -> u64 {
        self.arrivals.iter().rev().take_while(|at| now.since(**at) < window).count() as u64
    }

    fn tokens(&self, now: Instant) -> u64 {
        let inside = self.completions.iter().filter(|(at, _)| now.since(*at) < MINUTE);
        inside.map(|(_, tokens)| tokens).sum()
    }

    fn forget(&mut self, now: Instant) {
        while self.arrivals.front().is_some_and(|at| now.since(*at) >= MINUTE) {
            self.arrivals.pop_front();
        }
        while self.completions.front().is_some_and(|(at, _)| now.since(*at) >= MINUTE) {
            self.completions.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn admitted(decision: &Decision) -> bool {
        matches!(decision, Decision::Admitted(_))
    }

    #[test]
    fn a_sliding_second_and_minute_of_requests() {
        let mut rules = Rules::new(Limits::new().rps(2).rpm(4));
        let grants = [0, 500, 999, 1_999, 2_000, 60_001, 62_000]
            .map(|now| admitted(&rules.arrive(at(now), 0)));
        // 999: a third in its second. 1,999: with 999 two, fine. 2,000: a third again. 60,001: 0
        // has left; five are counted with the refused ones and itself. 62,000: only 60,001 and
        // itself are left of the minute.
        assert_eq!(grants, [true, true, false, true, false, false, true]);
    }

    #[test]
    fn tokens_are_counted_when_a_call_is_over_and_leave_a_minute_later() {
        let mut rules = Rules::new(Limits::new().tpm(100));
        let Decision::Admitted(first) = rules.arrive(at(0), 10) else { panic!("empty") };
        let Decision::Admitted(second) = rules.arrive(at(0), 90) else { panic!("none is over") };
        assert!(rules.complete(first, 70, at(1_000)));
        assert!(!rules.complete(first, 70, at(1_000)));
        let refused = Exceeded { what: What::Tpm, actual: 101, limit: 100 };
        assert_eq!(rules.arrive(at(2_000), 31), Decision::Refused(vec![refused]));
        // What is in flight lands, above the limit or not.
        assert!(rules.complete(second, 500, at(3_000)));
        assert_eq!(rules.used_tokens(at(60_999)), 570);
        assert_eq!(rules.used_tokens(at(61_000)), 500);
        assert_eq!(rules.used_tokens(at(63_000)), 0);
    }

    #[test]
    fn no_entitlement_is_told_as_zero_of_zero() {
        let mut rules = Rules::new(Limits::new().rpm(0));
        let Decision::Refused(exceeded) = rules.arrive(at(0), 0) else { panic!("refused") };
        assert!(exceeded.contains(&Exceeded { what: What::Rpm, actual: 0, limit: 0 }));
    }

    #[test]
    fn requests_per_second_follow_from_those_per_minute() {
        let rps = |rpm| Limits::new().rpm(rpm).rps_in_force();
        assert_eq!([rps(1_800), rps(480), rps(60)], [Some(37), Some(10), Some(2)]);
        assert_eq!(Limits::new().tpm(5).rps_in_force(), None);
    }

    proptest! {
        /// The same decisions as counting every event of all time anew at every arrival.
        #[test]
        fn decisions_agree_with_a_full_recount(
            steps in prop::collection::vec((0..8_000_u64, 0..60_u64, 0..9_000_u64, 0..120_u64), 1..120),
        ) {
            let limits = Limits::new().rps(3).rpm(20).tpm(300);
            let mut rules = Rules::new(limits);
            let (mut arrivals, mut completions) = (Vec::<u64>::new(), Vec::<(u64, u64)>::new());
            let mut open: Vec<(u64, CallNumber, u64)> = Vec::new();
            let mut now = 0;
            for (gap, input, work, used) in steps {
                now += gap;
                open.sort_by_key(|(over, ..)| *over);
                while open.first().is_some_and(|(over, ..)| *over <= now) {
                    let (over, call, used) = open.remove(0);
                    prop_assert!(rules.complete(call, used, at(over)));
                    completions.push((over, used));
                }
                arrivals.push(now);
                let in_window = |event: u64, window: u64| event + window > now;
                let second = arrivals.iter().filter(|event| in_window(**event, 1_000)).count();
                let minute = arrivals.iter().filter(|event| in_window(**event, 60_000)).count();
                let tokens: u64 = completions.iter()
                    .filter(|(event, _)| in_window(*event, 60_000)).map(|(_, used)| used).sum();
                let fits = second <= 3 && minute <= 20 && tokens + input <= 300;
                let decision = rules.arrive(at(now), input);
                prop_assert_eq!(admitted(&decision), fits);
                if let Decision::Admitted(call) = decision {
                    open.push((now + work, call, used));
                }
            }
        }
    }
}
