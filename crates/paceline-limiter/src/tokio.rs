//! The async form: a cheap handle to one limiter, waiting on tokio's timer.
//!
//! It decides nothing itself; the lock and the queue of wakers are shared with the blocking form.
//! Invariant: a future that is dropped gives back its place, or the grant that it never saw.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::tokio::time::{Sleep, sleep};
use paceline_core::{
    Acquire, Actual, Admission, Clock, Demand, Dimension, Instant, LimitKey, Observation, Quota,
    Receipt, Refusal,
};

use crate::limit::{Limit, LimitError};
use crate::limiter::{Limiter, Restored, Saved};
use crate::permit::{Permit, sealed::Issuer};
use crate::queue::Ticket;
use crate::shared::{Alarm, Asked, By, Shared};
use crate::snapshot::Snapshot;
use crate::sync::Arc;

/// One limiter, shared by all clones of this handle.
///
/// It reads tokio's clock, so that it stands still where tokio's time is paused. Another clock,
/// such as the faster one of the feature `clock`, is given by [`SharedLimiter::with_clock`]; it
/// still waits on tokio's timer.
///
/// # Cancel safety
/// Dropping the future of [`SharedLimiter::permit`] or [`Admission::acquire`] gives back its place in
/// the queue, or the grant that it never saw, and wakes whoever can go because of it.
///
/// *What happens after the grant* is up to what was granted. A [`Permit`] ends the call where it is
/// dropped, also with the task that owns it. A [`Receipt`], as [`Admission::acquire`] and
/// [`SharedLimiter::try_acquire`] grant it, does not: where a task is aborted before it settles, what
/// was reserved is held for ever. Take receipts only where something of your own is sure to settle
/// them.
///
/// # Panics
/// Where the future of [`Admission::acquire`] has to wait, it panics when it is polled outside of a
/// tokio runtime that has its timer enabled. What is admitted or refused at once needs no runtime. A
/// future may outlive the runtime in which it was polled, and be polled in another one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::num::NonZeroU64;
/// use paceline_limiter::{
///     Actual, Admission, Amount, Demand, Dimension, Limit, LimitKey, Limiter, Quota,
///     tokio::SharedLimiter,
/// };
///
/// let limiter = SharedLimiter::new(Limiter::new());
/// let quota = Quota::per_minute(NonZeroU64::new(2).unwrap());
/// limiter.add(Limit::new(LimitKey::All, Dimension::Requests, quota))?;
///
/// let started = limiter.now();
/// for _ in 0..3 {
///     let mut permit = limiter.permit(&Demand::call(Amount::exact(1))).await?;
///     permit.sent();
///     permit.settle(&Actual::new());
/// }
/// // The third had to wait for the first to leave the window.
/// assert!(limiter.now().since(started).as_secs() >= 60);
/// # Ok(())
/// # }
/// ```
pub struct SharedLimiter<C = TokioClock>(Arc<Shared<C, Timer>>);

/// tokio's clock, which stands still where tokio's time is paused.
///
/// Its origin lies two days before it was made, so that the past can be told, too.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    made: ::tokio::time::Instant,
}

/// How long before the making of a clock its origin lies.
const PAST: Duration = Duration::from_secs(2 * 86_400);

impl TokioClock {
    /// A clock that reads [`PAST`] now.
    #[expect(clippy::disallowed_methods, reason = "the module that may read a clock")]
    fn new() -> Self {
        Self { made: ::tokio::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        Instant::ORIGIN + PAST + self.made.elapsed()
    }
}

impl SharedLimiter {
    /// Shares a limiter, on tokio's clock.
    pub fn new(limiter: Limiter) -> Self {
        Self::with_clock(limiter, TokioClock::new())
    }
}

impl<C: Clock> SharedLimiter<C> {
    /// Shares a limiter, on another clock. It must run as fast as tokio's. What it says it may lag
    /// is added to the delay bound of every limit.
    pub fn with_clock(limiter: Limiter, clock: C) -> Self {
        Self(Arc::new(Shared::new(limiter, clock)))
    }

