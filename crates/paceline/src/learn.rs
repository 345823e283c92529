//! What the server's counters tell of its rule: when it counts a call, and what leaves its window when.
//!
//! Pure: times are arguments. It knows no limits and changes none. Each answer that says what is left is
//! held against what every rule it can tell apart would have counted by then; a rule that explains nearly
//! all of them, where others explain too few, is believed. Invariant: where the counters say nothing, or
//! count others' calls as well, nothing is believed.

use std::collections::VecDeque;

use paceline_core::{Instant, UnixMillis};
use serde::{Deserialize, Serialize};

mod models;

pub(crate) use models::{Models, Number};

/// When a server counts the tokens of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CountedAt {
    /// When it arrives, at what it will use.
    Arrival,
    /// When it is over, at what it used.
    Completion,
    /// When it arrives, at the most it could use, corrected when it is over.
    HeldAtMost,
}

/// How what a server has counted leaves again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WindowShape {
    /// A minute after it was counted.
    Sliding,
    /// All at once, when a minute of the clock begins.
    Aligned,
    /// A share of the minute of the clock before the present one, which goes down evenly.
    TwoCounter,
    /// Evenly, a limit's worth in a minute: a token bucket.
    Bucket,
}

/// What was learned of a server's token limit for one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerRule {
    /// When a call is counted; `None` as long as that is not clear.
    pub counted_at: Option<CountedAt>,
    /// How it leaves again; `None` as long as that is not clear.
    pub window: Option<WindowShape>,
    /// The most that it lets be used at once, in tokens, where that is clearly below the limit, as with a
    /// small bucket; `None` where it is the limit, or not clear. It is the most that was ever said to be
    /// left, in two minutes and sixteen answers at least, so that it may be more; and a quota that never
    /// was less than nearly used up looks the same.
    pub capacity: Option<u64>,
    /// By how many answers.
    pub looks: u64,
}

/// The calls to one model and what their answers said was left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learner {
    calls: VecDeque<Seen>,
    looks: VecDeque<Look>,
    /// How many looks each rule explained, and how many it did not.
    explained: [u32; RULES],
    not: [u32; RULES],
    judged: u64,
    /// What was judged before: a bucket goes on from there, as it has no moment at which it forgets.
    before: VecDeque<Look>,
}

/// A call, as far as it went.
#[derive(Clone, Copy, Debug)]
struct Seen {
    number: u64,
    sent: u64,
    /// When it was over and what it used; `None` where nobody knows yet.
    over: Option<(u64, u64)>,
    /// The most it could use, by its input and its cap; `None` without a cap.
    most: Option<u64>,
}

/// What one answer said, and when.
#[derive(Clone, Copy, Debug)]
struct Look {
    sent: u64,
    at: u64,
    /// When the present minute of the clock began.
    minute: u64,
    used: u64,
    limit: u64,
}

const MOMENTS: [CountedAt; 3] = [CountedAt::Arrival, CountedAt::Completion, CountedAt::HeldAtMost];
const SHAPES: [WindowShape; 4] =
    [WindowShape::Sliding, WindowShape::Aligned, WindowShape::TwoCounter, WindowShape::Bucket];
/// When the server reads its counter for what it tells: as the call arrives, or as it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Arriving,
    Answering,
}

const READS: [Read; 2] = [Read::Arriving, Read::Answering];
const RULES: usize = MOMENTS.len() * SHAPES.len() * READS.len();

/// A minute, which `x-ratelimit-limit-tokens` speaks of.
const WINDOW: u64 = 60_000_000_000;
/// Calls that are remembered; where more than that fall into two windows, nothing is judged.
const MOST_CALLS: usize = 1_024;
/// Answers that wait to be judged, because calls beside them are not over.
const MOST_LOOKS: usize = 64;
/// So often an answer is looked at, at most.
const EVERY: u64 = 250_000_000;
/// Looks after which something may be believed.
const ENOUGH: u32 = 8;
/// Looks that are remembered at full weight.
const FULL: u32 = 64;

impl Learner {
    /// A call of this number leaves now; by its input and its cap it could use so much.
    pub(crate) fn sent(&mut self, number: u64, most: Option<u64>, now: Instant) {
        if self.calls.len() == MOST_CALLS {
            self.calls.pop_front();
            // What it counted would be missing.
            self.looks.clear();
        }
        self.calls.push_back(Seen { number, sent: now.as_nanos(), over: None, most });
    }

