//! A naive limiter beside the real one: a list of calls, added up from the beginning at every
//! question.
//!
//! Windows are so short that a slot is one nanosecond: what the limiter says has to be right to
//! the nanosecond, the moment it names for a retry included, which is sought here by trying one
//! moment after another. Where the two differ it panics.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::Duration;

use paceline_core::{
    Actual, Amount, Completion, Demand, Dimension, Instant, LimitKey, Quota, Receipt, Refusal,
};
use paceline_limiter::{ChargeRule, Limit, Limiter};

use super::plan::not_zero;

/// One operation, and how long after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Step {
    pub(crate) pause: u64,
    pub(crate) deed: Deed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Deed {
    Acquire(u64),
    /// The oldest that was not sent.
    Send,
    /// The oldest that was sent.
    Head,
    /// The oldest: it used that much more or less than was reserved; nothing; nobody knows.
    Settle(i64),
    SettleNothing,
    SettleUnknown,
    /// The newest.
    Cancel,
    SetLimit(u64),
    /// The clock shows so much less than it did, once.
    StepBack(u64),
}

/// How both are set up, in nanoseconds: a window and a delay of at most 490 together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Setting {
    pub(crate) rule: ChargeRule,
    pub(crate) window: u64,
    pub(crate) delay: u64,
    pub(crate) latest: u64,
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
}

#[derive(Clone, Debug)]
struct Naive {
    setting: Setting,
    now: u64,
    tokens: u64,
    calls: Vec<Call>,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    reserved: u64,
    admitted: u64,
    sent: Option<u64>,
    head: Option<u64>,
    /// When it had landed for sure, and what it used, once it is over.
    over: Option<(u64, u64)>,
}

/// Held and counted.
type Sums = (u64, u64);

impl Setting {
    /// Until a window after, and the slot that it stands in.
    const fn counts(&self, stamp: u64, at: u64) -> bool {
        stamp + self.window >= at
    }

    /// Where a call stands that counts on arrival, once it does.
    fn stamp(&self, call: &Call) -> Option<u64> {
        let sent = call.sent.or(call.over.map(|_| call.admitted))?;
        Some(call.head.unwrap_or(u64::MAX).min(sent + self.delay))
    }
}

impl Naive {
    /// What is held and counted of requests and of tokens at a moment.
    fn sums(&self, at: u64) -> (Sums, Sums) {
        let setting = &self.setting;
        let (mut requests, mut tokens): (Sums, Sums) = ((0, 0), (0, 0));
        for call in &self.calls {
            let used = call.over.map_or(call.reserved, |(_, used)| used);
            let stamp = setting.stamp(call);
            let counts = stamp.is_some_and(|stamp| setting.counts(stamp, at));
            let on_arrival = |amount: u64, (held, counted): &mut Sums| {
                *held += if stamp.is_none() { amount } else { 0 };
                *counted += if counts { amount } else { 0 };
            };
            on_arrival(1, &mut requests);
            match (setting.rule, call.over) {
                (ChargeRule::Completion, None) => tokens.0 += call.reserved,
                (ChargeRule::Completion, Some((landed, used))) => {
                    tokens.1 += if setting.counts(landed, at) { used } else { 0 };
                }
                _ => on_arrival(used, &mut tokens),
            }
        }
        (requests, tokens)
    }

    fn fits(&self, amount: u64, at: u64) -> bool {
        let (requests, tokens) = self.sums(at);
        requests.0 + requests.1 < self.setting.requests
            && tokens.0 + tokens.1 + amount <= self.tokens
    }

    /// The first moment at which it fits if nothing else happens.
    fn fits_at(&self, amount: u64) -> Option<u64> {
        let Setting { window, delay, latest, .. } = self.setting;
        let mut moments = self.now + 1..=self.now + window + delay + latest + 1;
        moments.find(|at| self.fits(amount, *at))
    }

