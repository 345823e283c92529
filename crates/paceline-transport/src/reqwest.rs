//! The default way onto the wire: reqwest with rustls.
//!
//! It makes one attempt per call: no redirects, no retries of its own, no decompression. What
//! this file keeps: requests to this machine never go through a proxy, and every phase of a call
//! has a timeout of its own.

mod failure;
mod timed_body;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::reqwest::{Certificate, Client, Url, redirect, retry};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri};
use tokio::time::{Instant, timeout_at};

use crate::base_url::is_loopback_host;
use crate::body::Body;
use crate::error::{Reach, TimeoutKind, TransportError, TransportErrorKind};
use crate::transport::Transport;
use failure::{from_send, invalid_request};
use timed_body::TimedBody;

/// Sends requests with reqwest: HTTP/1.1 or HTTP/2 as the server offers, TLS by rustls with the
/// platform's certificates, connections kept and shared. Clones share them too; needs a tokio
/// runtime with time and I/O enabled.
///
/// It asks for no compression, and an answer whose `content-encoding` is compressed all the same
/// is passed on as it came, so that a cap on a body counts what the body has. Where a connection
/// that was kept turns out closed before a byte of the request was written to it, another one is
/// made: that is still one attempt.
///
/// ```no_run
/// use bytes::Bytes;
/// use paceline_transport::reqwest::ReqwestTransport;
/// use paceline_transport::{ApiKey, BaseUrl, Transport};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let transport = ReqwestTransport::new()?;
/// let request = http::Request::post(BaseUrl::parse("https://api.x.ai")?.join("/v1/responses"))
///     .header("authorization", ApiKey::new("xai-...")?.authorization())
///     .body(Bytes::from_static(b"{}"))?;
/// let answer = transport.send(request).await?;
/// println!("{}", answer.status());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReqwestTransport {
    /// For other machines, through a proxy where one is set.
    remote: Client,
    /// For this machine.
    loopback: Client,
    timeouts: Timeouts,
    /// The last address, and what it is as a URL: most calls go to one.
    last: Arc<Last>,
}

/// The last address, and what it is as a URL. Not shown: its query is no business of a log.
#[derive(Default)]
struct Last(Mutex<Option<(Uri, Url)>>);

impl std::fmt::Debug for Last {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Last").finish_non_exhaustive()
    }
}

impl Last {
    fn lock(&self) -> MutexGuard<'_, Option<(Uri, Url)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What to build a [`ReqwestTransport`] from.
#[derive(Clone, Debug)]
#[must_use]
pub struct ReqwestBuilder {
    connect_timeout: Duration,
    timeouts: Timeouts,
    user_agent: String,
    proxy: ProxyChoice,
    /// Certificates of further CAs, in PEM.
    trusted: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
struct Timeouts {
    head: Duration,
    idle: Duration,
    total: Option<Duration>,
}

#[derive(Clone)]
enum ProxyChoice {
    System,
    None,
    /// May hold a password.
    Url(String),
}

impl ReqwestTransport {
    /// With the defaults of [`ReqwestBuilder`].
    ///
    /// # Errors
    /// Where the TLS library can't be set up.
    pub fn new() -> Result<Self, TransportError> {
        Self::builder().build()
    }

    /// Other timeouts, another name, another proxy, further CAs.
    pub fn builder() -> ReqwestBuilder {
        ReqwestBuilder::default()
    }
}

impl Default for ReqwestBuilder {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            timeouts: Timeouts {
                head: Duration::from_secs(600),
                idle: Duration::from_secs(120),
                total: None,
            },
            user_agent: concat!("paceline/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxy: ProxyChoice::System,
            trusted: Vec::new(),
        }
    }
}

impl ReqwestBuilder {
    /// The longest that name resolution, TCP and TLS may take together. Default: 10 s.
    pub const fn connect_timeout(mut self, longest: Duration) -> Self {
        self.connect_timeout = longest;
        self
    }

    /// The longest from the start until the head of the answer. Default: 600 s, because a model
    /// that reasons may be silent for minutes.
    pub const fn head_timeout(mut self, longest: Duration) -> Self {
        self.timeouts.head = longest;
        self
    }

    /// The longest between two pieces of the answer's body, while somebody reads it. Default:
    /// 120 s.
    pub const fn idle_timeout(mut self, longest: Duration) -> Self {
        self.timeouts.idle = longest;
        self
    }

    /// The longest from the start until the end of the body. Default: none.
    pub const fn total_timeout(mut self, longest: Duration) -> Self {
        self.timeouts.total = Some(longest);
        self
    }

    /// The `User-Agent` of requests that carry none. Default: `paceline/` and the version.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Sends everything but requests to this machine through this proxy (`http://host:port`).
    /// Default: the system's, as `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name it.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = ProxyChoice::Url(url.into());
        self
    }

