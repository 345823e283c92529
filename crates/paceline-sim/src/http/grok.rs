//! The server without its socket: a request in, an answer out, on tokio's clock.
//!
//! It decides nothing about limits; the rules do. Invariant: a call whose request came in whole
//! is judged, and if admitted worked on and charged, whether or not its client still listens; a
//! stream that nobody listens to any more ends there, and is charged for what was written.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use paceline_core::Instant;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::answer::{self, Reply};
use super::asked::{Asked, Door, Wanted};
use super::body::{Body, Tail};
use super::fault::{End, Fault, Faults, Inside, Kind, raw_answer};
use super::models::{self, Model};
use super::options::{RateHeaders, ServerOptions};
use super::tokenize;
use super::tokens::Tokenizer;
use super::writer::Writer;
use super::{Counted, StartError, Stats};
use super::{chat, refusal, responses};
use crate::engine::Ask;
use crate::rules::{CallNumber, Decision, Limits, Rules, What};

/// A simulated Grok server without a socket, for tests in paused time. Clones share everything.
///
/// ```
/// use bytes::Bytes;
/// use http::Request;
/// use paceline_sim::http::{Grok, Latency, ServerOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let grok = Grok::new(ServerOptions::new().latency(Latency::instant()))?;
/// let body = r#"{"model": "grok-4.3", "messages": [{"role": "user", "content": "Hello"}]}"#;
/// let request = Request::post("/v1/chat/completions").header("authorization", "Bearer any");
/// let answer = grok.handle(request.body(Bytes::from(body))?).await.ok_or("no answer")?;
/// assert_eq!(answer.status(), 200);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Grok(Arc<Inner>);

struct Inner {
    options: ServerOptions,
    tokenizer: Tokenizer,
    /// Of bodies too large to be read between two others.
    large: Semaphore,
    started: tokio::time::Instant,
    state: Mutex<State>,
    requests: AtomicU64,
    calls: AtomicU64,
    processed: AtomicU64,
}

#[derive(Default)]
struct State {
    limits: Option<Limits>,
    models: HashMap<&'static str, Rules>,
    stats: Stats,
    faults: Faults,
}

/// The largest request body that is read: 32 MiB.
pub(super) const REQUEST_CAP: usize = 32 << 20;
/// A larger body is read and counted on a thread of its own: 64 KiB take a few milliseconds.
const LARGE: usize = 64 << 10;
/// So many large bodies are read at once.
const LARGE_AT_ONCE: usize = 2;

/// Output tokens that a server which holds the most holds of a call without a cap.
const HELD_WITHOUT_CAP: u64 = 4_096;

type Answer = Response<Bytes>;

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Whole,
    CutShort,
}

impl Grok {
    /// A server that has seen nothing. Its time begins now.
    ///
    /// # Errors
    /// [`StartError::Tokenizer`] where the tokenizer can't be loaded.
    pub fn new(options: ServerOptions) -> Result<Self, StartError> {
        let tokenizer = Tokenizer::load(options.tokenizer.as_deref())?;
        // Building the tables takes a while: not at the first call.
        tokenizer.count("Warm.");
        let state = State { limits: options.limits, ..State::default() };
        Ok(Self(Arc::new(Inner {
            options,
            tokenizer,
            large: Semaphore::new(LARGE_AT_ONCE),
            started: tokio::time::Instant::now(),
            state: Mutex::new(state),
            requests: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            processed: AtomicU64::new(0),
        })))
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        let state = self.state();
        let now = self.now();
        let mut stats = state.stats.clone();
        stats.models = state
            .models
            .iter()
            .map(|(name, rules)| {
                let counted = Counted {
                    requests: rules.used_requests(now),
                    tokens: rules.used_tokens(now),
                    most_tokens: rules.most_tokens(),
                    tokens_per_minute: rules.limits().tpm,
                };
                ((*name).to_owned(), counted)
            })
            .collect();
        stats
    }

    /// Puts other limits in force for every model; what was counted stays counted.
    pub fn set_limits(&self, limits: Limits) {
        let mut state = self.state();
        state.limits = Some(limits);
        state.models.values_mut().for_each(|rules| rules.set_limits(limits));
    }

    /// Orders a fault for the next `n` calls that have none yet. At most 1,024 orders are kept; a
    /// further one takes the place of the last.
    pub fn inject(&self, n: u32, fault: Fault) {
        self.state().faults.order(n, fault);
    }

    /// Answers the next `n` calls with this status and body; see [`inject`](Self::inject).
    pub fn fail_next(&self, n: u32, status: StatusCode, body: impl Into<String>) {
        self.inject(n, Fault::answer(status, body));
    }

