//! A transport of one's own: here one that answers by itself.
//! `cargo run -p paceline --example own_transport`.
#![expect(clippy::print_stdout, reason = "a program")]

use bytes::Bytes;
use paceline::transport::{Body, Transport, TransportError, async_trait};
use paceline::{Chat, Client};

/// Says the same to everybody.
#[derive(Debug)]
struct Parrot;

#[async_trait]
impl Transport for Parrot {
    async fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Body>, TransportError> {
        println!(
            "{} {} with {} bytes",
            request.method(),
            request.uri().path(),
            request.body().len()
        );
        let answer = r#"{"choices": [{"message": {"role": "assistant", "content": "Hello!"}}],
            "usage": {"prompt_tokens": 131, "completion_tokens": 2, "total_tokens": 133}}"#;
        Ok(http::Response::new(Body::from(Bytes::from_static(answer.as_bytes()))))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::builder().base_url("http://127.0.0.1:1/v1").transport(Parrot).build()?;
    let reply = client.chat(&Chat::new("grok-4.3").user("Hi!")).await?;
    println!("{} {:?}", reply.text().unwrap_or_default(), reply.usage());
    Ok(())
}
