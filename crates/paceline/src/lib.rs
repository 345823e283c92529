//! Use all of your Grok quota and none beyond it: no 429, a known cost.
//!
//! The client estimates what a call will use, waits for its turn in the request and token limits
//! at once, keeps spending below a cap and within budgets, settles with what the server reports, adopts the limits
//! that the server states, and backs off properly when told to.
//!
//! ```no_run
//! use paceline::{Chat, Client};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // The key comes from XAI_API_KEY.
//!     let client = Client::builder().build()?;
//!     let mut calls = tokio::task::JoinSet::new();
//!     for number in 1..=200 {
//!         let client = client.clone();
//!         calls.spawn(async move {
//!             client.chat(&Chat::new("grok-4.3").user(format!("A fact about {number}?"))).await
//!         });
//!     }
//!     while let Some(reply) = calls.join_next().await {
//!         println!("{}", reply??.text().unwrap_or_default());
//!     }
//!     Ok(())
//! }
//! ```
//!
//! | part | holds |
//! |---|---|
//! | [`Client`], [`ClientBuilder`] | calls, estimates, limits |
//! | [`Chat`], [`Responses`], [`JsonCall`], [`Path`] | what can be asked |
//! | [`Reply`], [`ReplyStream`], [`Error`], [`ErrorKind`] | what comes back |
//! | [`PriceList`] | what the server says that its models cost |
//! | [`Permit`] | the middle alone, around somebody else's client |
//! | [`Event`], [`Events`] | what happens, for whoever watches |
//! | [`RetryPolicy`] | what is tried again, by this layer alone |
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `reqwest` | yes | a transport, so that a builder without one works |
//! | `tower` | no | `tower::PacedLayer`: another client's requests wait for their turn |
//! | `async-openai` | no | a service for `async-openai` |
//! | `blocking` | no | `blocking::Client`, for scripts and threads |
//! | `futures-core` | no | [`ReplyStream`] is a `Stream` of that crate |
//! | `metrics` | no | counters and histograms of the `metrics` crate |
//! | `tiktoken` | no | [`budget`]`::O200k`, a public tokenizer for [`ClientBuilder::tokenizer`] |
//! | `kitoken` | no | [`budget`]`::FileTokenizer`, one that you have as a file; needs Rust 1.92 |
//! | `mock` | no | `paceline_transport::mock` for tests of your program |
//!
//! It shares no quota between processes, and never retries around the
//! limits.

mod adopt;
mod ask;
mod attempt;
#[cfg(feature = "blocking")]
pub mod blocking;
mod budgets;
mod builder;
mod call;
mod client;
mod demand;
mod discover;
mod error;
mod event;
#[cfg(feature = "tower")]
mod in_flight;
mod job;
mod learn;
mod line;
mod permit;
mod prices;
mod reply;
mod request;
mod retry;
mod shape;
mod stream;
mod terms;
mod tokenize;
#[cfg(feature = "tower")]
pub mod tower;

pub use builder::{ClientBuilder, XAI_BASE_URL, XAI_KEY_VARIABLE};
pub use client::{Client, PastCall};
pub use discover::KnownLimit;
pub use error::{Error, ErrorKind};
pub use event::{Event, EventKind, Events};
pub use job::{CostRange, JobRange};
pub use learn::{CountedAt, ServerRule, WindowShape};
pub use paceline_budget as budget;
pub use paceline_core as core;
pub use paceline_limiter as limiter;
pub use paceline_transport as transport;
pub use permit::Permit;
pub use prices::{PriceList, PriceProblem};
pub use reply::Reply;
pub use request::{Chat, JsonCall, Path, Responses};
pub use retry::RetryPolicy;
pub use stream::ReplyStream;

/// The examples of the READMEs, compiled.
#[cfg(all(doctest, feature = "reqwest"))]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../../../README.md")]
struct ReadmeDoctests;
