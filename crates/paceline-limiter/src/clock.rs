//! The shared form with a clock inside, for threads: it admits at once or blocks the thread.
//!
//! The only module beside `tokio` that reads a clock or waits. It decides nothing itself. Invariant:
//! every instant is read from the one clock of its limiter; where two processors' counters disagree,
//! the limiter takes the later of what it was told.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc as StdArc, Weak};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use paceline_core::{
    Actual, Clock, Demand, Dimension, Instant, LimitKey, Observation, Quota, Receipt, Refusal,
};

use crate::limit::{Limit, LimitError};
use crate::limiter::{Limiter, Restored, Saved};
use crate::permit::{Permit, sealed::Issuer};
use crate::shared::{Alarm, Asked, By, Shared};
use crate::snapshot::Snapshot;
use crate::sync::{Arc, Sleeper};

mod keyed;

pub use keyed::SharedKeyedLimiter;

/// One limiter, shared by all clones of this handle, with a clock inside.
///
/// [`SharedLimiter::try_permit`] never waits; [`SharedLimiter::permit`] blocks the thread until the
/// demand is admitted, first come, first served.
///
/// ```
/// use std::num::NonZeroU64;
/// use paceline_limiter::{
///     Amount, Demand, Dimension, Limit, LimitKey, Limiter, Quota, Refusal,
///     clock::SharedLimiter,
/// };
///
/// let limiter = SharedLimiter::new(Limiter::new());
/// let quota = Quota::per_minute(NonZeroU64::new(2).unwrap());
/// limiter.add(Limit::new(LimitKey::All, Dimension::Requests, quota))?;
///
/// let one = Demand::new().with(Dimension::Requests, Amount::exact(1));
/// for _ in 0..2 {
///     let mut permit = limiter.permit(&one)?; // blocks until there is room
///     permit.sent();
///     // The work; then the permit goes out of scope, and the call counts as it was asked for.
/// }
/// assert!(matches!(limiter.try_permit(&one), Err(Refusal::NotUntil(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # After the grant
/// [`SharedLimiter::permit`] and [`SharedLimiter::try_permit`] grant a [`Permit`], which ends the call
/// by itself where a thread returns early or panics. [`SharedLimiter::acquire`] and
/// [`SharedLimiter::try_acquire`] grant a plain [`Receipt`]: until it is settled or cancelled, what it
/// reserved is held, and whoever waits for that waits for ever.
pub struct SharedLimiter<C = QuantaClock>(Arc<Shared<C, Unpark>>);

/// The processor's time stamp counter through `quanta`: about half the cost of the system's
/// monotonic clock.
///
/// Its origin lies two days before it was made, so that the past can be told, too.
#[derive(Clone, Debug)]
pub struct QuantaClock {
    clock: quanta::Clock,
    made: u64,
}

/// A clock that a thread of its own sets every so often: reading it costs next to nothing, and it
/// lags by what its [`Clock::staleness`] says.
///
/// The shared forms add that to the delay bound of every limit. The thread ends when the last clone
/// is gone.
///
/// # Bounds
/// That the thread is at most 3 ms late is taken for granted, because a look at a precise clock with
/// each reading is what this clock saves. Where the machine is so busy that the thread is not run
/// for longer, the clock lags by more, and a window may count as much too little as passed in that
/// time. [`CoarseClock::worst_lag`] tells whether that has happened; where it must not,
/// [`QuantaClock`] is the clock to take.
#[derive(Clone, Debug)]
pub struct CoarseClock {
    told: StdArc<Told>,
    every: Duration,
}

/// What the thread of a coarse clock tells.
#[derive(Debug)]
struct Told {
    now_ns: AtomicU64,
    worst_ns: AtomicU64,
}

impl Told {
    fn tell(&self, now_ns: u64) {
        let before = self.now_ns.swap(now_ns, Ordering::Relaxed);
        self.worst_ns.fetch_max(now_ns.saturating_sub(before), Ordering::Relaxed);
    }
}

/// How long before the making of a clock its origin lies.
const PAST_NS: u64 = 2 * 86_400 * 1_000_000_000;

