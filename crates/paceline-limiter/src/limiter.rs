//! The limiter itself: every limit that applies decides at once, all or nothing.
//!
//! Pure: time is an argument, nothing waits. Invariant: a demand is charged to every limit that
//! counts it or to none, and what is charged is settled, cancelled or outstanding, never lost.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use paceline_core::{
    Actual, Blocked, Demand, Dimension, Instant, LimitKey, LimiterId, Quota, Receipt, Refusal,
};

use crate::limit::{Limit, LimitError};
use crate::profile::Profile;
use crate::queue::{Queue, QueuePolicy, QueuePolicyError};
use crate::snapshot::Snapshot;
use crate::state::End;

pub(crate) mod calls;
pub(crate) mod limits;
mod observe;
mod pauses;
mod queued;
mod saved;

pub(crate) use limits::Limits;
pub use observe::MAX_WIDENED;
pub(crate) use observe::counted;
pub use pauses::SavedPause;
#[cfg(any(feature = "clock", feature = "tokio"))]
pub(crate) use queued::First;
pub use queued::Served;
pub use saved::{Restored, Saved};

/// Several limits decided together, with a queue in front: the pure form.
///
/// Every method that needs the time takes `now` as its last argument. A `now` that is earlier
/// than one seen before counts as that one, so a clock that steps back mints nothing.
///
/// ```
/// use std::num::NonZeroU64;
/// use paceline_limiter::{
///     Actual, Amount, Demand, Dimension, Instant, Limit, LimitKey, Limiter, Quota, Refusal,
/// };
///
/// let mut limiter = Limiter::new();
/// let quota = Quota::per_minute(NonZeroU64::new(1_000).unwrap());
/// limiter.add(Limit::new(LimitKey::All, Dimension::TotalTokens, quota))?;
///
/// let now = Instant::ORIGIN;
/// let ask = |upper| Demand::call(Amount::expected(300).upper(upper));
/// let receipt = limiter.try_acquire(&ask(700), now)?;
/// assert!(matches!(limiter.try_acquire(&ask(400), now), Err(Refusal::NotUntil(_))));
///
/// // It used 250: the rest is free at once.
/// limiter.settle(receipt, &Actual::new().with(Dimension::TotalTokens, 250), now);
/// assert!(limiter.try_acquire(&ask(400), now).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Limiter {
    now: Instant,
    limits: Limits,
    queue: Queue,
    profile: Profile,
    delay: Duration,
}

impl Limiter {
    /// How many limits a limiter takes.
    pub const MAX_LIMITS: usize = Limits::MOST;
    /// How many calls may be in flight; one more is refused until another has ended.
    pub const MAX_IN_FLIGHT: usize = calls::Calls::MOST;

    /// A limiter without limits, which admits everything.
    pub fn new() -> Self {
        let id = LimiterId::new(new_ids(1));
        Self {
            now: Instant::ORIGIN,
            limits: Limits::new(id),
            queue: Queue::default(),
            profile: Profile::default(),
            delay: Limit::DEFAULT_DELAY,
        }
    }

    /// With the profile by which limits are kept that are only observed: that nobody added, and that
    /// [`Limiter::observe`] was told of. What is [added](Limiter::add) is kept as it says itself.
    /// Default: [`Profile::Grok`], which is right for the xAI API and servers that count like it; for
    /// one that is not known take [`Profile::Smooth`].
    #[must_use]
    pub const fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// With the delay bound of limits that are only observed. Default: [`Limit::DEFAULT_DELAY`];
    /// at most [`Limit::MAX_DELAY`].
    #[must_use]
    pub fn with_delay(mut self, bound: Duration) -> Self {
        self.delay = bound.min(Limit::MAX_DELAY);
        self
    }

