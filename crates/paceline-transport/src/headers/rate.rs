//! What an answer states of one limit, put together from the headers that speak of it.
//!
//! What this file keeps: figures that contradict each other are not both there.

use std::ops::Deref;
use std::time::Duration;

use http::HeaderName;
use paceline_core::{Dimension, UnixMillis};

use super::Note;
use super::moment;
use super::name::{Family, Figure, Subject};

/// One limit as an answer states it: any of its figures may be missing.
///
/// ```
/// use std::time::Duration;
/// use paceline_core::{Dimension, UnixMillis};
/// use paceline_transport::headers::{RateHeaders, StatedLimit};
///
/// let mut headers = http::HeaderMap::new();
/// for (name, value) in [
///     ("anthropic-ratelimit-input-tokens-limit", "50000"),
///     ("anthropic-ratelimit-input-tokens-remaining", "0"),
///     ("anthropic-ratelimit-input-tokens-reset", "1970-01-01T00:00:12Z"),
/// ] {
///     headers.insert(name, http::HeaderValue::from_static(value));
/// }
/// let read = RateHeaders::parse(&headers, UnixMillis::new(0));
/// let rate = read.rates()[0];
/// assert_eq!(rate.dimension(), Some(Dimension::InputTokens));
/// assert_eq!(rate.limit(), Some(StatedLimit::Limit(50_000)));
/// assert_eq!(rate.remaining(), Some(0));
/// assert_eq!(rate.reset_after(), Some(Duration::from_secs(12)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatedRate {
    pub(super) dimension: Option<Dimension>,
    pub(super) window: Option<Duration>,
    pub(super) limit: Option<StatedLimit>,
    pub(super) remaining: Option<u64>,
    pub(super) reset_after: Option<Duration>,
}

/// A limit as a header states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a stated limit is a number or none at all")]
pub enum StatedLimit {
    /// So many in the window, 1 or more.
    Limit(u64),
    /// Not limited: the header held the largest signed or unsigned 64-bit number.
    Unlimited,
}

impl StatedRate {
    /// What is counted; `None` where the headers do not say.
    pub const fn dimension(&self) -> Option<Dimension> {
        self.dimension
    }

    /// The time in which so much is allowed; `None` where it is not known.
    ///
    /// The names with `requests` and `tokens` alone mean a minute, as at xAI, OpenAI, Azure and
    /// Anthropic, unless the count is said to come back in more than that, as at Groq, which counts
    /// requests by the day.
    pub const fn window(&self) -> Option<Duration> {
        self.window
    }

    /// How much is allowed.
    pub const fn limit(&self) -> Option<StatedLimit> {
        self.limit
    }

    /// How much is left.
    pub const fn remaining(&self) -> Option<u64> {
        self.remaining
    }

    /// How long until more is left, or all of it: the providers differ. Zero for a moment that is
    /// past, rounded up to a nanosecond.
    pub const fn reset_after(&self) -> Option<Duration> {
        self.reset_after
    }
}

impl StatedLimit {
    /// The lower one.
    pub(super) fn tighter(self, other: Self) -> Self {
        match (self, other) {
            (Self::Limit(one), Self::Limit(two)) => Self::Limit(one.min(two)),
            (Self::Limit(one), Self::Unlimited) | (Self::Unlimited, Self::Limit(one)) => {
                Self::Limit(one)
            }
            (Self::Unlimited, Self::Unlimited) => Self::Unlimited,
        }
    }
}

/// The headers that speak of one limit, as they come in.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) subject: Subject<'a>,
    limit: Option<StatedLimit>,
    remaining: Option<u64>,
    reset_after: Option<Duration>,
    /// A limit of 0 or -1, which some send for "not known".
    is_unknown: bool,
    /// What it is called, for what is ignored.
    remaining_name: Option<&'a HeaderName>,
}

impl<'a> Draft<'a> {
    pub(super) const fn new(subject: Subject<'a>) -> Self {
        Self {
            subject,
            limit: None,
            remaining: None,
            reset_after: None,
            is_unknown: false,
            remaining_name: None,
        }
    }

    /// One more header of it; where it came before, the tighter one counts. `None` where it is not
    /// understood.
    pub(super) fn read(
        &mut self,
        name: &'a HeaderName,
        figure: Figure,
        text: &str,
        now: &dyn Deref<Target = UnixMillis>,
    ) -> Option<()> {
        match figure {
            Figure::Limit => {
                self.is_unknown |= text == "-1" || decimal(text) == Some(0);
                let limit = stated_limit(text)?;
                self.limit = Some(self.limit.map_or(limit, |other| other.tighter(limit)));
            }
            Figure::Remaining => {
                let remaining = decimal(text)?;
                self.remaining = Some(self.remaining.map_or(remaining, |it| it.min(remaining)));
                self.remaining_name = Some(name);
            }
            Figure::Reset => {
                self.reset_after = self.reset_after.max(Some(moment::wait(text, **now)?));
            }
        }
        Some(())
    }

    /// What it comes to. More left than the limit allows is a contradiction, and the limit is the
    /// safer half; nothing left of a limit that is not known says nothing.
    pub(super) fn finish(self, note: &mut Note) -> Option<StatedRate> {
        let Self { subject, limit, mut remaining, reset_after, .. } = self;
        let is_more = matches!((limit, remaining), (Some(StatedLimit::Limit(limit)), Some(left)) if left > limit);
        if is_more || (self.is_unknown && limit.is_none() && remaining == Some(0)) {
            remaining = None;
            self.remaining_name.into_iter().for_each(|name| note.ignored(name));
        }
        if limit.is_none() && remaining.is_none() && reset_after.is_none() {
            return None;
        }
        let is_longer = reset_after.is_some_and(|reset| reset > MINUTE);
        let usual = match subject.family {
            Family::OpenAi | Family::Anthropic if !is_longer && subject.dimension.is_some() => {
                Some(MINUTE)
            }
            _ => None,
        };
        let window = subject.window.or(usual);
        Some(StatedRate { dimension: subject.dimension, window, limit, remaining, reset_after })
    }
}

/// A limit of 0 would contradict the answer that carries it; compatible servers send it (and
/// -1) for "unknown".
fn stated_limit(text: &str) -> Option<StatedLimit> {
    match decimal(text)? {
        0 => None,
        u64::MAX | I64_MAX => Some(StatedLimit::Unlimited),
        limit => Some(StatedLimit::Limit(limit)),
    }
}

/// Digits only: `parse` alone would take a leading `+`.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

const I64_MAX: u64 = i64::MAX.unsigned_abs();

pub(super) const MINUTE: Duration = Duration::from_secs(60);
