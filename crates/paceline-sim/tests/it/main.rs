//! The server without its socket, under paused time: bodies, headers, counts, faults.
#![cfg(feature = "http")]

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use paceline_sim::http::{Grok, Latency, Server, ServerOptions, StartError};
use paceline_sim::rules::Limits;
use serde_json::{Value, json};

fn grok(limits: Limits) -> Grok {
    let options = ServerOptions::new().limits(limits).latency(Latency::instant());
    Grok::new(options).expect("the tokenizer that ships")
}

async fn post(grok: &Grok, path: &str, body: Value) -> Response<Bytes> {
    let request = Request::post(path).header("authorization", "Bearer k");
    let request = request.body(Bytes::from(body.to_string())).expect("legal");
    grok.handle(request).await.expect("an answer")
}

async fn chat(grok: &Grok, text: &str) -> Response<Bytes> {
    let messages = json!([{ "role": "user", "content": text }]);
    post(grok, "/v1/chat/completions", json!({ "model": "grok-4.3", "messages": messages })).await
}

fn body(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).expect("JSON")
}

fn header(answer: &Response<Bytes>, name: &str) -> Option<u64> {
    answer.headers().get(name)?.to_str().ok()?.parse().ok()
}

#[tokio::test(start_paused = true)]
async fn usage_adds_up_and_the_hidden_text_is_counted() {
    let grok = grok(Limits::new().rpm(600).tpm(1_000_000));
    let first = chat(&grok, "Count from 1 to 3").await;
    let usage = body(&first)["usage"].clone();
    let number = |name: &str| usage[name].as_u64().expect("a number");
    // o200k has 7 tokens for it; 130 are hidden.
    assert_eq!(number("prompt_tokens"), 137);
    let reasoning =
        usage["completion_tokens_details"]["reasoning_tokens"].as_u64().expect("a number");
    assert!(reasoning > 0);
    assert_eq!(number("total_tokens"), 137 + number("completion_tokens") + reasoning);
    let output = number("total_tokens") - 137;
    assert_eq!(number("cost_in_usd_ticks"), 137 * 12_500 + output * 25_000);
    // The request is in its own counters, its tokens are not.
    assert_eq!(header(&first, "x-ratelimit-remaining-requests"), Some(599));
    assert_eq!(header(&first, "x-ratelimit-remaining-tokens"), Some(1_000_000));
    let second = chat(&grok, "Again").await;
    let left = 1_000_000 - number("total_tokens");
    assert_eq!(header(&second, "x-ratelimit-remaining-tokens"), Some(left));
    assert!(second.headers().contains_key("x-request-id"));
}

