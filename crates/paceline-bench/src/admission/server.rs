//! The server: one meter of tokens, and of requests where they are limited too.
//!
//! The rules are the simulator's. Invariant: a request that arrives is counted as one, refused or
//! not.

use paceline_core::{Dimension, Instant};
use paceline_sim::engine::{Ask, Call as Admitted, Meter};

use super::workload::Call;

/// A server with its limits.
#[derive(Debug)]
pub(super) struct Server {
    tokens: Meter,
    requests: Vec<Meter>,
}

impl Server {
    pub(super) fn new(tokens: Meter, requests: Vec<Meter>) -> Self {
        Self { tokens, requests }
    }

    /// Admits a call that arrives, or names the limit that refuses it.
    pub(super) fn arrive(
        &mut self,
        call: &Call,
        most_output: u64,
        now: Instant,
    ) -> Result<Admitted, Dimension> {
        let mut refused = false;
        for meter in &mut self.requests {
            match meter.arrive(Ask::new(1), now) {
                // One request is one, whatever becomes of it: nothing is left to count.
                Ok(one) => {
                    meter.complete(one, now);
                }
                Err(_) => {
                    meter.count(1, now);
                    refused = true;
                }
            }
        }
        if refused {
            return Err(Dimension::Requests);
        }
        let ask = Ask::new(call.total()).input(call.input).most(call.input + most_output);
        self.tokens.arrive(ask, now).map_err(|_| Dimension::TotalTokens)
    }

    /// A call is over.
    pub(super) fn complete(&mut self, call: Admitted, now: Instant) {
        self.tokens.complete(call, now);
    }

    /// Another limit of tokens, without a word.
    pub(super) fn set_limit(&mut self, limit: u64, now: Instant) {
        self.tokens.set_limit(limit, now);
    }

    pub(super) fn used(&self, now: Instant) -> u64 {
        self.tokens.used(now)
    }

    /// What it says is left.
    pub(super) fn remaining(&self, now: Instant) -> u64 {
        self.tokens.remaining(now)
    }

    pub(super) fn peak(&self) -> u64 {
        self.tokens.peak()
    }
}
