//! What every key has of each limit, and the calls charged to it: one decision over all of them.
//!
//! It knows no keys, only the places they are in. What is the same for every key stands once; of the
//! first pacer, a key's part lies with the key and a call's with the call.
//! Invariant: a demand is charged to every limit that counts it or to none.

use std::iter;
use std::time::Duration;

use paceline_core::{Actual, Amount, Blocked, Demand, Instant, LimitKey, Refusal};

use super::calls::{Call, Calls};
use super::keys::Own;
use super::pace::{Arrival, Pace, Paced};
use super::rows::Rows;
use crate::limit::Limit;
use crate::limiter::INSTANT;
use crate::limiter::limits::nanos;
use crate::snapshot::LimitSnapshot;
use crate::state::{Charge, End, LimitState, Verdict};

/// The limits, what each key has of them, and the calls that are not settled.
#[derive(Debug)]
pub(super) struct Counts {
    paces: Vec<Pace>,
    /// A row for each key, beside the paces behind the first.
    more: Rows<Arrival>,
    calls: Calls,
    /// The limits that count by more than a pacer, as a new key has them.
    fresh: Vec<LimitState>,
    /// A row for each key, beside the fresh ones; `None` where no key is.
    states: Rows<Option<LimitState>>,
    /// All limits in the order in which they were stated, as a new key has them.
    stated: Vec<(LimitState, Kind)>,
}

/// Where a limit is kept.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Of this pace only the pacer counts.
    Pace(usize),
    /// The whole state is the key's own.
    Whole(usize),
}

impl Counts {
    /// No key, and these limits for each of them.
    pub(super) fn new(limits: impl IntoIterator<Item = Limit>, staleness: Duration) -> Self {
        let (mut paces, mut fresh, mut stated) = (Vec::new(), Vec::new(), Vec::new());
        for limit in limits {
            let pace = Pace::of(&limit, limit.rate(staleness));
            let state = LimitState::new(limit, staleness);
            let kind = match pace {
                Some(pace) => {
                    paces.push(pace);
                    Kind::Pace(paces.len() - 1)
                }
                None => {
                    fresh.push(state.clone());
                    Kind::Whole(fresh.len() - 1)
                }
            };
            stated.push((state, kind));
        }
        Self {
            more: Rows::new(paces.len().saturating_sub(1)),
            states: Rows::new(fresh.len()),
            calls: Calls::new(paces.len().saturating_sub(1), fresh.len()),
            paces,
            fresh,
            stated,
        }
    }

    /// The same limits and no key, on a clock that lags by up to so much.
    pub(super) fn afresh(&self, staleness: Duration) -> Self {
        Self::new(self.stated.iter().map(|(state, _)| state.limit().clone()), staleness)
    }

    /// How far the clock may lag.
    #[cfg(feature = "clock")]
    pub(super) fn staleness(&self) -> Duration {
        self.stated.first().map_or(Duration::ZERO, |(state, _)| state.staleness())
    }

    /// How many calls are admitted and not over.
    pub(super) const fn in_flight(&self) -> usize {
        self.calls.len()
    }

    /// A key comes to this place.
    pub(super) fn begin(&mut self, key: u32) {
        self.more.reach(key, Arrival::default);
        self.more.of(key).fill(Arrival::default());
        self.states.reach(key, || None);
        for (state, fresh) in self.states.of(key).iter_mut().zip(&self.fresh) {
            *state = Some(fresh.clone());
        }
    }

    /// The key in this place is gone.
    pub(super) fn forget(&mut self, key: u32) {
        self.states.of(key).fill_with(|| None);
    }

    /// Calls of the keys in these places, which are in order, settle to nothing.
    pub(super) fn forget_calls(&mut self, keys: &[u32]) {
        for call in self.calls.iter().filter(|call| keys.binary_search(&call.key).is_ok()) {
            call.charged = 0;
        }
    }

