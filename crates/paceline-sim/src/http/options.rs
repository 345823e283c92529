//! How a simulated server is set up.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::rules::Limits;

/// How a simulated server is set up. Every setting has a default.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    pub(super) port: u16,
    pub(super) limits: Option<Limits>,
    pub(super) seed: u64,
    pub(super) tokenizer: Option<PathBuf>,
    pub(super) latency: Latency,
    pub(super) retry_after: Option<Duration>,
}

/// How long things take: uniform draws, in seconds and tokens per second.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    pub(super) first_token: Span,
    pub(super) tokens_per_second: Span,
    pub(super) jitter: Span,
}

/// A range to draw from; an empty one draws its start.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span(Range<f64>);

impl Span {
    pub(super) fn draw(&self, chance: &mut StdRng) -> f64 {
        if self.0.is_empty() { self.0.start } else { chance.random_range(self.0.clone()) }
    }
}

impl Default for Latency {
    /// First token after 0.3 to 1.0 s, then 60 to 120 tokens a second; up to 50 ms each way.
    fn default() -> Self {
        Self {
            first_token: Span(0.3..1.0),
            tokens_per_second: Span(60.0..120.0),
            jitter: Span(0.0..0.05),
        }
    }
}

impl Latency {
    /// Nothing takes any time.
    pub const fn instant() -> Self {
        Self {
            first_token: Span(0.0..0.0),
            tokens_per_second: Span(0.0..0.0),
            jitter: Span(0.0..0.0),
        }
    }
}

impl ServerOptions {
    /// Any free port, each model's limits of tier 0, seed 0, the tokenizer o200k.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another port; 0 is any that is free.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// These limits for every model, in place of tier 0.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Another seed: other answers and delays.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Counts tokens with a SentencePiece model file.
    #[must_use]
    pub fn tokenizer(mut self, path: impl Into<PathBuf>) -> Self {
        self.tokenizer = Some(path.into());
        self
    }

    /// Other delays.
    #[must_use]
    pub fn latency(mut self, latency: Latency) -> Self {
        self.latency = latency;
        self
    }

    /// Sends `Retry-After` with refusals, in whole seconds. Default: not, as the real one.
    #[must_use]
    pub const fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}
