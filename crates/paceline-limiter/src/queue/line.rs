//! Those of one class who wait, and whose turn it is among them: fair shares by virtual counters.
//!
//! It knows no time and no demands, only tickets, callers and what is charged to them. Without
//! fair shares everyone is the same nameless caller, and the order is that of arrival.
//!
//! Invariants: a caller is in `turns` while it waits, else in `idle`, always under its present
//! counter; `floor` never falls and is never below the least counter that waiting callers had.

use std::collections::{BTreeMap, BTreeSet};

use paceline_core::Caller;

use super::Ticket;

/// Whose calls are counted together: a caller, or those that name none.
pub(super) type Key = Option<Caller>;

/// What was granted, by weight, in parts of a unit (see [`units`]).
pub(super) type Units = u128;

/// The waiters of one class.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    lanes: BTreeMap<Key, Lane>,
    /// Callers that wait: the least counter first, then the earliest first ticket.
    turns: BTreeSet<(Units, Ticket, Key)>,
    /// Callers that do not, but whose counters are remembered.
    idle: BTreeSet<(Units, Key)>,
    /// Where a caller begins that comes, or comes back.
    floor: Units,
    comings: u64,
}

/// One caller's waiters, and its counter.
#[derive(Clone, Debug)]
struct Lane {
    waiting: BTreeSet<Ticket>,
    counter: Units,
    /// Numbers the stretch of waiting that this is.
    coming: u64,
    /// How far the counter was above the floor when this stretch began: the most that earlier
    /// calls may give back. More would be credit for time spent away.
    returnable: Units,
}

impl Line {
    /// How many callers are remembered that do not wait.
    pub(super) const MAX_IDLE: usize = 1_024;

    pub(super) fn push(&mut self, key: Key, ticket: Ticket) {
        let (floor, coming) = (self.floor, self.next_coming());
        self.edit(key, |lane| {
            if lane.waiting.is_empty() {
                lane.come(floor, coming);
            }
            lane.waiting.insert(ticket);
        });
    }

    /// Takes a waiter out without serving it.
    pub(super) fn leave(&mut self, key: Key, ticket: Ticket) {
        self.edit(key, |lane| lane.waiting.remove(&ticket));
    }

    /// Serves a waiter. Says in which stretch of waiting, for [`Line::correct`].
    pub(super) fn serve(&mut self, key: Key, ticket: Ticket, charge: Units) -> u64 {
        self.edit(key, |lane| {
            lane.waiting.remove(&ticket);
            lane.counter = lane.counter.saturating_add(charge);
            lane.coming
        })
    }

    /// Charges a call that did not wait, as if it had come and been served at once.
    pub(super) fn serve_unqueued(&mut self, key: Key, charge: Units) -> u64 {
        let (floor, coming) = (self.floor, self.next_coming());
        let (began, coming) = self.edit(key, |lane| {
            if lane.waiting.is_empty() {
                lane.come(floor, coming);
            }
            let began = lane.counter;
            lane.counter = began.saturating_add(charge);
            (began, lane.coming)
        });
        if self.turns.is_empty() {
            self.floor = self.floor.max(began);
        }
        coming
    }

    /// Replaces what was charged in the stretch `coming` by what it turned out to be.
    pub(super) fn correct(&mut self, key: Key, coming: u64, charged: Units, actual: Units) {
        if actual > charged {
            self.edit(key, |lane| lane.counter = lane.counter.saturating_add(actual - charged));
        } else if actual < charged && self.lanes.contains_key(&key) {
            // Of a caller that was forgotten nothing is left to give back to.
            self.edit(key, |lane| lane.give_back(coming, charged - actual));
        }
    }

    /// The waiter whose turn it is.
    pub(super) fn first(&self) -> Option<Ticket> {
        self.turns.first().map(|(_, ticket, _)| *ticket)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// The next `most` waiters in the order in which they would be served if each were charged
    /// what `charge` says.
    pub(super) fn upcoming(&self, most: usize, charge: impl Fn(Ticket) -> Units) -> Vec<Ticket> {
        let mut turns: BTreeSet<(Units, Ticket, &Key)> = BTreeSet::new();
        turns.extend(
            self.turns.iter().take(most).map(|(units, ticket, key)| (*units, *ticket, key)),
        );
        let mut order = Vec::with_capacity(most.min(turns.len()));
        while order.len() < most {
            let Some((units, ticket, key)) = turns.pop_first() else { break };
            order.push(ticket);
            let rest = self.lanes.get(key).map(|lane| lane.waiting.range(ticket.next()..));
            if let Some(next) = rest.and_then(|mut rest| rest.next()) {
                turns.insert((units.saturating_add(charge(ticket)), *next, key));
            }
        }
        order
    }

    /// How many callers are known, waiting or remembered.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.lanes.len()
    }

    fn next_coming(&mut self) -> u64 {
        self.comings += 1;
        self.comings
    }

    /// The only way to change a lane: it keeps `turns`, `idle` and `floor` as they must be.
    fn edit<T>(&mut self, key: Key, edit: impl FnOnce(&mut Lane) -> T) -> T {
        let new = Lane { waiting: BTreeSet::new(), counter: self.floor, coming: 0, returnable: 0 };
        let lane = self.lanes.entry(key.clone()).or_insert(new);
        let before = (lane.counter, lane.waiting.first().copied());
        let done = edit(lane);
        let after = (lane.counter, lane.waiting.first().copied());
        self.unlist(before, &key);
        match after {
            (counter, Some(first)) => {
                self.turns.insert((counter, first, key));
            }
            (counter, None) => {
                self.idle.insert((counter, key));
                self.forget_beyond_bound();
            }
        }
        if let Some((least, ..)) = self.turns.first() {
            self.floor = self.floor.max(*least);
        }
        done
    }

    fn unlist(&mut self, (counter, first): (Units, Option<Ticket>), key: &Key) {
        match first {
            Some(first) => self.turns.remove(&(counter, first, key.clone())),
            None => self.idle.remove(&(counter, key.clone())),
        };
    }

    /// Forgets the idle callers with the least counters. The floor rises to theirs, so that none
    /// of them gains by being forgotten.
    fn forget_beyond_bound(&mut self) {
        while self.idle.len() > Self::MAX_IDLE {
            let Some((counter, key)) = self.idle.pop_first() else { return };
            self.lanes.remove(&key);
            self.floor = self.floor.max(counter);
        }
    }
}

impl Lane {
    /// Begins to wait: lifted to the floor.
    fn come(&mut self, floor: Units, coming: u64) {
        self.returnable = self.counter.saturating_sub(floor);
        self.counter = self.counter.max(floor);
        self.coming = coming;
    }

    fn give_back(&mut self, coming: u64, unused: Units) {
        let mut given = unused;
        if coming != self.coming {
            given = unused.min(self.returnable);
            self.returnable -= given;
        }
        self.counter = self.counter.saturating_sub(given);
    }
}

/// `amount` by `weight`, in parts of 2⁻³² of a unit, rounded up: at the largest weight one unit
/// still counts, and the error is below one part a call.
pub(super) fn units(amount: u64, weight: std::num::NonZeroU32) -> Units {
    (Units::from(amount) << 32).div_ceil(Units::from(weight.get()))
}
