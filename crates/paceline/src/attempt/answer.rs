//! A good status: read the answer, settle, learn.

use std::sync::atomic::Ordering;

use http::StatusCode;
use paceline_budget::{Ending, Observed, Outcome, Price, Terms};
use paceline_core::{Actual, Dimension, Money, Usage};
use paceline_transport::answer::is_cut_off;
use paceline_transport::error_body::{Verdict, Wait};
use paceline_transport::headers::RateHeaders;
use paceline_transport::usage::{UsageReading, read_chat, read_pointer};
use serde_json::Value;

use super::{End, Finish, Opened, Reserved};
use crate::call::UsageAt;
use crate::client::{lock, wall_now};
use crate::error::{Error, ErrorKind};
use crate::reply::Reply;

/// The whole answer is read at once.
pub(crate) struct Whole;

impl Finish for Whole {
    type Out = Reply;

    async fn finish(opened: Opened) -> End<Reply> {
        let Opened { mut reserved, status, headers, body } = opened;
        match body.collect(ANSWER_CAP).await {
            Ok(bytes) => reserved.answered(status, &headers, &bytes),
            Err(error) => reserved.failed(error),
        }
    }
}

impl Reserved {
    /// An answer of a good status is there, as a whole.
    pub(crate) fn answered(
        &mut self,
        status: StatusCode,
        headers: &RateHeaders,
        bytes: &[u8],
    ) -> End<Reply> {
        let value: Option<Value> = serde_json::from_slice(bytes).ok();
        let Some(value) = value.filter(|value| value.get("error").is_none_or(Value::is_null))
        else {
            let server = self.client.server_error(status, headers, bytes);
            // A stop or a rate means the same whatever status it came with.
            let error = match server.verdict() {
                Verdict::Stop(_) | Verdict::Wait(Wait::Rate) => self.failed_amid(&server, headers),
                _ => {
                    let message = format!("the answer is no result: {}", server.message());
                    Error::new(ErrorKind::BadAnswer, message)
                }
            };
            self.maybe_charged(Some(status.as_u16()));
            return End::Fail(error);
        };
        let reading = match &self.call.usage {
            UsageAt::Chat => read_chat(&value),
            UsageAt::Pointer(pointer) => read_pointer(&value, pointer),
        };
        let usage = self.believed(&reading);
        let tier = value.get("service_tier").and_then(Value::as_str);
        let terms = self.call.terms.billed(tier, self.call.usage_of(&value));
        let cost = self.settled_on(status, usage, Ending::Answered, &terms);
        if let Some(usage) = usage {
            let observed = Observed::new(usage, self.since_sent());
            self.learn(if is_cut_off(&value) { observed.cut_off() } else { observed });
        }
        End::Done(Reply {
            value,
            model: self.call.shape.model().clone(),
            usage,
            cost,
            attempts: self.id.attempt,
            status: status.as_u16(),
            sent_at: self.sent.unwrap_or_default(),
            finished_at: wall_now(),
        })
    }

    /// The usage that was reported, where that can be.
    pub(crate) fn believed(&self, reading: &UsageReading) -> Option<Usage> {
        if let UsageReading::Refused(problem) = reading {
            tracing::warn!(call = self.id.call, %problem, "the reported usage is not believed");
        }
        let usage = reading.usage().copied()?;
        let (total, most) = (usage.total_tokens(), self.tokens.saturating_mul(10).max(LARGEST));
        if total > most {
            tracing::warn!(call = self.id.call, total, most, "the reported usage is not believed");
            return None;
        }
        Some(usage)
    }

    /// A good answer that was not seen is over: what it used is counted, on the terms that were reserved.
    /// Returns what it cost, where that is known.
    #[cfg(feature = "tower")]
    pub(crate) fn settled(&mut self, status: StatusCode, usage: Option<Usage>) -> Option<Money> {
        let terms = self.call.terms.most;
        self.settled_on(status, usage, Ending::Answered, &terms)
    }

    /// A stream is over: what it used is counted, reckoned where nobody said it.
    pub(crate) fn settled_as(
        &mut self,
        status: StatusCode,
        usage: &Usage,
        is_whole: bool,
        terms: &Terms,
    ) -> Option<Money> {
        let ending = if is_whole { Ending::Answered } else { Ending::MaybeCharged };
        self.settled_on(status, Some(*usage), ending, terms)
    }

    /// What the server says it cost wins; else it is the list price on these terms.
    fn settled_on(
        &mut self,
        status: StatusCode,
        usage: Option<Usage>,
        ending: Ending,
        terms: &Terms,
    ) -> Option<Money> {
        let price = self.client.price(self.call.shape.model());
        let listed = |usage: &Usage| Some(price?.on(terms, price?.listed_cost(usage)));
        let cost = usage.and_then(|usage| said_cost(&usage).or_else(|| listed(&usage)));
        let mut actual = usage.as_ref().map_or(Actual::new(), Actual::from);
        if let Some(cost) = cost {
            actual = actual.with(Dimension::Money, cost.as_amount());
        }
        let entered = cost.unwrap_or(self.cost);
        let span = tracing::Span::current();
        span.record("attempts", self.id.attempt);
        if let Some(usage) = usage {
            span.record("gen_ai.usage.input_tokens", usage.input_tokens());
            span.record("gen_ai.usage.output_tokens", usage.output_tokens());
        }
        tracing::info!(
            call = self.id.call,
            attempt = self.id.attempt,
            status = status.as_u16(),
            input_tokens = usage.map(|usage| usage.input_tokens()),
            output_tokens = usage.map(|usage| usage.output_tokens()),
            cost = cost.map(tracing::field::display),
            "answered"
        );
        self.close(&actual, |id, at| {
            let outcome = Outcome::new(id, at, ending).status(status.as_u16()).cost(entered);
            match usage {
                Some(usage) => outcome.usage(usage),
                None => outcome,
            }
        });
        self.client.0.refusals.store(0, Ordering::Relaxed);
        cost
    }

    /// What it used, and how long that took, teaches the estimator.
    pub(crate) fn learn(&self, observed: Observed) {
        lock(&self.client.0.estimator).learn(&self.call.shape, &observed);
    }
}

/// What a server says that a call cost, where that is above zero and can be.
pub(crate) fn said_cost(usage: &Usage) -> Option<Money> {
    usage.cost().filter(|cost| *cost > Money::ZERO && *cost <= Price::MOST)
}

/// Tokens that a call may be said to have used, whatever was reserved: ten times the largest context there
/// is, two millions. Where more was reserved, ten times that.
const LARGEST: u64 = 20_000_000;

/// The largest answer that is read: 64 MiB.
pub(crate) const ANSWER_CAP: u64 = 64 << 20;
