//! The HTTP server on 127.0.0.1, and nowhere else.
//!
//! It carries requests to [`Grok`] and answers back, and decides nothing. Invariant: once it is
//! dropped or shut down, no client gets an answer any more.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::serve::ListenerExt;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::rules::Limits;

mod answer;
mod asked;
mod body;
mod chat;
mod fault;
mod grok;
mod latency;
mod length;
mod models;
mod options;
mod refusal;
mod responses;
mod script;
mod server_rules;
mod text;
mod tokenize;
mod tokens;
mod writer;

pub use body::Body;
use body::Severable;
pub use fault::Fault;
pub use grok::Grok;
pub use latency::Latency;
pub use length::OutputLength;
pub use options::{RateHeaders, ServerOptions};
pub use server_rules::{RulesError, ServerRules};

/// A running server.
///
/// Dropping it stops it at once: it accepts no more, and the connections of calls in flight
/// break. What was admitted is still worked on and charged, unheard.
#[derive(Debug)]
pub struct Server {
    grok: Grok,
    addr: SocketAddr,
    stop: watch::Sender<()>,
    /// Dropping it breaks what is in flight.
    cut: Option<watch::Sender<()>>,
    task: JoinHandle<()>,
}

/// What a connection needs.
#[derive(Clone)]
struct Shared {
    grok: Grok,
    cut: watch::Receiver<()>,
}

/// What a server has counted since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that arrived, refused ones included.
    pub arrived: u64,
    /// Calls that were worked on to their end.
    pub ok: u64,
    /// Streams that ended before: the client went away, or a fault was ordered.
    pub cut_short: u64,
    /// Calls refused for a rate.
    pub status_429: u64,
    /// Refusals by limit; one call may be refused by several.
    pub by_limit: ByLimit,
    /// Input tokens of the calls that were worked on, to their end or not.
    pub input_tokens: u64,
    /// Output tokens that were written for them, reasoning included.
    pub output_tokens: u64,
    /// What the limits of each model that was called count now.
    pub models: BTreeMap<String, Counted>,
}

/// What the limits of one model count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counted {
    /// Requests of the minute that ends now, refused ones included.
    pub requests: u64,
    /// Tokens, as this server counts them.
    pub tokens: u64,
    /// The most tokens that were counted at once since it started; above the limit where calls in
    /// flight landed on a full one.
    pub most_tokens: u64,
    /// How many tokens a minute are allowed; `None` is no limit.
    pub tokens_per_minute: Option<u64>,
}

/// Refusals by limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ByLimit {
    /// By requests per second.
    pub rps: u64,
    /// By requests per minute.
    pub rpm: u64,
    /// By tokens per minute.
    pub tpm: u64,
}

/// Why a server can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another program listens on the port.
    #[error("port {port} is in use")]
    PortInUse {
        /// The port.
        port: u16,
    },
    /// The port can't be listened on.
    #[error("port {port} can't be listened on")]
    Bind {
        /// The port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// The tokenizer file can't be used.
    #[error("{} is no tokenizer that can be used: {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// How long calls in flight may take to end at a shutdown.
const GRACE: Duration = Duration::from_secs(2);
/// How long broken connections may take to close after that.
const CLOSING: Duration = Duration::from_secs(1);

impl Server {
    /// Starts a server. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`StartError`] where the port or the tokenizer can't be used.
    pub async fn start(options: ServerOptions) -> Result<Self, StartError> {
        let port = options.port;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|source| {
            if source.kind() == std::io::ErrorKind::AddrInUse {
                StartError::PortInUse { port }
            } else {
                StartError::Bind { port, source }
            }
        })?;
        let addr = listener.local_addr().map_err(|source| StartError::Bind { port, source })?;
        let grok = Grok::new(options)?;
        let (cut, cuts) = watch::channel(());
        let shared = Shared { grok: grok.clone(), cut: cuts };
        let router = Router::new().fallback(serve).with_state(shared);
        let listener = listener.tap_io(|stream| {
            // A delayed answer is the worst that can come of it.
            let _ = stream.set_nodelay(true);
        });
        let (stop, mut stopped) = watch::channel(());
        let task = tokio::spawn(async move {
            let stopped = async move {
                // An error means that the server was dropped: stop as well.
                let _ = stopped.changed().await;
            };
            // Accepting goes on over passing errors; there is nothing to hand up.
            let _ = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
        });
        Ok(Self { grok, addr, stop, cut: Some(cut), task })
    }

    /// The base address for clients, such as `http://127.0.0.1:8080/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it has counted.
    pub fn stats(&self) -> Stats {
        self.grok.stats()
    }

    /// Puts other limits in force for every model.
    pub fn set_limits(&self, limits: Limits) {
        self.grok.set_limits(limits);
    }

    /// Orders a fault for the next `n` calls that have none yet, first in, first out.
    pub fn inject(&self, n: u32, fault: Fault) {
        self.grok.inject(n, fault);
    }

    /// Answers the next `n` calls with this status and body.
    pub fn fail_next(&self, n: u32, status: StatusCode, body: impl Into<String>) {
        self.grok.fail_next(n, status, body);
    }

    /// Breaks the connections of the next `n` calls before an answer.
    pub fn drop_next(&self, n: u32) {
        self.grok.drop_next(n);
    }

    /// Waits until the server ends, which it does only when something fails.
    pub async fn run(mut self) {
        let _ = (&mut self.task).await;
    }

    /// Stops accepting, lets calls in flight end for two seconds at most, breaks the others, and
    /// ends.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(());
        if tokio::time::timeout(GRACE, &mut self.task).await.is_err() {
            self.cut = None;
            let _ = tokio::time::timeout(CLOSING, &mut self.task).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(State(mut shared): State<Shared>, request: Request) -> Response<axum::body::Body> {
    let answer = tokio::select! {
        answer = answer(&shared.grok, request) => answer,
        // Nothing is ever sent: the sender is gone.
        _ = shared.cut.changed() => None,
    };
    let answer = answer.unwrap_or_else(|| Response::new(Body::broken()));
    answer.map(|body| axum::body::Body::new(Severable::new(body, shared.cut)))
}

async fn answer(grok: &Grok, request: Request) -> Option<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, grok::REQUEST_CAP).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Some(refusal::too_large().map(Body::whole));
        }
        // The client went away in the middle of its request.
        Err(_) => return None,
    };
    grok.respond(http::Request::from_parts(head, body)).await
}
