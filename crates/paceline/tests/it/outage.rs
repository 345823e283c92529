//! Outages and cancelled calls: what is sent meanwhile, and what is left behind.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use paceline::budget::SpendingCap;
use paceline::core::{Dimension, LimitKey, Money};
use paceline::transport::{
    Body, Reach, Transport, TransportError, TransportErrorKind, async_trait,
};
use paceline::{Chat, Client, RetryPolicy};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, Sleep};

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

/// A server whose answers take a while in every place: before the head, and between pieces.
#[derive(Debug)]
struct Slow;

struct Pieces {
    left: Vec<Bytes>,
    sleep: Pin<Box<Sleep>>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        if self.sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.sleep = Box::pin(tokio::time::sleep(Duration::from_millis(20)));
        Poll::Ready(self.left.pop().map(|piece| Ok(Frame::data(piece))))
    }
}

#[async_trait]
impl Transport for Slow {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let is_stream = String::from_utf8_lossy(request.body()).contains("\"stream\":true");
        let mut left: Vec<Bytes> = if is_stream {
            let piece = Bytes::from_static(
                b"data: {\"choices\": [{\"delta\": {\"content\": \"some words of it\"}}]}\n\n",
            );
            let usage = "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 140, \
                \"completion_tokens\": 4, \"total_tokens\": 144}}\n\ndata: [DONE]\n\n";
            let mut all = vec![piece; 5];
            all.push(Bytes::from_static(usage.as_bytes()));
            all
        } else {
            GOOD.as_bytes().chunks(40).map(Bytes::copy_from_slice).collect()
        };
        left.reverse();
        let sleep = Box::pin(tokio::time::sleep(Duration::from_millis(20)));
        Ok(Response::new(Body::new(Pieces { left, sleep })))
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_cancelled_calls_leave_nothing_held() {
    let cap = SpendingCap::new(Money::from_ticks(1 << 50), LimitKey::All).expect("above zero");
    let client = Client::builder()
        .base_url("http://127.0.0.1:1/v1")
        .transport(Slow)
        .spending_cap(cap)
        .build()
        .expect("legal settings");
    let mut random = StdRng::seed_from_u64(20_261_125);
    let mut ended = [0_u32; 2];
    for _ in 0..100 {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let client = client.clone();
            let patience = Duration::from_millis(random.random_range(0..1_500));
            let streams = random.random_bool(0.5);
            calls.spawn(async move {
                let chat = Chat::new("grok-4.7").user("Hello?");
                let call = async {
                    if streams {
                        let mut answer = client.chat_stream(&chat).await.expect("an answer");
                        answer.collect_text().await.expect("whole");
                    } else {
                        client.chat(&chat).await.expect("an answer");
                    }
                };
                tokio::time::timeout(patience, call).await.is_ok()
            });
        }
        for whole in calls.join_all().await {
            ended[usize::from(whole)] += 1;
        }
    }
    assert!(ended.iter().all(|count| *count > 1_000), "{ended:?}: some were cut, some were not");
    let now = client.limits().expect("our own limiter");
    assert_eq!((now.in_flight, now.waiting), (0, 0));
    assert!(now.limits.iter().all(|limit| limit.held == 0), "{:?}", now.limits);
    let counts = |dimension| now.limits.iter().any(|limit| limit.dimension == dimension);
    assert!(counts(Dimension::Money) && counts(Dimension::TotalTokens));
    // And what was counted leaves with its window.
    tokio::time::sleep(Duration::from_secs(600)).await;
    let later = client.limits().expect("our own limiter").limits;
    let used: u64 =
        later.iter().filter(|limit| limit.dimension != Dimension::Money).map(|l| l.used).sum();
    assert_eq!(used, 0, "{later:?}");
}
