//! The server without its socket, under paused time: bodies, headers, counts, faults.
#![cfg(feature = "http")]

use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use paceline_sim::http::{Fault, Grok, Latency, OutputLength, RateHeaders, ServerOptions};
use paceline_sim::rules::Limits;
use serde_json::{Value, json};

mod sentencepiece;
mod shapes;
mod socket;
mod streams;

fn instant() -> ServerOptions {
    ServerOptions::new().latency(Latency::instant())
}

fn start(options: ServerOptions) -> Grok {
    Grok::new(options).expect("the tokenizer that ships")
}

fn grok(limits: Limits) -> Grok {
    start(instant().limits(limits))
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

async fn chat_with(grok: &Grok, model: &str, text: &str) -> Response<Bytes> {
    let messages = json!([{ "role": "user", "content": text }]);
    post(grok, "/v1/chat/completions", json!({ "model": model, "messages": messages })).await
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

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_on_the_way_in_is_counted_all_the_same() {
    let way = Duration::from_secs(1)..=Duration::from_secs(1);
    let grok = start(ServerOptions::new().latency(Latency::instant().jitter(way)));
    let gone = tokio::time::timeout(Duration::from_millis(500), chat(&grok, "x")).await;
    assert!(gone.is_err());
    assert_eq!(grok.stats().arrived, 0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((grok.stats().arrived, grok.stats().ok), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn concurrent_calls_get_ids_and_texts_of_their_own() {
    let latency = Latency::default();
    let grok = start(ServerOptions::new().limits(Limits::new()).latency(latency));
    let mut calls = tokio::task::JoinSet::new();
    for row in 0..300 {
        let grok = grok.clone();
        calls.spawn(async move { (row, chat(&grok, &format!("Is row {row} mine?")).await) });
    }
    let (mut ids, mut requests, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    for (row, answer) in calls.join_all().await {
        let body = body(&answer);
        let text = body["choices"][0]["message"]["content"].as_str().expect("text").to_owned();
        let long = body["usage"]["completion_tokens"].as_u64() > Some(40);
        assert!(!long || text.contains(&format!("Is row {row} mine?")), "{text}");
        texts.push(text);
        ids.push(body["id"].to_string());
        requests.push(answer.headers()["x-request-id"].clone());
    }
    let distinct = |mut all: Vec<String>| {
        all.sort();
        all.dedup();
        all.len()
    };
    assert_eq!([distinct(ids), distinct(texts)], [300, 300]);
    let requests = requests.iter().map(|id| id.to_str().expect("ASCII").to_owned()).collect();
    assert_eq!(distinct(requests), 300);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_and_order_give_the_same_run_and_the_same_prompt_no_same_length() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let grok = start(ServerOptions::new().seed(seed));
        let begin = tokio::time::Instant::now();
        let mut run = Vec::new();
        for _ in 0..5 {
            let answer = body(&chat(&grok, "The same prompt").await);
            run.push((answer["usage"]["total_tokens"].as_u64(), begin.elapsed()));
        }
        runs.push(run);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    assert!(runs[0].iter().any(|(tokens, _)| *tokens != runs[0][0].0));
}

#[tokio::test(start_paused = true)]
async fn settings_of_time_and_length_hold_to_the_millisecond() {
    let second = Duration::from_secs(1);
    let latency = Latency::default()
        .first_token(second..=second)
        .tokens_per_second(50..=50)
        .jitter(second / 10..=second / 10);
    let grok = start(ServerOptions::new().latency(latency).output(OutputLength::fixed(100)));
    let begin = tokio::time::Instant::now();
    let answer = body(&chat_with(&grok, "grok-2", "x").await);
    // There 0.1 s, the first token 1 s, 100 tokens 2 s, back 0.1 s; o200k has 1 token for x.
    assert_eq!(begin.elapsed(), Duration::from_millis(3_200));
    assert_eq!(answer["usage"]["completion_tokens"], 100);
    assert_eq!(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 0);
    assert_eq!(answer["usage"]["total_tokens"], 1 + 6 + 100);
}

#[tokio::test(start_paused = true)]
async fn further_messages_count_four_more_and_a_cap_cuts_the_visible_part() {
    let grok = start(instant().output(OutputLength::fixed(100)));
    let messages = json!([
        { "role": "system", "content": "x" },
        { "role": "user", "content": [{ "type": "text", "text": "x" }] },
        { "role": "assistant", "content": "x" },
    ]);
    let asked = json!({ "model": "grok-2-1212", "messages": messages, "max_tokens": 9 });
    let answer = body(&post(&grok, "/v1/chat/completions", asked).await);
    assert_eq!(answer["usage"]["prompt_tokens"], 3 + 6 + 2 * 4);
    assert_eq!(answer["usage"]["completion_tokens"], 9);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[tokio::test(start_paused = true)]
async fn limits_are_per_model_and_aliases_share_them() {
    let grok = grok(Limits::new().rps(1));
    assert_eq!(chat_with(&grok, "grok-4.3", "x").await.status(), StatusCode::OK);
    assert_eq!(chat_with(&grok, "grok-4.5", "x").await.status(), StatusCode::OK);
    let alias = chat_with(&grok, "grok-4.3-latest", "x").await;
    assert_eq!(alias.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_limited_counts_down_from_the_largest_number() {
    let grok = start(instant().output(OutputLength::fixed(100)));
    let first = chat_with(&grok, "grok-2", "x").await;
    assert_eq!(header(&first, "x-ratelimit-limit-requests"), Some(900));
    assert_eq!(header(&first, "x-ratelimit-limit-tokens"), Some(u64::MAX));
    assert_eq!(header(&first, "x-ratelimit-remaining-tokens"), Some(u64::MAX));
    let second = chat_with(&grok, "grok-2", "x").await;
    assert_eq!(header(&second, "x-ratelimit-remaining-tokens"), Some(u64::MAX - 107));
}

#[tokio::test(start_paused = true)]
async fn counters_are_pristine_now_and_then_and_headers_can_be_absent() {
    let limits = Limits::new().rps(1_000).rpm(1_000).tpm(10_000_000);
    let left = |answer: &Response<Bytes>| header(answer, "x-ratelimit-remaining-requests");
    let usual = grok(limits);
    for call in 1..=40 {
        let expected = if call % 20 == 0 { 1_000 } else { 1_000 - call };
        assert_eq!(left(&chat(&usual, "x").await), Some(expected));
    }
    let never = start(instant().limits(limits).pristine_every(0));
    for call in 1..=40 {
        assert_eq!(left(&chat(&never, "x").await), Some(1_000 - call));
    }
    let absent = start(instant().rate_headers(RateHeaders::Absent));
    let answer = chat(&absent, "x").await;
    assert!(!answer.headers().keys().any(|name| name.as_str().starts_with("x-ratelimit")));
    assert!(answer.headers().contains_key("x-request-id"));
}

#[tokio::test(start_paused = true)]
async fn limits_fall_in_mid_run_and_zero_is_no_entitlement() {
    let grok = grok(Limits::new().rps(1_000).rpm(1_000));
    for _ in 0..5 {
        assert_eq!(chat(&grok, "x").await.status(), StatusCode::OK);
    }
    grok.set_limits(Limits::new().rps(1_000).rpm(5));
    let refused = body(&chat(&grok, "x").await)["error"].as_str().expect("text").to_owned();
    assert!(refused.contains("Requests per Minute (actual/limit): 6/5."), "{refused}");
    grok.set_limits(Limits::new().rpm(0));
    let refused = body(&chat(&grok, "x").await)["error"].as_str().expect("text").to_owned();
    assert!(refused.contains("Requests per Minute (actual/limit): 0/0."), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_sent_where_it_is_asked_for_in_seconds_rounded_up() {
    let after = Duration::from_millis(1_200);
    let grok = start(instant().limits(Limits::new().rps(1)).retry_after(after));
    assert!(!chat(&grok, "x").await.headers().contains_key(RETRY_AFTER));
    let refused = chat(&grok, "x").await;
    assert_eq!(
        (refused.status(), header(&refused, "retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, Some(2))
    );
}

#[tokio::test(start_paused = true)]
async fn faults_are_met_in_the_order_in_which_they_were_ordered() {
    let grok = grok(Limits::new());
    let busy = Fault::answer(StatusCode::TOO_MANY_REQUESTS, "<html>busy</html>");
    grok.inject(2, busy.header(RETRY_AFTER, HeaderValue::from_static("3")));
    grok.drop_next(1);
    grok.inject(0, Fault::drop_connection());
    grok.inject(1, Fault::lose_answer());
    for _ in 0..2 {
        let answer = chat(&grok, "x").await;
        assert_eq!(header(&answer, "retry-after"), Some(3));
        assert_eq!(answer.headers()["content-type"], "text/html");
    }
    let ask = || {
        let asked = json!({ "model": "grok-4.3", "messages": [{ "content": "x" }] });
        let request = Request::post("/v1/chat/completions").header("authorization", "Bearer k");
        grok.handle(request.body(Bytes::from(asked.to_string())).expect("legal"))
    };
    assert!(ask().await.is_none());
    assert_eq!((grok.stats().arrived, grok.stats().ok), (0, 0), "nothing was judged so far");
    assert!(ask().await.is_none());
    assert_eq!((grok.stats().arrived, grok.stats().ok), (1, 1), "lost after it was charged");
    assert!(grok.stats().output_tokens > 0);
    assert_eq!(ask().await.expect("no fault is left").status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn keys_are_checked_where_they_are_named_and_never_shown() {
    let options = instant().api_key("sesame");
    assert!(!format!("{options:?}").contains("sesame"));
    let grok = start(options);
    let refused = chat(&grok, "x").await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(!refused.headers().contains_key("x-ratelimit-limit-requests"));
    let request = Request::post("/v1/process").header("authorization", "bearer sesame");
    let request = request.body(Bytes::from(r#"{"text": "x"}"#)).expect("legal");
    assert_eq!(grok.handle(request).await.expect("an answer").status(), StatusCode::OK);
    assert_eq!(grok.stats().arrived, 1);
}

#[tokio::test(start_paused = true)]
async fn bodies_beyond_a_bound_are_refused_and_not_counted() {
    let grok = grok(Limits::new());
    let asked = json!({ "model": "grok-4.3", "stream": true, "text": "x" });
    let refused = post(&grok, "/v1/process", asked).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(body(&refused)["error"].as_str().is_some_and(|text| text.contains("stream")));
    // 131,072 tokens fit into grok-2, and 6 of them are hidden; a word is a token.
    let long = chat_with(&grok, "grok-2", &" word".repeat(131_067)).await;
    let text = body(&long)["error"].as_str().expect("text").to_owned();
    assert!(text.contains("is 131072 but the request contains 131073 tokens"), "{text}");
    assert_eq!(grok.stats().arrived, 0);
    let fits = chat_with(&grok, "grok-2", &" word".repeat(131_066)).await;
    assert_eq!(body(&fits)["usage"]["prompt_tokens"], 131_072);
    let request = Request::post("/v1/process").header("authorization", "Bearer k");
    let huge = request.body(Bytes::from(vec![b' '; (32 << 20) + 1])).expect("legal");
    let refused = grok.handle(huge).await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn models_are_listed_with_prices_and_found_by_alias() {
    let grok = grok(Limits::new());
    let get = |path: &'static str| Request::get(path).body(Bytes::new()).expect("legal");
    let models = body(&grok.handle(get("/v1/models")).await.expect("an answer"));
    let listed: Vec<&str> = models["data"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|m| m["id"].as_str())
        .collect();
    assert!(listed.contains(&"grok-4.3") && listed.contains(&"grok-2-1212"), "{listed:?}");
    let one = body(&grok.handle(get("/v1/models/grok-4.3-latest")).await.expect("an answer"));
    assert_eq!((&one["id"], &one["prompt_text_token_price"]), (&json!("grok-4.3"), &json!(12_500)));
    assert_eq!(one["completion_text_token_price_long_context"], 50_000);
    let unknown = grok.handle(get("/v1/models/grok-99")).await.expect("an answer");
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    let stats = body(&grok.handle(get("/stats")).await.expect("an answer"));
    assert_eq!(stats["by_limit"], json!({ "rps": 0, "rpm": 0, "tpm": 0 }));
    assert_eq!(stats["arrived"], 0, "only API calls are counted");
}
