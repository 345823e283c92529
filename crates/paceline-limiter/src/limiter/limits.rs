//! All limits of a limiter and the calls charged to them: one decision over many.
//!
//! It knows no queue. Invariant: a demand is charged to every limit that counts it or to none.

use std::time::Duration;

use paceline_core::{
    Amount, Blocked, Demand, Dimension, Instant, LimitKey, LimiterId, Quota, Receipt, Refusal,
};

use super::INSTANT;
use super::calls::{Call, Calls};
use super::pauses::Pauses;
use crate::limit::{ChargeRule, Limit, LimitError};
use crate::scopes::Scopes;
use crate::state::{LimitState, Verdict};

mod foresight;

/// The limits, what pauses them, and the calls that are not settled.
#[derive(Debug)]
pub(crate) struct Limits {
    id: LimiterId,
    states: Vec<Option<LimitState>>,
    scopes: Scopes,
    staleness: Duration,
    /// Whether any limit pools calls.
    pools: bool,
    pub(crate) pauses: Pauses,
    pub(crate) calls: Calls,
}

impl Limits {
    /// How many limits there may be.
    pub(crate) const MOST: usize = 4_096;

    pub(crate) fn new(id: LimiterId) -> Self {
        Self {
            id,
            states: Vec::new(),
            scopes: Scopes::default(),
            staleness: Duration::ZERO,
            pools: false,
            pauses: Pauses::default(),
            calls: Calls::default(),
        }
    }

    /// Replaces the limit of the same key, dimension and refill, or adds it.
    pub(crate) fn replace(&mut self, limit: Limit, now: Instant) -> Result<(), LimitError> {
        limit.check()?;
        let is_pooled = limit.rule() == ChargeRule::Flow;
        match self.find(limit.key(), limit.dimension(), limit.quota()) {
            Some(state) => state.set_limit(limit, now),
            None => return self.add(limit),
        }
        self.pools |= is_pooled;
        Ok(())
    }

