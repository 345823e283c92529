//! The trait, the body and the error, without any HTTP stack.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use http_body_util::Full;
use paceline_transport::{
    ApiKey, BaseUrl, Body, Reach, Transport, TransportError, TransportErrorKind, async_trait,
};

#[derive(Debug)]
struct Canned(&'static str);

#[async_trait]
impl Transport for Canned {
    async fn send(&self, _: http::Request<Bytes>) -> Result<http::Response<Body>, TransportError> {
        Ok(http::Response::new(Body::from(Bytes::from_static(self.0.as_bytes()))))
    }
}

/// Three frames, or an error in place of the third.
struct Frames(Vec<Result<&'static str, TransportErrorKind>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match self.0.remove(0) {
            Ok(text) => Ok(Frame::data(Bytes::from_static(text.as_bytes()))),
            Err(kind) => Err(TransportError::new(kind, Reach::MaybeSent)),
        }))
    }
}

#[test]
fn everything_can_cross_threads() {
    fn send_sync<T: Send + Sync + ?Sized>() {}
    fn send<T: Send>() {}
    send_sync::<dyn Transport>();
    send_sync::<TransportError>();
    send_sync::<ApiKey>();
    send_sync::<BaseUrl>();
    send::<Body>();
}

#[tokio::test]
async fn a_transport_can_be_shared_without_its_type() {
    let transport: Arc<dyn Transport> = Arc::new(Canned("hello"));
    let shared: &dyn Transport = &Arc::clone(&transport);
    let answer = shared.send(http::Request::default()).await.unwrap();
    assert_eq!(answer.into_body().collect(5).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_body_is_collected_up_to_its_cap_and_no_further() {
    // Refused at the second frame, and at the last byte of the last one.
    for cap in [5, 10] {
        let frames = Frames(vec![Ok("one"), Ok(""), Ok("two"), Ok("three")]);
        let error = Body::new(frames).collect(cap).await.unwrap_err();
        assert_eq!(error.kind(), TransportErrorKind::BodyTooLarge, "{cap}");
    }
    let frames = Frames(vec![Ok("one"), Ok(""), Ok("two"), Ok("three")]);
    assert_eq!(Body::new(frames).collect(11).await.unwrap(), "onetwothree");
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_not_read_at_all() {
    let error = Body::from(Bytes::from_static(b"0123456789")).collect(9).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::BodyTooLarge);
    assert_eq!(error.reach(), Reach::MaybeSent);
    assert_eq!(Body::empty().collect(0).await.unwrap(), "");
}

#[tokio::test]
async fn an_error_in_a_body_is_handed_on() {
    let frames = Frames(vec![Ok("one"), Err(TransportErrorKind::Reset)]);
    let error = Body::new(frames).collect(100).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Reset);
}

#[test]
fn a_body_takes_those_that_cannot_fail_and_shows_no_content() {
    let body = Body::new(Full::new(Bytes::from_static(b"secret")));
    assert_eq!(body.size_hint().exact(), Some(6));
    assert_eq!(format!("{body:?}"), "Body { length: Some(6) }");
}

#[test]
fn an_error_says_what_happened_once() {
    let error = TransportError::new(TransportErrorKind::Connect, Reach::NotSent)
        .with_source("connection refused");
    assert_eq!(error.to_string(), "no connection could be made");
    assert_eq!(error.source().unwrap().to_string(), "connection refused");
    assert!(error.is_not_sent());
    assert!(!TransportError::new(TransportErrorKind::Reset, Reach::MaybeSent).is_not_sent());
}
