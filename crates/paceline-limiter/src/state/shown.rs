//! What a limit shows of itself: what the next call would meet.
//!
//! It decides nothing. Invariant: looking changes nothing but what time changes.

use paceline_core::{Amount, Demand, Instant};

use super::{LimitState, Verdict, narrow};
use crate::snapshot::LimitSnapshot;

impl LimitState {
    pub(crate) fn snapshot(&mut self, now: Instant) -> LimitSnapshot {
        self.expire(now);
        let (is_paced, owed) = match &self.pacer {
            Some(pacer) => (pacer.conforms_at(1) > now, narrow(pacer.owed(now))),
            None => (false, 0),
        };
        let (one, nothing_else) = (Amount::exact(1), Demand::new());
        let is_shut = self.flow.is_some() && self.guard(one, &nothing_else, now) != Verdict::Fits;
        let one = self.verdict(one, &nothing_else, now);
        let room = match (&mut self.flow, &self.pacer) {
            _ if is_shut => 0,
            (Some(flow), _) => flow.left(now).max(1),
            (None, Some(pacer)) if !self.holds => pacer.free(now),
            _ => self.most.saturating_sub(self.used),
        };
        let counted = match &mut self.flow {
            Some(flow) => narrow(flow.counted(now)),
            None if !self.holds => owed,
            None => self.used - self.held,
        };
        let binds = self.binds(is_paced, now);
        let (in_force, others) = self.in_force();
        let passed = self.flow.as_ref().map(|flow| flow.passed()).unwrap_or_default();
        LimitSnapshot {
            key: self.limit.key().clone(),
            dimension: self.limit.dimension(),
            quota: self.limit.quota(),
            rule: self.limit.rule(),
            delay_bound: self.limit.delay_bound(),
            used: counted,
            held: self.held,
            free: room,
            next_free_at: match one {
                Verdict::NotUntil(at) => at,
                _ => None,
            },
            in_force,
            others,
            binds,
            passed: passed.times,
            highest: narrow(passed.highest),
        }
    }
}