    /// Adds a limit that is not there yet.
    pub(crate) fn add(&mut self, limit: Limit) -> Result<(), LimitError> {
        limit.check()?;
        if self.find(limit.key(), limit.dimension(), limit.quota()).is_some() {
            return Err(LimitError::AlreadyThere);
        }
        let index = match self.states.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.states.len() < Self::MOST => {
                self.states.push(None);
                self.states.len() - 1
            }
            None => return Err(LimitError::TooManyLimits { most: Self::MOST }),
        };
        self.pools |= limit.rule() == ChargeRule::Flow;
        self.scopes.add(limit.key(), index as u32);
        self.states[index] = Some(LimitState::new(limit, self.staleness));
        Ok(())
    }

    /// How far the clock may lag.
    pub(crate) fn set_staleness(&mut self, staleness: Duration, now: Instant) {
        self.staleness = staleness;
        self.iter().for_each(|state| state.set_staleness(staleness, now));
    }

    #[cfg(any(feature = "clock", feature = "tokio"))]
    pub(crate) const fn staleness(&self) -> Duration {
        self.staleness
    }

    /// Removes a limit and what calls in flight were charged there.
    pub(crate) fn remove(
        &mut self,
        key: &LimitKey,
        dimension: Dimension,
        is: impl Fn(Quota) -> bool,
    ) {
        let Some(index) = self.position(key, dimension, is) else { return };
        self.calls.iter().for_each(|call| call.forget(index));
        self.scopes.remove(key, index);
        self.states[index as usize] = None;
    }

    /// Whether every limit admits the demand now. Changes nothing that anybody could see.
    #[inline]
    pub(crate) fn fits(&mut self, demand: &Demand, now: Instant) -> bool {
        if self.pauses.until(demand, now).is_some() {
            return false;
        }
        let Self { states, scopes, .. } = self;
        all_fit(states, scopes.all(), demand, now)
            && (scopes.only_all()
                || scopes.named(demand).iter().all(|scope| all_fit(states, scope, demand, now)))
    }

    /// Charges a demand to all that count it, where all of them admit it. `None`, and nothing has
    /// changed, where one does not or too many calls are in flight.
    #[inline]
    pub(crate) fn admit(&mut self, demand: &Demand, now: Instant) -> Option<Receipt> {
        self.charge(demand, now).map(|number| Receipt::new(self.id, number))
    }

    /// The same; what it returns fits into registers, where a receipt would go through memory.
    #[inline(never)]
    fn charge(&mut self, demand: &Demand, now: Instant) -> Option<u64> {
        if !self.pauses.is_none() && self.pauses.until(demand, now).is_some() {
            return None;
        }
        let Self { states, scopes, pools, pauses, calls, .. } = self;
        let mut opening = calls.open()?;
        let call = opening.call();
        let fits = if scopes.only_all() {
            charge_each(states, call, demand, now)
        } else {
            charge_all(states, scopes.all(), call, demand, now)
                && charge_named(states, scopes, call, demand, now)
        };
        if !fits {
            undo_all(states, call);
            return None;
        }
        if *pools {
            enter_all(states, call, demand, now);
        }
        call.admitted_ns = now.as_nanos();
        call.latest_ns = demand.completion().map_or(0, |range| nanos(range.latest()));
        let number = opening.take();
        if !pauses.is_none() {
            pauses.admitted(demand, number, now);
        }
        Some(number)
    }

    /// Why the demand is not admitted now; `None` where it is.
    #[cold]
    pub(crate) fn refusal(&mut self, demand: &Demand, now: Instant) -> Option<Refusal> {
        let mut blocked: Option<Blocked> = None;
        let mut block = |by, until: Option<Instant>| {
            let until = until.map(|at| at.max(now + INSTANT));
            if blocked.as_ref().is_none_or(|other| is_later(until, other.until)) {
                blocked = Some(Blocked::new(by, until));
            }
        };
        let Self { states, scopes, .. } = self;
        for limit in scopes.counting(demand).into_iter().flatten() {
            let Some(Some(state)) = states.get_mut(*limit as usize) else { continue };
            let Some(amount) = state.asked(demand) else { continue };
            let asked = amount.upper_amount();
            match state.verdict(amount, demand, now) {
                Verdict::Fits => {}
                Verdict::Never => return Some(Refusal::Never { by: state.named(), asked }),
                Verdict::Exhausted => {
                    let spent = state.spent();
                    return Some(Refusal::Exhausted { by: state.named(), spent, asked });
                }
                Verdict::NotUntil(until) => block(Some(state.named()), until),
            }
        }
        if let Some(until) = self.pauses.until(demand, now) {
            block(None, Some(until));
        }
        if blocked.is_none() && self.calls.len() >= Calls::MOST {
            blocked = Some(Blocked::new(None, None));
        }
        blocked.map(Refusal::NotUntil)
    }

    /// Whether `head`, which can be admitted at `until` (`None`: not by time alone), still can
    /// once `other` has been admitted.
    pub(crate) fn keeps_its_time(
        &mut self,
        head: &Demand,
        until: Option<Instant>,
        other: &Demand,
        now: Instant,
    ) -> bool {
        let Self { states, scopes, .. } = self;
        let of_other = scopes.counting(other);
        scopes.counting(head).into_iter().flatten().all(|limit| {
            let Some(Some(state)) = states.get_mut(*limit as usize) else { return true };
            let is_shared = of_other.iter().any(|scope| scope.contains(limit));
            match (state.asked(head), state.asked(other).filter(|_| is_shared), until) {
                (None, ..) | (_, None, _) => true,
                // It waits for a call to end, and this is one more that has to.
                (Some(_), Some(_), None) => false,
                (Some(asked), Some(before), Some(until)) => {
                    state.fits_by(until, asked, before, now)
                }
            }
        })
    }

    pub(crate) fn find(
        &mut self,
        key: &LimitKey,
        dimension: Dimension,
        quota: Quota,
    ) -> Option<&mut LimitState> {
        let index = self.position(key, dimension, |other| other.refill() == quota.refill())?;
        self.states.get_mut(index as usize)?.as_mut()
    }

    /// The limits of a key, and of a dimension where one is named.
    pub(crate) fn each_named(
        &mut self,
        key: &LimitKey,
        dimension: Option<Dimension>,
        mut edit: impl FnMut(&mut LimitState),
    ) {
        for index in self.scopes.of(key) {
            let Some(Some(state)) = self.states.get_mut(*index as usize) else { continue };
            if dimension.is_none_or(|dimension| dimension == state.dimension()) {
                edit(state);
            }
        }
    }

    /// Every limit that counts a demand, with the amount it asks for.
    pub(crate) fn each_counting(
        &mut self,
        demand: &Demand,
        mut edit: impl FnMut(&mut LimitState, Amount),
    ) {
        let Self { states, scopes, .. } = self;
        for limit in scopes.counting(demand).into_iter().flatten() {
            let Some(Some(state)) = states.get_mut(*limit as usize) else { continue };
            if let Some(amount) = state.asked(demand) {
                edit(state, amount);
            }
        }
    }

    /// Every limit, in the order in which they were added.
    pub(crate) fn iter(&mut self) -> impl Iterator<Item = &mut LimitState> {
        self.states.iter_mut().flatten()
    }

    /// A copy of every limit, in their places.
    pub(crate) fn copies(&self) -> impl Iterator<Item = Option<LimitState>> {
        self.states.iter().cloned()
    }

    /// Shows a call and every limit.
    #[inline]
    pub(crate) fn with_call<T>(
        &mut self,
        receipt: Receipt,
        edit: impl FnOnce(&mut Call, &mut [Option<LimitState>]) -> T,
    ) -> Option<T> {
        if receipt.limiter() != self.id {
            return None;
        }
        let call = self.calls.get(receipt.number())?;
        Some(edit(call, &mut self.states))
    }

    /// Shows a call for the last time, and every limit.
    #[inline]
    pub(crate) fn end_call<T>(
        &mut self,
        receipt: Receipt,
        edit: impl FnOnce(&mut Call, &mut [Option<LimitState>]) -> T,
    ) -> Option<T> {
        if receipt.limiter() != self.id {
            return None;
        }
        let states = &mut self.states;
        self.calls.remove(receipt.number(), |call| edit(call, states))
    }

    fn position(
        &self,
        key: &LimitKey,
        dimension: Dimension,
        is: impl Fn(Quota) -> bool,
    ) -> Option<u32> {
        self.scopes.of(key).iter().copied().find(|index| {
            self.states
                .get(*index as usize)
                .and_then(Option::as_ref)
                .is_some_and(|state| state.dimension() == dimension && is(state.limit().quota()))
        })
    }
}

