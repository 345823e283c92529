//! The rules by which a Grok server admits and counts, kept the naive way: exact logs.
//!
//! Pure: time is an argument. It shares nothing with any limiter, so that it can judge them. It
//! reserves nothing and forecasts nothing: a call is judged by what has been counted.
//! Invariant: a window is `(now - W, now]`; what is exactly `W` old has left it.
//!
//! | rule | source | confidence |
//! |---|---|---|
//! | a sliding minute for requests and tokens | recorded traffic | measured, high |
//! | a request counts when it arrives, in its own answer too | recorded traffic | measured, high |
//! | tokens count when a call is over, by actual input + output | recorded traffic | measured, high |
//! | requests per second = max(2, ⌊RPM/48⌋) | documentation, fits the recorded limits | high |
//! | 0/0 for a team that may not use a model | reports | medium |
//! | refused requests count as well | inferred from bodies such as `1922/60` | medium |
//! | a second slides as the minute does | nothing known | assumed |
//! | refused where counted + input > limit | nothing known on the input's part | assumed |

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use paceline_core::Instant;

use crate::engine::{self, Ask, Meter, Slots};
use crate::token_rule::TokenRule;

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

/// What is left of the present minute; `None` is not limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remaining {
    /// Requests: those that arrived are taken off, refused ones too.
    pub requests: Option<u64>,
    /// Tokens: those of completed calls are taken off, those in flight are not.
    pub tokens: Option<u64>,
}

/// The counts of one model of one team.
///
/// Holds every moment of the last minute at which a call arrived or was over, 32 bytes for each,
/// and those of arrivals in the last second once more.
///
/// Where the time steps back, the latest moment seen is taken instead.
///
/// ```
/// use std::time::Duration;
/// use paceline_core::Instant;
/// use paceline_sim::rules::{Decision, Limits, Rules};
///
/// let mut rules = Rules::new(Limits::new().rpm(60).tpm(1_000));
/// let start = Instant::ORIGIN;
/// let Decision::Admitted(call) = rules.arrive(start, 40) else { panic!("nothing is used") };
/// assert_eq!(rules.remaining(start).requests, Some(59));
/// assert_eq!(rules.remaining(start).tokens, Some(1_000));
/// let end = start + Duration::from_secs(2);
/// rules.complete(call, 150, end);
/// assert_eq!(rules.remaining(end).tokens, Some(850));
/// ```
#[derive(Clone, Debug)]
pub struct Rules {
    limits: Limits,
    /// Arrivals, refused ones too: 1 for each.
    second: Slots,
    minute: Slots,
    tokens: Tokens,
    open: HashSet<CallNumber>,
    next: u64,
    latest: Instant,
    most_tokens: u64,
}

