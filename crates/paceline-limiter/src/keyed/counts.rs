//! What every key has of each limit, and the calls charged to it: one decision over all of them.
//!
//! It knows no keys, only the places they are in. Of the first pacer, a key's part lies with the key,
//! and a call's with the call: most keys have no other limit. Invariant: a demand is charged to every
//! limit that counts it or to none.

use std::iter;
use std::sync::Arc;

use paceline_core::{Actual, Amount, Blocked, Demand, Instant, Refusal};

use super::calls::{Call, Calls};
use super::keys::Own;
use super::others::{FIRST, Others};
use super::pace::{Arrival, Pace};
use super::stated::{Kind, Stated, asked};
use crate::limiter::INSTANT;
use crate::limiter::limits::nanos;
use crate::snapshot::LimitSnapshot;
use crate::state::{LimitState, Verdict};

/// What each key has of the limits, and the calls that are not settled.
#[derive(Debug)]
pub(super) struct Counts {
    stated: Arc<Stated>,
    calls: Calls,
    others: Option<Box<Others>>,
}

impl Counts {
    /// No key, and these limits for each of them.
    pub(super) fn new(stated: Arc<Stated>) -> Self {
        let others = Others::new(&stated).map(Box::new);
        Self { stated, calls: Calls::default(), others }
    }

    /// The limits that every key has.
    pub(super) const fn stated(&self) -> &Arc<Stated> {
        &self.stated
    }

    /// How many calls are admitted and not over.
    pub(super) const fn in_flight(&self) -> usize {
        self.calls.len()
    }

    /// A key comes to this place.
    pub(super) fn begin(&mut self, key: u32) {
        self.others.iter_mut().for_each(|others| others.begin(key));
    }

    /// The key in this place is gone.
    pub(super) fn forget(&mut self, key: u32) {
        self.others.iter_mut().for_each(|others| others.forget(key));
    }

    /// Calls of the keys in these places, which are in order, settle to nothing.
    pub(super) fn forget_calls(&mut self, keys: &[u32]) {
        for call in self.calls.iter().filter(|call| keys.binary_search(&call.key).is_ok()) {
            call.charged = 0;
        }
    }

    /// Whether a key remembers nothing: a new one would do the same.
    pub(super) fn is_idle(&mut self, key: u32, own: &Own<'_>, now: Instant) -> bool {
        *own.in_flight == 0
            && self.stated.first.as_ref().is_none_or(|pace| pace.is_idle(own.first, now))
            && self.others.as_mut().is_none_or(|others| others.is_idle(key, now))
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
        let mut asked: Option<Amount> = None;
        if let Some(pace) = &self.stated.first {
            asked = pace.asked(demand);
            if asked.is_some_and(|amount| !pace.fits(own.first, amount, now)) {
                return None;
            }
        }
        if let Some(others) = &mut self.others {
            call.charged = others.charge(key, place, demand, now)?;
        }
        // Everybody has said yes.
        if let (Some(pace), Some(amount)) = (&self.stated.first, asked) {
            call.first = pace.charge(own.first, amount, now);
            call.charged |= FIRST;
        }
        *own.in_flight += u32::from(call.charged != 0);
        call.latest_ns = demand.completion().map_or(0, |range| nanos(range.latest()));
        Some(self.calls.take(place, call))
    }

    /// The place of a call.
    #[inline]
    pub(super) fn find(&self, number: u64) -> Option<u32> {
        self.calls.find(number)
    }

    /// The place of the key of a call.
    #[inline]
    pub(super) fn key(&mut self, place: u32) -> u32 {
        self.calls.at(place).key
    }

    /// The call is about to leave.
    pub(super) fn sent(&mut self, place: u32, now: Instant) {
        let call = self.calls.at(place);
        if !call.was_sent {
            (call.was_sent, call.left_ns) = (true, now.as_nanos());
        }
        self.others.iter_mut().for_each(|others| others.sent(place, call, now));
    }

    /// The answer began.
    pub(super) fn head_received(&mut self, place: u32, now: Instant) {
        let call = self.calls.at(place);
        self.others.iter_mut().for_each(|others| others.head_received(place, call, now));
    }

