//! What one small world is like: its limits, its calls, and what happens in it.

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{Amount, Completion, Demand, Dimension, LimitKey, Quota};
use paceline_limiter::{ChargeRule, Limit, Pacing};

use super::random::Random;

/// The limits of a world, and its habits.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) limits: Vec<Limit>,
    pub(crate) habits: Habits,
    /// The window that its times are taken from.
    base: u64,
    /// How much apart operations are, about.
    pub(crate) gap: u64,
}

/// What is done in a world, and what is never done there.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that may happen")]
pub(crate) struct Habits {
    /// Servers judge each call: nothing happens that no limiter could know of.
    pub(crate) is_judged: bool,
    /// Calls leave as they are admitted, are exact, and no larger than any burst.
    pub(crate) is_paced: bool,
    pub(crate) overruns: bool,
    pub(crate) leaps: bool,
    pub(crate) steps_back: bool,
    pub(crate) foreign: bool,
    pub(crate) changes: bool,
    pub(crate) tightens: bool,
    pub(crate) restarts: bool,
    pub(crate) queues: bool,
    /// Whether demands say by when they are over.
    pub(crate) completes: bool,
    /// The least one-way delay, and how much longer it may be.
    pub(crate) delay: u64,
    pub(crate) jitter: u64,
}

/// A call as fate has it, all of it known beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    pub(crate) demand: Demand,
    /// Tokens: input, upper, used.
    pub(crate) input: u64,
    pub(crate) upper: u64,
    pub(crate) used: u64,
    pub(crate) to_send: u64,
    /// From the sending: when it arrives, when its head is seen, when it ends, when that is heard.
    pub(crate) arrives: u64,
    pub(crate) head: u64,
    pub(crate) ends: u64,
    pub(crate) hears: u64,
    pub(crate) latest: u64,
    pub(crate) how: How,
}

/// How a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Known,
    /// Nobody knows what it used.
    Unknown,
    /// Known, but nobody told that it was sent.
    Untold,
    /// It never leaves; the other one was told to have left.
    Cancelled,
    CancelledLate,
}

impl Plan {
    pub(crate) fn random(random: &mut Random) -> Self {
        let base =
            random.pick(&[1_000_000, 99_999_989, 1_000_000_000, 10_000_000_000, 60_000_000_000]);
        let mut habits = Habits::random(random);
        let scale = random.pick(&[1, 1, 1_000, 1 << 40]);
        let mut limits: Vec<Limit> = Vec::new();
        for _ in 0..random.between(1, 3) {
            let limit = limit(base, scale, &habits, random);
            let is_there = |other: &Limit| {
                (other.key(), other.dimension()) == (limit.key(), limit.dimension())
                    && other.quota().refill() == limit.quota().refill()
            };
            limit.check().expect("a legal limit");
            if !limits.iter().any(is_there) {
                limits.push(limit);
            }
        }
        let bound = limits.iter().map(|limit| nanos(limit.delay_bound())).min().unwrap_or(0);
        habits.jitter = if random.one_in(3) { 0 } else { random.between(0, bound) };
        habits.delay = if random.one_in(2) { 0 } else { random.short(base / 2) };
        let gap = base / random.pick(&[1, 2, 4, 16]);
        Self { limits, habits, base, gap }
    }

    /// The next call.
    pub(crate) fn fate(&self, random: &mut Random) -> Fate {
        let habits = &self.habits;
        let tokens: Vec<u64> = self.tokens().collect();
        let least = tokens.iter().copied().min().unwrap_or(100);
        // Now and then more than fits at all.
        let most = match random.below(32) {
            0 => least + least / 8,
            1..8 => least,
            8..20 => (least / 4).max(1),
            _ => (least / 20).max(1),
        };
        let (expected, upper, used) = self.amounts(most, random);
        let to_send =
            if habits.is_paced || random.one_in(2) { 0 } else { random.short(self.base / 2) };
        let arrives = habits.delay + random.between(0, habits.jitter);
        let lasts = if random.one_in(8) { self.base * 2 } else { self.base / 4 };
        let ends = arrives + random.short(lasts);
        let mut hears = ends + random.short(self.base / 8);
        let head = random.between(arrives, hears);
        let mut how = match random.below(16) {
            0 => How::Cancelled,
            1 => How::CancelledLate,
            2 => How::Untold,
            3 | 4 => How::Unknown,
            _ => How::Known,
        };
        let is_untold = how == How::Untold;
        let to_send = if is_untold { 0 } else { to_send };
        let latest = if habits.completes { ends + random.short(self.base / 2) } else { 0 };
        if how == How::Unknown && habits.completes {
            // Given up at any time: it may land until the latest moment.
            hears = random.between(0, hears);
        }
        if habits.is_paced && how == How::CancelledLate {
            how = How::Cancelled;
        }
        let input = random.between(0, used.min(expected));
        let mut demand = Demand::call(Amount::expected(expected).upper(upper))
            .with(Dimension::Money, Amount::expected(expected).upper(upper))
            .with(Dimension::InputTokens, Amount::exact(input));
        if habits.completes {
            demand = demand.completes(Completion::between(Duration::ZERO, duration(latest)));
        }
        if random.one_in(2) {
            demand = demand.model("m");
        }
        let head = head.min(hears);
        Fate { demand, input, upper, used, to_send, arrives, head, ends, hears, latest, how }
    }

