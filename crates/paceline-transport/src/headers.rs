//! What the headers of an answer say about limits and about trying again.
//!
//! Reads no clock and no body. What this file keeps: a value that is malformed or contradicts
//! itself is absent, never a wrong number, and is named in [`RateHeaders::ignored`].

mod grammar;
mod retry_after;

use std::time::Duration;

use http::HeaderMap;
use paceline_core::UnixMillis;

use crate::excerpt::excerpt;
use grammar::{Grammar, XAI};

/// The rate-limit headers of one answer, in the xAI and OpenAI spelling
/// (`x-ratelimit-limit-requests` and its siblings), and the hints on when to try again.
///
/// Everything is optional: xAI sent none of them before 2026, never sends resets, and was not
/// seen to send `retry-after` with a success.
///
/// ```
/// use paceline_core::UnixMillis;
/// use paceline_transport::headers::{RateHeaders, StatedLimit};
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("x-ratelimit-limit-requests", http::HeaderValue::from_static("1800"));
/// headers.insert("x-ratelimit-limit-tokens", http::HeaderValue::from_static("18446744073709551615"));
/// headers.insert("retry-after", http::HeaderValue::from_static("soon"));
///
/// let read = RateHeaders::parse(&headers, UnixMillis::new(0));
/// assert_eq!(read.limit_requests(), Some(StatedLimit::Limit(1800)));
/// assert_eq!(read.limit_tokens(), Some(StatedLimit::Unlimited));
/// assert_eq!(read.retry_after(), None);
/// assert_eq!(read.ignored(), ["retry-after"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateHeaders {
    limit_requests: Option<StatedLimit>,
    limit_tokens: Option<StatedLimit>,
    remaining_requests: Option<u64>,
    remaining_tokens: Option<u64>,
    retry_after: Option<Duration>,
    should_retry: Option<bool>,
    request_id: Option<String>,
    ignored: Vec<&'static str>,
}

/// A limit as a header states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a stated limit is a number or none at all")]
pub enum StatedLimit {
    /// So many per minute, 1 or more.
    Limit(u64),
    /// Not limited: the header held the largest signed or unsigned 64-bit number.
    Unlimited,
}

impl RateHeaders {
    /// Reads the headers of an answer that arrived at `now` (which a `retry-after` date is
    /// compared with).
    ///
    /// Where a header comes more than once, the tightest valid value counts: the lowest limit
    /// and remainder, the longest wait, `false` before `true`.
    pub fn parse(headers: &HeaderMap, now: UnixMillis) -> Self {
        let mut read = Self::default();
        read.read_limits(headers, &XAI);
        read.read_hints(headers, now);
        read
    }

    /// The limit of requests per minute.
    pub const fn limit_requests(&self) -> Option<StatedLimit> {
        self.limit_requests
    }

    /// The limit of tokens per minute.
    pub const fn limit_tokens(&self) -> Option<StatedLimit> {
        self.limit_tokens
    }

    /// Requests left in the server's window; this call is already taken off.
    ///
    /// The server keeps several counters, and some answers carry a fresh one: it may only ever
    /// tighten what is known, and says nothing where it equals the limit.
    pub const fn remaining_requests(&self) -> Option<u64> {
        self.remaining_requests
    }

    /// Tokens left in the server's window, without this call's; as above. An unlimited one
    /// counts down too.
    pub const fn remaining_tokens(&self) -> Option<u64> {
        self.remaining_tokens
    }

    /// The least time to wait before trying again: the longer of `retry-after` (seconds, whole
    /// or decimal, or a date) and `retry-after-ms`. Rounded up to a nanosecond; zero for 0 and
    /// for a date that is past. May be years: whoever waits sets a ceiling.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What `x-should-retry` says. `Some(false)` forbids a retry.
    pub const fn should_retry(&self) -> Option<bool> {
        self.should_retry
    }

    /// The server's name for this request, at most 128 characters, control characters escaped.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The headers that were there and not understood.
    pub fn ignored(&self) -> &[&'static str] {
        &self.ignored
    }

    fn read_limits(&mut self, headers: &HeaderMap, grammar: &Grammar) {
        self.limit_requests = self.tightest(headers, grammar.limit_requests, grammar.limit);
        self.limit_tokens = self.tightest(headers, grammar.limit_tokens, grammar.limit);
        self.remaining_requests =
            self.tightest(headers, grammar.remaining_requests, grammar.remaining);
        self.remaining_tokens = self.tightest(headers, grammar.remaining_tokens, grammar.remaining);
        // More left than the limit allows is a contradiction; the limit is the safer half.
        for (limit, remaining, name) in [
            (self.limit_requests, &mut self.remaining_requests, grammar.remaining_requests),
            (self.limit_tokens, &mut self.remaining_tokens, grammar.remaining_tokens),
        ] {
            if let (Some(StatedLimit::Limit(limit)), Some(left)) = (limit, *remaining) {
                if left > limit {
                    *remaining = None;
                    note(&mut self.ignored, name);
                }
            }
        }
    }

    fn read_hints(&mut self, headers: &HeaderMap, now: UnixMillis) {
        let seconds = self
            .values(headers, "retry-after", |text| retry_after::seconds_or_date(text, now))
            .into_iter()
            .max();
        let millis =
            self.values(headers, "retry-after-ms", retry_after::milliseconds).into_iter().max();
        self.retry_after = seconds.max(millis);
        self.should_retry = self
            .values(headers, "x-should-retry", |text| match text {
                _ if text.eq_ignore_ascii_case("true") => Some(true),
                _ if text.eq_ignore_ascii_case("false") => Some(false),
                _ => None,
            })
            .into_iter()
            .min();
        self.request_id = self
            .values(headers, "x-request-id", |text| Some(excerpt(text, MAX_REQUEST_ID)))
            .into_iter()
            .find(|id| !id.is_empty());
    }

    /// The smallest valid value of a header.
    fn tightest<T: Tightness>(
        &mut self,
        headers: &HeaderMap,
        name: &'static str,
        read: fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.values(headers, name, read).into_iter().min_by_key(Tightness::rank)
    }

    /// Every valid value of a header, of the first [`MAX_REPEATS`]; notes the others as ignored.
    fn values<T>(
        &mut self,
        headers: &HeaderMap,
        name: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let mut valid = Vec::new();
        for value in headers.get_all(name).iter().take(MAX_REPEATS) {
            match value.to_str().ok().and_then(|text| read(text.trim())) {
                Some(value) => valid.push(value),
                None => note(&mut self.ignored, name),
            }
        }
        valid
    }
}

/// Lists a header once.
fn note(ignored: &mut Vec<&'static str>, name: &'static str) {
    if !ignored.contains(&name) {
        ignored.push(name);
    }
}

/// How tight a value is; smaller is tighter.
trait Tightness {
    fn rank(&self) -> u64;
}

impl Tightness for u64 {
    fn rank(&self) -> u64 {
        *self
    }
}

impl Tightness for StatedLimit {
    fn rank(&self) -> u64 {
        match self {
            Self::Limit(limit) => *limit,
            Self::Unlimited => u64::MAX,
        }
    }
}

/// A request id of xAI's is a UUID; 128 characters leave room for others.
const MAX_REQUEST_ID: usize = 128;

/// A header that comes more often than this is read no further.
const MAX_REPEATS: usize = 8;
