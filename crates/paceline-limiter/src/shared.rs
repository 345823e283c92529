//! One limiter behind a lock, and those who wait for it: what every shared form is made of.
//!
//! It decides nothing itself: it locks the pure limiter for a moment, and wakes whoever may go.
//! Invariant: whenever somebody waits, the first of them has its alarm set for the next moment at
//! which time alone could admit it, and every change that could admit it wakes it at once. No waker
//! is woken or let go of for good under the lock: what it holds may wait here, too.

use std::collections::HashMap;
use std::fmt;
use std::task::{Poll, Waker};
use std::time::Duration;

use paceline_core::{Clock, Demand, Instant, Receipt, Refusal};

use crate::limiter::{First, Limiter, Served};
use crate::queue::Ticket;
use crate::sync::{Mutex, MutexGuard};

/// Wakes a waiter when its time has come.
pub(crate) trait Alarm: Send {
    /// Its owner is being polled: the moment to make what belongs to its surroundings.
    fn prepare(&mut self) {}

    /// Sets it, for the first in the queue, to go off so long from now. `true` where the waiter is
    /// to be woken at once instead.
    fn set(&mut self, wait: Option<Duration>, waker: &Waker, by: By) -> bool;
}

/// Who sets an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The waiter, while it is polled.
    Itself,
    /// Somebody whose change made it the first, or moved its time.
    Another,
}

/// A limiter, its clock, and who waits.
pub(crate) struct Shared<C, A> {
    clock: C,
    state: Mutex<State<A>>,
}

/// On cache lines of its own, so that whoever looks at the lock does not take them from its owner.
#[repr(align(128))]
struct State<A> {
    limiter: Limiter,
    waiting: HashMap<Ticket, Waiter<A>>,
    /// Whose alarm is set, and for when.
    armed: Option<(Ticket, Option<Instant>)>,
    /// How much later than it could be an alarm may go off.
    slack: Duration,
}

struct Waiter<A> {
    waker: Option<Waker>,
    alarm: A,
    answer: Option<Result<Receipt, Refusal>>,
}

/// What there is to say to one who asks.
pub(crate) enum Asked {
    /// The answer.
    Known(Result<Receipt, Refusal>),
    /// It waits in the queue.
    Waits(Ticket),
}

impl<C: Clock, A: Alarm> Shared<C, A> {
    pub(crate) fn new(limiter: Limiter, clock: C) -> Self {
        let limiter = limiter.on_clock(&clock);
        let slack = Duration::ZERO;
        let state = State { limiter, waiting: HashMap::new(), armed: None, slack };
        Self { clock, state: Mutex::new(state) }
    }

    pub(crate) const fn clock(&self) -> &C {
        &self.clock
    }

    /// Admits now or says why not. Always inlined: an answer that comes back through memory costs a
    /// third of a decision.
    #[inline(always)]
    pub(crate) fn try_acquire(&self, demand: &Demand) -> Result<Receipt, Refusal> {
        let now = self.clock.now();
        let mut state = self.lock();
        match state.limiter.admit(demand, now) {
            Some(receipt) => {
                // Nobody waits for the answer to be written.
                drop(state);
                Ok(receipt)
            }
            None => Err(state.limiter.refused(demand)),
        }
    }

    /// Admits now, or leaves the rest to [`Shared::ask`].
    #[cfg(feature = "tokio")]
    #[inline(always)]
    pub(crate) fn admit(&self, demand: &Demand) -> Option<Receipt> {
        let now = self.clock.now();
        self.lock().limiter.admit(demand, now)
    }

    /// Admits now, refuses, or takes a place in the queue, with an alarm for later.
    #[inline]
    pub(crate) fn ask(&self, demand: &Demand, alarm: impl FnOnce() -> A) -> Asked {
        let now = self.clock.now();
        let mut state = self.lock();
        match state.limiter.try_acquire(demand, now) {
            // Made anew, so that only the receipt is moved.
            Ok(receipt) => Asked::Known(Ok(receipt)),
            Err(refusal) => state.ask_again(demand, refusal, now, alarm),
        }
    }

