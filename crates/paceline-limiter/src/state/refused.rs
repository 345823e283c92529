//! A limit that the server refused, and what the server says is left of it.
//!
//! It decides what a refusal means: explained by what we counted, or by others. Invariant: the
//! amount in force is never more than the one stated.

use std::time::Duration;

use paceline_core::{Amount, ChargeMoment, Instant};

use super::others::{Others, Unexplained, WHOLE};
use super::{Charge, Counts, HELD, LimitState, narrow};
use crate::flow::{Flight, Flow};
use crate::limit::ChargeRule;
use crate::limiter::MAX_WIDENED;
use crate::snapshot::Binds;

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

    /// The server refused a call for this limit, which was charged this for it.
    pub(crate) fn refused(&mut self, charge: Option<&Charge>, refused: Refused, now: Instant) {
        let Some(window) = self.limit.quota().window() else { return };
        if !matches!(self.counts, Counts::Window(_)) {
            return;
        }
        let stated = self.limit.quota().limit().get();
        let counted = self.landed(now);
        let asked = charge.map_or(0, |charge| self.visible(charge));
        if let Some(actual) = refused.actual {
            // The call itself is not among what was counted.
            let held = charge.filter(|charge| charge.stamp_ns == HELD);
            let held = held.map_or(0, |charge| charge.reserved);
            self.correct(actual, held, now);
        }
        if counted.saturating_add(asked) > stated {
            // Our own count had reached it.
            return;
        }
        let share = self.share(stated - counted - asked);
        let now_ns = now.as_nanos();
        // Before the first of our calls our count begins now.
        let since = self.start.first().min(now_ns);
        let unexplained = Unexplained { share, sent: refused.sent.as_nanos(), since };
        let window = narrow(window.as_nanos());
        let others = self.others.get_or_insert_with(|| Box::new(Others::new(window, now_ns)));
        let is_level =
            refused.actual.is_none() || others.is_corrected_again(refused.sent.as_nanos(), now_ns);
        if is_level && others.refused(unexplained, now_ns) {
            self.start.again();
            self.widen(MAX_WIDENED, now);
        }
        self.follow_others(now);
        self.set_quick();
    }

    /// Raises the count to what the server says it has counted, beside what a refused call holds.
    fn correct(&mut self, actual: u64, held: u64, now: Instant) {
        if let Some(flow) = &mut self.flow {
            let foreign = actual.saturating_sub(narrow(flow.counted(now)));
            flow.record_past(foreign, now, now);
        }
        self.expire(now);
        let foreign = actual.saturating_sub(self.used - held);
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
            return self.correct(used, 0, now);
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

    /// Told that the server counts on arrival, Flow falls back to holding; it returns when told
    /// otherwise. Calls in flight meanwhile are not forecast: they count when they are over.
    pub(crate) fn counted_on(&mut self, moment: ChargeMoment, now: Instant) {
        let rule = match (moment, self.limit.rule()) {
            (ChargeMoment::Arrival, ChargeRule::Flow) => ChargeRule::Completion,
            (ChargeMoment::Completion, ChargeRule::Completion) if self.fell_back => {
                ChargeRule::Flow
            }
            _ => return,
        };
        self.fell_back = rule == ChargeRule::Completion;
        let limit = self.limit.clone().charged(rule);
        self.change(limit, now);
    }

    /// What keeps one more unit from being admitted now.
    pub(super) fn binds(&mut self, paced: bool, now: Instant) -> Option<Binds> {
        if let Some(flow) = &mut self.flow {
            return flow.binds(now).or_else(|| self.start.opens_at(now).map(|_| Binds::Pace));
        }
        let stated = self.limit.quota().limit().get();
        match self.used {
            used if used >= stated => Some(Binds::Counted),
            used if used >= self.most => Some(Binds::Others),
            _ => paced.then_some(Binds::Pace),
        }
    }

    /// The amount in force, and what others are thought to count.
    pub(super) fn in_force(&self) -> (u64, u64) {
        let stated = self.limit.quota().limit().get();
        let Some(others) = &self.others else { return (stated, 0) };
        let varies = self.share(self.flow.as_ref().map_or(0, |flow| flow.varies()));
        let margin = of(stated, others.margin(varies));
        (stated.saturating_sub(margin).max(1), of(stated, others.share()))
    }

    /// When the amount fits beside others, whose share goes down with time as ours does; `None`
    /// where time alone does not help. Late by a 16,384th of a window at most.
    #[cold]
    pub(super) fn left_at(&self, amount: Amount, now: Instant) -> Option<Instant> {
        let others = self.others.as_ref()?;
        let Counts::Window(window) = &self.counts else { return None };
        let stated = self.limit.quota().limit().get();
        let fits = |at: u64| {
            let mut others = others.clone();
            others.advance(at);
            let most = stated.saturating_sub(of(stated, others.margin(0))).max(1);
            let at = Instant::from_nanos(at);
            let left = window.entries().take_while(|(leaves, _)| *leaves <= at);
            let used = self.used - left.map(|(_, amount)| amount).sum::<u64>();
            used.saturating_add(amount.upper_amount()) <= most
        };
        let length = narrow(self.limit.quota().window()?.as_nanos());
        let (mut before, mut step) = (now.as_nanos(), (length >> 14).max(1));
        // Ever farther, until it fits; then halves of the last step.
        let mut after = before.saturating_add(step);
        while !fits(after) {
            if step > length.saturating_mul(LONGEST) {
                return None;
            }
            (before, step) = (after, step.saturating_mul(2));
            after = after.saturating_add(step);
        }
        while after - before > (length >> 14).max(1) {
            let middle = before + (after - before) / 2;
            (before, after) = if fits(middle) { (before, middle) } else { (middle, after) };
        }
        Some(Instant::from_nanos(after))
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
                self.most = stated;
                flow.set_margin(margin);
                let factor = others.factor() * u64::from(Flow::WHOLE) / WHOLE;
                flow.set_factor(u32::try_from(factor).unwrap_or(Flow::WHOLE), now);
            }
            None => self.most = stated.saturating_sub(margin).max(1),
        }
        if others.is_over() {
            self.others = None;
            if let Some(flow) = &mut self.flow {
                flow.set_margin(0);
                flow.set_factor(Flow::WHOLE, now);
            }
            self.set_quick();
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

    /// A call as the present Flow knows it; one that an earlier Flow admitted it does not.
    #[inline]
    pub(super) fn flight(&self, charge: &Charge) -> Option<Flight> {
        charge.flight.filter(|_| charge.flow_number == self.flow_number)
    }

    /// What the server could see of a call.
    fn visible(&self, charge: &Charge) -> u64 {
        match (&self.flow, self.flight(charge)) {
            (Some(flow), Some(flight)) => flow.input(flight),
            // Either it is counted here already, or nobody can tell.
            _ => 0,
        }
    }
}

/// In windows, what is beyond everything that time gives back.
const LONGEST: u64 = 1 << 12;

/// So much of a limit, rounded up.
fn of(limit: u64, share: u64) -> u64 {
    let amount = (u128::from(limit) * u128::from(share)).div_ceil(u128::from(WHOLE));
    u64::try_from(amount).unwrap_or(u64::MAX)
}
