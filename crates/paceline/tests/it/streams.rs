//! Streams on every way out: what is shown, what is counted, and that nothing is shown twice.

use std::time::Duration;

use paceline::budget::{CallShape, Ending, Endpoint, Estimator, Features};
use paceline::core::{Certainty, Dimension};
use paceline::transport::mock::{Answer, MockTransport};
use paceline::transport::sse::ChunkKind;
use paceline::{Chat, Client, Error, ErrorKind, EventKind, ReplyStream, Responses};

use crate::{chat, held, held_or_used, mocked};

const TEXT: &str = "data: {\"choices\": [{\"delta\": {\"content\": \"An \"}}]}\n\n\
    data: {\"choices\": [{\"delta\": {\"content\": \"arachnid.\"}, \"finish_reason\": \"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 140, \
    \"completion_tokens\": 4, \"total_tokens\": 150, \
    \"completion_tokens_details\": {\"reasoning_tokens\": 6}}}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const BUSY: &str =
    "data: {\"code\": \"unavailable\", \"error\": \"The service is currently unavailable\"}\n\n";

fn client(transport: &MockTransport) -> Client {
    mocked(transport).build().expect("legal settings")
}

/// All text, and the error it ended with.
async fn read(answer: &mut ReplyStream) -> (String, Option<Error>) {
    let mut text = String::new();
    while let Some(chunk) = answer.next().await {
        match chunk {
            Ok(chunk) if chunk.kind() == ChunkKind::Text => text.push_str(chunk.text()),
            Ok(_) => {}
            Err(error) => return (text, Some(error)),
        }
    }
    (text, None)
}