    /// Its answer began, and says that so much of the limit is left.
    pub(crate) fn told(
        &mut self,
        number: u64,
        remaining: u64,
        limit: u64,
        now: Instant,
        wall: UnixMillis,
    ) {
        let at = now.as_nanos();
        let is_soon = self.looks.back().is_some_and(|last| at < last.at.saturating_add(EVERY));
        let full = self.calls.len() == MOST_CALLS;
        let known = self.calls.front().map_or(at, |first| first.sent);
        // One that is at its end may hide a debt. Of a counter that nobody has counted on, nothing is learned: replicas show it now and then.
        if remaining == 0 || remaining >= limit || is_soon || (full && known + 2 * WINDOW > at) {
            return;
        }
        let Some(call) = self.calls.iter().rev().find(|call| call.number == number) else { return };
        let sent = call.sent;
        let into = u64::try_from(wall.as_millis().rem_euclid(60_000)).unwrap_or(0) * 1_000_000;
        let minute = at.saturating_sub(into);
        if sent < minute.saturating_add(LAG) {
            // The minute may have begun between the two, or have yet to begin on the server.
            return;
        }
        if self.looks.len() == MOST_LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back(Look { sent, at, minute, used: limit - remaining, limit });
    }

    /// It is over and used so much; `None` where nobody knows, and then nothing beside it is judged.
    pub(crate) fn over(&mut self, number: u64, used: Option<u64>, now: Instant) {
        let at = now.as_nanos();
        let Some(call) = self.calls.iter_mut().rev().find(|call| call.number == number) else {
            return;
        };
        match used {
            Some(used) => call.over = Some((at, used)),
            None => {
                let sent = call.sent;
                self.calls.retain(|call| call.number != number);
                self.looks.retain(|look| look.at < sent);
                return;
            }
        }
        self.judge();
        let open = self.looks.front().map_or(at, |look| look.sent);
        let old = open.min(at).saturating_sub(2 * WINDOW + LAG);
        let is_gone = |call: &Seen| call.over.is_some_and(|(over, _)| over < old);
        while self.calls.front().is_some_and(is_gone) {
            self.calls.pop_front();
        }
    }

    /// What is believed.
    pub(crate) fn rule(&self) -> ServerRule {
        let left = |rule: usize| {
            let (yes, no) = (self.explained[rule], self.not[rule]);
            yes >= ENOUGH && no * 10 <= yes
        };
        let mut rules = (0..RULES).filter(|rule| left(*rule)).map(of_number);
        let Some(first) = rules.next() else {
            return ServerRule { looks: self.judged, ..ServerRule::default() };
        };
        let (mut counted_at, mut window) = (Some(first.0), Some(first.1));
        for (moment, shape, _) in rules {
            counted_at = counted_at.filter(|known| *known == moment);
            window = window.filter(|known| *known == shape);
        }
        ServerRule { counted_at, window, capacity: None, looks: self.judged }
    }

    /// Judges what can be: every call that it may have counted is over.
    fn judge(&mut self) {
        let mut waiting = VecDeque::new();
        for look in std::mem::take(&mut self.looks) {
            let beside = self.calls.iter().take_while(|call| call.sent <= look.at);
            if beside.clone().all(|call| call.over.is_some()) {
                self.judge_one(&look);
            } else {
                waiting.push_back(look);
            }
        }
        self.looks = waiting;
    }

    fn judge_one(&mut self, look: &Look) {
        // What is counted when does not depend on how it leaves again.
        let mut charges =
            MOMENTS.map(|moment| READS.map(|read| self.charges(moment, read.between(look).1)));
        let mut ranges = [None; RULES];
        for (rule, range) in ranges.iter_mut().enumerate() {
            let parts @ (moment, _, read) = of_number(rule);
            if let Some(charges) = &mut charges[moment as usize][read as usize] {
                *range = self.counted(parts, charges, look);
            }
        }
        // Where every rule says the same, nothing tells them apart.
        let explains = |range: &Option<(u64, u64)>| {
            range.is_some_and(|(low, high)| {
                let slack = look.used / 100 + 2;
                look.used + slack >= low && look.used <= high + slack
            })
        };
        self.before.push_back(*look);
        while self.before.front().is_some_and(|before| before.at + WINDOW < look.at) {
            self.before.pop_front();
        }
        if ranges.iter().flatten().count() < 2 || ranges.iter().all(explains) {
            return;
        }
        self.judged += 1;
        for (rule, range) in ranges.iter().enumerate().filter(|(_, range)| range.is_some()) {
            let tally =
                if explains(range) { &mut self.explained[rule] } else { &mut self.not[rule] };
            *tally += 1;
        }
        if self.explained.iter().chain(&self.not).any(|count| *count >= FULL) {
            self.explained.iter_mut().chain(&mut self.not).for_each(|count| *count /= 2);
        }
    }

