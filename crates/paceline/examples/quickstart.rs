//! 60 calls at once, as fast as the limits allow: `cargo run -p paceline --example quickstart`.
#![expect(clippy::print_stdout, reason = "a program")]

use paceline::transport::ApiKey;
use paceline::{Chat, Client};
use paceline_sim::http::{Server, ServerOptions};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start(ServerOptions::new()).await?;
    // For the real API: `Client::builder().build()?`, with the key in XAI_API_KEY.
    let client =
        Client::builder().base_url(server.base_url()).api_key(ApiKey::new("simulated")?).build()?;
    let mut calls = JoinSet::new();
    for number in 1..=60 {
        let client = client.clone();
        calls.spawn(async move {
            client.chat(&Chat::new("grok-4.3").user(format!("A fact about {number}?"))).await
        });
    }
    let mut tokens = 0;
    while let Some(reply) = calls.join_next().await {
        tokens += reply??.usage().map_or(0, |usage| usage.total_tokens());
    }
    let stats = server.stats();
    println!("{} calls, {tokens} tokens, {} answered 429", stats.arrived, stats.status_429);
    Ok(())
}
