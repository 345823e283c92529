//! What can be asked: a chat, a response, or any JSON endpoint.

use paceline_budget::{CallShape, CapRule, Endpoint, Features, OutputKey, tiers};
use paceline_core::{ModelId, Tag};
use serde_json::{Map, Value, json};

mod responses;

pub use responses::Responses;

/// A chat completion. Fields that pacing does not need go through unchanged.
///
/// ```
/// use paceline::Chat;
/// let chat = Chat::new("grok-4.3").system("Be brief.").user("What is a spider?");
/// assert_eq!(chat.body()["messages"][1]["content"], "What is a spider?");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Chat {
    body: Map<String, Value>,
    name: Option<String>,
    tag: Option<Tag>,
}

/// A call to any endpoint that takes and answers JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonCall {
    pub(crate) path: String,
    pub(crate) model: ModelId,
    pub(crate) body: Value,
    pub(crate) usage_pointer: String,
    pub(crate) name: Option<String>,
    pub(crate) tag: Option<Tag>,
}

impl Chat {
    /// A chat with a model, without messages yet.
    pub fn new(model: impl Into<ModelId>) -> Self {
        let model: ModelId = model.into();
        let mut body = Map::new();
        body.insert("model".to_owned(), Value::from(model.as_str()));
        body.insert("messages".to_owned(), Value::Array(Vec::new()));
        Self { body, name: None, tag: None }
    }

    /// A chat with this whole request body, as the API takes it. `None` where it lacks a model.
    pub fn from_body(body: Map<String, Value>) -> Option<Self> {
        body.get("model")?.as_str()?;
        Some(Self { body, name: None, tag: None })
    }

    /// With one more message of the system.
    #[must_use]
    pub fn system(self, text: impl Into<String>) -> Self {
        self.message(json!({ "role": "system", "content": text.into() }))
    }

    /// With one more message of the user.
    #[must_use]
    pub fn user(self, text: impl Into<String>) -> Self {
        self.message(json!({ "role": "user", "content": text.into() }))
    }

    /// With one more message of the assistant, such as an answer received before.
    #[must_use]
    pub fn assistant(self, text: impl Into<String>) -> Self {
        self.message(json!({ "role": "assistant", "content": text.into() }))
    }

    /// With one more message, as the API takes it.
    #[must_use]
    pub fn message(mut self, message: Value) -> Self {
        if let Some(Value::Array(messages)) = self.body.get_mut("messages") {
            messages.push(message);
        }
        self
    }

    /// With a cap on visible output tokens (`max_completion_tokens`). It does not bound what is
    /// billed: reasoning comes on top.
    #[must_use]
    pub fn max_output_tokens(self, tokens: u64) -> Self {
        self.field("max_completion_tokens", tokens)
    }

