//! One call from its admission to its end: attempts, retries, and what each of them cost.
//!
//! Invariant: a retry goes back to the admission with a demand of its own, never around it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request};
use paceline_budget::{AttemptId, Intent, Outcome};
use paceline_core::{Amount, Demand, Dimension, Money, Receipt};
use paceline_transport::headers::RateHeaders;

use crate::call::Call;
use crate::client::{Client, lock, wall_now};
use crate::error::{Error, ErrorKind};
use crate::reply::Reply;

mod answer;
mod refusal;
mod reserved;

use reserved::Reserved;

/// How an attempt ended, and what to do about it.
enum End {
    Reply(Box<Reply>),
    Fail(Error),
    /// Try again after this long; the error is what to give up with.
    Again(Duration, Error),
}

impl Client {
    pub(crate) async fn run(&self, call: &Call) -> Result<Reply, Error> {
        lock(&self.0.retry_budget).call();
        let mut attempt = 1;
        loop {
            if let Some((kind, message)) = lock(&self.0.stopped).clone() {
                return Err(Error::new(kind, message).after(attempt - 1));
            }
            let (wait, error) = match self.attempt(call, attempt).await {
                End::Reply(reply) => return Ok(*reply),
                End::Fail(error) => {
                    if error.ends_everything() {
                        let stop = (error.kind(), error.to_string());
                        lock(&self.0.stopped).get_or_insert(stop);
                    }
                    return Err(error);
                }
                End::Again(wait, error) => (wait, error),
            };
            // Waiting for one's turn is not a storm; only other retries draw on the budget.
            let allowed =
                error.kind() == ErrorKind::RateLimited || lock(&self.0.retry_budget).take();
            if attempt >= self.0.retry.attempts || !allowed {
                return Err(error);
            }
            tracing::info!(
                call = call.name,
                attempt,
                kind = error.kind().name(),
                ?wait,
                "retrying"
            );
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, call: &Call, attempt: u32) -> End {
        let (receipt, demand) = match self.admit(call).await {
            Ok(admitted) => admitted,
            Err(error) => return End::Fail(error.after(attempt - 1)),
        };
        let upper = |dimension| demand.amount(dimension).map_or(0, Amount::upper_amount);
        let mut reserved = Reserved {
            client: self.clone(),
            receipt: Some(receipt),
            id: AttemptId::new(call.name.clone(), attempt),
            tokens: upper(Dimension::TotalTokens),
            cost: Money::from_ticks(upper(Dimension::Money).into()),
            sent: None,
            demand,
        };
        if let Err(error) = self.intend(call, &reserved).await {
            return End::Fail(error.after(attempt - 1));
        }
        let request = match self.request(call) {
            Ok(request) => request,
            Err(error) => return End::Fail(error.after(attempt - 1)),
        };
        let started = tokio::time::Instant::now();
        reserved.sent();
        let sent = reserved.sent.unwrap_or_default();
        let end = match self.0.transport.send(request).await {
            Err(error) => self.failed(&mut reserved, attempt, error),
            Ok(response) => {
                reserved.head_received();
                let (head, body) = response.into_parts();
                let headers = RateHeaders::parse(&head.headers, wall_now());
                self.adopt(call, &headers);
                if head.status.is_success() {
                    self.answered(call, reserved, attempt, head.status, &headers, body, started)
                        .await
                } else {
                    self.refused(call, reserved, attempt, head.status, &headers, body).await
                }
            }
        };
        match end {
            End::Fail(error) => End::Fail(error.after(attempt).between(sent, wall_now())),
            End::Again(wait, error) => {
                End::Again(wait, error.after(attempt).between(sent, wall_now()))
            }
            reply @ End::Reply(_) => reply,
        }
    }

    /// Waits for the call's turn. It is estimated only when it is among the first in line, so
    /// that it is reserved with what the answers before it have taught.
    async fn admit(&self, call: &Call) -> Result<(Receipt, Demand), Error> {
        // The line is never closed, so this only ever waits.
        let _place = self.0.line.acquire().await.ok();
        let demand = self.demand_of(&call.shape, call.tag.as_ref())?;
        let receipt = self.admitted(&demand).await?;
        Ok((receipt, demand))
    }

    async fn intend(&self, call: &Call, reserved: &Reserved) -> Result<(), Error> {
        let Some(record) = &self.0.record else { return Ok(()) };
        // More surely than the range of the demand says: a program that was killed goes by it.
        let latest = lock(&self.0.estimator).over_by(&call.shape, 0.999);
        let intent = Intent::new(reserved.id.clone(), call.shape.model().clone(), wall_now())
            .total_tokens(reserved.tokens)
            .cost(reserved.cost)
            .latest(latest);
        let intent = match &call.tag {
            Some(tag) => intent.tag(tag.clone()),
            None => intent,
        };
        record.intent(&intent).await.map_err(|error| {
            Error::new(ErrorKind::Record, "the attempt could not be recorded").because(error)
        })
    }

    fn request(&self, call: &Call) -> Result<Request<Bytes>, Error> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.0.base.join(&call.path))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json");
        if let Some(key) = &self.0.key {
            request = request.header(AUTHORIZATION, key.authorization());
        }
        request.body(call.body.clone()).map_err(|error| {
            Error::new(ErrorKind::Settings, "the request can't be made").because(error)
        })
    }

    /// Enters an outcome; where that fails, nothing more may be spent.
    pub(crate) fn enter(&self, outcome: &Outcome) {
        let Some(record) = &self.0.record else { return };
        if let Err(error) = record.outcome(outcome) {
            tracing::error!(%error, "an outcome could not be recorded");
            let stop = (ErrorKind::Record, format!("the record can't be kept: {error}"));
            lock(&self.0.stopped).get_or_insert(stop);
        }
    }
}
