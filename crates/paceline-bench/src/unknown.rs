//! The whole client against servers whose rule it does not know, in virtual time.
//!
//! The servers are the thirteen shapes of `paceline-sim`, behind a transport; the client is a
//! `paceline::Client` as its builder makes it for a host that is not xAI's. Invariant: what counts as
//! used is what the server completed, and as refused what it refused.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use paceline::transport::{ApiKey, Body, Transport, TransportError, async_trait};
use paceline::{Chat, Client, CountedAt, RetryPolicy};
use paceline_core::Instant;
use paceline_sim::engine::{Ask, Meter, Rule, shapes};
use tokio::runtime::Builder;

use crate::admission::workload::{Call, Class, Mix, Source, Speed};
use crate::admission::{CONVERSATIONS, read_trace};
use crate::row::{Row, to_json};

/// What to measure, and with what.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The folder of the public data.
    pub data: PathBuf,
    /// Only cases whose name begins with one of these; all where there is none.
    pub only: Vec<String>,
    /// Whole windows after the first.
    pub windows: u64,
    /// What chance is drawn from.
    pub seed: u64,
}

impl Options {
    /// All cases, twenty windows after the first, from seed 1.
    pub const fn new(data: PathBuf) -> Self {
        Self { data, only: Vec::new(), windows: 20, seed: 1 }
    }
}

/// Who calls, one call after the other.
const CALLERS: usize = 48;

const MINUTE: Duration = Duration::from_secs(60);

/// Measures; returns the rows as JSON.
///
/// # Errors
/// A text for people where the data can't be read.
pub fn measure(options: &Options, show: &mut dyn FnMut(&str)) -> Result<String, String> {
    let trace: Arc<[(u64, u64)]> = read_trace(&options.data.join(CONVERSATIONS))?.into();
    let mut rows = Vec::new();
    show(&format!(
        "{:44} {:>6} {:>6} {:>9} {:>9}  learned",
        "", "first", "after", "ref first", "ref after"
    ));
    for (class, name) in
        [(Class::Chat, "chat"), (Class::Short, "short"), (Class::Reasoning, "reasoning")]
    {
        let source = |seed| {
            Source::new(Arc::clone(&trace), Mix::All(class), Speed::Steady, 50_000_000, seed)
        };
        let limit = quota(&mut source(options.seed));
        for (shape, rule) in shapes(limit, MINUTE).map_err(|error| error.to_string())? {
            for headers in [true, false] {
                let with = if headers { "headers" } else { "silent" };
                let title = format!("{name}/{shape}/{with}").replace(", ", "+").replace(' ', "-");
                let is_wanted = |only: &String| title.starts_with(only.as_str());
                if !options.only.is_empty() && !options.only.iter().any(is_wanted) {
                    continue;
                }
                let case = Case { rule, limit, headers, windows: options.windows };
                let found = case.run(source(options.seed));
                show(&found.line(&title));
                rows.extend(found.rows(&title, shape, class));
            }
        }
    }
    Ok(to_json(&rows))
}

/// A limit of which the callers could use twice as much.
fn quota(source: &mut Source) -> u64 {
    let (mut tokens, mut nanos) = (0_u64, 0_u64);
    for _ in 0..2_000 {
        let call = source.draw();
        tokens += call.input + call.output;
        nanos += call.latency;
    }
    let a_minute = u128::from(tokens) * CALLERS as u128 * MINUTE.as_nanos() / u128::from(nanos);
    u64::try_from(a_minute / 2).unwrap_or(u64::MAX)
}

struct Case {
    rule: Rule,
    limit: u64,
    headers: bool,
    windows: u64,
}

/// What came of a case.
struct Found {
    limit: u64,
    windows: u64,
    /// Tokens completed, calls sent and calls refused, in the first minute and after it.
    tokens: [u64; 2],
    sent: [u64; 2],
    refused: [u64; 2],
    learned: Option<Learned>,
}

/// What was learned, and how full the quota was from two windows later on.
#[derive(Clone, Copy, Debug)]
struct Learned {
    counted_at: CountedAt,
    /// Seconds after the first call.
    after: u64,
    /// `None` where nothing is left of the run by then.
    used: Option<f64>,
}