#[tokio::test(start_paused = true)]
async fn refusals_name_team_model_and_both_counts() {
    let grok = grok(Limits::new().rps(2).rpm(3).tpm(100_000));
    for _ in 0..2 {
        assert_eq!(chat(&grok, "x").await.status(), StatusCode::OK);
    }
    let third = chat(&grok, "x").await;
    assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(!third.headers().contains_key("retry-after"));
    assert!(!third.headers().contains_key("x-ratelimit-limit-requests"));
    assert_eq!(body(&third)["code"], "resource-exhausted");
    let text = body(&third)["error"].as_str().expect("text").to_owned();
    assert!(text.contains("\u{2014} Requests per Second (actual/limit): 3/2."), "{text}");
    let fourth = body(&chat(&grok, "x").await)["error"].as_str().expect("text").to_owned();
    assert!(
        fourth.contains("(actual/limit): 4/2, Requests per Minute (actual/limit): 4/3."),
        "{fourth}"
    );
    let stats = grok.stats();
    assert_eq!((stats.arrived, stats.ok, stats.status_429), (4, 2, 2));
    assert_eq!((stats.by_limit.rps, stats.by_limit.rpm, stats.by_limit.tpm), (2, 1, 0));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(chat(&grok, "x").await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn tokens_refuse_by_what_has_been_completed() {
    let grok = grok(Limits::new().rps(99).rpm(999).tpm(300));
    assert_eq!(chat(&grok, "x").await.status(), StatusCode::OK);
    let mut refused = chat(&grok, "y").await;
    while refused.status() == StatusCode::OK {
        refused = chat(&grok, "z").await;
    }
    let text = body(&refused)["error"].as_str().expect("text").to_owned();
    assert!(text.starts_with("Too many tokens") && text.contains("Tokens per Minute"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_is_charged_all_the_same() {
    let grok = Grok::new(ServerOptions::new()).expect("the tokenizer that ships");
    let gone = tokio::time::timeout(Duration::from_millis(200), chat(&grok, "x")).await;
    assert!(gone.is_err());
    assert_eq!(grok.stats().ok, 0);
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(grok.stats().ok, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_told_as_the_real_one_does() {
    let grok = grok(Limits::new());
    let unknown = json!({ "model": "grok-99", "messages": [{ "role": "user", "content": "x" }] });
    let unknown = post(&grok, "/v1/chat/completions", unknown).await;
    assert_eq!(
        (unknown.status(), &body(&unknown)["code"]),
        (StatusCode::NOT_FOUND, &json!("not-found"))
    );
    let keyless = Request::post("/v1/chat/completions").body(Bytes::new()).expect("legal");
    let keyless = grok.handle(keyless).await.expect("an answer");
    assert_eq!(keyless.status(), StatusCode::BAD_REQUEST);
    assert!(
        body(&keyless)["error"].as_str().is_some_and(|text| text.contains("Incorrect API key"))
    );
    let broken = post(&grok, "/v1/chat/completions", json!("no object")).await;
    assert_eq!(broken.status(), StatusCode::BAD_REQUEST);
    grok.fail_next(1, StatusCode::SERVICE_UNAVAILABLE, "{}");
    assert_eq!(chat(&grok, "x").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(chat(&grok, "x").await.status(), StatusCode::OK);
    assert_eq!(grok.stats().arrived, 1, "what was never judged is not counted");
}

#[tokio::test(start_paused = true)]
async fn process_tells_its_usage_but_for_one_in_five() {
    let grok = grok(Limits::new());
    let mut told = 0;
    for number in 0..10 {
        let answer = post(&grok, "/v1/process", json!({ "text": format!("Grok {number}") })).await;
        let usage = body(&answer).get("token_usage").cloned();
        if let Some(usage) = usage {
            told += 1;
            let sum = usage["input_tokens"].as_u64().zip(usage["output_tokens"].as_u64());
            assert_eq!(sum.map(|(a, b)| a + b), usage["total_tokens"].as_u64());
        }
    }
    assert_eq!(told, 8);
}

#[tokio::test]
async fn the_socket_serves_models_and_stats_and_a_taken_port_is_named() {
    let server = Server::start(ServerOptions::new()).await.expect("a free port");
    assert!(server.addr().ip().is_loopback());
    let taken = Server::start(ServerOptions::new().port(server.addr().port())).await;
    assert!(matches!(taken, Err(StartError::PortInUse { port }) if port == server.addr().port()));
    let grok = grok(Limits::new());
    let get = |path: &'static str| Request::get(path).body(Bytes::new()).expect("legal");
    let models = grok.handle(get("/v1/models")).await.expect("an answer");
    let listed = body(&models)["data"].as_array().expect("a list").len();
    assert!(listed >= 8);
    let one = grok.handle(get("/v1/models/grok-4.3-latest")).await.expect("an answer");
    assert_eq!(body(&one)["prompt_text_token_price"], 12_500);
    let stats = body(&grok.handle(get("/stats")).await.expect("an answer"));
    assert_eq!(stats["by_limit"], json!({ "rps": 0, "rpm": 0, "tpm": 0 }));
    server.shutdown().await;
}
