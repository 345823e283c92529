//! What came back.

use paceline_core::{ModelId, Money, UnixMillis, Usage};
use paceline_transport::answer::texts;
use serde_json::Value;

/// A good answer, and what it used.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub(crate) value: Value,
    pub(crate) model: ModelId,
    pub(crate) usage: Option<Usage>,
    pub(crate) cost: Option<Money>,
    pub(crate) attempts: u32,
    pub(crate) status: u16,
    pub(crate) sent_at: UnixMillis,
    pub(crate) finished_at: UnixMillis,
}

impl Reply {
    /// The text of a chat's first choice, or the first text of a response; `None` where there is none,
    /// such as for tool calls.
    pub fn text(&self) -> Option<&str> {
        texts(&self.value).next()
    }

    /// The whole answer.
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// The model that was asked.
    pub const fn model(&self) -> &ModelId {
        &self.model
    }

    /// What it used; `None` where the server did not say. Then what was reserved counts as used.
    pub const fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// What it cost: what the server said, else by the price table. `None` where neither knows.
    pub const fn cost(&self) -> Option<Money> {
        self.cost
    }

    /// How many times it was sent.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The status of the answer.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// When the last attempt left.
    pub const fn sent_at(&self) -> UnixMillis {
        self.sent_at
    }

    /// When its answer was complete.
    pub const fn finished_at(&self) -> UnixMillis {
        self.finished_at
    }
}
