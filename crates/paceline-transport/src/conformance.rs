//! A suite that any [`Transport`] can run, in one call, against a server of its own on loopback.
//!
//! It judges by what a caller is given and what the server saw; no rule hangs on how fast
//! anything is. What this file keeps: a failure names the rule that is broken and what was seen.

mod answers;
mod bodies;
mod failures;
mod server;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

use crate::body::Body;
use crate::error::TransportError;
use crate::transport::Transport;
use server::Server;

/// What every transport keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Method, path, query, headers and body arrive as they were given, to the byte.
    Request,
    /// An answer of any status is an answer, with its headers and body.
    Statuses,
    /// Informational heads (1xx) are not the answer.
    Interim,
    /// Headers of the answer are found in any case, every one of several of a name.
    HeaderNames,
    /// A header of 32 KiB passes, in both directions.
    LargeHeaders,
    /// A redirect is handed back and not followed.
    Redirects,
    /// Bodies are whole, whether by length, in chunks, until the connection ends, or empty.
    Bodies,
    /// Each piece of a body is there before the next one is sent.
    Pieces,
    /// A compressed body is passed on as it came, or unpacked with its header taken off.
    Encodings,
    /// A body without end can be left at a cap, and the connection is closed then.
    Caps,
    /// Calls at one time get each its own answer.
    Concurrency,
    /// Nothing leaves before the first poll.
    Lazy,
    /// A call that is dropped closes its connection.
    DroppedCall,
    /// A body that is dropped closes its connection.
    DroppedBody,
    /// Where no connection comes about, the error says that nothing was sent.
    NotSent,
    /// Where the connection is lost after the request was sent, the error says that it may have
    /// been.
    MaybeSent,
    /// A body cut short ends in an error, behind what had come of it.
    CutShort,
    /// One call is one attempt: whatever the server does, it sees the request once.
    OneAttempt,
    /// Errors show neither the address nor the key.
    Secrets,
}

impl Rule {
    /// Every rule.
    pub const ALL: &[Self] = &[
        Self::Request,
        Self::Statuses,
        Self::Interim,
        Self::HeaderNames,
        Self::LargeHeaders,
        Self::Redirects,
        Self::Bodies,
        Self::Pieces,
        Self::Encodings,
        Self::Caps,
        Self::Concurrency,
        Self::Lazy,
        Self::DroppedCall,
        Self::DroppedBody,
        Self::NotSent,
        Self::MaybeSent,
        Self::CutShort,
        Self::OneAttempt,
        Self::Secrets,
    ];

    /// The rule as a sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Request => "a request arrives as it was given",
            Self::Statuses => "an answer of any status is an answer",
            Self::Interim => "informational heads are not the answer",
            Self::HeaderNames => "headers are found in any case, every one of several",
            Self::LargeHeaders => "a header of 32 KiB passes in both directions",
            Self::Redirects => "a redirect is handed back and not followed",
            Self::Bodies => "bodies are whole, however their length is told",
            Self::Pieces => "each piece of a body is there before the next one is sent",
            Self::Encodings => "a compressed body keeps its header, or loses both",
            Self::Caps => "a body without end can be left at a cap",
            Self::Concurrency => "calls at one time get each its own answer",
            Self::Lazy => "nothing leaves before the first poll",
            Self::DroppedCall => "a call that is dropped closes its connection",
            Self::DroppedBody => "a body that is dropped closes its connection",
            Self::NotSent => "without a connection, the error says that nothing was sent",
            Self::MaybeSent => "after the request was sent, the error says that it may have been",
            Self::CutShort => "a body cut short ends in an error, behind what had come",
            Self::OneAttempt => "one call is one attempt",
            Self::Secrets => "errors show neither the address nor the key",
        }
    }
}

/// The rules that a transport broke, each with what was seen.
///
/// `Debug` is the same as `Display`, a line for each, so that `unwrap` in a test shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct Broken(Vec<(Rule, String)>);

impl Broken {
    /// The rules, in the order of [`Rule::ALL`].
    pub fn rules(&self) -> impl Iterator<Item = Rule> + '_ {
        self.0.iter().map(|(rule, _)| *rule)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the rules for transports are broken:", self.0.len())?;
        for (rule, seen) in &self.0 {
            write!(f, "\n- {rule:?}: {}; but {seen}", rule.text())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Broken {}

/// Checks a transport against every rule.
///
/// `make` is called once for each rule, with the base address of a server made for it
/// (`http://127.0.0.1:port`, HTTP/1.1); the requests carry whole addresses below it. Make a new
/// transport each time, with its usual settings; no rule waits for a timeout of it.
///
/// Takes a second or less, and where something hangs, ten for each such rule. Needs a tokio
/// runtime with I/O and time that is not paused.
///
/// ```
/// # #[cfg(feature = "reqwest")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use paceline_transport::conformance;
/// use paceline_transport::reqwest::ReqwestTransport;
///
/// conformance::check(|_base| ReqwestTransport::new().expect("TLS")).await?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "reqwest"))]
/// # fn main() {}
/// ```
///
/// # Errors
/// [`Broken`], with every rule that does not hold.
///
/// # Panics
/// Where the transport does, or no port of loopback can be listened on.
pub async fn check<T: Transport + 'static>(make: impl Fn(&str) -> T) -> Result<(), Broken> {
    check_only(Rule::ALL, make).await
}

/// Checks a transport against these rules alone, for one that can't keep some: a recording has
/// no connection to close.
///
/// # Errors
/// [`Broken`], with every rule of these that does not hold.
///
/// # Panics
/// As [`check`].
pub async fn check_only<T: Transport + 'static>(
    rules: &[Rule],
    make: impl Fn(&str) -> T,
) -> Result<(), Broken> {
    check_within(PATIENCE, rules, make).await
}

