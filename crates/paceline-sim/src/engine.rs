//! One limit of a server, in the shapes that servers have, and the logs that judge a client by.
//!
//! Pure: time is an argument. Integers only. It forecasts nothing, waits for nothing, and shares
//! no code with any limiter. Invariant: a call is judged by what has been counted, never by what
//! is to come.
//!
//! ```
//! use std::time::Duration;
//! use paceline_core::Instant;
//! use paceline_sim::engine::{Ask, Charge, Meter, Rule, Shape};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let minute = Duration::from_secs(60);
//! let mut meter = Meter::new(Rule::new(1_000, minute, Shape::Sliding, Charge::Completion)?);
//! let start = Instant::ORIGIN;
//! let call = meter.arrive(Ask::new(700).input(100), start)?;
//! assert_eq!(meter.used(start), 0);
//! let end = start + Duration::from_secs(3);
//! assert!(meter.complete(call, end));
//! assert_eq!(meter.remaining(end), 300);
//! // What is exactly a window old has left it.
//! assert_eq!(meter.used(end + minute), 0);
//! # Ok(())
//! # }
//! ```
//!
//! | item | is |
//! |---|---|
//! | [`Shape`], [`Charge`], [`Rule`], [`shapes`] | what a limit counts and how it forgets, as data |
//! | [`Meter`] | the running count of one limit: admits, refuses, counts |
//! | [`Log`] | every event there was, and the fullest window among them |
//! | [`Rolling`] | the same for runs too long to keep: holds the last window only |
//!
//! What judges a client is the last two: they know of no rule, only of amounts and moments.

mod bucket;
mod log;
mod meter;
mod rolling;
mod rule;
mod slots;
#[cfg(test)]
mod tests;

pub use log::Log;
pub use meter::{Ask, Call, Exceeded, Meter};
pub use rolling::{Rolling, TooLate};
pub use rule::{Charge, InvalidRule, Rule, Shape, shapes};
pub(crate) use slots::Slots;