/// Whether the limits of one scope admit the demand.
#[inline]
fn all_fit(
    states: &mut [Option<LimitState>],
    scope: &[u32],
    demand: &Demand,
    now: Instant,
) -> bool {
    scope.iter().all(|limit| {
        let Some(Some(state)) = states.get_mut(*limit as usize) else { return true };
        let Some(amount) = state.asked(demand) else { return true };
        state.fits(amount, demand, now)
    })
}

/// Charges the demand to the limits of every scope that it names.
#[inline(never)]
fn charge_named(
    states: &mut [Option<LimitState>],
    scopes: &Scopes,
    call: &mut Call,
    demand: &Demand,
    now: Instant,
) -> bool {
    let mut named = scopes.named(demand).into_iter();
    named.all(|scope| charge_all(states, scope, call, demand, now))
}

/// Charges the demand to the limits of one scope, up to the first that does not admit it: `false`.
#[inline(always)]
fn charge_all(
    states: &mut [Option<LimitState>],
    scope: &[u32],
    call: &mut Call,
    demand: &Demand,
    now: Instant,
) -> bool {
    for limit in scope {
        let Some(Some(state)) = states.get_mut(*limit as usize) else { continue };
        if !charge(state, *limit, call, demand, now) {
            return false;
        }
    }
    true
}

/// Charges the demand to every limit there is, where all of them are of all calls: none has to be
/// looked up.
#[inline(always)]
fn charge_each(
    states: &mut [Option<LimitState>],
    call: &mut Call,
    demand: &Demand,
    now: Instant,
) -> bool {
    (0..).zip(states).all(|(limit, state)| {
        state.as_mut().is_none_or(|state| charge(state, limit, call, demand, now))
    })
}

