//! The peers that a decision is measured beside: what is called, and how they are set up.
//!
//! Where a decision should be granted, their limits are so high that it always is; where it should
//! be refused, they are spent. Each is set up as its own documentation does it, and where a setting
//! costs a peer time that it need not, the faster one is there too. Invariant: the version in a
//! title is the one that was linked.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use governor::clock::QuantaUpkeepClock;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use throttle_net::{MultiLimiter, PerKey, Throttle};
use tower::Service;
use tower::limit::RateLimit;
use tower::limit::rate::Rate;

use super::timer::{Side, runtime};
use super::waiters::{Crowd, WAITERS};
use crate::locked::version;

/// What a call takes of a second limit. More would empty the peers' 32-bit limits within a run.
const TOKENS: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");

/// So long that nothing comes back while a spent limit is measured.
const AN_HOUR: Duration = Duration::from_secs(3_600);

/// A peer and what was called of it, such as `governor 0.10.4 check()`.
fn title(package: &str, called: &str) -> String {
    format!("{package} {} {called}", version(package))
}

/// governor's limiter of one limit: what most targets are a ratio to.
pub(super) fn governor() -> Side {
    let limiter = RateLimiter::direct(plenty());
    Side::new("governor", title("governor", "check()"), move || limiter.check().is_ok())
}

/// Two of them, one after the other: not all or nothing, as nothing undoes the first.
pub(super) fn governor_twice() -> Side {
    let (requests, tokens) = (RateLimiter::direct(plenty()), RateLimiter::direct(plenty()));
    let title = title("governor", "check() and check_n(10) in sequence");
    Side::new("governor-twice", title, move || {
        requests.check().is_ok() && tokens.check_n(TOKENS).is_ok_and(|fits| fits.is_ok())
    })
}

/// With the clock that a thread moves on every millisecond.
pub(super) fn governor_coarse() -> Option<Side> {
    let clock = QuantaUpkeepClock::from_interval(Duration::from_millis(1)).ok()?;
    let limiter = RateLimiter::direct_with_clock(plenty(), clock);
    let title = title("governor", "check() with its upkeep clock of 1 ms");
    Some(Side::new("governor-coarse", title, move || limiter.check().is_ok()))
}

pub(super) fn governor_refusing() -> Side {
    let quota = Quota::with_period(AN_HOUR).expect("an hour is not zero");
    let limiter = RateLimiter::direct(quota);
    let title = title("governor", "check() refusing");
    // The first one is granted.
    let _ = limiter.check();
    Side::new("governor", title, move || limiter.check().is_ok())
}

pub(super) fn governor_two_threads() -> Side {
    let limiter: Arc<DefaultDirectRateLimiter> = Arc::new(RateLimiter::direct(plenty()));
    let asks = [Arc::clone(&limiter), limiter].map(|limiter| move || limiter.check().is_ok());
    Side::two_threads("governor", title("governor", "check() on two threads"), asks)
}

pub(super) fn governor_awaited() -> Side {
    let limiter = RateLimiter::direct(plenty());
    Side::awaited("governor", title("governor", "until_ready()"), async move || {
        limiter.until_ready().await;
        true
    })
}

pub(super) fn governor_keyed<K: Clone + Eq + Hash + 'static>(keys: Vec<K>) -> Side {
    let limiter = RateLimiter::keyed(plenty());
    let mut keys = Cycle::new(keys);
    let title = title("governor", "check_key(), in a DashMap");
    Side::new("governor", title, move || limiter.check_key(keys.next()).is_ok())
}

pub(super) fn leaky_bucket() -> Side {
    let limiter = plenty_leaking(true);
    let title = title("leaky-bucket", "try_acquire(1)");
    Side::new("leaky-bucket", title, move || limiter.try_acquire(1))
}

/// Without its queue, which decides faster and reads no clock while there is plenty.
pub(super) fn leaky_bucket_unfair() -> Side {
    let limiter = plenty_leaking(false);
    let title = title("leaky-bucket", "try_acquire(1), fair(false)");
    Side::new("leaky-bucket-unfair", title, move || limiter.try_acquire(1))
}

