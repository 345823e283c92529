//! The running state of one limit: what is held, what is counted, what is paced.
//!
//! It decides nothing alone: the limiter charges one limit after the other, and takes back all
//! where one of them refuses. Invariant: what is counted plus what is held covers all that the
//! server can have counted in its window; what is taken back leaves no trace.

use std::time::Duration;

use paceline_core::{Actual, Amount, Demand, Dimension, Instant, Refill, RefusedBy};

use crate::flow::{Flight, Flow};
use crate::limit::{ChargeRule, Limit, Pacing};
use crate::pacer::{Paced, Pacer};
use crate::snapshot::LimitSnapshot;
use crate::window::Window;

mod saved;

pub use saved::SavedLimit;

/// A limit and all that it has seen.
#[derive(Clone, Debug)]
pub(crate) struct LimitState {
    /// The amount in force.
    most: u64,
    /// What is counted and what is held, together; never above `most` when something is admitted.
    used: u64,
    /// Until when nothing of it leaves by itself, in nanoseconds.
    steady_until: u64,
    /// The same, or zero where it pools calls: until when a charge takes no second look.
    quick_until: u64,
    /// All bits where a call's amount is held; none where only the pacer counts.
    holds: u64,
    /// The index of its dimension.
    index: u8,
    /// Whether a call counts from its arrival on.
    on_arrival: bool,
    pacer: Option<Pacer>,
    flow: Option<Box<Flow>>,
    counts: Counts,
    /// Of `used`, what is reserved and not yet counted.
    held: u64,
    delay_ns: u64,
    /// How far the clock may lag.
    staleness_ns: u64,
    limit: Limit,
}

/// Where what is not held any more is counted.
#[derive(Clone, Debug)]
enum Counts {
    Window(Window),
    /// A quota that never comes back.
    Spent(u64),
    /// Only what is held counts.
    InFlight,
    /// Only the pacer counts.
    Pacer,
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
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Charge {
    paced: Paced,
    reserved: u64,
    /// Where it stands in the window; [`HELD`] while it is held.
    stamp_ns: u64,
    flight: Option<Flight>,
    /// Which limit.
    pub(crate) limit: u32,
}

/// Not in the window yet.
const HELD: u64 = u64::MAX;

/// The end of a call, as one limit is told it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// `None` where nobody knows what it used.
    pub(crate) actual: Option<u64>,
    /// When the server has counted it for sure.
    pub(crate) over: Instant,
}

impl LimitState {
    pub(crate) fn new(limit: Limit, staleness: Duration) -> Self {
        let mut state = Self {
            most: limit.quota().limit().get(),
            used: 0,
            steady_until: u64::MAX,
            quick_until: u64::MAX,
            holds: u64::MAX,
            index: index(limit.dimension()),
            on_arrival: false,
            pacer: limit.rate().map(Pacer::new),
            flow: None,
            counts: Counts::InFlight,
            held: 0,
            delay_ns: 0,
            staleness_ns: nanos(staleness),
            limit,
        };
        state.counts = state.new_counts();
        state.follow(Instant::ORIGIN);
        state
    }

    pub(crate) const fn limit(&self) -> &Limit {
        &self.limit
    }

    pub(crate) const fn dimension(&self) -> Dimension {
        self.limit.dimension()
    }

    /// What a demand asks of this limit, if anything.
    #[inline]
    pub(crate) const fn asked(&self, demand: &Demand) -> Option<Amount> {
        demand.amount_at(self.index as usize)
    }

    /// What a call used of this limit, where that is known.
    #[inline]
    pub(crate) const fn actual(&self, actual: &Actual) -> Option<u64> {
        actual.amount_at(self.index as usize)
    }

    pub(crate) fn named(&self) -> RefusedBy {
        RefusedBy::new(self.limit.key().clone(), self.limit.dimension(), self.limit.quota())
    }

    /// What is spent of a quota that never comes back.
    pub(crate) const fn spent(&self) -> u64 {
        match self.counts {
            Counts::Spent(spent) => spent,
            _ => 0,
        }
    }

    /// Whether `amount` fits now. Changes nothing that anybody could see.
    pub(crate) fn fits(&mut self, amount: Amount, demand: &Demand, now: Instant) -> bool {
        let conforms = |pacer: &Pacer| pacer.conforms(amount.expected_amount(), now);
        self.pacer.as_ref().is_none_or(conforms) && self.is_within(amount, demand, now)
    }