    /// Whether a key remembers nothing: a new one would do the same.
    pub(super) fn is_idle(&mut self, key: u32, own: &Own<'_>, now: Instant) -> bool {
        let arrivals = iter::once(&*own.first).chain(&*self.more.of(key));
        *own.in_flight == 0
            && self.paces.iter().zip(arrivals).all(|(pace, arrival)| pace.is_idle(arrival, now))
            && self.states.of(key).iter_mut().flatten().all(|state| state.is_idle(now))
    }

    /// Charges a demand to the limits of a key where all of them admit it, and counts it among
    /// those of the key that are in flight if any of them counts it. `None`, and nothing has
    /// changed, where one does not admit it or too many calls are in flight.
    #[inline(always)]
    pub(super) fn admit(
        &mut self,
        key: u32,
        own: Own<'_>,
        demand: &Demand,
        now: Instant,
    ) -> Option<u64> {
        let place = self.calls.open()?;
        let mut call = Call::new(key, now);
        // A pacer is only charged once everybody has said yes: it need not remember what was before.
        let (mut asked, mut others) = (None, !self.fresh.is_empty());
        if let Some(pace) = self.paces.first() {
            asked = pace.asked(demand);
            if asked.is_some_and(|amount| !pace.fits(own.first, amount, now)) {
                return None;
            }
            others |= self.paces.len() > 1;
        }
        if others {
            call.charged = self.charge_others(key, place, demand, now)?;
        }
        if let (Some(pace), Some(amount)) = (self.paces.first(), asked) {
            call.first = pace.charge(own.first, amount, now);
            call.charged |= 1;
        }
        *own.in_flight += u32::from(call.charged != 0);
        call.latest_ns = demand.completion().map_or(0, |range| nanos(range.latest()));
        Some(self.calls.take(place, call))
    }

    /// Charges a demand to all limits but the first pacer, where all of them admit it; says which
    /// ones did. `None`, and nothing has changed, where one does not admit it.
    #[inline(never)]
    fn charge_others(
        &mut self,
        key: u32,
        place: u32,
        demand: &Demand,
        now: Instant,
    ) -> Option<u16> {
        let mut behind = self.paces.iter().skip(1).zip(&*self.more.of(key));
        let fit = behind.all(|(pace, arrival)| {
            pace.asked(demand).is_none_or(|amount| pace.fits(arrival, amount, now))
        });
        if !fit {
            return None;
        }
        let mut charged = self.charge_whole(key, place, demand, now)?;
        let Self { paces, more, calls, .. } = self;
        let parts = more.of(key).iter_mut().zip(calls.more.of(place));
        for (index, (pace, (arrival, paced))) in paces.iter().skip(1).zip(parts).enumerate() {
            if let Some(amount) = pace.asked(demand) {
                *paced = pace.charge(arrival, amount, now);
                charged |= 2 << index;
            }
        }
        Some(charged)
    }

    /// Charges a demand to the limits that count by more than a pacer; says which ones. `None`, and
    /// nothing has changed, where one does not admit it.
    fn charge_whole(&mut self, key: u32, place: u32, demand: &Demand, now: Instant) -> Option<u16> {
        let (states, charges) = (self.states.of(key), self.calls.charges.of(place));
        let mut charged = 0_u16;
        for (index, fresh) in self.fresh.iter().enumerate() {
            // What is the same for all keys is asked of the fresh ones, which are in the cache.
            let Some(amount) = asked(fresh, demand) else { continue };
            let Some(state) = &mut states[index] else { continue };
            if !state.try_charge(amount, demand, now, &mut charges[index]) {
                undo(states, charges, charged);
                return None;
            }
            charged |= bit(index);
        }
        Some(charged)
    }

    /// The place of a call.
    #[inline]
    pub(super) fn find(&self, number: u64) -> Option<u32> {
        self.calls.find(number)
    }

    /// The place of the key that a call is charged to.
    #[inline]
    pub(super) fn key(&mut self, call: u32) -> u32 {
        self.calls.at(call).key
    }

