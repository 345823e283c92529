//! How a provider spells its rate-limit headers. A provider that spells them otherwise gets a
//! [`Grammar`] of its own here; nothing else changes.
//!
//! What this file keeps: a number is decimal digits that fit 64 bits, or it is no number.

use super::StatedLimit;

/// Names of the headers and how their values are read.
pub(super) struct Grammar {
    pub(super) limit_requests: &'static str,
    pub(super) limit_tokens: &'static str,
    pub(super) remaining_requests: &'static str,
    pub(super) remaining_tokens: &'static str,
    pub(super) limit: fn(&str) -> Option<StatedLimit>,
    pub(super) remaining: fn(&str) -> Option<u64>,
}

/// xAI's, as recorded from January to August 2026: per-minute figures, decimal, up to
/// `u64::MAX`.
pub(super) const XAI: Grammar = Grammar {
    limit_requests: "x-ratelimit-limit-requests",
    limit_tokens: "x-ratelimit-limit-tokens",
    remaining_requests: "x-ratelimit-remaining-requests",
    remaining_tokens: "x-ratelimit-remaining-tokens",
    limit: stated_limit,
    remaining: decimal,
};

/// A limit of 0 would contradict the answer that carries it; compatible servers send it (and
/// -1) for "unknown".
fn stated_limit(text: &str) -> Option<StatedLimit> {
    const I64_MAX: u64 = i64::MAX.unsigned_abs();
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
