//! A limit that the server refused, and what the server says is left of it.
//!
//! It decides what a refusal means: explained by what we counted, or by others. Invariant: the
//! amount in force is never more than the one stated.

use std::time::Duration;

use paceline_core::Instant;

use super::others::{Others, Unexplained, WHOLE};
use super::{Charge, Counts, LimitState, narrow};
use crate::flow::Flow;

/// A refusal, as one limit is told it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    /// When the call left.
    pub(crate) sent: Instant,
    /// What the server had counted, if it said so.
    pub(crate) actual: Option<u64>,
}

impl LimitState {
    /// How full it is with one call more, in parts of [`WHOLE`]; `None` where no refusal can name
    /// it.
    pub(crate) fn fullness(&mut self, now: Instant) -> Option<u64> {
        matches!(self.counts, Counts::Window(_)).then(|| {
            let counted = self.landed(now);
            self.share(counted)
        })
    }

    /// What tells it from others of its key.
    pub(crate) fn place(&self) -> (Option<Duration>, u8) {
        (self.limit.quota().window(), self.index)
    }

    /// The server refused a call for this limit. `asked` is what it could see of the call.
    pub(crate) fn refused(&mut self, asked: u64, refused: Refused, now: Instant) {
        let Some(window) = self.limit.quota().window() else { return };
        if !matches!(self.counts, Counts::Window(_)) {
            return;
        }
        let stated = self.limit.quota().limit().get();
        let counted = self.landed(now);
        if let Some(actual) = refused.actual {
            self.correct(actual, now);
        }
        if counted.saturating_add(asked) > stated {
            // Our own count had reached it.
            return;
        }
        let share = self.share(stated - counted - asked);
        let unexplained =
            Unexplained { share, sent: refused.sent.as_nanos(), since: self.start.first() };
        let now_ns = now.as_nanos();
        let window = narrow(window.as_nanos());
        let others = self.others.get_or_insert_with(|| Box::new(Others::new(window, now_ns)));
        let is_level =
            refused.actual.is_none() || others.is_corrected_again(refused.sent.as_nanos(), now_ns);
        if is_level && others.refused(unexplained, now_ns) {
            self.start.again();
        }
        self.follow_others(now);
    }

    /// Raises the count to what the server says it has counted.
    fn correct(&mut self, actual: u64, now: Instant) {
        if let Some(flow) = &mut self.flow {
            let foreign = actual.saturating_sub(narrow(flow.counted(now)));
            flow.record_past(foreign, now, now);
        }
        self.expire(now);
        let foreign = actual.saturating_sub(self.used);
        self.count(now, foreign, now);
    }

    /// Takes what the server says is left: what is free here is never more than that.
    pub(crate) fn tighten(&mut self, remaining: u64, now: Instant) {
        if !matches!(self.counts, Counts::Window(_)) {
            return;
        }
        let stated = self.limit.quota().limit().get();
        let used = stated.saturating_sub(remaining);
        if self.flow.is_none() {
            return self.correct(used, now);
        }
        if self.others.is_none() {
            return;
        }
        let own = self.landed(now);
        let (used, own) = (self.share(used), self.share(own));
        if let Some(others) = &mut self.others {
            others.told(used, own, now.as_nanos());
        }
        self.follow_others(now);
    }

    /// Sets what others leave.
    pub(crate) fn follow_others(&mut self, now: Instant) {
        let stated = self.limit.quota().limit().get();
        let varies = self.flow.as_ref().map_or(0, |flow| flow.varies());
        let varies = self.share(varies);
        let Some(others) = &mut self.others else { return };
        others.advance(now.as_nanos());
        let margin = of(stated, others.margin(varies));
        match &mut self.flow {
            Some(flow) => {
                flow.set_margin(margin);
                let factor = others.factor() * u64::from(Flow::WHOLE) / WHOLE;
                flow.set_factor(u32::try_from(factor).unwrap_or(Flow::WHOLE), now);
            }
            None => self.most = stated.saturating_sub(margin).max(1),
        }
    }

    /// What the server has counted of ours, as far as we know.
    fn landed(&mut self, now: Instant) -> u64 {
        self.expire(now);
        match &mut self.flow {
            Some(flow) => narrow(flow.counted(now)),
            None => self.used - self.held,
        }
    }

    /// Notes our own count before it changes.
    #[cold]
    pub(super) fn note_count(&mut self, now: Instant) {
        let own = self.landed(now);
        let own = self.share(own);
        if let Some(others) = &mut self.others {
            others.counted(own, now.as_nanos());
        }
    }

    fn share(&self, amount: u64) -> u64 {
        let stated = u128::from(self.limit.quota().limit().get());
        let share = u128::from(amount) * u128::from(WHOLE) / stated;
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// What the server could see of a call.
    pub(crate) fn visible(&self, charge: &Charge) -> u64 {
        match (&self.flow, charge.flight) {
            (Some(flow), Some(flight)) => flow.input(flight),
            // Either it is counted here already, or nobody can tell.
            _ => 0,
        }
    }
}

/// So much of a limit, rounded up.
fn of(limit: u64, share: u64) -> u64 {
    let amount = (u128::from(limit) * u128::from(share)).div_ceil(u128::from(WHOLE));
    u64::try_from(amount).unwrap_or(u64::MAX)
}
