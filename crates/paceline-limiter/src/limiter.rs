//! The limiter itself: every limit that applies decides at once, all or nothing.
//!
//! Pure: time is an argument, nothing waits. Invariant: a demand is charged to every limit that
//! counts it or to none, and what is charged is settled, cancelled or outstanding, never lost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use paceline_core::{
    Actual, Blocked, Demand, Dimension, Instant, LimitKey, LimiterId, Quota, Receipt, Refusal,
};

use crate::limit::{Limit, LimitError};
use crate::profile::Profile;
use crate::queue::{Queue, QueuePolicy, Ticket};
use crate::snapshot::Snapshot;
use crate::state::{Charge, LimitState, Verdict};

mod observe;

pub use observe::MAX_WIDENED;

/// Several limits decided together, with a queue in front: the pure form.
///
/// Every method that needs the time takes `now` as its last argument. A `now` that is earlier
/// than one seen before counts as that one, so a clock that steps back mints nothing.
///
/// ```
/// use std::num::NonZeroU64;
/// use paceline_core::{Actual, Amount, Demand, Dimension, Instant, LimitKey, Quota, Refusal};
/// use paceline_limiter::{Limit, Limiter};
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
    id: LimiterId,
    profile: Profile,
    delay: Duration,
    limits: Vec<Option<LimitState>>,
    by_key: HashMap<LimitKey, Vec<usize>>,
    pauses: Vec<Pause>,
    outstanding: HashMap<u64, Outstanding>,
    next_receipt: u64,
    queue: Queue,
    now: Instant,
}

/// A call that was admitted and is not settled.
#[derive(Debug)]
struct Outstanding {
    charges: Vec<Charge>,
    admitted: Instant,
    sent: Option<Instant>,
    /// By when the call is over, counted from its sending.
    latest: Duration,
}

#[derive(Debug)]
struct Pause {
    key: LimitKey,
    dimension: Option<Dimension>,
    until: Instant,
}

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

enum Decision {
    Admit(Vec<usize>),
    Refuse(Refusal),
}

impl Limiter {
    /// How many limits a limiter takes.
    pub const MAX_LIMITS: usize = 4_096;
    /// How many may wait, unless told otherwise.
    pub const DEFAULT_MAX_WAITING: usize = QueuePolicy::DEFAULT_MOST_WAITING;

    /// A limiter without limits, which admits everything.
    pub fn new() -> Self {
        Self {
            id: LimiterId::new(NEXT_ID.fetch_add(1, Ordering::Relaxed)),
            profile: Profile::default(),
            delay: Limit::DEFAULT_DELAY,
            limits: Vec::new(),
            by_key: HashMap::new(),
            pauses: Vec::new(),
            outstanding: HashMap::new(),
            next_receipt: 0,
            queue: Queue::default(),
            now: Instant::ORIGIN,
        }
    }

    /// With the profile by which limits are kept that are only observed. Default:
    /// [`Profile::Grok`].
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

    /// With another bound on the queue than [`Limiter::DEFAULT_MAX_WAITING`].
    #[must_use]
    pub fn with_max_waiting(mut self, waiting: usize) -> Self {
        self.queue.set_most_waiting(waiting);
        self
    }

