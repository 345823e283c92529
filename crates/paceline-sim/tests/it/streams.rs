//! Streams and `/v1/responses`: their events, their pace, what is charged, faults in the middle.
//!
//! The events are read here by hand: no parser of the other crates judges the server.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use paceline_sim::http::{Body, Fault, Grok, Latency, OutputLength, ServerOptions};
use paceline_sim::rules::Limits;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{body, header, instant, post, start};

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";

/// An event's name, where it has one, and its data.
type Event = (Option<String>, String);

/// Reads a stream that holds whole events only.
fn events(bytes: &[u8]) -> Vec<Event> {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    assert!(text.is_empty() || text.ends_with("\n\n"), "{text}");
    text.split_terminator("\n\n")
        .map(|event| {
            let mut lines = event.lines();
            let first = lines.next().expect("no event is empty");
            let (name, data) = match first.strip_prefix("event: ") {
                Some(name) => (Some(name.to_owned()), lines.next().expect("data follow a name")),
                None => (None, first),
            };
            assert_eq!(lines.next(), None);
            (name, data.strip_prefix("data: ").expect("a line of data").to_owned())
        })
        .collect()
}

fn json_of(event: &Event) -> Value {
    serde_json::from_str(&event.1).expect("JSON")
}

fn asked(path: &str, model: &str) -> Value {
    let mut asked = json!({ "model": model, "stream": true });
    if path == CHAT {
        asked["messages"] = json!([{ "role": "user", "content": "Count from 1 to 3" }]);
        asked["stream_options"] = json!({ "include_usage": true });
    } else {
        asked["input"] = json!("Count from 1 to 3");
    }
    asked
}

async fn open(grok: &Grok, path: &str, asked: Value) -> Response<Body> {
    let request = Request::post(path).header("authorization", "Bearer k");
    let request = request.body(Bytes::from(asked.to_string())).expect("legal");
    grok.respond(request).await.expect("a head")
}

/// The next event of a stream, which is a frame of its own.
async fn next(stream: &mut Body) -> Option<Event> {
    let frame = stream.frame().await?.expect("it does not break");
    let mut events = events(&frame.into_data().expect("data"));
    assert_eq!(events.len(), 1, "an event a frame");
    events.pop()
}

/// The last minute's tokens, as the headers of a further call show them.
async fn charged(grok: &Grok, limit: u64) -> u64 {
    let asked = json!({ "model": "grok-4.3", "messages": [{ "content": "x" }] });
    let answer = post(grok, CHAT, asked).await;
    limit - header(&answer, "x-ratelimit-remaining-tokens").expect("a header")
}

#[tokio::test(start_paused = true)]
async fn a_chat_streams_chunks_reasoning_first_and_its_usage_last() {
    let grok = start(instant());
    let answer = post(&grok, CHAT, asked(CHAT, "grok-4.3")).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    assert!(answer.headers().contains_key("x-ratelimit-remaining-tokens"));
    let mut events = events(answer.body());
    assert_eq!(events.pop(), Some((None, "[DONE]".to_owned())));
    let usage_chunk = json_of(&events.pop().expect("a chunk"));
    assert_eq!(usage_chunk["choices"], json!([]));
    let last = json_of(&events.pop().expect("a chunk"));
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    let (mut thoughts, mut text) = (String::new(), String::new());
    for (number, event) in events.iter().enumerate() {
        let chunk = json_of(event);
        assert_eq!((&event.0, &chunk["object"]), (&None, &json!("chat.completion.chunk")));
        assert_eq!(chunk["id"], usage_chunk["id"]);
        assert!(chunk.get("usage").is_none() && chunk["choices"][0].get("finish_reason").is_none());
        let delta = &chunk["choices"][0]["delta"];
        assert_eq!(delta.get("role").is_some(), number == 0);
        if let Some(piece) = delta.get("reasoning_content") {
            assert!(text.is_empty(), "it thinks before it speaks");
            thoughts += piece.as_str().expect("text");
        } else {
            text += delta["content"].as_str().expect("text");
        }
    }
    // The same call as no stream says the same.
    let mut whole = asked(CHAT, "grok-4.3");
    whole["stream"] = json!(false);
    let whole = body(&post(&start(instant()), CHAT, whole).await);
    assert_eq!(whole["choices"][0]["message"]["content"], json!(text));
    assert_eq!(whole["choices"][0]["message"]["reasoning_content"], json!(thoughts));
    assert_eq!(whole["usage"], usage_chunk["usage"]);
    assert!(!thoughts.is_empty() && events.len() > 20, "{} chunks", events.len());
}

