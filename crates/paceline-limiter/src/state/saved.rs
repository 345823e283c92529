//! What of a limit outlives a restart, as plain data.
//!
//! Moments are told as times from the moment of saving, because another process has another
//! clock. Invariant: what is restored counts at least as long as it would have.

use std::time::Duration;

use paceline_core::{Dimension, Instant, LimitKey};

use super::{Counts, LimitState, narrow};
use crate::flow::SavedFlow;

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
    /// What the rule Flow remembers, where the limit is charged by it.
    pub flow: Option<SavedFlow>,
}

impl LimitState {
    pub(crate) fn save(&mut self, now: Instant) -> SavedLimit {
        self.expire(now);
        let counted = match &self.counts {
            Counts::Window(window) => {
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
        }
    }

    /// What the rule Flow remembers; it knows itself what its calls in flight may come to.
    pub(crate) fn save_flow(&mut self, now: Instant) -> Option<SavedFlow> {
        self.flow.as_mut().map(|flow| flow.save(now))
    }

    /// Counts what was saved, `elapsed` ago.
    pub(crate) fn restore(&mut self, saved: &SavedLimit, elapsed: Duration, now: Instant) {
        self.start.know();
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
}
