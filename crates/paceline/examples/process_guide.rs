//! The early `/v1/process` guide in Rust, paced and logged: POST a text, read `token_usage`.
//! `cargo run -p paceline --example process_guide`.
#![expect(clippy::print_stdout, reason = "a program")]

use paceline::budget::AverageUse;
use paceline::transport::ApiKey;
use paceline::{Client, ErrorKind, JsonCall, Path};
use paceline_sim::http::{Server, ServerOptions};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter("paceline=info").init();
    let server = Server::start(ServerOptions::new()).await?;
    let client =
        Client::builder().base_url(server.base_url()).api_key(ApiKey::new("simulated")?).build()?;
    let mut average = AverageUse::default();
    for text in
        ["Grok, hello!", "What is a token?", "Why is the sky blue?", "Name a river.", "Bye!"]
    {
        let process = Path::new("process").usage_at("/token_usage");
        match client.json(&JsonCall::post(process, "grok-2", json!({ "text": text }))).await {
            Ok(reply) => match reply.usage() {
                Some(usage) => {
                    average.add(usage.total_tokens());
                    println!("{text:<22} {} tokens", usage.total_tokens());
                }
                None => println!("{text:<22} token usage: not provided"),
            },
            // The client has waited and tried again already.
            Err(error) if error.kind() == ErrorKind::RateLimited => {
                println!("rate limit exceeded: {error}");
            }
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(fit) = average.fits(100_000) {
        println!("{} to {} more fit into 100,000 tokens", fit.low, fit.high);
    }
    Ok(())
}
