//! The seam to the network: one request, one attempt, one answer.
//!
//! No limits, no retries, no keys, no parsing. What this file keeps: a failed attempt says
//! whether the server may have seen it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

use crate::body::Body;
use crate::error::TransportError;

/// What can put one HTTP request on the wire.
///
/// The request is complete: absolute address, method, every header (also `Authorization`), body.
/// Implement it to use an HTTP stack of your own, a recording, or a test double; in tests,
/// `mock::MockTransport` may be enough. `conformance::check` (feature `conformance`) says in one
/// call whether what you wrote keeps all of this.
///
/// An implementation makes exactly one attempt per call: no retries, no redirects. A request
/// that it repeats by itself would escape the limits and the budget.
///
/// ```
/// use bytes::Bytes;
/// use paceline_transport::{Body, Transport, TransportError, async_trait};
///
/// #[derive(Debug)]
/// struct Canned;
///
/// #[async_trait]
/// impl Transport for Canned {
///     async fn send(
///         &self,
///         _: http::Request<Bytes>,
///     ) -> Result<http::Response<Body>, TransportError> {
///         Ok(http::Response::new(Body::from(Bytes::from_static(b"{}"))))
///     }
/// }
/// ```
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends the request and yields the head of the answer as soon as it is there; the body
    /// streams behind it. An answer of any status, also 4xx and 5xx, is `Ok`.
    ///
    /// # Errors
    /// [`TransportError`] where there was no answer. [`Reach::NotSent`](crate::Reach::NotSent)
    /// only where the server certainly processed nothing.
    ///
    /// # Cancel safety
    /// Nothing leaves before the first poll. Dropping the future later abandons the attempt,
    /// which the server may have processed and charged all the same: treat it as sent.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError>;
}

#[async_trait]
impl<T: Transport + ?Sized> Transport for Arc<T> {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        (**self).send(request).await
    }
}
