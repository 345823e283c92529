//! Outages: what is sent meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use paceline::transport::{
    Body, Reach, Transport, TransportError, TransportErrorKind, async_trait,
};
use paceline::{Chat, Client, RetryPolicy};
use tokio::time::Instant;

use crate::GOOD;

/// How a server fails while it is out.
#[derive(Clone, Copy, Debug)]
enum Out {
    Status(u16, &'static str),
    Unreachable,
}

/// A server that is out for five minutes from the tenth second on.
#[derive(Debug)]
struct Outage {
    out: Option<Out>,
    started: Instant,
    sent: AtomicU64,
}

const BUSY: &str = r#"{"code": "unavailable", "error": "The service is currently unavailable"}"#;
const CAPACITY: &str = r#"{"error": "service temporarily at capacity, retry shortly"}"#;

#[async_trait]
impl Transport for Outage {
    async fn send(&self, _: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let at = self.started.elapsed();
        let is_out = at >= Duration::from_secs(10) && at < Duration::from_secs(310);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (status, body) = match self.out.filter(|_| is_out) {
            Some(Out::Unreachable) => {
                return Err(TransportError::new(TransportErrorKind::Connect, Reach::NotSent));
            }
            Some(Out::Status(status, body)) => (status, body),
            None => (200, GOOD),
        };
        let answer = Response::builder().status(status);
        Ok(answer.body(Body::from(Bytes::from_static(body.as_bytes()))).expect("legal"))
    }
}

/// Five calls a second for six minutes; how many requests that came to.
async fn sent(out: Option<Out>, policy: RetryPolicy) -> u64 {
    let server = Arc::new(Outage { out, started: Instant::now(), sent: AtomicU64::new(0) });
    let client = Client::builder()
        .base_url("http://127.0.0.1:1/v1")
        .transport(Arc::clone(&server))
        .retry(policy)
        .build()
        .expect("legal settings");
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..1_800_u64 {
        let client = client.clone();
        calls.spawn(async move {
            tokio::time::sleep(Duration::from_millis(200 * number)).await;
            client.chat(&Chat::new("grok-4.3").user("x")).await.is_ok()
        });
    }
    calls.join_all().await;
    server.sent.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_five_minutes_is_not_made_worse() {
    let policy = || RetryPolicy::default().may_bill_twice();
    let healthy = sent(None, policy()).await;
    assert_eq!(healthy, 1_800);
    for out in [
        Out::Status(503, BUSY),
        Out::Status(529, BUSY),
        Out::Status(500, "{}"),
        Out::Status(429, CAPACITY),
        Out::Status(429, crate::RATE),
        Out::Status(429, ""),
        Out::Unreachable,
    ] {
        let sent = sent(Some(out), policy()).await;
        // Where a pause holds up everybody, fewer leave.
        assert!(sent * 10 <= healthy * 11, "{out:?}: {sent} of {healthy}");
        assert!(sent >= 60 * 5 - 50, "{out:?}: {sent}: it goes on after the outage");
    }
}
