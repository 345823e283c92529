//! What every key has of the limits behind the first pacer, and what their calls were charged there.
//!
//! Of a pacer that is an arrival time, of any other limit its state. Invariant: a demand is charged to
//! every one of them that counts it or to none.

use std::sync::Arc;
use std::time::Duration;

use paceline_core::{Actual, Demand, Instant};

use super::calls::Call;
use super::pace::{Arrival, Pace, Paced};
use super::rows::Rows;
use super::stated::{MAX_LIMITS, Stated, asked};
use crate::state::{Charge, End, LimitState};

/// Rows for each key and for each call.
#[derive(Debug)]
pub(super) struct Others {
    stated: Arc<Stated>,
    /// A row for each key, beside the paces behind the first.
    arrivals: Rows<Arrival>,
    /// A row for each key, beside the fresh states; `None` where no key is.
    states: Rows<Option<LimitState>>,
    /// A row for each call, beside the arrivals.
    paced: Rows<Paced>,
    /// A row for each call, beside the states.
    charges: Rows<Charge>,
}

impl Others {
    /// `None` where there is no such limit.
    pub(super) fn new(stated: &Arc<Stated>) -> Option<Self> {
        let (behind, whole) = (stated.behind.len(), stated.fresh.len());
        (behind + whole > 0).then(|| Self {
            stated: Arc::clone(stated),
            arrivals: Rows::new(behind),
            states: Rows::new(whole),
            paced: Rows::new(behind),
            charges: Rows::new(whole),
        })
    }

    /// A key comes to this place.
    pub(super) fn begin(&mut self, key: u32) {
        self.arrivals.reach(key, Arrival::default);
        self.arrivals.of(key).fill(Arrival::default());
        self.states.reach(key, || None);
        for (state, fresh) in self.states.of(key).iter_mut().zip(&self.stated.fresh) {
            *state = Some(fresh.clone());
        }
    }

    /// The key in this place is gone.
    pub(super) fn forget(&mut self, key: u32) {
        self.states.of(key).fill_with(|| None);
    }

    /// Whether a key remembers nothing here.
    pub(super) fn is_idle(&mut self, key: u32, now: Instant) -> bool {
        let mut paced = self.stated.behind.iter().zip(self.arrivals.of(key));
        paced.all(|(pace, arrival)| pace.is_idle(arrival, now))
            && self.states.of(key).iter_mut().flatten().all(|state| state.is_idle(now))
    }

    /// What a key has of each of them: first of the paces, then of the others.
    pub(super) fn of(&mut self, key: u32) -> (&[Arrival], &mut [Option<LimitState>]) {
        (self.arrivals.of(key), self.states.of(key))
    }

    /// Charges a demand of a key, which is to be the call in this place, where all of them admit it;
    /// says which ones count it. `None`, and nothing has changed, where one does not admit it.
    #[inline(never)]
    pub(super) fn charge(
        &mut self,
        key: u32,
        call: u32,
        demand: &Demand,
        now: Instant,
    ) -> Option<u16> {
        // A pacer is only charged once everybody has said yes: it need not remember what was before.
        let mut paces = self.stated.behind.iter().zip(&*self.arrivals.of(key));
        let fit = paces.all(|(pace, arrival)| {
            pace.asked(demand).is_none_or(|amount| pace.fits(arrival, amount, now))
        });
        if !fit {
            return None;
        }
        let mut charged = self.charge_whole(key, call, demand, now)?;
        self.paced.reach(call, Paced::default);
        let parts = self.arrivals.of(key).iter_mut().zip(self.paced.of(call));
        for (index, (pace, (arrival, paced))) in self.stated.behind.iter().zip(parts).enumerate() {
            if let Some(amount) = pace.asked(demand) {
                *paced = pace.charge(arrival, amount, now);
                charged |= of_pace(index);
            }
        }
        Some(charged)
    }