#[tokio::test(start_paused = true)]
async fn usage_is_streamed_only_where_it_is_asked_for_and_reasoning_only_where_there_is_any() {
    let grok = start(instant());
    for options in [json!(null), json!({}), json!({ "include_usage": false })] {
        let mut asked = asked(CHAT, "grok-2");
        asked["stream_options"] = options;
        let answer = post(&grok, CHAT, asked).await;
        let text = String::from_utf8(answer.body().to_vec()).expect("UTF-8");
        assert!(!text.contains("usage") && !text.contains("reasoning"), "{text}");
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    }
    let answer = post(&grok, RESPONSES, asked(RESPONSES, "grok-2")).await;
    let events = events(answer.body());
    assert!(events.iter().all(|event| !event.0.as_ref().expect("a name").contains("reasoning")));
    assert_eq!(json_of(&events[2])["output_index"], 0);
}

#[tokio::test(start_paused = true)]
async fn responses_stream_named_and_numbered_events_and_no_done() {
    let grok = start(instant());
    let answer = post(&grok, RESPONSES, asked(RESPONSES, "grok-4.3")).await;
    let events = events(answer.body());
    let mut names: Vec<&str> = Vec::new();
    let (mut thoughts, mut text) = (String::new(), String::new());
    for (number, event) in events.iter().enumerate() {
        let value = json_of(event);
        let name = event.0.as_deref().expect("a name");
        assert_eq!((&value["type"], &value["sequence_number"]), (&json!(name), &json!(number)));
        let delta = value["delta"].as_str().unwrap_or_default();
        match name {
            "response.reasoning_summary_text.delta" => thoughts += delta,
            "response.output_text.delta" => text += delta,
            _ => {}
        }
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(names, expected);
    assert_eq!(json_of(&events[0])["response"]["usage"], json!(null));
    let last = json_of(events.last().expect("events"))["response"].clone();
    assert_eq!(last["status"], "completed");
    assert_eq!(last["output"][0]["summary"][0]["text"], json!(thoughts));
    assert_eq!(last["output"][1]["content"][0]["text"], json!(text));
    // The same call as no stream is the last event's response.
    let mut whole = asked(RESPONSES, "grok-4.3");
    whole["stream"] = json!(false);
    assert_eq!(body(&post(&start(instant()), RESPONSES, whole).await), last);
}

#[tokio::test(start_paused = true)]
async fn responses_count_reasoning_as_output_and_more_hidden_text_and_cap_what_is_visible() {
    let grok = start(instant().output(OutputLength::fixed(100)));
    let mut capped = asked(RESPONSES, "grok-4.3");
    capped["stream"] = json!(false);
    capped["instructions"] = json!("x");
    capped["max_output_tokens"] = json!(9);
    let answer = body(&post(&grok, RESPONSES, capped.clone()).await);
    let usage = &answer["usage"];
    // o200k has 7 and 1 tokens for the texts; 192 are hidden, 4 for the second message.
    assert_eq!(usage["input_tokens"], 7 + 1 + 192 + 4);
    let number = |value: &Value| value.as_u64().expect("a number");
    let reasoning = number(&usage["output_tokens_details"]["reasoning_tokens"]);
    assert_eq!(number(&usage["output_tokens"]), reasoning + 9);
    assert_eq!(number(&usage["total_tokens"]), 204 + reasoning + 9);
    assert_eq!(number(&usage["cost_in_usd_ticks"]), 204 * 12_500 + (reasoning + 9) * 25_000);
    assert_eq!(answer["status"], "incomplete");
    assert_eq!(answer["incomplete_details"]["reason"], "max_output_tokens");
    capped["stream"] = json!(true);
    let streamed = post(&grok, RESPONSES, capped).await;
    let last = events(streamed.body()).pop().expect("events");
    assert_eq!(last.0.as_deref(), Some("response.incomplete"));
    let items = json!([{ "role": "user", "content": [{ "type": "input_text", "text": "x" }] }]);
    let items = json!({ "model": "grok-2", "input": items });
    assert_eq!(body(&post(&grok, RESPONSES, items).await)["usage"]["input_tokens"], 1 + 6);
    let empty = post(&grok, RESPONSES, json!({ "model": "grok-2" })).await;
    assert_eq!(empty.status(), StatusCode::BAD_REQUEST);
}

/// 0.1 s there, the first token after 1 s, then 50 a second, 0.1 s back.
fn paced() -> ServerOptions {
    let second = Duration::from_secs(1);
    let latency = Latency::default()
        .first_token(second..=second)
        .tokens_per_second(50..=50)
        .jitter(second / 10..=second / 10);
    let limits = Limits::new().rpm(100).tpm(10_000);
    ServerOptions::new().limits(limits).latency(latency).output(OutputLength::fixed(100))
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_paced_by_the_first_token_and_the_speed() {
    let millis = Duration::from_millis;
    for path in [CHAT, RESPONSES] {
        let grok = start(paced());
        let begin = Instant::now();
        let mut asked = asked(path, "grok-2");
        // Too short a text to be quoted.
        asked["messages"] = json!([{ "content": "" }]);
        asked["input"] = json!("");
        let mut stream = open(&grok, path, asked).await.into_body();
        assert_eq!(begin.elapsed(), millis(200), "the head");
        let mut texts = Vec::new();
        while let Some(event) = next(&mut stream).await {
            let at = begin.elapsed();
            if event.1 == "[DONE]" {
                continue;
            }
            let value = json_of(&event);
            if value["choices"][0]["delta"].get("content").or(value.get("delta")).is_some() {
                texts.push(at);
            }
        }
        assert_eq!(begin.elapsed(), millis(200 + 1_000 + 2_000), "the end");
        // A word is a piece, and here every piece is a token.
        let expected: Vec<_> = (0..100).map(|token| millis(200 + 1_000 + 20 * token)).collect();
        assert_eq!(texts, expected);
        assert_eq!((grok.stats().ok, grok.stats().output_tokens), (1, 100));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_charged_when_everything_is_written_and_not_before() {
    let grok = start(paced());
    let stream = open(&grok, CHAT, asked(CHAT, "grok-4.3")).await.into_body();
    // The head is there at 0.2 s, everything is written at 3.1 s; a call is judged 0.1 s in.
    tokio::time::sleep(Duration::from_millis(2_790)).await;
    assert_eq!(charged(&grok, 10_000).await, 0);
    assert_eq!(grok.stats().ok, 2);
    assert_eq!(charged(&grok, 10_000).await, 2 * 237 - 6, "137 and 131 of input, twice 100");
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_in_the_middle_is_charged_for_what_was_written() {
    let grok = start(paced());
    let mut stream = open(&grok, CHAT, asked(CHAT, "grok-4.3")).await.into_body();
    // At 0.2 + 1 + 0.5 s 26 tokens have arrived; another 0.1 s of them are on their way.
    tokio::time::sleep(Duration::from_millis(1_505)).await;
    assert!(next(&mut stream).await.is_some());
    drop(stream);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let stats = grok.stats();
    assert_eq!((stats.ok, stats.cut_short), (0, 1));
    assert_eq!((stats.input_tokens, stats.output_tokens), (137, 31));
    assert_eq!(charged(&grok, 10_000).await, 168);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(grok.stats().output_tokens, 131, "31, and 100 of the second call; no more came");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_before_the_head_or_the_first_token_is_charged_its_prompt() {
    let grok = start(paced());
    let call = open(&grok, CHAT, asked(CHAT, "grok-4.3"));
    assert!(tokio::time::timeout(Duration::from_millis(150), call).await.is_err());
    drop(open(&grok, RESPONSES, asked(RESPONSES, "grok-4.3")).await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stats = grok.stats();
    assert_eq!((stats.cut_short, stats.input_tokens, stats.output_tokens), (2, 137 + 199, 0));
}

#[tokio::test(start_paused = true)]
async fn refusals_of_streams_are_no_streams() {
    let grok = start(instant().limits(Limits::new().rps(0)));
    let refused = post(&grok, RESPONSES, asked(RESPONSES, "grok-4.3")).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(body(&refused)["code"], "resource-exhausted");
}

#[tokio::test(start_paused = true)]
async fn an_error_in_the_middle_ends_a_stream_without_usage() {
    let grok = start(paced());
    let code = "unavailable";
    for (path, fault, expected) in [
        (CHAT, Fault::error_inside(10, code, "Busy."), json!({ "code": code, "error": "Busy." })),
        (CHAT, Fault::fail_inside(10, code, "Busy."), json!({ "code": code, "error": "Busy." })),
        (
            RESPONSES,
            Fault::error_inside(10, code, "Busy."),
            json!({
                "type": "error", "code": code, "message": "Busy.", "param": null,
                "sequence_number": 14,
            }),
        ),
    ] {
        grok.inject(1, fault);
        let answer = post(&grok, path, asked(path, "grok-4.3")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let mut events = events(answer.body());
        assert_eq!(json_of(&events.pop().expect("events")), expected);
        assert!(events.iter().all(|event| !event.1.contains("\"total_tokens\"")));
    }
    grok.inject(1, Fault::fail_inside(1_000, code, "Busy."));
    let answer = post(&grok, RESPONSES, asked(RESPONSES, "grok-4.3")).await;
    let last = events(answer.body()).pop().expect("events");
    let failed = json_of(&last)["response"].clone();
    assert_eq!(last.0.as_deref(), Some("response.failed"));
    assert_eq!(failed["error"], json!({ "code": code, "message": "Busy." }));
    assert_eq!((&failed["status"], &failed["usage"]), (&json!("failed"), &json!(null)));
    let stats = grok.stats();
    assert_eq!((stats.ok, stats.cut_short, stats.output_tokens), (0, 4, 3 * 10 + 100));
}

#[tokio::test(start_paused = true)]
async fn a_stream_breaks_or_stalls_where_it_was_ordered_to() {
    let grok = start(paced());
    grok.inject(1, Fault::break_inside(5));
    let mut stream = open(&grok, CHAT, asked(CHAT, "grok-4.3")).await.into_body();
    for _ in 0..5 {
        assert!(next(&mut stream).await.is_some());
    }
    assert!(stream.frame().await.expect("an error").is_err());
    assert!(stream.frame().await.is_none());
    assert_eq!((grok.stats().cut_short, grok.stats().output_tokens), (1, 5));

    // More than it has: the stream is whole, and does not end.
    for after in [5, 1_000] {
        grok.inject(1, Fault::stall_inside(after));
        let mut stream = open(&grok, CHAT, asked(CHAT, "grok-4.3")).await.into_body();
        let hour = Duration::from_secs(3_600);
        let mut events = Vec::new();
        while let Ok(event) = tokio::time::timeout(hour, next(&mut stream)).await {
            events.push(event.expect("it does not end"));
        }
        assert_eq!(events.last().expect("events").1 == "[DONE]", after == 1_000);
        drop(stream);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stats = grok.stats();
    assert_eq!((stats.ok, stats.cut_short, stats.output_tokens), (1, 2, 5 + 5 + 100));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_stream_meets_the_same_faults_and_is_charged_whole() {
    let grok = start(paced());
    let mut whole = asked(CHAT, "grok-4.3");
    whole["stream"] = json!(false);
    grok.inject(1, Fault::error_inside(0, "unavailable", "Busy."));
    let answer = post(&grok, CHAT, whole.clone()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(body(&answer), json!({ "code": "unavailable", "error": "Busy." }));
    grok.inject(1, Fault::break_inside(0));
    let mut broken = open(&grok, CHAT, whole.clone()).await.into_body();
    let half = broken.frame().await.expect("half").expect("bytes").into_data().expect("data");
    assert!(half.starts_with(b"{") && !half.ends_with(b"}"));
    assert!(broken.frame().await.expect("an error").is_err());
    grok.inject(1, Fault::stall_inside(0));
    let stalled = open(&grok, CHAT, whole).await.into_body().collect();
    assert!(tokio::time::timeout(Duration::from_secs(3_600), stalled).await.is_err());
    assert_eq!((grok.stats().ok, grok.stats().output_tokens), (3, 300));
}

#[tokio::test(start_paused = true)]
async fn a_lost_stream_is_worked_on_to_its_end() {
    let grok = start(paced());
    grok.inject(1, Fault::lose_answer());
    let request = Request::post(CHAT).header("authorization", "Bearer k");
    let request = request.body(Bytes::from(asked(CHAT, "grok-4.3").to_string())).expect("legal");
    assert!(grok.respond(request).await.is_none());
    assert_eq!((grok.stats().ok, grok.stats().output_tokens), (1, 100));
}
