//! A call, whatever it asks: what is sent, any number of times, and what its size depends on.
//!
//! It is sent nowhere here.

use bytes::Bytes;
use paceline_budget::CallShape;
use paceline_core::Tag;

use crate::error::{Error, ErrorKind};
use crate::request::{Chat, JsonCall, Responses};

/// A call, ready to be sent any number of times.
pub(crate) struct Call {
    pub(crate) name: String,
    /// What is done, by OpenTelemetry's name for it.
    pub(crate) operation: &'static str,
    pub(crate) path: String,
    pub(crate) body: Bytes,
    pub(crate) shape: CallShape,
    pub(crate) tag: Option<Tag>,
    /// The cap on its output tokens, where it has one.
    pub(crate) cap: Option<u64>,
    pub(crate) usage: UsageAt,
    /// The type of answer that is asked for.
    pub(crate) accept: &'static str,
}

/// Where an answer tells its usage.
pub(crate) enum UsageAt {
    Chat,
    Pointer(String),
}

impl Call {
    pub(crate) fn chat(chat: &Chat, name: String) -> Result<Self, Error> {
        let (shape, usage) = (chat.shape(), UsageAt::Chat);
        Ok(Self {
            name,
            operation: "chat",
            path: "chat/completions".to_owned(),
            body: json(chat.body())?,
            shape,
            tag: chat.tag_name().cloned(),
            cap: chat.cap(),
            usage,
            accept: JSON,
        })
    }

    pub(crate) fn responses(ask: &Responses, name: String) -> Result<Self, Error> {
        Ok(Self {
            name,
            operation: "chat",
            path: "responses".to_owned(),
            body: json(ask.body())?,
            shape: ask.shape(),
            tag: ask.tag_name().cloned(),
            cap: ask.cap(),
            usage: UsageAt::Chat,
            accept: JSON,
        })
    }

    /// The same, answered by a stream of events.
    pub(crate) fn streamed(mut self) -> Self {
        self.accept = "text/event-stream";
        self
    }

    pub(crate) fn json(call: &JsonCall, name: String) -> Result<Self, Error> {
        let usage = UsageAt::Pointer(call.usage_pointer.clone());
        Ok(Self {
            name,
            operation: "generate_content",
            path: call.path.clone(),
            body: json(&call.body)?,
            shape: call.shape(),
            tag: call.tag.clone(),
            cap: None,
            usage,
            accept: JSON,
        })
    }
}

fn json(value: &impl serde::Serialize) -> Result<Bytes, Error> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Error::new(ErrorKind::Settings, "the body is no JSON").because(error))?;
    Ok(Bytes::from(bytes))
}

const JSON: &str = "application/json";
