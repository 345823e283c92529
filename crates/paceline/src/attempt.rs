//! One call from its admission to its end: attempts, retries, and what each of them cost.
//!
//! Invariant: a retry goes back to the admission with a demand of its own, never around it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use paceline_budget::{AttemptId, CallShape, Ending, Intent, Observed, Outcome};
use paceline_core::{
    Actual, Amount, Demand, Dimension, LimitKey, Money, Observation, Receipt, Tag, UnixMillis,
    Usage,
};
use paceline_transport::error_body::{Retry, ServerError, Verdict, Wait};
use paceline_transport::headers::RateHeaders;
use paceline_transport::usage::{UsageReading, read_chat, read_pointer};
use paceline_transport::{Body, TransportError};
use serde_json::Value;

use crate::client::{Client, lock, wall_now};
use crate::error::{Error, ErrorKind};
use crate::reply::Reply;
use crate::request::{Chat, JsonCall};

/// A call, ready to be sent any number of times.
pub(crate) struct Call {
    name: String,
    path: String,
    body: Bytes,
    shape: CallShape,
    tag: Option<Tag>,
    usage: UsageAt,
}

enum UsageAt {
    Chat,
    Pointer(String),
}

/// The largest answer that is read: 64 MiB. Errors are read to 1 MiB.
const ANSWER_CAP: u64 = 64 << 20;
const ERROR_CAP: u64 = 1 << 20;

/// How an attempt ended, and what to do about it.
enum End {
    Reply(Box<Reply>),
    Fail(Error),
    /// Try again after this long; the error is what to give up with.
    Again(Duration, Error),
}

impl Call {
    pub(crate) fn chat(chat: &Chat, name: String) -> Result<Self, Error> {
        let (shape, usage) = (chat.shape(), UsageAt::Chat);
        Ok(Self {
            name,
            path: "chat/completions".to_owned(),
            body: json(chat.body())?,
            shape,
            tag: chat.tag_name().cloned(),
            usage,
        })
    }

    pub(crate) fn json(call: &JsonCall, name: String) -> Result<Self, Error> {
        let usage = UsageAt::Pointer(call.usage_pointer.clone());
        Ok(Self {
            name,
            path: call.path.clone(),
            body: json(&call.body)?,
            shape: call.shape(),
            tag: call.tag.clone(),
            usage,
        })
    }
}

/// Whether an answer ended because its cap was reached.
fn is_cut_off(answer: &Value) -> bool {
    let reason = answer.pointer("/choices/0/finish_reason").and_then(Value::as_str);
    reason == Some("length")
}

fn json(value: &impl serde::Serialize) -> Result<Bytes, Error> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Error::new(ErrorKind::Settings, "the body is no JSON").because(error))?;
    Ok(Bytes::from(bytes))
}

/// What is reserved for one attempt; given back or kept as spent when it is dropped.
struct Reserved<'a> {
    client: &'a Client,
    receipt: Option<Receipt>,
    id: AttemptId,
    demand: Demand,
    tokens: u64,
    cost: Money,
    sent: Option<UnixMillis>,
}