/// How tokens are counted.
#[derive(Clone, Debug)]
enum Tokens {
    /// As xAI's server does: completions, with their tokens.
    Log(Slots),
    /// As another one does, where they are limited.
    Metered { rule: TokenRule, meter: Option<Meter>, calls: HashMap<CallNumber, engine::Call> },
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
            second: Slots::new(SECOND.as_nanos()),
            minute: Slots::new(MINUTE.as_nanos()),
            tokens: Tokens::Log(Slots::new(MINUTE.as_nanos())),
            open: HashSet::new(),
            next: 0,
            latest: Instant::ORIGIN,
            most_tokens: 0,
        }
    }

    /// The same, but tokens are counted as another server does.
    pub fn counting(limits: Limits, rule: TokenRule) -> Self {
        let meter = limits.tpm.map(|limit| Meter::new(rule.of(limit)));
        let tokens = Tokens::Metered { rule, meter, calls: HashMap::new() };
        Self { tokens, ..Self::new(limits) }
    }

    /// A call arrives. It is counted whether it is admitted or not.
    ///
    /// A refusal names every limit that is exceeded, with what is counted, this call included. A
    /// limit of 0 refuses with 0/0: no entitlement.
    pub fn arrive(&mut self, now: Instant, input_tokens: u64) -> Decision {
        self.arrive_with(now, Ask::new(input_tokens))
    }

    /// The same, with all that a server may judge a call by. One that counts tokens
    /// [as another does](Self::counting) names them in a refusal only where no other limit refuses.
    pub fn arrive_with(&mut self, now: Instant, ask: Ask) -> Decision {
        let now = self.advance(now);
        self.second.add(place(now), 1);
        self.minute.add(place(now), 1);
        let tokens = match &mut self.tokens {
            Tokens::Log(slots) => {
                slots.forget(place(now));
                counted(slots, now).saturating_add(ask.input)
            }
            Tokens::Metered { .. } => 0,
        };
        let mut exceeded: Vec<Exceeded> = [
            (What::Rps, counted(&self.second, now), self.limits.rps_in_force()),
            (What::Rpm, counted(&self.minute, now), self.limits.rpm),
            (What::Tpm, tokens, self.limits.tpm),
        ]
        .into_iter()
        .filter_map(|(what, actual, limit)| match limit? {
            0 => Some(Exceeded { what, actual: 0, limit: 0 }),
            limit => (actual > limit).then_some(Exceeded { what, actual, limit }),
        })
        .collect();
        let number = CallNumber(self.next);
        if let (true, Tokens::Metered { meter: Some(meter), calls, .. }) =
            (exceeded.is_empty(), &mut self.tokens)
        {
            match meter.arrive(ask, now) {
                Ok(call) => drop(calls.insert(number, call)),
                Err(engine::Exceeded { actual, limit }) => {
                    exceeded.push(Exceeded { what: What::Tpm, actual, limit });
                }
            }
        }
        if !exceeded.is_empty() {
            return Decision::Refused(exceeded);
        }
        self.next += 1;
        self.open.insert(number);
        self.note_most(now);
        Decision::Admitted(number)
    }

    /// A call is over: its tokens are counted now, whatever the limit, or as the rule says. `false`,
    /// and nothing changes, where it is not open.
    pub fn complete(&mut self, call: CallNumber, total_tokens: u64, now: Instant) -> bool {
        if !self.open.remove(&call) {
            return false;
        }
        let now = self.advance(now);
        match &mut self.tokens {
            Tokens::Log(slots) => slots.add(place(now), total_tokens),
            Tokens::Metered { meter, calls, .. } => {
                if let (Some(meter), Some(call)) = (meter, calls.remove(&call)) {
                    meter.complete_with(call, total_tokens, now);
                }
            }
        }
        self.note_most(now);
        true
    }

    /// Allows another amount from now on; what was counted stays counted. Where tokens are counted as
    /// another server does, that begins with a limit and ends without one: calls that are in flight then
    /// are not counted by a later one.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        if let Tokens::Metered { rule, meter, calls } = &mut self.tokens {
            match (limits.tpm, meter) {
                (Some(limit), Some(meter)) => meter.set_limit(limit, self.latest),
                (Some(limit), meter) => *meter = Some(Meter::new(rule.of(limit))),
                (None, meter) => {
                    *meter = None;
                    // The next one numbers its calls anew.
                    calls.clear();
                }
            }
        }
    }

    /// What is left of the present minute. Zero where more was counted than is allowed.
    pub fn remaining(&self, now: Instant) -> Remaining {
        let left = |limit: Option<u64>, used: u64| limit.map(|limit| limit.saturating_sub(used));
        let tokens = match &self.tokens {
            Tokens::Log(_) => left(self.limits.tpm, self.used_tokens(now)),
            Tokens::Metered { meter, .. } => meter.as_ref().map(|meter| meter.remaining(now)),
        };
        Remaining { requests: left(self.limits.rpm, self.used_requests(now)), tokens }
    }

    /// Requests of the present minute.
    pub fn used_requests(&self, now: Instant) -> u64 {
        counted(&self.minute, now.max(self.latest))
    }

    /// Tokens completed in the present minute; of another server's rule, what it counts now.
    pub fn used_tokens(&self, now: Instant) -> u64 {
        match &self.tokens {
            Tokens::Log(slots) => counted(slots, now.max(self.latest)),
            Tokens::Metered { meter, .. } => meter.as_ref().map_or(0, |meter| meter.used(now)),
        }
    }

    /// The most tokens that were ever counted at once.
    pub const fn most_tokens(&self) -> u64 {
        self.most_tokens
    }

    fn note_most(&mut self, now: Instant) {
        self.most_tokens = self.most_tokens.max(self.used_tokens(now));
    }

    /// What is allowed.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// The moment to count at: never before one that was seen.
    fn advance(&mut self, now: Instant) -> Instant {
        self.latest = self.latest.max(now);
        self.latest
    }
}

/// A slot is a nanosecond, so that slots are an exact log.
fn place(now: Instant) -> u128 {
    u128::from(now.as_nanos())
}

