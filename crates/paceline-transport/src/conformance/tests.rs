//! The mock transport against the rules about what a caller is given, and transports that break
//! the rules about what is never to come.
//!
//! The others are about a connection, and a mock has none: `Lazy`, `DroppedCall`, `DroppedBody`
//! and `OneAttempt` are judged by what a server sees, and `Request` by what arrives there.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

use crate::body::Body;
use crate::conformance::server::{GZIP, LONG, PIECES, pattern};
use crate::conformance::{Rule, check_only, check_within};
use crate::error::{Reach, TransportError, TransportErrorKind};
use crate::mock::{Answer, MockTransport, SentRequest};
use crate::reqwest::ReqwestTransport;
use crate::transport::Transport;

/// The scenes of the server, as a script.
fn scene(sent: &SentRequest) -> Answer {
    let long = "l".repeat(LONG);
    if sent.uri().scheme_str() == Some("https") || sent.uri().path() == "/s3cret-path" {
        return Answer::failure(TransportErrorKind::Connect, Reach::NotSent);
    }
    let parts: Vec<&str> = sent.uri().path().split('/').skip(1).collect();
    match parts[..] {
        ["echo", ..] => Answer::new(200, sent.body().clone())
            .header("x-target", sent.uri().path())
            .header("x-long", &sent.headers().get("x-long").map_or(0, |v| v.len()).to_string()),
        ["status" | "redirect", status] => {
            let body = if matches!(status, "204" | "304") { "" } else { "the body" };
            Answer::new(status.parse().expect("a number"), body)
                .header("x-scene", status)
                .header("location", "/followed")
        }
        ["headers"] => Answer::new(200, "")
            .header("X-RateLimit-Remaining-Requests", "7")
            .header("x-many", "a")
            .header("X-MANY", "b")
            .header("X-Long", &long),
        ["body", "empty"] => Answer::new(200, ""),
        ["body", _] => Answer::new(200, pattern()),
        ["pieces", _] => Answer::new(200, PIECES.concat()),
        ["gzip"] => Answer::new(200, GZIP).header("content-encoding", "gzip"),
        ["cut", _] => Answer::new(200, "half").breaks(TransportErrorKind::Reset),
        ["lost", _] => Answer::failure(TransportErrorKind::Reset, Reach::MaybeSent),
        _ => Answer::new(404, ""),
    }
}

#[tokio::test]
async fn the_mock_keeps_the_rules_about_what_a_caller_is_given() {
    let rules = [
        Rule::Statuses,
        Rule::HeaderNames,
        Rule::LargeHeaders,
        Rule::Redirects,
        Rule::Bodies,
        Rule::Encodings,
        Rule::Concurrency,
        Rule::NotSent,
        Rule::MaybeSent,
        Rule::CutShort,
        Rule::Secrets,
    ];
    check_only(&rules, |_| MockTransport::by(scene)).await.unwrap();
}

#[test]
fn every_rule_is_listed_once_and_has_a_sentence() {
    let mut texts: Vec<&str> = Rule::ALL.iter().map(|rule| rule.text()).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), Rule::ALL.len());
}

/// Reads the whole body before it hands anything out.
#[derive(Debug)]
struct Buffers(ReqwestTransport);

#[async_trait]
impl Transport for Buffers {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let (head, body) = self.0.send(request).await?.into_parts();
        Ok(Response::from_parts(head, Body::from(body.collect(1 << 30).await?)))
    }
}

/// Goes on when a call is dropped, and keeps bodies that are.
#[derive(Debug)]
struct Detaches(ReqwestTransport);

#[async_trait]
impl Transport for Detaches {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let transport = self.0.clone();
        let call = tokio::spawn(async move { transport.send(request).await });
        call.await.expect("it does not panic")
    }
}

/// Sends before it is polled.
#[derive(Debug)]
struct Hurries(ReqwestTransport);

impl Transport for Hurries {
    fn send<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, TransportError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let transport = self.0.clone();
        let call = tokio::spawn(async move { transport.send(request).await });
        Box::pin(async move { call.await.expect("it does not panic") })
    }
}

/// Half a second, because what is waited for never comes.
async fn breaks<T: Transport + 'static>(rule: Rule, make: impl Fn(ReqwestTransport) -> T) {
    let make = |_: &str| make(ReqwestTransport::new().expect("TLS"));
    let broken = check_within(Duration::from_millis(500), &[rule], make).await;
    assert_eq!(broken.expect_err("broken").rules().collect::<Vec<_>>(), [rule]);
}

#[tokio::test]
async fn what_never_comes_is_told_as_a_rule_that_is_broken() {
    breaks(Rule::Pieces, Buffers).await;
    breaks(Rule::Caps, Buffers).await;
    breaks(Rule::DroppedBody, Buffers).await;
    breaks(Rule::DroppedCall, Detaches).await;
    breaks(Rule::Lazy, Hurries).await;
}
