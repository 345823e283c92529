//! The waiting form: a cheap handle to one limiter, on tokio's clock.
//!
//! It decides nothing itself: it locks the pure limiter for a moment, and wakes whoever may go.
//! Invariant: whenever somebody waits, the first of them owns a timer for the next moment at
//! which time alone could admit it, and every change that could admit it wakes it at once.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::tokio::time::{Sleep, sleep_until};
use paceline_core::{
    Acquire, Actual, Admission, Clock, Demand, Dimension, Instant, LimitKey, Observation, Quota,
    Receipt, Refusal,
};

use crate::limit::{Limit, LimitError};
use crate::limiter::{Limiter, Served};
use crate::queue::Ticket;
use crate::snapshot::Snapshot;

/// One limiter, shared by all clones of this handle.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::num::NonZeroU64;
/// use paceline_core::{Actual, Admission, Amount, Demand, Dimension, LimitKey, Quota};
/// use paceline_limiter::{Limit, Limiter, tokio::SharedLimiter};
///
/// let limiter = SharedLimiter::new(Limiter::new());
/// let quota = Quota::per_minute(NonZeroU64::new(2).unwrap());
/// limiter.add(Limit::new(LimitKey::All, Dimension::Requests, quota))?;
///
/// let started = limiter.now();
/// for _ in 0..3 {
///     let receipt = limiter.acquire(&Demand::call(Amount::exact(1))).await?;
///     limiter.sent(receipt);
///     limiter.settle(receipt, &Actual::new());
/// }
/// // The third had to wait for the first to leave the window.
/// assert!(limiter.now().since(started).as_secs() >= 60);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SharedLimiter(Arc<Shared>);

struct Shared {
    clock: TokioClock,
    state: Mutex<State>,
}

struct State {
    limiter: Limiter,
    waiting: HashMap<Ticket, Waiter>,
    /// Whose timer is set, and for when.
    armed: Option<(Ticket, Option<Instant>)>,
}

#[derive(Default)]
struct Waiter {
    waker: Option<Waker>,
    answer: Option<Result<Receipt, Refusal>>,
}

/// tokio's clock, which stands still where tokio's time is paused.
///
/// Its origin lies two days before it was made, so that the past can be told, too.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    made: ::tokio::time::Instant,
}

/// How long before the making of a [`TokioClock`] its origin lies.
const PAST: Duration = Duration::from_secs(2 * 86_400);

impl TokioClock {
    /// A clock that reads [`PAST`] now.
    #[expect(clippy::disallowed_methods, reason = "the module that may read a clock")]
    fn new() -> Self {
        Self { made: ::tokio::time::Instant::now() }
    }

    /// The moment on tokio's clock; `None` past its end.
    fn to_tokio(self, at: Instant) -> Option<::tokio::time::Instant> {
        self.made.checked_add(at.since(Instant::ORIGIN + PAST))
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        Instant::ORIGIN + PAST + self.made.elapsed()
    }
}

impl SharedLimiter {
    /// Shares a limiter.
    pub fn new(limiter: Limiter) -> Self {
        let state = State { limiter, waiting: HashMap::new(), armed: None };
        Self(Arc::new(Shared { clock: TokioClock::new(), state: Mutex::new(state) }))
    }

    /// Adds a limit, or replaces the one of the same key, dimension and refill.
    ///
    /// # Errors
    /// As [`Limiter::add`].
    pub fn add(&self, limit: Limit) -> Result<(), LimitError> {
        self.0.change(|limiter, _| limiter.add(limit))
    }

    /// Changes how much a limit allows; see [`Limiter::set_limit`].
    pub fn set_limit(&self, key: &LimitKey, dimension: Dimension, quota: Quota) -> bool {
        self.0.change(|limiter, now| limiter.set_limit(key, dimension, quota, now))
    }

    /// Admits the demand now or says why not; see [`Limiter::try_acquire`].
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub fn try_acquire(&self, demand: &Demand) -> Result<Receipt, Refusal> {
        self.0.change(|limiter, now| limiter.try_acquire(demand, now))
    }

    /// Counts a call of the past; see [`Limiter::record_past`].
    pub fn record_past(&self, demand: &Demand, at: Instant) {
        self.0.change(|limiter, _| limiter.record_past(demand, at));
    }

    /// The state of every limit.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.0.clock.now();
        self.0.lock().limiter.snapshot(now)
    }
}

impl Admission for SharedLimiter {
    fn now(&self) -> Instant {
        self.0.clock.now()
    }