    /// Whether `amount` fits now, and if not, when.
    pub(crate) fn verdict(&mut self, amount: Amount, demand: &Demand, now: Instant) -> Verdict {
        let asked = amount.upper_amount();
        if asked > self.most {
            return Verdict::Never;
        }
        if self.spent().saturating_add(asked) > self.most {
            return Verdict::Exhausted;
        }
        let guard = self.guard(amount, demand, now);
        let pacer = self.pacer.as_ref().map(|pacer| pacer.conforms_at(amount.expected_amount()));
        match (guard, pacer.filter(|at| *at > now)) {
            (Verdict::Fits, None) => Verdict::Fits,
            (Verdict::Fits, Some(at)) => Verdict::NotUntil(Some(at)),
            (Verdict::NotUntil(Some(guard)), Some(at)) => Verdict::NotUntil(Some(guard.max(at))),
            (other, _) => other,
        }
    }

    fn guard(&mut self, amount: Amount, demand: &Demand, now: Instant) -> Verdict {
        if let Some(flow) = &mut self.flow {
            return match flow.verdict(&ask(amount, demand), now) {
                Ok(()) => Verdict::Fits,
                Err(until) => Verdict::NotUntil(until),
            };
        }
        self.expire(now);
        match (self.used + amount.upper_amount()).checked_sub(self.most) {
            None | Some(0) => Verdict::Fits,
            Some(excess) => Verdict::NotUntil(self.freed_at(excess)),
        }
    }

    /// Whether `amount` fits by `until` though `before` is admitted now. What can't be foreseen
    /// does not.
    pub(crate) fn fits_by(
        &mut self,
        until: Instant,
        amount: Amount,
        before: Amount,
        now: Instant,
    ) -> bool {
        if self.flow.is_some() {
            return false;
        }
        let paced = self.pacer.clone().is_none_or(|mut pacer| {
            pacer.owe(before.expected_amount(), now);
            pacer.conforms(amount.expected_amount(), until)
        });
        self.expire(now);
        let reserved = match self.counts {
            Counts::Pacer => 0,
            _ => before.upper_amount(),
        };
        let wanted = self.used.saturating_add(reserved).saturating_add(amount.upper_amount());
        paced
            && wanted.checked_sub(self.most).is_none_or(|excess| {
                excess == 0 || self.freed_at(excess).is_some_and(|freed| freed <= until)
            })
    }

    /// When so much of what is used has left by itself; `None` where time alone does not help.
    fn freed_at(&self, excess: u64) -> Option<Instant> {
        match &self.counts {
            Counts::Window(window) => window.freed_at(excess),
            _ => None,
        }
    }

    /// Reserves `amount` if it fits now, and writes down what it did. `false`, and nothing has
    /// changed that anybody could see, where it does not.
    ///
    /// A limit that pools calls only says whether it fits: see [`LimitState::enter`].
    #[inline(always)]
    pub(crate) fn try_charge(
        &mut self,
        amount: Amount,
        demand: &Demand,
        now: Instant,
        charge: &mut Charge,
    ) -> bool {
        let asked = amount.upper_amount();
        let is_within = if now.as_nanos() < self.quick_until {
            self.used.saturating_add(asked) <= self.most
        } else {
            self.is_within(amount, demand, now)
        };
        if !is_within {
            return false;
        }
        charge.paced = match &mut self.pacer {
            Some(pacer) => match pacer.try_charge(amount.expected_amount(), now) {
                Some(paced) => paced,
                None => return false,
            },
            None => Paced::default(),
        };
        charge.reserved = asked & self.holds;
        charge.stamp_ns = HELD;
        charge.flight = None;
        self.hold(charge.reserved);
        true
    }

    /// Takes back the charge that was the last thing to happen here.
    pub(crate) fn undo(&mut self, charge: &Charge) {
        if let Some(pacer) = &mut self.pacer {
            pacer.undo();
        }
        self.let_go(charge.reserved);
    }

    /// Whether `amount` fits, but for the pacer, where time or other calls change what does.
    #[cold]
    fn is_within(&mut self, amount: Amount, demand: &Demand, now: Instant) -> bool {
        if now.as_nanos() >= self.steady_until {
            self.expire(now);
        }
        let asked = amount.upper_amount();
        match &mut self.flow {
            None => self.used.saturating_add(asked) <= self.most,
            Some(flow) => asked <= self.most && flow.verdict(&ask(amount, demand), now).is_ok(),
        }
    }

    /// An admitted call joins those that are pooled.
    pub(crate) fn enter(&mut self, charge: &mut Charge, demand: &Demand, now: Instant) {
        if let (Some(flow), Some(amount)) = (&mut self.flow, demand.amount_at(self.index as usize))
        {
            charge.flight = Some(flow.admit(&ask(amount, demand), now));
        }
    }

