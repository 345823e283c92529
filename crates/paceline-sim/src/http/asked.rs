//! What a call asks for, read from its body.
//!
//! It judges form only, never limits. Fields that bear on nothing here are let pass unread.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value};

use super::models::{Model, find};
use super::refusal;

/// Which endpoint a call came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Chat,
    Process,
}

/// What a call asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) door: Door,
    pub(super) model: &'static Model,
    /// The texts of the messages, in order; at least one.
    pub(super) texts: Vec<String>,
    /// The most visible tokens that are wanted.
    pub(super) cap: Option<u64>,
}

type Refusal = Box<Response<Bytes>>;

impl Asked {
    pub(super) fn read(body: &[u8], door: Door) -> Result<Self, Refusal> {
        let body: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|_| bad("Failed to parse the request body as a JSON object."))?;
        let default = if door == Door::Process { "grok-2" } else { "" };
        let name = body.get("model").and_then(Value::as_str).unwrap_or(default);
        let model = find(name).ok_or_else(|| Box::new(refusal::no_model(name)))?;
        if body.get("stream") == Some(&Value::Bool(true)) {
            return Err(bad("This simulator does not stream yet: leave out stream, or set it to \
                            false."));
        }
        let texts = match door {
            Door::Chat => {
                let messages = body.get("messages").and_then(Value::as_array);
                messages.into_iter().flatten().map(text_of).collect()
            }
            Door::Process => {
                let text = body.get("text").and_then(Value::as_str);
                vec![text.ok_or_else(|| bad("There is no text."))?.to_owned()]
            }
        };
        if texts.is_empty() {
            return Err(bad("There are no messages."));
        }
        let cap = ["max_completion_tokens", "max_tokens"]
            .iter()
            .find_map(|field| body.get(*field)?.as_u64());
        Ok(Self { door, model, texts, cap })
    }
}

fn bad(text: &str) -> Refusal {
    Box::new(refusal::plain(StatusCode::BAD_REQUEST, "invalid-argument", text))
}

/// The text of a message, its parts joined; empty where it has none.
fn text_of(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}