impl QuantaClock {
    /// A clock that begins now.
    pub fn new() -> Self {
        let clock = quanta::Clock::new();
        let made = clock.raw();
        Self { clock, made }
    }
}

impl Default for QuantaClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for QuantaClock {
    #[inline]
    fn now(&self) -> Instant {
        let passed = self.clock.delta_as_nanos(self.made, self.clock.raw());
        Instant::from_nanos(PAST_NS + passed)
    }
}

impl CoarseClock {
    /// How late the thread that sets it may be, beyond the time between two settings.
    const LATE: Duration = Duration::from_millis(3);

    /// Starts a clock that is set every so often: at least every 10 µs, at most every 100 ms.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(every: Duration) -> std::io::Result<Self> {
        let every = every.clamp(Duration::from_micros(10), Duration::from_millis(100));
        let clock = QuantaClock::new();
        let now_ns = AtomicU64::new(clock.now().as_nanos());
        let told = StdArc::new(Told { now_ns, worst_ns: AtomicU64::new(0) });
        let teller = StdArc::downgrade(&told);
        thread::Builder::new()
            .name("paceline-clock".into())
            .spawn(move || tell(&clock, every, &teller))?;
        Ok(Self { told, every })
    }

    /// By how much it has lagged at most so far, as its thread found out each time that it set it.
    /// More than its [`Clock::staleness`] where that thread was not run in time.
    pub fn worst_lag(&self) -> Duration {
        Duration::from_nanos(self.told.worst_ns.load(Ordering::Relaxed))
    }
}

#[expect(clippy::disallowed_methods, reason = "the module that may wait")]
fn tell(clock: &QuantaClock, every: Duration, told: &Weak<Told>) {
    while let Some(told) = told.upgrade() {
        told.tell(clock.now().as_nanos());
        drop(told);
        thread::sleep(every);
    }
}

impl Clock for CoarseClock {
    #[inline]
    fn now(&self) -> Instant {
        Instant::from_nanos(self.told.now_ns.load(Ordering::Relaxed))
    }

    /// The time between two settings, and 3 ms for a thread that wakes late.
    fn staleness(&self) -> Duration {
        self.every + Self::LATE
    }
}

impl SharedLimiter {
    /// Shares a limiter, on the processor's time stamp counter.
    pub fn new(limiter: Limiter) -> Self {
        Self::with_clock(limiter, QuantaClock::new())
    }
}

impl SharedLimiter<CoarseClock> {
    /// Shares a limiter on a coarse clock, whose staleness is added to every delay bound; the same
    /// as [`SharedLimiter::with_clock`].
    pub fn with_coarse_clock(limiter: Limiter, clock: CoarseClock) -> Self {
        Self::with_clock(limiter, clock)
    }
}

impl<C: Clock> SharedLimiter<C> {
    /// Shares a limiter, on another clock. What it says it may lag ([`Clock::staleness`]) is added
    /// to the delay bound of every limit.
    pub fn with_clock(limiter: Limiter, clock: C) -> Self {
        Self(Arc::new(Shared::new(limiter, clock)))
    }

    /// The present moment on its clock.
    pub fn now(&self) -> Instant {
        self.0.clock().now()
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

    /// Admits the demand now or says why not; see [`Limiter::try_acquire`].
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    #[inline(always)]
    pub fn try_acquire(&self, demand: &Demand) -> Result<Receipt, Refusal> {
        self.0.try_acquire(demand)
    }

    /// Blocks the thread until the demand is admitted. Give the demand a
    /// [deadline](Demand::deadline) to bound the wait: without one it lasts as long as somebody else
    /// holds a receipt that it needs back.
    ///
    /// # Errors
    /// A [`Refusal`] where waiting would not help or may not go on.
    ///
    /// # Fairness
    /// First come, first served within a [`Class`](paceline_core::Class).
    pub fn acquire(&self, demand: &Demand) -> Result<Receipt, Refusal> {
        let ticket = match self.0.ask(demand, || Unpark) {
            Asked::Known(answer) => return answer,
            Asked::Waits(ticket) => ticket,
        };
        let sleeper = StdArc::new(Parked(Sleeper::new()));
        let waker = Waker::from(StdArc::clone(&sleeper));
        loop {
            if let Poll::Ready(answer) = self.0.poll(ticket, &waker) {
                return answer;
            }
            let until = self.0.first_until(ticket);
            sleeper.0.sleep(until.map(|until| until.since(self.now())));
        }
    }

    /// As [`SharedLimiter::try_acquire`], with a [`Permit`] that ends the call where it is dropped.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub fn try_permit(&self, demand: &Demand) -> Result<Permit<Self>, Refusal> {
        self.try_acquire(demand).map(|receipt| Permit::new(self.clone(), receipt))
    }

