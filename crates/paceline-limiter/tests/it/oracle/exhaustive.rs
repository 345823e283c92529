//! Every short sequence of operations, against a naive limiter that keeps its calls in a list.
//!
//! The window is so short that a slot is one nanosecond: what the limiter says has to be right to
//! the nanosecond, the moment it names for a retry included, which is sought here by trying one
//! moment after another.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::Duration;

use paceline_core::{
    Actual, Amount, Completion, Demand, Dimension, Instant, LimitKey, Quota, Receipt, Refusal,
};
use paceline_limiter::{ChargeRule, Limit, Limiter};

use super::plan::not_zero;

/// One operation, and how long after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Step {
    pause: u64,
    deed: Deed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Deed {
    Acquire(u64),
    /// The oldest that was not sent.
    Send,
    /// The oldest: it used that much more or less than was reserved; nothing; nobody knows.
    Settle(i64),
    SettleNothing,
    SettleUnknown,
    /// The newest.
    Cancel,
    SetLimit(u64),
}

/// 3 amounts, 4 times, 2 limits.
const DEEDS: [Deed; 11] = [
    Deed::Acquire(1),
    Deed::Acquire(2),
    Deed::Acquire(3),
    Deed::Send,
    Deed::Settle(0),
    Deed::Settle(1),
    Deed::SettleNothing,
    Deed::SettleUnknown,
    Deed::Cancel,
    Deed::SetLimit(3),
    Deed::SetLimit(5),
];
const PAUSES: [u64; 4] = [0, DELAY, WINDOW / 2, WINDOW];
const WINDOW: u64 = 4;
const DELAY: u64 = 1;
const LATEST: u64 = 2;
const REQUESTS: u64 = 3;
const START: u64 = 1_000;

/// The naive limiter: a list of calls, added up from the beginning at every question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Naive {
    rule: ChargeRule,
    now: u64,
    tokens: u64,
    calls: Vec<Call>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Call {
    reserved: u64,
    admitted: u64,
    sent: Option<u64>,
    /// When it was over, when it had landed for sure, and what it used.
    over: Option<(u64, u64)>,
}

/// Held and counted.
type Sums = (u64, u64);

impl Naive {
    const fn new(rule: ChargeRule) -> Self {
        Self { rule, now: START, tokens: 5, calls: Vec::new() }
    }

    /// What is held and counted of requests and of tokens at a moment.
    fn sums(&self, at: u64) -> (Sums, Sums) {
        let (mut requests, mut tokens) = ((0, 0), (0, 0));
        for call in &self.calls {
            let used = call.over.map_or(call.reserved, |(_, used)| used);
            on_arrival(call, 1, at, &mut requests);
            match (self.rule, call.over) {
                (ChargeRule::Completion, None) => tokens.0 += call.reserved,
                (ChargeRule::Completion, Some((landed, used))) => {
                    tokens.1 += if counts(landed, at) { used } else { 0 };
                }
                _ => on_arrival(call, used, at, &mut tokens),
            }
        }
        (requests, tokens)
    }

    fn fits(&self, amount: u64, at: u64) -> bool {
        let (requests, tokens) = self.sums(at);
        requests.0 + requests.1 < REQUESTS && tokens.0 + tokens.1 + amount <= self.tokens
    }

    /// The first moment at which it fits if nothing else happens.
    fn fits_at(&self, amount: u64) -> Option<u64> {
        let end = self.now + 2 * WINDOW + DELAY + LATEST;
        (self.now + 1..=end).find(|at| self.fits(amount, *at))
    }

    /// All that can still matter, in times from now.
    fn key(&self) -> Key {
        let (far, now) = (WINDOW + DELAY + LATEST + 1, self.now);
        let ago = |at: u64| now.saturating_sub(at).min(far);
        let mut key = Key { tokens: self.tokens, ..Key::default() };
        for call in &self.calls {
            let sent = call.sent.or(call.over.map(|_| call.admitted));
            if call.over.is_none() {
                // What is held is told by the call itself.
                let since = ago(sent.unwrap_or(call.admitted));
                key.outstanding.push((call.reserved, sent.is_some(), since));
            } else if let Some(stamp) = sent.map(|at| at + DELAY).filter(|at| counts(*at, now)) {
                let sum = key.counted.entry(stamp + far - now).or_default();
                sum.0 += 1;
                if self.rule != ChargeRule::Completion {
                    sum.1 += call.over.map_or(0, |(_, used)| used);
                }
            }
            if let (ChargeRule::Completion, Some((landed, used))) = (self.rule, call.over) {
                if counts(landed, now) {
                    key.counted.entry(landed + far - now).or_default().1 += used;
                }
            }
        }
        key
    }
}

