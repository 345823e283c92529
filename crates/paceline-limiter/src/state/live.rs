//! Limits that change while calls are in flight: amounts, pacing, rules, delay bounds.
//!
//! Invariants: what was counted stays counted, and nothing is free that was not before, but for
//! what a higher amount allows.

use std::time::Duration;

use paceline_core::{Instant, Quota, Refill};

use super::saved::SavedDelay;
use super::{Counts, LimitState, is_bucket, nanos};
use crate::flow::Flow;
use crate::limit::{ChargeRule, Limit};
use crate::limiter::INSTANT;
use crate::limiter::MAX_WIDENED;
use crate::pacer::Pacer;
use crate::window::Window;

/// What a limit has learned, or has to go on with, beside what it counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Learned {
    pub(super) widened: Option<Widened>,
    /// The credit of a Flow that was, and when that was.
    credit: Option<(i128, Instant)>,
    /// The epoch of the next pacer.
    next_epoch: u32,
    /// What is spent of a quota that never comes back, while only what is in flight counts.
    pub(super) spent: Option<u64>,
}

/// A delay bound that refusals made wider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widened {
    /// As it was stated.
    stated: Duration,
    /// When it is halved again.
    pub(super) narrows: Instant,
}

impl LimitState {
    /// Another amount, pacing, rule or delay bound for the same window.
    pub(crate) fn set_limit(&mut self, limit: Limit, now: Instant) {
        if let Some(learned) = &mut self.learned {
            learned.widened = None;
        }
        self.fell_back = false;
        self.change(limit, now);
    }

    /// The clock may lag by up to so much.
    pub(crate) fn set_staleness(&mut self, staleness: Duration, now: Instant) {
        self.staleness_ns = nanos(staleness);
        self.change(self.limit.clone(), now);
    }

    /// Another amount; what was learned of it stays.
    pub(crate) fn set_quota(&mut self, quota: Quota, now: Instant) {
        self.change(self.limit.clone().with_quota(quota), now);
    }

    /// The same limit on other terms.
    pub(super) fn change(&mut self, limit: Limit, now: Instant) {
        let old = std::mem::replace(&mut self.limit, limit);
        let is_other = is_bucket(&old) != is_bucket(&self.limit);
        if let Some(pacer) = self.pacer.take_if(|_| is_other) {
            // What the one has free, the other need not have.
            self.learned().next_epoch = pacer.epoch().wrapping_add(1);
        }
        let epoch = self.learned.as_ref().map_or(0, |learned| learned.next_epoch);
        match (&mut self.pacer, self.limit.rate(Duration::from_nanos(self.staleness_ns))) {
            (Some(pacer), Some(rate)) => pacer.set_rate(rate, now),
            // What paces from now on has no burst saved up.
            (pacer, Some(rate)) => {
                let mut fresh = Pacer::new(rate).of_epoch(epoch);
                fresh.owe(rate.burst.get(), now);
                *pacer = Some(fresh);
            }
            (pacer, None) => {
                if let Some(pacer) = pacer.take() {
                    self.learned().next_epoch = pacer.epoch().wrapping_add(1);
                }
            }
        }
        self.most = self.limit.quota().limit().get();
        let is_flying = |limit: &Limit| limit.rule() == ChargeRule::WhileInFlight;
        if is_flying(&old) != is_flying(&self.limit) || is_other {
            let counts = self.new_counts();
            if let Counts::Spent(spent) = std::mem::replace(&mut self.counts, counts) {
                self.learned().spent = Some(spent);
            }
            self.used = self.held;
            if let (Counts::Spent(_), Some(learned)) = (&self.counts, &mut self.learned) {
                let spent = learned.spent.take().unwrap_or(0);
                self.count(now, spent, now);
            }
            if is_bucket(&old) {
                // A bucket does not tell when it let go what: it may all have been just now.
                self.count(now, self.most, now);
            }
        }
        self.follow(now);
    }

    /// Doubles the delay bound, up to `most`, until it has been quiet for long.
    pub(crate) fn widen(&mut self, most: Duration, now: Instant) {
        let bound = self.limit.delay_bound();
        let widened = (bound * 2).min(most);
        if widened <= bound {
            return;
        }
        let narrows = now + self.quiet();
        let learned = self.learned();
        let stated = learned.widened.map_or(bound, |widened| widened.stated);
        learned.widened = Some(Widened { stated, narrows });
        self.change(self.limit.clone().delay(widened), now);
    }

    /// Takes back one doubling, where it has been quiet for long enough.
    #[cold]
    pub(super) fn narrow(&mut self, now: Instant) {
        while let Some(widened) = self.widened().filter(|widened| widened.narrows <= now) {
            let bound = (self.limit.delay_bound() / 2).max(widened.stated);
            let narrows = widened.narrows + self.quiet();
            let next = Widened { narrows, ..widened };
            self.learned().widened = (bound > widened.stated).then_some(next);
            self.change(self.limit.clone().delay(bound), now);
        }
    }

    /// How wide the delay bound was made, and for how long from now on.
    pub(super) fn widened_for(&self, now: Instant) -> Option<SavedDelay> {
        let halved_in = self.widened()?.narrows.since(now);
        Some(SavedDelay { bound: self.limit.delay_bound(), halved_in })
    }