    /// The call is about to leave.
    pub(super) fn sent(&mut self, place: u32, now: Instant) {
        let call = self.calls.at(place);
        if !call.was_sent {
            (call.was_sent, call.left_ns) = (true, now.as_nanos());
        }
        self.each_whole(place, |state, charge| state.sent(charge, now));
    }

    /// The answer began.
    pub(super) fn head_received(&mut self, place: u32, now: Instant) {
        self.each_whole(place, |state, charge| state.head_received(charge, now));
    }

    /// The call is over, and used so much.
    #[inline]
    pub(super) fn settle(&mut self, place: u32, own: Own<'_>, actual: &Actual, now: Instant) {
        self.each_pace(place, own.first, |pace, arrival, paced| {
            if let Some(actual) = pace.actual(actual) {
                pace.settle(arrival, paced, actual, now);
            }
        });
        if !self.fresh.is_empty() {
            self.settle_whole(place, actual, now);
        }
        self.end(place, own);
    }

    #[inline(never)]
    fn settle_whole(&mut self, place: u32, actual: &Actual, now: Instant) {
        let Call { was_sent, left_ns, latest_ns, .. } = *self.calls.at(place);
        let left = Instant::from_nanos(left_ns);
        let latest = left + Duration::from_nanos(latest_ns);
        self.each_whole(place, |state, charge| {
            if !was_sent {
                state.sent(charge, left);
            }
            let actual = state.actual(actual);
            let over = if actual.is_some() { now } else { now.max(latest) };
            state.settle(charge, End { actual, over }, now);
        });
    }

    /// The call is over, and never left.
    pub(super) fn cancel(&mut self, place: u32, own: Own<'_>, now: Instant) {
        self.each_pace(place, own.first, |pace, arrival, paced| {
            pace.settle(arrival, paced, 0, now);
        });
        self.each_whole(place, |state, charge| state.cancel(charge, now));
        self.end(place, own);
    }

    /// The call in this place is over. One that nothing counted, or whose key is gone, is nobody's.
    #[inline]
    fn end(&mut self, place: u32, own: Own<'_>) {
        *own.in_flight -= u32::from(self.calls.at(place).charged != 0);
        self.calls.end(place);
    }

    /// Why a demand was not admitted just now.
    pub(super) fn refusal(
        &mut self,
        key: u32,
        own: &Own<'_>,
        demand: &Demand,
        now: Instant,
    ) -> Refusal {
        // Where every limit admits it, too many calls are in flight.
        let mut blocked = Blocked::new(None, None);
        let Self { paces, more, states, stated, .. } = self;
        let (arrivals, states) =
            (Arrivals { first: own.first, more: more.of(key) }, states.of(key));
        for (stated, kind) in stated {
            let Some(amount) = asked(stated, demand) else { continue };
            let upper = amount.upper_amount();
            let (verdict, spent) = match *kind {
                Kind::Pace(index) => (paces[index].verdict(arrivals.of(index), amount, now), 0),
                Kind::Whole(index) => match &mut states[index] {
                    Some(state) => (state.verdict(amount, demand, now), state.spent()),
                    None => continue,
                },
            };
            match verdict {
                Verdict::Fits => {}
                Verdict::Never => return Refusal::Never { by: stated.named(), asked: upper },
                Verdict::Exhausted => {
                    return Refusal::Exhausted { by: stated.named(), spent, asked: upper };
                }
                Verdict::NotUntil(until) => {
                    let until = until.map(|at| at.max(now + INSTANT));
                    // Not known is later than any moment.
                    let rank = |until: Option<Instant>| (until.is_none(), until);
                    if blocked.by.is_none() || rank(until) > rank(blocked.until) {
                        blocked = Blocked::new(Some(stated.named()), until);
                    }
                }
            }
        }
        Refusal::NotUntil(blocked)
    }

