//! How long a call takes: on its way, until its first token, and from token to token.
//!
//! It only draws; waiting is the server's. The whole delay of a call is fixed when it arrives.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// How long calls take: uniform draws, one of each for every call.
///
/// Of an empty range, its start counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    first_token: RangeInclusive<Duration>,
    tokens_per_second: RangeInclusive<u32>,
    jitter: RangeInclusive<Duration>,
}

/// The delays of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delays {
    /// From the client to the server's books.
    pub(super) inbound: Duration,
    /// From there until the first token.
    pub(super) first: Duration,
    /// From the server's books until everything is written.
    pub(super) work: Duration,
    /// From there to the client.
    pub(super) outbound: Duration,
}

impl Default for Latency {
    /// First token after 0.3 to 1.0 s, then 60 to 120 tokens a second; up to 50 ms each way.
    fn default() -> Self {
        Self {
            first_token: Duration::from_millis(300)..=Duration::from_secs(1),
            tokens_per_second: 60..=120,
            jitter: Duration::ZERO..=Duration::from_millis(50),
        }
    }
}

impl Latency {
    /// Nothing takes any time.
    pub const fn instant() -> Self {
        Self {
            first_token: Duration::ZERO..=Duration::ZERO,
            tokens_per_second: 0..=0,
            jitter: Duration::ZERO..=Duration::ZERO,
        }
    }

    /// From the arrival to the first token.
    #[must_use]
    pub const fn first_token(mut self, range: RangeInclusive<Duration>) -> Self {
        self.first_token = range;
        self
    }

    /// The speed of the tokens that follow, reasoning included; at 0 they take no time.
    #[must_use]
    pub const fn tokens_per_second(mut self, range: RangeInclusive<u32>) -> Self {
        self.tokens_per_second = range;
        self
    }

    /// What each way takes, there and back drawn apart, on top of the real one.
    #[must_use]
    pub const fn jitter(mut self, range: RangeInclusive<Duration>) -> Self {
        self.jitter = range;
        self
    }

    /// The delays of a call with so many output tokens.
    pub(super) fn draw(&self, output_tokens: u64, chance: &mut StdRng) -> Delays {
        let first = span(&self.first_token, chance);
        let (slowest, fastest) = (*self.tokens_per_second.start(), *self.tokens_per_second.end());
        let speed = chance.random_range(f64::from(slowest)..=f64::from(fastest.max(slowest)));
        let written = if speed > 0.0 { output_tokens as f64 / speed } else { 0.0 };
        let written = Duration::try_from_secs_f64(written).unwrap_or(Duration::MAX);
        Delays {
            inbound: span(&self.jitter, chance),
            first,
            work: first.saturating_add(written),
            outbound: span(&self.jitter, chance),
        }
    }
}

fn span(range: &RangeInclusive<Duration>, chance: &mut StdRng) -> Duration {
    let nanos = |duration: &Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let (least, most) = (nanos(range.start()), nanos(range.end()));
    Duration::from_nanos(chance.random_range(least..=most.max(least)))
}
