//! Turns reqwest's errors into ours.
//!
//! What this file keeps: "not sent" is said only where the server certainly processed nothing,
//! and the address is taken off before an error is kept.

use std::error::Error;
use std::io;

use crate::error::{Reach, TimeoutKind, TransportError, TransportErrorKind};

/// A request that reqwest can't take.
pub(super) fn invalid_request(error: ::reqwest::Error) -> TransportError {
    TransportError::new(TransportErrorKind::InvalidRequest, Reach::NotSent)
        .with_source(error.without_url())
}

/// An error before the head of the answer.
pub(super) fn from_send(error: ::reqwest::Error) -> TransportError {
    let error = error.without_url();
    if error.is_builder() {
        return invalid_request(error);
    }
    let (kind, reach) = if error.is_connect() {
        (connect_kind(&error), Reach::NotSent)
    } else if any(&error, was_never_processed) {
        (TransportErrorKind::Reset, Reach::NotSent)
    } else if any(&error, is_lost_connection) {
        (TransportErrorKind::Reset, Reach::MaybeSent)
    } else {
        (TransportErrorKind::Other, Reach::MaybeSent)
    };
    TransportError::new(kind, reach).with_source(error)
}

/// An error in the body of an answer: it had begun, so the request was processed.
pub(super) fn from_body(error: ::reqwest::Error) -> TransportError {
    let error = error.without_url();
    let kind = if any(&error, is_lost_connection) {
        TransportErrorKind::Reset
    } else {
        TransportErrorKind::Other
    };
    TransportError::new(kind, Reach::MaybeSent).with_source(error)
}

/// Which part of connecting failed.
fn connect_kind(error: &::reqwest::Error) -> TransportErrorKind {
    // While connecting, only the TLS layer calls data invalid.
    let is_tls = |error: &(dyn Error + 'static)| {
        error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
    };
    let is_certificate = |error: &(dyn Error + 'static)| {
        matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
    };
    if error.is_timeout() {
        TransportErrorKind::Timeout(TimeoutKind::Connect)
    } else if any(error, is_certificate) {
        TransportErrorKind::Certificate
    } else if error.is_dns() {
        TransportErrorKind::Dns
    } else if any(error, is_tls) {
        TransportErrorKind::Tls
    } else {
        TransportErrorKind::Connect
    }
}

/// Whether a server refused the stream unprocessed (RFC 9113 §8.7), went away in peace before it
/// (§6.8; a stream that it has taken on fails in another way), or the connection closed before a
/// byte of the request was written.
fn was_never_processed(error: &(dyn Error + 'static)) -> bool {
    let refused = error.downcast_ref::<h2::Error>().is_some_and(|error| {
        let reason = error.reason();
        error.is_remote()
            && (error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM)
                || error.is_go_away() && reason == Some(h2::Reason::NO_ERROR))
    });
    refused || error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
}

/// Whether the connection, or its stream, ended too early.
fn is_lost_connection(error: &(dyn Error + 'static)) -> bool {
    error.is::<h2::Error>()
        || error
            .downcast_ref::<hyper::Error>()
            .is_some_and(|error| error.is_incomplete_message() || error.is_closed())
        || error.downcast_ref::<io::Error>().is_some_and(|error| {
            use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
            matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
        })
}

/// Whether something holds for an error or one behind it. An `io::Error` hides the one it wraps
/// from `source`, so that it is asked for it.
fn any(error: &(dyn Error + 'static), holds: fn(&(dyn Error + 'static)) -> bool) -> bool {
    let mut next = Some(error);
    // No chain is longer; a loop in one would hang the caller.
    for _ in 0..MAX_CHAIN {
        let Some(error) = next else { return false };
        if holds(error) {
            return true;
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

const MAX_CHAIN: usize = 32;
