//! `async-openai` behind the limits. Its own retries are off, so that each of its attempts is one
//! that was admitted; the server counts them.
//! `cargo run -p paceline --example behind_async_openai --features async-openai`.
#![expect(clippy::print_stdout, reason = "a program")]

use async_openai::config::OpenAIConfig;
use paceline::tower::async_openai::OpenAiService;
use paceline::{Client, EventKind};
use paceline_sim::http::{Server, ServerOptions};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start(ServerOptions::new()).await?;
    let limits = Client::builder().base_url(server.base_url()).build()?;
    let mut events = limits.events();

    let http = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
    let config = OpenAIConfig::new().with_api_base(server.base_url()).with_api_key("simulated");
    let openai = async_openai::Client::with_config(config)
        .with_http_service(OpenAiService::new(limits.clone(), http));

    for number in 1..=5 {
        let question = json!({
            "model": "grok-4.3",
            "messages": [{ "role": "user", "content": format!("A fact about {number}?") }],
        });
        let answer: Value = openai.chat().create_byot(question).await?;
        println!("call {number}: {} tokens", answer["usage"]["total_tokens"]);
    }

    let admitted = std::iter::from_fn(|| events.try_next())
        .filter(|event| matches!(event.kind, EventKind::Admitted { .. }))
        .count() as u64;
    assert_eq!(admitted, server.stats().arrived, "attempts that were admitted are all there were");
    println!("{admitted} admitted, as many arrived, {} answered 429", server.stats().status_429);
    Ok(())
}
