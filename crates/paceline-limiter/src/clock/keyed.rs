//! The shared form of the limiter with keys: a clock inside, and a lock for each shard of the keys.
//!
//! It decides nothing itself. Invariant: a key and its receipts belong to one shard for good, so
//! that one decision takes one lock.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::num::{NonZeroU64, NonZeroUsize};

use paceline_core::{Actual, Clock, Demand, Instant, LimiterId, Receipt, Refusal};

use super::QuantaClock;
use crate::keyed::index::Tag;
use crate::keyed::{KeyedError, KeyedLimiter};
use crate::limit::Limit;
use crate::limiter::new_ids;
use crate::permit::{Permit, sealed::Issuer};
use crate::snapshot::Snapshot;
use crate::sync::{Arc, Mutex, MutexGuard};

/// The same limits for each of many keys, shared by all clones of this handle, with a clock inside.
///
/// What a key is, when it is forgotten and what it costs: [`KeyedLimiter`]. Keys lie in up to
/// [`SharedKeyedLimiter::MAX_SHARDS`] shards with a lock each, so that threads that ask for
/// different keys seldom meet. Nothing waits here: a refusal says when to ask again.
///
/// # Bounds
/// Every shard takes an equal part of the bound on keys, at least 1,024 of it. A shard can be full
/// a little before all of them are.
///
/// ```
/// use std::num::NonZeroU64;
/// use paceline_limiter::{
///     Amount, Demand, Dimension, Limit, LimitKey, Pacing, Quota, Refusal,
///     clock::SharedKeyedLimiter,
/// };
///
/// // Each address: two requests a minute.
/// let quota = Quota::per_minute(NonZeroU64::new(2).unwrap());
/// let limit = Limit::new(LimitKey::All, Dimension::Requests, quota).paced(Pacing::Bucket);
/// let limiter = SharedKeyedLimiter::<String>::new([limit])?;
///
/// let one = Demand::new().with(Dimension::Requests, Amount::exact(1));
/// for address in ["192.0.2.1", "192.0.2.1", "192.0.2.2"] {
///     let mut permit = limiter.try_permit(address, &one)?;
///     permit.sent();
///     // The request is answered; then the permit goes out of scope.
/// }
/// assert!(matches!(limiter.try_permit("192.0.2.1", &one), Err(Refusal::NotUntil(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # After the grant
/// A key whose [`Receipt`] is neither settled nor cancelled is never idle, so its place is never
/// free for another key. A [`Permit`] ends its call where it is dropped.
pub struct SharedKeyedLimiter<K, C = QuantaClock, S = Secret>(Arc<Shards<K, C, S>>);

/// As in the pure form.
#[expect(clippy::disallowed_types, reason = "no decision depends on it")]
type Secret = std::hash::RandomState;

struct Shards<K, C, S> {
    clock: C,
    hasher: S,
    /// The number of the first shard as a limiter; the others follow.
    first_id: NonZeroU64,
    /// A power of two of them.
    shards: Box<[Shard<K, S>]>,
}

/// On cache lines of its own, so that a lock does not slow its neighbour.
#[repr(align(128))]
struct Shard<K, S>(Mutex<KeyedLimiter<K, S>>);

impl<K: Hash + Eq> SharedKeyedLimiter<K> {
    /// These limits for every key, at most [`KeyedLimiter::DEFAULT_MAX_KEYS`] of them, on the
    /// processor's time stamp counter.
    ///
    /// # Errors
    /// [`KeyedError`] where the limits can't be kept.
    pub fn new(limits: impl IntoIterator<Item = Limit>) -> Result<Self, KeyedError> {
        let limiter = KeyedLimiter::new(limits)?;
        Ok(Self::with_clock(limiter, QuantaClock::new()))
    }
}

impl<K, S> SharedKeyedLimiter<K, QuantaClock, S> {
    /// How many shards there are at most.
    pub const MAX_SHARDS: usize = 32;
}

impl<K: Hash + Eq, C: Clock, S: BuildHasher + Clone> SharedKeyedLimiter<K, C, S> {
    /// Shares the limits, bounds and hasher of a limiter, on another clock. What that says it may
    /// lag ([`Clock::staleness`]) is added to the delay bound of every limit. Keys that it has kept
    /// are forgotten.
    pub fn with_clock(limiter: KeyedLimiter<K, S>, clock: C) -> Self {
        let most = limiter.max_keys();
        let count = most.checked_div(LEAST_KEYS).unwrap_or(0);
        let count = count.clamp(1, SharedKeyedLimiter::<K>::MAX_SHARDS);
        let count = 1 << count.ilog2();
        let first_id = new_ids(count);
        let most_each = NonZeroUsize::new(most >> count.ilog2()).unwrap_or(NonZeroUsize::MIN);
        let limiter = limiter.on_clock(&clock);
        let shard = |number| {
            let shard = limiter.afresh(LimiterId::new(first_id.saturating_add(number)));
            Shard(Mutex::new(shard.with_max_keys(most_each)))
        };
        let shards = (0..count).map(shard).collect();
        Self(Arc::new(Shards { clock, hasher: limiter.hasher().clone(), first_id, shards }))
    }