    /// Lets the connections of the next `n` calls break before an answer.
    pub fn drop_next(&self, n: u32) {
        self.inject(n, Fault::drop_connection());
    }

    /// Answers one request, with its body whole: of a stream, everything that was sent. `None`
    /// where the connection breaks, in the middle of the body too.
    ///
    /// Needs a tokio runtime with time; every delay is on its clock, so that paused time works.
    ///
    /// # Cancel safety
    /// A call that came in whole goes on by itself and is charged, as on the real server; a
    /// stream ends where the future is dropped, and is charged for what was written.
    pub async fn handle(&self, request: Request<Bytes>) -> Option<Answer> {
        let (head, body) = self.respond(request).await?.into_parts();
        Some(Response::from_parts(head, body.collect().await.ok()?.to_bytes()))
    }

    /// Answers one request, with its body as it is written; `None` where the connection is to
    /// break before the head. A stream's head comes as soon as the call is admitted.
    ///
    /// # Cancel safety
    /// As for [`handle`](Self::handle); dropping the body is the client going away.
    pub async fn respond(&self, request: Request<Bytes>) -> Option<Response<Body>> {
        let path = request.uri().path().trim_end_matches('/');
        let whole = |answer: Answer| answer.map(Body::whole);
        let mut answer = match (request.method(), path) {
            _ if request.body().len() > REQUEST_CAP => whole(refusal::too_large()),
            (&Method::GET, "/stats") => whole(json_answer(&json!(self.stats()))),
            (&Method::GET, "/v1/models") => whole(json_answer(&models::list())),
            (&Method::GET, "/v1/language-models") => whole(json_answer(&models::language_models())),
            (&Method::POST, "/v1/tokenize-text") => whole(self.tokenize(request).await),
            (&Method::POST, "/v1/chat/completions") => self.call(request, Door::Chat).await?,
            (&Method::POST, "/v1/responses") => self.call(request, Door::Responses).await?,
            (&Method::POST, "/v1/process") => self.call(request, Door::Process).await?,
            (
                _,
                "/v1/chat/completions"
                | "/v1/responses"
                | "/v1/process"
                | "/v1/models"
                | "/v1/language-models"
                | "/v1/tokenize-text"
                | "/stats",
            ) => {
                let text = "The method is not allowed.";
                whole(refusal::plain(StatusCode::METHOD_NOT_ALLOWED, "invalid-argument", text))
            }
            (&Method::GET, path) if path.starts_with("/v1/models/") => {
                let name = path.trim_start_matches("/v1/models/");
                let model = models::find(name);
                whole(model.map_or_else(
                    || refusal::no_model(name),
                    |model| json_answer(&model.describe()),
                ))
            }
            _ => {
                let text = "The requested path does not exist.";
                whole(refusal::plain(StatusCode::NOT_FOUND, "not-found", text))
            }
        };
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed);
        // 48 bits of the number, as the form of a UUID has them.
        let id = format!("00000000-0000-4000-8000-{:012x}", number & 0xffff_ffff_ffff);
        if let Ok(id) = HeaderValue::from_str(&id) {
            answer.headers_mut().insert("x-request-id", id);
        }
        Some(answer)
    }

    /// An API call: it meets the fault that was ordered for it, or goes on by itself.
    async fn call(&self, request: Request<Bytes>, door: Door) -> Option<Response<Body>> {
        let fault = self.state().faults.next();
        let (loses, inside) = match fault.map(|fault| fault.0) {
            Some(Kind::Answer(answer)) => return Some(answer.map(Body::whole)),
            Some(Kind::Drop) => return None,
            Some(Kind::Lose) => (true, None),
            Some(Kind::Inside(inside)) => (false, Some(inside)),
            None => (false, None),
        };
        if !key_of(request.headers()).is_some_and(|key| self.0.options.keys.accept(key)) {
            return Some(refusal::no_key().map(Body::whole));
        }
        let number = self.0.calls.fetch_add(1, Ordering::Relaxed);
        let (grok, body) = (self.clone(), request.into_body());
        let work = tokio::spawn(async move {
            match grok.read(body, door).await {
                // Nobody would listen to it: it is worked on as a whole.
                Ok((asked, input_tokens)) if loses => {
                    let asked = Asked { wanted: Wanted::Whole, ..asked };
                    grok.work(asked, input_tokens, number, inside).await
                }
                Ok((asked, input_tokens)) => grok.work(asked, input_tokens, number, inside).await,
                Err(answer) => answer.map(Body::whole),
            }
        });
        let answer = work.await.ok()?;
        (!loses).then_some(answer)
    }

    /// Counts a text: of large ones, a few at once, and not between calls.
    async fn tokenize(&self, request: Request<Bytes>) -> Answer {
        if !key_of(request.headers()).is_some_and(|key| self.0.options.keys.accept(key)) {
            return refusal::no_key();
        }
        let (grok, body) = (self.clone(), request.into_body());
        let count = move || match tokenize::answer(&body, &grok.0.tokenizer) {
            Ok(tokens) => json_answer(&tokens),
            Err(answer) => *answer,
        };
        let _turn = self.0.large.acquire().await;
        let counted = tokio::task::spawn_blocking(count).await;
        counted.unwrap_or_else(|_| {
            let text = "The text could not be read.";
            refusal::plain(StatusCode::BAD_REQUEST, "invalid-argument", text)
        })
    }

    /// Judges and answers the call of this number.
    async fn work(
        self,
        asked: Asked,
        input_tokens: u64,
        number: u64,
        inside: Option<Inside>,
    ) -> Response<Body> {
        let options = &self.0.options;
        let plan = answer::plan(
            answer::chance(options.seed, number),
            asked.model.reasons,
            asked.cap,
            &options.output,
            &options.latency,
        );
        let delays = plan.delays;
        sleep(delays.inbound).await;
        let ask = Ask::new(input_tokens + plan.output_tokens())
            .input(input_tokens)
            .most(input_tokens.saturating_add(asked.cap.unwrap_or(HELD_WITHOUT_CAP)));
        let answer = match self.arrive(asked.model, ask) {
            Err(exceeded) => exceeded.map(Body::whole),
            Ok((call, headers)) => {
                let mut answer = if asked.wanted == Wanted::Whole {
                    sleep(delays.work).await;
                    let output_tokens = plan.output_tokens();
                    self.complete(asked.model, call, input_tokens, output_tokens, Ended::Whole);
                    let reply = plan.reply(&asked, input_tokens, number, &self.0.tokenizer);
                    self.whole(asked.door, &reply, inside.as_ref())
                } else {
                    let reply = plan.reply(&asked, input_tokens, number, &self.0.tokenizer);
                    self.stream(&asked, reply, call, inside)
                };
                answer.headers_mut().extend(headers);
                answer
            }
        };
        sleep(delays.outbound).await;
        answer
    }

    /// What is asked, and its input tokens.
    async fn read(&self, body: Bytes, door: Door) -> Result<(Asked, u64), Box<Answer>> {
        if body.len() <= LARGE {
            return self.read_now(&body, door);
        }
        // It is closed only with the server, and then nobody waits.
        let _turn = self.0.large.acquire().await;
        let grok = self.clone();
        let read = tokio::task::spawn_blocking(move || grok.read_now(&body, door)).await;
        read.unwrap_or_else(|_| {
            let text = "The request could not be read.";
            Err(Box::new(refusal::plain(StatusCode::BAD_REQUEST, "invalid-argument", text)))
        })
    }

    /// The input is the text of the messages, the model's hidden text, and 4 per further message.
    fn read_now(&self, body: &[u8], door: Door) -> Result<(Asked, u64), Box<Answer>> {
        let asked = Asked::read(body, door)?;
        let texts: u64 = asked.texts.iter().map(|text| self.0.tokenizer.count(text)).sum();
        let input_tokens = texts + asked.framing();
        if input_tokens > asked.model.context {
            return Err(Box::new(refusal::too_long(asked.model.context, input_tokens)));
        }
        Ok((asked, input_tokens))
    }

    /// Judges a call now; what is admitted comes with the headers of its answer.
    fn arrive(
        &self,
        model: &'static Model,
        ask: Ask,
    ) -> Result<(CallNumber, HeaderMap), Box<Answer>> {
        let options = &self.0.options;
        let mut state = self.state();
        // Read under the lock, so that the log is in the order of time.
        let now = self.now();
        let limits = state.limits.unwrap_or(model.limits);
        state.stats.arrived += 1;
        let pristine = options.pristine_every > 0
            && state.stats.arrived.is_multiple_of(options.pristine_every);
        let rules = state.models.entry(model.name).or_insert_with(|| match options.token_rule {
            Some(rule) => Rules::counting(limits, rule),
            None => Rules::new(limits),
        });
        match rules.arrive_with(now, ask) {
            Decision::Admitted(call) => {
                let left = rules.remaining(now);
                let shown = |limit: Option<u64>, left: Option<u64>, used: u64| {
                    let limit = limit.unwrap_or(u64::MAX);
                    let left = left.unwrap_or_else(|| u64::MAX.saturating_sub(used));
                    (limit, if pristine { limit } else { left })
                };
                let requests = shown(limits.rpm, left.requests, rules.used_requests(now));
                let tokens = shown(limits.tpm, left.tokens, rules.used_tokens(now));
                drop(state);
                let headers = match options.rate_headers {
                    RateHeaders::Sent => rate_headers(requests, tokens),
                    RateHeaders::Absent => HeaderMap::new(),
                };
                Ok((call, headers))
            }
            Decision::Refused(exceeded) => {
                state.stats.status_429 += 1;
                for limit in &exceeded {
                    match limit.what {
                        What::Rps => state.stats.by_limit.rps += 1,
                        What::Rpm => state.stats.by_limit.rpm += 1,
                        What::Tpm => state.stats.by_limit.tpm += 1,
                    }
                }
                drop(state);
                Err(Box::new(refusal::rate(model.name, &exceeded, options.retry_after)))
            }
        }
    }

    /// Nothing more is written: the call is charged.
    pub(super) fn complete(
        &self,
        model: &'static Model,
        call: CallNumber,
        input_tokens: u64,
        output_tokens: u64,
        ended: Ended,
    ) {
        let mut state = self.state();
        let now = self.now();
        if let Some(rules) = state.models.get_mut(model.name) {
            rules.complete(call, input_tokens + output_tokens, now);
        }
        match ended {
            Ended::Whole => state.stats.ok += 1,
            Ended::CutShort => state.stats.cut_short += 1,
        }
        state.stats.input_tokens += input_tokens;
        state.stats.output_tokens += output_tokens;
    }

    /// The answer in one piece.
    fn whole(&self, door: Door, reply: &Reply, inside: Option<&Inside>) -> Response<Body> {
        let mut body = match door {
            Door::Chat => chat::whole(reply),
            Door::Responses => responses::whole(reply),
            Door::Process => answer::process(reply),
        };
        if door == Door::Process {
            let processed = self.0.processed.fetch_add(1, Ordering::Relaxed) + 1;
            let every = self.0.options.process_silent_every;
            if let Some(body) =
                body.as_object_mut().filter(|_| every > 0 && processed.is_multiple_of(every))
            {
                body.remove("token_usage");
            }
        }
        match inside.map(|inside| &inside.end) {
            None => json_answer(&body).map(Body::whole),
            Some(End::Break) => json_answer(&body).map(|body| Body::half(&body, Tail::Breaks)),
            Some(End::Stall) => json_answer(&body).map(|body| Body::half(&body, Tail::Stalls)),
            Some(End::Error(trouble) | End::Failed(trouble)) => {
                let body = json!({ "code": trouble.code, "error": trouble.text });
                json_answer(&body).map(Body::whole)
            }
        }
    }

    /// The answer as a stream, which begins now.
    fn stream(
        &self,
        asked: &Asked,
        reply: Reply,
        call: CallNumber,
        inside: Option<Inside>,
    ) -> Response<Body> {
        let script = match asked.door {
            Door::Responses => responses::stream(&reply),
            Door::Chat | Door::Process => chat::stream(&reply, asked.wanted),
        };
        let (pieces, written) = mpsc::unbounded_channel();
        let writer = Writer { grok: self.clone(), door: asked.door, call, reply, inside, pieces };
        tokio::spawn(writer.write(script));
        let mut answer = Response::new(Body::written(written));
        let kind = HeaderValue::from_static("text/event-stream");
        answer.headers_mut().insert(http::header::CONTENT_TYPE, kind);
        let cache = HeaderValue::from_static("no-cache");
        answer.headers_mut().insert(http::header::CACHE_CONTROL, cache);
        answer
    }

    fn now(&self) -> Instant {
        Instant::ORIGIN + self.0.started.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Grok {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grok").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// tokio's own sleep takes up to a millisecond even for nothing.
async fn sleep(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

/// The bearer's key, which may be empty.
fn key_of(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
}

/// The four headers, each pair a limit and what is left; what is not limited shows the largest
/// number, less what was used, as the real one does.
fn rate_headers(requests: (u64, u64), tokens: (u64, u64)) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-ratelimit-limit-requests", requests.0.into());
    headers.insert("x-ratelimit-remaining-requests", requests.1.into());
    headers.insert("x-ratelimit-limit-tokens", tokens.0.into());
    headers.insert("x-ratelimit-remaining-tokens", tokens.1.into());
    headers
}

fn json_answer(value: &Value) -> Answer {
    raw_answer(StatusCode::OK, value.to_string())
}