    /// What calls count and when, by a server that counts them at this moment and told its counter up to a
    /// moment; in order of time. `None` where that can't be told.
    fn charges(&self, moment: CountedAt, to: u64) -> Option<Vec<(u64, u64)>> {
        let mut charges: Vec<(u64, u64)> = Vec::with_capacity(self.calls.len());
        for call in self.calls.iter().take_while(|call| call.sent <= to) {
            let (over, used) = call.over?;
            charges.push(match moment {
                CountedAt::Arrival => (call.sent, used),
                CountedAt::Completion => (over, used),
                CountedAt::HeldAtMost => {
                    let most = call.most?;
                    (call.sent, if over > to { most } else { used })
                }
            });
        }
        charges.sort_unstable();
        Some(charges)
    }

    /// What a server of this rule had counted when it wrote the answer: at least and at most. `None`
    /// where that can't be told.
    fn counted(
        &self,
        (moment, shape, read): (CountedAt, WindowShape, Read),
        charges: &[(u64, u64)],
        look: &Look,
    ) -> Option<(u64, u64)> {
        let (from, to) = read.between(look);
        let mut low = Level::new(shape, look);
        let mut high = Level::new(shape, look);
        let mut begin = 0;
        if shape == WindowShape::Bucket {
            let before = self.before.iter().find(|before| before.at + WINDOW / 4 < from)?;
            let (earliest, latest) = read.between(before);
            low.start(before.used, earliest);
            high.start(before.used, latest);
            begin = earliest;
        }
        for &(at, amount) in charges {
            // Near the look that it goes on from, nobody knows whether it was counted there already.
            if at + LAG < begin {
                continue;
            }
            if at < begin + 2 * LAG + 1 && begin > 0 {
                high.add(at + LAG, amount, from);
                continue;
            }
            let is_own = at == look.sent && moment != CountedAt::Completion;
            if is_own || at + LAG <= from {
                low.add(at.saturating_sub(LAG), amount, to);
            }
            if at <= to + LAG {
                high.add(at + LAG, amount, from);
            }
        }
        Some((low.end(to), high.end(from)))
    }
}

/// The variation of what lies between a moment here and the same on the server.
const LAG: u64 = 150_000_000;

/// What is counted, by one shape of window.
struct Level {
    shape: WindowShape,
    minute: u64,
    limit: u64,
    /// In parts of a window, so that shares of it are exact.
    level: u128,
    last: u64,
}

impl Level {
    const fn new(shape: WindowShape, look: &Look) -> Self {
        Self { shape, minute: look.minute, limit: look.limit, level: 0, last: 0 }
    }

    /// Adds what was counted at `when`, as far as it is still there at `then`; in order of time.
    fn add(&mut self, when: u64, amount: u64, then: u64) {
        let amount = u128::from(amount);
        let whole = amount * u128::from(WINDOW);
        match self.shape {
            WindowShape::Sliding if when + WINDOW > then => self.level += whole,
            WindowShape::Aligned | WindowShape::TwoCounter if when >= self.minute => {
                self.level += whole;
            }
            WindowShape::TwoCounter if when + WINDOW >= self.minute => {
                self.level += amount * u128::from((self.minute + WINDOW).saturating_sub(then));
            }
            WindowShape::Bucket => {
                self.drain(when);
                self.level += whole;
            }
            _ => {}
        }
    }

    /// Begins with so much at a moment.
    fn start(&mut self, used: u64, at: u64) {
        self.level = u128::from(used) * u128::from(WINDOW);
        self.last = at;
    }

    fn drain(&mut self, to: u64) {
        let passed = u128::from(to.saturating_sub(self.last));
        self.level = self.level.saturating_sub(passed * u128::from(self.limit));
        self.last = self.last.max(to);
    }

    /// All of it, at `then`.
    fn end(mut self, then: u64) -> u64 {
        if self.shape == WindowShape::Bucket {
            self.drain(then);
        }
        u64::try_from(self.level / u128::from(WINDOW)).unwrap_or(u64::MAX)
    }
}

impl Read {
    /// Between which moments the counter was read.
    fn between(self, look: &Look) -> (u64, u64) {
        match self {
            Self::Arriving => (look.sent, (look.sent + LAG).min(look.at)),
            Self::Answering => (look.at.saturating_sub(LAG).max(look.sent), look.at),
        }
    }
}

