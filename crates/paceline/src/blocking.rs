//! The client for scripts and threads: each call blocks until its answer is there.
//!
//! It is the same client on a runtime of its own, with the same limits, retries and budgets.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, ErrorKind};
use crate::reply::Reply;
use crate::request::{Chat, JsonCall};

/// A client whose calls block the thread. Clones share everything; give one to each thread.
///
/// ```
/// use paceline::{Chat, Client, blocking};
/// # use paceline_transport::mock::MockTransport;
/// # let transport = MockTransport::new().answer(200, r#"{
/// #   "choices": [{"message": {"role": "assistant", "content": "An arachnid."}}],
/// #   "usage": {"prompt_tokens": 140, "completion_tokens": 4, "total_tokens": 144}}"#);
/// let client = Client::builder()
/// #   .base_url("http://127.0.0.1:1/v1").transport(transport)
///     .build()?;
/// let client = blocking::Client::new(client)?;
/// let reply = client.chat(&Chat::new("grok-4.3").user("What is a spider?"))?;
/// assert_eq!(reply.text(), Some("An arachnid."));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Panics
/// Its calls panic inside an asynchronous runtime, whose threads must not block: use
/// [`Client`](crate::Client) there.
#[derive(Clone, Debug)]
pub struct Client {
    client: crate::Client,
    /// One thread of its own drives what is in flight, whichever threads wait for it.
    runtime: Arc<Runtime>,
}

impl Client {
    /// The blocking form of a client.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] where the system gives no thread.
    pub fn new(client: crate::Client) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("paceline")
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Settings, "no thread for the client").because(error)
            })?;
        Ok(Self { client, runtime: Arc::new(runtime) })
    }

    /// Sends a chat when its turn has come, and waits for the answer.
    ///
    /// # Errors
    /// As [`Client::chat`](crate::Client::chat).
    pub fn chat(&self, chat: &Chat) -> Result<Reply, Error> {
        self.runtime.block_on(self.client.chat(chat))
    }

    /// Sends a JSON call when its turn has come, and waits for the answer.
    ///
    /// # Errors
    /// As [`Client::json`](crate::Client::json).
    pub fn json(&self, json: &JsonCall) -> Result<Reply, Error> {
        self.runtime.block_on(self.client.json(json))
    }

    /// The client behind it, for estimates, limits and budgets, none of which block.
    pub const fn client(&self) -> &crate::Client {
        &self.client
    }
}
