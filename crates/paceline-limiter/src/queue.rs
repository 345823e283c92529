//! Those who wait, first come, first served.
//!
//! It knows no limits. Invariant: tickets ascend, so the order of tickets is the order of
//! arrival.

use std::collections::{BTreeMap, BTreeSet};

use paceline_core::{Actual, Amount, Caller, Demand, Instant};

/// The place of one waiter in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Waiters in the order of arrival, and their deadlines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    next: u64,
    waiting: BTreeMap<Ticket, Demand>,
    deadlines: BTreeSet<(Instant, Ticket)>,
}

impl Queue {
    pub(crate) fn push(&mut self, demand: Demand, _now: Instant) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        if let Some(deadline) = demand.latest_admission() {
            self.deadlines.insert((deadline, ticket));
        }
        self.waiting.insert(ticket, demand);
        ticket
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Demand> {
        let demand = self.waiting.remove(&ticket)?;
        if let Some(deadline) = demand.latest_admission() {
            self.deadlines.remove(&(deadline, ticket));
        }
        Some(demand)
    }

    pub(crate) fn is_fair(&self) -> bool {
        false
    }
    pub(crate) fn granted(&mut self, _: &Demand) -> Option<(Caller, Amount)> {
        None
    }
    pub(crate) fn settled(&mut self, _: &Caller, _: Amount, _: &Actual) {}
    pub(crate) fn cancelled(&mut self, _: &Caller, _: Amount) {}
    pub(crate) fn head(&self, _now: Instant) -> Option<(Ticket, &Demand)> {
        self.waiting.first_key_value().map(|(ticket, demand)| (*ticket, demand))
    }

    /// A waiter whose deadline has passed, the earliest first.
    pub(crate) fn expired(&self, now: Instant) -> Option<Ticket> {
        self.deadlines.first().filter(|(deadline, _)| *deadline < now).map(|(_, ticket)| *ticket)
    }

    /// The next moment at which a deadline has passed.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let just_after = std::time::Duration::from_nanos(1);
        self.deadlines.first().map(|(deadline, _)| *deadline + just_after)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_come_is_the_head_until_it_leaves() {
        let mut queue = Queue::default();
        let first = queue.push(Demand::new(), Instant::ORIGIN);
        let second = queue.push(Demand::new().deadline(Instant::from_nanos(5)), Instant::ORIGIN);
        assert_eq!(queue.head(Instant::ORIGIN).map(|(ticket, _)| ticket), Some(first));
        assert!(queue.remove(first).is_some());
        assert!(queue.remove(first).is_none());
        assert_eq!(queue.head(Instant::ORIGIN).map(|(ticket, _)| ticket), Some(second));
        assert_eq!(queue.expired(Instant::from_nanos(5)), None);
        assert_eq!(queue.next_expiry(), Some(Instant::from_nanos(6)));
        assert_eq!(queue.expired(Instant::from_nanos(6)), Some(second));
        assert!(queue.remove(second).is_some());
        assert_eq!((queue.len(), queue.next_expiry()), (0, None));
    }
}
