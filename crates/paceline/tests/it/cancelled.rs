//! Calls that their callers give up at any moment, in every form: what is left of them.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use paceline::budget::{
    AttemptId, Budget, Budgets, Ending, Intent, Outcome, Period, Record, RecordError, Recorded,
    SpendingCap,
};
use paceline::core::{Amount, Demand, Dimension, LimitKey, Money, Usage};
use paceline::transport::{
    Body, Reach, Transport, TransportError, TransportErrorKind, async_trait,
};
use paceline::{Chat, Client, JsonCall, Path, Responses, RetryPolicy};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::time::Sleep;

use crate::GOOD;

const RATE: &str = r#"{"code": "resource-exhausted", "error": "Too many requests for team t and model grok-4.7. Requests per Second (actual/limit): 61/60."}"#;

/// A server whose answers take a while in every place, before the head and between pieces, and
/// which now and then refuses a call or can't be reached.
#[derive(Debug, Default)]
struct Slow {
    asked: AtomicU64,
    reached: AtomicU64,
}

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

/// A stream of five pieces of text, and then its usage.
fn stream(is_response: bool) -> Vec<Bytes> {
    let (piece, last) = if is_response {
        (
            json!({ "type": "response.output_text.delta", "delta": "some words" }),
            json!({ "type": "response.completed", "response": { "usage":
                { "input_tokens": 140, "output_tokens": 4, "total_tokens": 144 } } }),
        )
    } else {
        (
            json!({ "choices": [{ "delta": { "content": "some words" } }] }),
            json!({ "choices": [], "usage":
                { "prompt_tokens": 140, "completion_tokens": 4, "total_tokens": 144 } }),
        )
    };
    let mut all = vec![format!("data: {piece}\n\n"); 5];
    let done = if is_response { "" } else { "data: [DONE]\n\n" };
    all.push(format!("data: {last}\n\n{done}"));
    all.into_iter().map(Bytes::from).collect()
}

#[async_trait]
impl Transport for Slow {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        if number % 31 == 30 {
            return Err(TransportError::new(TransportErrorKind::Connect, Reach::NotSent));
        }
        self.reached.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
        if number % 97 == 28 {
            let answer = Response::builder().status(429).header("retry-after", "1");
            return Ok(answer.body(Body::from(Bytes::from(RATE))).expect("legal"));
        }
        let body: serde_json::Value = serde_json::from_slice(request.body()).expect("JSON");
        let is_response = request.uri().path().ends_with("/responses");
        let mut left: Vec<Bytes> = if body["stream"] == true {
            stream(is_response)
        } else if is_response {
            let usage = json!({ "input_tokens": 140, "output_tokens": 4, "total_tokens": 144 });
            vec![Bytes::from(json!({ "output": [], "usage": usage }).to_string())]
        } else {
            GOOD.as_bytes().chunks(40).map(Bytes::copy_from_slice).collect()
        };
        left.reverse();
        let sleep = Box::pin(tokio::time::sleep(Duration::from_millis(20)));
        Ok(Response::new(Body::new(Pieces { left, sleep })))
    }
}

/// Every intent, and how often and as what it ended.
#[derive(Debug, Default)]
struct Account(Mutex<BTreeMap<AttemptId, Vec<Ending>>>);

impl Record for Account {
    fn intent<'a>(&'a self, intent: &'a Intent) -> Recorded<'a> {
        let before = self.0.lock().expect("not poisoned").insert(intent.id.clone(), Vec::new());
        let is_new = before.is_none();
        // It takes a while to be written, so that a caller may go away meanwhile.
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(40)).await;
            is_new.then_some(()).ok_or_else(|| RecordError::refused("the name is taken"))
        })
    }

    fn outcome(&self, outcome: &Outcome) -> Result<(), RecordError> {
        let mut endings = self.0.lock().expect("not poisoned");
        endings.get_mut(&outcome.id).expect("its intent came first").push(outcome.ending);
        Ok(())
    }
}

