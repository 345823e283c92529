//! The rule Flow in the role of a client, until the limiter has it: then this file goes.
//!
//! Requests are limited by our limiter. Invariant: what holds of
//! [`Ours`](super::gate::Ours) holds of it.

use std::time::Duration;

use paceline_core::{
    Actual, Amount, Completion, Demand, Dimension, Instant, LimitKey, Observation, Receipt,
    Refusal, Tag,
};
use paceline_limiter::{Limit, Limiter};

use super::flow::{Ask, Flight, Flow};
use super::gate::{Gate, Refused};
use super::workload::{Call, Class, INPUT_ERROR, Known, SECOND, real, whole};
use super::world::WINDOW;

/// Tokens by Flow, requests by our limiter.
#[derive(Debug)]
pub(super) struct ByFlow {
    flow: Flow,
    requests: Limiter,
    known: [Known; 3],
    tags: [Tag; 3],
    incidents: u32,
    began: Option<Instant>,
    paused: Instant,
}

impl ByFlow {
    pub(super) fn new(
        limit: u64,
        delay: Duration,
        requests: impl IntoIterator<Item = Limit>,
        known: [Known; 3],
    ) -> Self {
        let mut limiter = Limiter::new();
        for limit in requests {
            limiter.add(limit).expect("the cases have few limits, and legal ones");
        }
        Self {
            flow: Flow::new(limit, Duration::from_nanos(WINDOW), delay),
            requests: limiter,
            known,
            tags: Class::ALL.map(|class| Tag::from(class.name())),
            incidents: 0,
            began: None,
            paused: Instant::ORIGIN,
        }
    }

    fn ask<'a>(known: &Known, tag: &'a Tag, call: &Call) -> Ask<'a> {
        let input = real(call.estimate);
        // The deviation of what is spread evenly.
        let deviation = input * INPUT_ERROR / 3_f64.sqrt();
        let most = whole((input / (1.0 - INPUT_ERROR)).ceil());
        Ask {
            amount: Amount::expected(whole(input + known.output))
                .spread(whole(known.spread.hypot(deviation)))
                .upper(most + known.cap),
            input: Amount::expected(call.estimate).spread(whole(deviation)).upper(most),
            completes: Some(Completion::between(
                Duration::from_nanos(known.earliest),
                Duration::from_nanos(known.latest),
            )),
            class: Some(tag),
        }
    }
}

impl Gate for ByFlow {
    type Pass = (Flight, Receipt);

    fn ask(&mut self, _: u64, call: &Call, now: Instant) -> Result<Self::Pass, Option<Instant>> {
        if now < self.paused {
            return Err(Some(self.paused));
        }
        let class = call.class.index();
        let ask = Self::ask(&self.known[class], &self.tags[class], call);
        self.flow.verdict(&ask, now)?;
        let demand = Demand::new().with(Dimension::Requests, Amount::exact(1));
        match self.requests.try_acquire(&demand, now) {
            Ok(receipt) => {
                self.requests.sent(receipt, now);
                Ok((self.flow.admit(&ask, now), receipt))
            }
            Err(Refusal::NotUntil(blocked)) => Err(blocked.until),
            Err(_) => Err(None),
        }
    }

    fn head(&mut self, pass: Self::Pass, now: Instant) {
        self.requests.head_received(pass.1, now);
    }

    fn progress(&mut self, pass: Self::Pass, _: &Call, written: u64, now: Instant) {
        self.flow.progress(pass.0, written, now);
    }

    fn settle(&mut self, pass: Self::Pass, call: &Call, left: Instant, now: Instant) {
        if self.began.is_none_or(|began| left >= began) {
            self.incidents = 0;
        }
        self.flow.settle(pass.0, Some(call.total()), now);
        self.requests.settle(pass.1, &Actual::new(), now);
    }

    fn refused(&mut self, pass: Self::Pass, _: &Call, refusal: &Refused, now: Instant) -> Duration {
        self.flow.refused(pass.0, now);
        self.requests.head_received(pass.1, now);
        self.requests.settle(pass.1, &Actual::new(), now);
        let observation = Observation::Refused {
            key: LimitKey::All,
            dimension: Some(refusal.dimension),
            actual: None,
            limit: None,
        };
        self.requests.observe(&observation, now);
        if self.began.is_none_or(|began| refusal.left >= began) {
            let pause = (SECOND << self.incidents.min(4)).min(15 * SECOND);
            let pause = whole(real(pause) * (0.5 + 0.5 * refusal.chance));
            self.incidents += 1;
            self.began = Some(now);
            self.paused = now + Duration::from_nanos(pause);
        }
        Duration::ZERO
    }
}