    /// The answer for one who waits; until it is there, `waker` is woken when it is time to ask
    /// again. Also says when time alone could admit it, if it is the first.
    pub(crate) fn poll(&self, ticket: Ticket, waker: &Waker) -> Poll<Result<Receipt, Refusal>> {
        let now = self.clock.now();
        let mut old = None;
        let mut state = self.lock();
        let is_armed = state.armed.is_some_and(|(armed, _)| armed == ticket);
        if let Some(waiter) = state.waiting.get_mut(&ticket) {
            if waiter.answer.is_some() && !is_armed {
                // Whoever answered has served the others too, and set the alarm of one of them.
                let waiter = state.waiting.remove(&ticket);
                drop(state);
                return waiter.and_then(|waiter| waiter.answer).map_or(Poll::Pending, Poll::Ready);
            }
            waiter.alarm.prepare();
            if !waiter.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
                old = waiter.waker.replace(waker.clone());
            }
        }
        // Its alarm may just have gone off: it has to be set again.
        state.armed = state.armed.filter(|(armed, _)| *armed != ticket);
        let wake = state.serve(now, Some(ticket));
        let is_answered = state.waiting.get(&ticket).is_some_and(|waiter| waiter.answer.is_some());
        let waiter = if is_answered { state.waiting.remove(&ticket) } else { None };
        drop(state);
        drop(old);
        wake.into_iter().for_each(Waker::wake);
        waiter.and_then(|waiter| waiter.answer).map_or(Poll::Pending, Poll::Ready)
    }

    /// When time alone could admit one who waits, if it is the first.
    #[cfg(feature = "clock")]
    pub(crate) fn first_until(&self, ticket: Ticket) -> Option<Instant> {
        let state = self.lock();
        state.armed.filter(|(armed, _)| *armed == ticket).and_then(|(_, until)| until)
    }

    /// One who waits goes away: its place, or the grant that nobody took, goes back.
    #[cfg(feature = "tokio")]
    pub(crate) fn abandon(&self, ticket: Ticket) {
        let now = self.clock.now();
        let mut state = self.lock();
        let Some(waiter) = state.waiting.remove(&ticket) else { return };
        match waiter.answer {
            Some(Ok(receipt)) => state.limiter.cancel_unsent(receipt, now),
            _ => state.limiter.leave(ticket),
        };
        let wake = state.serve(now, None);
        drop(state);
        drop((waiter.waker, waiter.alarm));
        wake.into_iter().for_each(Waker::wake);
    }

    /// Changes the limiter, then serves whoever may go because of it.
    #[inline]
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Limiter, Instant) -> T) -> T {
        let now = self.clock.now();
        let mut state = self.lock();
        let result = change(&mut state.limiter, now);
        if !state.waiting.is_empty() {
            let wake = state.serve(now, None);
            drop(state);
            wake.into_iter().for_each(Waker::wake);
        }
        result
    }

    /// From now on alarms may go off so much later than they could.
    pub(crate) fn set_slack(&self, slack: Duration) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.slack = slack.min(LONGEST_SLACK);
        let wake = state.serve(now, None);
        drop(state);
        wake.into_iter().for_each(Waker::wake);
    }

    /// Looks at the limiter.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Limiter, Instant) -> T) -> T {
        let now = self.clock.now();
        look(&mut self.lock().limiter, now)
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, State<A>> {
        self.state.lock()
    }
}

impl<A: Alarm> State<A> {
    /// Who is not admitted now takes a place in the queue, where waiting can help.
    #[cold]
    fn ask_again(
        &mut self,
        demand: &Demand,
        refusal: Refusal,
        now: Instant,
        alarm: impl FnOnce() -> A,
    ) -> Asked {
        if !matches!(refusal, Refusal::NotUntil(_)) {
            return Asked::Known(Err(refusal));
        }
        match self.limiter.enqueue(demand.clone(), now) {
            Ok(ticket) => {
                let waiter = Waiter { waker: None, alarm: alarm(), answer: None };
                self.waiting.insert(ticket, waiter);
                Asked::Waits(ticket)
            }
            Err(refusal) => Asked::Known(Err(refusal)),
        }
    }

    /// Serves the queue as far as it goes, and sets the alarm of whoever is first then. Returns
    /// whom to wake once the lock is released; `me`, who is being polled, looks for itself.
    fn serve(&mut self, now: Instant, me: Option<Ticket>) -> Vec<Waker> {
        let mut wake = Vec::new();
        let first = loop {
            let (ticket, answer) = match self.limiter.step(now) {
                Ok(Served::Granted(ticket, receipt)) => (ticket, Ok(receipt)),
                Ok(Served::Refused(ticket, refusal)) => (ticket, Err(refusal)),
                Err(first) => break first,
            };
            if let Some(waiter) = self.waiting.get_mut(&ticket) {
                waiter.answer = Some(answer);
                if Some(ticket) != me {
                    wake.extend(waiter.waker.take());
                }
            }
        };
        self.arm(first, now, me, &mut wake);
        wake
    }

    /// Sets the alarm of the first in the queue, or as long as that one has never been polled, of
    /// another.
    fn arm(&mut self, first: First, now: Instant, me: Option<Ticket>, wake: &mut Vec<Waker>) {
        let Some((head, until)) = first else {
            self.armed = None;
            return;
        };
        let is_polled =
            |ticket: &Ticket| self.waiting.get(ticket).is_some_and(|waiter| waiter.waker.is_some());
        let other = || self.waiting.keys().copied().find(is_polled);
        let owner = Some(head).filter(is_polled).or(me).or_else(other);
        let until = self.limiter.wakeup_after(until, self.slack, now);
        let next = owner.map(|owner| (owner, until));
        if next == self.armed {
            return;
        }
        self.armed = next;
        let Some((owner, until)) = next else { return };
        let Some(waiter) = self.waiting.get_mut(&owner) else { return };
        let Some(waker) = &waiter.waker else { return };
        let by = if Some(owner) == me { By::Itself } else { By::Another };
        if waiter.alarm.set(until.map(|until| until.since(now)), waker, by) {
            wake.push(waker.clone());
        }
    }
}

/// Whoever waits longer than this for nothing would rather have a timer of its own.
const LONGEST_SLACK: Duration = Duration::from_secs(1);

impl<C, A> fmt::Debug for Shared<C, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("SharedLimiter")
            .field("waiting", &state.limiter.waiting())
            .field("in_flight", &state.limiter.in_flight())
            .finish_non_exhaustive()
    }
}