async fn check_within<T: Transport + 'static>(
    patience: Duration,
    rules: &[Rule],
    make: impl Fn(&str) -> T,
) -> Result<(), Broken> {
    let mut broken = Vec::new();
    for &rule in rules {
        let server = Server::start().await.expect("loopback can be listened on");
        let transport: Arc<dyn Transport> = Arc::new(make(&server.base()));
        let stage = Stage { transport, server };
        let outcome = tokio::time::timeout(patience, rule.judge(&stage)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(format!("nothing happened for {patience:?}")));
        if let Err(seen) = outcome {
            broken.push((rule, seen));
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(Broken(broken)) }
}

/// How long a rule may take before it counts as broken. It bounds tests that fail.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen where a rule does not hold.
type Verdict = Result<(), String>;

type Judgement<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

impl Rule {
    fn judge(self, stage: &Stage) -> Judgement<'_> {
        match self {
            Self::Request => Box::pin(answers::request(stage)),
            Self::Statuses => Box::pin(answers::statuses(stage)),
            Self::Interim => Box::pin(answers::interim(stage)),
            Self::HeaderNames => Box::pin(answers::header_names(stage)),
            Self::LargeHeaders => Box::pin(answers::large_headers(stage)),
            Self::Redirects => Box::pin(answers::redirects(stage)),
            Self::Concurrency => Box::pin(answers::concurrency(stage)),
            Self::Bodies => Box::pin(bodies::whole(stage)),
            Self::Pieces => Box::pin(bodies::pieces(stage)),
            Self::Encodings => Box::pin(bodies::encodings(stage)),
            Self::Caps => Box::pin(bodies::caps(stage)),
            Self::CutShort => Box::pin(bodies::cut_short(stage)),
            Self::Lazy => Box::pin(failures::lazy(stage)),
            Self::DroppedCall => Box::pin(failures::dropped_call(stage)),
            Self::DroppedBody => Box::pin(failures::dropped_body(stage)),
            Self::NotSent => Box::pin(failures::not_sent(stage)),
            Self::MaybeSent => Box::pin(failures::maybe_sent(stage)),
            Self::OneAttempt => Box::pin(failures::one_attempt(stage)),
            Self::Secrets => Box::pin(failures::secrets(stage)),
        }
    }
}

/// A transport and a server.
struct Stage {
    transport: Arc<dyn Transport>,
    server: Server,
}

impl Stage {
    /// A request for a scene of the server, with a key and a body.
    fn post(&self, scene: &str) -> Request<Bytes> {
        post(&format!("{}{scene}", self.server.base()))
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        self.transport.send(request).await
    }

    /// An answer is expected.
    async fn answer(&self, scene: &str) -> Result<Response<Body>, String> {
        self.send(self.post(scene)).await.map_err(|error| format!("{scene} failed: {error:?}"))
    }

    /// An error is expected.
    async fn failure(&self, request: Request<Bytes>) -> Result<TransportError, String> {
        let at = request.uri().clone();
        match self.send(request).await {
            Err(error) => Ok(error),
            Ok(answer) => Err(format!("{at} was answered with {}", answer.status())),
        }
    }
}

const KEY: &str = "Bearer xai-s3cret-of-the-suite";

fn post(address: &str) -> Request<Bytes> {
    Request::post(address)
        .header("authorization", KEY)
        .header("content-type", "application/json")
        .body(Bytes::from_static(b"{}"))
        .expect("a legal request")
}

/// A whole body, of which a megabyte is the most.
async fn read(answer: Response<Body>) -> Result<Bytes, String> {
    let read = answer.into_body().collect(1 << 20).await;
    read.map_err(|error| format!("the body failed: {error:?}"))
}

/// Nothing where it holds, else what was seen.
fn ensure(holds: bool, seen: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(seen()) }
}

/// An address of loopback where nobody listens.
async fn refused_address() -> io::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    Ok(format!("http://{}/s3cret-path", listener.local_addr()?))
}

#[cfg(all(test, feature = "mock", feature = "reqwest"))]
mod tests;