impl Reserved<'_> {
    fn sent(&mut self) {
        self.sent = Some(wall_now());
        if let Some(receipt) = self.receipt {
            self.client.0.admission.sent(receipt);
        }
    }

    fn head_received(&self) {
        if let Some(receipt) = self.receipt {
            self.client.0.admission.head_received(receipt);
        }
    }

    /// Settles, and enters the outcome.
    fn close(&mut self, actual: &Actual, outcome: impl FnOnce(AttemptId, UnixMillis) -> Outcome) {
        let Some(receipt) = self.receipt.take() else { return };
        if self.sent.is_some() {
            self.client.settle(receipt, &self.demand, actual);
        } else {
            self.client.0.admission.cancel_unsent(receipt);
        }
        self.client.enter(&outcome(self.id.clone(), wall_now()));
    }

    /// It certainly never left.
    fn not_sent(&mut self) {
        let Some(receipt) = self.receipt.take() else { return };
        self.client.0.admission.cancel_unsent(receipt);
        self.client.enter(&Outcome::new(self.id.clone(), wall_now(), Ending::NotSent));
    }

    /// Nobody knows what it cost: what was reserved is spent.
    fn maybe_charged(&mut self, status: Option<u16>) {
        let cost = self.cost;
        self.close(&Actual::new(), |id, at| {
            let outcome = Outcome::new(id, at, Ending::MaybeCharged).cost(cost);
            match status {
                Some(status) => outcome.status(status),
                None => outcome,
            }
        });
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.sent.is_some() { self.maybe_charged(None) } else { self.not_sent() }
    }
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
            client: self,
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

    async fn intend(&self, call: &Call, reserved: &Reserved<'_>) -> Result<(), Error> {
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

    /// No answer came.
    fn failed(&self, reserved: &mut Reserved<'_>, attempt: u32, error: TransportError) -> End {
        let not_sent = error.is_not_sent();
        tracing::info!(call = reserved.id.call, attempt, %error, "no answer");
        if not_sent {
            reserved.not_sent()
        } else {
            reserved.maybe_charged(None)
        }
        let error = Error::transport(error);
        let retried = match error.kind() {
            ErrorKind::Unreachable => true,
            ErrorKind::MaybeCharged => self.0.retry.bill_twice,
            _ => false,
        };
        if retried { End::Again(self.backoff(attempt), error) } else { End::Fail(error) }
    }

    /// A good status: read the answer, settle, learn.
    #[expect(clippy::too_many_arguments, reason = "the parts of one answer, each used once")]
    async fn answered(
        &self,
        call: &Call,
        mut reserved: Reserved<'_>,
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
        reserved: &mut Reserved<'_>,
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

    /// A bad status: classify, settle, pause what it names, and say what to do.
    async fn refused(
        &self,
        call: &Call,
        mut reserved: Reserved<'_>,
        attempt: u32,
        status: StatusCode,
        headers: &RateHeaders,
        body: Body,
    ) -> End {
        // Where even the error breaks off, its status has to do.
        let bytes = body.collect(ERROR_CAP).await.unwrap_or_default();
        let server = ServerError::read(status, headers, &bytes);
        let verdict = server.verdict();
        tracing::info!(
            call = call.name,
            attempt,
            status = status.as_u16(),
            ?verdict,
            message = server.message(),
            "refused"
        );
        let hint = headers.retry_after().into_iter().chain(server.resets_in()).max();
        if verdict == Verdict::Wait(Wait::Rate) {
            self.rate_refused(call, reserved.receipt, &server, hint);
        }
        if verdict == Verdict::Retry(Retry::MaybeCharged) {
            reserved.maybe_charged(Some(status.as_u16()));
        } else {
            let nothing = [
                Dimension::InputTokens,
                Dimension::OutputTokens,
                Dimension::TotalTokens,
                Dimension::Money,
            ];
            let actual = nothing.into_iter().fold(Actual::new(), |actual, d| actual.with(d, 0));
            reserved.close(&actual, |id, at| {
                Outcome::new(id, at, Ending::Refused).status(status.as_u16())
            });
        }
        let error = Error::server(&server).retry_in(hint);
        let wait = match verdict {
            Verdict::Wait(Wait::Rate) => Duration::ZERO,
            Verdict::Wait(_) | Verdict::Retry(Retry::Overloaded) => self.backoff(attempt),
            Verdict::Retry(Retry::MaybeCharged) if self.0.retry.bill_twice => self.backoff(attempt),
            _ => return End::Fail(error),
        };
        match hint {
            Some(hint) if hint > self.0.retry.ceiling => End::Fail(error),
            Some(hint) => End::Again(wait.max(hint), error),
            None => End::Again(wait, error),
        }
    }

    /// Tells the limits of a refusal, and pauses what it names for everybody. The call is not
    /// settled yet.
    fn rate_refused(
        &self,
        call: &Call,
        receipt: Option<Receipt>,
        server: &ServerError,
        hint: Option<Duration>,
    ) {
        let key = LimitKey::Model(call.shape.model().clone());
        self.learn_limits(|discover| discover.refusal(call.shape.model(), server.rates()));
        for rate in server.rates() {
            self.0.admission.observe(&Observation::Refused {
                key: key.clone(),
                dimension: Some(rate.dimension),
                actual: Some(rate.actual),
                limit: Some(rate.limit),
                receipt,
            });
        }
        if server.rates().is_empty() {
            self.0.admission.observe(&Observation::Refused {
                key: key.clone(),
                dimension: None,
                actual: None,
                limit: None,
                receipt,
            });
        }
        let refusals = self.0.refusals.fetch_add(1, Ordering::Relaxed).min(4) as u32;
        // 1 s, doubling to 15 s, of which a random half at least; a hint is a minimum.
        let own = Duration::from_secs(1 << refusals).min(Duration::from_secs(15));
        let own = own.mul_f64(0.5 + 0.5 * rand::random::<f64>());
        let pause = hint.map_or(own, |hint| hint + own.min(Duration::from_millis(500)));
        let dimension = match server.rates() {
            [only] => Some(only.dimension),
            _ => None,
        };
        tracing::warn!(%key, ?dimension, ?pause, "the server refused a call for its rate");
        self.0.admission.pause(&key, dimension, self.0.admission.now() + pause);
    }

    /// Takes in the limits that an answer's headers state. What they say is left is not used yet:
    /// replicas of the server disagree about it.
    fn adopt(&self, call: &Call, headers: &RateHeaders) {
        let model = call.shape.model();
        self.learn_limits(|discover| discover.headers(model, headers));
    }

    fn backoff(&self, attempt: u32) -> Duration {
        self.0.retry.backoff(attempt + 1, rand::random())
    }

    /// Enters an outcome; where that fails, nothing more may be spent.
    fn enter(&self, outcome: &Outcome) {
        let Some(record) = &self.0.record else { return };
        if let Err(error) = record.outcome(outcome) {
            tracing::error!(%error, "an outcome could not be recorded");
            let stop = (ErrorKind::Record, format!("the record can't be kept: {error}"));
            lock(&self.0.stopped).get_or_insert(stop);
        }
    }
}
