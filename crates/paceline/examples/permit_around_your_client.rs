//! A permit around somebody else's client, which must not retry by itself.
//! `cargo run -p paceline --example permit_around_your_client`.
#![expect(clippy::print_stdout, reason = "a program")]

use paceline::core::Usage;
use paceline::transport::ApiKey;
use paceline::{Chat, Client};
use paceline_sim::http::{Server, ServerOptions};

/// Stands for another library's call; here a bare transport.
async fn their_call(
    server: &Server,
    chat: &Chat,
) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    use paceline::transport::Transport;
    let request = http::Request::post(format!("{}/chat/completions", server.base_url()))
        .header("authorization", ApiKey::new("simulated")?.authorization())
        .body(bytes::Bytes::from(serde_json::to_vec(chat.body())?))?;
    let transport = paceline::transport::reqwest::ReqwestTransport::new()?;
    let answer = transport.send(request).await?.into_body().collect(1 << 20).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    let tokens = |name: &str| answer["usage"][name].as_u64().ok_or("no usage");
    Ok((tokens("prompt_tokens")?, tokens("total_tokens")?))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start(ServerOptions::new()).await?;
    let client = Client::builder().base_url(server.base_url()).build()?;
    for number in 1..=5 {
        let chat = Chat::new("grok-4.3").user(format!("A fact about {number}?"));
        let permit = client.acquire(&client.demand(&chat)?).await?;
        permit.sent();
        let (input, total) = their_call(&server, &chat).await?;
        permit.settle(&Usage::new(input, total)?);
        println!("call {number}: {total} tokens");
    }
    println!("{} answered 429", server.stats().status_429);
    Ok(())
}