    /// Adds a limit, or replaces the one of the same key, dimension and refill.
    ///
    /// # Errors
    /// As [`Limiter::replace`].
    pub fn add(&self, limit: Limit) -> Result<(), LimitError> {
        self.0.change(|limiter, now| limiter.replace(limit, now))
    }

    /// Changes how much a limit allows; see [`Limiter::set_limit`].
    pub fn set_limit(&self, key: &LimitKey, dimension: Dimension, quota: Quota) -> bool {
        self.0.change(|limiter, now| limiter.set_limit(key, dimension, quota, now))
    }

    /// How much later than it could be a call that waits may leave, so that those whose time comes
    /// meanwhile leave in one go: fewer timers, less CPU time. None by default, a second at most.
    ///
    /// It delays only what waits for time to pass: what settles, is cancelled or is raised admits at once, and a
    /// deadline that comes first is kept. Choose it smaller than the time in which a limit
    /// allows its burst, otherwise what could have left meanwhile is lost: with one call a
    /// millisecond and a burst of ten, up to ten milliseconds.
    pub fn set_slack(&self, slack: Duration) {
        self.0.set_slack(slack);
    }

    /// A quota that does not come back by itself is whole again; see [`Limiter::renew`].
    pub fn renew(&self, key: &LimitKey, dimension: Dimension) -> bool {
        self.0.change(|limiter, _| limiter.renew(key, dimension))
    }

    /// Ends a pause; see [`Limiter::resume`].
    pub fn resume(&self, key: &LimitKey, dimension: Option<Dimension>) -> bool {
        self.0.change(|limiter, _| limiter.resume(key, dimension))
    }

    /// Admits the demand now or says why not; see [`Limiter::try_acquire`].
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    #[inline]
    pub fn try_acquire(&self, demand: &Demand) -> Result<Receipt, Refusal> {
        self.0.try_acquire(demand)
    }

    /// As [`SharedLimiter::try_acquire`], with a [`Permit`] that ends the call where it is dropped.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub fn try_permit(&self, demand: &Demand) -> Result<Permit<Self>, Refusal> {
        self.try_acquire(demand).map(|receipt| Permit::new(self.clone(), receipt))
    }

    /// Waits until every limit admits the demand: [`Admission::acquire`], with a [`Permit`] that ends
    /// the call where it is dropped. Give the demand a [deadline](Demand::deadline) to bound the wait.
    ///
    /// # Errors
    /// A [`Refusal`] where waiting would not help or may not go on.
    ///
    /// # Cancel safety
    /// Dropping the future gives back its place in the queue, or the grant that it never saw.
    ///
    /// # Fairness
    /// First come, first served within a [`Class`](paceline_core::Class).
    pub async fn permit(&self, demand: &Demand) -> Result<Permit<Self>, Refusal> {
        // Nothing is awaited between the grant and the permit.
        self.acquire(demand).await.map(|receipt| Permit::new(self.clone(), receipt))
    }

    /// Counts a call of the past; see [`Limiter::record_past`].
    pub fn record_past(&self, demand: &Demand, at: Instant) {
        self.0.change(|limiter, now| limiter.record_past(demand, at, now));
    }

    /// The state of every limit.
    pub fn snapshot(&self) -> Snapshot {
        self.0.look(Limiter::snapshot)
    }

    /// What it knows now, for a later process; see [`Limiter::save`].
    pub fn save(&self) -> Saved {
        self.0.look(Limiter::save)
    }

    /// Goes on from what was saved `elapsed` ago; see [`Limiter::restore`].
    pub fn restore(&self, saved: &Saved, elapsed: Duration) -> Restored {
        self.0.change(|limiter, now| limiter.restore(saved, elapsed, now))
    }
}