/// A state, whatever way led to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Key {
    tokens: u64,
    outstanding: Vec<(u64, bool, u64)>,
    /// Requests and tokens by their stamp.
    counted: BTreeMap<u64, (u64, u64)>,
}

/// What a call counts where it counts on arrival.
fn on_arrival(call: &Call, amount: u64, at: u64, (held, counted): &mut Sums) {
    match call.sent.or(call.over.map(|_| call.admitted)) {
        None => *held += amount,
        Some(sent) if counts(sent + DELAY, at) => *counted += amount,
        Some(_) => {}
    }
}

/// Until a window after, and the slot that it stands in.
const fn counts(stamp: u64, at: u64) -> bool {
    stamp + WINDOW >= at
}

/// Both limiters side by side.
struct Pair {
    naive: Naive,
    limiter: Limiter,
    receipts: Vec<Receipt>,
}

impl Pair {
    fn new(rule: ChargeRule) -> Self {
        let quota =
            |most| Quota::per(not_zero(most), Duration::from_nanos(WINDOW)).expect("a window");
        let mut limiter = Limiter::new();
        let delay = Duration::from_nanos(DELAY);
        let requests = Limit::new(LimitKey::All, Dimension::Requests, quota(REQUESTS)).delay(delay);
        let tokens = Limit::new(LimitKey::All, Dimension::TotalTokens, quota(5));
        limiter.add(requests).expect("a legal limit");
        limiter.add(tokens.charged(rule).delay(delay)).expect("a legal limit");
        Self { naive: Naive::new(rule), limiter, receipts: Vec::new() }
    }

    /// Takes one step with both. `false` where there is no call that it is about.
    fn step(&mut self, step: Step, is_checked: bool) -> bool {
        self.naive.now += step.pause;
        let (at, now) = (self.naive.now, Instant::from_nanos(self.naive.now));
        let outstanding = |call: &Call| call.over.is_none();
        let calls = &mut self.naive.calls;
        let oldest = calls.iter().position(outstanding);
        match step.deed {
            Deed::Acquire(amount) => self.acquire(amount, is_checked),
            Deed::Send => {
                let unsent = |call: &Call| outstanding(call) && call.sent.is_none();
                let Some(index) = calls.iter().position(unsent) else { return false };
                calls[index].sent = Some(at);
                assert!(self.limiter.sent(self.receipts[index], now));
            }
            Deed::Settle(_) | Deed::SettleNothing | Deed::SettleUnknown => {
                let Some(index) = oldest else { return false };
                let call = &mut calls[index];
                let latest = call.sent.unwrap_or(call.admitted) + LATEST;
                let mut actual = Actual::new();
                let (landed, used) = match step.deed {
                    Deed::SettleUnknown => (at.max(latest), call.reserved),
                    Deed::Settle(more) => (at, call.reserved.saturating_add_signed(more)),
                    _ => (at, 0),
                };
                if step.deed != Deed::SettleUnknown {
                    actual = actual.with(Dimension::TotalTokens, used);
                }
                call.over = Some((landed, used));
                assert!(self.limiter.settle(self.receipts[index], &actual, now));
            }
            Deed::Cancel => {
                let Some(index) = calls.iter().rposition(outstanding) else { return false };
                calls.remove(index);
                assert!(self.limiter.cancel_unsent(self.receipts.remove(index), now));
            }
            Deed::SetLimit(most) => {
                self.naive.tokens = most;
                let quota = Quota::per(not_zero(most), Duration::from_nanos(WINDOW));
                let quota = quota.expect("a window");
                assert!(self.limiter.set_limit(&LimitKey::All, Dimension::TotalTokens, quota, now));
            }
        }
        true
    }

