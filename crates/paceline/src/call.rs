//! A call, whatever it asks: what is sent, any number of times, and what its size depends on.
//!
//! It is sent nowhere here.

use bytes::Bytes;
use paceline_budget::CallShape;
use paceline_core::{Caller, Tag};
use serde_json::{Map, Value};

use crate::client::Client;
use crate::demand::Asking;
use crate::error::{Error, ErrorKind};
use crate::request::{Chat, JsonCall, Responses};
use crate::terms::AskedTerms;

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
    /// The cap on its output tokens, where it has one.
    pub(crate) cap: Option<u64>,
    pub(crate) terms: AskedTerms,
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
            cap: chat.cap(),
            terms: AskedTerms::of(chat.body(), &client.0.base),
            usage,
            accept: JSON,
        })
    }

    pub(crate) fn responses(client: &Client, ask: &Responses) -> Result<Self, Error> {
        Ok(Self {
            name: client.name(ask.name()),
            operation: "chat",
            path: "responses".to_owned(),
            body: json(ask.body())?,
            shape: ask.shape(client.tokenizer()),
            tag: ask.tag_name().cloned(),
            caller: ask.caller_name().cloned(),
            cap: ask.cap(),
            terms: AskedTerms::of(ask.body(), &client.0.base),
            usage: UsageAt::Chat,
            accept: JSON,
        })
    }

    /// What its demand depends on.
    pub(crate) fn asking(&self) -> Asking<'_> {
        let (tag, caller) = (self.tag.as_ref(), self.caller.as_ref());
        Asking { shape: &self.shape, tag, caller, terms: &self.terms }
    }

    /// What an answer says it used, as it says it.
    pub(crate) fn usage_of<'a>(&self, answer: &'a Value) -> Option<&'a Value> {
        match &self.usage {
            UsageAt::Chat => answer.get("usage").or_else(|| answer.get("token_usage")),
            UsageAt::Pointer(pointer) => answer.pointer(pointer),
        }
    }

    /// The same, answered by a stream of events.
    pub(crate) fn streamed(mut self) -> Self {
        self.accept = "text/event-stream";
        self
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
            cap: None,
            terms: AskedTerms::of(call.body.as_object().unwrap_or(&Map::new()), &client.0.base),
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

pub(crate) const JSON: &str = "application/json";
