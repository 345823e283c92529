//! The running state of one limit: what is held, what is counted, what is paced.
//!
//! It decides nothing alone: the limiter asks every limit first and only then charges all or
//! none. Invariant: what is counted plus what is held covers all that the server can have
//! counted in its window.

use std::time::Duration;

use paceline_core::{Amount, Instant, Refill, RefusedBy};

use crate::limit::{ChargeRule, Limit};
use crate::pacer::{Paced, Pacer};
use crate::snapshot::LimitSnapshot;
use crate::window::Window;

/// A limit and all that it has seen.
#[derive(Clone, Debug)]
pub(crate) struct LimitState {
    limit: Limit,
    /// `None` for a quota that never comes back, or that only counts what is in flight.
    window: Option<Window>,
    pacer: Option<Pacer>,
    /// Reserved and not yet in the window.
    held: u128,
    /// Spent of a quota that never comes back.
    spent: u128,
}

/// What one limit says to a demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fits,
    /// `None`: time alone does not help.
    NotUntil(Option<Instant>),
    Never,
    Exhausted,
}

/// What one admission did to one limit, so that it can be settled or taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    /// Which limit.
    pub(crate) limit: usize,
    reserved: u64,
    /// Where it stands in the window; `None` while it is held.
    stamp: Option<Instant>,
    paced: Option<Paced>,
}

impl LimitState {
    pub(crate) fn new(limit: Limit) -> Self {
        let window = match limit.quota().refill() {
            Refill::Rolling(length)
                if limit.rule() != ChargeRule::WhileInFlight && limit.is_guarded() =>
            {
                Some(Window::new(length))
            }
            _ => None,
        };
        let pacer = limit.rate().map(Pacer::new);
        Self { limit, window, pacer, held: 0, spent: 0 }
    }

    pub(crate) const fn limit(&self) -> &Limit {
        &self.limit
    }

    pub(crate) fn named(&self) -> RefusedBy {
        RefusedBy::new(self.limit.key().clone(), self.limit.dimension(), self.limit.quota())
    }

    pub(crate) fn spent(&self) -> u64 {
        u64::try_from(self.spent).unwrap_or(u64::MAX)
    }

    /// Whether `amount` fits now, and if not, when.
    pub(crate) fn verdict(&mut self, amount: Amount, now: Instant) -> Verdict {
        let most = u128::from(self.limit.quota().limit().get());
        let asked = u128::from(amount.upper_amount());
        if asked > most {
            return Verdict::Never;
        }
        if self.spent + asked > most {
            return Verdict::Exhausted;
        }
        let guard = self.guard_free_at(asked, most, now);
        let pacer = self.pacer.as_ref().map(|pacer| pacer.conforms_at(amount.expected_amount()));
        match (guard, pacer.filter(|at| *at > now)) {
            (Verdict::Fits, None) => Verdict::Fits,
            (Verdict::Fits, Some(at)) => Verdict::NotUntil(Some(at)),
            (Verdict::NotUntil(Some(guard)), Some(at)) => Verdict::NotUntil(Some(guard.max(at))),
            (other, _) => other,
        }
    }

    fn guard_free_at(&mut self, asked: u128, most: u128, now: Instant) -> Verdict {
        if !self.limit.is_guarded() {
            return Verdict::Fits;
        }
        let counted = match &mut self.window {
            Some(window) => {
                window.expire(now);
                window.counted()
            }
            None => self.spent,
        };
        match (counted + self.held + asked).checked_sub(most) {
            None | Some(0) => Verdict::Fits,
            Some(excess) => {
                let freed = self.window.as_ref().and_then(|window| window.freed_at(excess));
                Verdict::NotUntil(freed)
            }
        }
    }

    /// Reserves `amount`. The caller has seen that it fits.
    pub(crate) fn charge(&mut self, index: usize, amount: Amount, now: Instant) -> Charge {
        let reserved = amount.upper_amount();
        let paced = self.pacer.as_mut().map(|pacer| pacer.charge(amount.expected_amount(), now));
        self.held += u128::from(reserved);
        Charge { limit: index, reserved, stamp: None, paced }
    }

    /// The call is leaving: what is counted on arrival is counted within the delay bound.
    pub(crate) fn sent(&mut self, charge: &mut Charge, now: Instant) {
        if self.limit.rule() == ChargeRule::Arrival && charge.stamp.is_none() {
            self.stamp(charge, now + self.limit.delay_bound());
        }
    }

    /// The answer began: what is counted on arrival has been counted by now.
    pub(crate) fn head_received(&mut self, charge: &mut Charge, now: Instant) {
        if let Some(stamp) = charge.stamp.filter(|stamp| *stamp > now) {
            self.unstamp(charge, stamp);
            self.stamp(charge, now);
        }
    }

