//! Several different limits, decided all or nothing, never exceeded, settled to what was used.
//!
//! A job scheduler, a database client, an API client: whatever has to stay below so many
//! requests per second *and* so many units per minute, and only learns afterwards how many units
//! a call really took. A token bucket lets up to twice its limit through in one window and
//! mints when it gives back; this limiter does neither.
//!
//! ```
//! use std::num::NonZeroU64;
//! use std::time::Duration;
//! use paceline_limiter::{
//!     Actual, Amount, Demand, Dimension, Instant, Limit, LimitKey, Limiter, Pacing, Quota,
//!     Refusal,
//! };
//!
//! const UNITS: Dimension = Dimension::custom::<0>(); // whatever you count
//!
//! let mut limiter = Limiter::new();
//! let requests = Quota::per_second(NonZeroU64::new(10).unwrap());
//! let units = Quota::per_minute(NonZeroU64::new(6_000).unwrap());
//! limiter.add(Limit::new(LimitKey::All, Dimension::Requests, requests).paced(Pacing::Even))?;
//! limiter.add(Limit::new(LimitKey::All, UNITS, units))?;
//!
//! // Probably 900 units, at most 4,000.
//! let job = Demand::new()
//!     .with(Dimension::Requests, Amount::exact(1))
//!     .with(UNITS, Amount::expected(900).upper(4_000));
//! let now = Instant::ORIGIN;
//! let receipt = limiter.try_acquire(&job, now)?;
//!
//! // A second one might not fit: the refusal says which limit binds.
//! let Err(Refusal::NotUntil(blocked)) = limiter.try_acquire(&job, now) else { panic!() };
//! assert_eq!(blocked.by.map(|by| by.dimension), Some(UNITS));
//!
//! // The first one took 820 after all.
//! let later = now + Duration::from_millis(400);
//! limiter.settle(receipt, &Actual::new().with(UNITS, 820), later);
//! assert!(limiter.try_acquire(&job, later).is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | part | holds |
//! |---|---|
//! | [`Demand`], [`Amount`], [`Actual`], [`Quota`] | what a call asks for, what it used, how much there is: from `paceline-core`, and all of it named here, too |
//! | [`Limiter`] | the pure form: `&mut self`, time as an argument, nothing waits |
//! | `clock::SharedLimiter` (feature `clock`) | the form for threads: a cheap handle that can block |
//! | `clock::SharedKeyedLimiter` (feature `clock`) | the form for many keys: a cheap handle, a lock for each shard of them |
//! | `tokio::SharedLimiter` (feature `tokio`) | the form for tasks: a cheap handle, an [`Admission`] |
//! | `Permit` (either feature) | a call that was admitted, and ends where it is dropped |
//! | [`KeyedLimiter`] | the same limits for each of many keys: tenants, users, addresses |
//! | [`Limit`], [`ChargeRule`], [`Pacing`] | one limit: how much, when the server counts, how it is spaced |
//! | [`Profile`] | which of these to use for which server |
//! | [`QueuePolicy`], [`FairShare`], [`Overtaking`] | in which order those who wait are served |
//! | [`Saved`], [`Restored`] | what outlives a restart |
//! | [`Snapshot`] | what is used, held and free, and what blocks |
//! | [`guide`] | pages: which profile, what is promised, compared with governor |
//!
//! Whole programs are in the folder `examples`: a job runner with two limits, threads that share a
//! database's read units, a pool of workers shared by weight.
//!
//! # Promises
//! * What is reserved or settled in any rolling window never exceeds the limit in force at each
//!   admission, as long as calls settle to no more than they reserved and delays stay within the
//!   delay bound. ([`ChargeRule::Flow`] and [`Pacing::Bucket`] promise less, and say what.)
//! * A refused, cancelled or expired demand changes nothing, in any limit.
//! * Reserved = settled + released + outstanding; nothing is outstanding when idle.
//! * An overrun is counted and delays later calls; it is never forgotten or minted.
//! * Within a [`Class`], first come is first served, also for large demands.
//!
//! [What is promised](guide::promises) has each in full, with the tests that hold it.
//!
//! # What it does not do
//! It makes no calls, estimates nothing and shares nothing between processes. The default
//! features depend on nothing but the vocabulary crate `paceline-core`. For one limit of one unit
//! a call, [governor](guide::compared_with_governor) is smaller and lock-free.
//!
//! There is no `no_std` yet: the pure form uses nothing that `core` and `alloc` lack, but numbers
//! limiters by an atomic of 64 bits, which small targets don't have.
//!
//! # Features
//! None is on by default, and none changes what another does.
//!
//! | feature | adds |
//! |---|---|
//! | `clock` | `clock::SharedLimiter`: threads wait, on the processor's clock; `CoarseClock`; `clock::SharedKeyedLimiter`; `Permit` |
//! | `tokio` | `tokio::SharedLimiter`: tasks wait, on tokio's clock; `Permit` |
//! | `serde` | [`Saved`] is `Serialize` and `Deserialize` |

#[cfg(feature = "clock")]
pub mod clock;
mod flow;
pub mod guide;
mod keyed;
mod limit;
mod limiter;
mod pacer;
#[cfg(any(feature = "clock", feature = "tokio"))]
mod permit;
mod profile;
mod queue;
mod scopes;
#[cfg(any(feature = "clock", feature = "tokio"))]
mod shared;
mod snapshot;
mod state;
#[cfg(any(feature = "clock", feature = "tokio"))]
mod sync;
#[cfg(feature = "tokio")]
pub mod tokio;
mod window;

/// The words of every Paceline crate, so that this one is enough in a manifest.
pub use paceline_core::{
    Acquire, Actual, Admission, Amount, Blocked, Caller, ChargeMoment, Class, Clock, Completion,
    CustomDimension, Demand, Dimension, Instant, LimitKey, LimiterId, ManualClock, ModelId, Money,
    Observation, Quota, QuotaError, Receipt, Refill, Refusal, RefusedBy, Tag,
};

pub use flow::{SavedClass, SavedFlow};
pub use keyed::{KeyedError, KeyedLimiter};
pub use limit::{ChargeRule, Limit, LimitError, Pacing};
pub use limiter::{Limiter, MAX_WIDENED, Restored, Saved, SavedPause, Served};
#[cfg(any(feature = "clock", feature = "tokio"))]
pub use permit::{Issuer, Permit};
pub use profile::Profile;
pub use queue::{FairShare, Overtaking, QueuePolicy, QueuePolicyError, Ticket};
pub use snapshot::{Binds, LimitSnapshot, PauseSnapshot, Snapshot};
pub use state::{SavedDelay, SavedLimit};

/// The examples of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
