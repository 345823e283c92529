//! Stands in for the engine until it is there.
#![expect(dead_code, reason = "it stands in for a larger one")]
use paceline_core::Instant;
use std::collections::VecDeque;
use std::time::Duration;
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Sliding,
}
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Charge {
    Arrival,
    Completion,
}
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    limit: u64,
    window: Duration,
    charge: Charge,
}
impl Rule {
    pub(super) fn new(limit: u64, window: Duration, _: Shape, charge: Charge) -> Self {
        Self { limit, window, charge }
    }
}
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) input: u64,
    pub(super) total: u64,
    pub(super) most: u64,
}
#[derive(Clone, Copy, Debug)]
pub(super) struct Call(u64);
#[derive(Clone, Copy, Debug)]
pub(super) struct Exceeded;
#[derive(Clone, Debug)]
pub(super) struct Meter {
    rule: Rule,
    log: VecDeque<(Instant, u64)>,
    used: u64,
    peak: u64,
}
impl Meter {
    pub(super) fn new(rule: Rule) -> Self {
        Self { rule, log: VecDeque::new(), used: 0, peak: 0 }
    }
    fn drop_old(&mut self, now: Instant) {
        while let Some((at, n)) = self.log.front() {
            if *at + self.rule.window > now {
                break;
            }
            self.used -= n;
            self.log.pop_front();
        }
    }
    pub(super) fn arrive(&mut self, ask: Ask, now: Instant) -> Result<Call, Exceeded> {
        self.drop_old(now);
        let c = if self.rule.charge == Charge::Arrival { ask.total } else { ask.input };
        if self.used + c > self.rule.limit {
            return Err(Exceeded);
        }
        if self.rule.charge == Charge::Arrival {
            self.count(ask.total, now);
            return Ok(Call(0));
        }
        Ok(Call(ask.total))
    }
    pub(super) fn complete(&mut self, call: Call, now: Instant) -> bool {
        if call.0 > 0 {
            self.count(call.0, now)
        }
        true
    }
    pub(super) fn count(&mut self, amount: u64, now: Instant) {
        self.drop_old(now);
        self.log.push_back((now, amount));
        self.used += amount;
        self.peak = self.peak.max(self.used);
    }
    pub(super) fn used(&mut self, now: Instant) -> u64 {
        self.drop_old(now);
        self.used
    }
    pub(super) fn remaining(&mut self, now: Instant) -> u64 {
        let u = self.used(now);
        self.rule.limit.saturating_sub(u)
    }
    pub(super) fn peak(&self) -> u64 {
        self.peak
    }
    pub(super) fn set_limit(&mut self, limit: u64, _now: Instant) {
        self.rule.limit = limit
    }
}

pub(super) fn shapes(limit: u64, window: Duration) -> Vec<(&'static str, Rule)> {
    vec![
        ("sliding, completion", Rule::new(limit, window, Shape::Sliding, Charge::Completion)),
        ("sliding, arrival", Rule::new(limit, window, Shape::Sliding, Charge::Arrival)),
    ]
}
