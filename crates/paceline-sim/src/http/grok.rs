//! The server without its socket: a request in, an answer out, on tokio's clock.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use paceline_core::Instant;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::answer::{Cut, Plan, plan};
use super::models::{MODELS, Model, find};
use super::options::ServerOptions;
use super::refusal;
use super::tokens::Tokenizer;
use super::{StartError, Stats};
use crate::rules::{Decision, Limits, Rules, What};

/// A simulated Grok server without a socket. Clones share everything.
#[derive(Clone)]
pub struct Grok(Arc<Inner>);

struct Inner {
    options: ServerOptions,
    tokenizer: Tokenizer,
    started: tokio::time::Instant,
    state: Mutex<State>,
    requests: AtomicU64,
}

#[derive(Default)]
struct State {
    limits: Option<Limits>,
    models: HashMap<&'static str, Rules>,
    stats: Stats,
    /// How many calls to fail, and how.
    fail: Option<(u32, Fault)>,
}

#[derive(Clone)]
enum Fault {
    Status(StatusCode, String),
    Drop,
}

/// One of so many answers shows counters as if nothing had been used, as the real one does.
const PRISTINE_EVERY: u64 = 20;
/// One of so many answers of `/v1/process` does not tell its usage.
const PROCESS_SILENT_EVERY: u64 = 5;

type Answer = Response<Bytes>;

impl Grok {
    /// A server that has seen nothing.
    ///
    /// # Errors
    /// [`StartError`] where the tokenizer can't be loaded.
    pub fn new(options: ServerOptions) -> Result<Self, StartError> {
        let tokenizer = Tokenizer::load(options.tokenizer.as_deref())?;
        // Building the tables takes a while: not at the first call.
        tokenizer.count("");
        let state = State { limits: options.limits, ..State::default() };
        Ok(Self(Arc::new(Inner {
            options,
            tokenizer,
            started: tokio::time::Instant::now(),
            state: Mutex::new(state),
            requests: AtomicU64::new(0),
        })))
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.state().stats.clone()
    }

    /// Puts other limits in force for every model.
    pub fn set_limits(&self, limits: Limits) {
        let mut state = self.state();
        state.limits = Some(limits);
        state.models.values_mut().for_each(|rules| rules.set_limits(limits));
    }

    /// Answers the next `n` calls with this status and body.
    pub fn fail_next(&self, n: u32, status: StatusCode, body: impl Into<String>) {
        self.state().fail = Some((n, Fault::Status(status, body.into())));
    }

    /// Lets the connections of the next `n` calls break before an answer.
    pub fn drop_next(&self, n: u32) {
        self.state().fail = Some((n, Fault::Drop));
    }