impl Case {
    fn run(&self, source: Source) -> Found {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime of one thread");
        runtime.block_on(async {
            let server = Arc::new(Server::new(self, source));
            let builder = Client::builder()
                .base_url("https://example.com/v1")
                .api_key(ApiKey::new("of-the-simulation").expect("legal"))
                .retry(RetryPolicy::default().attempts(100).may_bill_twice())
                .transport(Arc::clone(&server));
            // Where the server does not say its limit, its user does.
            let limit = self.limit.try_into().expect("not zero");
            let builder = if self.headers { builder } else { builder.tokens_per_minute(limit) };
            let client = builder.build().expect("legal settings");
            let end = tokio::time::Instant::now()
                + MINUTE * (1 + u32::try_from(self.windows).unwrap_or(1));
            let callers: Vec<_> = (0..CALLERS)
                .map(|_| {
                    let (client, server) = (client.clone(), Arc::clone(&server));
                    tokio::spawn(async move {
                        loop {
                            let (number, chat) = server.next();
                            client.chat(&chat).await.ok();
                            server.forget(number);
                        }
                    })
                })
                .collect();
            let mut learned = None;
            while tokio::time::Instant::now() < end {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let rule = client.learned().into_values().find_map(|rule| rule.counted_at);
                // What it is in the end counts, from when it was so.
                learned = rule.map(|counted_at| match learned {
                    Some((before, after)) if before == counted_at => (before, after),
                    _ => (counted_at, server.started.elapsed().as_secs()),
                });
            }
            callers.iter().for_each(tokio::task::JoinHandle::abort);
            server.found(learned, self)
        })
    }
}

/// One limit of one rule, on tokio's clock.
#[derive(Debug)]
struct Server {
    state: Mutex<State>,
    started: tokio::time::Instant,
    /// How far the clock's minute had come then: an aligned window begins where a minute does.
    into_minute: Duration,
    limit: u64,
    headers: bool,
    number: AtomicU64,
}

#[derive(Debug)]
struct State {
    meter: Meter,
    source: Source,
    calls: std::collections::HashMap<u64, Call>,
    tokens: [u64; 2],
    sent: [u64; 2],
    refused: [u64; 2],
    /// Tokens completed in each second.
    seconds: Vec<u64>,
}

impl Server {
    fn new(case: &Case, source: Source) -> Self {
        let state = State {
            meter: Meter::new(case.rule),
            source,
            calls: std::collections::HashMap::new(),
            tokens: [0; 2],
            sent: [0; 2],
            refused: [0; 2],
            seconds: Vec::new(),
        };
        Self {
            state: Mutex::new(state),
            started: tokio::time::Instant::now(),
            into_minute: Duration::from_millis(into_minute()),
            limit: case.limit,
            headers: case.headers,
            number: AtomicU64::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        Instant::ORIGIN + self.into_minute + self.started.elapsed()
    }

    /// Which part of the run it is: the first minute, or what comes after it.
    fn part(&self) -> usize {
        usize::from(self.started.elapsed() >= MINUTE)
    }

    /// The next call, with a text that is about as long as its input.
    fn next(&self) -> (u64, Chat) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        let call = state.source.draw();
        state.calls.insert(number, call);
        drop(state);
        let words = usize::try_from(call.input).unwrap_or(usize::MAX);
        let chat = Chat::new("of-another-host")
            .user("word ".repeat(words))
            .field("max_completion_tokens", call.class.cap())
            .field("number", number);
        (number, chat)
    }

    fn forget(&self, number: u64) {
        self.state().calls.remove(&number);
    }

    fn found(&self, learned: Option<(CountedAt, u64)>, case: &Case) -> Found {
        let state = self.state();
        let learned = learned.map(|(counted_at, after)| {
            let from = usize::try_from(after + 2 * MINUTE.as_secs()).unwrap_or(usize::MAX);
            let rest = state.seconds.get(from..).unwrap_or_default();
            let used = share(rest.iter().sum(), self.limit, rest.len());
            Learned { counted_at, after, used: Some(used).filter(|_| rest.len() >= 60) }
        });
        Found {
            limit: self.limit,
            windows: case.windows,
            tokens: state.tokens,
            sent: state.sent,
            refused: state.refused,
            learned,
        }
    }
}