    fn amounts(&self, most: u64, random: &mut Random) -> (u64, u64, u64) {
        let habits = &self.habits;
        if habits.is_paced {
            let bursts = self.limits.iter().filter_map(|limit| match limit.pacing() {
                Pacing::Burst(burst) if limit.dimension() == Dimension::TotalTokens => {
                    Some(burst.get())
                }
                Pacing::Bucket => Some(limit.quota().limit().get()),
                _ => None,
            });
            let burst = bursts.min().unwrap_or(most).min(most);
            let exact = if habits.changes { 1 } else { random.between(1, burst) };
            let used = if random.one_in(2) { exact } else { random.between(0, exact) };
            return (exact, exact, used);
        }
        let upper = random.between(1, most);
        let expected = random.between(0, upper);
        let used = match random.below(8) {
            0 if habits.overruns => upper + random.between(1, most),
            0 | 1 => upper,
            2 => 0,
            _ => random.between(0, upper),
        };
        (expected, upper, used)
    }

    fn tokens(&self) -> impl Iterator<Item = u64> + '_ {
        let is_tokens = |d| matches!(d, Dimension::TotalTokens | Dimension::Money);
        let limits = self.limits.iter().filter(move |limit| is_tokens(limit.dimension()));
        limits.map(|limit| limit.quota().limit().get())
    }
}

impl Habits {
    fn random(random: &mut Random) -> Self {
        let is_judged = random.one_in(2);
        let rough = |random: &mut Random| !is_judged && random.one_in(2);
        let is_paced = is_judged && random.one_in(2);
        let (overruns, leaps) = (rough(random), rough(random));
        let steps_back = random.one_in(4);
        let foreign = rough(random) && !leaps && !steps_back;
        let completes = random.one_in(2);
        let changes = random.one_in(2);
        Self {
            is_judged,
            is_paced,
            overruns,
            leaps,
            steps_back,
            foreign,
            changes,
            tightens: !is_paced && random.one_in(4),
            // A burst that was cut and raised is another part of the limit than a new one.
            restarts: completes && !(is_paced && changes) && random.one_in(2),
            queues: random.one_in(2),
            completes,
            delay: 0,
            jitter: 0,
        }
    }
}

/// A limit of any kind.
fn limit(base: u64, scale: u64, habits: &Habits, random: &mut Random) -> Limit {
    let window = duration(base * random.pick(&[1, 1, 1, 6]));
    let key = if random.one_in(4) { LimitKey::Model("m".into()) } else { LimitKey::All };
    let rolling = |most| Quota::per(not_zero(most), window).expect("a window");
    let tokens = random.between(2, 100) * scale;
    let limit = match random.below(12) {
        0 => {
            return Limit::new(
                key,
                Dimension::InFlight,
                Quota::once(not_zero(random.between(1, 8))),
            );
        }
        1 => {
            // Never spent within one world, or soon.
            let most = tokens * random.pick(&[1, 10_000]);
            return Limit::new(key, Dimension::Money, Quota::once(not_zero(most)));
        }
        2..=4 => {
            let most = random.pick(&[1, 2, 3, 7, 20, 60]);
            let limit = Limit::new(key, Dimension::Requests, rolling(most));
            paced(limit, most, random)
        }
        5 | 6 => Limit::new(key, Dimension::TotalTokens, rolling(tokens)),
        7 => Limit::new(key, Dimension::TotalTokens, rolling(tokens)).charged(ChargeRule::HeldMax),
        8 => Limit::new(key, Dimension::TotalTokens, rolling(tokens)).charged(ChargeRule::Flow),
        9 if habits.is_judged => Limit::new(key, Dimension::TotalTokens, rolling(tokens))
            .charged(ChargeRule::Arrival)
            .paced(Pacing::Bucket),
        10 => {
            let limit = Limit::new(key, Dimension::TotalTokens, rolling(tokens));
            let burst = not_zero(random.between(1, tokens / 2));
            limit.paced(Pacing::Burst(burst))
        }
        _ => {
            let limit = Limit::new(key, Dimension::TotalTokens, rolling(tokens));
            let burst = not_zero(random.between(1, tokens / 2));
            limit.charged(ChargeRule::Arrival).paced(Pacing::Burst(burst))
        }
    };
    let delay = nanos(window) / random.pick(&[4, 10, 100, 1_000, u64::MAX]);
    limit.delay(duration(delay).min(Limit::MAX_DELAY))
}

fn paced(limit: Limit, most: u64, random: &mut Random) -> Limit {
    match random.below(3) {
        0 => limit,
        1 if most > 1 => {
            let burst = random.between(1, most / 2);
            limit.paced(Pacing::Burst(not_zero(burst)))
        }
        _ => limit.paced(Pacing::Even),
    }
}

pub(crate) fn not_zero(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).expect("not zero")
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("short")
}

pub(crate) const fn duration(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}
