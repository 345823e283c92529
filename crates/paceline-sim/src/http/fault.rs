//! Faults to order: what the next calls meet instead of an answer.
//!
//! Nothing here happens by chance. First ordered, first met.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};

/// What a call meets instead of its answer.
#[derive(Clone, Debug)]
pub struct Fault(pub(super) Kind);

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// This answer, at once and unjudged.
    Answer(Response<Bytes>),
    /// No answer, unjudged.
    Drop,
    /// No answer, after the work was done and charged.
    Lose,
    /// An answer that begins and goes wrong.
    Inside(Inside),
}

/// Where an answer goes wrong, and how.
#[derive(Clone, Debug)]
pub(super) struct Inside {
    /// Output tokens that are written before.
    pub(super) after: u64,
    pub(super) end: End,
}

/// How an answer that has begun goes wrong.
#[derive(Clone, Debug)]
pub(super) enum End {
    Break,
    Stall,
    Error(Trouble),
    Failed(Trouble),
}

/// What is said of it.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) code: String,
    pub(super) text: String,
}

impl Fault {
    /// This status and body, at once: the call is neither judged nor counted.
    ///
    /// The content type follows from the body: HTML where it begins with `<`, else JSON.
    pub fn answer(status: StatusCode, body: impl Into<String>) -> Self {
        Self(Kind::Answer(raw_answer(status, body.into())))
    }

    /// With a header more, such as `Retry-After`. Nothing changes where there is no answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if let Kind::Answer(answer) = &mut self.0 {
            answer.headers_mut().append(name, value);
        }
        self
    }

    /// The connection breaks before the call is judged: nothing is counted.
    pub const fn drop_connection() -> Self {
        Self(Kind::Drop)
    }

    /// The call is judged, worked on and charged as any other; then the connection breaks before
    /// the answer's head. A client can't tell this from [`drop_connection`](Self::drop_connection).
    pub const fn lose_answer() -> Self {
        Self(Kind::Lose)
    }

    /// The connection breaks in the middle of the body.
    ///
    /// A stream breaks once so many output tokens, reasoning included, are written, and is
    /// charged for them; one that has fewer breaks behind its last event. An answer that is no
    /// stream is worked on and charged as any other, and breaks behind half of its bytes.
    pub const fn break_inside(after: u64) -> Self {
        Self(Kind::Inside(Inside { after, end: End::Break }))
    }

    /// The body stops in the middle as [`break_inside`](Self::break_inside) says, and the
    /// connection stays open for as long as the client waits; a stream is charged when it goes. A
    /// stream of fewer tokens is sent whole and does not end.
    pub const fn stall_inside(after: u64) -> Self {
        Self(Kind::Inside(Inside { after, end: End::Stall }))
    }

    /// A stream ends in an error object once so many output tokens are written, and is charged
    /// for them: `{"code", "error"}` as a line of data of chat completions, the event `error`
    /// of responses; where it has fewer, in place of its end. No usage follows. An answer that is no stream is worked on and charged, and
    /// has such an object for a body, with the status 200.
    pub fn error_inside(after: u64, code: impl Into<String>, text: impl Into<String>) -> Self {
        let trouble = Trouble { code: code.into(), text: text.into() };
        Self(Kind::Inside(Inside { after, end: End::Error(trouble) }))
    }

    /// As [`error_inside`](Self::error_inside), but a stream of responses ends in
    /// `response.failed`.
    pub fn fail_inside(after: u64, code: impl Into<String>, text: impl Into<String>) -> Self {
        let trouble = Trouble { code: code.into(), text: text.into() };
        Self(Kind::Inside(Inside { after, end: End::Failed(trouble) }))
    }
}

/// Faults that were ordered and not met yet.
#[derive(Debug, Default)]
pub(super) struct Faults(VecDeque<(u32, Fault)>);

/// Orders that are kept; a further one takes the place of the last.
const ORDERS: usize = 1_024;

impl Faults {
    pub(super) fn order(&mut self, n: u32, fault: Fault) {
        if self.0.len() == ORDERS {
            self.0.pop_back();
        }
        if n > 0 {
            self.0.push_back((n, fault));
        }
    }

    /// What the next call meets.
    pub(super) fn next(&mut self) -> Option<Fault> {
        let (left, fault) = self.0.front_mut()?;
        *left -= 1;
        if *left > 0 {
            return Some(fault.clone());
        }
        self.0.pop_front().map(|(_, fault)| fault)
    }
}

/// An answer with the content type that its body looks like.
pub(super) fn raw_answer(status: StatusCode, body: String) -> Response<Bytes> {
    let kind = if body.starts_with('<') { "text/html" } else { "application/json" };
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
