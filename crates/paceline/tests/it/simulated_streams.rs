//! Streams of the simulated server, which knows nothing of our decoder, through the whole client.

use std::time::Duration;

use paceline::core::Certainty;
use paceline::transport::ApiKey;
use paceline::{Client, Responses};
use paceline_sim::http::{Fault, Latency, OutputLength, Server, ServerOptions};

use super::chat;

/// A server that writes 50 tokens, at once, and a client for it.
async fn simulated() -> (Server, Client) {
    simulated_at(Latency::instant()).await
}

async fn simulated_at(latency: Latency) -> (Server, Client) {
    let options = ServerOptions::new().latency(latency).output(OutputLength::fixed(50));
    let server = Server::start(options).await.expect("a free port");
    let key = ApiKey::new("simulated").expect("legal");
    let client = Client::builder().base_url(server.base_url()).api_key(key).build();
    (server, client.expect("legal settings"))
}

#[tokio::test]
async fn both_apis_are_counted_as_the_server_counts_them() {
    let (server, client) = simulated().await;
    let mut streamed = client.chat_stream(&chat()).await.expect("an answer");
    let text = streamed.collect_text().await.expect("whole");
    let usage = *streamed.usage().expect("it is over");
    let stats = server.stats();
    assert_eq!(
        (usage.total_tokens(), usage.certainty()),
        (stats.input_tokens + stats.output_tokens, Certainty::Exact)
    );
    assert_eq!(usage.output_tokens(), 50);
    assert!(usage.reasoning_tokens() > 0 && !text.is_empty());

    let ask = Responses::new("grok-4.3").user("Hello?");
    let mut streamed = client.respond_stream(&ask).await.expect("an answer");
    streamed.collect_text().await.expect("whole");
    let second = *streamed.usage().expect("it is over");
    let plain = client.respond(&ask).await.expect("an answer");
    let third = *plain.usage().expect("told");
    assert_eq!((second.input_tokens(), second.output_tokens()), (third.input_tokens(), 50));
    let stats = server.stats();
    let all = usage.total_tokens() + second.total_tokens() + third.total_tokens();
    assert_eq!((all, stats.ok), (stats.input_tokens + stats.output_tokens, 3));
}

#[tokio::test]
async fn what_goes_wrong_inside_a_stream_is_an_error_and_is_asked_once() {
    for fault in [
        Fault::break_inside(30),
        Fault::error_inside(30, "unavailable", "The model is at capacity."),
        Fault::fail_inside(30, "unavailable", "The model is at capacity."),
    ] {
        let (server, client) = simulated().await;
        server.inject(2, fault);
        let mut answer = client.chat_stream(&chat()).await.expect("a head");
        answer.collect_text().await.expect_err("no whole answer");
        let ask = Responses::new("grok-4.3").user("Hello?");
        let mut answer = client.respond_stream(&ask).await.expect("a head");
        answer.collect_text().await.expect_err("no whole answer");
        let stats = server.stats();
        assert_eq!((stats.arrived, stats.cut_short, stats.output_tokens), (2, 2, 60));
    }
}

#[tokio::test]
async fn a_stream_that_is_dropped_ends_at_the_server_too() {
    // A token a second: 50 seconds.
    let latency = Latency::instant().first_token(Duration::ZERO..=Duration::ZERO);
    let (server, client) = simulated_at(latency.tokens_per_second(1..=1)).await;
    let mut answer = client.chat_stream(&chat()).await.expect("a head");
    answer.next().await.expect("the first piece").expect("no error");
    drop(answer);
    while server.stats().cut_short == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(server.stats().output_tokens < 50);
}
