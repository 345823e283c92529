//! A streamed answer: shown as it comes, and settled on every way out.
//!
//! Invariants: nothing is retried after something was shown; and what a stream used is counted once,
//! with what the server said of it, or where it said nothing, with what was seen and no less than what
//! was expected.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::Body as _;
use paceline_budget::Observed;
use paceline_core::{Certainty, Dimension, ModelId, Money, Usage};
use paceline_transport::error_body::{Verdict, Wait};
use paceline_transport::headers::RateHeaders;
use paceline_transport::sse::{AnswerStream, Chunk, ChunkKind, StreamEnding};
use paceline_transport::{Body, TransportError, TransportErrorKind};

use crate::attempt::{End, Finish, Opened, Reserved};
use crate::error::{Error, ErrorKind};

/// A streamed answer. Fetch its chunks with [`ReplyStream::next`] until there is none any more.
///
/// What it used is known at its end: from the server, on whichever way the stream says it. Where a stream
/// breaks off or is dropped, it counts as what was seen of it, with at least what was expected, because
/// the server charges what it generated; [`ReplyStream::usage`] says then how sure that is.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use paceline::{Chat, Client};
/// # use paceline_transport::mock::MockTransport;
/// # let transport = MockTransport::new().answer(200, concat!(
/// #   "data: {\"choices\": [{\"delta\": {\"content\": \"An \"}}]}\n\n",
/// #   "data: {\"choices\": [{\"delta\": {\"content\": \"arachnid.\"}}]}\n\n",
/// #   "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 140, \"completion_tokens\": 4, \"total_tokens\": 144}}\n\n",
/// #   "data: [DONE]\n\n"));
/// # let client = Client::builder().base_url("http://127.0.0.1:1/v1").transport(transport).build()?;
/// let mut answer = client.chat_stream(&Chat::new("grok-4.3").user("What is a spider?")).await?;
/// while let Some(chunk) = answer.next().await {
///     print!("{}", chunk?.text());
/// }
/// println!("\n{:?} tokens", answer.usage().map(|usage| usage.total_tokens()));
/// # Ok(())
/// # }
/// ```
pub struct ReplyStream {
    reserved: Reserved,
    /// `None` once nothing more can come.
    body: Option<Body>,
    answer: AnswerStream,
    status: StatusCode,
    headers: RateHeaders,
    ready: VecDeque<Chunk>,
    /// What ended it, where that was an error: shown once.
    failure: Option<Error>,
    first_output: Option<Duration>,
    told: u64,
    usage: Option<Usage>,
    cost: Option<Money>,
    is_settled: bool,
}

/// Bytes of the answer that are read at most: 256 MiB.
const MOST: u64 = 256 << 20;

/// Bytes of text that a token has, as far as what was seen is reckoned in tokens: fewer than most text
/// has, so that it is no less.
const BYTES_PER_TOKEN: u64 = 3;

/// After so many more tokens the admission is told how far a stream is.
const TELL_EVERY: u64 = 32;

impl ReplyStream {
    /// The next chunk; `None` once the answer is over. An error is the last thing that comes.
    ///
    /// # Errors
    /// [`ErrorKind::MaybeCharged`] where the stream broke off, [`ErrorKind::BadAnswer`] where it is no
    /// stream of events, or the kind of the error that the server put in the place of the rest. Nothing
    /// is retried: something may have been shown.
    ///
    /// # Cancel safety
    /// Nothing is lost where the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Chunk, Error>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// Reads the rest, and returns the text of all of it.
    ///
    /// # Errors
    /// As [`ReplyStream::next`].
    pub async fn collect_text(&mut self) -> Result<String, Error> {
        let mut text = String::new();
        while let Some(chunk) = self.next().await {
            let chunk = chunk?;
            if chunk.kind() == ChunkKind::Text {
                text.push_str(chunk.text());
            }
        }
        Ok(text)
    }

