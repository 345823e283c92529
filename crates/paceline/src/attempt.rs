//! One call from its admission to its end: attempts, retries, and what each of them cost.
//!
//! Invariant: a retry goes back to the admission with a demand of its own, never around it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use paceline_budget::{AttemptId, Intent, Outcome};
use paceline_core::{Amount, Demand, Dimension, Money, Receipt};
use paceline_transport::Body;
use paceline_transport::headers::RateHeaders;
use tokio::time::Instant;
use tracing::Instrument;
use tracing::field::Empty;

use crate::call::{Call, JSON};
use crate::client::{Client, lock, wall_now};
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;

mod answer;
mod refusal;
mod reserved;

pub(crate) use answer::{ANSWER_CAP, Whole, said_cost};
pub(crate) use refusal::ERROR_CAP;
pub(crate) use reserved::Reserved;

/// How an attempt ended, and what to do about it.
pub(crate) enum End<T> {
    Done(T),
    Fail(Error),
    /// Try again after this long; the error is what to give up with.
    Again(Duration, Error),
}

/// An attempt whose answer has begun with a good status.
pub(crate) struct Opened {
    pub(crate) reserved: Reserved,
    pub(crate) status: StatusCode,
    pub(crate) headers: RateHeaders,
    pub(crate) body: Body,
}

/// What is made of a good answer.
pub(crate) trait Finish {
    type Out: Send;

    fn finish(opened: Opened) -> impl Future<Output = End<Self::Out>> + Send;
}

impl Client {
    /// Makes attempts until one of them has an end that stays.
    pub(crate) async fn run<F: Finish>(&self, call: Arc<Call>) -> Result<F::Out, Error> {
        let span = self.span(&call);
        let ended = self.attempts::<F>(&call).instrument(span.clone()).await;
        if let Err(error) = &ended {
            span.record("error.type", error.kind().name());
        }
        ended
    }