    /// Answers one request; `None` where the connection is to break.
    pub async fn handle(&self, request: Request<Bytes>) -> Option<Answer> {
        let path = request.uri().path().trim_end_matches('/').to_owned();
        let mut answer = match (request.method(), path.as_str()) {
            (&Method::GET, "/stats") => json_answer(StatusCode::OK, &json!(self.stats())),
            (&Method::GET, "/v1/models") => json_answer(StatusCode::OK, &models()),
            (&Method::GET, path) if path.starts_with("/v1/models/") => one_model(path),
            (&Method::POST, "/v1/chat/completions") => self.call(request, Door::Chat).await?,
            (&Method::POST, "/v1/process") => self.call(request, Door::Process).await?,
            (_, "/v1/chat/completions" | "/v1/process" | "/v1/models" | "/stats") => {
                refusal::plain(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "invalid-argument",
                    "The method is not allowed.",
                )
            }
            _ => refusal::plain(
                StatusCode::NOT_FOUND,
                "not-found",
                "The requested path does not exist.",
            ),
        };
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed);
        let id = format!("00000000-0000-4000-8000-{number:012x}");
        if let Ok(id) = HeaderValue::from_str(&id) {
            answer.headers_mut().insert("x-request-id", id);
        }
        Some(answer)
    }

    async fn call(&self, request: Request<Bytes>, door: Door) -> Option<Answer> {
        if let Some(fault) = self.fault() {
            return match fault {
                Fault::Drop => None,
                Fault::Status(status, body) => Some(raw_answer(status, body)),
            };
        }
        if !has_key(request.headers()) {
            return Some(refusal::plain(
                StatusCode::BAD_REQUEST,
                "invalid-argument",
                "Incorrect API key provided: none. You can obtain an API key from https://console.x.ai.",
            ));
        }
        let asked = match Asked::read(request.body(), door) {
            Ok(asked) => asked,
            Err(answer) => return Some(*answer),
        };
        let (hash, cap) = (hash_of(request.body()), asked.cap);
        let plan = plan(self.0.options.seed, hash, asked.model, cap, &self.0.options.latency);
        let input = self.input_tokens(&asked);
        sleep(plan.inbound).await;
        let decision = self.arrive(asked.model, input);
        let (call, headers) = match decision {
            Ok(admitted) => admitted,
            Err(answer) => {
                sleep(plan.outbound).await;
                return Some(*answer);
            }
        };
        // What is in flight lands, whether the client still listens or not.
        let (grok, work, model) = (self.clone(), plan.work, asked.model);
        let output = plan.visible + plan.reasoning;
        let worked = tokio::spawn(async move {
            sleep(work).await;
            grok.complete(model, call, input, output);
        });
        worked.await.ok()?;
        sleep(plan.outbound).await;
        let number = self.0.requests.load(Ordering::Relaxed);
        let mut answer = json_answer(StatusCode::OK, &asked.answer(&plan, input, number));
        answer.headers_mut().extend(headers);
        Some(answer)
    }

    /// The tokens of the prompt: its text, the model's hidden text, and 4 per further message.
    fn input_tokens(&self, asked: &Asked) -> u64 {
        let texts: u64 = asked.texts.iter().map(|text| self.0.tokenizer.count(text)).sum();
        let further = (asked.texts.len() as u64).saturating_sub(1);
        texts + asked.model.hidden + 4 * further
    }

    fn arrive(
        &self,
        model: &'static Model,
        input: u64,
    ) -> Result<(crate::rules::CallNumber, HeaderMap), Box<Answer>> {
        let now = self.now();
        let mut state = self.state();
        let limits = state.limits.unwrap_or(model.limits);
        state.stats.arrived += 1;
        let arrived = state.stats.arrived;
        let rules = state.models.entry(model.name).or_insert_with(|| Rules::new(limits));
        match rules.arrive(now, input) {
            Decision::Admitted(call) => {
                let used = if arrived.is_multiple_of(PRISTINE_EVERY) {
                    (0, 0)
                } else {
                    (rules.used_requests(now), rules.used_tokens(now))
                };
                Ok((call, rate_headers(limits, used)))
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
                let retry_after = self.0.options.retry_after;
                Err(Box::new(refusal::rate(model.name, &exceeded, retry_after)))
            }
        }
    }

    fn complete(
        &self,
        model: &'static Model,
        call: crate::rules::CallNumber,
        input: u64,
        output: u64,
    ) {
        let now = self.now();
        let mut state = self.state();
        if let Some(rules) = state.models.get_mut(model.name) {
            rules.complete(call, input + output, now);
        }
        state.stats.ok += 1;
        state.stats.input_tokens += input;
        state.stats.output_tokens += output;
    }

    fn fault(&self) -> Option<Fault> {
        let mut state = self.state();
        let (left, fault) = state.fail.as_mut().filter(|(left, _)| *left > 0)?;
        *left -= 1;
        Some(fault.clone())
    }

    fn now(&self) -> Instant {
        Instant::ORIGIN + self.0.started.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Grok {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grok").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Which endpoint a call came through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Chat,
    Process,
}

/// What a call asks.
struct Asked {
    door: Door,
    model: &'static Model,
    texts: Vec<String>,
    cap: Option<u64>,
}

impl Asked {
    fn read(body: &Bytes, door: Door) -> Result<Self, Box<Answer>> {
        let bad = |text: &str| {
            Box::new(refusal::plain(StatusCode::BAD_REQUEST, "invalid-argument", text))
        };
        let body: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|_| bad("Failed to parse the request body as JSON."))?;
        let default = if door == Door::Process { "grok-2" } else { "" };
        let name = body.get("model").and_then(Value::as_str).unwrap_or(default);
        let Some(model) = find(name) else {
            let text = format!(
                "The model {name} does not exist or your team {} does not have access to it.",
                refusal::TEAM
            );
            return Err(Box::new(refusal::plain(StatusCode::NOT_FOUND, "not-found", &text)));
        };
        if body.get("stream") == Some(&Value::Bool(true)) {
            return Err(bad("This simulator does not stream yet: set stream to false."));
        }
        let texts: Vec<String> = match door {
            Door::Chat => {
                let messages = body.get("messages").and_then(Value::as_array);
                messages.ok_or_else(|| bad("There are no messages."))?.iter().map(text_of).collect()
            }
            Door::Process => {
                let text = body.get("text").and_then(Value::as_str);
                vec![text.ok_or_else(|| bad("There is no text."))?.to_owned()]
            }
        };
        if texts.is_empty() {
            return Err(bad("There are no messages."));
        }
        let cap = ["max_completion_tokens", "max_tokens"]
            .iter()
            .find_map(|field| body.get(*field)?.as_u64());
        Ok(Self { door, model, texts, cap })
    }

    fn answer(&self, plan: &Plan, input: u64, number: u64) -> Value {
        let output = plan.visible + plan.reasoning;
        if self.door == Door::Process {
            let mut answer = json!({ "result": plan.text });
            if number % PROCESS_SILENT_EVERY != PROCESS_SILENT_EVERY - 1 {
                answer["token_usage"] = json!({
                    "input_tokens": input, "output_tokens": output, "total_tokens": input + output,
                });
            }
            return answer;
        }
        json!({
            "id": format!("sim-{number:08x}"),
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": self.model.name,
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": plan.text, "refusal": null },
                "finish_reason": if plan.cut == Cut::Length { "length" } else { "stop" },
            }],
            "usage": {
                "prompt_tokens": input,
                "completion_tokens": plan.visible,
                "total_tokens": input + output,
                "prompt_tokens_details": {
                    "text_tokens": input, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 0,
                },
                "completion_tokens_details": {
                    "reasoning_tokens": plan.reasoning, "audio_tokens": 0,
                    "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
                },
                "num_sources_used": 0,
                "cost_in_usd_ticks": self.model.cost(input, output),
            },
            "system_fingerprint": "fp_simulated",
        })
    }
}