    /// The model that was asked.
    pub fn model(&self) -> &ModelId {
        self.reserved.call.shape.model()
    }

    /// What it used; `None` until it is over. Its [certainty](Usage::certainty) says whether the server
    /// said so.
    pub const fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// What it cost; `None` until it is over, and where the model has no price.
    pub const fn cost(&self) -> Option<Money> {
        self.cost
    }

    /// How long after the sending its first output came.
    pub const fn first_output(&self) -> Option<Duration> {
        self.first_output
    }

    /// How many times it was sent until an answer began.
    pub const fn attempts(&self) -> u32 {
        self.reserved.id.attempt
    }

    fn open(opened: Opened) -> Self {
        let Opened { reserved, status, headers, body } = opened;
        Self {
            reserved,
            body: Some(body),
            answer: AnswerStream::new(),
            status,
            headers,
            ready: VecDeque::new(),
            failure: None,
            first_output: None,
            told: 0,
            usage: None,
            cost: None,
            is_settled: false,
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(chunk)));
            }
            let Some(body) = &mut self.body else {
                return Poll::Ready(self.failure.take().map(Err));
            };
            match ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Some(piece) = frame.data_ref() {
                        self.take_in(&piece.clone());
                    }
                }
                Some(Err(error)) => self.broke_off(error),
                None => self.bytes_over(),
            }
        }
    }

    /// Nothing more comes. A server that does not stream has answered with one object.
    fn bytes_over(&mut self) {
        let ready = &mut self.ready;
        self.answer.end(|chunk| ready.push_back(chunk));
        if self.answer.ending().is_some() {
            self.look_at_ending();
        } else {
            let kind = TransportErrorKind::Reset;
            let reach = paceline_transport::Reach::MaybeSent;
            self.broke_off(TransportError::new(kind, reach));
        }
    }

    fn take_in(&mut self, piece: &Bytes) {
        let ready = &mut self.ready;
        let pushed = self.answer.push(piece, |chunk| ready.push_back(chunk));
        let seen = self.answer.text_bytes() + self.answer.reasoning_bytes();
        if self.first_output.is_none() && seen > 0 {
            self.first_output = Some(self.reserved.since_sent());
        }
        if pushed.is_err() || seen > MOST {
            self.end(Err(Error::new(ErrorKind::BadAnswer, "the streamed answer is too large")));
            return;
        }
        self.reserved.tell_progress(&self.answer, &mut self.told);
        self.look_at_ending();
    }

    fn look_at_ending(&mut self) {
        let seen = self.answer.text_bytes() + self.answer.reasoning_bytes();
        match self.answer.ending() {
            None => {}
            Some(StreamEnding::Complete) => self.end(Ok(())),
            Some(_) => {
                let error = self.answer.error().map(ToString::to_string).unwrap_or_default();
                let server =
                    self.reserved.client.server_error(self.status, &self.headers, error.as_bytes());
                let error = self.reserved.failed_amid(&server, &self.headers);
                if seen == 0 && matches!(server.verdict(), Verdict::Wait(Wait::Rate)) {
                    // Refused before anything was made.
                    self.is_settled = true;
                    self.reserved.cost_nothing(self.status);
                }
                // What it said is in the error; the chunk that held it is not shown.
                self.ready.retain(|chunk| chunk.kind() != ChunkKind::Error);
                self.end(Err(error));
            }
        }
    }

    fn broke_off(&mut self, error: TransportError) {
        tracing::info!(call = self.reserved.id.call, %error, "the stream broke off");
        let is_events = self.answer.malformed() == 0;
        let error = if is_events {
            Error::transport(error)
        } else {
            Error::new(ErrorKind::BadAnswer, "the answer is no stream of events")
        };
        self.end(Err(error));
    }

    /// It is over. What was not said of its usage is reckoned.
    fn end(&mut self, result: Result<(), Error>) {
        self.body = None;
        self.failure = result.err();
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        let over = Over {
            status: self.status,
            is_whole: self.failure.is_none(),
            first_output: self.first_output,
        };
        let (usage, cost) = self.reserved.stream_over(&self.answer, &over);
        self.usage = Some(usage);
        self.cost = cost;
    }
}

