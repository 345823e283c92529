//! The forms of `/v1/chat/completions`: one body, or a stream of chunks.
//!
//! Usage as recorded: `completion_tokens` leaves reasoning out, `total_tokens` has it. A stream
//! tells it in a chunk of its own, and only where it was asked for.

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{Cut, Reply};
use super::asked::Wanted;
use super::script::{Due, Event, data};
use super::text::pieces;

const CREATED: u64 = 1_700_000_000;
const FINGERPRINT: &str = "fp_simulated";

/// The whole answer.
pub(super) fn whole(reply: &Reply) -> Value {
    let mut message = json!({ "role": "assistant", "content": reply.text, "refusal": null });
    if !reply.thoughts.is_empty() {
        message["reasoning_content"] = json!(reply.thoughts);
    }
    json!({
        "id": id(reply),
        "object": "chat.completion",
        "created": CREATED,
        "model": reply.model.name,
        "choices": [{ "index": 0, "message": message, "finish_reason": finish(reply) }],
        "usage": usage(reply),
        "system_fingerprint": FINGERPRINT,
    })
}

/// The same as a stream: a chunk for each piece, the reason it ended, the usage where it is
/// wanted, and `[DONE]`.
pub(super) fn stream(reply: &Reply, wanted: Wanted) -> Vec<Event> {
    let thoughts = pieces(&reply.thoughts, reply.plan.reasoning);
    let texts = pieces(&reply.text, reply.plan.visible);
    let thoughts = thoughts.iter().map(|&(piece, written)| ("reasoning_content", piece, written));
    let texts =
        texts.iter().map(|&(piece, written)| ("content", piece, reply.plan.reasoning + written));
    let mut events: Vec<Event> = Vec::new();
    for (field, piece, written) in thoughts.chain(texts) {
        let mut delta = json!({ field: piece });
        if events.is_empty() {
            delta["role"] = json!("assistant");
        }
        let chunk = chunk(reply, &json!([{ "index": 0, "delta": delta }]));
        events.push(Event { due: Due::Token(written), bytes: data(&chunk) });
    }
    let last = json!([{ "index": 0, "delta": {}, "finish_reason": finish(reply) }]);
    events.push(Event { due: Due::End, bytes: data(&chunk(reply, &last)) });
    if wanted == Wanted::StreamWithUsage {
        let mut chunk = chunk(reply, &json!([]));
        chunk["usage"] = usage(reply);
        events.push(Event { due: Due::End, bytes: data(&chunk) });
    }
    events.push(Event { due: Due::End, bytes: Bytes::from_static(b"data: [DONE]\n\n") });
    events
}

/// An error in the middle of a stream: the flat object of a refusal, as a line of data.
pub(super) fn error(code: &str, text: &str) -> Bytes {
    data(&json!({ "code": code, "error": text }))
}

fn chunk(reply: &Reply, choices: &Value) -> Value {
    json!({
        "id": id(reply),
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": reply.model.name,
        "choices": choices,
        "system_fingerprint": FINGERPRINT,
    })
}

fn id(reply: &Reply) -> String {
    format!("sim-{:016x}", reply.number)
}

fn finish(reply: &Reply) -> &'static str {
    match reply.plan.cut {
        Cut::Length => "length",
        Cut::Stop => "stop",
    }
}

fn usage(reply: &Reply) -> Value {
    json!({
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.plan.visible,
        "total_tokens": reply.total_tokens(),
        "prompt_tokens_details": {
            "text_tokens": reply.input_tokens, "audio_tokens": 0, "image_tokens": 0,
            "cached_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": reply.plan.reasoning, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
        "num_sources_used": 0,
        "cost_in_usd_ticks": reply.cost(),
    })
}
