//! The same limits for each of many keys: every tenant, user or address.
//!
//! Pure, as the limiter itself: time is an argument, nothing waits, and nobody queues. It shares no
//! limit between keys. Invariants: there are never more keys than the bound, and only a key that
//! remembers nothing makes room for another, so that no key gains by being forgotten.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroUsize;
use std::time::Duration;

use paceline_core::{
    Actual, Amount, Blocked, Demand, Instant, LimitKey, LimiterId, Receipt, Refusal,
};

use crate::limit::{ChargeRule, Limit};
use crate::limiter::calls::{Call, Calls, NOT_SENT};
use crate::limiter::limits::{charge, nanos, undo_all};
use crate::limiter::{INSTANT, new_ids};
use crate::snapshot::Snapshot;
use crate::state::{Charge, End, LimitState, Verdict};

mod error;
pub(crate) mod index;
mod keys;

pub use error::KeyedError;

use index::Tag;
use keys::Keys;

/// The hasher of keys unless told otherwise. Chance decides where a key is found, nothing else.
#[expect(clippy::disallowed_types, reason = "no decision depends on it")]
type Secret = std::hash::RandomState;

/// The same limits for each of many keys, at most so many keys at once: the pure form.
///
/// A key has its limits from the first time that it is asked for. One that is *idle* remembers
/// nothing: no call of it is in flight, its windows are empty, its pacers at rest. It makes room
/// when another needs its place, and loses nothing by it, because a new one would do the same.
///
/// # Bounds
/// At most [`KeyedLimiter::DEFAULT_MAX_KEYS`] keys, unless told otherwise. A new key that finds
/// every place taken looks at 32 of them for an idle one, going on where the last one stopped; where
/// all of these are busy it is refused with [`Refusal::Unavailable`], which changes nothing. A busy
/// key is never forgotten. A quota that never comes back keeps its key busy for good once anything
/// of it is spent, but for what is counted only in flight.
///
/// # Memory
/// A key takes some 500 bytes for each limit, itself and 40 bytes more, and up to twice that while
/// there is room to grow; the places of keys that were evicted are kept for others. A rolling window
/// of its own takes up to 4 KiB more from its first charge on until the key is evicted: 100,000 busy
/// keys with one window are 450 MB. With [`Pacing::Bucket`](crate::Pacing::Bucket) there is no
/// window.
///
/// # Hashing
/// Keys are hashed by `S`, by default as std does, with a secret drawn at the start, so that nobody
/// can choose keys that collide. It decides nothing but where a key is found.
///
/// ```
/// use std::num::NonZeroU64;
/// use paceline_limiter::{
///     Actual, Amount, Demand, Dimension, Instant, KeyedLimiter, Limit, LimitKey, Quota,
///     Refusal,
/// };
///
/// // Each tenant: 1,000 units a minute.
/// let quota = Quota::per_minute(NonZeroU64::new(1_000).unwrap());
/// let limit = Limit::new(LimitKey::All, Dimension::TotalTokens, quota);
/// let mut tenants: KeyedLimiter<String> = KeyedLimiter::new([limit])?;
///
/// let now = Instant::ORIGIN;
/// let job = Demand::call(Amount::exact(700));
/// let receipt = tenants.try_acquire("acme", &job, now)?;
/// assert!(matches!(tenants.try_acquire("acme", &job, now), Err(Refusal::NotUntil(_))));
/// assert!(tenants.try_acquire("globex", &job, now).is_ok());
///
/// // A receipt knows whose it is.
/// tenants.settle(receipt, &Actual::new().with(Dimension::TotalTokens, 250), now);
/// assert!(tenants.try_acquire("acme", &job, now).is_ok());
/// assert_eq!(tenants.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyedLimiter<K, S = Secret> {
    now: Instant,
    id: LimiterId,
    hasher: S,
    most_keys: usize,
    /// The limits of a key that is new.
    fresh: Vec<LimitState>,
    keys: Keys<K>,
    /// As many for each place of a key as there are fresh ones; `None` where the place is free.
    states: Vec<Option<LimitState>>,
    calls: Calls,
}

