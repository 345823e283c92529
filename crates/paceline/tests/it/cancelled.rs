//! Calls that their callers give up at any moment, in every form: what is left of them.

use std::collections::BTreeMap;
use std::io::Write;
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
use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::GOOD;

const RATE: &str = r#"{"code": "resource-exhausted", "error": "Too many requests for team t and model grok-4.7. Requests per Second (actual/limit): 61/60."}"#;

/// A server whose answers take a while in every place, before the head and between pieces, and
/// which now and then refuses a call or can't be reached.
#[derive(Debug, Default)]
struct Slow {
    asked: AtomicU64,
    reached: AtomicU64,
    refused: AtomicU64,
    /// Calls whose callers went away before the head, and amid the body.
    before_head: AtomicU64,
    amid_body: Arc<AtomicU64>,
}

/// When a call is given up: so long after it was asked for, reached the server, or had its head.
#[derive(Debug)]
struct Patience {
    phase: Phase,
    after: Duration,
    begun: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asked,
    Reached,
    Head,
}

tokio::task_local! {
    static PATIENCE: Arc<Patience>;
}

impl Patience {
    fn random(random: &mut StdRng) -> Self {
        let (phase, most) = match random.random_range(0..4) {
            0 => (Phase::Asked, 3_000),
            1 => (Phase::Reached, 60),
            _ => (Phase::Head, 250),
        };
        let after = Duration::from_millis(random.random_range(0..most));
        Self { phase, after, begun: Notify::new() }
    }

    /// Ready once it is used up.
    async fn used_up(&self) {
        if self.phase != Phase::Asked {
            self.begun.notified().await;
        }
        tokio::time::sleep(self.after).await;
    }

    /// The call of this task is so far now.
    fn begins(phase: Phase) {
        PATIENCE.with(|patience| {
            if patience.phase == phase {
                patience.begun.notify_one();
            }
        });
    }
}

/// A call at the server; dropped unanswered, it counts as given up.
struct Unanswered<'a>(&'a AtomicU64, bool);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(u64::from(self.1), Ordering::Relaxed);
    }
}

struct Pieces {
    left: Vec<Bytes>,
    sleep: Pin<Box<Sleep>>,
    given_up: Arc<AtomicU64>,
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.given_up.fetch_add(u64::from(!self.left.is_empty()), Ordering::Relaxed);
    }
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
        Patience::begins(Phase::Reached);
        let mut unanswered = Unanswered(&self.before_head, true);
        tokio::time::sleep(Duration::from_millis(50)).await;
        unanswered.1 = false;
        if number % 97 == 28 {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let answer = Response::builder().status(429).header("retry-after", "1");
            return Ok(answer.body(Body::from(Bytes::from(RATE))).expect("legal"));
        }
        Patience::begins(Phase::Head);
        let body: serde_json::Value = serde_json::from_slice(request.body()).expect("JSON");
        let is_response = request.uri().path().ends_with("/responses");
        let mut left: Vec<Bytes> = if body["stream"] == true {
            stream(is_response)
        } else if is_response {
            let usage = json!({ "input_tokens": 140, "output_tokens": 4, "total_tokens": 144 });
            vec![Bytes::from(json!({ "output": [], "usage": usage }).to_string())]
        } else if request.uri().path().ends_with("/process") {
            let usage = json!({ "prompt_tokens": 140, "total_tokens": 144 });
            vec![Bytes::from(json!({ "token_usage": usage }).to_string())]
        } else {
            GOOD.as_bytes().chunks(40).map(Bytes::copy_from_slice).collect()
        };
        left.reverse();
        let sleep = Box::pin(tokio::time::sleep(Duration::from_millis(20)));
        let given_up = Arc::clone(&self.amid_body);
        let answer = if body["stream"] == true {
            Response::builder().header("content-type", "text/event-stream")
        } else {
            Response::builder()
        };
        Ok(answer.body(Body::new(Pieces { left, sleep, given_up })).expect("legal"))
    }
}

