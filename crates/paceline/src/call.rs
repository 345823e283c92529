//! A call, whatever it asks: what is sent, any number of times, and what its size depends on.
//!
//! It is sent nowhere here.

use bytes::Bytes;
use paceline_budget::CallShape;
use paceline_core::{Caller, Tag};

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::request::{Chat, JsonCall};

/// A call, ready to be sent any number of times.
pub(crate) struct Call {
    pub(crate) name: String,
    /// What is done, by OpenTelemetry's name for it.
    pub(crate) operation: &'static str,
    pub(crate) path: String,
    pub(crate) body: Bytes,
    pub(crate) shape: CallShape,
    pub(crate) tag: Option<Tag>,
    pub(crate) caller: Option<Caller>,
    pub(crate) usage: UsageAt,
}

/// Where an answer tells its usage.
pub(crate) enum UsageAt {
    Chat,
    Pointer(String),
}

impl Call {
    pub(crate) fn chat(client: &Client, chat: &Chat) -> Result<Self, Error> {
        let (shape, usage) = (chat.shape(client.tokenizer()), UsageAt::Chat);
        Ok(Self {
            name: client.name(chat.name()),
            operation: "chat",
            path: "chat/completions".to_owned(),
            body: json(chat.body())?,
            shape,
            tag: chat.tag_name().cloned(),
            caller: chat.caller_name().cloned(),
            usage,
        })
    }

    pub(crate) fn json(client: &Client, call: &JsonCall) -> Result<Self, Error> {
        let usage = UsageAt::Pointer(call.usage_pointer.clone());
        Ok(Self {
            name: client.name(call.name.as_deref()),
            operation: "generate_content",
            path: call.path.clone(),
            body: json(&call.body)?,
            shape: call.shape(client.tokenizer()),
            tag: call.tag.clone(),
            caller: call.caller.clone(),
            usage,
        })
    }
}

fn json(value: &impl serde::Serialize) -> Result<Bytes, Error> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Error::new(ErrorKind::Settings, "the body is no JSON").because(error))?;
    Ok(Bytes::from(bytes))
}