pub(super) fn leaky_bucket_refusing() -> Side {
    let limiter =
        leaky_bucket::RateLimiter::builder().max(1).initial(0).interval(AN_HOUR).refill(1).build();
    let title = title("leaky-bucket", "try_acquire(1) refusing");
    Side::new("leaky-bucket", title, move || limiter.try_acquire(1))
}

pub(super) fn leaky_bucket_two_threads() -> Side {
    let limiter = Arc::new(plenty_leaking(true));
    let asks = [Arc::clone(&limiter), limiter].map(|limiter| move || limiter.try_acquire(1));
    Side::two_threads("leaky-bucket", title("leaky-bucket", "try_acquire(1) on two threads"), asks)
}

pub(super) fn leaky_bucket_awaited() -> Side {
    let limiter = plenty_leaking(true);
    Side::awaited("leaky-bucket", title("leaky-bucket", "acquire(1)"), async move || {
        limiter.acquire(1).await;
        true
    })
}

pub(super) fn throttle() -> Side {
    let limiter = Throttle::per_second(u32::MAX);
    let title = title("throttle-net", "Throttle::try_acquire()");
    Side::new("throttle-net", title, move || limiter.try_acquire())
}

/// Its limiter of several dimensions, not strict about their names, which saves it a look-up.
pub(super) fn throttle_of(dimensions: usize) -> Side {
    let limiter = many(dimensions, || Throttle::per_second(u32::MAX));
    let title = title("throttle-net", "MultiLimiter::try_acquire_costs()");
    Side::new("throttle-net", title, Throttled { limiter, dimensions })
}

pub(super) fn throttle_refusing() -> Side {
    let limiter = many(2, || Throttle::per_duration(10, AN_HOUR));
    let title = title("throttle-net", "MultiLimiter::try_acquire_costs() refusing");
    // The first one is granted.
    let _ = limiter.try_acquire_costs(&COSTS[..2]);
    Side::new("throttle-net", title, move || limiter.try_acquire_costs(&COSTS[..2]))
}

pub(super) fn throttle_two_threads() -> Side {
    let limiter = Arc::new(many(2, || Throttle::per_second(u32::MAX)));
    let asks = [Arc::clone(&limiter), limiter]
        .map(|limiter| move || limiter.try_acquire_costs(&COSTS[..2]));
    let title = title("throttle-net", "MultiLimiter::try_acquire_costs() on two threads");
    Side::two_threads("throttle-net", title, asks)
}

pub(super) fn throttle_awaited() -> Side {
    let limiter = Throttle::per_second(u32::MAX);
    Side::awaited("throttle-net", title("throttle-net", "Throttle::acquire()"), async move || {
        limiter.acquire().await.is_ok()
    })
}

pub(super) fn throttle_keyed<K: Clone + Eq + Hash + Send + Sync + 'static>(keys: Vec<K>) -> Side {
    let limiter = PerKey::<K>::per_second(u32::MAX);
    let mut keys = Cycle::new(keys);
    let title = title("throttle-net", "PerKey::try_acquire()");
    Side::new("throttle-net", title, move || limiter.try_acquire(keys.next()))
}

/// tower's limit of a service: not shared, and asked by `poll_ready` and `call` together, as it
/// counts in the latter.
pub(super) fn tower() -> Side {
    let runtime = runtime();
    let mut service = {
        let _inside = runtime.enter();
        RateLimit::new(Nothing, Rate::new(u64::MAX, AN_HOUR))
    };
    let title = title("tower", "RateLimit: poll_ready() and call()");
    Side::new("tower", title, move || {
        // The runtime has to outlive the service's timer.
        let _runtime = &runtime;
        let mut context = Context::from_waker(Waker::noop());
        let ready = service.poll_ready(&mut context).is_ready();
        ready && service.call(()).into_inner().is_ok()
    })
}

/// Those who wait for leaky-bucket: 20 units every 10 ms.
pub(super) fn leaky_bucket_crowd() -> Crowd {
    leaking_crowd("leaky-bucket", "acquire(1), refilled every 10 ms", Duration::from_millis(10))
}

/// As finely as the others let them through, or as tokio's timer can.
pub(super) fn leaky_bucket_fine_crowd() -> Crowd {
    leaking_crowd("leaky-bucket-fine", "acquire(1), refilled every ms", Duration::from_millis(1))
}