impl<K: Hash + Eq> KeyedLimiter<K> {
    /// These limits for every key.
    ///
    /// # Errors
    /// [`KeyedError`] where they can't be kept.
    pub fn new(limits: impl IntoIterator<Item = Limit>) -> Result<Self, KeyedError> {
        Self::with_hasher(limits, Secret::new())
    }
}

impl<K, S> KeyedLimiter<K, S> {
    /// How many limits each key may have.
    pub const MAX_LIMITS: usize = 16;
    /// How many keys are kept, unless told otherwise.
    pub const DEFAULT_MAX_KEYS: usize = 100_000;
    /// How many keys may be kept: 2^24.
    pub const MAX_KEYS: usize = 1 << 24;

    /// Keeps at most so many keys, and [`KeyedLimiter::MAX_KEYS`]. Call it before keys are asked
    /// for: those that are kept stay.
    #[must_use]
    pub fn with_max_keys(mut self, keys: NonZeroUsize) -> Self {
        self.most_keys = keys.get().min(Self::MAX_KEYS);
        self
    }

    /// Reckons with a clock that lags by up to so much, as
    /// [`Limiter::with_staleness`](crate::Limiter::with_staleness) does. Call it before keys are
    /// asked for. Default: nothing; at most [`Limit::MAX_DELAY`].
    #[must_use]
    pub fn with_staleness(mut self, staleness: Duration) -> Self {
        let staleness = staleness.min(Limit::MAX_DELAY);
        for state in &mut self.fresh {
            *state = LimitState::new(state.limit().clone(), staleness);
        }
        self
    }

    /// The same, where that is more than it reckons with.
    #[cfg(feature = "clock")]
    pub(crate) fn on_clock(self, clock: &impl paceline_core::Clock) -> Self {
        let known = self.fresh.iter().map(LimitState::staleness).max();
        let staleness = clock.staleness();
        if known.is_some_and(|known| known < staleness) {
            self.with_staleness(staleness)
        } else {
            self
        }
    }

    /// How many keys are kept.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys may be kept.
    pub fn max_keys(&self) -> usize {
        self.most_keys
    }

    /// How many calls of all keys are admitted and not yet settled or cancelled.
    pub fn in_flight(&self) -> usize {
        self.calls.len()
    }

    /// The same limits, bound and hasher, no key, and receipts by this number, which no other
    /// limiter has.
    #[cfg(feature = "clock")]
    pub(crate) fn afresh(&self, id: LimiterId) -> Self
    where
        S: Clone,
    {
        Self {
            now: Instant::ORIGIN,
            id,
            hasher: self.hasher.clone(),
            most_keys: self.most_keys,
            fresh: self.fresh.clone(),
            keys: Keys::new(),
            states: Vec::new(),
            calls: Calls::default(),
        }
    }

    /// How keys are hashed.
    #[cfg(feature = "clock")]
    pub(crate) const fn hasher(&self) -> &S {
        &self.hasher
    }

    /// The call is about to leave; see [`Limiter::sent`](crate::Limiter::sent). `false` where the
    /// receipt is not outstanding here; so for the others below.
    pub fn sent(&mut self, receipt: Receipt, now: Instant) -> bool {
        let now = self.advance(now);
        let Some((call, states)) = self.call(receipt) else { return false };
        call.sent_ns = call.sent_ns.min(now.as_nanos());
        each_charged(call, states, |state, charge| state.sent(charge, now));
        true
    }

    /// The answer began: what is counted on arrival has been counted.
    pub fn head_received(&mut self, receipt: Receipt, now: Instant) -> bool {
        let now = self.advance(now);
        let Some((call, states)) = self.call(receipt) else { return false };
        each_charged(call, states, |state, charge| state.head_received(charge, now));
        true
    }