#[async_trait]
impl Transport for Server {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let asked: serde_json::Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let number = asked["number"].as_u64().unwrap_or_default();
        let Some(call) = self.state().calls.get(&number).copied() else {
            return Ok(Response::new(Body::empty()));
        };
        let part = self.part();
        tokio::time::sleep(Duration::from_nanos(call.there)).await;
        let total = call.input + call.output;
        let ask = Ask::new(total).input(call.input).most(call.input + call.class.cap());
        let (arrived, remaining) = {
            let (now, mut state) = (self.now(), self.state());
            state.sent[part] += 1;
            let arrived = state.meter.arrive(ask, now);
            state.refused[part] += u64::from(arrived.is_err());
            (arrived, state.meter.remaining(now))
        };
        let answer = Response::builder();
        let answer = if self.headers {
            answer
                .header("x-ratelimit-limit-tokens", self.limit)
                .header("x-ratelimit-remaining-tokens", remaining)
        } else {
            answer
        };
        let Ok(charged) = arrived else {
            tokio::time::sleep(Duration::from_nanos(call.back)).await;
            let body = Bytes::from_static(
                br#"{"error": {"message": "Rate limit reached", "type": "tokens"}}"#,
            );
            return Ok(answer.status(429).body(Body::from(body)).expect("legal"));
        };
        tokio::time::sleep(Duration::from_nanos(call.latency)).await;
        {
            let (now, part, mut state) = (self.now(), self.part(), self.state());
            state.meter.complete(charged, now);
            state.tokens[part] += total;
            let second = usize::try_from(self.started.elapsed().as_secs()).unwrap_or(usize::MAX);
            if state.seconds.len() <= second {
                state.seconds.resize(second + 1, 0);
            }
            state.seconds[second] += total;
        }
        tokio::time::sleep(Duration::from_nanos(call.back)).await;
        let body = format!(
            r#"{{"choices": [], "usage": {{"prompt_tokens": {}, "total_tokens": {total}}}}}"#,
            call.input
        );
        Ok(answer.body(Body::from(Bytes::from(body))).expect("legal"))
    }
}

/// Milliseconds of the present minute of the clock that are over.
fn into_minute() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() % 60 * 1_000 + u64::from(since.subsec_millis()))
}

/// The part of a limit a minute that so many tokens are in so many seconds.
#[expect(clippy::cast_precision_loss, reason = "tokens and seconds here stay below 2^53")]
fn share(tokens: u64, limit: u64, seconds: usize) -> f64 {
    60.0 * tokens as f64 / (limit as f64 * seconds.max(1) as f64)
}

impl Found {
    #[expect(clippy::cast_precision_loss, reason = "tokens and calls here stay below 2^53")]
    fn used(&self, part: usize) -> f64 {
        let windows = if part == 0 { 1 } else { self.windows };
        self.tokens[part] as f64 / (self.limit * windows) as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "tokens and calls here stay below 2^53")]
    fn refused(&self, part: usize) -> f64 {
        10_000.0 * self.refused[part] as f64 / self.sent[part].max(1) as f64
    }

    fn line(&self, title: &str) -> String {
        let learned = self.learned.map_or_else(
            || "-".to_owned(),
            |Learned { counted_at, after, used }| {
                let used = used.map_or_else(|| "-".to_owned(), |used| format!("{used:.3}"));
                format!("{counted_at:?} after {after} s, then {used}")
            },
        );
        format!(
            "{title:44} {:6.3} {:6.3} {:9.1} {:9.1}  {learned}",
            self.used(0),
            self.used(1),
            self.refused(0),
            self.refused(1)
        )
    }

    /// The targets are those of the project's goals for unknown servers; calls that outlast the window are judged
    /// from two windows after it was learned when they count.
    #[expect(clippy::cast_precision_loss, reason = "a run is not as long")]
    fn rows(&self, title: &str, shape: &str, class: Class) -> Vec<Row> {
        let row = |what: &str, value, unit| Row::new(format!("{title}/{what}"), value, unit);
        let mut used = row("used_after", self.used(1), "share");
        let mut refused = row("refused_after", self.refused(1), "per 10,000");
        let is_small = shape.starts_with("bucket L/60");
        match class {
            Class::Chat if !is_small => used.at_least(0.90),
            Class::Short if !is_small => used.at_least(0.95),
            _ => {}
        }
        if !is_small {
            refused.at_most(20.0);
        }
        let mut rows = vec![
            row("used_first", self.used(0), "share"),
            used,
            row("refused_first", self.refused(0), "per 10,000"),
            refused,
        ];
        let counts_at_the_end = shape.ends_with("completion") && title.ends_with("headers");
        if class == Class::Reasoning && counts_at_the_end && !is_small {
            let then = self.learned.and_then(|learned| learned.used);
            let mut then = row("used_learned", then.unwrap_or(f64::NAN), "share");
            then.at_least(0.85);
            rows.push(then);
        }
        if let Some(learned) = self.learned {
            rows.push(row("learned_after", learned.after as f64, "s"));
        }
        rows
    }
}
