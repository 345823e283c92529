//! The server's own count of a text (`/v1/tokenize-text`), and what it is to a chat: a lower bound.
//!
//! It counts texts alone. What frames and hides beside them is learned from the answers, on top.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::Method;
use paceline_budget::Tokenizer;
use paceline_core::{ModelId, Usage};
use serde_json::{Value, json};

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::request::Chat;
use crate::shape::Shape;

impl Client {
    /// How many tokens a text has by a model's own tokenizer (`POST /v1/tokenize-text`).
    ///
    /// It is one request, which waits for no turn and is not retried: xAI does not say whether it is
    /// limited or charged. The tokens that frame a message and those of hidden text are not in it.
    ///
    /// # Errors
    /// [`Error`] where there is no such answer; [`ErrorKind::BadAnswer`] where it holds no list of tokens.
    ///
    /// # Cancel safety
    /// Dropped, it has changed nothing.
    pub async fn tokenize(&self, model: &ModelId, text: &str) -> Result<u64, Error> {
        let body = json!({ "model": model.as_str(), "text": text }).to_string();
        let answer = self.ask(Method::POST, "tokenize-text", Bytes::from(body)).await?;
        tokens(&answer)
            .ok_or_else(|| Error::new(ErrorKind::BadAnswer, "the answer holds no list of tokens"))
    }

    /// The same chat, with the server's own count of its texts in its estimate; see
    /// [`Chat::text_tokens`]. All of its texts go to the server in one request.
    ///
    /// It pays where a call is large and few are made: for many calls the estimate learns as much from
    /// their answers, at no request more.
    ///
    /// # Errors
    /// As [`Client::tokenize`].
    ///
    /// # Cancel safety
    /// Dropped, it has changed nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use paceline::{Chat, Client};
    /// # let transport = paceline_transport::mock::MockTransport::new().answer(200, r#"{"token_ids": [
    /// #   {"token_id": 1}, {"token_id": 2}, {"token_id": 3}]}"#);
    /// # let client = Client::builder().base_url("http://127.0.0.1:1/v1").transport(transport).build()?;
    /// let chat = Chat::new("grok-4.3").user("What is a spider?");
    /// let counted = client.counted(chat).await?;
    /// assert!(client.estimate(&counted).input().expected_amount() >= 3);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn counted(&self, chat: Chat) -> Result<Chat, Error> {
        let texts = Texts::default();
        Shape::new(Some(&texts)).chat(chat.body());
        let (text, joints) = texts.into_inner();
        let tokens = self.tokenize(&chat.model(), &text).await?;
        // A joint is a line break that no message has; a token at most.
        Ok(chat.text_tokens(tokens.saturating_sub(joints)))
    }
}

/// Takes the place of a tokenizer, to see the texts that it would count.
#[derive(Default)]
struct Texts(Mutex<(String, u64)>);

impl Texts {
    fn into_inner(self) -> (String, u64) {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tokenizer for Texts {
    fn count(&self, text: &str) -> u64 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.0.is_empty() {
            all.0.push('\n');
            all.1 += 1;
        }
        all.0.push_str(text);
        0
    }
}

/// The length of the list, as REST and gRPC name it; nothing where it can't be.
fn tokens(answer: &Value) -> Option<u64> {
    let list = answer.get("token_ids").or_else(|| answer.get("tokens"))?.as_array()?;
    u64::try_from(list.len()).ok().filter(|tokens| *tokens <= Usage::MAX_TOKENS)
}