    /// The call is over; see [`Limiter::settle`](crate::Limiter::settle).
    #[inline]
    pub fn settle(&mut self, receipt: Receipt, actual: &Actual, now: Instant) -> bool {
        let now = self.advance(now);
        self.end(receipt, |call, states| {
            let was_sent = call.sent_ns != NOT_SENT;
            let sent = Instant::from_nanos(if was_sent { call.sent_ns } else { call.admitted_ns });
            let latest = sent + Duration::from_nanos(call.latest_ns);
            each_charged(call, states, |state, charge| {
                if !was_sent {
                    state.sent(charge, sent);
                }
                let actual = state.actual(actual);
                let over = if actual.is_some() { now } else { now.max(latest) };
                state.settle(charge, End { actual, over }, now);
            });
        })
    }

    /// The call certainly never left: everything goes back.
    pub fn cancel_unsent(&mut self, receipt: Receipt, now: Instant) -> bool {
        let now = self.advance(now);
        self.end(receipt, |call, states| {
            each_charged(call, states, |state, charge| state.cancel(charge, now));
        })
    }

    /// Forgets every idle key and frees its memory; returns how many there were. Looks at all
    /// keys.
    pub fn evict_idle(&mut self, now: Instant) -> usize {
        let now = self.advance(now);
        let before = self.len();
        for place in 0..self.keys.places() {
            if self.is_idle(place, now) {
                self.forget(place);
            }
        }
        before - self.len()
    }

    /// Forgets every key that is not to be kept, busy or not: its calls in flight settle to
    /// nothing, and should it come back, it begins anew. For a tenant that is gone; what is merely
    /// idle is for [`KeyedLimiter::evict_idle`].
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        let gone: Vec<u32> =
            self.keys.iter().filter(|(_, key)| !keep(key)).map(|(place, _)| place).collect();
        if gone.is_empty() {
            return;
        }
        let of_each = self.fresh.len() as u32;
        for call in self.calls.iter() {
            let first = call.charges().next().map(|charge| charge.limit);
            let place = first.map(|limit| limit / of_each);
            if let Some(place) = place.filter(|place| gone.binary_search(place).is_ok()) {
                (0..of_each).for_each(|limit| call.forget(place * of_each + limit));
            }
        }
        gone.into_iter().for_each(|place| self.forget(place));
    }

    fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    fn call(&mut self, receipt: Receipt) -> Option<(&mut Call, &mut [Option<LimitState>])> {
        if receipt.limiter() != self.id {
            return None;
        }
        Some((self.calls.get(receipt.number())?, &mut self.states))
    }

    /// Shows a call for the last time. `false` where there is none.
    #[inline]
    fn end(
        &mut self,
        receipt: Receipt,
        last: impl FnOnce(&mut Call, &mut [Option<LimitState>]),
    ) -> bool {
        if receipt.limiter() != self.id {
            return false;
        }
        let Self { calls, states, keys, fresh, .. } = self;
        let ended = calls.remove(receipt.number(), |call| {
            last(call, states);
            // A call that nothing counted, or whose key is gone, belongs to nobody.
            if let Some(charge) = call.charges().next() {
                keys.call_ended(charge.limit / fresh.len() as u32);
            }
        });
        ended.is_some()
    }

    /// The limits of the key in this place.
    #[inline]
    fn states(&mut self, place: u32) -> &mut [Option<LimitState>] {
        self.beside_fresh(place).1
    }

    /// The limits as they are of every key, and those of the key in this place. What is the same for
    /// all is read from the former, which stays in the cache.
    #[inline]
    fn beside_fresh(&mut self, place: u32) -> (&[LimitState], &mut [Option<LimitState>]) {
        let of_each = self.fresh.len();
        let first = place as usize * of_each;
        (&self.fresh, &mut self.states[first..first + of_each])
    }

    /// Whether the key in this place remembers nothing: a new one would do the same.
    fn is_idle(&mut self, place: u32, now: Instant) -> bool {
        self.keys.in_flight(place) == 0
            && self.states(place).iter_mut().flatten().all(|state| state.is_idle(now))
    }

    fn forget(&mut self, place: u32) {
        self.keys.remove(place);
        self.states(place).fill_with(|| None);
    }
}

