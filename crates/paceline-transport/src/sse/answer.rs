//! The streamed answer of a language model: what pacing has to know of it, and the rest unchanged.
//!
//! Estimates nothing. What this file keeps: usage is what the server said in the place where it says the
//! whole of it, or nothing; and how the stream ended is never guessed.

use serde_json::Value;

use super::{Decoder, Event, EventTooLarge};
use crate::answer;
use crate::usage::{UsageReading, read_chat};

/// Reads the events of a streamed answer: of chat completions or of responses, which are told apart by
/// what they look like.
///
/// ```
/// use paceline_transport::sse::{AnswerStream, ChunkKind, StreamEnding};
/// let mut stream = AnswerStream::new();
/// let mut text = String::new();
/// let body = concat!(
///     "data: {\"choices\": [{\"delta\": {\"content\": \"An \"}}]}\n\n",
///     "data: {\"choices\": [{\"delta\": {\"content\": \"arachnid.\"}, \"finish_reason\": \"stop\"}]}\n\n",
///     "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 140, \"completion_tokens\": 4, \"total_tokens\": 144}}\n\n",
///     "data: [DONE]\n\n",
/// );
/// stream.push(body.as_bytes(), |chunk| {
///     if chunk.kind() == ChunkKind::Text {
///         text.push_str(chunk.text());
///     }
/// })?;
/// assert_eq!(text, "An arachnid.");
/// assert_eq!(stream.ending(), Some(StreamEnding::Complete));
/// assert_eq!(stream.usage().usage().map(|usage| usage.total_tokens()), Some(144));
/// # Ok::<(), paceline_transport::sse::EventTooLarge>(())
/// ```
///
/// A server that does not stream answers with one JSON object instead. That is known by its first byte, kept
/// to its [end](AnswerStream::end), and shown as one chunk.
#[derive(Clone, Debug)]
pub struct AnswerStream {
    decoder: Decoder,
    form: Form,
    usage: UsageReading,
    usage_value: Option<Value>,
    service_tier: Option<String>,
    ending: Option<StreamEnding>,
    is_cut_off: bool,
    text_bytes: u64,
    reasoning_bytes: u64,
    malformed: u64,
    /// The object that said what went wrong.
    error: Option<Value>,
}

/// What the bytes of an answer are.
#[derive(Clone, Debug)]
enum Form {
    /// Nothing but space has come.
    Unknown,
    Events,
    /// One JSON object, as far as it has come.
    Object(Vec<u8>),
    /// More of one than is kept.
    TooLarge,
}

/// Bytes of an answer that is no stream, at most: 64 MiB.
const MOST_WHOLE: usize = 64 << 20;

/// Characters of the name of a service tier, at most: the known ones have eight.
const MOST_OF_TIER: usize = 64;

/// How a streamed answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamEnding {
    /// The server said that this was all of it.
    Complete,
    /// An error came in the place of the rest.
    Failed,
}

/// One event of a streamed answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    kind: ChunkKind,
    value: Value,
    text: String,
}

/// What an event of a streamed answer brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChunkKind {
    /// More of the visible text.
    Text,
    /// More of the reasoning, as far as the server shows it.
    Reasoning,
    /// An error, after which nothing comes.
    Error,
    /// Anything else: a role, a call of a tool, usage, the state of the answer.
    Other,
}

impl Chunk {
    /// What it brings.
    pub const fn kind(&self) -> ChunkKind {
        self.kind
    }

    /// The text or the reasoning it brings; empty for others.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole event, as the server sent it.
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// The whole event, as the server sent it.
    pub fn into_value(self) -> Value {
        self.value
    }
}

