//! One scripted answer: a head after a delay and a body in pieces, or a fault.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::time::Instant;

use super::pieces::{End, Pieces};
use crate::body::Body;
use crate::error::{Reach, TransportError, TransportErrorKind};

/// What a call gets.
///
/// ```
/// use std::time::Duration;
/// use paceline_transport::mock::Answer;
/// use paceline_transport::{Reach, TransportErrorKind};
///
/// let second = Duration::from_secs(1);
/// // An answer, and one whose head takes a second.
/// Answer::new(200, "{}").header("x-request-id", "1");
/// Answer::new(429, "{}").header("retry-after", "2").delay(second);
/// // A stream: a piece each second, and one that breaks or falls silent behind its last piece.
/// Answer::events(second, ["{}", "[DONE]"]);
/// Answer::new(200, "").piece(second, "a").piece(second, "b").breaks(TransportErrorKind::Reset);
/// Answer::new(200, "half").stalls();
/// // Nothing was sent; it was sent and the connection lost; it was sent and nothing comes.
/// Answer::failure(TransportErrorKind::Connect, Reach::NotSent);
/// Answer::failure(TransportErrorKind::Reset, Reach::MaybeSent);
/// Answer::silence();
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Answer {
    delay: Duration,
    outcome: Outcome,
}

#[derive(Clone, Debug)]
enum Outcome {
    Answer(Head, Script),
    Failure(TransportErrorKind, Reach),
    Silence,
}

#[derive(Clone, Debug)]
struct Head {
    status: u16,
    headers: HeaderMap,
}

/// A body: what comes with the head, and the pieces behind it, each with the wait before it.
#[derive(Clone, Debug)]
struct Script {
    first: Bytes,
    pieces: VecDeque<(Duration, Bytes)>,
    end: End,
}

impl Answer {
    /// An answer of this status (100 to 999) and body, at once.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        let head = Head { status, headers: HeaderMap::new() };
        let script = Script { first: body.into(), pieces: VecDeque::new(), end: End::Whole };
        let outcome = Outcome::Answer(head, script);
        Self { delay: Duration::ZERO, outcome }
    }

    /// A stream of server-sent events, status 200: `data: ` and each text, after this wait each.
    pub fn events<T: AsRef<str>>(wait: Duration, data: impl IntoIterator<Item = T>) -> Self {
        let stream = Self::new(200, "").header(CONTENT_TYPE.as_str(), "text/event-stream");
        data.into_iter()
            .fold(stream, |stream, data| stream.piece(wait, format!("data: {}\n\n", data.as_ref())))
    }

    /// No answer.
    pub const fn failure(kind: TransportErrorKind, reach: Reach) -> Self {
        Self { delay: Duration::ZERO, outcome: Outcome::Failure(kind, reach) }
    }

    /// Nothing, ever: no head and no failure, as from a server that hangs. The mock has no
    /// timeouts; whoever waits needs one of their own.
    pub const fn silence() -> Self {
        Self { delay: Duration::ZERO, outcome: Outcome::Silence }
    }

    /// With this wait before its head, or its failure. Default: none.
    pub const fn delay(mut self, wait: Duration) -> Self {
        self.delay = wait;
        self
    }

    /// With one more header. A name or value that is none, and a header of what is no answer, is
    /// left out.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Outcome::Answer(head, _) = &mut self.outcome {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                head.headers.append(name, value);
            }
        }
        self
    }

    /// With one more piece of its body, a frame of its own, so long after the one before it (the
    /// first: after the head), whether or not somebody reads meanwhile. Changes nothing of what
    /// is no answer.
    pub fn piece(mut self, wait: Duration, bytes: impl Into<Bytes>) -> Self {
        if let Outcome::Answer(_, script) = &mut self.outcome {
            script.pieces.push_back((wait, bytes.into()));
        }
        self
    }

    /// With a body that breaks off with this error behind its last piece. Changes nothing of what
    /// is no answer.
    pub const fn breaks(mut self, kind: TransportErrorKind) -> Self {
        if let Outcome::Answer(_, script) = &mut self.outcome {
            script.end = End::Breaks(kind);
        }
        self
    }

    /// With a body that falls silent behind its last piece, and never ends. Changes nothing of
    /// what is no answer.
    pub const fn stalls(mut self) -> Self {
        if let Outcome::Answer(_, script) = &mut self.outcome {
            script.end = End::Stalls;
        }
        self
    }

    pub(super) async fn give(self) -> Result<Response<Body>, TransportError> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        match self.outcome {
            Outcome::Silence => std::future::pending().await,
            Outcome::Failure(kind, reach) => Err(TransportError::new(kind, reach)),
            Outcome::Answer(head, script) => {
                let status = StatusCode::from_u16(head.status).map_err(|error| {
                    TransportError::new(TransportErrorKind::Other, Reach::NotSent)
                        .with_source(error)
                })?;
                let mut response = Response::new(script.body());
                *response.status_mut() = status;
                *response.headers_mut() = head.headers;
                Ok(response)
            }
        }
    }
}

impl Script {
    /// The body, whose time begins now.
    fn body(mut self) -> Body {
        if self.pieces.is_empty() && self.end == End::Whole {
            return Body::from(self.first);
        }
        self.pieces.push_front((Duration::ZERO, self.first));
        Body::new(Pieces::new(self.pieces, self.end, Instant::now()))
    }
}