    /// Uses no proxy, whatever the system says.
    pub fn no_proxy(mut self) -> Self {
        self.proxy = ProxyChoice::None;
        self
    }

    /// Trusts the CAs in this PEM text, one or more, beside the system's: for a proxy that signs
    /// certificates of its own, or a server of one's own. May be called several times.
    pub fn trust_ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.trusted.push(pem.into());
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// [`TransportErrorKind::InvalidRequest`] where the proxy, the user agent or a CA is malformed,
    /// [`TransportErrorKind::Tls`] where the TLS library can't be set up.
    pub fn build(self) -> Result<ReqwestTransport, TransportError> {
        if http::HeaderValue::from_str(&self.user_agent).is_err() {
            return Err(TransportError::new(TransportErrorKind::InvalidRequest, Reach::NotSent)
                .with_source("the user agent has a character that headers do not have"));
        }
        let tls = |error: ::reqwest::Error| {
            TransportError::new(TransportErrorKind::Tls, Reach::NotSent)
                .with_source(error.without_url())
        };
        let trusted = self.trusted()?;
        let client = || self.client().tls_certs_merge(trusted.clone());
        let loopback = client().no_proxy().build().map_err(tls)?;
        let remote = match &self.proxy {
            ProxyChoice::System => client(),
            ProxyChoice::None => client().no_proxy(),
            ProxyChoice::Url(url) => {
                let proxy = ::reqwest::Proxy::all(url).map_err(|_| {
                    TransportError::new(TransportErrorKind::InvalidRequest, Reach::NotSent)
                        .with_source("the proxy's address is malformed; write http://host:port")
                })?;
                client().proxy(proxy)
            }
        };
        let remote = remote.build().map_err(tls)?;
        Ok(ReqwestTransport { remote, loopback, timeouts: self.timeouts, last: Arc::default() })
    }

    fn trusted(&self) -> Result<Vec<Certificate>, TransportError> {
        let malformed = || {
            TransportError::new(TransportErrorKind::InvalidRequest, Reach::NotSent)
                .with_source("a CA is malformed; give its certificate in PEM, BEGIN line included")
        };
        let mut trusted = Vec::new();
        for pem in &self.trusted {
            let certificates = Certificate::from_pem_bundle(pem).map_err(|_| malformed())?;
            if certificates.is_empty() {
                return Err(malformed());
            }
            trusted.extend(certificates);
        }
        Ok(trusted)
    }

    /// What both clients share. Compression is off by name, because another crate of the program
    /// may switch reqwest's features for it on. reqwest's own read timeout is not used: it would run while the
    /// head is waited for, too.
    fn client(&self) -> ::reqwest::ClientBuilder {
        Client::builder()
            .tls_backend_rustls()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(self.connect_timeout)
            .user_agent(self.user_agent.clone())
            .tcp_nodelay(true)
            .tcp_keepalive(KEEPALIVE)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_SIZE)
    }
}

impl ReqwestTransport {
    /// The same request as reqwest has it.
    fn request(&self, request: Request<Bytes>) -> Result<::reqwest::Request, TransportError> {
        let is_last = |(uri, _): &&(Uri, Url)| uri == request.uri();
        let known = self.last.lock().as_ref().filter(is_last).map(|(_, url)| url.clone());
        let Some(url) = known else {
            let uri = request.uri().clone();
            let request = ::reqwest::Request::try_from(request).map_err(invalid_request)?;
            let last = (uri, request.url().clone());
            *self.last.lock() = Some(last);
            return Ok(request);
        };
        let (parts, body) = request.into_parts();
        let mut request = ::reqwest::Request::new(parts.method, url);
        *request.version_mut() = parts.version;
        *request.headers_mut() = parts.headers;
        *request.body_mut() = Some(body.into());
        Ok(request)
    }
}

#[async_trait]
impl Transport for ReqwestTransport {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let start = Instant::now();
        let Timeouts { head, idle, total } = self.timeouts;
        let client = match request.uri().host() {
            Some(host) if is_loopback_host(host) => &self.loopback,
            _ => &self.remote,
        };
        let request = self.request(request)?;
        // A sum that does not fit is no deadline.
        let ends = total.and_then(|total| start.checked_add(total));
        let (until, kind) = match (start.checked_add(head), ends) {
            (Some(head), Some(end)) if end < head => (Some(end), TimeoutKind::Total),
            (None, Some(end)) => (Some(end), TimeoutKind::Total),
            (head, _) => (head, TimeoutKind::Head),
        };
        let answer = client.execute(request);
        let answer = match until {
            Some(until) => timeout_at(until, answer).await.map_err(|_| {
                TransportError::new(TransportErrorKind::Timeout(kind), Reach::MaybeSent)
            })?,
            None => answer.await,
        };
        let (parts, body) =
            Response::<::reqwest::Body>::from(answer.map_err(from_send)?).into_parts();
        let mut response = Response::new(Body::new(TimedBody::new(body, idle, ends)));
        *response.status_mut() = parts.status;
        *response.version_mut() = parts.version;
        *response.headers_mut() = parts.headers;
        Ok(response)
    }
}

