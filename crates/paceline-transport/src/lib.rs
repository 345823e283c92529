//! Send one HTTP request to a language-model API, and read what it answers about limits, errors
//! and usage.
//!
//! Two independent halves. The seam: [`Transport`] puts a request on the wire, once, and
//! [`TransportError`] says whether a failed one may have been charged. The parsers: pure
//! functions over headers, error bodies and usage, that take anything a network can send.
//!
//! ```
//! use paceline_core::UnixMillis;
//! use paceline_transport::error_body::{ServerError, Stop, Verdict};
//! use paceline_transport::headers::RateHeaders;
//!
//! // The same status, 429, for money: waiting does not help.
//! let headers = RateHeaders::parse(&http::HeaderMap::new(), UnixMillis::new(0));
//! let body = br#"{"error": "Your team t has either used all available credits or reached its monthly spending limit."}"#;
//! let error = ServerError::read(http::StatusCode::TOO_MANY_REQUESTS, &headers, body);
//! assert_eq!(error.verdict(), Verdict::Stop(Stop::NoCredits));
//! ```
//!
//! | module | holds |
//! |---|---|
//! | root | [`Transport`], [`Body`], [`TransportError`], [`ApiKey`] |
//! | [`base_url`] | [`BaseUrl`]: where the API is, checked |
//! | [`headers`] | [`RateHeaders`](headers::RateHeaders): stated limits, remainders, `retry-after` |
//! | [`error_body`] | [`ServerError`](error_body::ServerError): any error body, one taxonomy |
//! | [`answer`] | the text of a whole answer, and whether its cap ended it |
//! | [`sse`] | [`Decoder`](sse::Decoder), [`AnswerStream`](sse::AnswerStream): streamed answers at every cut |
//! | [`usage`] | [`UsageReading`](usage::UsageReading): tokens and cost, checked |
//! | `reqwest` | `ReqwestTransport`, the default way onto the wire |
//! | `mock` | `MockTransport`, scripted answers for tests |
//! | `conformance` | `check`: whether a transport of your own keeps every rule |
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `reqwest` | yes | module `reqwest`: rustls, HTTP/1.1 and HTTP/2, on tokio |
//! | `mock` | no | module `mock`, on tokio's clock |
//! | `conformance` | no | module `conformance`, for tests: a server on loopback, on tokio |
//!
//! It does not limit, price, retry or redirect, and reads neither environment nor clock for
//! the parsers. Without features it has neither an HTTP stack nor a runtime.

pub mod answer;
mod api_key;
pub mod base_url;
mod body;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
pub mod error_body;
mod excerpt;
pub mod headers;
#[cfg(feature = "mock")]
pub mod mock;
#[cfg(feature = "reqwest")]
pub mod reqwest;
pub mod sse;
mod transport;
pub mod usage;

pub use api_key::{ApiKey, ApiKeyError};
pub use async_trait::async_trait;
pub use base_url::{BaseUrl, BaseUrlError};
pub use body::Body;
pub use error::{Reach, TimeoutKind, TransportError, TransportErrorKind};
pub use transport::Transport;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