    /// The same of those that count by more than a pacer.
    #[inline]
    fn charge_whole(&mut self, key: u32, call: u32, demand: &Demand, now: Instant) -> Option<u16> {
        self.charges.reach(call, Charge::default);
        let (states, charges) = (self.states.of(key), self.charges.of(call));
        let mut charged = 0;
        for (index, fresh) in self.stated.fresh.iter().enumerate() {
            // What is the same for all keys is asked of the fresh ones, which are in the cache.
            let Some(amount) = asked(fresh, demand) else { continue };
            let Some(state) = &mut states[index] else { continue };
            if !state.try_charge(amount, demand, now, &mut charges[index]) {
                undo(states, charges, charged);
                return None;
            }
            charged |= of_state(index);
        }
        Some(charged)
    }

    /// The call in this place is about to leave.
    pub(super) fn sent(&mut self, place: u32, call: &Call, now: Instant) {
        self.each_state(place, call, |state, charge| state.sent(charge, now));
    }

    /// Its answer began.
    pub(super) fn head_received(&mut self, place: u32, call: &Call, now: Instant) {
        self.each_state(place, call, |state, charge| state.head_received(charge, now));
    }

    /// It used so much.
    #[inline]
    pub(super) fn settle(&mut self, place: u32, call: &Call, actual: &Actual, now: Instant) {
        self.each_pace(place, call, |pace, arrival, paced| {
            if let Some(actual) = pace.actual(actual) {
                pace.settle(arrival, paced, actual, now);
            }
        });
        let left = Instant::from_nanos(call.left_ns);
        let latest = left + Duration::from_nanos(call.latest_ns);
        self.each_state(place, call, |state, charge| {
            if !call.was_sent {
                state.sent(charge, left);
            }
            let actual = state.actual(actual);
            let over = if actual.is_some() { now } else { now.max(latest) };
            state.settle(charge, End { actual, over }, now);
        });
    }

    /// It never left.
    pub(super) fn cancel(&mut self, place: u32, call: &Call, now: Instant) {
        self.each_pace(place, call, |pace, arrival, paced| pace.settle(arrival, paced, 0, now));
        self.each_state(place, call, |state, charge| state.cancel(charge, now));
    }

    /// Every pacer that a call was charged to.
    #[inline]
    fn each_pace(
        &mut self,
        place: u32,
        call: &Call,
        mut edit: impl FnMut(&Pace, &mut Arrival, &Paced),
    ) {
        let parts = self.arrivals.of(call.key).iter_mut().zip(self.paced.of(place));
        for (index, (pace, (arrival, paced))) in self.stated.behind.iter().zip(parts).enumerate() {
            if call.charged & of_pace(index) != 0 {
                edit(pace, arrival, paced);
            }
        }
    }

    /// Every other limit that a call was charged to.
    #[inline]
    fn each_state(
        &mut self,
        place: u32,
        call: &Call,
        mut edit: impl FnMut(&mut LimitState, &mut Charge),
    ) {
        let parts = self.states.of(call.key).iter_mut().zip(self.charges.of(place));
        for (index, (state, charge)) in parts.enumerate() {
            if let (Some(state), true) = (state, call.charged & of_state(index) != 0) {
                edit(state, charge);
            }
        }
    }
}

/// Takes back what a call was charged that is not admitted after all.
#[cold]
fn undo(states: &mut [Option<LimitState>], charges: &[Charge], charged: u16) {
    for (index, (state, charge)) in states.iter_mut().zip(charges).enumerate() {
        if let (Some(state), true) = (state, charged & of_state(index) != 0) {
            state.undo(charge);
        }
    }
}

/// The bit of the first pacer among the limits that a call was charged to.
pub(super) const FIRST: u16 = 1;

/// The bits of the paces behind the first follow.
#[inline]
const fn of_pace(index: usize) -> u16 {
    FIRST << (index + 1)
}

/// The bits of the others: from the last one on, so that there are enough for all limits.
#[inline]
const fn of_state(index: usize) -> u16 {
    1 << (MAX_LIMITS - 1 - index)
}