    /// All that can still matter, in times from now.
    fn key(&self) -> Key {
        let (setting, now) = (&self.setting, self.now);
        let far = setting.window + setting.delay + setting.latest + 1;
        let ago = |at: u64| now.saturating_sub(at).min(far);
        let mut key = Key { tokens: self.tokens, ..Key::default() };
        for call in &self.calls {
            let stamp = setting.stamp(call);
            if call.over.is_none() {
                let since = ago(call.sent.unwrap_or(call.admitted));
                let stamp = stamp.map(|stamp| (stamp + far).saturating_sub(now));
                key.outstanding.push((call.reserved, since, stamp));
            } else if let Some(stamp) = stamp.filter(|at| setting.counts(*at, now)) {
                let sum = key.counted.entry(stamp + far - now).or_default();
                sum.0 += 1;
                if setting.rule != ChargeRule::Completion {
                    sum.1 += call.over.map_or(0, |(_, used)| used);
                }
            }
            if let (ChargeRule::Completion, Some((landed, used))) = (setting.rule, call.over) {
                if setting.counts(landed, now) {
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
    outstanding: Vec<(u64, u64, Option<u64>)>,
    /// Requests and tokens by their stamp.
    counted: BTreeMap<u64, (u64, u64)>,
}

/// Both limiters side by side.
#[derive(Debug)]
pub(crate) struct Pair {
    naive: Naive,
    limiter: Limiter,
    receipts: Vec<Receipt>,
}

impl Pair {
    pub(crate) fn new(setting: Setting) -> Self {
        let mut limiter = Limiter::new();
        let delay = Duration::from_nanos(setting.delay);
        let limits = [
            Limit::new(LimitKey::All, Dimension::Requests, quota(setting, setting.requests)),
            Limit::new(LimitKey::All, Dimension::TotalTokens, quota(setting, setting.tokens))
                .charged(setting.rule),
        ];
        for limit in limits {
            limiter.add(limit.delay(delay)).expect("a legal limit");
        }
        let naive = Naive { setting, now: START, tokens: setting.tokens, calls: Vec::new() };
        Self { naive, limiter, receipts: Vec::new() }
    }

    /// Takes one step with both. `false` where there is no call that it is about.
    pub(crate) fn step(&mut self, step: Step, is_checked: bool) -> bool {
        self.naive.now += step.pause;
        let (at, now) = (self.naive.now, Instant::from_nanos(self.naive.now));
        let setting = self.naive.setting;
        let outstanding = |call: &Call| call.over.is_none();
        let calls = &mut self.naive.calls;
        match step.deed {
            Deed::Acquire(amount) => self.acquire(amount, is_checked),
            Deed::Send => {
                let unsent = |call: &Call| outstanding(call) && call.sent.is_none();
                let Some(index) = calls.iter().position(unsent) else { return false };
                calls[index].sent = Some(at);
                assert!(self.limiter.sent(self.receipts[index], now));
            }
            Deed::Head => {
                let silent = |call: &Call| outstanding(call) && call.sent.is_some();
                let Some(index) = calls.iter().position(silent) else { return false };
                calls[index].head = Some(calls[index].head.unwrap_or(at));
                assert!(self.limiter.head_received(self.receipts[index], now));
            }
            Deed::Settle(_) | Deed::SettleNothing | Deed::SettleUnknown => {
                let Some(index) = calls.iter().position(outstanding) else { return false };
                let call = &mut calls[index];
                let latest = call.sent.unwrap_or(call.admitted) + setting.latest;
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
                // A second time it is nobody's.
                assert!(!self.limiter.settle(self.receipts[index], &Actual::new(), now));
            }
            Deed::Cancel => {
                let Some(index) = calls.iter().rposition(outstanding) else { return false };
                calls.remove(index);
                assert!(self.limiter.cancel_unsent(self.receipts.remove(index), now));
            }
            Deed::SetLimit(most) => {
                self.naive.tokens = most;
                let (key, quota) = (LimitKey::All, quota(setting, most));
                assert!(self.limiter.set_limit(&key, Dimension::TotalTokens, quota, now));
            }
            Deed::StepBack(by) => {
                self.limiter.snapshot(Instant::from_nanos(at.saturating_sub(by)));
            }
        }
        true
    }

    fn acquire(&mut self, amount: u64, is_checked: bool) {
        let (at, now) = (self.naive.now, Instant::from_nanos(self.naive.now));
        let latest = Duration::from_nanos(self.naive.setting.latest);
        let demand = Demand::call(Amount::exact(amount))
            .completes(Completion::between(Duration::ZERO, latest));
        let before = is_checked.then(|| self.limiter.save(now));
        let answer = self.limiter.try_acquire(&demand, now);
        assert_eq!(answer.is_ok(), self.naive.fits(amount, at), "{answer:?}");
        match answer {
            Ok(receipt) => {
                let call =
                    Call { reserved: amount, admitted: at, sent: None, head: None, over: None };
                self.naive.calls.push(call);
                self.receipts.push(receipt);
                return;
            }
            Err(Refusal::Never { .. }) => assert!(amount > self.naive.tokens),
            Err(Refusal::NotUntil(blocked)) if is_checked => {
                let until = self.naive.fits_at(amount).map(Instant::from_nanos);
                assert_eq!(blocked.until, until, "{blocked:?}");
            }
            Err(Refusal::NotUntil(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
        if let Some(before) = before {
            assert_eq!(before, self.limiter.save(now), "a refusal has changed something");
        }
    }

    /// What is held, counted and in flight is the same with both, and within the limit unless that
    /// was cut or passed.
    pub(crate) fn check(&mut self) {
        let seen = self.limiter.snapshot(Instant::from_nanos(self.naive.now));
        let said = |index: usize| (seen.limits[index].held, seen.limits[index].used);
        assert_eq!((said(0), said(1)), self.naive.sums(self.naive.now));
        let outstanding = self.naive.calls.iter().filter(|call| call.over.is_none()).count();
        assert_eq!(seen.in_flight, outstanding);
        let spent = seen.limits[1].held + seen.limits[1].used;
        assert_eq!(seen.limits[1].free, self.naive.tokens.saturating_sub(spent));
    }

    /// The state of both, in 128 bits.
    pub(crate) fn state(&mut self) -> [u64; 2] {
        let saved = self.limiter.save(Instant::from_nanos(self.naive.now));
        let state = (self.naive.key(), format!("{:?}", saved.limits));
        [1, 2].map(|salt| {
            let mut hasher = DefaultHasher::new();
            (salt, &state).hash(&mut hasher);
            hasher.finish()
        })
    }
}

fn quota(setting: Setting, most: u64) -> Quota {
    Quota::per(not_zero(most), Duration::from_nanos(setting.window)).expect("a window")
}

const START: u64 = 1_000;
