//! The promises of `paceline-transport`, through its public interface alone.

#![expect(clippy::unwrap_used, reason = "the lint's exception for tests leaves out their helpers")]

#[cfg(all(feature = "conformance", feature = "reqwest"))]
mod conformance;
mod corpus;
mod errors;
mod headers;
mod laws;
#[cfg(feature = "mock")]
mod mock;
mod never_panics;
#[cfg(feature = "reqwest")]
mod reqwest;
mod seam;
mod sse;
#[cfg(feature = "reqwest")]
mod tls;
mod usage;
