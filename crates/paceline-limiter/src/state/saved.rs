//! What of a limit outlives a restart, as plain data.
//!
//! Moments are told as times from the moment of saving, because another process has another
//! clock. Invariant: what is restored counts at least as long as it would have.

use std::time::Duration;

use paceline_core::{ChargeMoment, Dimension, Instant, LimitKey};

use super::{Counts, LimitState, narrow};
use crate::flow::SavedFlow;
use crate::limit::ChargeRule;

/// One limit, as it was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SavedLimit {
    /// Whose calls it counts.
    pub key: LimitKey,
    /// What it counts.
    pub dimension: Dimension,
    /// The window's length; `None` for a quota that never comes back.
    pub window: Option<Duration>,
    /// What counts, oldest first: how much, and how long from the moment of saving.
    pub counted: Vec<(Duration, u64)>,
    /// What is spent of a quota that never comes back.
    pub spent: u64,
    /// What the pacer has let through and not worked off.
    pub owed: u64,
    /// What the rule Flow remembers, where the limit is charged by it; of one that fell back its
    /// credit alone.
    pub flow: Option<SavedFlow>,
    /// The delay bound that refusals made wider than the one stated.
    #[cfg_attr(feature = "serde", serde(default))]
    pub widened: Option<SavedDelay>,
    /// Whether it is charged by the rule Flow, but for a server that was found to count on arrival.
    #[cfg_attr(feature = "serde", serde(default))]
    pub fell_back: bool,
}

/// A delay bound that refusals made wider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SavedDelay {
    /// How wide it is.
    pub bound: Duration,
    /// How long from the moment of saving until it is halved, if nothing else happens.
    pub halved_in: Duration,
}

impl LimitState {
    pub(crate) fn save(&mut self, now: Instant) -> SavedLimit {
        self.expire(now);
        let window = self.limit.quota().window().unwrap_or_default();
        let counted = match (&self.counts, &self.flow) {
            (_, Some(flow)) => {
                let leaves = |(ends, amount)| (Instant::from_nanos(ends) + window, amount);
                let counted = flow.amounts().map(leaves).filter(|(leaves, _)| *leaves > now);
                counted.map(|(leaves, amount)| (leaves.since(now), amount)).collect()
            }
            (Counts::Window(window), None) => {
                window.entries().map(|(leaves, amount)| (leaves.since(now), amount)).collect()
            }
            _ => Vec::new(),
        };
        SavedLimit {
            key: self.limit.key().clone(),
            dimension: self.limit.dimension(),
            window: self.limit.quota().window(),
            counted,
            spent: self.spent(),
            owed: self.pacer.as_ref().map_or(0, |pacer| narrow(pacer.owed(now))),
            flow: None,
            widened: self.widened_for(now),
            fell_back: self.fell_back,
        }
    }

    /// What the rule Flow remembers; it knows itself what its calls in flight may come to.
    pub(crate) fn save_flow(&mut self, now: Instant) -> Option<SavedFlow> {
        match &mut self.flow {
            Some(flow) => Some(flow.save(now)),
            None if self.fell_back => self.resting_flow(now).map(|mut flow| flow.save(now)),
            None => None,
        }
    }

    /// Counts what was saved, `elapsed` ago.
    pub(crate) fn restore(&mut self, saved: &SavedLimit, elapsed: Duration, now: Instant) {
        self.start.know();
        if let Some(saved) = saved.widened {
            self.restore_widened(saved, elapsed, now);
        }
        if saved.fell_back {
            self.restore_fallback(saved.flow.as_ref(), elapsed, now);
        }
        let window = self.limit.quota().window().unwrap_or_default();
        for (left, amount) in &saved.counted {
            let Some(left) = left.checked_sub(elapsed).filter(|left| !left.is_zero()) else {
                continue;
            };
            // Stamped so that it leaves when it would have; a slot's length later at most.
            let stamp = now + left - window;
            if let (Some(flow), None) = (&mut self.flow, &saved.flow) {
                flow.record_past(*amount, stamp, now);
            }
            self.count(stamp, *amount, now);
        }
        if let (Some(flow), Some(saved)) = (&mut self.flow, &saved.flow) {
            flow.restore(saved.clone(), elapsed, now);
        }
        if matches!(self.counts, Counts::Spent(_)) {
            self.count(now, saved.spent, now);
        }
        if let (Some(pacer), true) = (&mut self.pacer, saved.owed > 0) {
            pacer.owe(saved.owed, now - elapsed);
        }
    }

    /// It was found to be on a server that counts on arrival: so it is still.
    fn restore_fallback(&mut self, flow: Option<&SavedFlow>, elapsed: Duration, now: Instant) {
        if self.limit.rule() == ChargeRule::Flow {
            self.counted_on(ChargeMoment::Arrival, now);
        }
        if let (Some(flow), true) = (flow, self.fell_back) {
            self.rest_credit(flow.credit, now - elapsed);
        }
    }
}