    /// Every limit of a key, in the order in which they were stated.
    pub(super) fn snapshot(&mut self, key: u32, own: &Own<'_>, now: Instant) -> Vec<LimitSnapshot> {
        let Self { paces, more, states, stated, .. } = self;
        let (arrivals, states) =
            (Arrivals { first: own.first, more: more.of(key) }, states.of(key));
        let show = |(stated, kind): &mut (LimitState, Kind)| match *kind {
            Kind::Pace(index) => {
                Some(paces[index].show(arrivals.of(index), stated.snapshot(now), now))
            }
            Kind::Whole(index) => states[index].as_mut().map(|state| state.snapshot(now)),
        };
        stated.iter_mut().filter_map(show).collect()
    }

    /// What each limit that counts by its pacer alone charged a call.
    #[inline]
    fn each_pace(
        &mut self,
        place: u32,
        first: &mut Arrival,
        mut edit: impl FnMut(&Pace, &mut Arrival, &Paced),
    ) {
        let call = self.calls.at(place);
        let (key, charged) = (call.key, call.charged);
        let Some((pace, behind)) = self.paces.split_first() else { return };
        if charged & 1 != 0 {
            edit(pace, first, &call.first);
        }
        if !behind.is_empty() {
            let parts = self.more.of(key).iter_mut().zip(self.calls.more.of(place));
            for (index, (pace, (arrival, paced))) in behind.iter().zip(parts).enumerate() {
                if charged & 2 << index != 0 {
                    edit(pace, arrival, paced);
                }
            }
        }
    }

    /// What each other limit charged a call.
    #[inline]
    fn each_whole(&mut self, place: u32, mut edit: impl FnMut(&mut LimitState, &mut Charge)) {
        let Call { key, charged, .. } = *self.calls.at(place);
        let charges = self.calls.charges.of(place);
        for (index, (state, charge)) in self.states.of(key).iter_mut().zip(charges).enumerate() {
            if let (Some(state), true) = (state, charged & bit(index) != 0) {
                edit(state, charge);
            }
        }
    }
}

/// A key's parts of all paces.
struct Arrivals<'a> {
    first: &'a Arrival,
    more: &'a [Arrival],
}

impl Arrivals<'_> {
    fn of(&self, pace: usize) -> &Arrival {
        pace.checked_sub(1).map_or(self.first, |index| &self.more[index])
    }
}

/// Takes back what a call was charged that is not admitted after all.
#[cold]
fn undo(states: &mut [Option<LimitState>], charges: &[Charge], charged: u16) {
    for (index, (state, charge)) in states.iter_mut().zip(charges).enumerate() {
        if let (Some(state), true) = (state, charged & bit(index) != 0) {
            state.undo(charge);
        }
    }
}

/// What a demand asks of a limit, if that counts it.
#[inline]
fn asked(state: &LimitState, demand: &Demand) -> Option<Amount> {
    let key = state.limit().key();
    let counts = *key == LimitKey::All || demand.is_counted_by(key);
    if counts { state.asked(demand) } else { None }
}

/// The bit of a limit that counts by more than its pacer: from the last on, as those of the paces go
/// from the first on. There are no more limits than bits.
#[inline]
const fn bit(index: usize) -> u16 {
    1 << (MAX_LIMITS - 1 - index)
}

/// How many limits each key may have.
pub(super) const MAX_LIMITS: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::keys::Keys;
    use super::*;

    #[test]
    fn a_key_takes_no_more_than_is_said() {
        const { assert!(size_of::<Option<LimitState>>() <= 512) };
        // The place of a key; of the index, four thirds to eight thirds of eight bytes.
        const { assert!(Keys::<String>::PLACE == 64 && 8 * 8 / 3 <= 24) };
        const { assert!(size_of::<Arrival>() == 32) };
    }

    #[test]
    fn a_call_takes_no_more_than_is_said() {
        const { assert!(size_of::<Call>() == 64) };
        const { assert!(size_of::<Paced>() == 32 && size_of::<Charge>() <= 112) };
    }
}