/// One call in one of the forms, to its end.
async fn call(client: &Client, form: u32, permits: &AtomicU64) {
    let ask = || Responses::new("grok-4.7").user("Hello?");
    let chat = Chat::new("grok-4.7").user("Hello?");
    match form {
        0 => drop(client.chat(&chat).await.expect("an answer")),
        1 => drop(client.respond(&ask()).await.expect("an answer")),
        2 => {
            let call = JsonCall::post(Path::new("process"), "grok-4.7", json!({ "text": "Hi" }));
            client.json(&call).await.expect("an answer");
        }
        3 => {
            let mut answer = client.chat_stream(&chat).await.expect("an answer");
            answer.collect_text().await.expect("whole");
        }
        4 => {
            let mut answer = client.respond_stream(&ask()).await.expect("an answer");
            answer.collect_text().await.expect("whole");
        }
        _ => {
            let demand = Demand::call(Amount::expected(150).upper(400)).model("grok-4.7");
            let permit = client.acquire(&demand).await.expect("room");
            // From here on it may have left, sent() or not: only its holder knows.
            permits.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(30)).await;
            permit.sent();
            tokio::time::sleep(Duration::from_millis(100)).await;
            permit.settle(&Usage::new(100, 140).expect("consistent"));
        }
    }
}

const FORMS: usize = 6;

/// One client whose limits bind, whose budget counts, and whose attempts are recorded.
fn client(server: &Arc<Slow>, account: &Arc<Account>) -> Client {
    let cap = SpendingCap::new(Money::from_ticks(1 << 50), LimitKey::All).expect("above zero");
    let mut budgets = Budgets::new();
    let day = Budget::money(Money::from_ticks(1 << 51), Period::Day).expect("above zero");
    budgets.add(day).expect("room");
    Client::builder()
        .base_url("http://127.0.0.1:1/v1")
        .transport(Arc::clone(server))
        .record(Arc::clone(account) as Arc<dyn Record>)
        .requests_per_second(60.try_into().expect("not zero"))
        .requests_per_minute(6_000.try_into().expect("not zero"))
        .tokens_per_minute(100_000_000.try_into().expect("not zero"))
        .retry(RetryPolicy::default().attempts(20))
        .spending_cap(cap)
        .budgets(budgets)
        .build()
        .expect("legal settings")
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_cancelled_calls_of_every_form_leave_nothing_held() {
    let (server, account) = (Arc::new(Slow::default()), Arc::new(Account::default()));
    let client = client(&server, &account);
    let permits = Arc::new(AtomicU64::new(0));
    let seed = 20_261_125;
    let mut random = StdRng::seed_from_u64(seed);
    let mut ended = [[0_u32; 2]; FORMS];
    for _ in 0..100 {
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..100 {
            let (client, permits) = (client.clone(), Arc::clone(&permits));
            let patience = Duration::from_millis(random.random_range(0..4_000));
            let form = number % FORMS as u32;
            calls.spawn(async move {
                let whole = tokio::time::timeout(patience, call(&client, form, &permits)).await;
                (form as usize, whole.is_ok())
            });
        }
        for (form, whole) in calls.join_all().await {
            ended[form][usize::from(whole)] += 1;
        }
    }
    let both = |ends: &[u32; 2]| ends.iter().all(|count| *count > 200);
    assert!(ended.iter().all(both), "seed {seed}: some were cut, some were not: {ended:?}");
    let now = client.limits().expect("our own limiter");
    assert_eq!((now.in_flight, now.waiting), (0, 0));
    assert!(now.limits.iter().all(|limit| limit.held == 0), "{:?}", now.limits);
    let counts = |dimension| now.limits.iter().any(|limit| limit.dimension == dimension);
    assert!(counts(Dimension::Money) && counts(Dimension::TotalTokens));
    // Each attempt ended once, and as many left as the server and the permits say.
    let endings = account.0.lock().expect("not poisoned").clone();
    let once = endings.values().all(|ends| ends.len() == 1);
    assert!(once, "seed {seed}: {:?}", endings.iter().find(|(_, ends)| ends.len() != 1));
    let left = endings.values().flatten().filter(|end| **end != Ending::NotSent).count() as u64;
    let (reached, by_permits) =
        (server.reached.load(Ordering::Relaxed), permits.load(Ordering::Relaxed));
    assert_eq!(left, reached + by_permits, "seed {seed}");
    assert!(endings.values().flatten().any(|end| *end == Ending::NotSent), "some never left");
    // And what was counted leaves with its window.
    tokio::time::sleep(Duration::from_secs(600)).await;
    let later = client.limits().expect("our own limiter").limits;
    let used: u64 =
        later.iter().filter(|limit| limit.dimension != Dimension::Money).map(|l| l.used).sum();
    assert_eq!(used, 0, "{later:?}");
}
