//! The client against a simulated server, and against scripted answers under paused time.

mod account;
mod believed;
#[cfg(feature = "blocking")]
mod blocking;
mod budgets;
mod cancelled;
mod events;
mod faults;
mod key;
mod learned;
mod money;
mod outage;
mod shape;
mod simulated_streams;
mod streams;
#[cfg(feature = "async-openai")]
mod tower;

use std::num::NonZeroU64;
use std::time::Duration;

use paceline::budget::SpendingCap;
use paceline::core::{Dimension, LimitKey, Money};
use paceline::transport::mock::MockTransport;
use paceline::transport::{ApiKey, Reach, TransportErrorKind};
use paceline::{Chat, Client, ClientBuilder, ErrorKind, RetryPolicy};
use paceline_sim::http::{Latency, Server, ServerOptions};
use paceline_sim::rules::Limits;
use tokio::task::JoinSet;

const GOOD: &str = r#"{"choices": [{"message": {"role": "assistant", "content": "Hi"}}],
    "usage": {"prompt_tokens": 131, "completion_tokens": 9, "total_tokens": 140}}"#;
const RATE: &str = r#"{"code": "resource-exhausted", "error": "Too many requests for team t and model grok-4.3. Requests per Minute (actual/limit): 101/60."}"#;

fn mocked(transport: &MockTransport) -> ClientBuilder {
    Client::builder().base_url("http://127.0.0.1:1/v1").transport(transport.clone())
}

fn chat() -> Chat {
    Chat::new("grok-4.3").user("Hello?")
}

fn limit(client: &Client, dimension: Dimension, seconds: u64) -> Option<u64> {
    let limits = client.limits().expect("our own limiter").limits;
    let window = Some(Duration::from_secs(seconds));
    let found = limits.iter().find(|l| l.dimension == dimension && l.quota.window() == window);
    found.map(|limit| limit.quota.limit().get())
}

fn held(client: &Client) -> u64 {
    client.limits().expect("our own limiter").limits.iter().map(|limit| limit.held).sum()
}

#[tokio::test]
async fn two_hundred_calls_at_once_meet_no_429_on_a_real_socket() {
    let limits = Limits::new().rps(100).rpm(10_000).tpm(100_000_000);
    let options = ServerOptions::new().limits(limits).latency(Latency::instant());
    let server = Server::start(options).await.expect("a free port");
    let client = Client::builder()
        .base_url(server.base_url())
        .api_key(ApiKey::new("simulated").expect("legal"))
        .requests_per_second(NonZeroU64::new(100).expect("not zero"))
        .build()
        .expect("legal settings");
    let mut calls = JoinSet::new();
    for number in 0..200 {
        let client = client.clone();
        calls.spawn(
            async move { client.chat(&Chat::new("grok-4.3").user(format!("{number}"))).await },
        );
    }
    while let Some(reply) = calls.join_next().await {
        let reply = reply.expect("no panic").expect("an answer");
        assert!(reply.text().is_some() && reply.usage().is_some() && reply.cost().is_some());
    }
    let stats = server.stats();
    assert_eq!((stats.arrived, stats.ok, stats.status_429), (200, 200, 0));
    assert_eq!(held(&client), 0, "everything is settled");
}