    /// The present moment on its clock.
    pub fn now(&self) -> Instant {
        self.0.clock.now()
    }

    /// Admits a demand of this key now or says why not; see [`KeyedLimiter::try_acquire`].
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    #[inline(always)]
    pub fn try_acquire<Q>(&self, key: &Q, demand: &Demand) -> Result<Receipt, Refusal>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.now();
        let (tag, shard) = self.find(key);
        let mut limiter = shard.lock();
        match limiter.admit(tag, key, demand, now) {
            Some(receipt) => {
                drop(limiter);
                Ok(receipt)
            }
            None => Err(limiter.refused(tag, key, demand)),
        }
    }

    /// As [`SharedKeyedLimiter::try_acquire`], with a [`Permit`] that ends the call where it is
    /// dropped.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub fn try_permit<Q>(&self, key: &Q, demand: &Demand) -> Result<Permit<Self>, Refusal>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.try_acquire(key, demand).map(|receipt| Permit::new(self.clone(), receipt))
    }

    /// The call is about to leave; see [`KeyedLimiter::sent`]. `false` where the receipt is not
    /// outstanding here; so for the others below.
    pub fn sent(&self, receipt: Receipt) -> bool {
        let now = self.now();
        self.of(receipt).is_some_and(|shard| shard.lock().sent(receipt, now))
    }

    /// The answer began; see [`KeyedLimiter::head_received`].
    pub fn head_received(&self, receipt: Receipt) -> bool {
        let now = self.now();
        self.of(receipt).is_some_and(|shard| shard.lock().head_received(receipt, now))
    }

    /// The call is over; see [`KeyedLimiter::settle`].
    #[inline]
    pub fn settle(&self, receipt: Receipt, actual: &Actual) -> bool {
        let now = self.now();
        self.of(receipt).is_some_and(|shard| shard.lock().settle(receipt, actual, now))
    }

    /// The call certainly never left; see [`KeyedLimiter::cancel_unsent`].
    pub fn cancel_unsent(&self, receipt: Receipt) -> bool {
        let now = self.now();
        self.of(receipt).is_some_and(|shard| shard.lock().cancel_unsent(receipt, now))
    }

    /// The limits of one key; `None` where it is not kept.
    pub fn snapshot<Q>(&self, key: &Q) -> Option<Snapshot>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let now = self.now();
        let (tag, shard) = self.find(key);
        shard.lock().snapshot_tagged(tag, key, now)
    }

    /// How many keys are kept, shard by shard.
    pub fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets every idle key, shard by shard; see [`KeyedLimiter::evict_idle`].
    pub fn evict_idle(&self) -> usize {
        let now = self.now();
        self.0.shards.iter().map(|shard| shard.lock().evict_idle(now)).sum()
    }

    /// Forgets every key that is not to be kept, shard by shard; see [`KeyedLimiter::retain`].
    /// `keep` must not ask this limiter for anything: it is called under a lock.
    pub fn retain(&self, mut keep: impl FnMut(&K) -> bool) {
        self.0.shards.iter().for_each(|shard| shard.lock().retain(&mut keep));
    }

    #[inline]
    fn find<Q: Hash + ?Sized>(&self, key: &Q) -> (Tag, &Shard<K, S>) {
        let (tag, rest) = Tag::of(self.0.hasher.hash_one(key));
        (tag, &self.0.shards[rest as usize & (self.0.shards.len() - 1)])
    }

    /// The shard that issued a receipt.
    #[inline]
    fn of(&self, receipt: Receipt) -> Option<&Shard<K, S>> {
        let shard = receipt.limiter().number().get().checked_sub(self.0.first_id.get())?;
        self.0.shards.get(usize::try_from(shard).ok()?)
    }
}

impl<K: Hash + Eq, C: Clock, S: BuildHasher + Clone> Issuer for SharedKeyedLimiter<K, C, S> {
    fn sent(&self, receipt: Receipt) {
        Self::sent(self, receipt);
    }

    fn head_received(&self, receipt: Receipt) {
        Self::head_received(self, receipt);
    }

    fn progress(&self, _: Receipt, _: u64) {}

    fn settle(&self, receipt: Receipt, actual: &Actual) {
        Self::settle(self, receipt, actual);
    }

    fn cancel_unsent(&self, receipt: Receipt) {
        Self::cancel_unsent(self, receipt);
    }
}

impl<K, S> Shard<K, S> {
    #[inline]
    fn lock(&self) -> MutexGuard<'_, KeyedLimiter<K, S>> {
        // Only a key's own `Eq` or `to_owned`, or `keep`, could panic in there, and each of them
        // before anything has changed.
        self.0.lock()
    }
}

/// A shard with fewer keys than this would be full while others are not.
const LEAST_KEYS: usize = 1_024;

impl<K, C, S> Clone for SharedKeyedLimiter<K, C, S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, C, S> fmt::Debug for SharedKeyedLimiter<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKeyedLimiter")
            .field("shards", &self.0.shards.len())
            .finish_non_exhaustive()
    }
}