    /// The call is over, and used so much.
    #[inline]
    pub(super) fn settle(&mut self, place: u32, own: Own<'_>, actual: &Actual, now: Instant) {
        let call = self.calls.at(place);
        if let (Some(pace), true) = (&self.stated.first, call.charged & FIRST != 0) {
            if let Some(actual) = pace.actual(actual) {
                pace.settle(own.first, &call.first, actual, now);
            }
        }
        if let Some(others) = &mut self.others {
            others.settle(place, call, actual, now);
        }
        self.end(place, own);
    }

    /// The call is over, and never left.
    pub(super) fn cancel(&mut self, place: u32, own: Own<'_>, now: Instant) {
        let call = self.calls.at(place);
        if let (Some(pace), true) = (&self.stated.first, call.charged & FIRST != 0) {
            pace.settle(own.first, &call.first, 0, now);
        }
        self.others.iter_mut().for_each(|others| others.cancel(place, call, now));
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
        for (limit, part) in self.parts(key, own) {
            let Some(amount) = asked(limit, demand) else { continue };
            let asked = amount.upper_amount();
            let (verdict, spent) = match part {
                Part::Paced(pace, arrival) => (pace.verdict(arrival, amount, now), 0),
                Part::Whole(state) => (state.verdict(amount, demand, now), state.spent()),
            };
            match verdict {
                Verdict::Fits => {}
                Verdict::Never => return Refusal::Never { by: limit.named(), asked },
                Verdict::Exhausted => {
                    return Refusal::Exhausted { by: limit.named(), spent, asked };
                }
                Verdict::NotUntil(until) => {
                    let until = until.map(|at| at.max(now + INSTANT));
                    // Not known is later than any moment.
                    let rank = |until: Option<Instant>| (until.is_none(), until);
                    if blocked.by.is_none() || rank(until) > rank(blocked.until) {
                        blocked = Blocked::new(Some(limit.named()), until);
                    }
                }
            }
        }
        Refusal::NotUntil(blocked)
    }

    /// Every limit of a key, in the order in which they were stated.
    pub(super) fn snapshot(&mut self, key: u32, own: &Own<'_>, now: Instant) -> Vec<LimitSnapshot> {
        let show = |(limit, part): (&LimitState, Part<'_>)| match part {
            Part::Paced(pace, arrival) => pace.show(arrival, limit.clone().snapshot(now), now),
            Part::Whole(state) => state.snapshot(now),
        };
        self.parts(key, own).map(show).collect()
    }

    /// Every limit as it was stated, in that order, and what a key has of it.
    fn parts<'a>(
        &'a mut self,
        key: u32,
        own: &'a Own<'_>,
    ) -> impl Iterator<Item = (&'a LimitState, Part<'a>)> {
        let Self { stated, others, .. } = self;
        let others = others.as_mut().map(|others| others.of(key));
        let (arrivals, states) = others.unwrap_or_default();
        let arrivals = iter::once(&*own.first).chain(arrivals);
        let mut paced = stated.first.iter().chain(&stated.behind).zip(arrivals);
        let mut states = states.iter_mut();
        stated.all.iter().filter_map(move |(limit, kind)| match kind {
            Kind::Paced => paced.next().map(|(pace, own)| (limit, Part::Paced(pace, own))),
            Kind::Whole => Some((limit, Part::Whole(states.next()?.as_mut()?))),
        })
    }
}

/// What a key has of one limit.
enum Part<'a> {
    Paced(&'a Pace, &'a Arrival),
    Whole(&'a mut LimitState),
}

#[cfg(test)]
mod tests {
    use super::super::keys::Keys;
    use super::super::pace::Paced;
    use super::*;
    use crate::state::Charge;

    #[test]
    fn a_key_takes_no_more_than_is_said() {
        // Of the index, four thirds to eight thirds of four bytes.
        const { assert!(Keys::<String>::PLACE == 64 && 4 * 8 / 3 <= 11) };
        const { assert!(size_of::<Arrival>() == 32) };
        const { assert!(size_of::<Option<LimitState>>() <= 512) };
    }

    #[test]
    fn a_call_takes_no_more_than_is_said() {
        const { assert!(size_of::<Call>() == 64) };
        const { assert!(size_of::<Paced>() == 32 && size_of::<Charge>() <= 112) };
    }
}
