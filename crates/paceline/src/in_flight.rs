//! A call that another client makes: admitted by us, told what its answer says, settled once.
//!
//! It sends nothing and retries nothing: each attempt of the other client is one of these.

use std::fmt;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use paceline_core::Usage;
use paceline_transport::headers::RateHeaders;
use paceline_transport::sse::{AnswerStream, StreamEnding};

use crate::attempt::{ANSWER_CAP, ERROR_CAP, End, Reserved};
use crate::client::wall_now;
use crate::stream::Over;

/// A call that was admitted and is on its way with another client, which shows it what comes back.
///
/// Show it the head and every piece of the body, and say when the body has ended; then what it used
/// is read from the answer, counted, recorded and learned from, a refusal pauses what it names, and
/// limits that headers state are adopted. Where the other client shows no bytes, tell the usage with
/// [`InFlight::settle`]. Dropped before its end, it counts as spent at what was reserved, because the
/// server may charge it; a stream of events at what was seen of it, and no less than was expected.
///
/// # Bounds
/// It keeps up to 64 MiB of a good answer and 1 MiB of an error until the end. Of a longer one no usage
/// is read: what was reserved stays spent.
#[must_use = "dropped, it counts as spent at what was reserved"]
pub struct InFlight {
    reserved: Reserved,
    head: Option<(StatusCode, RateHeaders)>,
    seen: Vec<u8>,
    is_too_long: bool,
    /// Where the answer is a stream of events.
    stream: Option<AnswerStream>,
    first_output: Option<Duration>,
    told: u64,
}

impl InFlight {
    pub(crate) fn new(mut reserved: Reserved) -> Self {
        reserved.sent();
        Self {
            reserved,
            head: None,
            seen: Vec::new(),
            is_too_long: false,
            stream: None,
            first_output: None,
            told: 0,
        }
    }

    /// The head of the answer is there.
    pub fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.reserved.head_received(status);
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if status.is_success() && kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            self.stream = Some(AnswerStream::new());
        }
        let headers = RateHeaders::parse(headers, wall_now());
        self.reserved.adopt(&headers);
        self.head = Some((status, headers));
    }

    /// The next piece of the body is there.
    pub fn body(&mut self, piece: &[u8]) {
        if let Some(stream) = &mut self.stream {
            // One that is too large ends by what was seen of it.
            stream.push(piece, drop).ok();
            if self.first_output.is_none() && stream.text_bytes() + stream.reasoning_bytes() > 0 {
                self.first_output = Some(self.reserved.since_sent());
            }
            self.reserved.tell_progress(stream, &mut self.told);
            return;
        }
        let is_good = self.head.as_ref().is_none_or(|(status, _)| status.is_success());
        let most = if is_good { ANSWER_CAP } else { ERROR_CAP };
        if (self.seen.len() + piece.len()) as u64 > most {
            // Of an error, its beginning says enough.
            self.is_too_long |= is_good;
            return;
        }
        self.seen.extend_from_slice(piece);
    }

    /// The body is complete.
    pub fn end(mut self) {
        let Some((status, headers)) = self.head.take() else { return };
        if let Some(stream) = self.stream.take() {
            let is_whole = stream.ending() == Some(StreamEnding::Complete);
            return self.stream_over(&stream, status, is_whole);
        }
        if self.is_too_long {
            return;
        }
        if status.is_success() {
            if let End::Fail(error) = self.reserved.answered(status, &headers, &self.seen) {
                tracing::warn!(%error, "another client's answer");
            }
            return;
        }
        let end: End<()> = self.reserved.refused(status, &headers, &self.seen);
        if let End::Fail(error) = end {
            if error.ends_everything() {
                self.reserved.client.stop(error.kind(), error.to_string());
            }
        }
    }

    /// The call is over and used these tokens.
    pub fn settle(mut self, usage: &Usage) {
        let status = self.head.take().map_or(StatusCode::OK, |(status, _)| status);
        self.reserved.settled(status, Some(*usage));
    }

    /// The request certainly never left: everything goes back.
    pub fn not_sent(mut self) {
        self.reserved.not_sent();
    }
}

impl InFlight {
    fn stream_over(&mut self, stream: &AnswerStream, status: StatusCode, is_whole: bool) {
        let over = Over { status, is_whole, first_output: self.first_output };
        self.reserved.stream_over(stream, &over);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let (Some(stream), Some((status, _))) = (self.stream.take(), self.head.take()) {
            self.stream_over(&stream, status, stream.ending() == Some(StreamEnding::Complete));
        }
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").field("call", &self.reserved.call.name).finish_non_exhaustive()
    }
}
