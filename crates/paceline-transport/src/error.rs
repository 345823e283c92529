//! Why a request got no answer.
//!
//! An answer of any status is not an error here. What this file keeps: an error says whether
//! the request may have reached the server, and holds neither its address nor its key.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// One attempt ended without a whole answer.
///
/// `Display` is one short lower-case phrase that does not repeat its source. Whoever builds one
/// from another library's error removes the address from it first.
#[derive(Clone, Debug)]
pub struct TransportError {
    kind: TransportErrorKind,
    reach: Reach,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// No connection could be made. Another attempt may succeed.
    Connect,
    /// The host's name could not be resolved. Another attempt may succeed.
    Dns,
    /// The TLS handshake failed, for another reason than the certificate. Another attempt is the
    /// same.
    Tls,
    /// The server's certificate is not accepted: its issuer is not trusted, it is for another
    /// name, or it is not valid now. Another attempt is the same.
    Certificate,
    /// Something took longer than it may.
    Timeout(
        /// What took too long.
        TimeoutKind,
    ),
    /// The connection ended before the answer was complete, or the server refused the stream.
    Reset,
    /// The answer's body is larger than the caller takes.
    BodyTooLarge,
    /// The request can't be put on the wire: scheme, address or headers. Another attempt is the
    /// same.
    InvalidRequest,
    /// Anything else.
    Other,
}

/// Which of the timeouts was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeoutKind {
    /// Name resolution, TCP and TLS together.
    Connect,
    /// From the start until the head of the answer.
    Head,
    /// Between two pieces of the answer's body.
    Idle,
    /// From the start until the end of the body.
    Total,
}

/// Whether the server may have seen, and charged, a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "it was certainly not sent, or it may have been")]
pub enum Reach {
    /// The server certainly processed nothing of it: it can be sent again at no cost.
    NotSent,
    /// It may have been processed and charged.
    MaybeSent,
}

impl TransportError {
    /// An error of a kind, with whether the request may have reached the server.
    pub const fn new(kind: TransportErrorKind, reach: Reach) -> Self {
        Self { kind, reach, source: None }
    }

    /// With the error behind it, which must name neither the address nor the key.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// What went wrong.
    pub const fn kind(&self) -> TransportErrorKind {
        self.kind
    }

    /// Whether the request may have reached the server.
    pub const fn reach(&self) -> Reach {
        self.reach
    }

    /// Whether the server certainly processed nothing: everything reserved for it may go back.
    pub const fn is_not_sent(&self) -> bool {
        matches!(self.reach, Reach::NotSent)
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.kind, f)
    }
}

impl fmt::Display for TransportErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection could be made",
            Self::Dns => "the host's name could not be resolved",
            Self::Tls => "the TLS handshake failed",
            Self::Certificate => {
                "the server's certificate is not accepted; check the address and this machine's \
                 clock, and where a proxy here signs certificates of its own, have its CA trusted: \
                 by the system, by SSL_CERT_FILE, or by the transport"
            }
            Self::Timeout(TimeoutKind::Connect) => "connecting took too long",
            Self::Timeout(TimeoutKind::Head) => "the answer did not begin in time",
            Self::Timeout(TimeoutKind::Idle) => "the answer stalled",
            Self::Timeout(TimeoutKind::Total) => "the call took too long",
            Self::Reset => "the connection ended before the answer was complete",
            Self::BodyTooLarge => "the answer is larger than the cap",
            Self::InvalidRequest => "the request can't be put on the wire",
            Self::Other => "the request failed",
        })
    }
}

impl Error for TransportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<Infallible> for TransportError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
