//! No answer, or a bad one: classify, settle, pause what it names, and say what to do.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use paceline_budget::{Ending, Endpoint, Outcome, Terms};
use paceline_core::{Actual, Dimension, LimitKey, Money, Observation, Receipt};
use paceline_transport::TransportError;
use paceline_transport::error_body::{Reject, Retry, ServerError, Verdict, Wait};
use paceline_transport::headers::RateHeaders;

use super::{End, Reserved};
use crate::call::Call;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;

impl Reserved {
    /// No answer came, or it broke off.
    pub(crate) fn failed<T>(&mut self, error: TransportError) -> End<T> {
        tracing::info!(call = self.id.call, attempt = self.id.attempt, %error, "no answer");
        if error.is_not_sent() {
            self.not_sent();
        } else {
            self.maybe_charged(None);
        }
        let error = Error::transport(error);
        let retried = match error.kind() {
            ErrorKind::Unreachable => true,
            ErrorKind::MaybeCharged => self.client.0.retry.bill_twice,
            _ => false,
        };
        if retried { End::Again(self.backoff(), error) } else { End::Fail(error) }
    }

    /// A bad status: classify, settle, pause what it names, and say what to do.
    pub(crate) fn refused<T>(
        &mut self,
        status: StatusCode,
        headers: &RateHeaders,
        bytes: &[u8],
    ) -> End<T> {
        let server = self.client.server_error(status, headers, bytes);
        let verdict = server.verdict();
        tracing::info!(
            call = self.id.call,
            attempt = self.id.attempt,
            status = status.as_u16(),
            ?verdict,
            code = server.code(),
            "refused"
        );
        // It may quote the prompt.
        tracing::trace!(call = self.id.call, message = server.message(), "what the server said");
        let hint = hint(headers, &server);
        if verdict == Verdict::Wait(Wait::Rate) {
            self.client.rate_refused(&self.call, self.receipt, &server, hint);
        }
        if verdict == Verdict::Retry(Retry::MaybeCharged) {
            self.maybe_charged(Some(status.as_u16()));
        } else if verdict == Verdict::Reject(Reject::Content) {
            self.violates(status);
        } else {
            self.cost_nothing(status);
        }
        let error = Error::server(&server).retry_in(hint);
        let wait = match verdict {
            Verdict::Wait(Wait::Rate) => Duration::ZERO,
            Verdict::Wait(_) | Verdict::Retry(Retry::Overloaded) => self.backoff(),
            Verdict::Retry(Retry::MaybeCharged) if self.client.0.retry.bill_twice => self.backoff(),
            _ => return End::Fail(error),
        };
        match hint {
            Some(hint) if hint > self.client.0.retry.ceiling => End::Fail(error),
            Some(hint) => End::Again(wait.max(hint), error),
            None => End::Again(wait, error),
        }
    }

    /// Content that violates the usage guidelines is charged all the same: as any other call, or by a
    /// fee at `/v1/responses`. Nobody says which, so the larger one is spent.
    fn violates(&mut self, status: StatusCode) {
        if self.call.shape.endpoint_kind() == Endpoint::Responses {
            self.cost = self.cost.max(Terms::VIOLATION_FEE);
        }
        let mut actual = Actual::new();
        if self.cost > Money::ZERO {
            actual = actual.with(Dimension::Money, self.cost.as_amount());
        }
        self.kept(&actual, Some(status.as_u16()));
    }

    /// The server refused it before it did any work.
    pub(crate) fn cost_nothing(&mut self, status: StatusCode) {
        let nothing = [
            Dimension::InputTokens,
            Dimension::OutputTokens,
            Dimension::TotalTokens,
            Dimension::Money,
        ];
        let actual = nothing.into_iter().fold(Actual::new(), |actual, d| actual.with(d, 0));
        self.close(&actual, |id, at| Outcome::new(id, at, Ending::Refused).status(status.as_u16()));
    }

    /// An error came in the place of the rest of a stream. The call is not settled yet.
    pub(crate) fn failed_amid(&self, server: &ServerError, headers: &RateHeaders) -> Error {
        tracing::info!(
            call = self.id.call,
            attempt = self.id.attempt,
            verdict = ?server.verdict(),
            code = server.code(),
            "an error in the answer"
        );
        tracing::trace!(call = self.id.call, message = server.message(), "what the server said");
        let hint = hint(headers, server);
        if server.verdict() == Verdict::Wait(Wait::Rate) {
            self.client.rate_refused(&self.call, self.receipt, server, hint);
        }
        Error::server(server).retry_in(hint)
    }

    /// What to do about a stream that failed before it showed anything; it is settled.
    pub(crate) fn again_after<T>(&self, error: Error) -> End<T> {
        let wait = match error.kind() {
            ErrorKind::RateLimited => Duration::ZERO,
            ErrorKind::Overloaded | ErrorKind::Unreachable => self.backoff(),
            ErrorKind::MaybeCharged if self.client.0.retry.bill_twice => self.backoff(),
            _ => return End::Fail(error),
        };
        match error.retry_after() {
            Some(hint) if hint > self.client.0.retry.ceiling => End::Fail(error),
            hint => End::Again(wait.max(hint.unwrap_or_default()), error),
        }
    }

    fn backoff(&self) -> Duration {
        self.client.0.retry.backoff(self.id.attempt + 1, rand::random())
    }
}

/// How long the server says to wait: `retry-after`, or without it the resets of what is used up, and
/// what the body says.
fn hint(headers: &RateHeaders, server: &ServerError) -> Option<Duration> {
    let stated = headers.retry_after().or_else(|| headers.exhausted_for());
    stated.into_iter().chain(server.resets_in()).max()
}

impl Client {
    /// Reads what the server says, without the key that it may repeat.
    pub(crate) fn server_error(
        &self,
        status: StatusCode,
        headers: &RateHeaders,
        bytes: &[u8],
    ) -> ServerError {
        match &self.0.key {
            Some(key) => ServerError::read(status, headers, &key.redacted(bytes)),
            None => ServerError::read(status, headers, bytes),
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
        // 1 s, doubling to 15 s, of which a random half at least; a hint is a minimum, and not all who
        // were told it come back at the same moment.
        let own = Duration::from_secs(1 << refusals).min(Duration::from_secs(15));
        let own = own.mul_f64(0.5 + 0.5 * rand::random::<f64>());
        let half = Duration::from_millis(500);
        let spread = half.mul_f64(rand::random());
        let pause = hint.map_or(own, |hint| (hint + spread).max(half));
        let dimension = match server.rates() {
            [only] => Some(only.dimension),
            _ => None,
        };
        tracing::warn!(%key, ?dimension, ?pause, "the server refused a call for its rate");
        self.0.admission.pause(&key, dimension, self.0.admission.now() + pause);
        self.0.told.tell(None, || EventKind::Paused { key, dimension, wait: pause });
    }
}

/// As much of an error is read: 1 MiB.
pub(crate) const ERROR_CAP: u64 = 1 << 20;
