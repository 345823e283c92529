//! What the headers of an answer say about limits and about trying again.
//!
//! Reads no clock and no body. What this file keeps: a value that is malformed or contradicts
//! itself is absent, never a wrong number, and is named in [`RateHeaders::ignored`].

mod ietf;
pub(crate) mod moment;
mod name;
mod rate;

use std::cell::LazyCell;
use std::ops::Deref;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use paceline_core::{Dimension, UnixMillis};

use crate::excerpt::excerpt;
use rate::{Draft, MINUTE};

pub use rate::{StatedLimit, StatedRate};

/// What the headers of one answer say of limits, in every spelling that is known, and the hints on
/// when to try again.
///
/// Everything is optional: xAI sent no rate headers before 2026, never sends resets, and was not
/// seen to send `retry-after` with a success.
///
/// | spelling | of |
/// |---|---|
/// | `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, also with `-minute` or `-day`, `-req-minute`, `-tokens-prompt`, `-tokens-generated`, `_usage_based` | xAI, OpenAI, Azure, Groq, Mistral, Fireworks |
/// | `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}` | Anthropic |
/// | `ratelimit` and `ratelimit-policy`, structured | IETF draft from -07 on |
/// | `{x-,}ratelimit-{limit,remaining,reset}`, `x-rate-limit-...` | IETF drafts to -06, and many |
///
/// A reset is seconds, units (`6m0s`), a date, a timestamp or a moment since 1970; so is
/// `retry-after`.
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
    rates: Vec<StatedRate>,
    retry_after: Option<Duration>,
    should_retry: Option<bool>,
    request_id: Option<String>,
    ignored: Note,
}

/// The headers that were not understood, each once, at most [`MAX_NOTED`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Note(Vec<HeaderName>);

impl RateHeaders {
    /// Reads the headers of an answer that arrived at `now`.
    ///
    /// Moments, such as a `retry-after` that is a date, are compared with the server's own `date`, so
    /// that a clock that is wrong does no harm; where that is missing, with `now`. Where a header
    /// comes more than once, the tightest valid value counts: the lowest limit and remainder, the
    /// longest wait, `false` before `true`.
    pub fn parse(headers: &HeaderMap, now: UnixMillis) -> Self {
        let mut read = Self::default();
        // Few answers hold anything that is compared with it.
        let now = LazyCell::new(|| {
            let date = headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
            date.and_then(|date| moment::date(date.trim())).unwrap_or(now)
        });
        read.read_limits(headers, &now);
        read.rates.extend(ietf::read(headers, &mut read.ignored));
        read.rates.truncate(MAX_RATES);
        read.read_hints(headers, &now);
        read
    }

    /// Every limit that is stated, at most 32, in the order of the headers.
    pub fn rates(&self) -> &[StatedRate] {
        &self.rates
    }

    /// The limit of requests per minute; the lowest, where several are stated.
    pub fn limit_requests(&self) -> Option<StatedLimit> {
        self.limit_per_minute(Dimension::Requests)
    }

    /// The limit of tokens per minute, input and output together; the lowest, where several are
    /// stated.
    pub fn limit_tokens(&self) -> Option<StatedLimit> {
        self.limit_per_minute(Dimension::TotalTokens)
    }

    /// Requests left in the server's window of a minute; this call is already taken off.
    ///
    /// The server keeps several counters, and some answers carry a fresh one: it may only ever
    /// tighten what is known, and says nothing where it equals the limit.
    pub fn remaining_requests(&self) -> Option<u64> {
        self.remaining_per_minute(Dimension::Requests)
    }

    /// Tokens left in the server's window of a minute, without this call's; as above. An unlimited
    /// one counts down too.
    pub fn remaining_tokens(&self) -> Option<u64> {
        self.remaining_per_minute(Dimension::TotalTokens)
    }

