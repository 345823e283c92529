//! Those who wait: how they enter, are served and leave.
//!
//! The order is the queue's, the verdict the limits'. Invariant: nobody is served whom the order
//! does not let go, but for one who overtakes without moving the time of the first.

use paceline_core::{Demand, Instant, Receipt, Refusal};

use super::Limiter;
use crate::queue::Ticket;

/// What [`Limiter::poll`] did with the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Served {
    /// This waiter was admitted.
    Granted(
        /// Its place.
        Ticket,
        /// Its receipt.
        Receipt,
    ),
    /// This waiter was refused; it has left the queue.
    Refused(
        /// Its place.
        Ticket,
        /// Why.
        Refusal,
    ),
}

impl Limiter {
    /// Takes a place in the queue.
    ///
    /// # Errors
    /// A [`Refusal`] that waiting would not change: the demand never fits, the quota is spent,
    /// the deadline is past or comes before the computed time, or too many wait.
    pub fn enqueue(&mut self, demand: Demand, now: Instant) -> Result<Ticket, Refusal> {
        let now = self.advance(now);
        if self.queue.len() >= self.max_waiting {
            return Err(Refusal::QueueFull { waiting: self.queue.len() });
        }
        let earliest = match self.limits.refusal(&demand, now) {
            None => Some(now),
            Some(Refusal::NotUntil(blocked)) => blocked.until,
            Some(refusal) => return Err(refusal),
        };
        // The computed time is a lower bound where others wait in front: still too late is too
        // late.
        if let Some(deadline) = demand.latest_admission() {
            if deadline < now || earliest.is_some_and(|at| at > deadline) {
                return Err(Refusal::Deadline { earliest });
            }
        }
        Ok(self.queue.push(demand, now))
    }

    /// Serves the queue one step: the first waiter who fits now, or must be refused. Call it
    /// until it returns `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Served> {
        let now = self.advance(now);
        if let Some(late) = self.queue.expired(now) {
            let demand = self.queue.remove(late)?;
            let earliest = match self.limits.refusal(&demand, now) {
                Some(Refusal::NotUntil(blocked)) => blocked.until,
                _ => None,
            };
            return Some(Served::Refused(late, Refusal::Deadline { earliest }));
        }
        let (ticket, demand) = self.queue.head(now)?;
        if self.limits.fits(demand, now) {
            return self.grant(ticket, now);
        }
        match self.limits.refusal(demand, now) {
            Some(Refusal::NotUntil(_)) | None => None,
            Some(refusal) => {
                self.queue.remove(ticket);
                Some(Served::Refused(ticket, refusal))
            }
        }
    }

    /// When to call [`Limiter::poll`] again if nothing else happens; `None` where time alone
    /// brings nothing.
    pub fn next_wakeup(&mut self, now: Instant) -> Option<Instant> {
        let now = self.advance(now);
        let head = self.head_until(now);
        [head, self.queue.next_expiry()].into_iter().flatten().min()
    }

    /// The first in the queue.
    pub fn head(&mut self) -> Option<Ticket> {
        self.queue.head(self.now).map(|(ticket, _)| ticket)
    }

    /// Leaves the queue. `false` where the ticket is not in it.
    pub fn leave(&mut self, ticket: Ticket) -> bool {
        self.queue.remove(ticket).is_some()
    }

    /// How many calls wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// When the first in the queue can be admitted; `None` where time alone does not help, or
    /// nobody waits.
    pub(super) fn head_until(&mut self, now: Instant) -> Option<Instant> {
        let (_, demand) = self.queue.head(now)?;
        match self.limits.refusal(demand, now) {
            Some(Refusal::NotUntil(blocked)) => blocked.until,
            _ => Some(now),
        }
    }

    /// Admits a waiter that fits.
    fn grant(&mut self, ticket: Ticket, now: Instant) -> Option<Served> {
        let demand = self.queue.remove(ticket)?;
        let receipt = self.admit(&demand, now)?;
        Some(Served::Granted(ticket, receipt))
    }

    /// Counts what a caller was given, where shares are fair.
    #[cold]
    pub(super) fn count_service(&mut self, demand: &Demand, receipt: Receipt) {
        let Some(served) = self.queue.granted(demand) else { return };
        self.limits.with_call(receipt, |call, _| call.caller = Some(served));
    }
}
