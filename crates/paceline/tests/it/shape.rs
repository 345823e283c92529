//! What the estimate of a call is made of: every part of its body, and another tokenizer's count.

use std::sync::Arc;
use std::time::Duration;

use paceline::budget::Tokenizer;
use paceline::core::ModelId;
use paceline::transport::ApiKey;
use paceline::transport::mock::{Answer, MockTransport};
use paceline::{Chat, Client, ErrorKind, JsonCall, Path};
use paceline_sim::http::{Latency, Server, ServerOptions};
use serde_json::{Value, json};

use crate::mocked;

fn input(client: &Client, chat: &Chat) -> u64 {
    client.estimate(chat).input().expected_amount()
}

#[tokio::test(start_paused = true)]
async fn images_tools_and_what_was_called_and_thought_are_in_the_estimate() {
    let client = mocked(&MockTransport::new()).build().expect("legal settings");
    let plain = Chat::new("grok-4.3").user("What is on it?");
    let base = input(&client, &plain);
    let image = json!({ "type": "image_url", "image_url": { "url": "https://example.com/a.png" } });
    let seen = plain.clone().message(json!({ "role": "user", "content": [image] }));
    // The documentation says 256 to 1,792 tokens an image.
    let of_image = input(&client, &seen) - base;
    assert!((256..=1_792).contains(&of_image), "{of_image}");
    let called = |arguments: &str| {
        let function = json!({ "name": "save", "arguments": arguments });
        let calls = json!([{ "id": "call_1", "type": "function", "function": function }]);
        plain.clone().message(json!({ "role": "assistant", "content": null, "tool_calls": calls }))
    };
    let sentence = "The quick brown fox jumps over 13 lazy dogs. ";
    let of_arguments = input(&client, &called(&sentence.repeat(180))) - input(&client, &called(""));
    // 8 kB: some 180 times 11 tokens by any tokenizer.
    assert!((1_400..=2_800).contains(&of_arguments), "{of_arguments}");
    let thought = json!({ "role": "assistant", "reasoning_content": sentence.repeat(180) });
    let of_thought = input(&client, &plain.clone().message(thought)) - base;
    assert!((1_400..=2_800).contains(&of_thought), "{of_thought}");
    // A tool weighs more than the text of its definition.
    let tool = json!([{ "type": "function", "function": { "name": "add" } }]);
    let with_tool = plain.clone().field("tools", tool.clone());
    let as_text = plain.clone().field("response_format", tool[0].clone());
    assert!(input(&client, &with_tool) > input(&client, &as_text));
}

/// Answers as a server does that counts so many tokens of a request.
fn counting(count: impl Fn(&Value) -> u64 + Send + Sync + 'static) -> MockTransport {
    MockTransport::by(move |sent| {
        let input = count(&sent.json().expect("a body"));
        let usage =
            json!({ "prompt_tokens": input, "completion_tokens": 9, "total_tokens": input + 9 });
        let body = json!({ "choices": [], "usage": usage }).to_string();
        Answer::new(200, body).delay(Duration::from_millis(800))
    })
}

#[tokio::test(start_paused = true)]
async fn an_image_that_costs_more_than_thought_is_learned_and_reserved() {
    let images = |body: &Value| body["input"][0]["content"].as_array().map_or(0, Vec::len) as u64;
    let transport = counting(move |body| 200 + 1_792 * images(body));
    let client = mocked(&transport).build().expect("legal settings");
    let call = |images: usize| {
        let image = json!({ "type": "input_image", "image_url": "data:image/png;base64,AAAA" });
        let body = json!({ "model": "grok-4.3", "input": [{ "content": vec![image; images] }] });
        JsonCall::post(Path::new("responses"), "grok-4.3", body)
    };
    for number in 0..40 {
        client.json(&call(number % 4)).await.expect("an answer");
    }
    let error = client.accuracy().recent_error;
    assert!(error < 0.05, "{error}");
}

/// One word is a token, and the other four: no class of ours can tell them apart.
struct Words;

impl Tokenizer for Words {
    fn count(&self, text: &str) -> u64 {
        text.split(' ').map(|word| if word == "sound" { 1 } else { 4 }).sum()
    }
}

#[tokio::test(start_paused = true)]
async fn a_tokenizer_of_the_users_is_a_witness_that_is_learned_from() {
    let learned = |tokenizer: Option<Arc<dyn Tokenizer>>| async move {
        let transport = counting(|body| {
            170 + Words.count(body["messages"][0]["content"].as_str().unwrap_or_default())
        });
        let builder = mocked(&transport);
        let builder = match tokenizer {
            Some(tokenizer) => builder.tokenizer(tokenizer),
            None => builder,
        };
        let client = builder.build().expect("legal settings");
        for number in 1..=60 {
            // As many words in every call, and another part of them costs four.
            let dear = number * 37 % 100;
            let words = (0..200).map(|word| if word < 2 * dear { "other" } else { "sound" });
            let text = words.collect::<Vec<_>>().join(" ");
            client.chat(&Chat::new("grok-4.3").user(text)).await.expect("an answer");
        }
        client.accuracy().recent_error
    };
    let (with, without) = (learned(Some(Arc::new(Words))).await, learned(None).await);
    assert!(with < 0.02 && without > 0.1, "{with} and {without}");
}