    /// The call is leaving: what is counted on arrival is counted within the delay bound.
    #[inline]
    pub(crate) fn sent(&mut self, charge: &mut Charge, now: Instant) {
        if self.on_arrival && charge.stamp_ns == HELD {
            let stamp = now.as_nanos().saturating_add(self.delay_ns).min(HELD - 1);
            if matches!(self.counts, Counts::Window(_)) {
                charge.stamp_ns = stamp;
                self.let_go(charge.reserved);
                self.count(Instant::from_nanos(stamp), charge.reserved, now);
            }
        }
        if let (Some(flow), Some(flight)) = (&mut self.flow, charge.flight) {
            flow.sent(flight, now);
        }
    }

    /// The answer began: what is counted on arrival has been counted by now.
    #[inline]
    pub(crate) fn head_received(&mut self, charge: &mut Charge, now: Instant) {
        let told = self.told(now);
        if charge.stamp_ns != HELD && charge.stamp_ns > told.as_nanos() {
            let counted = self.uncount(Instant::from_nanos(charge.stamp_ns), charge.reserved, now);
            self.count(told, counted, now);
            charge.stamp_ns = told.as_nanos();
        }
    }

    /// So much of its output has been seen.
    pub(crate) fn progress(&mut self, charge: &Charge, output: u64, now: Instant) {
        if let (Some(flow), Some(flight)) = (&mut self.flow, charge.flight) {
            flow.progress(flight, output, now);
        }
    }

    /// The call is over.
    #[inline]
    pub(crate) fn settle(&mut self, charge: &Charge, end: End, now: Instant) {
        if let (Some(pacer), Some(actual)) = (&mut self.pacer, end.actual) {
            pacer.settle(&charge.paced, actual, now);
        }
        if self.holds == 0 {
            return;
        }
        let used = end.actual.unwrap_or(charge.reserved);
        if self.flow.is_some() {
            self.leave(charge, end, used, now);
        }
        if charge.stamp_ns == HELD {
            self.let_go(charge.reserved);
            self.count(self.told(end.over), used, now);
        } else if used != charge.reserved {
            let stamp = Instant::from_nanos(charge.stamp_ns);
            self.uncount(stamp, charge.reserved, now);
            self.count(stamp, used, now);
        }
    }

    /// A call is no longer one of those that are pooled.
    #[cold]
    fn leave(&mut self, charge: &Charge, end: End, used: u64, now: Instant) {
        if let Some(flow) = &mut self.flow {
            match charge.flight {
                Some(flight) => flow.settle(flight, end.actual, now),
                None => flow.record_past(used, end.over, now),
            }
        }
    }

    /// A moment on the server's clock that a clock which lags tells as `at`, at the latest.
    #[inline]
    const fn told(&self, at: Instant) -> Instant {
        Instant::from_nanos(at.as_nanos().saturating_add(self.staleness_ns))
    }

    /// The call never left, or the server refused it before counting anything of this: everything
    /// goes back.
    pub(crate) fn cancel(&mut self, charge: &Charge, now: Instant) {
        if let Some(pacer) = &mut self.pacer {
            pacer.settle(&charge.paced, 0, now);
        }
        if let (Some(flow), Some(flight)) = (&mut self.flow, charge.flight) {
            flow.refused(flight, now);
        }
        if charge.stamp_ns == HELD {
            self.let_go(charge.reserved);
        } else {
            self.uncount(Instant::from_nanos(charge.stamp_ns), charge.reserved, now);
        }
    }

    /// A call that this limiter did not admit was counted at `at`.
    pub(crate) fn record_past(&mut self, amount: Amount, at: Instant, now: Instant) {
        if self.limit.rule() == ChargeRule::WhileInFlight {
            return;
        }
        if let Some(pacer) = &mut self.pacer {
            pacer.owe(amount.expected_amount(), at);
        }
        if let Some(flow) = &mut self.flow {
            flow.record_past(amount.upper_amount(), at, now);
        }
        let late = if self.on_arrival { self.delay_ns } else { 0 };
        self.count(at + Duration::from_nanos(late), amount.upper_amount(), now);
    }

    /// Takes what the server says is left: what is free here is never more than that.
    pub(crate) fn tighten(&mut self, remaining: u64, now: Instant) {
        if self.flow.is_none() && matches!(self.counts, Counts::Window(_)) {
            self.expire(now);
            let foreign = self.most.saturating_sub(remaining).saturating_sub(self.used);
            self.count(now, foreign, now);
        }
    }