    /// Reckons with a clock that lags by up to so much: it is added to the delay bound of every
    /// limit, in its window and in its pacer, and to the moment at which a call is taken to be over.
    /// The shared forms do so by themselves, by what their clock says
    /// ([`Clock::staleness`](paceline_core::Clock::staleness)). Default: nothing; at most
    /// [`Limit::MAX_DELAY`].
    #[must_use]
    pub fn with_staleness(mut self, staleness: Duration) -> Self {
        self.limits.set_staleness(staleness.min(Limit::MAX_DELAY), self.now);
        self
    }

    /// The same, where that is more than it reckons with.
    #[cfg(any(feature = "clock", feature = "tokio"))]
    pub(crate) fn on_clock(self, clock: &impl paceline_core::Clock) -> Self {
        let staleness = clock.staleness();
        if staleness > self.limits.staleness() { self.with_staleness(staleness) } else { self }
    }

    /// With another order of those who wait than first come, first served within a class, or
    /// another bound on how many do. Call it before anybody waits: whoever does is forgotten, and
    /// its ticket finds nobody.
    ///
    /// # Errors
    /// [`QueuePolicyError`] where the policy can't be kept.
    pub fn with_queue(mut self, policy: QueuePolicy) -> Result<Self, QueuePolicyError> {
        self.queue = self.queue.afresh(policy)?;
        Ok(self)
    }

    /// Adds a limit.
    ///
    /// # Errors
    /// [`LimitError`] where the limit contradicts itself, where there is one of the same key,
    /// dimension and refill, which takes [`Limiter::replace`], or where there are
    /// [`Limiter::MAX_LIMITS`] already.
    pub fn add(&mut self, limit: Limit) -> Result<(), LimitError> {
        self.limits.add(limit)
    }

    /// Replaces the limit of the same key, dimension and refill, or adds it where there is none.
    /// What the old one has counted stays counted, and nothing is free that was not before, but
    /// for what a higher amount allows.
    ///
    /// # Errors
    /// As [`Limiter::add`], but for the limit that is there.
    pub fn replace(&mut self, limit: Limit, now: Instant) -> Result<(), LimitError> {
        let now = self.advance(now);
        self.limits.replace(limit, now)
    }

    /// Changes how much a limit allows, at once. Those who wait are judged anew at the next
    /// [`Limiter::poll`]. A raise mints no burst; a cut keeps what was admitted. A burst stays the
    /// same part of the limit. More than [`Limit::MAX_AMOUNT`] counts as that. `false` where there
    /// is no limit of this key, dimension and refill.
    pub fn set_limit(
        &mut self,
        key: &LimitKey,
        dimension: Dimension,
        quota: Quota,
        now: Instant,
    ) -> bool {
        let now = self.advance(now);
        let Some(state) = self.limits.find(key, dimension, quota) else { return false };
        let quota = Limit::bounded(quota);
        if state.limit().quota() != quota {
            state.set_quota(quota, now);
        }
        true
    }

    /// A quota that does not come back by itself is whole again, but for what is in flight: a new
    /// hour, day or month of a spending cap. `false` where there is no such limit.
    pub fn renew(&mut self, key: &LimitKey, dimension: Dimension) -> bool {
        let mut renewed = false;
        self.limits.each_named(key, Some(dimension), |state| renewed |= state.renew());
        renewed
    }

    /// Admits the demand now or says why not. Those who wait come first.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then. [`Refusal::Deadline`] only where the deadline is past.
    #[inline(always)]
    pub fn try_acquire(&mut self, demand: &Demand, now: Instant) -> Result<Receipt, Refusal> {
        match self.admit(demand, now) {
            Some(receipt) => Ok(receipt),
            None => Err(self.refused(demand)),
        }
    }

    /// Admits the demand now, where nobody waits, its deadline is not past, and every limit admits
    /// it. It says nothing of why not: a receipt alone fits into registers.
    #[inline(always)]
    pub(crate) fn admit(&mut self, demand: &Demand, now: Instant) -> Option<Receipt> {
        let now = self.advance(now);
        if !self.queue.is_empty() || demand.latest_admission().is_some_and(|last| last < now) {
            return None;
        }
        let receipt = self.limits.admit(demand, now)?;
        if self.queue.is_fair() {
            self.share(receipt, demand);
        }
        Some(receipt)
    }