impl<K: Hash + Eq, S: BuildHasher> KeyedLimiter<K, S> {
    /// These limits for every key, and keys hashed in another way. With a hasher that has no
    /// secret, whoever chooses the keys can make each of them as slow to find as all together.
    ///
    /// # Errors
    /// [`KeyedError`] where the limits can't be kept.
    pub fn with_hasher(
        limits: impl IntoIterator<Item = Limit>,
        hasher: S,
    ) -> Result<Self, KeyedError> {
        let mut fresh: Vec<LimitState> = Vec::new();
        for (index, limit) in limits.into_iter().enumerate() {
            if index == Self::MAX_LIMITS {
                return Err(KeyedError::TooManyLimits { most: Self::MAX_LIMITS });
            }
            limit.check().map_err(|error| KeyedError::Limit { index, error })?;
            if limit.rule() == ChargeRule::Flow {
                return Err(KeyedError::Learns { index });
            }
            let is_same = |other: &Limit| {
                (other.key(), other.dimension(), other.quota().refill())
                    == (limit.key(), limit.dimension(), limit.quota().refill())
            };
            if fresh.iter().any(|state| is_same(state.limit())) {
                return Err(KeyedError::Repeated { index });
            }
            fresh.push(LimitState::new(limit, Duration::ZERO));
        }
        Ok(Self {
            now: Instant::ORIGIN,
            id: LimiterId::new(new_ids(1)),
            hasher,
            most_keys: Self::DEFAULT_MAX_KEYS,
            fresh,
            keys: Keys::new(),
            states: Vec::new(),
            calls: Calls::default(),
        })
    }