impl<C: Clock> SharedLimiter<C> {
    /// One that was not admitted at once.
    #[cold]
    fn ask<'a>(&'a self, demand: &Demand) -> Acquire<'a> {
        match self.0.ask(demand, Timer::default) {
            Asked::Known(Ok(receipt)) => Acquire::granted(receipt, self),
            Asked::Known(refused) => Acquire::ready(refused),
            Asked::Waits(ticket) => {
                Acquire::waiting(Wait { shared: Arc::clone(&self.0), ticket, done: false })
            }
        }
    }
}

impl<C: Clock> Admission for SharedLimiter<C> {
    fn now(&self) -> Instant {
        self.0.clock().now()
    }

    #[inline(always)]
    fn acquire<'a>(&'a self, demand: &'a Demand) -> Acquire<'a> {
        match self.0.admit(demand) {
            Some(receipt) => Acquire::granted(receipt, self),
            None => self.ask(demand),
        }
    }

    fn sent(&self, receipt: Receipt) {
        self.0.change(|limiter, now| limiter.sent(receipt, now));
    }

    fn head_received(&self, receipt: Receipt) {
        self.0.change(|limiter, now| limiter.head_received(receipt, now));
    }

    fn progress(&self, receipt: Receipt, output: u64) {
        self.0.change(|limiter, now| limiter.progress(receipt, output, now));
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

impl<C: Clock> Issuer for SharedLimiter<C> {
    fn sent(&self, receipt: Receipt) {
        Admission::sent(self, receipt);
    }

    fn head_received(&self, receipt: Receipt) {
        Admission::head_received(self, receipt);
    }

    fn progress(&self, receipt: Receipt, output: u64) {
        Admission::progress(self, receipt, output);
    }

    fn settle(&self, receipt: Receipt, actual: &Actual) {
        Admission::settle(self, receipt, actual);
    }

    fn cancel_unsent(&self, receipt: Receipt) {
        Admission::cancel_unsent(self, receipt);
    }
}

/// The sleep of one who waits. It is set by whoever makes its owner the first in the queue, so
/// that nobody is woken only to set it.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Alarm for Timer {
    fn prepare(&mut self) {
        // Made while its owner is polled, so that it belongs to the runtime of its owner. It costs
        // no timer until it is set.
        self.0.get_or_insert_with(|| new_sleep(LONGEST));
    }

    fn set(&mut self, wait: Option<Duration>, waker: &Waker, by: By) -> bool {
        let wait = wait.unwrap_or(LONGEST);
        let Some(sleep) = &mut self.0 else { return true };
        sleep.as_mut().reset(moment(wait));
        if sleep.is_elapsed() && !wait.is_zero() {
            // The runtime that it belongs to is gone. Its owner may have gone on to another one.
            if by == By::Another {
                return true;
            }
            *sleep = new_sleep(wait);
        }
        // What waker it had before, the waiter has as well: it is not let go of here.
        sleep.as_mut().poll(&mut Context::from_waker(waker)).is_ready()
    }
}

#[expect(clippy::disallowed_methods, reason = "the module that may read a clock")]
fn moment(wait: Duration) -> ::tokio::time::Instant {
    ::tokio::time::Instant::now() + wait.min(LONGEST)
}

#[expect(clippy::disallowed_methods, reason = "the module that may sleep")]
fn new_sleep(wait: Duration) -> Pin<Box<Sleep>> {
    Box::pin(sleep(wait))
}

/// The longest sleep; who wakes too early looks again.
const LONGEST: Duration = Duration::from_secs(86_400);

/// One who waits.
struct Wait<C: Clock> {
    shared: Arc<Shared<C, Timer>>,
    ticket: Ticket,
    done: bool,
}

impl<C: Clock> Future for Wait<C> {
    type Output = Result<Receipt, Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = self.shared.poll(self.ticket, context.waker());
        self.done = answer.is_ready();
        answer
    }
}

impl<C: Clock> Drop for Wait<C> {
    fn drop(&mut self) {
        if !self.done {
            self.shared.abandon(self.ticket);
        }
    }
}

impl<C> Clone for SharedLimiter<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> fmt::Debug for SharedLimiter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
