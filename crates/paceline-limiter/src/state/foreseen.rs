//! A limit as it will be for certain: what time alone brings, and calls that use what they state.
//!
//! Invariant: nothing fits there later than it could here, but for a call that gives back what is
//! counted for it already.

use paceline_core::{Amount, Instant};

use super::LimitState;
use crate::limit::ChargeRule;

impl LimitState {
    /// Whether what it will admit can be told beforehand: not where calls are pooled, or others
    /// are thought to take a part.
    pub(crate) const fn is_foreseen(&self) -> bool {
        self.flow.is_none() && self.others.is_none()
    }

    /// A copy in which all that is held has gone back.
    pub(crate) fn foreseen(&self) -> Option<Self> {
        let mut copy = self.is_foreseen().then(|| self.clone())?;
        copy.used -= std::mem::take(&mut copy.held);
        Some(copy)
    }

    /// A call was admitted and was over at once. What is not stated exactly may have been nothing.
    pub(crate) fn use_up(&mut self, amount: Amount, at: Instant) {
        let upper = amount.upper_amount();
        if upper != amount.expected_amount() || self.limit.rule() == ChargeRule::WhileInFlight {
            return;
        }
        if let Some(pacer) = &mut self.pacer {
            pacer.owe(upper, at);
        }
        self.count(self.told(at), upper, at);
    }
}