/// What is in the window, at most [`u64::MAX`].
fn counted(slots: &Slots, now: Instant) -> u64 {
    u64::try_from(slots.sum(place(now))).unwrap_or(u64::MAX)
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
        assert_eq!((rules.used_tokens(at(63_000)), rules.most_tokens()), (0, 570));
    }

    #[test]
    fn no_entitlement_is_told_as_zero_of_zero() {
        let mut rules = Rules::new(Limits::new().rpm(0));
        let Decision::Refused(exceeded) = rules.arrive(at(0), 0) else { panic!("refused") };
        assert!(exceeded.contains(&Exceeded { what: What::Rpm, actual: 0, limit: 0 }));
    }

    #[test]
    fn what_is_exactly_a_window_old_has_left_it() {
        let mut rules = Rules::new(Limits::new().rps(1).rpm(2));
        let nanos = Instant::from_nanos;
        assert!(admitted(&rules.arrive(nanos(0), 0)));
        assert!(!admitted(&rules.arrive(nanos(999_999_999), 0)));
        let mut rules = Rules::new(Limits::new().rps(1));
        assert!(admitted(&rules.arrive(nanos(0), 0)));
        assert!(admitted(&rules.arrive(nanos(1_000_000_000), 0)));
        let mut rules = Rules::new(Limits::new().rps(9).rpm(1));
        assert!(admitted(&rules.arrive(nanos(0), 0)));
        assert_eq!(rules.remaining(nanos(59_999_999_999)).requests, Some(0));
        assert_eq!(rules.remaining(nanos(60_000_000_000)).requests, Some(1));
    }

    #[test]
    fn hammering_after_a_refusal_prolongs_it() {
        let mut rules = Rules::new(Limits::new().rps(99).rpm(2));
        for now in [0, 1, 2, 30_000, 59_000] {
            rules.arrive(at(now), 0);
        }
        // 0, 1 and 2 have left; the two refused later still fill the minute, with itself it is 3.
        let refused = Exceeded { what: What::Rpm, actual: 3, limit: 2 };
        assert_eq!(rules.arrive(at(61_000), 0), Decision::Refused(vec![refused]));
        assert!(admitted(&rules.arrive(at(121_000), 0)));
    }

    #[test]
    fn other_limits_hold_at_once_and_forget_nothing() {
        let mut rules = Rules::new(Limits::new().rps(99).rpm(10));
        for now in 0..4 {
            assert!(admitted(&rules.arrive(at(now), 0)));
        }
        rules.set_limits(Limits::new().rps(99).rpm(4));
        assert_eq!(rules.remaining(at(4)), Remaining { requests: Some(0), tokens: None });
        let refused = Exceeded { what: What::Rpm, actual: 5, limit: 4 };
        assert_eq!(rules.arrive(at(4), 0), Decision::Refused(vec![refused]));
        rules.set_limits(Limits::new().rps(99).rpm(6));
        assert!(admitted(&rules.arrive(at(5), 0)));
        assert!(!admitted(&rules.arrive(at(6), 0)));
    }

    #[test]
    fn a_clock_that_steps_back_frees_nothing() {
        let mut rules = Rules::new(Limits::new().rps(2).tpm(10));
        let Decision::Admitted(call) = rules.arrive(at(5_000), 0) else { panic!("empty") };
        assert!(rules.complete(call, 10, at(1_000)));
        assert_eq!(rules.used_tokens(at(64_999)), 10);
        assert!(admitted(&rules.arrive(at(2_000), 0)));
        let refused = Exceeded { what: What::Rps, actual: 3, limit: 2 };
        assert_eq!(rules.arrive(at(3_000), 0), Decision::Refused(vec![refused]));
    }

    #[test]
    fn tokens_are_counted_as_another_server_does() {
        let held = TokenRule::named("held").expect("named");
        let mut rules = Rules::counting(Limits::new().rps(2).tpm(100), held);
        let ask = Ask::new(30).input(10).most(80);
        let Decision::Admitted(call) = rules.arrive_with(at(0), ask) else { panic!("empty") };
        assert_eq!((rules.used_tokens(at(0)), rules.remaining(at(0)).tokens), (80, Some(20)));
        let refused = Exceeded { what: What::Tpm, actual: 160, limit: 100 };
        assert_eq!(rules.arrive_with(at(500), ask), Decision::Refused(vec![refused]));
        // Too many in a second: tokens are not looked at, and nothing is held.
        let Decision::Refused(exceeded) = rules.arrive_with(at(900), Ask::new(5)) else {
            panic!("a third in its second")
        };
        assert_eq!((exceeded.len(), exceeded[0].what), (1, What::Rps));
        assert!(rules.complete(call, 25, at(2_000)));
        assert_eq!((rules.used_tokens(at(2_000)), rules.most_tokens()), (25, 80));
        rules.set_limits(Limits::new().rps(2).tpm(40));
        assert_eq!(rules.remaining(at(2_000)).tokens, Some(15));
        assert_eq!(rules.used_tokens(at(60_000)), 0);
    }

    #[test]
    fn a_call_of_a_limit_that_was_taken_away_is_no_call_of_the_next_one() {
        let mut rules = Rules::counting(Limits::new().tpm(100), TokenRule::GROK);
        let Decision::Admitted(old) = rules.arrive(at(0), 10) else { panic!("empty") };
        rules.set_limits(Limits::new());
        rules.set_limits(Limits::new().tpm(100));
        let Decision::Admitted(new) = rules.arrive(at(1), 10) else { panic!("empty") };
        assert!(rules.complete(old, 90, at(2)));
        assert_eq!(rules.used_tokens(at(2)), 0, "it was not limited when it arrived");
        assert!(rules.complete(new, 40, at(3)));
        assert_eq!(rules.used_tokens(at(3)), 40);
    }

    proptest! {
        /// The rule of xAI's server by its name is that of the log.
        #[test]
        fn the_named_rule_of_grok_decides_as_the_log_does(
            steps in prop::collection::vec((gaps(), 0..60_u64, 0..9_000_u64, 0..120_u64), 1..80),
        ) {
            let limits = Limits::new().rps(9).rpm(40).tpm(300);
            let mut both = [Rules::new(limits), Rules::counting(limits, TokenRule::GROK)];
            let (mut now, mut open) = (0, Vec::<(u64, [CallNumber; 2], u64)>::new());
            for (gap, input, work, used) in steps {
                now += gap;
                open.sort_by_key(|(over, ..)| *over);
                while open.first().is_some_and(|(over, ..)| *over <= now) {
                    let (over, calls, used) = open.remove(0);
                    for (rules, call) in both.iter_mut().zip(calls) {
                        prop_assert!(rules.complete(call, used, at(over)));
                    }
                }
                let ask = Ask::new(used).input(input);
                let [one, other] = &mut both;
                match (one.arrive_with(at(now), ask), other.arrive_with(at(now), ask)) {
                    (Decision::Admitted(a), Decision::Admitted(b)) => {
                        open.push((now + work, [a, b], used));
                    }
                    (one, other) => prop_assert!(!admitted(&one) && !admitted(&other)),
                }
                prop_assert_eq!(one.remaining(at(now)), other.remaining(at(now)));
                prop_assert_eq!(one.used_tokens(at(now)), other.used_tokens(at(now)));
            }
        }
    }

    #[test]
    fn sums_beyond_64_bits_saturate() {
        let mut rules = Rules::new(Limits::new().tpm(u64::MAX));
        for _ in 0..2 {
            let Decision::Admitted(call) = rules.arrive(at(0), 0) else { panic!("empty") };
            assert!(rules.complete(call, u64::MAX, at(0)));
        }
        assert_eq!(rules.remaining(at(0)).tokens, Some(0));
        assert_eq!(rules.used_tokens(at(60_000)), 0);
    }

    #[test]
    fn requests_per_second_follow_from_those_per_minute() {
        let rps = |rpm| Limits::new().rpm(rpm).rps_in_force();
        assert_eq!([rps(1_800), rps(480), rps(60)], [Some(37), Some(10), Some(2)]);
        assert_eq!(Limits::new().tpm(5).rps_in_force(), None);
    }

    /// Milliseconds between arrivals: bursts, calm, and exact windows.
    fn gaps() -> impl Strategy<Value = u64> {
        prop_oneof![4 => 0..400_u64, 2 => 0..8_000_u64, 1 => Just(1_000), 1 => Just(60_000)]
    }

    proptest! {
        /// The same decisions as counting every event of all time anew at every arrival.
        #[test]
        fn decisions_agree_with_a_full_recount(
            steps in prop::collection::vec(
                (gaps(), 0..60_u64, prop_oneof![0..9_000_u64, Just(60_000)], 0..120_u64), 1..120,
            ),
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
                let counted = [(What::Rps, second as u64, 3), (What::Rpm, minute as u64, 20),
                    (What::Tpm, tokens + input, 300)];
                let expected: Vec<Exceeded> = counted.into_iter()
                    .filter(|(_, actual, limit)| actual > limit)
                    .map(|(what, actual, limit)| Exceeded { what, actual, limit }).collect();
                if let Decision::Refused(exceeded) = &decision {
                    prop_assert_eq!(exceeded, &expected);
                }
                let left = Remaining {
                    requests: Some(20_u64.saturating_sub(minute as u64)),
                    tokens: Some(300_u64.saturating_sub(tokens)),
                };
                prop_assert_eq!(rules.remaining(at(now)), left);
                if let Decision::Admitted(call) = decision {
                    open.push((now + work, call, used));
                }
            }
        }
    }
}
