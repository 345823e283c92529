//! What can be asked: a chat, a response, or any JSON endpoint.

use paceline_budget::{CallShape, CapRule, Endpoint, OutputKey, Tokenizer, tiers};
use paceline_core::{Caller, ModelId, Tag};
use serde_json::{Map, Value, json};

use crate::shape::Shape;

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
    caller: Option<Caller>,
    text_tokens: Option<u64>,
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
    pub(crate) caller: Option<Caller>,
}

impl Chat {
    /// A chat with a model, without messages yet.
    pub fn new(model: impl Into<ModelId>) -> Self {
        let model: ModelId = model.into();
        let mut body = Map::new();
        body.insert("model".to_owned(), Value::from(model.as_str()));
        body.insert("messages".to_owned(), Value::Array(Vec::new()));
        Self { body, name: None, tag: None, caller: None, text_tokens: None }
    }

    /// A chat with this whole request body, as the API takes it. `None` where it lacks a model.
    pub fn from_body(body: Map<String, Value>) -> Option<Self> {
        body.get("model")?.as_str()?;
        Some(Self { body, name: None, tag: None, caller: None, text_tokens: None })
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

    /// With a name of its own in the record of attempts; one that was recorded before is refused with
    /// [`ErrorKind::NotRecorded`](crate::ErrorKind::NotRecorded). Default: one that no other client gives.
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

    /// For a tenant, a user or a key: budgets and limits of that caller count it, queues share among
    /// callers, and records name it. Name people by what tells nobody who they are. Default: none.
    #[must_use]
    pub fn caller(mut self, caller: impl Into<Caller>) -> Self {
        self.caller = Some(caller.into());
        self
    }

    /// With the tokens of all its texts, as the server's own tokenizer counts them. The estimate of its
    /// input is not below that, and what is framed and hidden beside is learned on top, together with
    /// what the client's [tokenizer](crate::ClientBuilder::tokenizer) is off by: use one of the two with
    /// a model. Default: not known. [`Client::counted`](crate::Client::counted) asks for it.
    #[must_use]
    pub const fn text_tokens(mut self, tokens: u64) -> Self {
        self.text_tokens = Some(tokens);
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

    pub(crate) const fn caller_name(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    pub(crate) fn model(&self) -> ModelId {
        ModelId::from(self.body.get("model").and_then(Value::as_str).unwrap_or_default())
    }

    /// What its size depends on.
    pub(crate) fn shape(&self, tokenizer: Option<&dyn Tokenizer>) -> CallShape {
        let model = tiers::canonical(&self.model());
        let output = self.output(&model);
        let Some(tokens) = self.text_tokens else {
            let features = Shape::new(tokenizer).chat(&self.body);
            return CallShape::new(model, features).output(output);
        };
        let mut features = Shape::new(None).chat(&self.body);
        features.add_borrowed(tokens);
        CallShape::new(model, features).output(output).at_least(tokens)
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
        Self {
            path: path.path,
            model: model.into(),
            body,
            usage_pointer: path.usage,
            name: None,
            tag: None,
            caller: None,
        }
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

    /// For a tenant, a user or a key; see [`Chat::caller`].
    #[must_use]
    pub fn caller(mut self, caller: impl Into<Caller>) -> Self {
        self.caller = Some(caller.into());
        self
    }

    pub(crate) fn shape(&self, tokenizer: Option<&dyn Tokenizer>) -> CallShape {
        let (shape, endpoint) = (Shape::new(tokenizer), self.endpoint());
        let features = match (endpoint, &self.body) {
            (Endpoint::Chat, Value::Object(body)) => shape.chat(body),
            (Endpoint::Responses, Value::Object(body)) => shape.responses(body),
            _ => shape.other(&self.body),
        };
        let model = tiers::canonical(&self.model);
        let output = self.output(&model);
        CallShape::new(model, features).endpoint(endpoint).output(output)
    }

    /// Which endpoint it is, by the end of its path.
    fn endpoint(&self) -> Endpoint {
        match self.path.trim_matches('/') {
            path if path == "responses" || path.ends_with("/responses") => Endpoint::Responses,
            path if path.ends_with("chat/completions") => Endpoint::Chat,
            _ => Endpoint::Other,
        }
    }

    /// What the length of its answer depends on.
    fn output(&self, model: &ModelId) -> OutputKey {
        let mut key = tagged(self.tag.as_ref());
        let effort = ["/reasoning/effort", "/reasoning_effort"];
        if let Some(effort) = effort.iter().find_map(|at| self.body.pointer(at)?.as_str()) {
            key = key.effort(effort);
        }
        let caps = ["max_output_tokens", "max_completion_tokens", "max_tokens"];
        let Some(cap) = caps.iter().find_map(|field| self.body.get(field)?.as_u64()) else {
            return key;
        };
        let is_plain = self.body.get("n").is_none_or(|n| n.as_u64() == Some(1))
            && self.body.get("tools").is_none();
        key.cap(cap, if is_plain { CapRule::of(model) } else { CapRule::VisibleOnly })
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