    /// Another amount, pacing, rule or delay bound for the same window.
    pub(crate) fn set_limit(&mut self, limit: Limit, now: Instant) {
        let old = std::mem::replace(&mut self.limit, limit);
        match (&mut self.pacer, self.limit.rate()) {
            (Some(pacer), Some(rate)) => pacer.set_rate(rate, now),
            (pacer, rate) => *pacer = rate.map(Pacer::new),
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

    /// Whether it remembers nothing that could matter.
    pub(crate) fn is_idle(&mut self, now: Instant) -> bool {
        self.expire(now);
        self.used == 0
            && self.pacer.as_ref().is_none_or(|pacer| pacer.owed(now) == 0)
            && self.flow.is_none()
    }

    pub(crate) fn snapshot(&mut self, now: Instant) -> LimitSnapshot {
        self.expire(now);
        let free = self.most.saturating_sub(self.used);
        let paced = self.pacer.as_ref().map(|pacer| pacer.conforms_at(1)).filter(|at| *at > now);
        let is_full = free == 0 && self.flow.is_none();
        let guard = is_full.then(|| self.freed_at(self.used + 1 - self.most)).flatten();
        LimitSnapshot {
            key: self.limit.key().clone(),
            dimension: self.limit.dimension(),
            quota: self.limit.quota(),
            rule: self.limit.rule(),
            delay_bound: self.limit.delay_bound(),
            used: self.used - self.held,
            held: self.held,
            free,
            next_free_at: paced.max(guard),
        }
    }

    #[inline]
    fn hold(&mut self, amount: u64) {
        self.held += amount;
        self.used += amount;
    }

    #[inline]
    fn let_go(&mut self, amount: u64) {
        self.held -= amount;
        self.used -= amount;
    }

    /// Counts `amount` from now on, until a window after `at`.
    #[inline]
    fn count(&mut self, at: Instant, amount: u64, now: Instant) {
        if now.as_nanos() >= self.steady_until {
            self.expire(now);
        }
        match &mut self.counts {
            Counts::Window(window) => self.used += window.add(at, amount),
            Counts::Spent(spent) => {
                let added = amount.min(crate::window::MOST - *spent);
                *spent += added;
                self.used += added;
            }
            Counts::InFlight | Counts::Pacer => {}
        }
    }

    /// Takes back what was counted for `at`; returns how much had not left yet.
    #[inline]
    fn uncount(&mut self, at: Instant, amount: u64, now: Instant) -> u64 {
        if now.as_nanos() >= self.steady_until {
            self.expire(now);
        }
        let Counts::Window(window) = &mut self.counts else { return 0 };
        let taken = window.remove(at, amount);
        self.used -= taken;
        taken
    }

    /// Lets go of what has left by itself.
    #[cold]
    fn expire(&mut self, now: Instant) {
        if let Counts::Window(window) = &mut self.counts {
            self.used -= window.expire(now);
            self.steady_until = window.next_expiry_ns();
        }
        self.quick_until = if self.flow.is_some() { 0 } else { self.steady_until };
    }

    /// The delay bound, as long as the clock may lag more.
    fn delay(&self) -> Duration {
        self.limit.delay_bound() + Duration::from_nanos(self.staleness_ns)
    }

    fn new_counts(&self) -> Counts {
        let limit = &self.limit;
        match limit.quota().refill() {
            _ if limit.rule() == ChargeRule::WhileInFlight => Counts::InFlight,
            _ if is_bucket(limit) => Counts::Pacer,
            Refill::Rolling(length) => Counts::Window(Window::new(length, self.delay())),
            _ => Counts::Spent(0),
        }
    }

    /// Takes over what the limit says of its rule and its delay bound.
    fn follow(&mut self, now: Instant) {
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
                flow.set_limit(self.most, now);
                flow.set_delay(delay, now);
            }
            (Some(window), None) if self.limit.rule() == ChargeRule::Flow => {
                let mut flow = Flow::new(self.most, window, delay);
                if let Counts::Window(counted) = &self.counts {
                    for (leaves, amount) in counted.entries() {
                        flow.record_past(amount, leaves - window, now);
                    }
                }
                self.flow = Some(Box::new(flow));
            }
            (_, flow) => *flow = None,
        }
        self.quick_until = if self.flow.is_some() { 0 } else { self.steady_until };
    }
}

/// Fewer than 256 dimensions: the index fits.
fn index(dimension: Dimension) -> u8 {
    u8::try_from(dimension.index()).unwrap_or(u8::MAX)
}

fn is_bucket(limit: &Limit) -> bool {
    limit.pacing() == Pacing::Bucket
}

/// A demand, as the rule Flow asks for it.
#[inline]
fn ask(amount: Amount, demand: &Demand) -> crate::flow::Ask<'_> {
    crate::flow::Ask {
        amount,
        input: demand.amount(Dimension::InputTokens).unwrap_or_default(),
        completes: demand.completion(),
        class: demand.tag_name(),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn narrow(amount: u128) -> u64 {
    u64::try_from(amount).unwrap_or(u64::MAX)
}