/// Every intent, and how it ended, as often as it did.
#[derive(Debug, Default)]
struct Account(Mutex<BTreeMap<AttemptId, (Intent, Vec<Outcome>)>>);

impl Record for Account {
    fn intent<'a>(&'a self, intent: &'a Intent) -> Recorded<'a> {
        let row = (intent.clone(), Vec::new());
        let is_new = self.0.lock().expect("not poisoned").insert(intent.id.clone(), row).is_none();
        // It takes a while to be written, so that a caller may go away meanwhile.
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(40)).await;
            is_new.then_some(()).ok_or_else(|| RecordError::refused("the name is taken"))
        })
    }

    fn outcome(&self, outcome: &Outcome) -> Result<(), RecordError> {
        let mut rows = self.0.lock().expect("not poisoned");
        rows.get_mut(&outcome.id).expect("its intent came first").1.push(outcome.clone());
        Ok(())
    }
}

/// One call in one of the forms, to its end.
async fn call(world: &World, form: usize) {
    let client = &world.client;
    let ask = || Responses::new("grok-4.7").user("Hello?");
    let chat = Chat::new("grok-4.7").user("Hello?");
    match form {
        0 => drop(client.chat(&chat).await.expect("an answer")),
        1 => drop(client.respond(&ask()).await.expect("an answer")),
        2 => {
            // Its usage is where the call says it is.
            let path = Path::new("process").usage_at("/token_usage");
            let call = JsonCall::post(path, "grok-4.7", json!({ "text": "Hi" }));
            let reply = client.json(&call).await.expect("an answer");
            assert!(reply.usage().is_some());
        }
        3 => {
            let mut answer = client.chat_stream(&chat).await.expect("an answer");
            answer.collect_text().await.expect("whole");
        }
        4 => {
            let mut answer = client.respond_stream(&ask()).await.expect("an answer");
            answer.collect_text().await.expect("whole");
        }
        5 => {
            let demand = Demand::call(Amount::expected(150).upper(400)).model("grok-4.7");
            let permit = client.acquire(&demand).await.expect("room");
            // From here on it may have left, sent() or not: only its holder knows.
            world.permits.fetch_add(1, Ordering::Relaxed);
            Patience::begins(Phase::Reached);
            tokio::time::sleep(Duration::from_millis(30)).await;
            permit.sent();
            Patience::begins(Phase::Head);
            tokio::time::sleep(Duration::from_millis(100)).await;
            permit.settle(&Usage::new(100, 140).expect("consistent"));
        }
        #[cfg(feature = "tower")]
        _ => others::call(world, form).await,
        #[cfg(not(feature = "tower"))]
        _ => unreachable!("there are no more forms"),
    }
}

/// Calls that are sent by somebody else's client.
#[cfg(feature = "tower")]
mod others {
    use std::error::Error;

    use http_body_util::BodyExt;
    use paceline::tower::{Adapter, Asked, HttpAdapter, InFlight, PacedBody, PacedLayer};
    use tower::{Layer, Service, ServiceExt, service_fn};

    use super::*;

    /// As the one for `http`, and it knows which failures of ours are of calls that never left.
    #[derive(Clone)]
    struct Known(HttpAdapter);

    impl Adapter<Request<Bytes>, Response<Body>> for Known {
        type Paced = Response<PacedBody<Body>>;

        fn asked(&self, request: &Request<Bytes>) -> Option<Asked> {
            Adapter::<Request<Bytes>, Response<Body>>::asked(&self.0, request)
        }

        fn answered(&self, response: Response<Body>, call: Option<InFlight>) -> Self::Paced {
            Adapter::<Request<Bytes>, Response<Body>>::answered(&self.0, response, call)
        }

        fn is_not_sent(&self, error: &(dyn Error + 'static)) -> bool {
            error.downcast_ref::<TransportError>().is_some_and(TransportError::is_not_sent)
        }
    }

    fn request(is_stream: bool) -> Request<Bytes> {
        let messages = json!([{ "role": "user", "content": "Hello?" }]);
        let body = json!({ "model": "grok-4.7", "messages": messages, "stream": is_stream });
        let request = Request::post("http://127.0.0.1:1/v1/chat/completions");
        request.body(Bytes::from(body.to_string())).expect("legal")
    }