    async fn attempts<F: Finish>(&self, call: &Arc<Call>) -> Result<F::Out, Error> {
        lock(&self.0.retry_budget).call();
        let mut attempt = 1;
        loop {
            let (wait, error) = match self.attempt::<F>(call, attempt).await {
                End::Done(done) => return Ok(done),
                End::Fail(error) => {
                    if error.ends_everything() {
                        self.stop(error.kind(), error.to_string());
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
            let kind = error.kind();
            tracing::info!(call = call.name, attempt, kind = kind.name(), ?wait, "retrying");
            self.0.told.tell(Some((call, attempt)), || EventKind::Retried { kind, wait });
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    async fn attempt<F: Finish>(&self, call: &Arc<Call>, attempt: u32) -> End<F::Out> {
        let mut reserved = match self.reserve(call, attempt).await {
            Ok(reserved) => reserved,
            Err(error) => return End::Fail(error.after(attempt - 1)),
        };
        let request = match self.request(call) {
            Ok(request) => request,
            Err(error) => return End::Fail(error.after(attempt - 1)),
        };
        reserved.sent();
        let sent = reserved.sent.unwrap_or_default();
        let end = match self.0.transport.send(request).await {
            Err(error) => reserved.failed(error),
            Ok(response) => {
                let (head, body) = response.into_parts();
                let status = head.status;
                reserved.head_received(status);
                let headers = RateHeaders::parse(&head.headers, wall_now());
                reserved.adopt(&headers);
                if status.is_success() {
                    F::finish(Opened { reserved, status, headers, body }).await
                } else {
                    // Where even the error breaks off, its status has to do.
                    let bytes = body.collect(ERROR_CAP).await.unwrap_or_default();
                    reserved.refused(status, &headers, &bytes)
                }
            }
        };
        match end {
            End::Fail(error) => End::Fail(error.after(attempt).between(sent, wall_now())),
            End::Again(wait, error) => {
                End::Again(wait, error.after(attempt).between(sent, wall_now()))
            }
            done @ End::Done(_) => done,
        }
    }

    /// Waits for the turn of an attempt, and has it recorded.
    pub(crate) async fn reserve(&self, call: &Arc<Call>, attempt: u32) -> Result<Reserved, Error> {
        self.stopped()?;
        let (receipt, demand) = self.admit(call, attempt).await?;
        let upper = |dimension| demand.amount(dimension).map_or(0, Amount::upper_amount);
        let reserved = Reserved {
            client: self.clone(),
            call: Arc::clone(call),
            receipt: Some(receipt),
            id: AttemptId::new(call.name.clone(), attempt),
            tokens: upper(Dimension::TotalTokens),
            cost: Money::from_ticks(upper(Dimension::Money).into()),
            sent: None,
            started: None,
            number: None,
            demand,
        };
        // Another call may have met the end of it all while this one waited.
        self.stopped()?;
        self.intend(call, &reserved).await?;
        // And while its intent was written.
        self.stopped()?;
        Ok(reserved)
    }

    /// Waits for the call's turn. It is estimated only when it is among the first in line, so
    /// that it is reserved with what the answers before it have taught.
    async fn admit(&self, call: &Call, attempt: u32) -> Result<(Receipt, Demand), Error> {
        let asked = Instant::now();
        let line = self.0.lines.of(call.shape.model());
        // A line is never closed, so this only ever waits.
        let _place = line.acquire().await.ok();
        let demand = self.demand_of(call.asking())?;
        let of = Some((call, attempt));
        self.0.told.tell(of, || estimated(&demand));
        let receipt = self.admitted(&demand, || self.0.told.tell(of, || EventKind::Queued)).await?;
        self.0.told.tell(of, || EventKind::Admitted { waited: asked.elapsed() });
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
        let intent = match &call.caller {
            Some(caller) => intent.caller(caller.clone()),
            None => intent,
        };
        record.intent(&intent).await.map_err(Error::not_recorded)
    }

    fn request(&self, call: &Call) -> Result<Request<Bytes>, Error> {
        self.request_to(Method::POST, &call.path, call.body.clone(), call.accept)
    }

    /// A request to a path below the base address, with the key.
    pub(crate) fn request_to(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        accept: &'static str,
    ) -> Result<Request<Bytes>, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.0.base.join(path))
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, accept);
        if let Some(key) = &self.0.key {
            request = request.header(AUTHORIZATION, key.authorization());
        }
        request.body(body).map_err(|error| {
            Error::new(ErrorKind::Settings, "the request can't be made").because(error)
        })
    }

    /// The span of a call, by the names that OpenTelemetry has for calls of language models.
    fn span(&self, call: &Call) -> tracing::Span {
        let model = call.shape.model().as_str();
        tracing::info_span!(
            "call",
            otel.name = format_args!("{} {model}", call.operation),
            otel.kind = "client",
            gen_ai.operation.name = call.operation,
            gen_ai.provider.name = if self.0.base.is_xai() { "x_ai" } else { self.0.base.host() },
            gen_ai.request.model = model,
            gen_ai.usage.input_tokens = Empty,
            gen_ai.usage.output_tokens = Empty,
            server.address = self.0.base.host(),
            call = call.name,
            attempts = Empty,
            error.type = Empty,
        )
    }

    /// Nothing more is sent from now on.
    pub(crate) fn stop(&self, kind: ErrorKind, message: String) {
        let mut stopped = lock(&self.0.stopped);
        if stopped.is_none() {
            *stopped = Some((kind, message));
            drop(stopped);
            self.0.told.tell(None, || EventKind::Stopped { kind });
        }
    }

    /// Why nothing more may be sent, once that is known.
    pub(crate) fn stopped(&self) -> Result<(), Error> {
        match &*lock(&self.0.stopped) {
            Some((kind, message)) => Err(Error::new(*kind, message.clone())),
            None => Ok(()),
        }
    }

    /// Enters an outcome; where that fails, nothing more may be spent.
    pub(crate) fn enter(&self, outcome: &Outcome) {
        let Some(record) = &self.0.record else { return };
        if let Err(error) = record.outcome(outcome) {
            tracing::error!(%error, "an outcome could not be recorded");
            self.stop(ErrorKind::Record, format!("the record can't be kept: {error}"));
        }
    }
}

/// What a demand says of what a call will use.
fn estimated(demand: &Demand) -> EventKind {
    let amount = |dimension| demand.amount(dimension).unwrap_or_default();
    EventKind::Estimated {
        input: amount(Dimension::InputTokens),
        output: amount(Dimension::OutputTokens),
        cost: demand.amount(Dimension::Money),
    }
}