    fn acquire<'a>(&'a self, demand: &'a Demand) -> Acquire<'a> {
        let now = self.0.clock.now();
        let mut state = self.0.lock();
        match state.limiter.try_acquire(demand, now) {
            Err(Refusal::NotUntil(_)) => {}
            answer => return Acquire::ready(answer),
        }
        let ticket = match state.limiter.enqueue(demand.clone(), now) {
            Ok(ticket) => ticket,
            Err(refusal) => return Acquire::ready(Err(refusal)),
        };
        state.waiting.insert(ticket, Waiter::default());
        drop(state);
        Acquire::waiting(Wait { shared: Arc::clone(&self.0), ticket, timer: None, done: false })
    }

    fn sent(&self, receipt: Receipt) {
        self.0.change(|limiter, now| limiter.sent(receipt, now));
    }

    fn head_received(&self, receipt: Receipt) {
        self.0.change(|limiter, now| limiter.head_received(receipt, now));
    }

    fn settle(&self, receipt: Receipt, actual: &Actual) {
        self.0.change(|limiter, now| limiter.settle(receipt, actual, now));
    }

    fn cancel_unsent(&self, receipt: Receipt) {
        self.0.change(|limiter, now| limiter.cancel_unsent(receipt, now));
    }

    fn observe(&self, observation: &Observation) {
        self.0.change(|limiter, now| limiter.observe(observation, now));
    }

    fn pause(&self, key: &LimitKey, dimension: Option<Dimension>, until: Instant) {
        self.0.change(|limiter, now| limiter.pause_until(key, dimension, until, now));
    }
}

impl Shared {
    /// Changes the limiter, then serves whoever may go because of it.
    fn change<T>(&self, change: impl FnOnce(&mut Limiter, Instant) -> T) -> T {
        let now = self.clock.now();
        let mut state = self.lock();
        let result = change(&mut state.limiter, now);
        let wake = state.serve(now);
        drop(state);
        wake.into_iter().for_each(Waker::wake);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The limiter panics nowhere by design; if it did, its counts stay on the safe side.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Serves the queue as far as it goes; returns whom to wake once the lock is released.
    fn serve(&mut self, now: Instant) -> Vec<Waker> {
        let mut wake = Vec::new();
        while let Some(served) = self.limiter.poll(now) {
            let (ticket, answer) = match served {
                Served::Granted(ticket, receipt) => (ticket, Ok(receipt)),
                Served::Refused(ticket, refusal) => (ticket, Err(refusal)),
            };
            if let Some(waiter) = self.waiting.get_mut(&ticket) {
                waiter.answer = Some(answer);
                wake.extend(waiter.waker.take());
            }
        }
        // A new head, or one with another time to wait for, has to set its timer.
        let head = self.limiter.head();
        let next = head.map(|ticket| (ticket, self.limiter.next_wakeup(now)));
        if next != self.armed {
            self.armed = None;
            let waiter = head.and_then(|ticket| self.waiting.get_mut(&ticket));
            wake.extend(waiter.and_then(|waiter| waiter.waker.take()));
        }
        wake
    }
}

/// One who waits.
struct Wait {
    shared: Arc<Shared>,
    ticket: Ticket,
    timer: Option<Pin<Box<Sleep>>>,
    done: bool,
}

impl Future for Wait {
    type Output = Result<Receipt, Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let now = this.shared.clock.now();
            let mut state = this.shared.lock();
            let wake = state.serve(now);
            let mut answer = None;
            if let Some(waiter) = state.waiting.get_mut(&this.ticket) {
                answer = waiter.answer.take();
                waiter.waker = Some(context.waker().clone());
            }
            let mut wakeup = None;
            if answer.is_some() {
                state.waiting.remove(&this.ticket);
                this.done = true;
            } else if state.limiter.head() == Some(this.ticket) {
                wakeup = state.limiter.next_wakeup(now);
                state.armed = Some((this.ticket, wakeup));
            }
            drop(state);
            wake.into_iter().for_each(Waker::wake);
            if let Some(answer) = answer {
                return Poll::Ready(answer);
            }
            let Some(at) = wakeup.and_then(|at| this.shared.clock.to_tokio(at)) else {
                this.timer = None;
                return Poll::Pending;
            };
            let timer = this.timer.get_or_insert_with(|| timer(at));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            // The time has come already: look again. Its moment was after `now`, so this ends.
            this.timer = None;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the module that may sleep")]
fn timer(at: ::tokio::time::Instant) -> Pin<Box<Sleep>> {
    Box::pin(sleep_until(at))
}

impl Drop for Wait {
    /// Gives back the place, or the grant that nobody took.
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let ticket = self.ticket;
        let granted = self.shared.lock().waiting.remove(&ticket).and_then(|waiter| waiter.answer);
        self.shared.change(|limiter, now| match granted {
            Some(Ok(receipt)) => limiter.cancel_unsent(receipt, now),
            _ => limiter.leave(ticket),
        });
    }
}

impl fmt::Debug for SharedLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("SharedLimiter")
            .field("waiting", &state.limiter.waiting())
            .field("in_flight", &state.limiter.in_flight())
            .finish_non_exhaustive()
    }
}