    /// Admits a demand of this key now or says why not. A key that is not kept yet is copied.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then. [`Refusal::Unavailable`] where the key is new and no
    /// place was found for it.
    #[inline]
    pub fn try_acquire<Q>(
        &mut self,
        key: &Q,
        demand: &Demand,
        now: Instant,
    ) -> Result<Receipt, Refusal>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let (tag, _) = Tag::of(self.hasher.hash_one(key));
        self.try_acquire_tagged(tag, key, demand, now)
    }

    /// The same where the hash is known.
    #[inline]
    pub(crate) fn try_acquire_tagged<Q>(
        &mut self,
        tag: Tag,
        key: &Q,
        demand: &Demand,
        now: Instant,
    ) -> Result<Receipt, Refusal>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.advance(now);
        let place = match self.keys.find(tag, key) {
            Some(place) => place,
            None => self.insert(tag, key, now)?,
        };
        match self.admit(place, demand, now) {
            Some(receipt) => Ok(receipt),
            None => Err(self.refusal(place, demand, now)),
        }
    }

    /// The limits of one key; `None` where it is not kept: then nothing of it is counted.
    pub fn snapshot<Q>(&mut self, key: &Q, now: Instant) -> Option<Snapshot>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (tag, _) = Tag::of(self.hasher.hash_one(key));
        self.snapshot_tagged(tag, key, now)
    }

    /// The same where the hash is known.
    pub(crate) fn snapshot_tagged<Q>(&mut self, tag: Tag, key: &Q, now: Instant) -> Option<Snapshot>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let now = self.advance(now);
        let place = self.keys.find(tag, key)?;
        Some(Snapshot {
            at: now,
            limits: self.states(place).iter_mut().flatten().map(|s| s.snapshot(now)).collect(),
            pauses: Vec::new(),
            waiting: 0,
            blocked: None,
            in_flight: self.keys.in_flight(place) as usize,
        })
    }

    /// Charges a demand to the limits of a key where all of them admit it. `None`, and nothing has
    /// changed, where one does not or too many calls are in flight.
    #[inline]
    fn admit(&mut self, place: u32, demand: &Demand, now: Instant) -> Option<Receipt> {
        let Self { id, states, fresh, keys, calls, .. } = self;
        let mut opening = calls.open()?;
        let call = opening.call();
        let first = place * fresh.len() as u32;
        let own = &mut states[first as usize..][..fresh.len()];
        // What is the same for all keys is asked of the fresh ones, which are in the cache.
        let fits = (first..).zip(fresh.iter().zip(own)).all(|(limit, (fresh, state))| {
            !is_counted(fresh, demand)
                || state.as_mut().is_none_or(|state| charge(state, limit, call, demand, now))
        });
        if !fits {
            undo_all(states, call);
            return None;
        }
        if call.charges().next().is_some() {
            keys.call_began(place);
        }
        call.admitted_ns = now.as_nanos();
        call.latest_ns = demand.completion().map_or(0, |range| nanos(range.latest()));
        Some(Receipt::new(*id, opening.take()))
    }

    #[cold]
    fn insert<Q>(&mut self, tag: Tag, key: &Q, now: Instant) -> Result<u32, Refusal>
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + ?Sized,
    {
        if self.len() >= self.most_keys {
            let looked = (0..STEPS).find_map(|_| {
                let place = self.keys.next_place()?;
                self.is_idle(place, now).then_some(place)
            });
            self.forget(looked.ok_or(FULL)?);
        }
        let place = self.keys.insert(tag, key.to_owned());
        let end = (place as usize + 1) * self.fresh.len();
        if self.states.len() < end {
            self.states.resize_with(end, || None);
        }
        let first = end - self.fresh.len();
        for (state, fresh) in self.states[first..end].iter_mut().zip(&self.fresh) {
            *state = Some(fresh.clone());
        }
        Ok(place)
    }

    /// Why the demand was not admitted just now.
    #[cold]
    fn refusal(&mut self, place: u32, demand: &Demand, now: Instant) -> Refusal {
        // Where every limit admits it, too many calls are in flight.
        let mut blocked = Blocked::new(None, None);
        let (fresh, states) = self.beside_fresh(place);
        for (fresh, state) in fresh.iter().zip(states) {
            let Some(amount) = asked(fresh, demand) else { continue };
            let Some(state) = state else { continue };
            let asked = amount.upper_amount();
            match state.verdict(amount, demand, now) {
                Verdict::Fits => {}
                Verdict::Never => return Refusal::Never { by: state.named(), asked },
                Verdict::Exhausted => {
                    let spent = state.spent();
                    return Refusal::Exhausted { by: state.named(), spent, asked };
                }
                Verdict::NotUntil(until) => {
                    let until = until.map(|at| at.max(now + INSTANT));
                    // Not known is later than any moment.
                    let rank = |until: Option<Instant>| (until.is_none(), until);
                    if blocked.by.is_none() || rank(until) > rank(blocked.until) {
                        blocked = Blocked::new(Some(state.named()), until);
                    }
                }
            }
        }
        Refusal::NotUntil(blocked)
    }
}

impl<K, S> fmt::Debug for KeyedLimiter<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLimiter")
            .field("keys", &self.len())
            .field("max_keys", &self.most_keys)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

/// What a demand asks of a limit, if that counts it.
#[inline]
fn asked(state: &LimitState, demand: &Demand) -> Option<Amount> {
    if is_counted(state, demand) { state.asked(demand) } else { None }
}

/// Whether a limit of this key counts a demand.
#[inline]
fn is_counted(state: &LimitState, demand: &Demand) -> bool {
    let key = state.limit().key();
    *key == LimitKey::All || demand.is_counted_by(key)
}

/// Every limit that a call is charged to.
#[inline]
fn each_charged(
    call: &mut Call,
    states: &mut [Option<LimitState>],
    mut edit: impl FnMut(&mut LimitState, &mut Charge),
) {
    for charge in call.charges() {
        if let Some(Some(state)) = states.get_mut(charge.limit as usize) {
            edit(state, charge);
        }
    }
}

/// How many places are looked at for one that is idle.
const STEPS: usize = 32;

/// A new key that found no place.
const FULL: Refusal = Refusal::Unavailable { reason: "as many keys as are kept are in use" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_takes_no_more_than_is_said() {
        const { assert!(size_of::<Option<LimitState>>() <= 512) };
        // Of the index, four thirds to eight thirds of eight bytes.
        const { assert!(Keys::<()>::PLACE + 8 * 8 / 3 <= 40) };
    }
}
