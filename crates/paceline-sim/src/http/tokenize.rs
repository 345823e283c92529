//! `/v1/tokenize-text`: the tokens of a text alone, by the tokenizer that counts the calls.
//!
//! Nothing of what is hidden in a call or frames its messages is in it, as on the real server: the
//! input of a call is more. It is no call: no limit counts it, and it costs nothing.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::models::find;
use super::refusal;
use super::tokens::Tokenizer;

type Refusal = Box<Response<Bytes>>;

/// The body of the answer to a request with this body.
pub(super) fn answer(body: &[u8], tokenizer: &Tokenizer) -> Result<Value, Refusal> {
    let body: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|_| bad("Failed to parse the request body as a JSON object."))?;
    let name = body.get("model").and_then(Value::as_str).unwrap_or_default();
    find(name).ok_or_else(|| Box::new(refusal::no_model(name)))?;
    let text = body.get("text").and_then(Value::as_str).ok_or_else(|| bad("There is no text."))?;
    let tokens = tokenizer.tokens(text).into_iter().map(|(id, bytes)| {
        let string = String::from_utf8_lossy(&bytes);
        json!({ "token_id": id, "string_token": string, "token_bytes": bytes })
    });
    Ok(json!({ "token_ids": tokens.collect::<Vec<_>>() }))
}

fn bad(text: &str) -> Refusal {
    Box::new(refusal::plain(StatusCode::BAD_REQUEST, "invalid-argument", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &Value) -> Result<Value, StatusCode> {
        answer(body.to_string().as_bytes(), &Tokenizer::O200k).map_err(|answer| answer.status())
    }

    #[test]
    fn a_text_comes_back_in_pieces_that_are_the_whole_of_it() {
        let text = "Hello, \u{1f986} world";
        let answer = ask(&json!({ "text": text, "model": "grok-4.3" })).expect("well formed");
        let tokens = answer["token_ids"].as_array().expect("a list");
        assert_eq!(tokens.len() as u64, Tokenizer::O200k.count(text));
        let bytes = tokens.iter().flat_map(|token| token["token_bytes"].as_array().expect("bytes"));
        let bytes: Vec<u8> = bytes
            .map(|byte| u8::try_from(byte.as_u64().expect("a number")).expect("a byte"))
            .collect();
        assert_eq!(bytes, text.as_bytes());
        assert_eq!(tokens[0]["string_token"], "Hello");
        assert!(tokens[0]["token_id"].is_u64());
    }

    #[test]
    fn what_is_no_such_request_is_refused() {
        assert_eq!(ask(&json!({ "model": "grok-4.3" })), Err(StatusCode::BAD_REQUEST));
        assert_eq!(ask(&json!({ "text": "x", "model": "grok-99" })), Err(StatusCode::NOT_FOUND));
        assert_eq!(ask(&json!([])), Err(StatusCode::BAD_REQUEST));
        let none = ask(&json!({ "text": "", "model": "grok-2" })).expect("well formed");
        assert_eq!(none, json!({ "token_ids": [] }));
    }
}