    /// As [`SharedLimiter::acquire`], with a [`Permit`] that ends the call where it is dropped.
    ///
    /// # Errors
    /// A [`Refusal`] where waiting would not help or may not go on.
    ///
    /// # Fairness
    /// First come, first served within a [`Class`](paceline_core::Class).
    pub fn permit(&self, demand: &Demand) -> Result<Permit<Self>, Refusal> {
        self.acquire(demand).map(|receipt| Permit::new(self.clone(), receipt))
    }

    /// The call is about to leave; see [`Limiter::sent`]. `false` where the receipt is not
    /// outstanding here; so for the others below.
    pub fn sent(&self, receipt: Receipt) -> bool {
        self.0.change(|limiter, now| limiter.sent(receipt, now))
    }

    /// The answer began; see [`Limiter::head_received`].
    pub fn head_received(&self, receipt: Receipt) -> bool {
        self.0.change(|limiter, now| limiter.head_received(receipt, now))
    }

    /// So much of the output was seen; see [`Limiter::progress`].
    pub fn progress(&self, receipt: Receipt, output: u64) -> bool {
        self.0.change(|limiter, now| limiter.progress(receipt, output, now))
    }

    /// The call is over; see [`Limiter::settle`].
    #[inline]
    pub fn settle(&self, receipt: Receipt, actual: &Actual) -> bool {
        self.0.change(|limiter, now| limiter.settle(receipt, actual, now))
    }

    /// The call certainly never left; see [`Limiter::cancel_unsent`].
    pub fn cancel_unsent(&self, receipt: Receipt) -> bool {
        self.0.change(|limiter, now| limiter.cancel_unsent(receipt, now))
    }

    /// Takes in what was learned; see [`Limiter::observe`].
    pub fn observe(&self, observation: &Observation) {
        self.0.change(|limiter, now| limiter.observe(observation, now));
    }

    /// Admits nothing of `key` before `until`; see [`Limiter::pause_until`].
    pub fn pause(&self, key: &LimitKey, dimension: Option<Dimension>, until: Instant) {
        self.0.change(|limiter, now| limiter.pause_until(key, dimension, until, now));
    }

    /// Ends a pause; see [`Limiter::resume`].
    pub fn resume(&self, key: &LimitKey, dimension: Option<Dimension>) -> bool {
        self.0.change(|limiter, _| limiter.resume(key, dimension))
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

impl<C: Clock> Issuer for SharedLimiter<C> {
    fn sent(&self, receipt: Receipt) {
        Self::sent(self, receipt);
    }

    fn head_received(&self, receipt: Receipt) {
        Self::head_received(self, receipt);
    }

    fn progress(&self, receipt: Receipt, output: u64) {
        Self::progress(self, receipt, output);
    }

    fn settle(&self, receipt: Receipt, actual: &Actual) {
        Self::settle(self, receipt, actual);
    }

    fn cancel_unsent(&self, receipt: Receipt) {
        Self::cancel_unsent(self, receipt);
    }
}

/// Whoever is made the first looks for itself how long to sleep.
struct Unpark;

impl Alarm for Unpark {
    fn set(&mut self, _: Option<Duration>, _: &Waker, by: By) -> bool {
        by == By::Another
    }
}

/// A thread that waits.
struct Parked(Sleeper);

impl Wake for Parked {
    fn wake(self: StdArc<Self>) {
        self.0.wake();
    }

    fn wake_by_ref(self: &StdArc<Self>) {
        self.0.wake();
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