    /// With any other field of the request, in place of what was there.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.body.insert(name.into(), value.into());
        self
    }

    /// With a name of its own in the record of attempts. Default: a number.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// From a place in the program, such as `summaries`: its answers are estimated from those of the
    /// same place, budgets and limits of that tag count it, and records name it. Use a few names, not
    /// one per call. Default: none.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Tag>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// The request body.
    pub const fn body(&self) -> &Map<String, Value> {
        &self.body
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) const fn tag_name(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    pub(crate) fn model(&self) -> ModelId {
        ModelId::from(self.body.get("model").and_then(Value::as_str).unwrap_or_default())
    }

    /// What its size depends on.
    pub(crate) fn shape(&self) -> CallShape {
        let mut features = Features::default();
        let messages = self.body.get("messages").and_then(Value::as_array);
        for message in messages.into_iter().flatten() {
            features.add_message();
            match message.get("content") {
                Some(Value::String(text)) => features.merge(&Features::of_text(text)),
                Some(Value::Array(parts)) => {
                    let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
                    texts.for_each(|text| features.merge(&Features::of_text(text)));
                }
                _ => {}
            }
        }
        for field in ["tools", "response_format"] {
            if let Some(value) = self.body.get(field) {
                features.merge(&Features::of_text(&value.to_string()));
            }
        }
        let model = tiers::canonical(&self.model());
        let output = self.output(&model);
        CallShape::new(model, features).output(output)
    }

    /// The same, answered by a stream that tells its usage at the end.
    pub(crate) fn streaming(&self) -> Self {
        let mut chat = self.clone().field("stream", true);
        let options = chat.body.entry("stream_options").or_insert_with(|| json!({}));
        if let Value::Object(options) = options {
            options.insert("include_usage".to_owned(), Value::Bool(true));
        }
        chat
    }

    /// The cap on its output tokens.
    pub(crate) fn cap(&self) -> Option<u64> {
        let number = |field: &str| self.body.get(field).and_then(Value::as_u64);
        number("max_completion_tokens").or_else(|| number("max_tokens"))
    }

    /// What the length of its answer depends on.
    fn output(&self, model: &ModelId) -> OutputKey {
        let mut key = tagged(self.tag.as_ref());
        if let Some(effort) = self.body.get("reasoning_effort").and_then(Value::as_str) {
            key = key.effort(effort);
        }
        let Some(cap) = self.cap() else { return key };
        // Calls of tools come on top of a cap, and every choice has its own.
        let choices = self.body.get("n").and_then(Value::as_u64);
        let is_plain = choices.unwrap_or(1) == 1 && !self.body.contains_key("tools");
        let rule = if is_plain { CapRule::of(model) } else { CapRule::VisibleOnly };
        key.cap(cap, rule)
    }
}

impl JsonCall {
    /// A POST of `body` to a path below the base address, such as `process`, whose answer has
    /// its usage at a JSON pointer (RFC 6901) such as `/token_usage`.
    pub fn post(path: Path, model: impl Into<ModelId>, body: Value) -> Self {
        let (name, tag) = (None, None);
        Self { path: path.path, model: model.into(), body, usage_pointer: path.usage, name, tag }
    }

    /// With a name of its own in the record of attempts.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// From a place in the program; see [`Chat::tag`].
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Tag>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    pub(crate) fn shape(&self) -> CallShape {
        let mut features = Features::default();
        features.add_message();
        add_strings(&mut features, &self.body, 0);
        CallShape::new(tiers::canonical(&self.model), features)
            .endpoint(Endpoint::Other)
            .output(tagged(self.tag.as_ref()))
    }
}

/// A path below the base address, and where its answers tell their usage.
///
/// ```
/// use paceline::{JsonCall, Path};
/// use serde_json::json;
/// let process = Path::new("process").usage_at("/token_usage");
/// let call = JsonCall::post(process, "grok-2", json!({ "text": "Hello" }));
/// # let _ = call;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    path: String,
    usage: String,
}

impl Path {
    /// A path; usage is looked for at `/usage` unless told otherwise.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), usage: "/usage".to_owned() }
    }

    /// With usage at another JSON pointer.
    #[must_use]
    pub fn usage_at(mut self, pointer: impl Into<String>) -> Self {
        self.usage = pointer.into();
        self
    }
}

/// What the length of an answer depends on, as far as that is where its call comes from.
fn tagged(tag: Option<&Tag>) -> OutputKey {
    match tag {
        Some(tag) => OutputKey::new().tag(tag.clone()),
        None => OutputKey::new(),
    }
}

/// Adds every string of a JSON value, to a bounded depth.
fn add_strings(features: &mut Features, value: &Value, depth: u32) {
    match value {
        Value::String(text) => features.merge(&Features::of_text(text)),
        Value::Array(items) if depth < 32 => {
            items.iter().for_each(|item| add_strings(features, item, depth + 1));
        }
        Value::Object(fields) if depth < 32 => {
            fields.values().for_each(|item| add_strings(features, item, depth + 1));
        }
        _ => {}
    }
}
