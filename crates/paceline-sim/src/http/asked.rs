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
    Responses,
    Process,
}

/// In which form the answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    Stream,
    /// With a chunk for the usage; responses tell it in any case.
    StreamWithUsage,
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
    pub(super) wanted: Wanted,
}

/// What the hidden text of a model that has one is longer through `/v1/responses` than through
/// chat completions: 192 and 130 tokens for grok-4.3, as measured.
const MORE_HIDDEN: u64 = 62;
/// Fewer hidden tokens than this are the frame of a message and no text.
const FRAME: u64 = 100;

type Refusal = Box<Response<Bytes>>;

impl Asked {
    pub(super) fn read(body: &[u8], door: Door) -> Result<Self, Refusal> {
        let body: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|_| bad("Failed to parse the request body as a JSON object."))?;
        let default = if door == Door::Process { "grok-2" } else { "" };
        let name = body.get("model").and_then(Value::as_str).unwrap_or(default);
        let model = find(name).ok_or_else(|| Box::new(refusal::no_model(name)))?;
        let wanted = wanted(&body);
        if door == Door::Process && wanted != Wanted::Whole {
            return Err(bad("Argument not supported: stream."));
        }
        let texts = match door {
            Door::Chat => {
                let messages = body.get("messages").and_then(Value::as_array);
                messages.into_iter().flatten().map(text_of).collect()
            }
            Door::Responses => input(&body),
            Door::Process => {
                let text = body.get("text").and_then(Value::as_str);
                vec![text.ok_or_else(|| bad("There is no text."))?.to_owned()]
            }
        };
        if texts.is_empty() {
            return Err(bad("There are no messages."));
        }
        let caps: &[&str] = match door {
            Door::Responses => &["max_output_tokens"],
            Door::Chat | Door::Process => &["max_completion_tokens", "max_tokens"],
        };
        let cap = caps.iter().find_map(|field| body.get(*field)?.as_u64());
        Ok(Self { door, model, texts, cap, wanted })
    }

    /// Tokens on top of the texts: the hidden one, and 4 for each further message.
    pub(super) const fn framing(&self) -> u64 {
        let hidden = self.model.hidden;
        let more = matches!(self.door, Door::Responses) && hidden >= FRAME;
        hidden + if more { MORE_HIDDEN } else { 0 } + 4 * (self.texts.len() as u64 - 1)
    }
}

fn bad(text: &str) -> Refusal {
    Box::new(refusal::plain(StatusCode::BAD_REQUEST, "invalid-argument", text))
}

fn wanted(body: &Map<String, Value>) -> Wanted {
    let is_true = |value: Option<&Value>| value == Some(&Value::Bool(true));
    let usage = body.get("stream_options").and_then(|options| options.get("include_usage"));
    match (is_true(body.get("stream")), is_true(usage)) {
        (false, _) => Wanted::Whole,
        (true, false) => Wanted::Stream,
        (true, true) => Wanted::StreamWithUsage,
    }
}

/// The texts of a response's input, its instructions first.
fn input(body: &Map<String, Value>) -> Vec<String> {
    let instructions = body.get("instructions").and_then(Value::as_str).map(str::to_owned);
    let input: Vec<String> = match body.get("input") {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => items.iter().map(text_of).collect(),
        _ => Vec::new(),
    };
    if input.is_empty() {
        return input;
    }
    instructions.into_iter().chain(input).collect()
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
