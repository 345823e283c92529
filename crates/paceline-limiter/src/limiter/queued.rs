//! Those who wait: how they enter, are served and leave.
//!
//! The order is the queue's, the verdict the limits'. Invariant: nobody is served whom the order
//! does not let go, but for one who overtakes without moving the time of the first.

use std::time::Duration;

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

/// The first in the queue, where there is one, and until when it has to wait; `None` where time
/// alone does not help.
pub(crate) type First = Option<(Ticket, Option<Instant>)>;

impl Limiter {
    /// Takes a place in the queue.
    ///
    /// A deadline is refused at once where it can't be met: the computed time is a lower bound, so
    /// that nobody is refused who could have been in time. It reckons with the first
    /// [`QueuePolicy::LOOK_AHEAD`](crate::QueuePolicy::LOOK_AHEAD) of the same class in front, each
    /// admitted as early as it can be. They take what they ask for exactly, nothing where expected
    /// and upper amount differ, and nothing where their own deadline is earlier than this one. With
    /// [fair shares](crate::FairShare) or [overtaking](crate::Overtaking) nobody is in front for
    /// certain. What is in flight is taken to come back at once, but for limits kept by
    /// [`ChargeRule::Flow`](crate::ChargeRule::Flow). What is counted already is taken to stay.
    ///
    /// # Errors
    /// A [`Refusal`] that waiting would not change: the demand never fits, the quota is spent,
    /// the deadline is past or comes before the computed time, or too many wait.
    pub fn enqueue(&mut self, demand: Demand, now: Instant) -> Result<Ticket, Refusal> {
        let now = self.advance(now);
        let blocked = match self.limits.refusal(&demand, now) {
            None => None,
            Some(Refusal::NotUntil(blocked)) => Some(blocked.until),
            Some(refusal) => return Err(refusal),
        };
        if let Some(deadline) = demand.latest_admission() {
            // Now or never, and it is not now.
            if deadline < now || (deadline == now && blocked.is_some()) {
                return Err(Refusal::Deadline { earliest: blocked.unwrap_or(Some(now)) });
            }
            let in_front = self.queue.in_front(&demand);
            let at = self.limits.not_before(&demand, in_front, deadline, now);
            if at > deadline {
                let alone = blocked.unwrap_or(Some(now));
                return Err(Refusal::Deadline { earliest: alone.map(|alone| alone.max(at)) });
            }
        }
        self.queue.push(demand, now)
    }

    /// Serves the queue one step: the first waiter if it fits now or must be refused, or one that
    /// may [overtake](crate::Overtaking) it. Call it until it returns `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Served> {
        self.step(now).ok()
    }

    /// The same.
    ///
    /// # Errors
    /// Nobody can be served: who is first then.
    pub(crate) fn step(&mut self, now: Instant) -> Result<Served, First> {
        let now = self.advance(now);
        if let Some(late) = self.queue.expired(now) {
            return self.expire(late, now);
        }
        let Some((ticket, demand)) = self.queue.head(now) else { return Err(None) };
        if self.limits.fits(demand, now) {
            return self.grant(ticket, now).ok_or(Some((ticket, Some(now))));
        }
        match self.limits.refusal(demand, now) {
            Some(Refusal::NotUntil(blocked)) => {
                let until = blocked.until;
                let other = if self.queue.overtakes() { self.overtake(until, now) } else { None };
                other.ok_or(Some((ticket, until)))
            }
            None => Err(Some((ticket, Some(now)))),
            Some(refusal) => {
                self.queue.remove(ticket);
                Ok(Served::Refused(ticket, refusal))
            }
        }
    }

    /// A waiter whose deadline has passed is refused.
    fn expire(&mut self, late: Ticket, now: Instant) -> Result<Served, First> {
        let Some(demand) = self.queue.remove(late) else { return Err(None) };
        let earliest = match self.limits.refusal(&demand, now) {
            Some(Refusal::NotUntil(blocked)) => blocked.until,
            _ => None,
        };
        Ok(Served::Refused(late, Refusal::Deadline { earliest }))
    }

    /// When to call [`Limiter::poll`] again if nothing else happens; `None` where time alone
    /// brings nothing.
    pub fn next_wakeup(&mut self, now: Instant) -> Option<Instant> {
        let now = self.advance(now);
        let head = self.head_until(now);
        self.wakeup_after(head, Duration::ZERO, now)
    }

    /// The same where it is known until when the first has to wait, and up to so much later where only
    /// admissions wait for it; never behind a deadline.
    pub(crate) fn wakeup_after(
        &mut self,
        head: Option<Instant>,
        slack: Duration,
        now: Instant,
    ) -> Option<Instant> {
        let behind = if self.queue.overtakes() { self.next_behind(now) } else { None };
        let fits = [head, behind].into_iter().flatten().min();
        let ends = [self.queue.next_expiry(), self.queue.next_change(now)];
        let ends = ends.into_iter().flatten().min();
        let late = fits.map(|fits| fits + slack);
        match (late, ends) {
            (Some(late), Some(ends)) if ends <= late => fits.min(Some(ends)),
            (late, ends) => late.or(ends),
        }
    }

    /// When the first of those may fit that may go before the head.
    fn next_behind(&mut self, now: Instant) -> Option<Instant> {
        let limits = &mut self.limits;
        let until = |(_, other): (Ticket, &Demand)| match limits.refusal(other, now) {
            Some(Refusal::NotUntil(blocked)) => blocked.until,
            // It fits, and may not go before the head all the same; or it never will.
            _ => None,
        };
        self.queue.candidates(now).into_iter().skip(1).filter_map(until).min()
    }

    /// The first in the queue.
    pub fn head(&mut self, now: Instant) -> Option<Ticket> {
        let now = self.advance(now);
        self.queue.head(now).map(|(ticket, _)| ticket)
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

    /// Admits the first one behind the head that fits and leaves the head's time where it is.
    fn overtake(&mut self, until: Option<Instant>, now: Instant) -> Option<Served> {
        let mut candidates = self.queue.candidates(now).into_iter();
        let (_, head) = candidates.next()?;
        let limits = &mut self.limits;
        let (ticket, _) = candidates.find(|(_, other)| {
            limits.fits(other, now) && limits.keeps_its_time(head, until, other, now)
        })?;
        self.grant(ticket, now)
    }

    /// Admits a waiter that fits.
    fn grant(&mut self, ticket: Ticket, now: Instant) -> Option<Served> {
        let receipt = self.limits.admit(self.queue.demand(ticket)?, now)?;
        let (_, share) = self.queue.grant(ticket, now)?;
        if self.queue.is_fair() {
            self.limits.with_call(receipt, |call, _| call.share = Some(share));
        }
        Some(Served::Granted(ticket, receipt))
    }
}