/// The text of a message, its parts joined.
fn text_of(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

fn has_key(headers: &HeaderMap) -> bool {
    let value = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|key| !key.trim().is_empty())
}

fn hash_of(body: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

/// The four headers; what is not limited shows the largest number, as the real one does.
fn rate_headers(limits: Limits, (requests, tokens): (u64, u64)) -> HeaderMap {
    let (rpm, tpm) = (limits.rpm.unwrap_or(u64::MAX), limits.tpm.unwrap_or(u64::MAX));
    let mut headers = HeaderMap::new();
    headers.insert("x-ratelimit-limit-requests", rpm.into());
    headers.insert("x-ratelimit-remaining-requests", rpm.saturating_sub(requests).into());
    headers.insert("x-ratelimit-limit-tokens", tpm.into());
    headers.insert("x-ratelimit-remaining-tokens", tpm.saturating_sub(tokens).into());
    headers
}

fn models() -> Value {
    let data: Vec<Value> = MODELS.iter().map(describe).collect();
    json!({ "object": "list", "data": data })
}

fn one_model(path: &str) -> Answer {
    let name = path.trim_start_matches("/v1/models/");
    match find(name) {
        Some(model) => json_answer(StatusCode::OK, &describe(model)),
        None => refusal::plain(StatusCode::NOT_FOUND, "not-found", "The model does not exist."),
    }
}

fn describe(model: &Model) -> Value {
    json!({
        "id": model.name, "aliases": [format!("{}-latest", model.name)], "object": "model",
        "created": 1_700_000_000, "owned_by": "xai", "context_length": model.context,
        "prompt_text_token_price": model.ticks[0], "cached_prompt_text_token_price": model.ticks[1],
        "completion_text_token_price": model.ticks[2],
    })
}

pub(super) fn json_answer(status: StatusCode, value: &Value) -> Answer {
    raw_answer(status, value.to_string())
}

fn raw_answer(status: StatusCode, body: String) -> Answer {
    let kind = if body.starts_with('<') { "text/html" } else { "application/json" };
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
