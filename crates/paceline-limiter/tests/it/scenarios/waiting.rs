//! The async form: `tokio::SharedLimiter` by its own methods, its futures on paused time.

use std::sync::Arc;
use std::time::Duration;

use paceline_core::{Admission, Demand, Instant, Receipt, Refusal};
use paceline_limiter::tokio::SharedLimiter;
use paceline_limiter::{Limiter, Snapshot};

use super::driver::{Act, Answer, Driver, Unable};
use super::futures::Futures;

/// A shared limiter and those who wait.
pub(crate) struct Waiting {
    futures: Futures,
    limiter: SharedLimiter,
}

impl Waiting {
    pub(crate) fn new(limiter: Limiter) -> Self {
        let (futures, shared) = Futures::new(|| Arc::new(SharedLimiter::new(limiter)));
        Self { futures, limiter: SharedLimiter::clone(&shared) }
    }
}

impl Driver for Waiting {
    fn base(&self) -> Instant {
        self.futures.base()
    }

    fn lateness(&self) -> Duration {
        Futures::LATENESS
    }

    fn pass(&mut self, at: Duration) -> Result<(), Unable> {
        self.futures.pass(at)
    }

    fn leap(&mut self, at: Duration) -> Result<(), Unable> {
        self.futures.leap(at);
        Ok(())
    }

    fn ask(&mut self, demand: &Demand) -> Result<Receipt, Refusal> {
        let _entered = self.futures.enter();
        self.limiter.try_acquire(demand)
    }

    fn act(&mut self, act: Act) -> Result<(), Unable> {
        let _entered = self.futures.enter();
        match act {
            Act::Sent(receipt) => self.limiter.sent(receipt),
            Act::Head(receipt) => self.limiter.head_received(receipt),
            Act::Settle(receipt, actual) => self.limiter.settle(receipt, &actual),
            Act::Cancel(receipt) => self.limiter.cancel_unsent(receipt),
            Act::SetLimit(key, dimension, quota) => {
                assert!(self.limiter.set_limit(&key, dimension, quota), "no such limit");
            }
            Act::Pause(key, dimension, until) => self.limiter.pause(&key, dimension, until),
            Act::Observe(observation) => self.limiter.observe(&observation),
            Act::RecordPast(demand, at) => self.limiter.record_past(&demand, at),
        }
        Ok(())
    }

    fn wait(&mut self, call: &str, demand: Demand) -> Result<(), Unable> {
        self.futures.wait(call, demand);
        Ok(())
    }

    fn leave(&mut self, call: &str) -> Result<bool, Unable> {
        Ok(self.futures.leave(call))
    }

    fn answers(&mut self) -> Vec<Answer> {
        self.futures.answers()
    }

    fn look(&mut self) -> Result<Snapshot, Unable> {
        let _entered = self.futures.enter();
        Ok(self.limiter.snapshot())
    }
}