    /// It tries again itself, each time with a turn of its own; in streams and as a whole.
    pub(super) async fn call(world: &World, form: usize) {
        let is_stream = world.server.asked.load(Ordering::Relaxed) % 2 == 0;
        loop {
            let is_good = if form == 6 {
                begun(world, is_stream).await
            } else {
                layered(world, is_stream).await
            };
            if is_good {
                return;
            }
        }
    }

    /// By hand: [`Client::begin`], and what comes back is shown to the call.
    async fn begun(world: &World, is_stream: bool) -> bool {
        let chat = Chat::new("grok-4.7").user("Hello?");
        let mut call = world.client.begin(Asked::Chat(chat)).await.expect("room");
        let answer = match world.server.send(request(is_stream)).await {
            Ok(answer) => answer,
            Err(error) if error.is_not_sent() => {
                call.not_sent();
                return false;
            }
            Err(error) => panic!("{error}"),
        };
        let (head, mut body) = answer.into_parts();
        call.head(head.status, &head.headers);
        while let Some(frame) = body.frame().await {
            let frame = frame.expect("it does not break off");
            frame.data_ref().into_iter().for_each(|piece| call.body(piece));
        }
        call.end();
        head.status.is_success()
    }

    /// By the layer.
    async fn layered(world: &World, is_stream: bool) -> bool {
        let server = Arc::clone(&world.server);
        let inner = service_fn(move |request| {
            let server = Arc::clone(&server);
            async move { server.send(request).await }
        });
        let layer = PacedLayer::with_adapter(world.client.clone(), Known(HttpAdapter));
        let mut service = layer.layer(inner);
        let ready = service.ready().await.expect("it always is");
        let Ok(answer) = ready.call(request(is_stream)).await else { return false };
        let is_good = answer.status().is_success();
        answer.into_body().collect().await.expect("it does not break off");
        is_good
    }
}

const FORMS: usize = if cfg!(feature = "tower") { 8 } else { 6 };

/// So many calls are given up before their end.
const GIVEN_UP: u64 = 10_000;

/// One client whose limits bind, whose budgets count, and whose attempts are recorded.
struct World {
    server: Arc<Slow>,
    account: Arc<Account>,
    client: Client,
    /// What was admitted for somebody who never said whether it left.
    permits: AtomicU64,
}

impl World {
    fn new() -> Self {
        let (server, account) = (Arc::new(Slow::default()), Arc::new(Account::default()));
        let money = Money::from_ticks(1 << 51);
        let cap = SpendingCap::new(money, LimitKey::All).expect("above zero");
        let mut budgets = Budgets::new();
        for budget in [
            Budget::money(Money::from_ticks(1 << 50), Period::Run),
            Budget::total_tokens(1 << 40, Period::Run),
        ] {
            budgets.add(budget.expect("above zero")).expect("room");
        }
        let client = Client::builder()
            .base_url("http://127.0.0.1:1/v1")
            .transport(Arc::clone(&server))
            .record(Arc::clone(&account) as Arc<dyn Record>)
            .requests_per_second(60.try_into().expect("not zero"))
            .requests_per_minute(6_000.try_into().expect("not zero"))
            .tokens_per_minute(100_000_000.try_into().expect("not zero"))
            .retry(RetryPolicy::default().attempts(20))
            .spending_cap(cap)
            .budgets(budgets)
            .build()
            .expect("legal settings");
        Self { server, account, client, permits: AtomicU64::new(0) }
    }

    /// Nothing is held, nobody waits, and in the end nothing is counted either.
    async fn is_idle(&self) {
        let now = self.client.limits().expect("our own limiter");
        assert_eq!((now.in_flight, now.waiting), (0, 0));
        assert!(now.limits.iter().all(|limit| limit.held == 0), "{:?}", now.limits);
        let counts = |dimension| now.limits.iter().any(|limit| limit.dimension == dimension);
        assert!(counts(Dimension::Money) && counts(Dimension::TotalTokens));
        // What was counted leaves with its window; what was spent for good never does.
        tokio::time::sleep(Duration::from_secs(600)).await;
        let later = self.client.limits().expect("our own limiter").limits;
        let windows = later.iter().filter(|limit| limit.quota.window().is_some());
        assert_eq!(windows.map(|limit| limit.used).sum::<u64>(), 0, "{later:?}");
    }