#[tokio::test(start_paused = true)]
async fn a_rate_refusal_pauses_everybody_and_is_tried_again() {
    let transport = MockTransport::new()
        .answer(429, RATE)
        .always(paceline::transport::mock::Answer::new(200, GOOD));
    let client = mocked(&transport).build().expect("legal settings");
    let reply = client.chat(&chat()).await.expect("the second attempt");
    assert_eq!(reply.attempts(), 2);
    let sent = transport.sent();
    let gap = sent[1].at() - sent[0].at();
    // The server has counted 101 of 60: its minute is full, and so is ours now.
    assert!(gap >= Duration::from_secs(60) && gap <= Duration::from_secs(61), "{gap:?}");
    assert_eq!(limit(&client, Dimension::Requests, 60), Some(60), "the stated limit is adopted");
    assert_eq!(held(&client), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_a_floor_and_one_too_long_comes_back_at_once() {
    let answer = |after: &str| {
        paceline::transport::mock::Answer::new(429, RATE).header("retry-after", after)
    };
    let transport = MockTransport::new().then(answer("7")).answer(200, GOOD);
    let client = mocked(&transport).build().expect("legal settings");
    client.chat(&chat()).await.expect("the second attempt");
    let sent = transport.sent();
    assert!(sent[1].at() - sent[0].at() >= Duration::from_secs(7));

    let transport = MockTransport::new().then(answer("3600"));
    let client = mocked(&transport).build().expect("legal settings");
    let error = client.chat(&chat()).await.expect_err("too long a wait");
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::RateLimited, 1));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3_600)));
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_billed_comes_back_unless_it_may_be_billed_twice() {
    let transport = MockTransport::new().answer(500, "{}").answer(200, GOOD);
    let client = mocked(&transport).build().expect("legal settings");
    let error = client.chat(&chat()).await.expect_err("not tried again");
    assert_eq!(
        (error.kind(), error.status(), transport.calls()),
        (ErrorKind::MaybeCharged, Some(500), 1)
    );
    assert!(!held_or_used(&client, Dimension::TotalTokens).eq(&0), "it counts as spent");

    let transport = MockTransport::new()
        .fail(TransportErrorKind::Reset, Reach::MaybeSent)
        .answer(500, "{}")
        .answer(200, GOOD);
    let policy = RetryPolicy::default().may_bill_twice();
    let client = mocked(&transport).retry(policy).build().expect("legal settings");
    assert_eq!(client.chat(&chat()).await.expect("the third attempt").attempts(), 3);
}

fn held_or_used(client: &Client, dimension: Dimension) -> u64 {
    let limits = client.limits().expect("our own limiter").limits;
    limits.iter().filter(|l| l.dimension == dimension).map(|l| l.used + l.held).sum()
}

