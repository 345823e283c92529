//! What a server means when it does not answer with what was asked for.
//!
//! It reads status, headers and body, and decides what kind of failure it is. It does not wait,
//! retry, or guess what a call has cost. What this file keeps: the text decides and the status
//! comes second, because the same status means different things; nothing that leaves it holds a
//! key, a control character, or text without bound.

mod classify;
mod rates;
mod shape;

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use paceline_core::Dimension;

use crate::excerpt::excerpt;
use crate::headers::RateHeaders;

/// A server's error, read and classified.
///
/// ```
/// use paceline_core::{Dimension, UnixMillis};
/// use paceline_transport::error_body::{ServerError, Verdict, Wait};
/// use paceline_transport::headers::RateHeaders;
///
/// let headers = RateHeaders::parse(&http::HeaderMap::new(), UnixMillis::new(0));
/// let body = br#"{"code": "resource-exhausted", "error": "Too many requests for team t and model m. Your team's rate limit is: Requests per Minute (actual/limit): 73/60."}"#;
/// let error = ServerError::read(http::StatusCode::TOO_MANY_REQUESTS, &headers, body);
///
/// assert_eq!(error.verdict(), Verdict::Wait(Wait::Rate));
/// let rate = &error.rates()[0];
/// assert_eq!((rate.dimension, rate.actual, rate.limit), (Dimension::Requests, 73, 60));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    status: u16,
    verdict: Verdict,
    message: String,
    code: Option<String>,
    rates: Vec<RateReading>,
    resets_in: Option<Duration>,
}

/// What to do about a server's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Refused for now, at no cost: wait, then send it again.
    Wait(
        /// What for.
        Wait,
    ),
    /// A transient failure.
    Retry(
        /// Whether it may have cost something.
        Retry,
    ),
    /// Ends every call with this key.
    Stop(
        /// Why.
        Stop,
    ),
    /// Ends this call; others may succeed. Sending it again is the same.
    Reject(
        /// Why.
        Reject,
    ),
}

/// What a call has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wait {
    /// The caller's own rate: see [`ServerError::rates`].
    Rate,
    /// The server's capacity, said with a 429.
    Capacity,
}

/// Whether a transient failure may have cost something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// 503 and 529: refused before anything was generated.
    Overloaded,
    /// 500, 502, 504, 52x, 408, 409: it may have been generated, and charged.
    MaybeCharged,
}

/// Why no call with this key can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stop {
    /// The credits are used up, the spending limit is reached, or the free quota is.
    NoCredits,
    /// The key is missing or wrong. xAI says so with a 400, too.
    BadKey,
    /// The key may not do this; also a limit of zero.
    NoEntitlement,
    /// The key, the team or this address is blocked.
    Blocked,
}

/// Why this call can't succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reject {
    /// The content violates the usage guidelines. It may have been charged.
    Content,
    /// The prompt is longer than the model takes.
    ContextOverflow,
    /// The model does not exist, or not for this team.
    UnknownModel,
    /// The request is malformed, or asks for what can't be done.
    BadRequest,
    /// The request is too large.
    TooLarge,
    /// Anything else that sending again does not help.
    Other,
}

/// One rate that a refusal names: how much the server had counted, of how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RateReading {
    /// What is counted.
    pub dimension: Dimension,
    /// The window.
    pub window: Duration,
    /// What the server says it had counted. Refused requests count too, so that it may be far
    /// above the limit.
    pub actual: u64,
    /// The server's limit. Zero where the team may not use the model.
    pub limit: u64,
}

impl RateReading {
    /// A rate: so much counted, of so much, in such a window.
    pub const fn new(dimension: Dimension, window: Duration, actual: u64, limit: u64) -> Self {
        Self { dimension, window, actual, limit }
    }
}

impl ServerError {
    /// Reads an answer that is no success: any body, of any length (the first 64 KiB count), in
    /// any of the shapes xAI and those in front of it send: `{"code", "error"}`, the same nested
    /// as `{"error": {"message", "code"}}`, a bare JSON string, HTML, plain text, nothing.
    ///
    /// Rates are read at 429 and in an error that came with a success status; under any other status only
    /// where the message begins as refusals for a rate do, because it may echo the prompt.
    ///
    /// Also takes an error that came with a success status, as streams send them; then nothing
    /// is taken as refused before generation but a rate. `x-should-retry: false` turns every
    /// wait and retry into [`Reject::Other`].
    pub fn read(status: StatusCode, headers: &RateHeaders, body: &[u8]) -> Self {
        let body = &body[..body.len().min(MAX_BODY)];
        let shape = shape::read(body);
        let said = classify::beginning(&shape.message);
        // In the middle of another error such words are an echo of what was asked.
        let may_say = status.is_success() || status == StatusCode::TOO_MANY_REQUESTS;
        let rates = if may_say || classify::is_about_rates(said) {
            rates::readings(said)
        } else {
            Vec::new()
        };
        let verdict = match classify::verdict(status.as_u16(), &shape, &rates) {
            Verdict::Wait(_) | Verdict::Retry(_) if headers.should_retry() == Some(false) => {
                Verdict::Reject(Reject::Other)
            }
            verdict => verdict,
        };
        Self {
            status: status.as_u16(),
            verdict,
            resets_in: rates::resets_in(said),
            message: excerpt(&shape.message, MAX_MESSAGE),
            code: shape.code.map(|code| excerpt(&code, MAX_CODE)).filter(|code| !code.is_empty()),
            rates,
        }
    }

    /// What to do about it.
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What the server said: at most 500 characters, control characters escaped, keys redacted.
    /// Empty where it said nothing.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The server's code for it: at most 100 characters, escaped. xAI's codes were sentences
    /// until the middle of 2026 and are words like `resource-exhausted` since.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The rates that the message names, in its order; at most 8.
    pub fn rates(&self) -> &[RateReading] {
        &self.rates
    }

    /// The time until the limit resets, where the message says it ("Resets in: 1h 2m 3s").
    pub const fn resets_in(&self) -> Option<Duration> {
        self.resets_in
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.status)?;
        match (self.message.as_str(), self.code()) {
            ("", None) => Ok(()),
            ("", Some(said)) | (said, _) => write!(f, ": {said}"),
        }
    }
}

impl std::error::Error for ServerError {}

/// How much of a body is read: real ones are below 1 KiB, error pages below 20.
const MAX_BODY: usize = 64 * 1024;

/// How much of a message is kept, in characters. The longest of xAI's seen has about 400.
const MAX_MESSAGE: usize = 500;

/// How much of a code is kept, in characters.
const MAX_CODE: usize = 100;
