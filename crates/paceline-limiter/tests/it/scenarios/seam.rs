//! The facade's seam: `dyn Admission` and nothing else.
//!
//! It has no `try_acquire`: who does not wait asks with the present moment as the deadline, and
//! the refusal then says when it could have been. A future that is dropped leaves. A changed
//! limit is one that is stated anew.

use std::sync::Arc;
use std::time::Duration;

use paceline_core::{Blocked, Demand, Instant, Observation, Receipt, Refusal};
use paceline_limiter::tokio::SharedLimiter;
use paceline_limiter::{Limiter, Snapshot};

use super::driver::{Act, Answer, Driver, Unable};
use super::futures::Futures;

/// An admission whose type nobody knows.
pub(crate) struct Seam(Futures);

impl Seam {
    pub(crate) fn new(limiter: Limiter) -> Self {
        Self(Futures::new(|| Arc::new(SharedLimiter::new(limiter))).0)
    }
}

impl Driver for Seam {
    fn base(&self) -> Instant {
        self.0.base()
    }

    fn lateness(&self) -> Duration {
        Futures::LATENESS
    }

    fn names_limits(&self) -> bool {
        false
    }

    fn pass(&mut self, at: Duration) -> Result<(), Unable> {
        self.0.pass(at)
    }

    fn leap(&mut self, at: Duration) -> Result<(), Unable> {
        self.0.leap(at);
        Ok(())
    }

    fn ask(&mut self, demand: &Demand) -> Result<Receipt, Refusal> {
        let now = {
            let _entered = self.0.enter();
            self.0.admission().now()
        };
        match self.0.poll_once(&demand.clone().deadline(now)) {
            Some(Err(Refusal::Deadline { earliest })) => {
                Err(Refusal::NotUntil(Blocked::new(None, earliest)))
            }
            Some(answer) => answer,
            None => Err(Refusal::NotUntil(Blocked::new(None, None))),
        }
    }

    fn act(&mut self, act: Act) -> Result<(), Unable> {
        let _entered = self.0.enter();
        let admission = self.0.admission();
        match act {
            Act::Sent(receipt) => admission.sent(receipt),
            Act::Head(receipt) => admission.head_received(receipt),
            Act::Settle(receipt, actual) => admission.settle(receipt, &actual),
            Act::Cancel(receipt) => admission.cancel_unsent(receipt),
            Act::SetLimit(key, dimension, quota) => {
                admission.observe(&Observation::Stated { key, dimension, quota });
            }
            Act::Pause(key, dimension, until) => admission.pause(&key, dimension, until),
            Act::Observe(observation) => admission.observe(&observation),
            Act::RecordPast(..) => return Err(Unable("it tells nothing of the past")),
        }
        Ok(())
    }

    fn wait(&mut self, call: &str, demand: Demand) -> Result<(), Unable> {
        self.0.wait(call, demand);
        Ok(())
    }

    fn leave(&mut self, call: &str) -> Result<bool, Unable> {
        Ok(self.0.leave(call))
    }

    fn answers(&mut self) -> Vec<Answer> {
        self.0.answers()
    }

    fn look(&mut self) -> Result<Snapshot, Unable> {
        Err(Unable("it shows no state"))
    }
}