    fn acquire(&mut self, amount: u64, is_checked: bool) {
        let at = self.naive.now;
        let completion = Completion::between(Duration::ZERO, Duration::from_nanos(LATEST));
        let demand = Demand::call(Amount::exact(amount)).completes(completion);
        let answer = self.limiter.try_acquire(&demand, Instant::from_nanos(at));
        let fits = self.naive.fits(amount, at);
        assert_eq!(answer.is_ok(), fits, "{answer:?}");
        match answer {
            Ok(receipt) => {
                let call = Call { reserved: amount, admitted: at, sent: None, over: None };
                self.naive.calls.push(call);
                self.receipts.push(receipt);
            }
            Err(Refusal::Never { .. }) => assert!(amount > self.naive.tokens),
            Err(Refusal::NotUntil(blocked)) if is_checked => {
                let until = self.naive.fits_at(amount).map(Instant::from_nanos);
                assert_eq!(blocked.until, until, "{blocked:?}");
            }
            Err(Refusal::NotUntil(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }

    /// The state of both, in 128 bits.
    fn state(&mut self) -> [u64; 2] {
        let saved = self.limiter.save(Instant::from_nanos(self.naive.now));
        let state = (self.naive.key(), format!("{:?}", saved.limits));
        [1, 2].map(|salt| {
            let mut hasher = DefaultHasher::new();
            (salt, &state).hash(&mut hasher);
            hasher.finish()
        })
    }

    fn check(&mut self) {
        let seen = self.limiter.snapshot(Instant::from_nanos(self.naive.now));
        let said = |index: usize| (seen.limits[index].held, seen.limits[index].used);
        assert_eq!((said(0), said(1)), self.naive.sums(self.naive.now));
        let outstanding = self.naive.calls.iter().filter(|call| call.over.is_none()).count();
        assert_eq!(seen.in_flight, outstanding);
    }
}

/// Walks a sequence of which all but the last step have been checked; `None` where there is
/// nothing that the last one could be about.
fn walk(rule: ChargeRule, steps: &[Step]) -> Option<Pair> {
    let mut pair = Pair::new(rule);
    let (last, before) = steps.split_last()?;
    for step in before {
        pair.step(*step, false);
    }
    if !pair.step(*last, true) {
        return None;
    }
    pair.check();
    Some(pair)
}

fn steps() -> impl Iterator<Item = Step> {
    PAUSES.into_iter().flat_map(|pause| DEEDS.into_iter().map(move |deed| Step { pause, deed }))
}

/// Every sequence of up to so many operations; how many there are.
pub(super) fn all(rule: ChargeRule, depth: usize) -> u64 {
    fn deeper(rule: ChargeRule, depth: usize, so_far: &mut Vec<Step>) -> u64 {
        let mut walked = 0;
        for step in steps() {
            so_far.push(step);
            if judged(rule, so_far).is_some() {
                walked += 1;
                if so_far.len() < depth {
                    walked += deeper(rule, depth, so_far);
                }
            }
            so_far.pop();
        }
        walked
    }
    deeper(rule, depth, &mut Vec::new())
}

/// Every sequence of up to so many operations, where one of all that lead to the same state goes
/// on; how many steps were taken, and how many states there were.
pub(super) fn merged(rule: ChargeRule, depth: usize) -> (u64, usize) {
    let (mut known, mut walked) = (HashSet::new(), 0);
    let menu: Vec<Step> = steps().collect();
    let mut frontier: Vec<Vec<u8>> = vec![Vec::new()];
    for _ in 0..depth {
        let mut next = Vec::new();
        for so_far in frontier {
            let mut sequence: Vec<Step> =
                so_far.iter().map(|index| menu[usize::from(*index)]).collect();
            for (index, step) in (0..).zip(&menu) {
                sequence.push(*step);
                if let Some(mut pair) = judged(rule, &sequence) {
                    walked += 1;
                    if known.insert(pair.state()) {
                        next.push([&so_far[..], &[index]].concat());
                    }
                }
                sequence.pop();
            }
        }
        frontier = next;
    }
    (walked, known.len())
}

/// Names the sequence in which something is not right.
fn judged(rule: ChargeRule, sequence: &[Step]) -> Option<Pair> {
    let walked = std::panic::AssertUnwindSafe(|| walk(rule, sequence));
    std::panic::catch_unwind(walked).unwrap_or_else(|_| panic!("{rule:?}: {sequence:?}"))
}