/// Charges the demand to one limit, if it asks for anything there and that fits.
#[inline(always)]
pub(crate) fn charge(
    state: &mut LimitState,
    limit: u32,
    call: &mut Call,
    demand: &Demand,
    now: Instant,
) -> bool {
    let Some(amount) = state.asked(demand) else { return true };
    let place = call.next();
    place.limit = limit;
    let fits = state.try_charge(amount, demand, now, place);
    if fits {
        call.keep();
    }
    fits
}

/// Takes back every charge of a call that was not admitted after all.
#[cold]
pub(crate) fn undo_all(states: &mut [Option<LimitState>], call: &mut Call) {
    for charge in call.charges() {
        if let Some(Some(state)) = states.get_mut(charge.limit as usize) {
            state.undo(charge);
        }
    }
    call.forget_all();
}

/// Lets an admitted call enter the limits that pool calls, which only said so far that they would.
#[cold]
fn enter_all(states: &mut [Option<LimitState>], call: &mut Call, demand: &Demand, now: Instant) {
    for charge in call.charges() {
        if let Some(Some(state)) = states.get_mut(charge.limit as usize) {
            state.enter(charge, demand, now);
        }
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether `a` is later than `b`; not known is later than any moment.
fn is_later(a: Option<Instant>, b: Option<Instant>) -> bool {
    match (a, b) {
        (None, Some(_)) => true,
        (Some(a), Some(b)) => a > b,
        (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use paceline_core::Actual;

    use super::*;
    use crate::limit::Pacing;
    use crate::limiter::Limiter;

    fn not_zero(amount: u64) -> NonZeroU64 {
        NonZeroU64::new(amount).expect("not zero")
    }

    /// Limits of which the last one refuses what the others admit.
    fn limiter() -> Limiter {
        let mut limiter = Limiter::new();
        let minute = Quota::per_minute(not_zero(1_000));
        let burst = Pacing::Burst(not_zero(500));
        let model = LimitKey::Model("m".into());
        let last = Limit::new(model, Dimension::Requests, Quota::per_hour(not_zero(2)));
        let input = Limit::new(LimitKey::All, Dimension::InputTokens, minute);
        let million = Quota::per_minute(not_zero(1_000_000));
        let total = Limit::new(LimitKey::All, Dimension::TotalTokens, million);
        for limit in [
            input.paced(burst),
            total.charged(ChargeRule::Flow),
            Limit::new(LimitKey::All, Dimension::InFlight, Quota::once(not_zero(9))),
            last,
        ] {
            limiter.add(limit).expect("a legal limit");
        }
        limiter
    }

    #[test]
    fn what_a_later_limit_refuses_leaves_no_trace_in_the_others() {
        let at = |seconds: u64| Instant::from_nanos((1_000 + seconds) * 1_000_000_000);
        let demand = Demand::call(Amount::expected(100).upper(200))
            .with(Dimension::InputTokens, Amount::exact(50))
            .model("m");
        let used = Actual::new().with(Dimension::TotalTokens, 30);
        let (mut asked, mut other) = (limiter(), limiter());
        for limiter in [&mut asked, &mut other] {
            let one = limiter.try_acquire(&demand, at(0)).expect("it fits");
            let _ = limiter.try_acquire(&demand, at(1)).expect("it fits");
            limiter.settle(one, &used, at(2));
        }
        for turn in 0..100 {
            asked
                .try_acquire(&demand, at(2) + Duration::from_nanos(turn))
                .expect_err("the last limit is spent");
        }
        let now = at(3);
        // All that a limit knows, but for what another limiter is called.
        let states = |limiter: &mut Limiter| format!("{:?}", limiter.limits.states);
        assert!(
            other.try_acquire(&demand, now).is_err() && asked.try_acquire(&demand, now).is_err()
        );
        assert_eq!(states(&mut asked), states(&mut other));
        assert_eq!((asked.in_flight(), asked.snapshot(now)), (1, other.snapshot(now)));
    }
}