#[tokio::test(start_paused = true)]
async fn a_whole_stream_is_counted_by_what_its_last_chunk_says_and_learned_from() {
    let transport = MockTransport::new()
        .answer(200, format!("{TEXT}{USAGE}{DONE}"))
        .delay(Duration::from_secs(2));
    let client = client(&transport);
    let mut answer = client.chat_stream(&chat()).await.expect("an answer");
    let (text, error) = read(&mut answer).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(text, "An arachnid.");
    let usage = answer.usage().expect("it is over");
    assert_eq!((usage.total_tokens(), usage.certainty()), (150, Certainty::Exact));
    assert!(answer.cost().is_some() && answer.first_output() >= Some(Duration::from_secs(2)));
    assert!(answer.next().await.is_none(), "nothing comes twice");
    assert_eq!((held(&client), held_or_used(&client, Dimension::TotalTokens)), (0, 150));
    assert_eq!(client.accuracy().count, 1);
    drop(answer);
    assert_eq!(held_or_used(&client, Dimension::TotalTokens), 150, "it is settled once");
    let sent: serde_json::Value = serde_json::from_slice(transport.sent()[0].body()).expect("JSON");
    assert_eq!(
        (&sent["stream"], &sent["stream_options"]["include_usage"]),
        (&true.into(), &true.into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_responses_ends_by_its_terminal_event() {
    let body = "event: response.output_text.delta\n\
        data: {\"type\": \"response.output_text.delta\", \"delta\": \"Twelve\"}\n\n\
        event: response.completed\n\
        data: {\"type\": \"response.completed\", \"response\": {\"usage\": \
        {\"input_tokens\": 204, \"output_tokens\": 80, \"total_tokens\": 284}}}\n\n";
    let transport = MockTransport::new().answer(200, body);
    let client = client(&transport);
    let ask = Responses::new("grok-4.3").user("How many?");
    let mut answer = client.respond_stream(&ask).await.expect("an answer");
    assert_eq!(answer.collect_text().await.expect("whole"), "Twelve");
    assert_eq!(answer.usage().map(|usage| usage.total_tokens()), Some(284));
    assert!(transport.sent()[0].uri().path().ends_with("/v1/responses"));
}

#[tokio::test(start_paused = true)]
async fn a_plain_response_is_read_with_its_text_and_its_usage() {
    let body = r#"{"status": "completed", "output": [
        {"type": "reasoning", "summary": []},
        {"type": "message", "content": [{"type": "output_text", "text": "Twelve"}]}],
        "usage": {"input_tokens": 204, "output_tokens": 80, "total_tokens": 284,
        "output_tokens_details": {"reasoning_tokens": 79}}}"#;
    let transport = MockTransport::new().answer(200, body);
    let client = client(&transport);
    let reply = client.respond(&Responses::new("grok-4.3").user("How many?")).await;
    let reply = reply.expect("an answer");
    assert_eq!(
        (reply.text(), reply.usage().map(|u| u.output_tokens())),
        (Some("Twelve"), Some(80))
    );
    assert_eq!(held_or_used(&client, Dimension::TotalTokens), 284);
}

/// What is expected of a call when nothing has been learned, and the most that is held for it.
fn expectation(client: &Client) -> (u64, u64) {
    let total = client.estimate(&chat()).total();
    (total.expected_amount(), total.upper_amount())
}

#[tokio::test(start_paused = true)]
async fn fault_22_a_stream_that_says_no_usage_counts_as_what_was_expected_and_seen() {
    let long = format!(
        "data: {{\"choices\": [{{\"delta\": {{\"content\": \"{}\"}}}}]}}\n\n",
        "word ".repeat(60_000)
    );
    for (body, is_long) in [(format!("{TEXT}{DONE}"), false), (format!("{long}{DONE}"), true)] {
        let transport = MockTransport::new().answer(200, body);
        let client = client(&transport);
        let (expected, _) = expectation(&client);
        let mut answer = client.chat_stream(&chat()).await.expect("an answer");
        assert!(read(&mut answer).await.1.is_none());
        let usage = *answer.usage().expect("it is over");
        assert_eq!(usage.certainty(), Certainty::Estimated);
        let counted = held_or_used(&client, Dimension::TotalTokens);
        assert_eq!((held(&client), counted), (0, usage.total_tokens()));
        assert!(counted >= expected, "{counted} of {expected}");
        assert_eq!(is_long, counted >= 100_000, "{counted}: a token has three bytes or more");
        assert_eq!(client.accuracy().count, 0, "nothing is learned from it");
    }
}

#[tokio::test(start_paused = true)]
async fn fault_16_a_stream_that_breaks_off_shows_what_came_and_is_not_sent_again() {
    // Without an end, that is how a connection that was closed looks.
    let transport = MockTransport::new().answer(200, TEXT).answer(200, format!("{TEXT}{DONE}"));
    let policy = paceline::RetryPolicy::default().may_bill_twice();
    let client = mocked(&transport).retry(policy).build().expect("legal settings");
    let mut events = client.events();
    let mut answer = client.chat_stream(&chat()).await.expect("an answer");
    let (text, error) = read(&mut answer).await;
    assert_eq!(text, "An arachnid.");
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::MaybeCharged));
    assert!(answer.next().await.is_none(), "the error is the last");
    assert_eq!(transport.calls(), 1, "something was shown");
    assert_eq!(held(&client), 0);
    assert!(held_or_used(&client, Dimension::TotalTokens) >= expectation(&client).0);
    let endings: Vec<_> = std::iter::from_fn(|| events.try_next())
        .filter_map(|event| match event.kind {
            EventKind::Settled { ending, .. } => Some(ending),
            _ => None,
        })
        .collect();
    assert_eq!(endings, [Ending::MaybeCharged]);
}

#[tokio::test(start_paused = true)]
async fn fault_31_a_stream_that_is_dropped_counts_once_and_holds_nothing() {
    let transport = MockTransport::new().answer(200, format!("{TEXT}{USAGE}{DONE}"));
    let client = client(&transport);
    let (expected, upper) = expectation(&client);
    let answer = client.chat_stream(&chat()).await.expect("an answer");
    assert!(answer.usage().is_some() || held(&client) == upper);
    drop(answer);
    let counted = held_or_used(&client, Dimension::TotalTokens);
    assert_eq!(held(&client), 0);
    // The whole of it had come in one piece already.
    assert!(counted == 150 || counted >= expected, "{counted}");
}