/// How a stream was over.
pub(crate) struct Over {
    pub(crate) status: StatusCode,
    /// Whether it came to its end.
    pub(crate) is_whole: bool,
    pub(crate) first_output: Option<Duration>,
}

impl Reserved {
    /// A stream is over: counts what the server said it used, and where it said nothing, what was seen
    /// and no less than what was expected.
    pub(crate) fn stream_over(
        &mut self,
        answer: &AnswerStream,
        over: &Over,
    ) -> (Usage, Option<Money>) {
        let said = self.believed(&answer.usage());
        let usage = said.unwrap_or_else(|| self.reckoned(answer));
        let is_whole = over.is_whole && said.is_some();
        let terms = match (said, answer.usage_value()) {
            (Some(_), Some(value)) => self.call.terms.billed(answer.service_tier(), Some(value)),
            _ => self.call.terms.most,
        };
        let cost = self.settled_as(over.status, &usage, is_whole, &terms);
        if let (Some(usage), true) = (said, is_whole) {
            let observed = Observed::new(usage, self.since_sent());
            let observed = match over.first_output {
                Some(first) => observed.first_token(first),
                None => observed,
            };
            self.learn(if answer.is_cut_off() { observed.cut_off() } else { observed });
        }
        (usage, cost)
    }

    fn reckoned(&self, answer: &AnswerStream) -> Usage {
        let most = Usage::MAX_TOKENS / 2;
        let input = self.expected(Dimension::InputTokens).min(most);
        let output = self.expected(Dimension::OutputTokens).max(seen_tokens(answer)).min(most);
        Usage::new(input, input + output)
            .expect("the total is no less than the input, and small enough")
            .with_certainty(Certainty::Estimated)
    }

    /// Tells the admission how far a stream is, once that is so much more than it was told.
    pub(crate) fn tell_progress(&self, answer: &AnswerStream, told: &mut u64) {
        let tokens = seen_tokens(answer);
        if tokens >= *told + TELL_EVERY {
            *told = tokens;
            self.progress(tokens);
        }
    }
}

/// What was seen of a stream, in tokens.
fn seen_tokens(answer: &AnswerStream) -> u64 {
    (answer.text_bytes() + answer.reasoning_bytes()) / BYTES_PER_TOKEN
}

impl Drop for ReplyStream {
    fn drop(&mut self) {
        if !self.is_settled {
            self.end(Err(Error::new(ErrorKind::MaybeCharged, "the stream was dropped")));
        }
    }
}

impl fmt::Debug for ReplyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyStream")
            .field("call", &self.reserved.call.name)
            .field("usage", &self.usage)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "futures-core")]
impl futures_core::Stream for ReplyStream {
    type Item = Result<Chunk, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Self::poll_next(&mut self, context)
    }
}

/// The answer is shown as it comes. It is read up to its first output here, so that what the server
/// refuses before that can still be tried again.
pub(crate) struct Streamed;

impl Finish for Streamed {
    type Out = ReplyStream;

    async fn finish(opened: Opened) -> End<ReplyStream> {
        let mut stream = ReplyStream::open(opened);
        let mut shown = VecDeque::new();
        loop {
            match stream.next().await {
                Some(Ok(chunk)) => {
                    let is_output = matches!(chunk.kind(), ChunkKind::Text | ChunkKind::Reasoning);
                    shown.push_back(chunk);
                    if is_output {
                        break;
                    }
                }
                Some(Err(error)) => return stream.reserved.again_after(error),
                None => break,
            }
        }
        shown.append(&mut stream.ready);
        stream.ready = shown;
        End::Done(stream)
    }
}
