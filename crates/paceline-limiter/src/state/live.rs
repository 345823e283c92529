//! Limits that change while calls are in flight: amounts, pacing, rules, delay bounds.
//!
//! Invariants: what was counted stays counted, and nothing is free that was not before, but for
//! what a higher amount allows.

use std::time::Duration;

use paceline_core::{Instant, Refill};

use super::{Counts, LimitState, is_bucket, nanos};
use crate::flow::Flow;
use crate::limit::{ChargeRule, Limit};
use crate::pacer::Pacer;
use crate::window::Window;

impl LimitState {
    /// Another amount, pacing, rule or delay bound for the same window.
    pub(crate) fn set_limit(&mut self, limit: Limit, now: Instant) {
        let old = std::mem::replace(&mut self.limit, limit);
        match (&mut self.pacer, self.limit.rate()) {
            (Some(pacer), Some(rate)) => pacer.set_rate(rate, now),
            // What paces from now on has no burst saved up.
            (pacer, Some(rate)) => {
                let mut fresh = Pacer::new(rate);
                fresh.owe(rate.burst.get(), now);
                *pacer = Some(fresh);
            }
            (pacer, None) => *pacer = None,
        }
        let is_flying = |limit: &Limit| limit.rule() == ChargeRule::WhileInFlight;
        if is_flying(&old) != is_flying(&self.limit) || is_bucket(&old) != is_bucket(&self.limit) {
            self.counts = self.new_counts();
            self.used = self.held;
        }
        self.most = self.limit.quota().limit().get();
        self.follow(now);
    }

    /// Widens the delay bound, up to `most`.
    pub(crate) fn widen(&mut self, most: Duration, now: Instant) {
        let widened = (self.limit.delay_bound() * 2).min(most);
        if widened > self.limit.delay_bound() {
            let limit = self.limit.clone().delay(widened);
            self.set_limit(limit, now);
        }
    }

    /// What was spent of a quota that never comes back is forgotten.
    pub(crate) fn renew(&mut self) -> bool {
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
        self.steady_until = match &self.counts {
            Counts::Window(window) => window.next_expiry_ns(),
            _ => u64::MAX,
        };
        self.holds = if matches!(self.counts, Counts::Pacer) { 0 } else { u64::MAX };
        self.delay_ns = delay_ns;
        self.on_arrival = self.limit.is_on_arrival();
        match (self.limit.quota().window(), &mut self.flow) {
            (Some(_), Some(flow)) if self.limit.rule() == ChargeRule::Flow => {
                flow.set_limit(stated, now);
                flow.set_delay(delay, now);
            }
            (Some(window), None) if self.limit.rule() == ChargeRule::Flow => {
                let mut flow = Flow::new(stated, window, delay);
                if let Counts::Window(counted) = &self.counts {
                    for (leaves, amount) in counted.entries() {
                        flow.record_past(amount, leaves - window, now);
                    }
                }
                self.flow = Some(Box::new(flow));
                self.flow_number += 1;
            }
            (_, flow) => *flow = None,
        }
        self.follow_others(now);
        self.quick_until = if self.flow.is_some() { 0 } else { self.steady_until };
    }
}