    /// The least time to wait before trying again: the longer of `retry-after` and
    /// `retry-after-ms`. Rounded up to a nanosecond; zero for 0 and for a moment that is past. May
    /// be years: whoever waits sets a ceiling.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// How long until more is left of every limit of which nothing is: the longest stated reset
    /// beside a remainder of 0. Where there is a [`retry_after`](Self::retry_after), that counts
    /// instead (IETF draft, section on clients).
    pub fn exhausted_for(&self) -> Option<Duration> {
        let exhausted = self.rates.iter().filter(|rate| rate.remaining == Some(0));
        exhausted.filter_map(|rate| rate.reset_after).max()
    }

    /// What `x-should-retry` says. `Some(false)` forbids a retry.
    pub const fn should_retry(&self) -> Option<bool> {
        self.should_retry
    }

    /// The server's name for this request, at most 128 characters, control characters escaped.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The headers that were there and not understood, at most 16.
    pub fn ignored(&self) -> &[HeaderName] {
        &self.ignored.0
    }

    fn limit_per_minute(&self, dimension: Dimension) -> Option<StatedLimit> {
        let limits = self.per_minute(dimension).filter_map(|rate| rate.limit);
        limits.reduce(StatedLimit::tighter)
    }

    fn remaining_per_minute(&self, dimension: Dimension) -> Option<u64> {
        self.per_minute(dimension).filter_map(|rate| rate.remaining).min()
    }

    fn per_minute(&self, dimension: Dimension) -> impl Iterator<Item = &StatedRate> {
        self.rates
            .iter()
            .filter(move |rate| rate.dimension == Some(dimension) && rate.window == Some(MINUTE))
    }

    /// One header after the other; those of the same limit are put together.
    fn read_limits(&mut self, headers: &HeaderMap, now: &dyn Deref<Target = UnixMillis>) {
        let mut drafts: Vec<Draft<'_>> = Vec::new();
        for name in headers.keys() {
            // Most headers are no business of these names.
            if !matches!(name.as_str().as_bytes(), [b'x' | b'a' | b'r', ..]) {
                continue;
            }
            let Some((subject, figure)) = name::read(name.as_str()) else {
                if name::looks_like_one(name.as_str()) {
                    self.ignored.ignored(name);
                }
                continue;
            };
            let place = drafts.iter().position(|draft| draft.subject == subject);
            let place = place.unwrap_or(drafts.len());
            if place == MAX_RATES {
                self.ignored.ignored(name);
                continue;
            }
            if place == drafts.len() {
                drafts.push(Draft::new(subject));
            }
            for value in headers.get_all(name).iter().take(MAX_REPEATS) {
                let text = value.to_str().ok().map(str::trim);
                let is_read =
                    text.and_then(|text| drafts[place].read(name, figure, text, now)).is_some();
                if !is_read {
                    self.ignored.ignored(name);
                }
            }
        }
        let ignored = &mut self.ignored;
        self.rates = drafts.into_iter().filter_map(|draft| draft.finish(ignored)).collect();
    }

    fn read_hints(&mut self, headers: &HeaderMap, now: &dyn Deref<Target = UnixMillis>) {
        let seconds =
            self.values(headers, "retry-after", |text| moment::wait(text, **now)).into_iter().max();
        let millis = self.values(headers, "retry-after-ms", moment::milliseconds).into_iter().max();
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
                None => self.ignored.ignored(&HeaderName::from_static(name)),
            }
        }
        valid
    }
}

impl Note {
    fn ignored(&mut self, name: &HeaderName) {
        if self.0.len() < MAX_NOTED && !self.0.contains(name) {
            self.0.push(name.clone());
        }
    }
}

/// A request id of xAI's is a UUID; 128 characters leave room for others.
const MAX_REQUEST_ID: usize = 128;

/// A header that comes more often than this is read no further.
const MAX_REPEATS: usize = 8;

/// Limits that are told apart; the providers state four at most.
const MAX_RATES: usize = 32;

/// Headers that are named as ignored.
const MAX_NOTED: usize = 16;
