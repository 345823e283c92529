//! A good status: read the answer, settle, learn.

use std::sync::atomic::Ordering;

use http::StatusCode;
use paceline_budget::{Ending, Observed, Outcome};
use paceline_core::{Actual, Dimension, Money, Usage};
use paceline_transport::Body;
use paceline_transport::error_body::ServerError;
use paceline_transport::headers::RateHeaders;
use paceline_transport::usage::{UsageReading, read_chat, read_pointer};
use serde_json::Value;

use super::End;
use super::reserved::Reserved;
use crate::call::{Call, UsageAt};
use crate::client::{Client, lock, wall_now};
use crate::error::{Error, ErrorKind};
use crate::reply::Reply;

impl Client {
    /// A good status: read the answer, settle, learn.
    #[expect(clippy::too_many_arguments, reason = "the parts of one answer, each used once")]
    pub(super) async fn answered(
        &self,
        call: &Call,
        mut reserved: Reserved,
        attempt: u32,
        status: StatusCode,
        headers: &RateHeaders,
        body: Body,
        started: tokio::time::Instant,
    ) -> End {
        let bytes = match body.collect(ANSWER_CAP).await {
            Ok(bytes) => bytes,
            Err(error) => return self.failed(&mut reserved, attempt, error),
        };
        let value: Option<Value> = serde_json::from_slice(&bytes).ok();
        let Some(value) = value.filter(|value| value.get("error").is_none_or(Value::is_null))
        else {
            reserved.maybe_charged(Some(status.as_u16()));
            let error = ServerError::read(status, headers, &bytes);
            let message = format!("the answer is no result: {}", error.message());
            return End::Fail(Error::new(ErrorKind::BadAnswer, message));
        };
        let reading = match &call.usage {
            UsageAt::Chat => read_chat(&value),
            UsageAt::Pointer(pointer) => read_pointer(&value, pointer),
        };
        if let UsageReading::Refused(problem) = &reading {
            tracing::warn!(call = call.name, %problem, "the reported usage is not believed");
        }
        let usage = reading.usage().copied();
        let price = self.price(call.shape.model());
        let cost = usage.and_then(|usage| usage.cost().or_else(|| Some(price?.cost(&usage))));
        let sent_at = reserved.sent.unwrap_or_default();
        self.settled(call, &mut reserved, status, usage, cost);
        if let Some(usage) = usage {
            let observed = Observed::new(usage, started.elapsed());
            let observed = if is_cut_off(&value) { observed.cut_off() } else { observed };
            lock(&self.0.estimator).learn(&call.shape, &observed);
        }
        self.0.refusals.store(0, Ordering::Relaxed);
        End::Reply(Box::new(Reply {
            value,
            model: call.shape.model().clone(),
            usage,
            cost,
            attempts: attempt,
            status: status.as_u16(),
            sent_at,
            finished_at: wall_now(),
        }))
    }

    fn settled(
        &self,
        call: &Call,
        reserved: &mut Reserved,
        status: StatusCode,
        usage: Option<Usage>,
        cost: Option<Money>,
    ) {
        let mut actual = usage.as_ref().map_or(Actual::new(), Actual::from);
        if let Some(cost) = cost {
            actual = actual.with(Dimension::Money, cost.as_amount());
        }
        let entered = cost.unwrap_or(reserved.cost);
        tracing::info!(
            call = call.name,
            attempt = reserved.id.attempt,
            status = status.as_u16(),
            input_tokens = usage.map(|usage| usage.input_tokens()),
            output_tokens = usage.map(|usage| usage.output_tokens()),
            cost = cost.map(tracing::field::display),
            "answered"
        );
        reserved.close(&actual, |id, at| {
            let outcome =
                Outcome::new(id, at, Ending::Answered).status(status.as_u16()).cost(entered);
            match usage {
                Some(usage) => outcome.usage(usage),
                None => outcome,
            }
        });
    }
}

/// Whether an answer ended because its cap was reached.
fn is_cut_off(answer: &Value) -> bool {
    let reason = answer.pointer("/choices/0/finish_reason").and_then(Value::as_str);
    reason == Some("length")
}

/// The largest answer that is read: 64 MiB.
const ANSWER_CAP: u64 = 64 << 20;