    /// Charges a call that did not wait to its caller.
    #[cold]
    fn share(&mut self, receipt: Receipt, demand: &Demand) {
        let share = self.queue.grant_unqueued(demand);
        self.limits.with_call(receipt, |call, _| call.share = Some(share));
    }

    /// Why a demand was not admitted just now.
    #[cold]
    pub(crate) fn refused(&mut self, demand: &Demand) -> Refusal {
        let now = self.now;
        let is_late = demand.latest_admission().is_some_and(|last| last < now);
        match self.limits.refusal(demand, now) {
            None if is_late => Refusal::Deadline { earliest: Some(now) },
            Some(Refusal::NotUntil(blocked)) if is_late => {
                Refusal::Deadline { earliest: blocked.until }
            }
            Some(Refusal::NotUntil(blocked)) if self.queue.is_empty() => Refusal::NotUntil(blocked),
            // Others wait in front: not before the first of them.
            None | Some(Refusal::NotUntil(_)) => {
                let until = self.head_until(now).map(|at| at.max(now + INSTANT));
                Refusal::NotUntil(Blocked::new(None, until))
            }
            Some(refusal) => refusal,
        }
    }

    /// The call is about to leave; see [`Admission::sent`](paceline_core::Admission::sent).
    /// `false` where the receipt is not outstanding here; so for the others below.
    pub fn sent(&mut self, receipt: Receipt, now: Instant) -> bool {
        let now = self.advance(now);
        let sent = self.limits.with_call(receipt, |call, limits| {
            call.sent_ns = call.sent_ns.min(now.as_nanos());
            for charge in call.charges() {
                if let Some(Some(state)) = limits.get_mut(charge.limit as usize) {
                    state.sent(charge, now);
                }
            }
        });
        sent.is_some()
    }

    /// The answer began: what is counted on arrival has been counted.
    pub fn head_received(&mut self, receipt: Receipt, now: Instant) -> bool {
        let now = self.advance(now);
        let received = self.limits.with_call(receipt, |call, limits| {
            for charge in call.charges() {
                if let Some(Some(state)) = limits.get_mut(charge.limit as usize) {
                    state.head_received(charge, now);
                }
            }
        });
        received.is_some()
    }

    /// A stream has shown so much of its output so far, in the unit of the limits that count it on
    /// completion. It sharpens what can still land; only limits kept by
    /// [`ChargeRule::Flow`](crate::ChargeRule::Flow) listen.
    pub fn progress(&mut self, receipt: Receipt, output: u64, now: Instant) -> bool {
        let now = self.advance(now);
        let seen = self.limits.with_call(receipt, |call, limits| {
            for charge in call.charges() {
                if let Some(Some(state)) = limits.get_mut(charge.limit as usize) {
                    state.progress(charge, output, now);
                }
            }
        });
        seen.is_some()
    }

    /// The call is over. A dimension that `actual` does not name keeps what was reserved, and is
    /// taken to be counted as late as the demand said the call could last.
    ///
    /// A call that was never told [`Limiter::sent`] counts as sent when it was admitted.
    #[inline]
    pub fn settle(&mut self, receipt: Receipt, actual: &Actual, now: Instant) -> bool {
        let now = self.advance(now);
        let queue = &mut self.queue;
        let settled = self.limits.end_call(receipt, |call, limits| {
            let was_sent = call.sent_ns != calls::NOT_SENT;
            let sent = Instant::from_nanos(if was_sent { call.sent_ns } else { call.admitted_ns });
            let left = (!was_sent).then_some(sent);
            let latest_ns = call.latest_ns;
            call.each(|charge| {
                let Some(Some(state)) = limits.get_mut(charge.limit as usize) else { return };
                let actual = state.actual(actual);
                let over = if actual.is_some() {
                    now
                } else {
                    now.max(Instant::from_nanos(sent.as_nanos().saturating_add(latest_ns)))
                };
                state.end(charge, left, End { actual, over }, now);
            });
            if call.share.is_some() {
                call.share.take().into_iter().for_each(|share| queue.settle(share, actual));
            }
        });
        settled.is_some()
    }

