//! The two sides: this project's client, and what somebody would write with reqwest alone.
//!
//! Both start from the same body as a JSON map, send the same bytes with the same headers, and parse the
//! answer into the same [`Value`]. Invariant: a call that was not answered as it should be is an error,
//! so that nothing is measured that did not happen.

use std::sync::Arc;

use paceline::core::Dimension;
use paceline::transport::ApiKey;
use paceline::{Chat, Client};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use serde_json::Value;

use super::answers::{PIECES, TOKENS};
use super::server::{Kind, REQUESTS_PER_MINUTE, Server, TOKENS_PER_MINUTE};

/// A side that can be called. Clones share its connections.
#[derive(Clone)]
pub(super) enum Side {
    Bare(Arc<Bare>),
    Ours(Arc<Ours>),
}

pub(super) struct Bare {
    client: reqwest::Client,
    url: String,
    chat: Chat,
    /// The body with the fields that ask for a stream.
    streaming: Value,
}

pub(super) struct Ours {
    client: Client,
    chat: Chat,
}

/// The key that both send.
const KEY: &str = "xai-no-key-for-anything";

impl Side {
    /// reqwest as it comes.
    pub(super) fn bare(server: &Server, kind: Kind) -> Result<Self, String> {
        let client = reqwest::Client::builder().no_proxy().build().map_err(text)?;
        let chat = chat();
        let mut streaming = Value::Object(chat.body().clone());
        streaming["stream"] = true.into();
        streaming["stream_options"] = serde_json::json!({ "include_usage": true });
        let url = format!("{}/chat/completions", server.base(kind));
        Ok(Self::Bare(Arc::new(Bare { client, url, chat, streaming })))
    }

    /// The client as it comes.
    pub(super) fn ours(server: &Server, kind: Kind) -> Result<Self, String> {
        let key = ApiKey::new(KEY).map_err(text)?;
        let client = Client::builder().base_url(server.base(kind)).api_key(key).build();
        Ok(Self::Ours(Arc::new(Ours { client: client.map_err(text)?, chat: chat() })))
    }

    /// A first call, from which our client learns its limits.
    pub(super) async fn begin(&self, kind: Kind) -> Result<(), String> {
        match kind {
            Kind::Whole(_) => self.call().await?,
            Kind::Stream => self.stream().await.map(|_| ())?,
        }
        let Self::Ours(ours) = self else { return Ok(()) };
        let limits = ours.client.limits().ok_or("the client has no limiter")?.limits;
        let stated = [
            (Dimension::Requests, REQUESTS_PER_MINUTE),
            (Dimension::TotalTokens, TOKENS_PER_MINUTE),
        ];
        for (dimension, most) in stated {
            if !limits.iter().any(|it| it.dimension == dimension && it.quota.limit().get() == most)
            {
                return Err(format!("the limit of {dimension:?} that was stated is not in force"));
            }
        }
        Ok(())
    }

    /// One call, answered whole.
    pub(super) async fn call(&self) -> Result<(), String> {
        let used = match self {
            Self::Ours(ours) => {
                let reply = ours.client.chat(&ours.chat).await.map_err(text)?;
                reply.usage().map(|usage| usage.total_tokens())
            }
            Self::Bare(bare) => {
                let body = serde_json::to_vec(bare.chat.body()).map_err(text)?;
                let answer = bare.send(body, "application/json").await?;
                let bytes = answer.bytes().await.map_err(text)?;
                let value: Value = serde_json::from_slice(&bytes).map_err(text)?;
                value["usage"]["total_tokens"].as_u64()
            }
        };
        if used == Some(TOKENS) { Ok(()) } else { Err(format!("{used:?} tokens were told")) }
    }

    /// One streamed answer, every event parsed; how many bytes of text were in it.
    pub(super) async fn stream(&self) -> Result<usize, String> {
        let (events, bytes) = match self {
            Self::Ours(ours) => {
                let mut stream = ours.client.chat_stream(&ours.chat).await.map_err(text)?;
                let (mut events, mut bytes) = (0, 0);
                while let Some(chunk) = stream.next().await {
                    events += 1;
                    bytes += chunk.map_err(text)?.text().len();
                }
                (events, bytes)
            }
            Self::Bare(bare) => {
                let body = serde_json::to_vec(&bare.streaming).map_err(text)?;
                read_lines(bare.send(body, "text/event-stream").await?).await?
            }
        };
        // The last two tell why it ended, and the usage.
        if events == PIECES + 2 { Ok(bytes) } else { Err(format!("{events} events came")) }
    }
}

impl Bare {
    async fn send(&self, body: Vec<u8>, accept: &str) -> Result<reqwest::Response, String> {
        let request = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, accept)
            .header(AUTHORIZATION, format!("Bearer {KEY}"))
            .body(body);
        request.send().await.and_then(reqwest::Response::error_for_status).map_err(text)
    }
}

/// Splits lines, parses what is behind `data: `; how many events there were, and bytes of text in them.
async fn read_lines(mut answer: reqwest::Response) -> Result<(usize, usize), String> {
    let (mut events, mut bytes) = (0, 0);
    let mut rest: Vec<u8> = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(text)? {
        rest.extend_from_slice(&piece);
        let mut begin = 0;
        while let Some(length) = rest[begin..].iter().position(|byte| *byte == b'\n') {
            let line = &rest[begin..begin + length];
            begin += length + 1;
            let Some(data) = line.strip_prefix(b"data: ") else { continue };
            if data == b"[DONE]" {
                continue;
            }
            let event: Value = serde_json::from_slice(data).map_err(text)?;
            events += 1;
            bytes += event["choices"][0]["delta"]["content"].as_str().map_or(0, str::len);
        }
        rest.drain(..begin);
    }
    Ok((events, bytes))
}

/// A prompt of about a kilobyte.
fn chat() -> Chat {
    let paragraph = "The orb-weaver rebuilds its web each night, eating the old threads first. ";
    let asked = format!("{}How many legs has it, and what for?", paragraph.repeat(12));
    Chat::new("grok-4.3").system("Answer briefly and say what is not known.").user(asked)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
