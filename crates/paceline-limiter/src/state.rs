//! The running state of one limit: what is held, what is counted, what is paced.
//!
//! It decides nothing alone: the limiter charges one limit after the other, and takes back all
//! where one of them refuses. Invariant: what is counted plus what is held covers all that the
//! server can have counted in its window; what is taken back leaves no trace.

use std::time::Duration;

use paceline_core::{Actual, Amount, Demand, Dimension, Instant, RefusedBy};

use crate::flow::{Flight, Flow};
use crate::limit::{ChargeRule, Limit, Pacing};
use crate::pacer::{Paced, Pacer};
use crate::window::Window;
use live::Learned;
use others::Others;
use start::Start;

mod ended;
mod foreseen;
mod live;
mod others;
mod refused;
mod saved;
mod shown;
mod start;

pub(crate) use refused::Refused;
pub use saved::{SavedDelay, SavedLimit};

/// A limit and all that it has seen.
///
/// In this order, so that what an admission looks at lies together: of thousands of keys hardly one
/// is in the cache.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct LimitState {
    pacer: Option<Pacer>,
    /// The amount in force.
    most: u64,
    /// What is counted and what is held, together; never above `most` when something is admitted.
    used: u64,
    /// Of `used`, what is reserved and not yet counted.
    held: u64,
    /// Until when a charge takes no second look: `steady_until`, or zero where it pools calls or
    /// others have a share.
    quick_until: u64,
    /// Whether a call's amount is held: not where only the pacer counts.
    holds: bool,
    /// The index of its dimension.
    index: u8,
    /// Whether a call counts from its arrival on.
    on_arrival: bool,
    /// Whether it was kept by Flow until it was told that the server counts on arrival.
    fell_back: bool,
    /// Counts the Flows it has had, as each numbers its calls anew.
    flow_number: u32,
    start: Start,
    counts: Counts,
    flow: Option<Box<Flow>>,
    /// What others are thought to count, once a refusal was not explained.
    others: Option<Box<Others>>,
    /// Until when nothing of it leaves by itself, in nanoseconds.
    steady_until: u64,
    delay_ns: u64,
    /// How far the clock may lag.
    staleness_ns: u64,
    learned: Option<Box<Learned>>,
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
    flow_number: u32,
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
            holds: true,
            index: index(limit.dimension()),
            on_arrival: false,
            pacer: limit.rate(staleness).map(Pacer::new),
            flow: None,
            counts: Counts::InFlight,
            held: 0,
            delay_ns: 0,
            staleness_ns: nanos(staleness),
            learned: None,
            start: Start::NONE,
            fell_back: false,
            flow_number: 0,
            others: None,
            limit,
        };
        state.counts = state.new_counts();
        state.follow(Instant::ORIGIN);
        state
    }

    pub(crate) const fn limit(&self) -> &Limit {
        &self.limit
    }

    #[cfg(feature = "clock")]
    pub(crate) const fn staleness(&self) -> Duration {
        Duration::from_nanos(self.staleness_ns)
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
        let stated = self.limit.quota().limit().get();
        if asked > stated {
            return Verdict::Never;
        }
        if self.spent().saturating_add(asked) > stated {
            return Verdict::Exhausted;
        }
        let guard = self.guard(amount, demand, now);
        let expected = amount.expected_amount();
        // Not by when it conforms: at the end of all time that is now, and it does not.
        let late = self.pacer.as_ref().filter(|pacer| !pacer.conforms(expected, now));
        match (guard, late.map(|pacer| pacer.conforms_at(expected))) {
            (Verdict::Fits, None) => Verdict::Fits,
            (Verdict::Fits, Some(at)) => Verdict::NotUntil(Some(at)),
            (Verdict::NotUntil(Some(guard)), Some(at)) => Verdict::NotUntil(Some(guard.max(at))),
            (other, _) => other,
        }
    }

    fn guard(&mut self, amount: Amount, demand: &Demand, now: Instant) -> Verdict {
        // A delay bound may have been narrowed, which Flow foresees by.
        if now.as_nanos() >= self.steady_until {
            self.expire(now);
        }
        self.take_others_in(now);
        if let Some(flow) = &mut self.flow {
            return match (
                flow.verdict(&ask(self.index, amount, demand), now),
                self.start.opens_at(now),
            ) {
                (Ok(()), None) => Verdict::Fits,
                (Ok(()), start) => Verdict::NotUntil(start),
                (Err(until), start) => {
                    Verdict::NotUntil(until.map(|at| start.map_or(at, |start| at.max(start))))
                }
            };
        }
        self.expire(now);
        match self.used.saturating_add(amount.upper_amount()).checked_sub(self.most) {
            None | Some(0) => Verdict::Fits,
            Some(_) if self.others.is_some() => Verdict::NotUntil(self.left_at(amount, now)),
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
        match &mut self.pacer {
            Some(pacer) => {
                if !pacer.try_charge(amount.expected_amount(), now, &mut charge.paced) {
                    return false;
                }
            }
            None => charge.paced = Paced::default(),
        }
        charge.reserved = if self.holds { asked } else { 0 };
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
        self.take_others_in(now);
        let asked = amount.upper_amount();
        match &mut self.flow {
            None => self.used.saturating_add(asked) <= self.most,
            Some(flow) => {
                asked <= self.most
                    && self.start.opens_at(now).is_none()
                    && flow.verdict(&ask(self.index, amount, demand), now).is_ok()
            }
        }
    }

    /// What others leave, as of now.
    fn take_others_in(&mut self, now: Instant) {
        if self.others.is_some() {
            self.follow_others(now);
        }
    }

    /// Where calls are pooled, or others leave more from moment to moment, every charge takes a
    /// second look.
    fn set_quick(&mut self) {
        let looks = self.flow.is_some() || self.others.is_some();
        self.quick_until = if looks { 0 } else { self.steady_until };
    }

    /// An admitted call joins those that are pooled.
    pub(crate) fn enter(&mut self, charge: &mut Charge, demand: &Demand, now: Instant) {
        if let (Some(flow), Some(amount)) = (&mut self.flow, demand.amount_at(self.index as usize))
        {
            charge.flight = Some(flow.admit(&ask(self.index, amount, demand), now));
            charge.flow_number = self.flow_number;
            self.start.leave(now);
        }
    }

    /// The call is leaving: what is counted on arrival is counted within the delay bound.
    #[inline]
    pub(crate) fn sent(&mut self, charge: &mut Charge, now: Instant) {
        if charge.flight.is_none() {
            self.start.leave(now);
        }
        let is_window = matches!(self.counts, Counts::Window(_));
        if self.on_arrival && charge.stamp_ns == HELD && is_window {
            let stamp = self.counted_by(now);
            charge.stamp_ns = stamp.as_nanos();
            self.let_go(charge.reserved);
            self.count(stamp, charge.reserved, now);
        }
        if charge.flight.is_some() {
            let flight = self.flight(charge);
            if let (Some(flow), Some(flight)) = (&mut self.flow, flight) {
                flow.sent(flight, now);
            }
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
        let flight = self.flight(charge);
        if let (Some(flow), Some(flight)) = (&mut self.flow, flight) {
            flow.progress(flight, output, now);
        }
    }

    /// The call never left: everything goes back.
    pub(crate) fn cancel(&mut self, charge: &Charge, now: Instant) {
        if let Some(pacer) = &mut self.pacer {
            pacer.settle(&charge.paced, 0, now);
        }
        let flight = self.flight(charge);
        if let (Some(flow), Some(flight)) = (&mut self.flow, flight) {
            if let Some(left) = flow.cancel(flight, now) {
                self.start.take_back(left);
            }
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

    /// Whether it remembers nothing that could matter.
    pub(crate) fn is_idle(&mut self, now: Instant) -> bool {
        self.expire(now);
        self.used == 0
            && self.pacer.as_ref().is_none_or(|pacer| pacer.owed(now) == 0)
            && self.flow.is_none()
    }

    #[inline]
    fn hold(&mut self, amount: u64) {
        self.held = self.held.saturating_add(amount);
        self.used = self.used.saturating_add(amount);
    }

    #[inline]
    fn let_go(&mut self, amount: u64) {
        self.held = self.held.saturating_sub(amount);
        self.used = self.used.saturating_sub(amount);
    }

    /// Counts `amount` from now on, until a window after `at`.
    #[inline]
    fn count(&mut self, at: Instant, amount: u64, now: Instant) {
        if now.as_nanos() >= self.steady_until {
            self.expire(now);
        }
        match &mut self.counts {
            // The rule that pools calls counts by itself.
            Counts::Window(_) if self.flow.is_some() => {}
            Counts::Window(window) => self.used += window.add(at, amount),
            Counts::Spent(spent) => {
                let added = amount.min(crate::window::MOST - *spent);
                *spent += added;
                self.used += added;
            }
            Counts::InFlight => {
                if let Some(spent) = self.learned.as_mut().and_then(|l| l.spent.as_mut()) {
                    *spent = spent.saturating_add(amount);
                }
            }
            Counts::Pacer => {}
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
        }
        if self.widened().is_some_and(|widened| widened.narrows <= now) {
            self.narrow(now);
        }
        self.steady_until = self.steady();
        if self.others.is_some() {
            self.follow_others(now);
        }
        self.set_quick();
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
fn ask(of: u8, amount: Amount, demand: &Demand) -> crate::flow::Ask<'_> {
    let input = if of == index(Dimension::TotalTokens) {
        demand.amount(Dimension::InputTokens).unwrap_or_default()
    } else if of == index(Dimension::InputTokens) {
        amount
    } else {
        // The server sees nothing of it before the call is over.
        Amount::default()
    };
    crate::flow::Ask { amount, input, completes: demand.completion(), class: demand.tag_name() }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn narrow(amount: u128) -> u64 {
    u64::try_from(amount).unwrap_or(u64::MAX)
}
