//! The same limits for each of many keys: every tenant, user or address.
//!
//! Pure, as the limiter itself: time is an argument, nothing waits, and nobody queues. It shares no
//! limit between keys. Invariants: there are never more keys than the bound, and only a key that
//! remembers nothing makes room for another, so that no key gains by being forgotten.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use paceline_core::{Actual, Demand, Instant, LimiterId, Receipt, Refusal};

use crate::limit::{ChargeRule, Limit};
use crate::limiter::new_ids;
use crate::snapshot::Snapshot;

mod calls;
mod counts;
mod error;
pub(crate) mod index;
mod keys;
mod others;
mod pace;
mod rows;
mod stated;

pub use error::KeyedError;

use counts::Counts;
use index::Tag;
use keys::Keys;
use stated::Stated;

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
/// A key of up to 24 bytes takes 64, and up to 11 of the index. In that is what it has of the first
/// limit by [`Pacing::Bucket`](crate::Pacing::Bucket); each further one takes 32 bytes, any other limit
/// some 500, and all of it up to twice that while there is room to grow; the places of keys that were
/// evicted are kept for others. A rolling window takes up to 4 KiB more from its first charge on until
/// the key is evicted: 100,000 busy keys with one window are 450 MB, with one bucket some 15. A call in
/// flight takes 64 bytes, 32 more for each further bucket, and some 100 for any other limit.
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
    keys: Keys<K>,
    counts: Counts,
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
    pub const MAX_LIMITS: usize = stated::MAX_LIMITS;
    /// How many keys are kept, unless told otherwise.
    pub const DEFAULT_MAX_KEYS: usize = 100_000;
    /// How many keys may be kept: 2^24.
    pub const MAX_KEYS: usize = index::PLACES as usize;

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
        let stated = self.counts.stated().on_lagging(staleness.min(Limit::MAX_DELAY));
        self.counts = Counts::new(Arc::new(stated));
        self
    }

    /// The same, where that is more than it reckons with.
    #[cfg(feature = "clock")]
    pub(crate) fn on_clock(self, clock: &impl paceline_core::Clock) -> Self {
        let staleness = clock.staleness();
        if self.counts.stated().staleness() < staleness {
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
        self.counts.in_flight()
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
            keys: Keys::new(),
            counts: Counts::new(Arc::clone(self.counts.stated())),
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
        let Some(call) = self.call(receipt) else { return false };
        self.counts.sent(call, now);
        true
    }

    /// The answer began: what is counted on arrival has been counted.
    pub fn head_received(&mut self, receipt: Receipt, now: Instant) -> bool {
        let now = self.advance(now);
        let Some(call) = self.call(receipt) else { return false };
        self.counts.head_received(call, now);
        true
    }

    /// The call is over; see [`Limiter::settle`](crate::Limiter::settle).
    #[inline]
    pub fn settle(&mut self, receipt: Receipt, actual: &Actual, now: Instant) -> bool {
        let now = self.advance(now);
        let Some(call) = self.call(receipt) else { return false };
        let own = self.keys.own(self.counts.key(call));
        self.counts.settle(call, own, actual, now);
        true
    }

    /// The call certainly never left: everything goes back.
    pub fn cancel_unsent(&mut self, receipt: Receipt, now: Instant) -> bool {
        let now = self.advance(now);
        let Some(call) = self.call(receipt) else { return false };
        let own = self.keys.own(self.counts.key(call));
        self.counts.cancel(call, own, now);
        true
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
        self.counts.forget_calls(&gone);
        gone.into_iter().for_each(|place| self.forget(place));
    }

    #[inline]
    fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// The place of a call.
    #[inline]
    fn call(&self, receipt: Receipt) -> Option<u32> {
        if receipt.limiter() == self.id { self.counts.find(receipt.number()) } else { None }
    }

    /// Whether the key in this place remembers nothing: a new one would do the same.
    fn is_idle(&mut self, place: u32, now: Instant) -> bool {
        self.counts.is_idle(place, &self.keys.own(place), now)
    }

    fn forget(&mut self, place: u32) {
        self.keys.remove(place);
        self.counts.forget(place);
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
        let mut known: Vec<Limit> = Vec::new();
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
            if known.iter().any(is_same) {
                return Err(KeyedError::Repeated { index });
            }
            known.push(limit);
        }
        Ok(Self {
            now: Instant::ORIGIN,
            id: LimiterId::new(new_ids(1)),
            hasher,
            most_keys: Self::DEFAULT_MAX_KEYS,
            keys: Keys::new(),
            counts: Counts::new(Arc::new(Stated::new(known, Duration::ZERO))),
        })
    }

    /// Admits a demand of this key now or says why not. A key that is not kept yet is copied.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then. [`Refusal::Unavailable`] where the key is new and no
    /// place was found for it.
    #[inline(always)]
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
        match self.admit(tag, key, demand, now) {
            Some(receipt) => Ok(receipt),
            None => Err(self.refused(tag, key, demand)),
        }
    }

    /// Admits a demand of the key of this hash, if it has a place or finds one, and all its limits
    /// admit it. It says nothing of why not: a receipt alone fits into registers.
    #[inline]
    pub(crate) fn admit<Q>(
        &mut self,
        tag: Tag,
        key: &Q,
        demand: &Demand,
        now: Instant,
    ) -> Option<Receipt>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.advance(now);
        let place = match self.keys.find(tag, key) {
            Some(place) => place,
            None => self.insert(tag, key, now)?,
        };
        let number = self.counts.admit(place, self.keys.own(place), demand, now)?;
        Some(Receipt::new(self.id, number))
    }

    /// Why a demand was not admitted just now.
    #[cold]
    pub(crate) fn refused<Q>(&mut self, tag: Tag, key: &Q, demand: &Demand) -> Refusal
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        match self.keys.find(tag, key) {
            Some(place) => self.counts.refusal(place, &self.keys.own(place), demand, self.now),
            None => FULL,
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
        let own = self.keys.own(place);
        Some(Snapshot {
            at: now,
            limits: self.counts.snapshot(place, &own, now),
            pauses: Vec::new(),
            waiting: 0,
            blocked: None,
            in_flight: *own.in_flight as usize,
        })
    }

    /// Gives a place to a key that has none; `None` where none was found.
    #[cold]
    fn insert<Q>(&mut self, tag: Tag, key: &Q, now: Instant) -> Option<u32>
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + ?Sized,
    {
        if self.len() >= self.most_keys {
            let looked = (0..STEPS).find_map(|_| {
                let place = self.keys.next_place()?;
                self.is_idle(place, now).then_some(place)
            });
            self.forget(looked?);
        }
        let place = self.keys.insert(tag, key.to_owned());
        self.counts.begin(place);
        Some(place)
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

/// How many places are looked at for one that is idle.
const STEPS: usize = 32;

/// A new key that found no place.
const FULL: Refusal = Refusal::Unavailable { reason: "as many keys as are kept are in use" };
