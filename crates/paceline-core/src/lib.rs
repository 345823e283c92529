//! The words that every Paceline crate shares.
//!
//! A call to a limited, paid API is described as data before it leaves: a [`Demand`] says, per
//! [`Dimension`], how much it will probably use and how much it could use at most. An
//! [`Admission`] answers with a [`Receipt`]; when the call is over, [`Actual`] says what it really
//! used, and the receipt is settled.
//!
//! ```
//! use std::time::Duration;
//! use paceline_core::{Actual, Amount, Completion, Demand, Dimension};
//!
//! let demand = Demand::new()
//!     .with(Dimension::Requests, Amount::exact(1))
//!     .with(Dimension::TotalTokens, Amount::expected(420).spread(90).upper(900))
//!     .completes(Completion::between(Duration::from_secs(1), Duration::from_secs(9)))
//!     .model("grok-4.3");
//! assert_eq!(demand.amount(Dimension::TotalTokens).map(Amount::upper_amount), Some(900));
//!
//! let actual = Actual::new().with(Dimension::TotalTokens, 388);
//! assert_eq!(actual.amount(Dimension::TotalTokens), Some(388));
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `time` | [`Instant`], [`Clock`], [`ManualClock`], [`UnixMillis`]: time as an argument |
//! | `quota` | [`Quota`], [`Refill`]: how much per window |
//! | `dimension` | [`Dimension`]: what is counted |
//! | `demand` | [`Demand`], [`Amount`], [`Completion`], [`Class`]: what one call asks for |
//! | `receipt` | [`Receipt`], [`Actual`]: what was granted, and what was used |
//! | `admission` | [`Admission`], [`Acquire`], [`Refusal`], [`Observation`]: the seam to the limits |
//! | `limit_key` | [`LimitKey`], [`Tag`], [`Caller`]: what shares a limit |
//! | `usage` | [`Usage`], [`Certainty`]: tokens as the server reported them |
//! | `money` | [`Money`]: integer ticks of 10⁻¹⁰ US dollars |
//! | `model` | [`ModelId`] |
//!
//! Features: `serde` derives `Serialize` and `Deserialize` for the plain-data types. The crate has
//! no other dependency, reads no clock, does no I/O, parses nothing.

mod admission;
mod demand;
mod dimension;
mod limit_key;
mod model;
mod money;
mod quota;
mod receipt;
mod text;
mod time;
mod usage;

pub use admission::{Acquire, Admission, Blocked, ChargeMoment, Observation, Refusal, RefusedBy};
pub use demand::{Amount, Class, Completion, Demand};
pub use dimension::{CustomDimension, Dimension};
pub use limit_key::{Caller, LimitKey, Tag};
pub use model::ModelId;
pub use money::Money;
pub use quota::{Quota, QuotaError, Refill};
pub use receipt::{Actual, LimiterId, Receipt};
pub use time::{Clock, Instant, ManualClock, UnixMillis};
pub use usage::{Certainty, Usage, UsageError};

/// The example of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