#[tokio::test(start_paused = true)]
async fn a_second_client_starts_where_the_first_one_was() {
    // Ten times the hidden text that is known of.
    let transport =
        counting(|body| 1_300 + Words.count(body["messages"][0]["content"].as_str().unwrap_or("")));
    let first = mocked(&transport).build().expect("legal settings");
    let chat = |number: usize| Chat::new("grok-4.3").user(["sound"; 40][..number].join(" "));
    for number in 1..40 {
        first.chat(&chat(number)).await.expect("an answer");
    }
    let saved = serde_json::to_string(&first.estimator_state()).expect("plain data");
    let state = serde_json::from_str(&saved).expect("the same");
    let second = mocked(&transport).estimator_state(state).build().expect("its own state");
    assert_eq!(second.estimate(&chat(40)).input(), first.estimate(&chat(40)).input());
    second.chat(&chat(40)).await.expect("an answer");
    let error = second.accuracy().mean_error;
    assert!(error < 0.02, "{error}: its first estimate is warm");

    let foreign = saved.replace("paceline estimator", "something else");
    let state = serde_json::from_str(&foreign).expect("the same form");
    let error = mocked(&transport).estimator_state(state).build().expect_err("not ours");
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(std::error::Error::source(&error).is_some(), "it says why");
}

#[tokio::test]
async fn the_servers_own_count_is_a_lower_bound_and_framing_is_learned_on_top() {
    let options = ServerOptions::new().latency(Latency::instant());
    let server = Server::start(options).await.expect("a free port");
    let key = ApiKey::new("simulated").expect("legal");
    let client = Client::builder().base_url(server.base_url()).api_key(key);
    let client = client.build().expect("legal settings");
    let model = ModelId::from("grok-4.3");
    // By o200k, which the simulator counts with.
    assert_eq!(client.tokenize(&model, "Hello world!").await.expect("a count"), 3);
    assert_eq!(client.tokenize(&model, "").await.expect("a count"), 0);
    let error = client.tokenize(&"grok-99".into(), "x").await.expect_err("no such model");
    assert_eq!(error.kind(), ErrorKind::Rejected);
    // Random letters and digits, of which no class knows the tokens.
    let mut seed = 1_u64;
    let mut noise = |length: usize| -> String {
        let mut letter = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'!' + (seed >> 33) as u8 % 94)
        };
        (0..length).map(|_| letter()).collect()
    };
    let long = Chat::new("grok-4.3").system("Be brief.").user(noise(20_000));
    let counted = client.counted(long.clone()).await.expect("a count");
    let texts = client.tokenize(&model, &noise(1)).await.expect("a count");
    assert_eq!(texts, 1);
    let input = |chat: &Chat| client.estimate(chat).input();
    let reply = client.chat(&counted).await.expect("an answer");
    let truth = reply.usage().expect("reported").input_tokens();
    // 130 hidden and 4 of a second message are on top of what was counted.
    assert!(input(&counted).expected_amount() >= truth - 135, "{truth}");
    for length in 1..30 {
        let chat = Chat::new("grok-4.3").user(noise(length * 100));
        client.chat(&client.counted(chat).await.expect("a count")).await.expect("an answer");
    }
    let error = client.accuracy().recent_error;
    assert!(error < 0.02, "{error}");
    assert_eq!(server.stats().arrived, 30, "counting is no call");
}

#[tokio::test(start_paused = true)]
async fn a_count_that_is_known_is_the_least_that_is_estimated() {
    // A server that bills half of what it counts teaches that, and is not believed.
    let transport = counting(|body| body["half"].as_u64().unwrap_or_default());
    let client = mocked(&transport).build().expect("legal settings");
    let chat = |tokens: u64| {
        Chat::new("grok-4.3").user("Hello?").text_tokens(tokens).field("half", tokens / 2)
    };
    for number in 1..40 {
        client.chat(&chat(500 * number)).await.expect("an answer");
    }
    let input = client.estimate(&chat(10_000)).input();
    assert_eq!(input.expected_amount(), 10_000);
    assert!(input.upper_amount() >= 10_000);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_tokens_is_none() {
    for answer in ["{}", "[]", r#"{"token_ids": 7}"#, "no JSON"] {
        let client = mocked(&MockTransport::new().answer(200, answer)).build().expect("legal");
        let error = client.tokenize(&"grok-4.3".into(), "x").await.expect_err("no count");
        assert_eq!(error.kind(), ErrorKind::BadAnswer, "{answer}");
    }
}