impl AnswerStream {
    /// A stream of which nothing has come yet.
    pub const fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            form: Form::Unknown,
            usage: UsageReading::Missing,
            usage_value: None,
            service_tier: None,
            ending: None,
            is_cut_off: false,
            text_bytes: 0,
            reasoning_bytes: 0,
            malformed: 0,
            error: None,
        }
    }

    /// Takes in the next bytes, and shows every event that they complete. What comes after the end of
    /// the answer is not looked at.
    ///
    /// # Errors
    /// [`EventTooLarge`] for an event of more than 16 MiB, or an answer of more than 64 that is no
    /// stream, and then again for whatever follows.
    pub fn push(&mut self, bytes: &[u8], mut show: impl FnMut(Chunk)) -> Result<(), EventTooLarge> {
        if self.ending.is_some() {
            return Ok(());
        }
        if matches!(self.form, Form::Unknown) {
            // The space of JSON, which is not all that ASCII has.
            let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
            self.form = match bytes.iter().find(|byte| !is_space(byte)) {
                None => Form::Unknown,
                Some(b'{') => Form::Object(Vec::new()),
                Some(_) => Form::Events,
            };
        }
        match &mut self.form {
            Form::Object(whole) if whole.len() + bytes.len() <= MOST_WHOLE => {
                whole.extend_from_slice(bytes);
                return Ok(());
            }
            Form::Object(_) | Form::TooLarge => {
                // For good: what comes after a gap is no answer.
                self.form = Form::TooLarge;
                return Err(EventTooLarge { most: MOST_WHOLE });
            }
            Form::Unknown | Form::Events => {}
        }
        // Apart while it decodes, as each event is read into the rest.
        let mut decoder = std::mem::take(&mut self.decoder);
        let pushed = decoder.push(bytes, |event| {
            if let Some(chunk) = self.read(event) {
                show(chunk);
            }
        });
        self.decoder = decoder;
        pushed
    }

    /// Its bytes are over. Shows the answer of a server that did not stream it; a stream has been shown
    /// already.
    pub fn end(&mut self, show: impl FnOnce(Chunk)) {
        let Form::Object(whole) = std::mem::replace(&mut self.form, Form::Events) else { return };
        match serde_json::from_slice::<Value>(&whole) {
            Ok(value) => show(self.read_whole(value)),
            Err(_) => self.malformed += 1,
        }
    }

    /// How it ended; `None` as long as the server has not said. Where its bytes end before that, it was
    /// cut off.
    pub const fn ending(&self) -> Option<StreamEnding> {
        self.ending
    }

    /// What the server said that the whole answer used.
    pub const fn usage(&self) -> UsageReading {
        self.usage
    }

    /// The object in which it said that.
    pub const fn usage_value(&self) -> Option<&Value> {
        self.usage_value.as_ref()
    }

    /// The service tier on which the server said that it answers.
    pub fn service_tier(&self) -> Option<&str> {
        self.service_tier.as_deref()
    }

    /// Whether the answer ended because its cap was reached.
    pub const fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// Bytes of visible text so far.
    pub const fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Bytes of reasoning that was shown so far.
    pub const fn reasoning_bytes(&self) -> u64 {
        self.reasoning_bytes
    }

    /// The error that came in the place of the rest.
    pub const fn error(&self) -> Option<&Value> {
        self.error.as_ref()
    }

    /// How many events were no JSON objects, and were left out.
    pub const fn malformed(&self) -> u64 {
        self.malformed
    }

    fn read(&mut self, event: Event<'_>) -> Option<Chunk> {
        if self.ending.is_some() {
            return None;
        }
        if event.data == "[DONE]" {
            self.ending = Some(StreamEnding::Complete);
            return None;
        }
        let value: Value = match serde_json::from_str(event.data) {
            Ok(value @ Value::Object(_)) => value,
            _ => {
                self.malformed += 1;
                return None;
            }
        };
        let (kind, text) = match value.get("type").and_then(Value::as_str) {
            Some(name) => self.response_event(name, &value),
            None => self.chat_chunk(event.name, &value),
        };
        let text = text.to_owned();
        match kind {
            ChunkKind::Text => self.text_bytes += text.len() as u64,
            ChunkKind::Reasoning => self.reasoning_bytes += text.len() as u64,
            ChunkKind::Error => {
                self.ending = Some(StreamEnding::Failed);
                self.error = Some(value.clone());
            }
            ChunkKind::Other => {}
        }
        Some(Chunk { kind, value, text })
    }

    /// A `chat.completion.chunk`, or the flat object that tells of an error.
    fn chat_chunk<'a>(&mut self, name: &str, value: &'a Value) -> (ChunkKind, &'a str) {
        if name == "error" || value.get("error").is_some_and(|error| !error.is_null()) {
            return (ChunkKind::Error, "");
        }
        if value.get("usage").is_some_and(|usage| !usage.is_null()) {
            // Told more than once, it grows: the last one is the whole.
            self.read_usage(value);
        }
        self.read_tier(value);
        let choices = value.get("choices").and_then(Value::as_array);
        self.is_cut_off |= answer::is_cut_off(value);
        let mut found = (ChunkKind::Other, "");
        for choice in choices.into_iter().flatten() {
            let delta = |field: &str| {
                choice.get("delta")?.get(field)?.as_str().filter(|text| !text.is_empty())
            };
            if let Some(text) = delta("content") {
                found = (ChunkKind::Text, text);
            } else if let Some(text) = delta("reasoning_content") {
                found = (ChunkKind::Reasoning, text);
            }
        }
        found
    }

    /// An event of `/v1/responses`.
    fn response_event<'a>(&mut self, name: &str, value: &'a Value) -> (ChunkKind, &'a str) {
        let delta = || value.get("delta").and_then(Value::as_str).unwrap_or_default();
        match name {
            "response.output_text.delta" => (ChunkKind::Text, delta()),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                (ChunkKind::Reasoning, delta())
            }
            "error" | "response.failed" => {
                self.read_response(value);
                (ChunkKind::Error, "")
            }
            "response.completed" | "response.incomplete" => {
                self.read_response(value);
                self.ending = Some(StreamEnding::Complete);
                (ChunkKind::Other, "")
            }
            _ => (ChunkKind::Other, ""),
        }
    }

    fn read_usage(&mut self, answer: &Value) {
        self.usage = read_chat(answer);
        self.usage_value = answer.get("usage").cloned();
    }

    fn read_tier(&mut self, answer: &Value) {
        if let Some(tier) = answer.get("service_tier").and_then(Value::as_str) {
            self.service_tier = Some(tier.chars().take(MOST_OF_TIER).collect());
        }
    }

    /// The answer of a server that does not stream.
    fn read_whole(&mut self, value: Value) -> Chunk {
        if value.get("error").is_some_and(|error| !error.is_null()) {
            self.ending = Some(StreamEnding::Failed);
            self.error = Some(value.clone());
            return Chunk { kind: ChunkKind::Error, value, text: String::new() };
        }
        self.ending = Some(StreamEnding::Complete);
        self.read_usage(&value);
        self.read_tier(&value);
        let reasoning = value.pointer("/choices/0/message/reasoning_content");
        self.reasoning_bytes =
            reasoning.and_then(Value::as_str).map_or(0, |text| text.len() as u64);
        self.is_cut_off = answer::is_cut_off(&value);
        let text: String = answer::texts(&value).collect();
        self.text_bytes = text.len() as u64;
        let kind = if text.is_empty() { ChunkKind::Other } else { ChunkKind::Text };
        Chunk { kind, value, text }
    }

    fn read_response(&mut self, value: &Value) {
        let Some(response) = value.get("response") else { return };
        self.read_usage(response);
        self.read_tier(response);
        self.is_cut_off |= answer::is_cut_off(response);
    }
}

impl Default for AnswerStream {
    fn default() -> Self {
        Self::new()
    }
}