    /// The call is over. `actual` is `None` where nobody knows what it used; `over` is when the
    /// server has counted it for sure.
    pub(crate) fn settle(
        &mut self,
        charge: &mut Charge,
        actual: Option<u64>,
        over: Instant,
        now: Instant,
    ) {
        let used = actual.unwrap_or(charge.reserved);
        if let (Some(pacer), Some(paced), Some(actual)) = (&mut self.pacer, charge.paced, actual) {
            pacer.settle(paced, actual, now);
        }
        match charge.stamp {
            Some(stamp) => {
                if let Some(window) = &mut self.window {
                    window.remove(stamp, charge.reserved);
                    window.add(stamp, used);
                }
            }
            None => {
                self.held -= u128::from(charge.reserved);
                self.count(over, used);
            }
        }
    }

    /// The call never left: everything goes back.
    pub(crate) fn cancel(&mut self, charge: &Charge, now: Instant) {
        if let (Some(pacer), Some(paced)) = (&mut self.pacer, charge.paced) {
            pacer.settle(paced, 0, now);
        }
        match charge.stamp {
            Some(stamp) => {
                if let Some(window) = &mut self.window {
                    window.remove(stamp, charge.reserved);
                }
            }
            None => self.held -= u128::from(charge.reserved),
        }
    }

    /// A call that this limiter did not admit was counted at `at`.
    pub(crate) fn record_past(&mut self, amount: Amount, at: Instant) {
        let counted_by = match self.limit.rule() {
            ChargeRule::Arrival => at + self.limit.delay_bound(),
            ChargeRule::Completion => at,
            ChargeRule::WhileInFlight => return,
        };
        if let Some(pacer) = &mut self.pacer {
            pacer.charge(amount.expected_amount(), at);
        }
        self.count(counted_by, amount.upper_amount());
    }

    /// Takes what the server says is left: what is free here is never more than that.
    pub(crate) fn tighten(&mut self, remaining: u64, now: Instant) {
        let most = u128::from(self.limit.quota().limit().get());
        let used = most.saturating_sub(u128::from(remaining));
        let Some(window) = &mut self.window else { return };
        window.expire(now);
        let foreign = used.saturating_sub(window.counted() + self.held);
        window.add(now, u64::try_from(foreign).unwrap_or(u64::MAX));
    }

    /// Another amount for the same window.
    pub(crate) fn set_limit(&mut self, limit: Limit, now: Instant) {
        if let (Some(pacer), Some(rate)) = (&mut self.pacer, limit.rate()) {
            pacer.set_rate(rate, now);
        }
        self.limit = limit;
    }

    pub(crate) fn snapshot(&mut self, now: Instant) -> LimitSnapshot {
        let counted = match &mut self.window {
            Some(window) => {
                window.expire(now);
                window.counted()
            }
            None => self.spent,
        };
        let most = u128::from(self.limit.quota().limit().get());
        let free = most.saturating_sub(counted + self.held);
        let next = self.pacer.as_ref().map(|pacer| pacer.conforms_at(1)).filter(|at| *at > now);
        let window = self.window.as_ref().filter(|_| free == 0);
        let guard = window.and_then(|window| window.freed_at((counted + self.held + 1) - most));
        let narrow = |amount: u128| u64::try_from(amount).unwrap_or(u64::MAX);
        LimitSnapshot {
            key: self.limit.key().clone(),
            dimension: self.limit.dimension(),
            quota: self.limit.quota(),
            rule: self.limit.rule(),
            delay_bound: self.limit.delay_bound(),
            used: narrow(counted),
            held: narrow(self.held),
            free: narrow(free),
            next_free_at: next.max(guard),
        }
    }

    /// Widens the delay bound, up to `most`.
    pub(crate) fn widen(&mut self, most: Duration, now: Instant) {
        let widened = (self.limit.delay_bound() * 2).min(most);
        if widened > self.limit.delay_bound() {
            let limit = self.limit.clone().delay(widened);
            self.set_limit(limit, now);
        }
    }

    fn count(&mut self, at: Instant, amount: u64) {
        match &mut self.window {
            Some(window) => window.add(at, amount),
            None if self.limit.quota().refill() == Refill::Never
                && self.limit.rule() != ChargeRule::WhileInFlight =>
            {
                self.spent += u128::from(amount);
            }
            None => {}
        }
    }

    /// Moves a charge from what is held into the window.
    fn stamp(&mut self, charge: &mut Charge, at: Instant) {
        if let Some(window) = &mut self.window {
            self.held -= u128::from(charge.reserved);
            window.add(at, charge.reserved);
            charge.stamp = Some(at);
        }
    }

    fn unstamp(&mut self, charge: &mut Charge, stamp: Instant) {
        if let Some(window) = &mut self.window {
            window.remove(stamp, charge.reserved);
            self.held += u128::from(charge.reserved);
            charge.stamp = None;
        }
    }
}
