//! The pure form: `Limiter`, polled at the moments it names itself.

use std::time::Duration;

use paceline_core::{Demand, Instant, Receipt, Refusal};
use paceline_limiter::{Limiter, Served, Snapshot, Ticket};

use super::driver::{Act, Answer, Driver, Unable};

/// A limiter, its clock, and those who wait.
pub(crate) struct Pure {
    limiter: Limiter,
    base: Instant,
    now: Instant,
    waiting: Vec<(String, Ticket)>,
    answers: Vec<Answer>,
}

impl Pure {
    pub(crate) const fn new(limiter: Limiter, base: Instant) -> Self {
        Self { limiter, base, now: base, waiting: Vec::new(), answers: Vec::new() }
    }

    fn serve(&mut self) {
        while let Some(served) = self.limiter.poll(self.now) {
            let (ticket, answer) = match served {
                Served::Granted(ticket, receipt) => (ticket, Ok(receipt)),
                Served::Refused(ticket, refusal) => (ticket, Err(refusal)),
                other => panic!("not known how to serve {other:?}"),
            };
            let place = self.waiting.iter().position(|(_, other)| *other == ticket);
            let (call, _) = self.waiting.remove(place.expect("only waiters are served"));
            self.tell(call, answer);
        }
    }

    fn tell(&mut self, call: String, answer: Result<Receipt, Refusal>) {
        self.answers.push(Answer { call, at: self.now.since(self.base), answer });
    }
}

impl Driver for Pure {
    fn base(&self) -> Instant {
        self.base
    }

    fn pass(&mut self, at: Duration) -> Result<(), Unable> {
        let target = self.base + at;
        self.serve();
        while let Some(next) = self.limiter.next_wakeup(self.now).filter(|next| *next <= target) {
            assert!(next > self.now, "a wait of zero at {}: a hot loop", self.now);
            self.now = next;
            self.serve();
        }
        // It may step back.
        self.now = target;
        self.serve();
        Ok(())
    }

    fn leap(&mut self, at: Duration) -> Result<(), Unable> {
        self.now = self.base + at;
        Ok(())
    }

    fn ask(&mut self, demand: &Demand) -> Result<Receipt, Refusal> {
        self.limiter.try_acquire(demand, self.now)
    }

    fn act(&mut self, act: Act) -> Result<(), Unable> {
        let now = self.now;
        // Whether the receipt was outstanding is not for a scenario to say: what counts is what
        // it changed.
        let _outstanding = match act {
            Act::Sent(receipt) => self.limiter.sent(receipt, now),
            Act::Head(receipt) => self.limiter.head_received(receipt, now),
            Act::Settle(receipt, actual) => self.limiter.settle(receipt, &actual, now),
            Act::Cancel(receipt) => self.limiter.cancel_unsent(receipt, now),
            Act::SetLimit(key, dimension, quota) => {
                assert!(self.limiter.set_limit(&key, dimension, quota, now), "no such limit");
                true
            }
            Act::Pause(key, dimension, until) => {
                self.limiter.pause_until(&key, dimension, until, now);
                true
            }
            Act::Observe(observation) => {
                self.limiter.observe(&observation, now);
                true
            }
            Act::RecordPast(demand, at) => {
                self.limiter.record_past(&demand, at, now);
                true
            }
        };
        Ok(())
    }

    fn wait(&mut self, call: &str, demand: Demand) -> Result<(), Unable> {
        match self.limiter.enqueue(demand, self.now) {
            Ok(ticket) => self.waiting.push((call.to_owned(), ticket)),
            Err(refusal) => self.tell(call.to_owned(), Err(refusal)),
        }
        Ok(())
    }

    fn leave(&mut self, call: &str) -> Result<bool, Unable> {
        let Some(place) = self.waiting.iter().position(|(other, _)| other == call) else {
            return Ok(false);
        };
        let (_, ticket) = self.waiting.remove(place);
        Ok(self.limiter.leave(ticket))
    }

    fn answers(&mut self) -> Vec<Answer> {
        self.serve();
        std::mem::take(&mut self.answers)
    }

    fn look(&mut self) -> Result<Snapshot, Unable> {
        Ok(self.limiter.snapshot(self.now))
    }
}
