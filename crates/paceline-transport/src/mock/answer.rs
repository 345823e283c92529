//! One scripted answer: a head after a delay and a body, or a failure.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Frame;

use crate::body::Body;
use crate::error::{Reach, TransportError, TransportErrorKind};

/// What a call gets.
#[derive(Clone, Debug)]
#[must_use]
pub struct Answer {
    delay: Duration,
    outcome: Outcome,
}

#[derive(Clone, Debug)]
enum Outcome {
    Answer { status: u16, headers: HeaderMap, body: Bytes, breaks: Option<TransportErrorKind> },
    Failure(TransportErrorKind, Reach),
}

impl Answer {
    /// An answer of this status (100 to 999) and body, at once.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let outcome = Outcome::Answer { status, headers: HeaderMap::new(), body, breaks: None };
        Self { delay: Duration::ZERO, outcome }
    }

    /// No answer.
    pub const fn failure(kind: TransportErrorKind, reach: Reach) -> Self {
        Self { delay: Duration::ZERO, outcome: Outcome::Failure(kind, reach) }
    }

    /// With this wait before its head, or its failure. Default: none.
    pub const fn delay(mut self, wait: Duration) -> Self {
        self.delay = wait;
        self
    }

    /// With one more header. A name or value that is none, and a header of a failure, is left
    /// out.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Outcome::Answer { headers, .. } = &mut self.outcome {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                headers.append(name, value);
            }
        }
        self
    }

    /// With a body that breaks off with this error behind its last byte. Changes nothing of a
    /// failure.
    pub const fn breaks(mut self, kind: TransportErrorKind) -> Self {
        if let Outcome::Answer { breaks, .. } = &mut self.outcome {
            *breaks = Some(kind);
        }
        self
    }

    pub(super) async fn give(self) -> Result<Response<Body>, TransportError> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        match self.outcome {
            Outcome::Failure(kind, reach) => Err(TransportError::new(kind, reach)),
            Outcome::Answer { status, headers, body, breaks } => {
                let status = StatusCode::from_u16(status).map_err(|error| {
                    TransportError::new(TransportErrorKind::Other, Reach::NotSent)
                        .with_source(error)
                })?;
                let body = match breaks {
                    None => Body::from(body),
                    Some(kind) => Body::new(Broken { body: Some(body), error: Some(kind) }),
                };
                let mut response = Response::new(body);
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                Ok(response)
            }
        }
    }
}

/// A body that ends in an error.
struct Broken {
    body: Option<Bytes>,
    error: Option<TransportErrorKind>,
}

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        let body = self.body.take().filter(|body| !body.is_empty());
        Poll::Ready(match body {
            Some(body) => Some(Ok(Frame::data(body))),
            None => self.error.take().map(|kind| Err(TransportError::new(kind, Reach::MaybeSent))),
        })
    }
}