    /// Each attempt ended once; as many left as the server and the holders of permits say, and what
    /// the budgets have counted is what the record says that they spent, to the unit.
    fn is_accounted_for(&self) {
        let rows = self.account.0.lock().expect("not poisoned");
        let twice = rows.values().find(|(_, ends)| ends.len() != 1);
        assert!(twice.is_none(), "{twice:?}");
        let ends =
            || rows.values().flat_map(|(intent, ends)| ends.iter().map(move |e| (intent, e)));
        let as_what = |ending| ends().filter(|(_, end)| end.ending == ending).count() as u64;
        let reached = self.server.reached.load(Ordering::Relaxed);
        let left = reached + self.permits.load(Ordering::Relaxed);
        assert_eq!(rows.len() as u64 - as_what(Ending::NotSent), left);
        // A refusal is one where its error was read to the end.
        let refused = self.server.refused.load(Ordering::Relaxed);
        let as_refused = as_what(Ending::Refused);
        assert!(
            as_refused <= refused && as_refused * 10 > refused * 9,
            "{as_refused} of {refused}"
        );
        let (mut ticks, mut tokens) = (0, 0);
        for (intent, end) in ends() {
            ticks += end.cost.as_ticks();
            tokens += match (end.usage, end.ending) {
                (Some(usage), _) => usage.total_tokens(),
                (None, Ending::MaybeCharged) => intent.total_tokens,
                (None, Ending::Refused | Ending::NotSent) => 0,
                (None, other) => panic!("{other:?} without a usage"),
            };
        }
        let [money, total] = self.client.budgets().try_into().expect("two budgets");
        assert_eq!((i128::from(money.spent), total.spent), (ticks, tokens));
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_cancelled_calls_of_every_form_leave_nothing_held() {
    let seed = std::env::var("PACELINE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or(20_261_125);
    writeln!(std::io::stderr(), "PACELINE_SEED={seed}").expect("it is open");
    let world = Arc::new(World::new());
    let mut random = StdRng::seed_from_u64(seed);
    let mut ended = [[0_u64; 2]; FORMS];
    let cut = |ended: &[[u64; 2]; FORMS]| ended.iter().map(|ends| ends[0]).sum::<u64>();
    while cut(&ended) < GIVEN_UP {
        let mut calls = tokio::task::JoinSet::new();
        for form in (0..FORMS).cycle().take(104) {
            let world = Arc::clone(&world);
            let patience = Arc::new(Patience::random(&mut random));
            calls.spawn(async move {
                let whole = PATIENCE.scope(Arc::clone(&patience), call(&world, form));
                let is_whole = tokio::select! {
                    () = whole => true,
                    () = patience.used_up() => false,
                };
                (form, is_whole)
            });
        }
        for (form, whole) in calls.join_all().await {
            ended[form][usize::from(whole)] += 1;
        }
    }
    let both = |ends: &[u64; 2]| ends.iter().all(|count| *count > 200);
    assert!(ended.iter().all(both), "some were cut, some were not: {ended:?}");
    // In every phase: before they left, on their way, and amid their answers.
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (before_head, amid_body) =
        (count(&world.server.before_head), count(&world.server.amid_body));
    let unsent = cut(&ended).saturating_sub(before_head + amid_body);
    let phases = [unsent, before_head, amid_body];
    writeln!(std::io::stderr(), "unsent, on the way, amid the answer: {phases:?}; {ended:?}")
        .expect("it is open");
    assert!(phases.iter().all(|count| *count > 1_000));
    assert!(count(&world.server.refused) > 50, "pauses were under way");
    world.is_idle().await;
    world.is_accounted_for();
}