#[tokio::test(start_paused = true)]
async fn an_error_before_anything_was_shown_is_tried_again_and_after_it_is_not() {
    let rate = "data: {\"code\": \"resource-exhausted\", \"error\": \"Too many requests for team t and \
        model grok-4.3. Requests per Minute (actual/limit): 3/60.\"}\n\n";
    let transport =
        MockTransport::new().answer(200, rate).answer(200, format!("{TEXT}{USAGE}{DONE}"));
    let client = client(&transport);
    let mut answer = client.chat_stream(&chat()).await.expect("the second attempt");
    assert_eq!((answer.attempts(), read(&mut answer).await.0.as_str()), (2, "An arachnid."));
    assert_eq!(held_or_used(&client, Dimension::TotalTokens), 150, "the refusal cost nothing");

    let transport = MockTransport::new()
        .answer(200, format!("{TEXT}{BUSY}{DONE}"))
        .always(Answer::new(200, format!("{TEXT}{USAGE}{DONE}")));
    let policy = paceline::RetryPolicy::default().may_bill_twice();
    let client = mocked(&transport).retry(policy).build().expect("legal settings");
    let mut answer = client.chat_stream(&chat()).await.expect("an answer");
    let (text, error) = read(&mut answer).await;
    assert_eq!((text.as_str(), transport.calls()), ("An arachnid.", 1));
    let error = error.expect("it failed amid");
    assert!(error.to_string().contains("currently unavailable"), "{error}");
    assert!(held_or_used(&client, Dimension::TotalTokens) > 0, "it may have been charged");
}

#[tokio::test(start_paused = true)]
async fn fault_12_what_is_no_stream_of_events_is_an_error_and_stays_spent() {
    for body in ["<html>Bad gateway</html>", "", "{\"choices\": []", "[]"] {
        let transport = MockTransport::new().answer(200, body);
        let client = client(&transport);
        let error = client.chat_stream(&chat()).await.expect_err("no stream");
        assert!(
            matches!(error.kind(), ErrorKind::BadAnswer | ErrorKind::MaybeCharged),
            "{body}: {error}"
        );
        assert_eq!((held(&client), transport.calls()), (0, 1));
        assert!(held_or_used(&client, Dimension::TotalTokens) >= expectation(&client).0);
    }
}

#[tokio::test(start_paused = true)]
async fn fields_that_the_caller_set_for_the_stream_are_kept() {
    let transport = MockTransport::new().answer(200, format!("{TEXT}{USAGE}{DONE}"));
    let client = client(&transport);
    let chat = Chat::new("grok-4.3")
        .user("x")
        .field("stream_options", serde_json::json!({ "x": 7 }))
        .field("unknown", "kept");
    client.chat_stream(&chat).await.expect("an answer").collect_text().await.expect("whole");
    let sent: serde_json::Value = serde_json::from_slice(transport.sent()[0].body()).expect("JSON");
    assert_eq!(sent["stream_options"], serde_json::json!({ "x": 7, "include_usage": true }));
    assert_eq!(sent["unknown"], "kept");
}