const fn of_number(rule: usize) -> (CountedAt, WindowShape, Read) {
    let (rest, read) = (rule / READS.len(), READS[rule % READS.len()]);
    (MOMENTS[rest / SHAPES.len()], SHAPES[rest % SHAPES.len()], read)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use paceline_sim::engine::{Ask, Charge, Meter, Rule, Shape, shapes};
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const LIMIT: u64 = 60_000;

    fn at(ns: u64) -> Instant {
        Instant::from_nanos(ns)
    }

    /// A server of a rule, and 24 callers that call it one call after the other for four minutes.
    fn learned(rule: Rule, read: Read, seed: u64, others: u64) -> ServerRule {
        let mut random = StdRng::seed_from_u64(seed);
        let mut meter = Meter::new(rule);
        let mut learner = Learner::default();
        // (when, what, number); what: 0 sends, 1 arrives, 2 head, 3 over at the server, 4 over here.
        let mut events: BTreeSet<(u64, u8, u64)> = BTreeSet::new();
        let mut calls = std::collections::HashMap::new();
        let start = 60_000_000_000 * 3 + 17_000_000_000;
        for caller in 0..24 {
            events.insert((start + caller * 100_000_000, 0, caller));
        }
        let mut number = 24;
        while let Some((now, what, of)) = events.pop_first() {
            if now > start + 4 * WINDOW {
                break;
            }
            let lag = random.random_range(5_000_000..60_000_000);
            match what {
                0 => {
                    let ask = Ask::new(random.random_range(200..1_500)).input(100).most(2_148);
                    learner.sent(of, Some(ask.most), at(now));
                    events.insert((now + lag, 1, of));
                    calls.insert(of, (ask, None, 0));
                }
                1 => {
                    let (ask, call, remaining) = calls.get_mut(&of).expect("it was sent");
                    *call = meter.arrive(*ask, at(now)).ok();
                    if call.is_some() && others > 0 {
                        meter.count(others, at(now));
                    }
                    *remaining = meter.remaining(at(now));
                    events.insert((now + lag + 200_000_000, 2, of));
                }
                2 => {
                    let (_, call, mut remaining) = calls[&of];
                    if read == Read::Answering {
                        remaining = meter.remaining(at(now - lag));
                    }
                    if call.is_none() {
                        learner.over(of, Some(0), at(now));
                        events.insert((now + 5_000_000_000, 0, number));
                        number += 1;
                        continue;
                    }
                    let wall = UnixMillis::new(i64::try_from(now / 1_000_000).expect("small"));
                    learner.told(of, remaining, LIMIT, at(now), wall);
                    events.insert((now + random.random_range(2..25) * 1_000_000_000, 3, of));
                }
                3 => {
                    meter.complete(calls[&of].1.expect("admitted"), at(now));
                    events.insert((now + lag, 4, of));
                }
                _ => {
                    learner.over(of, Some(calls[&of].0.total), at(now));
                    events.insert((now + random.random_range(0..2_000_000_000), 0, number));
                    number += 1;
                }
            }
        }
        learner.rule()
    }

    #[test]
    fn every_rule_that_can_be_told_apart_is_found_and_none_is_mistaken() {
        let minute = Duration::from_secs(60);
        let (mut windows, mut right) = (0, 0);
        for (name, rule) in shapes(LIMIT, minute).expect("legal") {
            let moment = match rule.charge() {
                Charge::Arrival => CountedAt::Arrival,
                Charge::Completion => CountedAt::Completion,
                Charge::Held => CountedAt::HeldAtMost,
                other => panic!("{other:?}"),
            };
            let window = match rule.shape() {
                Shape::Sliding => Some(WindowShape::Sliding),
                Shape::Aligned => Some(WindowShape::Aligned),
                Shape::TwoCounter => Some(WindowShape::TwoCounter),
                Shape::Bucket { capacity: LIMIT } => Some(WindowShape::Bucket),
                // What it holds at most is not what it says its limit is.
                _ => None,
            };
            for seed in 0..2 {
                let found = learned(rule, READS[seed as usize % 2], seed, 0);
                match window {
                    Some(window) => {
                        assert_eq!(
                            found.counted_at,
                            Some(moment),
                            "{name}, seed {seed}: {found:?}"
                        );
                        let is_right = found.window == Some(window);
                        assert!(
                            is_right || found.window.is_none(),
                            "{name}, seed {seed}: {found:?}"
                        );
                        windows += 1;
                        right += u32::from(is_right);
                    }
                    None => {
                        let words = format!("{name}, seed {seed}: {found:?}");
                        assert!(found.counted_at.is_none_or(|found| found == moment), "{words}");
                        assert!(
                            found.window.is_none_or(|found| found == WindowShape::Bucket),
                            "{words}"
                        );
                    }
                }
            }
        }
        // Two that go down evenly can look alike for minutes.
        assert!(right * 10 >= windows * 8, "{right} of {windows} windows were found");
    }

    #[test]
    fn where_others_are_counted_too_nothing_is_believed() {
        let minute = Duration::from_secs(60);
        for (name, rule) in shapes(LIMIT, minute).expect("legal") {
            let found = learned(rule, Read::Arriving, 7, 300);
            assert_eq!(found.counted_at, None, "{name}: {found:?}");
        }
    }
}