    /// A delay bound that was made wider before a restart, `elapsed` ago, stays so.
    pub(super) fn restore_widened(&mut self, saved: SavedDelay, elapsed: Duration, now: Instant) {
        let stated = self.limit.delay_bound();
        let bound = saved.bound.min(MAX_WIDENED);
        if bound > stated {
            let narrows = now + saved.halved_in - elapsed;
            self.learned().widened = Some(Widened { stated, narrows });
            self.change(self.limit.clone().delay(bound), now);
        }
    }

    /// The Flow that one which fell back would go on with.
    pub(super) fn resting_flow(&self, now: Instant) -> Option<Flow> {
        let (credit, at) = self.learned.as_ref()?.credit?;
        let (quota, window) = (self.limit.quota(), self.limit.quota().window()?);
        let mut flow = Flow::new(quota.limit().get(), window, self.delay());
        flow.go_on_with(credit, nanos(now.since(at)), now);
        Some(flow)
    }

    /// One that fell back returns with no more credit than it had at a moment.
    pub(super) fn rest_credit(&mut self, credit: i128, at: Instant) {
        self.learned().credit = Some((credit, at));
    }

    /// When time next changes what is counted or how.
    pub(super) fn steady(&self) -> u64 {
        let expires = match &self.counts {
            Counts::Window(window) => window.next_expiry_ns(),
            _ => u64::MAX,
        };
        let narrows = self.widened().map_or(u64::MAX, |widened| widened.narrows.as_nanos());
        expires.min(narrows)
    }

    /// The delay bound as it was before it was widened.
    pub(super) fn widened(&self) -> Option<Widened> {
        self.learned.as_ref()?.widened
    }

    fn learned(&mut self) -> &mut Learned {
        self.learned.get_or_insert_default()
    }

    /// How long it has to be quiet until the delay bound is halved again.
    fn quiet(&self) -> Duration {
        self.limit.quota().window().map_or(QUIET, |window| window.max(QUIET))
    }

    /// What was spent of a quota that never comes back is forgotten.
    pub(crate) fn renew(&mut self) -> bool {
        if let Some(learned) = self.learned.as_mut().filter(|learned| learned.spent.is_some()) {
            learned.spent = Some(0);
            return true;
        }
        let Counts::Spent(spent) = &mut self.counts else { return false };
        self.used -= std::mem::take(spent);
        true
    }

    /// The delay bound, as long as the clock may lag more.
    fn delay(&self) -> Duration {
        self.limit.delay_bound() + Duration::from_nanos(self.staleness_ns)
    }

    pub(super) fn new_counts(&self) -> Counts {
        let limit = &self.limit;
        match limit.quota().refill() {
            _ if limit.rule() == ChargeRule::WhileInFlight => Counts::InFlight,
            _ if is_bucket(limit) => Counts::Pacer,
            Refill::Rolling(length) => Counts::Window(Window::new(length, self.delay())),
            _ => Counts::Spent(0),
        }
    }

    /// Takes over what the limit says of its rule and its delay bound.
    pub(super) fn follow(&mut self, now: Instant) {
        let stated = self.limit.quota().limit().get();
        let delay = self.delay();
        let delay_ns = nanos(delay);
        let is_wider = self.delay_ns > 0 && delay_ns > self.delay_ns;
        self.expire(now);
        if let (Counts::Window(window), true) = (&mut self.counts, is_wider) {
            *window = window.reaching(delay);
        }
        self.steady_until = self.steady();
        self.holds = !matches!(self.counts, Counts::Pacer);
        self.delay_ns = delay_ns;
        self.on_arrival = self.limit.is_on_arrival();
        self.follow_flow(stated, delay, now);
        self.follow_others(now);
        self.set_quick();
    }
}

impl LimitState {
    /// Pools calls where its rule says so, and goes on with what was counted before.
    fn follow_flow(&mut self, stated: u64, delay: Duration, now: Instant) {
        let window = self.limit.quota().window().filter(|_| self.limit.rule() == ChargeRule::Flow);
        if let (Some(flow), true) = (&mut self.flow, window.is_some()) {
            if !flow.is_off(stated) {
                flow.set_limit(stated, now);
                return flow.set_delay(delay, now);
            }
        }
        let mut old = self.flow.take();
        let mut counted: Vec<(Instant, u64)> = Vec::new();
        if let Some(flow) = &mut old {
            self.learned().credit = Some((flow.level(now), now));
            let stamp = |ends: u64| Instant::from_nanos(ends.saturating_sub(1));
            counted.extend(flow.amounts().map(|(ends, amount)| (stamp(ends), amount)));
        }
        let Some(window) = window else {
            return counted.into_iter().for_each(|(at, amount)| self.count(at, amount, now));
        };
        if let Counts::Window(own) = &self.counts {
            let stamp = |leaves: Instant| leaves - window - INSTANT;
            counted.extend(own.entries().map(|(leaves, amount)| (stamp(leaves), amount)));
        }
        let mut flow = Flow::new(stated, window, delay);
        counted.into_iter().for_each(|(at, amount)| flow.record_past(amount, at, now));
        if let Some((credit, at)) = self.learned().credit.take() {
            flow.go_on_with(credit, nanos(now.since(at)), now);
        }
        // From now on it is the one that counts.
        self.counts = self.new_counts();
        self.used = self.held;
        self.flow = Some(Box::new(flow));
        self.flow_number += 1;
    }
}

/// For how long a limit has to be quiet at least until its delay bound is halved again.
const QUIET: Duration = Duration::from_secs(600);
