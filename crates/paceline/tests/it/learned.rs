//! A server whose rule nobody knows: what is learned of it, what is made of that, and what is kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use paceline::core::{Dimension, Instant};
use paceline::limiter::{ChargeRule, Profile};
use paceline::transport::mock::{Answer, MockTransport};
use paceline::transport::{ApiKey, Body, Transport, TransportError, async_trait};
use paceline::{Chat, Client, ClientBuilder, CountedAt};
use paceline_sim::engine::{Ask, Meter, Rule, Shape};

use crate::{GOOD, chat, mocked};

const LIMIT: u64 = 60_000;

/// A server of one rule for tokens, on tokio's clock, behind a transport.
#[derive(Debug)]
struct OneRule {
    meter: Mutex<Meter>,
    started: tokio::time::Instant,
}

impl OneRule {
    fn new(rule: Rule) -> Self {
        let started = tokio::time::Instant::now();
        Self { meter: Mutex::new(Meter::new(rule)), started }
    }

    fn now(&self) -> Instant {
        Instant::ORIGIN + self.started.elapsed()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Meter, Instant) -> T) -> T {
        let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut meter, self.now())
    }
}

#[async_trait]
impl Transport for OneRule {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let length = request.body().len() as u64;
        let total = 300 + length * 7 % 900;
        let ask = Ask::new(total).input(100);
        tokio::time::sleep(Duration::from_millis(10)).await;
        let arrived = self.with(|meter, now| (meter.arrive(ask, now), meter.remaining(now)));
        let (Ok(call), remaining) = arrived else {
            let refused = Response::builder().status(429);
            return Ok(refused.body(Body::empty()).expect("legal"));
        };
        // The head comes with the body here, so the call is over a moment after it was told.
        tokio::time::sleep(Duration::from_secs(3 + length % 11)).await;
        self.with(|meter, now| meter.complete(call, now));
        let body = format!(
            r#"{{"choices": [], "usage": {{"prompt_tokens": 100, "total_tokens": {total}}}}}"#
        );
        Ok(Response::builder()
            .header("x-ratelimit-limit-tokens", LIMIT)
            .header("x-ratelimit-remaining-tokens", remaining)
            .body(Body::from(Bytes::from(body)))
            .expect("legal"))
    }
}

fn elsewhere() -> ClientBuilder {
    Client::builder()
        .base_url("https://example.com/v1")
        .api_key(ApiKey::new("not-a-real-one").expect("legal"))
}

fn rule_of_tokens(client: &Client) -> Option<ChargeRule> {
    let limits = client.limits().expect("our own limiter").limits;
    limits.iter().find(|limit| limit.dimension == Dimension::TotalTokens).map(|limit| limit.rule)
}

