//! What the server answers, in the form of the Grok API: one chat completion, and one long stream.
//!
//! It is made once, before anything is measured.

use serde_json::{Value, json};

/// The tokens that the usage of every answer reports.
pub(super) const TOKENS: u64 = 512;
/// How much text is in an answer, in bytes.
const TEXT: usize = 1_024;
/// How many pieces of text a stream has.
pub(super) const PIECES: usize = 16_384;

const MODEL: &str = "grok-4.3";

/// The body of a whole answer.
pub(super) fn whole() -> Vec<u8> {
    let sentence =
        "A spider has eight legs, up to eight eyes, and spins \"silk\" of several kinds.\n";
    let text: String = sentence.chars().cycle().take(TEXT).collect();
    let answer = json!({
        "id": "5a1e5f0c-6a7a-9f0e-b1a5-3d3e8f0f2b1c",
        "object": "chat.completion",
        "created": 1_772_000_000,
        "model": MODEL,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": text, "refusal": null },
            "finish_reason": "stop"
        }],
        "usage": usage(),
        "system_fingerprint": "fp_156d35dcaa"
    });
    answer.to_string().into_bytes()
}

/// The events of a stream, each in an HTTP chunk of its own, as servers send them.
pub(super) fn stream() -> Vec<u8> {
    let mut body = Vec::new();
    let mut event = |data: &str| {
        let event = format!("data: {data}\n\n");
        body.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
    };
    for piece in ["A spider", " has eight", " legs", ",", " up to", " eight eyes", "."]
        .into_iter()
        .cycle()
        .take(PIECES)
    {
        event(&piece_of(&json!({ "content": piece, "role": "assistant" }), None).to_string());
    }
    event(&piece_of(&json!({}), Some("stop")).to_string());
    let mut last = piece_of(&json!({}), None);
    last["choices"] = json!([]);
    last["usage"] = usage();
    event(&last.to_string());
    event("[DONE]");
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

fn piece_of(delta: &Value, finish: Option<&str>) -> Value {
    json!({
        "id": "5a1e5f0c-6a7a-9f0e-b1a5-3d3e8f0f2b1c",
        "object": "chat.completion.chunk",
        "created": 1_772_000_000,
        "model": MODEL,
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
        "system_fingerprint": "fp_156d35dcaa"
    })
}

fn usage() -> Value {
    json!({
        "prompt_tokens": 256,
        "completion_tokens": 256,
        "total_tokens": TOKENS,
        "prompt_tokens_details": {
            "text_tokens": 256, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 128
        },
        "completion_tokens_details": {
            "reasoning_tokens": 0, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0
        },
        "num_sources_used": 0
    })
}
