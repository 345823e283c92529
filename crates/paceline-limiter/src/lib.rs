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
//! use paceline_core::{Actual, Amount, Demand, Dimension, Instant, LimitKey, Quota, Refusal};
//! use paceline_limiter::{Limit, Limiter, Pacing};
//!
//! let mut limiter = Limiter::new();
//! let requests = Quota::per_second(NonZeroU64::new(10).unwrap());
//! let units = Quota::per_minute(NonZeroU64::new(6_000).unwrap());
//! limiter.add(Limit::new(LimitKey::All, Dimension::Requests, requests).paced(Pacing::Even))?;
//! limiter.add(Limit::new(LimitKey::All, Dimension::TotalTokens, units))?;
//!
//! // Probably 900 units, at most 4,000.
//! let job = Demand::call(Amount::expected(900).upper(4_000));
//! let now = Instant::ORIGIN;
//! let receipt = limiter.try_acquire(&job, now)?;
//!
//! // A second one might not fit: the refusal says which limit binds.
//! let Err(Refusal::NotUntil(blocked)) = limiter.try_acquire(&job, now) else { panic!() };
//! assert_eq!(blocked.by.map(|by| by.dimension), Some(Dimension::TotalTokens));
//!
//! // The first one took 820 after all.
//! let later = now + Duration::from_millis(400);
//! limiter.settle(receipt, &Actual::new().with(Dimension::TotalTokens, 820), later);
//! assert!(limiter.try_acquire(&job, later).is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | part | holds |
//! |---|---|
//! | [`Limiter`] | the pure form: `&mut self`, time as an argument, nothing waits |
//! | [`Limit`], [`ChargeRule`], [`Pacing`] | one limit: how much, when the server counts, how it is spaced |
//! | [`Profile`] | which of these to use for which server |
//! | [`Snapshot`] | what is used, held and free, and what blocks |
//! | `tokio::SharedLimiter` (feature `tokio`) | the waiting form: a cheap handle, an [`Admission`](paceline_core::Admission) |
//!
//! # Promises
//! * What is reserved or settled in any rolling window never exceeds the limit in force at each
//!   admission, as long as calls settle to no more than they reserved and delays stay within the
//!   delay bound.
//! * A refused, cancelled or expired demand changes nothing, in any limit.
//! * Reserved = settled + released + outstanding; nothing is outstanding when idle.
//! * An overrun is counted and delays later calls; it is never forgotten or minted.
//!
//! # What it does not do
//! It makes no calls, estimates nothing and shares nothing between processes. The default
//! features depend on nothing but the vocabulary crate `paceline-core`.
//!
//! # Features
//! | feature | adds |
//! |---|---|
//! | `tokio` | [`tokio`]: the waiting form on tokio's clock |

#[cfg_attr(not(test), expect(dead_code, reason = "the limiter does not charge by it yet"))]
mod flow;
mod limit;
mod limiter;
mod pacer;
mod profile;
mod queue;
mod snapshot;
mod state;
#[cfg(feature = "tokio")]
pub mod tokio;
mod window;

pub use limit::{ChargeRule, Limit, LimitError, Pacing};
pub use limiter::{Limiter, MAX_WIDENED, Served};
pub use profile::Profile;
pub use queue::Ticket;
pub use snapshot::{LimitSnapshot, Snapshot};

/// The examples of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
