//! A call to `/v1/responses`.

use paceline_budget::{CallShape, CapRule, Endpoint, Features, OutputKey, tiers};
use paceline_core::{ModelId, Tag};
use serde_json::{Map, Value, json};

use super::{add_strings, tagged};

/// A call to `/v1/responses`. Fields that pacing does not need go through unchanged.
///
/// ```
/// use paceline::Responses;
/// let ask = Responses::new("grok-4.3").instructions("Be brief.").user("What is a spider?");
/// assert_eq!(ask.body()["input"][0]["content"], "What is a spider?");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Responses {
    body: Map<String, Value>,
    name: Option<String>,
    tag: Option<Tag>,
}

impl Responses {
    /// A call to a model, without input yet.
    pub fn new(model: impl Into<ModelId>) -> Self {
        let model: ModelId = model.into();
        let mut body = Map::new();
        body.insert("model".to_owned(), Value::from(model.as_str()));
        body.insert("input".to_owned(), Value::Array(Vec::new()));
        Self { body, name: None, tag: None }
    }

    /// A call with this whole request body, as the API takes it. `None` where it lacks a model.
    pub fn from_body(body: Map<String, Value>) -> Option<Self> {
        body.get("model")?.as_str()?;
        Some(Self { body, name: None, tag: None })
    }

    /// With what the model is told before all input.
    #[must_use]
    pub fn instructions(self, text: impl Into<String>) -> Self {
        self.field("instructions", text.into())
    }

    /// With one more message of the user.
    #[must_use]
    pub fn user(self, text: impl Into<String>) -> Self {
        self.item(json!({ "role": "user", "content": text.into() }))
    }

    /// With one more item of input, as the API takes it.
    #[must_use]
    pub fn item(mut self, item: Value) -> Self {
        if let Some(Value::Array(items)) = self.body.get_mut("input") {
            items.push(item);
        }
        self
    }

    /// With a cap on visible output tokens (`max_output_tokens`). It does not bound what is billed:
    /// reasoning comes on top.
    #[must_use]
    pub fn max_output_tokens(self, tokens: u64) -> Self {
        self.field("max_output_tokens", tokens)
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

    /// From a place in the program; see [`Chat::tag`](crate::Chat::tag).
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

    pub(crate) fn streaming(&self) -> Self {
        self.clone().field("stream", true)
    }

    /// The cap on its output tokens.
    pub(crate) fn cap(&self) -> Option<u64> {
        self.body.get("max_output_tokens").and_then(Value::as_u64)
    }

    /// What its size depends on.
    pub(crate) fn shape(&self) -> CallShape {
        let model = self.body.get("model").and_then(Value::as_str).unwrap_or_default();
        let model = tiers::canonical(&ModelId::from(model));
        let mut features = Features::default();
        match self.body.get("input") {
            Some(Value::Array(items)) => items.iter().for_each(|item| {
                features.add_message();
                let content = item.get("content").unwrap_or(item);
                add_strings(&mut features, content, 0);
            }),
            Some(input) => {
                features.add_message();
                add_strings(&mut features, input, 0);
            }
            None => {}
        }
        if let Some(instructions) = self.body.get("instructions") {
            features.add_message();
            add_strings(&mut features, instructions, 0);
        }
        for field in ["tools", "text"] {
            if let Some(value) = self.body.get(field) {
                features.merge(&Features::of_text(&value.to_string()));
            }
        }
        let output = self.output(&model);
        CallShape::new(model, features).endpoint(Endpoint::Responses).output(output)
    }

    fn output(&self, model: &ModelId) -> OutputKey {
        let mut key = tagged(self.tag.as_ref());
        let effort = self.body.get("reasoning").and_then(|reasoning| reasoning.get("effort"));
        if let Some(effort) = effort.and_then(Value::as_str) {
            key = key.effort(effort);
        }
        let has_tools = self.body.contains_key("tools");
        match self.cap() {
            Some(cap) if has_tools => key.cap(cap, CapRule::VisibleOnly),
            Some(cap) => key.cap(cap, CapRule::of(model)),
            None => key,
        }
    }
}