/// The same bytes, asked for as a stream and as a whole.
async fn cost_of(body: String, stream: String) -> [Option<paceline::core::Money>; 2] {
    let ask = || {
        let tools = serde_json::json!([{ "type": "web_search" }]);
        Chat::new("grok-4.3").user("x").field("tools", tools)
    };
    let transport = MockTransport::new().answer(200, body).answer(200, stream);
    let client = client(&transport);
    let whole = client.chat(&ask()).await.expect("an answer");
    let mut streamed = client.chat_stream(&ask()).await.expect("an answer");
    streamed.collect_text().await.expect("whole");
    [whole.cost(), streamed.cost()]
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_billed_on_the_tier_and_with_the_tools_that_it_tells() {
    let object = |tier: &str, calls: u64| {
        serde_json::json!({
            "service_tier": tier,
            "choices": [],
            "usage": {
                "prompt_tokens": 140, "completion_tokens": 4, "total_tokens": 144,
                "server_side_tool_usage_details": { "web_search_calls": calls },
            },
        })
        .to_string()
    };
    let mut costs = Vec::new();
    for (tier, calls) in [("default", 0), ("priority", 0), ("default", 3)] {
        let body = object(tier, calls);
        let [whole, streamed] = cost_of(body.clone(), format!("data: {body}\n\n{DONE}")).await;
        assert_eq!(whole, streamed, "{tier}, {calls} calls");
        costs.push(streamed.expect("it has a price"));
    }
    assert!(costs[0] < costs[1] && costs[1] < costs[2], "{costs:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_server_that_does_not_stream_is_shown_and_counted_all_the_same() {
    let body = r#"{"choices": [{"message": {"content": "An arachnid."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 140, "completion_tokens": 4, "total_tokens": 144}}"#;
    let transport = MockTransport::new().then(
        Answer::new(200, "")
            .piece(Duration::from_secs(1), &body[..40])
            .piece(Duration::ZERO, &body[40..]),
    );
    let client = client(&transport);
    let mut answer = client.chat_stream(&chat()).await.expect("an answer");
    let (text, error) = read(&mut answer).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(text, "An arachnid.");
    assert_eq!(answer.usage().map(|usage| usage.total_tokens()), Some(144));
    assert_eq!((held(&client), held_or_used(&client, Dimension::TotalTokens)), (0, 144));
}

#[tokio::test(start_paused = true)]
async fn an_error_under_a_good_status_instead_of_a_stream_is_that_error() {
    let rate = "{\"code\": \"resource-exhausted\", \"error\": \"Too many requests for team t.\"}";
    let transport =
        MockTransport::new().answer(200, rate).answer(200, format!("{TEXT}{USAGE}{DONE}"));
    let caller = client(&transport);
    let mut answer = caller.chat_stream(&chat()).await.expect("the second attempt");
    assert_eq!(answer.collect_text().await.expect("whole"), "An arachnid.");
    assert_eq!((answer.attempts(), transport.sent().len()), (2, 2));
    let broken = MockTransport::new().answer(200, "{\"choices\": [");
    let error = client(&broken).chat_stream(&chat()).await;
    assert_eq!(error.expect_err("no answer").kind(), ErrorKind::BadAnswer);
}

/// The most that a call without a cap is thought to put out, after forty with one were answered with this.
async fn learned_from(door: Endpoint, body: String) -> u64 {
    let transport = MockTransport::new().always(Answer::new(200, body));
    let client = client(&transport);
    for _ in 0..40 {
        let answered = if door == Endpoint::Responses {
            let ask = Responses::new("grok-4.3").user("x").field("max_output_tokens", 80);
            client.respond(&ask).await
        } else {
            client.chat(&Chat::new("grok-4.3").user("x").max_output_tokens(80)).await
        };
        answered.expect("an answer");
    }
    let estimator = Estimator::restore(&client.estimator_state()).expect("its own state");
    let call = CallShape::new("grok-4.3".into(), Features::of_text("x"));
    estimator.estimate(&call.endpoint(door)).output().upper_amount()
}

#[tokio::test(start_paused = true)]
async fn a_response_that_its_cap_cut_off_teaches_what_such_a_chat_does() {
    let usage = r#""usage": {"input_tokens": 140, "output_tokens": 80, "total_tokens": 220}"#;
    let response = |more: &str| format!(r#"{{"output": [], {more}, {usage}}}"#);
    let chat =
        |reason: &str| format!(r#"{{"choices": [{{"finish_reason": "{reason}"}}], {usage}}}"#);
    let whole = learned_from(Endpoint::Responses, response(r#""incomplete_details": null"#)).await;
    let cut = response(r#""incomplete_details": {"reason": "max_output_tokens"}"#);
    let cut = learned_from(Endpoint::Responses, cut).await;
    assert_eq!(whole, learned_from(Endpoint::Chat, chat("stop")).await);
    assert_eq!(cut, learned_from(Endpoint::Chat, chat("length")).await);
    assert!(cut > whole, "it would have been longer without its cap: {cut} and {whole}");
}
