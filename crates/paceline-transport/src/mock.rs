//! A transport for tests: it answers from a script and records what was sent.
//!
//! For tests of programs that use a client of this family: no server, no port, no time lost. Give
//! a clone to the client, keep one to look at:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use bytes::Bytes;
//! use paceline_transport::mock::{Answer, MockTransport};
//! use paceline_transport::{Reach, Transport, TransportError, TransportErrorKind};
//!
//! /// What is to be tested: asks, and once more where nothing was sent.
//! async fn ask(transport: &dyn Transport) -> Result<Bytes, TransportError> {
//!     let request = || {
//!         http::Request::post("https://api.x.ai/v1/responses").body(Bytes::from_static(b"{}"))
//!     };
//!     let answer = match transport.send(request().expect("legal")).await {
//!         Err(error) if error.is_not_sent() => transport.send(request().expect("legal")).await?,
//!         other => other?,
//!     };
//!     answer.into_body().collect(1_000).await
//! }
//!
//! let mock = MockTransport::new()
//!     .fail(TransportErrorKind::Connect, Reach::NotSent)
//!     .then(Answer::events(Duration::from_secs(60), ["one", "two"]))
//!     .then(Answer::new(200, "half").breaks(TransportErrorKind::Reset));
//!
//! // A minute each, on tokio's paused clock: no time at all.
//! assert_eq!(ask(&mock).await?, "data: one\n\ndata: two\n\n");
//! assert_eq!(mock.sent().len(), 2);
//! assert_eq!(mock.sent()[1].uri().path(), "/v1/responses");
//!
//! // What may have been charged is not asked again.
//! let error = ask(&mock).await.expect_err("it breaks");
//! assert_eq!(error.kind(), TransportErrorKind::Reset);
//! assert_eq!((mock.calls(), mock.unused()), (3, 0));
//! # Ok(())
//! # }
//! ```
//!
//! It opens no socket, and knows no timeout, proxy or TLS. What this file keeps: every wait is on tokio's clock, so that it costs no
//! time where that is paused; and a call that nothing was scripted for fails, it never hangs.

mod answer;
mod pieces;
mod sent;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

use crate::body::Body;
use crate::error::{Reach, TransportError, TransportErrorKind};
use crate::transport::Transport;

pub use answer::Answer;
pub use sent::SentRequest;

/// Answers from a script, in the order of the calls. Clones share script and record.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use bytes::Bytes;
/// use paceline_transport::Transport;
/// use paceline_transport::mock::MockTransport;
///
/// let mock = MockTransport::new()
///     .answer(429, r#"{"error": "Too many requests"}"#)
///     .answer(200, "{}")
///     .delay(Duration::from_secs(30));
///
/// let request = || http::Request::post("https://api.x.ai/v1/responses").body(Bytes::new());
/// assert_eq!(mock.send(request()?).await?.status(), 429);
/// assert_eq!(mock.send(request()?).await?.status(), 200); // 30 s later, at once
/// assert_eq!(mock.sent().len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MockTransport(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    script: VecDeque<Answer>,
    always: Option<Arc<Rule>>,
    sent: VecDeque<SentRequest>,
    calls: u64,
}

type Rule = dyn Fn(&SentRequest) -> Answer + Send + Sync;

impl MockTransport {
    /// How many requests the record holds; of more, the latest.
    pub const MAX_RECORDED: usize = 10_000;

    /// With an empty script: every call fails until something is added.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers every call by a rule. What [`MockTransport::then`] and its like add is used
    /// first.
    pub fn by(rule: impl Fn(&SentRequest) -> Answer + Send + Sync + 'static) -> Self {
        let mock = Self::new();
        mock.state().always = Some(Arc::new(rule));
        mock
    }

    /// Adds an answer to the script.
    #[must_use]
    pub fn then(self, answer: Answer) -> Self {
        self.state().script.push_back(answer);
        self
    }

    /// Adds an answer of this status and body.
    #[must_use]
    pub fn answer(self, status: u16, body: impl Into<Bytes>) -> Self {
        self.then(Answer::new(status, body))
    }

    /// Adds a failure.
    #[must_use]
    pub fn fail(self, kind: TransportErrorKind, reach: Reach) -> Self {
        self.then(Answer::failure(kind, reach))
    }

    /// Makes the answer that was added last wait so long before its head. Changes nothing where
    /// the script is empty.
    #[must_use]
    pub fn delay(self, wait: Duration) -> Self {
        {
            let mut state = self.state();
            if let Some(last) = state.script.pop_back() {
                state.script.push_back(last.delay(wait));
            }
        }
        self
    }

    /// What is answered whenever the script is used up.
    #[must_use]
    pub fn always(self, answer: Answer) -> Self {
        self.state().always = Some(Arc::new(move |_| answer.clone()));
        self
    }

    /// The requests so far, in their order; of more than [`MockTransport::MAX_RECORDED`], the
    /// latest.
    pub fn sent(&self) -> Vec<SentRequest> {
        self.state().sent.iter().cloned().collect()
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many scripted answers were not used yet.
    pub fn unused(&self) -> usize {
        self.state().script.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A rule runs outside the lock, so that no panic leaves the state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request and finds what to answer.
    fn take(&self, request: Request<Bytes>) -> Option<Answer> {
        let mut state = self.state();
        let sent = SentRequest::new(request, state.calls);
        state.calls += 1;
        if state.sent.len() == Self::MAX_RECORDED {
            state.sent.pop_front();
        }
        state.sent.push_back(sent.clone());
        if let Some(answer) = state.script.pop_front() {
            return Some(answer);
        }
        let rule = state.always.clone()?;
        drop(state);
        Some(rule(&sent))
    }
}

#[async_trait]
impl Transport for MockTransport {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let answer = self.take(request).ok_or_else(|| {
            TransportError::new(TransportErrorKind::Other, Reach::NotSent)
                .with_source("nothing is scripted for this call: add an answer, or `always`")
        })?;
        answer.give().await
    }
}

impl fmt::Debug for MockTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MockTransport")
            .field("calls", &state.calls)
            .field("unused", &state.script.len())
            .finish_non_exhaustive()
    }
}