    /// The call certainly never left: everything goes back.
    pub fn cancel_unsent(&mut self, receipt: Receipt, now: Instant) -> bool {
        let now = self.advance(now);
        let queue = &mut self.queue;
        let cancelled = self.limits.end_call(receipt, |call, limits| {
            for charge in call.charges() {
                if let Some(Some(state)) = limits.get_mut(charge.limit as usize) {
                    state.cancel(charge, now);
                }
            }
            if let Some(share) = call.share.take() {
                queue.cancel(share);
            }
        });
        if cancelled.is_some() {
            self.limits.pauses.cancelled(receipt.number());
        }
        cancelled.is_some()
    }

    /// Counts a call that was made at `at` and that this limiter did not admit, such as one from
    /// before a restart: its upper amounts, in every limit that counts it. `at` may lie ahead of
    /// now, for calls that the server may not have counted yet.
    pub fn record_past(&mut self, demand: &Demand, at: Instant, now: Instant) {
        let now = self.advance(now);
        self.limits.each_counting(demand, |state, amount| state.record_past(amount, at, now));
    }

    /// Admits nothing that `key` (and `dimension`, where given) counts before `until`. A pause is
    /// never shortened by a later one; [`Limiter::resume`] ends it.
    pub fn pause_until(
        &mut self,
        key: &LimitKey,
        dimension: Option<Dimension>,
        until: Instant,
        now: Instant,
    ) {
        let now = self.advance(now);
        self.limits.pauses.add(key, dimension, until, now);
    }

    /// Ends the pause of exactly this key and dimension. `false` where there is none.
    pub fn resume(&mut self, key: &LimitKey, dimension: Option<Dimension>) -> bool {
        self.limits.pauses.end(key, dimension)
    }

    /// The state of every limit, for people and programs to look at.
    pub fn snapshot(&mut self, now: Instant) -> Snapshot {
        let now = self.advance(now);
        let blocked = match self.queue.head(now) {
            Some((_, demand)) => match self.limits.refusal(demand, now) {
                Some(Refusal::NotUntil(blocked)) => Some(blocked),
                _ => None,
            },
            None => None,
        };
        Snapshot {
            at: now,
            limits: self.limits.iter().map(|state| state.snapshot(now)).collect(),
            pauses: self.limits.pauses.snapshot(now),
            waiting: self.queue.len(),
            blocked,
            in_flight: self.limits.calls.len(),
        }
    }

    /// How many calls are admitted and not yet settled or cancelled.
    pub fn in_flight(&self) -> usize {
        self.limits.calls.len()
    }

    /// Whether nothing is in flight, nobody waits, and no limit remembers anything that could
    /// matter: a new limiter would do the same.
    pub fn is_idle(&mut self, now: Instant) -> bool {
        let now = self.advance(now);
        self.in_flight() == 0
            && self.queue.is_empty()
            && self.limits.pauses.is_empty(now)
            && self.limits.iter().all(|state| state.is_idle(now))
    }

    /// The later of what is said to be now and what was said before.
    #[inline]
    fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

/// The shortest wait.
pub(crate) const INSTANT: Duration = Duration::from_nanos(1);

/// The first of so many numbers that no limiter of this process has had.
pub(crate) fn new_ids(count: u64) -> NonZeroU64 {
    // 2^64 of them are never made.
    NonZeroU64::new(NEXT_ID.fetch_add(count, Ordering::Relaxed)).unwrap_or(NonZeroU64::MAX)
}

/// Numbers limiters apart within a process.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);