fn leaking_crowd(name: &'static str, called: &str, tick: Duration) -> Crowd {
    Crowd::new(name, title("leaky-bucket", called), move || {
        let ms = usize::try_from(tick.as_millis()).expect("a short tick");
        let refill = WAITERS * ms / 1_000;
        let mut builder = leaky_bucket::RateLimiter::builder();
        builder.initial(0).interval(tick).refill(refill).max(refill);
        let limiter = Arc::new(builder.build());
        move || {
            let limiter = Arc::clone(&limiter);
            async move { limiter.acquire(1).await }
        }
    })
}

pub(super) fn governor_crowd() -> Crowd {
    Crowd::new("governor", title("governor", "until_ready()"), || {
        let a_second = u32::try_from(WAITERS).ok().and_then(NonZeroU32::new);
        let quota = Quota::per_second(a_second.expect("some thousands"));
        let limiter: DefaultDirectRateLimiter =
            RateLimiter::direct(quota.allow_burst(NonZeroU32::MIN));
        let limiter = Arc::new(limiter);
        move || {
            let limiter = Arc::clone(&limiter);
            async move { limiter.until_ready().await }
        }
    })
}

pub(super) fn throttle_crowd() -> Crowd {
    Crowd::new("throttle-net", title("throttle-net", "Throttle::acquire()"), || {
        let a_second = u32::try_from(WAITERS).expect("some thousands");
        let limiter = Throttle::builder().per_second(a_second).burst(1).initial(0).build();
        let limiter = Arc::new(limiter);
        move || {
            let limiter = Arc::clone(&limiter);
            async move { limiter.acquire().await.expect("one unit always fits") }
        }
    })
}

/// So much that it never runs out.
fn plenty() -> Quota {
    Quota::per_second(NonZeroU32::MAX)
}

fn plenty_leaking(fair: bool) -> leaky_bucket::RateLimiter {
    const PLENTY: usize = 1 << 40;
    let mut builder = leaky_bucket::RateLimiter::builder();
    builder.max(PLENTY).initial(PLENTY).refill(PLENTY).interval(Duration::from_millis(100));
    builder.fair(fair).build()
}

fn many(dimensions: usize, limiter: impl Fn() -> Throttle) -> MultiLimiter {
    let mut builder = MultiLimiter::builder().strict(false);
    for (name, _) in &COSTS[..dimensions] {
        builder = builder.dimension(*name, limiter());
    }
    builder.build()
}

/// What a call costs in each dimension of throttle-net's, and what it then turns out to have.
const COSTS: [(&str, u32); 8] = costs(TOKENS.get());
const USED: [(&str, u32); 8] = costs(TOKENS.get() - 1);

const fn costs(tokens: u32) -> [(&'static str, u32); 8] {
    [
        ("requests", 1),
        ("tokens", tokens),
        ("requests_per_second", 1),
        ("tokens_per_second", tokens),
        ("input", tokens),
        ("output", tokens),
        ("input_per_second", tokens),
        ("output_per_second", tokens),
    ]
}

struct Throttled {
    limiter: MultiLimiter,
    dimensions: usize,
}

impl super::timer::Subject for Throttled {
    const SETTLES: bool = true;

    fn acquire(&mut self, _place: usize) -> bool {
        self.limiter.try_acquire_costs(&COSTS[..self.dimensions])
    }

    fn settle(&mut self, _place: usize) {
        self.limiter.settle_costs(&COSTS[..self.dimensions], &USED[..self.dimensions]);
    }
}

/// Keys, one after the other, for ever.
pub(super) struct Cycle<K> {
    keys: Vec<K>,
    next: usize,
}

impl<K> Cycle<K> {
    /// Through these, of which there is at least one.
    pub(super) const fn new(keys: Vec<K>) -> Self {
        Self { keys, next: 0 }
    }

    pub(super) fn next(&mut self) -> &K {
        let at = self.next;
        self.next = if at + 1 == self.keys.len() { 0 } else { at + 1 };
        &self.keys[at]
    }
}

/// A service that does nothing.
struct Nothing;

impl Service<()> for Nothing {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_those_of_the_lock_file() {
        for package in ["governor", "leaky-bucket", "throttle-net", "tower"] {
            assert!(
                version(package).starts_with(|first: char| first.is_ascii_digit()),
                "{package}"
            );
        }
        assert_eq!(version("no-such-package"), "?");
    }
}
