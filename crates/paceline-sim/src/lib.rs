//! A simulated Grok server: the rules, and an HTTP server on loopback that keeps them.
//!
//! It exists to be tried without a key, and to judge: it shares no code with the limiter, the
//! estimator or the parsers of the other crates.
//!
//! ```
//! use paceline_core::Instant;
//! use paceline_sim::rules::{Decision, Limits, Rules};
//!
//! let mut rules = Rules::new(Limits::new().rpm(480));
//! assert!(matches!(rules.arrive(Instant::ORIGIN, 140), Decision::Admitted(_)));
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`engine`] | one limit of any server in thirteen shapes and more, and the logs that judge: pure |
//! | [`rules`] | Grok's limits: when a call is admitted, and what it counts: exact, naive, pure |
//! | [`token_rule`] | how another server counts tokens: the thirteen shapes by name |
//! | `http` (feature `http`, default) | the server: chat completions and responses, plain and as streams, models, process, stats |
//!
//! It answers with made-up prose. Which rule is measured and which
//! assumed is said at [`rules`] and in the README.

pub mod engine;
#[cfg(feature = "http")]
pub mod http;
pub mod rules;
pub mod token_rule;

/// The example of the README, compiled and run.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