/// So many calls, 24 at a time, of different lengths.
async fn call(client: &Client, calls: usize) {
    let tasks: Vec<_> = (0..24)
        .map(|caller| {
            let client = client.clone();
            tokio::spawn(async move {
                for number in 0..calls / 24 {
                    let text = "x".repeat(1 + (caller * 31 + number * 17) % 200);
                    client.chat(&Chat::new("other").user(text)).await.ok();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_counts_when_calls_are_over_is_found_out_and_kept_by_flow() {
    let rule = Rule::new(
        LIMIT,
        Duration::from_secs(60),
        Shape::Sliding,
        paceline_sim::engine::Charge::Completion,
    );
    let server = Arc::new(OneRule::new(rule.expect("legal")));
    let client = elsewhere().transport(Arc::clone(&server)).build().expect("legal settings");
    call(&client, 24).await;
    assert_eq!(rule_of_tokens(&client), Some(ChargeRule::Completion), "nobody knows yet");
    call(&client, 1_200).await;
    let learned = client.learned();
    let found = learned[&"other".into()];
    assert_eq!(found.counted_at, Some(CountedAt::Completion), "{found:?}");
    assert_eq!(rule_of_tokens(&client), Some(ChargeRule::Flow));

    // A later client begins with it, through whatever file it was kept in.
    let kept = serde_json::to_string(&learned).expect("plain data");
    let kept = serde_json::from_str(&kept).expect("the same");
    let later = elsewhere().learned(kept).transport(server).build().expect("legal settings");
    call(&later, 24).await;
    assert_eq!(rule_of_tokens(&later), Some(ChargeRule::Flow), "from its first answer on");
    assert_eq!(later.learned()[&"other".into()].counted_at, Some(CountedAt::Completion));
}

#[tokio::test(start_paused = true)]
async fn how_much_can_be_used_at_once_is_learned_where_it_is_less_than_the_limit() {
    let charge = paceline_sim::engine::Charge::Arrival;
    for (shape, least) in [(Shape::Bucket { capacity: 6_000 }, Some(4_000)), (Shape::Sliding, None)]
    {
        let rule = Rule::new(LIMIT, Duration::from_secs(60), shape, charge).expect("legal");
        let server = Arc::new(OneRule::new(rule));
        let client = elsewhere().transport(Arc::clone(&server)).build().expect("legal settings");
        call(&client, 24).await;
        assert_eq!(client.learned()[&"other".into()].capacity, None, "not clear yet");
        call(&client, 600).await;
        let capacity = client.learned()[&"other".into()].capacity;
        assert_eq!(capacity.is_some(), least.is_some(), "{shape:?}: {capacity:?}");
        let fits = |capacity| capacity >= least.unwrap_or(0) && capacity <= 6_000;
        assert!(capacity.is_none_or(fits), "{shape:?}: {capacity:?}");
        // A later client begins with it.
        let later = elsewhere().learned(client.learned()).transport(server);
        let later = later.build().expect("legal settings");
        call(&later, 24).await;
        assert_eq!(later.learned()[&"other".into()].capacity, capacity);
    }
}

#[tokio::test(start_paused = true)]
async fn a_profile_that_was_named_is_kept_whatever_is_learned() {
    let rule = Rule::new(
        LIMIT,
        Duration::from_secs(60),
        Shape::Sliding,
        paceline_sim::engine::Charge::Completion,
    );
    let server = OneRule::new(rule.expect("legal"));
    let client =
        elsewhere().profile(Profile::Smooth).transport(server).build().expect("legal settings");
    call(&client, 1_200).await;
    assert_eq!(client.learned()[&"other".into()].counted_at, Some(CountedAt::Completion));
    assert_eq!(rule_of_tokens(&client), Some(ChargeRule::Completion));
}

#[tokio::test(start_paused = true)]
async fn what_the_server_says_is_left_tightens_and_a_fresh_counter_says_nothing() {
    let told = |remaining: &str| {
        Answer::new(200, GOOD)
            .header("x-ratelimit-limit-requests", "1800")
            .header("x-ratelimit-remaining-requests", remaining)
    };
    let transport = MockTransport::new().then(told("1800")).then(told("200")).then(told("1800"));
    let client = mocked(&transport).build().expect("legal settings");
    let used = |client: &Client| {
        let limits = client.limits().expect("our own limiter").limits;
        let minute = Some(Duration::from_secs(60));
        let of = |limit: &&paceline::limiter::LimitSnapshot| {
            limit.dimension == Dimension::Requests && limit.quota.window() == minute
        };
        limits.iter().find(of).map(|limit| limit.used)
    };
    let mut seen = Vec::new();
    for _ in 0..3 {
        client.chat(&chat()).await.expect("an answer");
        seen.push(used(&client));
    }
    assert_eq!(seen, [Some(1), Some(1_600), Some(1_601)]);
}

#[tokio::test(start_paused = true)]
async fn a_small_bucket_of_an_unknown_server_is_not_taken_for_one_that_is_nearly_empty() {
    let told = |remaining: &str| {
        Answer::new(200, GOOD)
            .header("x-ratelimit-limit-requests", "6000")
            .header("x-ratelimit-remaining-requests", remaining)
    };
    let used = |client: &Client| {
        let limits = client.limits().expect("our own limiter").limits;
        let minute = Some(Duration::from_secs(60));
        let of = |limit: &&paceline::limiter::LimitSnapshot| {
            limit.dimension == Dimension::Requests && limit.quota.window() == minute
        };
        limits.iter().find(of).map(|limit| limit.used)
    };
    // It holds a hundred at most, and then has forty of them left.
    let transport = MockTransport::new().then(told("100")).then(told("40"));
    let client = elsewhere().transport(transport).build().expect("legal settings");
    let mut seen = Vec::new();
    for _ in 0..2 {
        client.chat(&Chat::new("other").user("x")).await.expect("an answer");
        seen.push(used(&client));
    }
    // The limit was not known before the first answer; the second one says that sixty are gone.
    assert_eq!(seen, [Some(0), Some(60)]);
}