impl std::fmt::Debug for ProxyChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::None => "None",
            Self::Url(_) => "Url([redacted])",
        })
    }
}

/// How often a silent connection is probed, so that one whose peer vanished is found while a
/// long answer is waited for.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Shorter than the idle timeouts of common front ends, so that the client closes first and no
/// request meets a connection that is being closed.
const POOL_IDLE: Duration = Duration::from_secs(50);

/// How many idle connections to one host are kept: as many calls as a run has in flight at most, or some
/// would be closed and opened anew after every burst.
const POOL_SIZE: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Without TLS nothing offers HTTP/2, so that this speaks it unasked.
    fn http2() -> ReqwestTransport {
        let builder = ReqwestTransport::builder();
        let client = builder.client().no_proxy().http2_prior_knowledge().build().unwrap();
        ReqwestTransport {
            remote: client.clone(),
            loopback: client,
            timeouts: builder.timeouts,
            last: Arc::default(),
        }
    }

    async fn reset_by(reason: h2::Reason) -> (TransportError, usize) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let streams = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&streams);
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(socket).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                seen.fetch_add(1, Ordering::SeqCst);
                respond.send_reset(reason);
            }
        });
        let request = Request::get(address).body(Bytes::new()).unwrap();
        let error = http2().send(request).await.expect_err("every stream is reset");
        (error, streams.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn a_stream_that_the_server_refused_was_not_sent_and_is_not_sent_again() {
        let (error, streams) = reset_by(h2::Reason::REFUSED_STREAM).await;
        assert_eq!((error.kind(), error.reach()), (TransportErrorKind::Reset, Reach::NotSent));
        assert_eq!(streams, 1);
    }

    /// What the server is told of a stream whose call, or body, is dropped.
    async fn told_of(dropped: &str) -> h2::Reason {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let (arrived, held) = tokio::sync::oneshot::channel();
        let answers = dropped == "body";
        let server = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(socket).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            // The connection moves only while it is polled.
            let moving = tokio::spawn(async move { while connection.accept().await.is_some() {} });
            let reason = if answers {
                let mut stream = respond.send_response(Response::default(), false).unwrap();
                stream.send_data(Bytes::from_static(b"half"), false).unwrap();
                std::future::poll_fn(|context| stream.poll_reset(context)).await
            } else {
                arrived.send(()).unwrap();
                std::future::poll_fn(|context| respond.poll_reset(context)).await
            };
            moving.abort();
            reason.unwrap()
        });
        let transport = http2();
        let call = transport.send(Request::get(address).body(Bytes::new()).unwrap());
        if answers {
            drop(call.await.unwrap());
        } else {
            tokio::select! {
                _ = call => unreachable!("nobody answers"),
                held = held => held.unwrap(),
            }
        }
        server.await.unwrap()
    }

    #[tokio::test]
    async fn dropping_a_call_or_a_body_resets_its_stream() {
        for dropped in ["call", "body"] {
            assert_eq!(told_of(dropped).await, h2::Reason::CANCEL, "{dropped}");
        }
    }

    /// A server that leaves by GOAWAY, having taken on the streams up to `last`, and hangs up.
    async fn gone_after(last: u8) -> TransportError {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            // Empty SETTINGS; then the preface and the frames up to the HEADERS of stream 1.
            socket.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
            let mut seen = Vec::new();
            while !seen.windows(6).any(|bytes| bytes == b"\x01\x05\0\0\0\x01") {
                assert!(socket.read_buf(&mut seen).await.unwrap() > 0);
            }
            let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0];
            socket.write_all(&goaway).await.unwrap();
            socket.shutdown().await.unwrap();
            let mut rest = Vec::new();
            let _ = socket.read_to_end(&mut rest).await;
        });
        let request = Request::get(address).body(Bytes::new()).unwrap();
        http2().send(request).await.expect_err("it left without an answer")
    }

    #[tokio::test]
    async fn a_stream_that_a_leaving_server_never_took_on_was_not_sent() {
        let error = gone_after(0).await;
        assert_eq!((error.kind(), error.reach()), (TransportErrorKind::Reset, Reach::NotSent));
        let error = gone_after(1).await;
        assert_eq!((error.kind(), error.reach()), (TransportErrorKind::Reset, Reach::MaybeSent));
    }

    #[tokio::test]
    async fn a_stream_reset_for_another_reason_may_have_been_sent() {
        for reason in [h2::Reason::INTERNAL_ERROR, h2::Reason::CANCEL] {
            let (error, streams) = reset_by(reason).await;
            assert_eq!(
                (error.kind(), error.reach()),
                (TransportErrorKind::Reset, Reach::MaybeSent)
            );
            assert_eq!(streams, 1);
        }
    }
}
