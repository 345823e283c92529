//! How a simulated server is set up.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::latency::Latency;
use super::length::OutputLength;
use crate::rules::Limits;
use crate::token_rule::TokenRule;

/// How a simulated server is set up. Every setting has a default.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub(super) port: u16,
    pub(super) limits: Option<Limits>,
    pub(super) token_rule: Option<TokenRule>,
    pub(super) seed: u64,
    pub(super) tokenizer: Option<PathBuf>,
    pub(super) latency: Latency,
    pub(super) output: OutputLength,
    pub(super) keys: Keys,
    pub(super) retry_after: Option<Duration>,
    pub(super) rate_headers: RateHeaders,
    pub(super) pristine_every: u64,
    pub(super) process_silent_every: u64,
}

/// Whether successful answers carry the `x-ratelimit-*` headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateHeaders {
    /// They do, as recorded since January 2026.
    #[default]
    Sent,
    /// They don't, as recorded in October 2025.
    Absent,
}

/// The keys that are accepted; where there are none, every one is that isn't empty.
#[derive(Clone, Default)]
pub(super) struct Keys(HashSet<String>);

impl Keys {
    pub(super) fn accept(&self, key: &str) -> bool {
        if self.0.is_empty() { !key.is_empty() } else { self.0.contains(key) }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            port: 0,
            limits: None,
            token_rule: None,
            seed: 0,
            tokenizer: None,
            latency: Latency::default(),
            output: OutputLength::default(),
            keys: Keys::default(),
            retry_after: None,
            rate_headers: RateHeaders::default(),
            pristine_every: 20,
            process_silent_every: 5,
        }
    }
}

impl ServerOptions {
    /// Any free port, each model's limits of tier 0, seed 0, the tokenizer o200k, any key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another port; 0 is any that is free.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// These limits for every model, each with a count of its own, in place of tier 0.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Counts tokens as another server does, whatever the limit is. A refusal names them only where
    /// no limit of requests refuses as well. Default: as xAI's does.
    #[must_use]
    pub const fn token_rule(mut self, rule: TokenRule) -> Self {
        self.token_rule = Some(rule);
        self
    }

    /// Another seed: other answers and delays. With the same seed, the n-th call that arrives has
    /// the same length and delays in every run.
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

    /// Other lengths of answers.
    #[must_use]
    pub fn output(mut self, output: OutputLength) -> Self {
        self.output = output;
        self
    }

    /// Accepts one key more. Until the first is named, every key is accepted that isn't empty.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.keys.0.insert(key.into());
        self
    }

    /// Sends `Retry-After` with refusals, in whole seconds, rounded up. Default: not, because the
    /// real one is not known to.
    #[must_use]
    pub const fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Whether successful answers carry rate headers; refusals never do. Default: they do.
    #[must_use]
    pub const fn rate_headers(mut self, headers: RateHeaders) -> Self {
        self.rate_headers = headers;
        self
    }

    /// Every n-th arrival's headers show nothing used, as replicas of the real server do. Default
    /// 20; 0 is never.
    #[must_use]
    pub const fn pristine_every(mut self, n: u64) -> Self {
        self.pristine_every = n;
        self
    }

    /// Every n-th call's answer of `/v1/process` has no `token_usage`. Default 5; 0 is never.
    #[must_use]
    pub const fn process_silent_every(mut self, n: u64) -> Self {
        self.process_silent_every = n;
        self
    }
}