    /// Adds a limit, or replaces the one of the same key, dimension and refill.
    ///
    /// # Errors
    /// [`LimitError`] where the limit contradicts itself, or where there are
    /// [`Limiter::MAX_LIMITS`] already.
    pub fn add(&mut self, limit: Limit) -> Result<(), LimitError> {
        limit.check()?;
        if let Some(index) = self.find(limit.key(), limit.dimension(), limit.quota()) {
            let now = self.now;
            if let Some(Some(state)) = self.limits.get_mut(index) {
                state.set_limit(limit, now);
            }
            return Ok(());
        }
        let index = match self.limits.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.limits.len() < Self::MAX_LIMITS => {
                self.limits.push(None);
                self.limits.len() - 1
            }
            None => return Err(LimitError::TooManyLimits { most: Self::MAX_LIMITS }),
        };
        self.by_key.entry(limit.key().clone()).or_default().push(index);
        self.limits[index] = Some(LimitState::new(limit));
        Ok(())
    }

    /// Changes how much a limit allows, at once. Those who wait are judged anew at the next
    /// [`Limiter::poll`]. A raise mints no burst; a cut keeps what was admitted. `false` where
    /// there is no limit of this key, dimension and refill.
    pub fn set_limit(
        &mut self,
        key: &LimitKey,
        dimension: Dimension,
        quota: Quota,
        now: Instant,
    ) -> bool {
        let now = self.advance(now);
        let Some(index) = self.find(key, dimension, quota) else { return false };
        let Some(Some(state)) = self.limits.get_mut(index) else { return false };
        if state.limit().quota() != quota {
            state.set_limit(state.limit().clone().with_quota(quota), now);
        }
        true
    }

    /// Admits the demand now or says why not. Those who wait come first.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub fn try_acquire(&mut self, demand: &Demand, now: Instant) -> Result<Receipt, Refusal> {
        let now = self.advance(now);
        match self.decide(demand, now) {
            Decision::Refuse(refusal) => Err(refusal),
            Decision::Admit(_) if !self.queue.is_empty() => {
                let until = self.head_until(now).map(|at| at.max(now + INSTANT));
                Err(Refusal::NotUntil(Blocked::new(None, until)))
            }
            Decision::Admit(applying) => Ok(self.admit(&applying, demand, now)),
        }
    }

    /// Takes a place in the queue.
    ///
    /// # Errors
    /// A [`Refusal`] that waiting would not change: the demand never fits, the quota is spent,
    /// the deadline is past or comes before the computed time, or too many wait.
    pub fn enqueue(&mut self, demand: Demand, now: Instant) -> Result<Ticket, Refusal> {
        let now = self.advance(now);
        if self.queue.is_full() {
            return Err(Refusal::QueueFull { waiting: self.queue.len() });
        }
        let earliest = match self.decide(&demand, now) {
            Decision::Admit(_) => Some(now),
            Decision::Refuse(Refusal::NotUntil(blocked)) => blocked.until,
            Decision::Refuse(refusal) => return Err(refusal),
        };
        // The computed time is a lower bound where others wait in front: still too late is too
        // late.
        if let Some(deadline) = demand.latest_admission() {
            if deadline < now || earliest.is_some_and(|at| at > deadline) {
                return Err(Refusal::Deadline { earliest });
            }
        }
        self.queue.push(demand, now)
    }

    /// Serves the queue one step: the first waiter who fits now, or must be refused. Call it
    /// until it returns `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Served> {
        let now = self.advance(now);
        if let Some(late) = self.queue.expired(now) {
            let demand = self.queue.remove(late)?;
            let earliest = match self.decide(&demand, now) {
                Decision::Refuse(Refusal::NotUntil(blocked)) => blocked.until,
                _ => None,
            };
            return Some(Served::Refused(late, Refusal::Deadline { earliest }));
        }
        let (ticket, demand) = self.queue.head(now)?;
        let demand = demand.clone();
        match self.decide(&demand, now) {
            Decision::Refuse(Refusal::NotUntil(_)) => None,
            Decision::Refuse(refusal) => {
                self.queue.remove(ticket);
                Some(Served::Refused(ticket, refusal))
            }
            Decision::Admit(applying) => {
                let _unsettled = self.queue.grant(ticket, now);
                Some(Served::Granted(ticket, self.admit(&applying, &demand, now)))
            }
        }
    }

    /// When to call [`Limiter::poll`] again if nothing else happens; `None` where time alone
    /// brings nothing.
    pub fn next_wakeup(&mut self, now: Instant) -> Option<Instant> {
        let now = self.advance(now);
        let head = self.head_until(now);
        [head, self.queue.next_expiry(), self.queue.next_change(now)].into_iter().flatten().min()
    }

    /// The first in the queue.
    pub fn head(&self) -> Option<Ticket> {
        self.queue.head(self.now).map(|(ticket, _)| ticket)
    }

    /// Leaves the queue. `false` where the ticket is not in it.
    pub fn leave(&mut self, ticket: Ticket) -> bool {
        self.queue.remove(ticket).is_some()
    }

    /// The call is about to leave; see [`Admission::sent`](paceline_core::Admission::sent).
    /// `false` where the receipt is not outstanding here; so for the others below.
    pub fn sent(&mut self, receipt: Receipt, now: Instant) -> bool {
        let now = self.advance(now);
        self.edit(receipt, |call, limits| {
            call.sent.get_or_insert(now);
            for charge in &mut call.charges {
                if let Some(Some(state)) = limits.get_mut(charge.limit) {
                    state.sent(charge, now);
                }
            }
        })
    }

    /// The answer began: what is counted on arrival has been counted.
    pub fn head_received(&mut self, receipt: Receipt, now: Instant) -> bool {
        let now = self.advance(now);
        self.edit(receipt, |call, limits| {
            for charge in &mut call.charges {
                if let Some(Some(state)) = limits.get_mut(charge.limit) {
                    state.head_received(charge, now);
                }
            }
        })
    }

    /// The call is over. A dimension that `actual` does not name keeps what was reserved, and is
    /// taken to be counted as late as the demand said the call could last.
    ///
    /// A call that was never told [`Limiter::sent`] counts as sent when it was admitted.
    pub fn settle(&mut self, receipt: Receipt, actual: &Actual, now: Instant) -> bool {
        let now = self.advance(now);
        let Some(mut call) = self.take(receipt) else { return false };
        let sent = call.sent.unwrap_or(call.admitted);
        for charge in &mut call.charges {
            let Some(Some(state)) = self.limits.get_mut(charge.limit) else { continue };
            if call.sent.is_none() {
                state.sent(charge, sent);
            }
            let used = actual.amount(state.limit().dimension());
            let over = if used.is_some() { now } else { now.max(sent + call.latest) };
            state.settle(charge, used, over, now);
        }
        true
    }

    /// The call certainly never left: everything goes back.
    pub fn cancel_unsent(&mut self, receipt: Receipt, now: Instant) -> bool {
        let now = self.advance(now);
        let Some(call) = self.take(receipt) else { return false };
        for charge in &call.charges {
            if let Some(Some(state)) = self.limits.get_mut(charge.limit) {
                state.cancel(charge, now);
            }
        }
        true
    }

    /// Counts a call that was made at `at` and that this limiter did not admit, such as one from
    /// before a restart: its upper amounts, in every limit that counts it. `at` may lie ahead of
    /// now, for calls that the server may not have counted yet.
    pub fn record_past(&mut self, demand: &Demand, at: Instant) {
        for index in self.applying(demand) {
            let Some(Some(state)) = self.limits.get_mut(index) else { continue };
            if let Some(amount) = demand.amount(state.limit().dimension()) {
                state.record_past(amount, at);
            }
        }
    }

    /// Admits nothing that `key` (and `dimension`, where given) counts before `until`. A pause is
    /// never shortened by a later one.
    pub fn pause_until(
        &mut self,
        key: &LimitKey,
        dimension: Option<Dimension>,
        until: Instant,
        now: Instant,
    ) {
        let now = self.advance(now);
        self.pauses.retain(|pause| pause.until > now);
        let same = |pause: &&mut Pause| pause.key == *key && pause.dimension == dimension;
        if let Some(pause) = self.pauses.iter_mut().find(same) {
            pause.until = pause.until.max(until);
        } else if self.pauses.len() < Self::MAX_LIMITS {
            self.pauses.push(Pause { key: key.clone(), dimension, until });
        }
    }

    /// The state of every limit, for people and programs to look at.
    pub fn snapshot(&mut self, now: Instant) -> Snapshot {
        let now = self.advance(now);
        let blocked = self.queue.head(now).map(|(_, demand)| demand.clone()).and_then(|demand| {
            match self.decide(&demand, now) {
                Decision::Refuse(Refusal::NotUntil(blocked)) => Some(blocked),
                _ => None,
            }
        });
        Snapshot {
            at: now,
            limits: self.limits.iter_mut().flatten().map(|state| state.snapshot(now)).collect(),
            waiting: self.queue.len(),
            blocked,
            in_flight: self.outstanding.len(),
        }
    }

    /// How many calls wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How many calls are admitted and not yet settled or cancelled.
    pub fn in_flight(&self) -> usize {
        self.outstanding.len()
    }

    /// Every limit's verdict, and the worst of them.
    fn decide(&mut self, demand: &Demand, now: Instant) -> Decision {
        let applying = self.applying(demand);
        let mut blocked: Option<Blocked> = None;
        for index in &applying {
            let Some(Some(state)) = self.limits.get_mut(*index) else { continue };
            let Some(amount) = demand.amount(state.limit().dimension()) else { continue };
            let asked = amount.upper_amount();
            match state.verdict(amount, now) {
                Verdict::Fits => {}
                Verdict::Never => {
                    return Decision::Refuse(Refusal::Never { by: state.named(), asked });
                }
                Verdict::Exhausted => {
                    let spent = state.spent();
                    let by = state.named();
                    return Decision::Refuse(Refusal::Exhausted { by, spent, asked });
                }
                Verdict::NotUntil(until) => {
                    let until = until.map(|at| at.max(now + INSTANT));
                    if blocked.as_ref().is_none_or(|other| is_later(until, other.until)) {
                        blocked = Some(Blocked::new(Some(state.named()), until));
                    }
                }
            }
        }
        if let Some(until) = self.paused_until(demand, now) {
            if blocked.as_ref().is_none_or(|other| is_later(Some(until), other.until)) {
                blocked = Some(Blocked::new(None, Some(until)));
            }
        }
        match blocked {
            Some(blocked) => Decision::Refuse(Refusal::NotUntil(blocked)),
            None => Decision::Admit(applying),
        }
    }

    fn admit(&mut self, applying: &[usize], demand: &Demand, now: Instant) -> Receipt {
        let mut charges = Vec::with_capacity(applying.len());
        for index in applying {
            let Some(Some(state)) = self.limits.get_mut(*index) else { continue };
            if let Some(amount) = demand.amount(state.limit().dimension()) {
                charges.push(state.charge(*index, amount, now));
            }
        }
        let number = self.next_receipt;
        self.next_receipt += 1;
        let latest = demand.completion().map_or(Duration::ZERO, |range| range.latest());
        let call = Outstanding { charges, admitted: now, sent: None, latest };
        self.outstanding.insert(number, call);
        Receipt::new(self.id, number)
    }

    /// The limits that count a demand.
    fn applying(&self, demand: &Demand) -> Vec<usize> {
        let keys = [
            Some(LimitKey::All),
            demand.model_id().cloned().map(LimitKey::Model),
            demand.tag_name().cloned().map(LimitKey::Tag),
            demand.caller_name().cloned().map(LimitKey::Caller),
        ];
        let mut applying = Vec::new();
        for indices in keys.iter().flatten().filter_map(|key| self.by_key.get(key)) {
            let counts = |index: &&usize| match self.limits.get(**index) {
                Some(Some(state)) => demand.amount(state.limit().dimension()).is_some(),
                _ => false,
            };
            applying.extend(indices.iter().filter(counts));
        }
        applying
    }

    fn paused_until(&self, demand: &Demand, now: Instant) -> Option<Instant> {
        let applies = |pause: &&Pause| {
            pause.until > now
                && demand.is_counted_by(&pause.key)
                && pause.dimension.is_none_or(|dimension| demand.amount(dimension).is_some())
        };
        self.pauses.iter().filter(applies).map(|pause| pause.until).max()
    }

    fn head_until(&mut self, now: Instant) -> Option<Instant> {
        let demand = self.queue.head(now).map(|(_, demand)| demand.clone())?;
        match self.decide(&demand, now) {
            Decision::Refuse(Refusal::NotUntil(blocked)) => blocked.until,
            _ => Some(now),
        }
    }

    fn find(&self, key: &LimitKey, dimension: Dimension, quota: Quota) -> Option<usize> {
        self.position(key, dimension, |other| other.refill() == quota.refill())
    }

    fn position(
        &self,
        key: &LimitKey,
        dimension: Dimension,
        same: impl Fn(Quota) -> bool,
    ) -> Option<usize> {
        self.by_key.get(key)?.iter().copied().find(|index| {
            self.limits.get(*index).and_then(Option::as_ref).is_some_and(|state| {
                state.limit().dimension() == dimension && same(state.limit().quota())
            })
        })
    }

    fn edit(
        &mut self,
        receipt: Receipt,
        edit: impl FnOnce(&mut Outstanding, &mut [Option<LimitState>]),
    ) -> bool {
        if receipt.limiter() != self.id {
            return false;
        }
        let Some(call) = self.outstanding.get_mut(&receipt.number()) else { return false };
        edit(call, &mut self.limits);
        true
    }

    fn take(&mut self, receipt: Receipt) -> Option<Outstanding> {
        if receipt.limiter() != self.id {
            return None;
        }
        self.outstanding.remove(&receipt.number())
    }

    /// The later of what is said to be now and what was said before.
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

/// Whether `a` is later than `b`; not known is later than any moment.
fn is_later(a: Option<Instant>, b: Option<Instant>) -> bool {
    match (a, b) {
        (None, Some(_)) => true,
        (Some(a), Some(b)) => a > b,
        (_, None) => false,
    }
}

/// The shortest wait.
const INSTANT: Duration = Duration::from_nanos(1);

/// Numbers limiters apart within a process.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);