#[tokio::test(start_paused = true)]
async fn what_never_left_gives_everything_back_and_is_tried_again() {
    let transport =
        MockTransport::new().fail(TransportErrorKind::Connect, Reach::NotSent).answer(200, GOOD);
    let client = mocked(&transport).build().expect("legal settings");
    assert_eq!(client.chat(&chat()).await.expect("the second attempt").attempts(), 2);
    assert_eq!(held_or_used(&client, Dimension::TotalTokens), 140, "only the second counts");
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_remembered() {
    let spent = r#"{"error": "Your team t has either used all available credits or reached its monthly spending limit."}"#;
    let transport = MockTransport::new().answer(403, spent);
    let client = mocked(&transport).build().expect("legal settings");
    for _ in 0..3 {
        let error = client.chat(&chat()).await.expect_err("no money");
        assert_eq!(error.kind(), ErrorKind::NoCredits);
        assert!(error.ends_everything());
    }
    assert_eq!(transport.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_has_to_wait_holds_up_no_other() {
    let answer = |request: &paceline::transport::mock::SentRequest| {
        let is_slow = String::from_utf8_lossy(request.body()).contains("grok-4.3");
        let status = if is_slow { (429, RATE) } else { (200, GOOD) };
        paceline::transport::mock::Answer::new(status.0, status.1)
    };
    let client = mocked(&MockTransport::by(answer)).build().expect("legal settings");
    let mut slow = JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        slow.spawn(async move { client.chat(&chat()).await });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let asked = tokio::time::Instant::now();
    for _ in 0..10 {
        client.chat(&Chat::new("grok-4.7").user("x")).await.expect("an answer");
    }
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert!(slow.try_join_next().is_none(), "the others wait for their minute");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_counts_as_spent_once_it_was_sent() {
    let transport = MockTransport::new().answer(200, GOOD).delay(Duration::from_secs(60));
    let client = mocked(&transport).build().expect("legal settings");
    let chat = chat();
    let dropped = tokio::time::timeout(Duration::from_secs(1), client.chat(&chat)).await;
    assert!(dropped.is_err());
    assert_eq!(held(&client), 0, "nothing is held for ever");
    let reserved = held_or_used(&client, Dimension::TotalTokens);
    assert!(reserved > 140, "{reserved}: the upper amount is spent");
}

#[tokio::test(start_paused = true)]
async fn a_usage_that_is_missing_keeps_what_was_reserved() {
    let transport = MockTransport::new().answer(200, r#"{"choices": []}"#);
    let client = mocked(&transport).build().expect("legal settings");
    let reply = client.chat(&chat()).await.expect("an answer");
    assert_eq!((reply.usage(), reply.cost(), reply.text()), (None, None, None));
    assert!(held_or_used(&client, Dimension::TotalTokens) > 140);
}

#[tokio::test(start_paused = true)]
async fn a_spending_cap_refuses_what_it_can_not_pay() {
    let transport = MockTransport::new().always(paceline::transport::mock::Answer::new(200, GOOD));
    let cap = SpendingCap::new(Money::from_ticks(400_000_000), LimitKey::All).expect("above zero");
    let client = mocked(&transport).spending_cap(cap).build().expect("legal settings");
    let mut spent = Money::ZERO;
    let error = loop {
        match client.chat(&chat()).await {
            Ok(reply) => spent += reply.cost().expect("a known price"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::BudgetReached);
    assert!(spent > Money::ZERO && spent <= Money::from_ticks(400_000_000), "{spent}");
    let unknown = client.chat(&Chat::new("who-knows").user("x")).await.expect_err("no price");
    assert_eq!(unknown.kind(), ErrorKind::Settings);
}

#[tokio::test(start_paused = true)]
async fn a_reported_cost_of_nothing_or_of_an_absurd_sum_gives_way_to_the_price() {
    let answer = |ticks: &str| {
        format!(
            r#"{{"choices": [], "usage": {{"prompt_tokens": 100, "completion_tokens": 10,
            "total_tokens": 110, "cost_in_usd_ticks": {ticks}}}}}"#
        )
    };
    let listed = 100 * 12_500 + 10 * 25_000;
    for (ticks, cost) in [("7", 7), ("0", listed), ("-1", listed), ("9000000000000000000", listed)]
    {
        let transport = MockTransport::new().answer(200, answer(ticks));
        let client = mocked(&transport).build().expect("legal settings");
        let reply = client.chat(&chat()).await.expect("an answer");
        assert_eq!(reply.cost(), Some(Money::from_ticks(cost)), "{ticks}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_secret_and_no_address_is_in_any_error_or_debug() {
    let key = ApiKey::new("xai-secret-0123456789").expect("legal");
    let echo = r#"{"error": "Incorrect API key provided: xai-secret-0123456789"}"#;
    let transport = MockTransport::new().answer(400, echo);
    let client = mocked(&transport).api_key(key).build().expect("legal settings");
    let error = client.chat(&chat()).await.expect_err("a bad key");
    let shown = format!("{error} {error:?} {client:?} {:?}", transport.sent());
    assert!(!shown.contains("secret"), "{shown}");
    assert_eq!(error.kind(), ErrorKind::Key);
}

#[test]
fn a_real_host_needs_a_key_of_its_own_and_https() {
    let transport = MockTransport::new();
    let build = |url: &str| Client::builder().base_url(url).transport(transport.clone()).build();
    let error = build("http://api.x.ai/v1").expect_err("no TLS");
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(build("https://example.com/v1").is_ok(), "other hosts get no key from the environment");
    let share = Client::builder()
        .transport(transport.clone())
        .base_url("http://127.0.0.1:1")
        .quota_share(0.0);
    assert_eq!(share.build().expect_err("no share").kind(), ErrorKind::Settings);
}
