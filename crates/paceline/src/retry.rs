//! When a call is tried again, and after how long. The facade is the only layer that retries.
//!
//! Pure: chance is an argument. Invariant: attempts are bounded per call, and retries by a share
//! of all calls, so that an outage is not made worse.

use std::time::Duration;

/// How calls are retried.
///
/// What was refused before any work was done is retried: a rate, a busy server, a connection that
/// never came up. What may have been billed is handed back, unless [`RetryPolicy::may_bill_twice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    pub(crate) attempts: u32,
    pub(crate) base: Duration,
    pub(crate) cap: Duration,
    pub(crate) ceiling: Duration,
    pub(crate) bill_twice: bool,
}

impl Default for RetryPolicy {
    /// 5 attempts; waits of at most 0.5 s, 1 s, 2 s ... 20 s; 120 s as the longest wait that a
    /// server may ask for.
    fn default() -> Self {
        Self {
            attempts: 5,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(20),
            ceiling: Duration::from_secs(120),
            bill_twice: false,
        }
    }
}

impl RetryPolicy {
    /// No retries at all.
    pub fn never() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// With so many attempts per call, the first included; at least 1, at most 100.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.clamp(1, 100);
        self
    }

    /// With another bound on what the server may ask to wait. Above it the error is handed back
    /// at once, with the value; the wait is never cut short.
    #[must_use]
    pub const fn longest_wait(mut self, ceiling: Duration) -> Self {
        self.ceiling = ceiling;
        self
    }

    /// Also retries what may have been billed: 500, 502, 504, 52x, 408, 409, and connections lost
    /// after the sending. Each attempt is entered as possible spend.
    #[must_use]
    pub const fn may_bill_twice(mut self) -> Self {
        self.bill_twice = true;
        self
    }

    /// Exponential backoff with full jitter before attempt `next` (from 2); `chance` is in 0..1.
    pub(crate) fn backoff(&self, next: u32, chance: f64) -> Duration {
        let doublings = next.saturating_sub(2).min(20);
        let most = self.base.saturating_mul(1 << doublings).min(self.cap);
        most.mul_f64(chance.clamp(0.0, 1.0))
    }
}

/// A token bucket of retries: each call puts nine hundredths of one in, each retry takes one out. With
/// what a fresh client begins with, a thousand calls of an outage are 1,100 requests at most.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    hundredths: u32,
}

/// A fresh client may retry ten times; a healthy one saves up for a hundred.
const START: u32 = 1_000;
const MOST: u32 = 10_000;
const RETRY: u32 = 100;
const CALL: u32 = 9;

impl RetryBudget {
    pub(crate) const fn new() -> Self {
        Self { hundredths: START }
    }

    pub(crate) fn call(&mut self) {
        self.hundredths = (self.hundredths + CALL).min(MOST);
    }

    pub(crate) fn take(&mut self) -> bool {
        let enough = self.hundredths >= RETRY;
        if enough {
            self.hundredths -= RETRY;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_cap_and_is_jittered_fully() {
        let policy = RetryPolicy::default();
        let most: Vec<u128> = (2..10).map(|next| policy.backoff(next, 1.0).as_millis()).collect();
        assert_eq!(most, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]);
        assert_eq!(policy.backoff(5, 0.0), Duration::ZERO);
        assert_eq!(policy.backoff(u32::MAX, 1.0), policy.cap);
    }

    #[test]
    fn an_outage_is_not_made_worse() {
        let mut budget = RetryBudget::new();
        let mut sent = 0;
        for _ in 0..10_000 {
            budget.call();
            sent += 1;
            while budget.take() {
                sent += 1;
            }
        }
        assert!((10_900..=10_910).contains(&sent), "{sent} for 10,000 calls");
    }
}
