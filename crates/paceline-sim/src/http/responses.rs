//! The forms of `/v1/responses`: one body, or a stream of named events.
//!
//! Usage as recorded: `output_tokens` has reasoning in it; it stands in the last event, earlier
//! ones have null, and no `[DONE]` follows.

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{Cut, Reply};
use super::script::{Due, Event, named};
use super::text::pieces;

const CREATED: u64 = 1_700_000_000;

/// The whole answer.
pub(super) fn whole(reply: &Reply) -> Value {
    let mut output = Vec::new();
    if !reply.thoughts.is_empty() {
        output.push(reasoning(reply, State::Done));
    }
    output.push(message(reply, State::Done));
    response(reply, status(reply), output, usage(reply))
}

/// The same as a stream of events, numbered from 0.
pub(super) fn stream(reply: &Reply) -> Vec<Event> {
    let mut script = Script(Vec::new());
    let begun = response(reply, "in_progress", Vec::new(), Value::Null);
    script.add(Due::Start, "response.created", json!({ "response": begun }));
    script.add(Due::Start, "response.in_progress", json!({ "response": begun }));
    if !reply.thoughts.is_empty() {
        script.reasoning(reply);
    }
    script.message(reply);
    let last = match reply.plan.cut {
        Cut::Stop => "response.completed",
        Cut::Length => "response.incomplete",
    };
    script.add(Due::End, last, json!({ "response": whole(reply) }));
    script.0
}

/// An error in the middle of a stream, after so many events.
pub(super) fn error(code: &str, text: &str, events: usize) -> Bytes {
    named(&json!({
        "type": "error", "sequence_number": events, "code": code, "message": text, "param": null,
    }))
}

/// A response that failed in the middle, after so many events.
pub(super) fn failed(reply: &Reply, code: &str, text: &str, events: usize) -> Bytes {
    let mut response = response(reply, "failed", Vec::new(), Value::Null);
    response["error"] = json!({ "code": code, "message": text });
    named(&json!({ "type": "response.failed", "sequence_number": events, "response": response }))
}

/// How far an item of the output is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Begun,
    Done,
}

struct Script(Vec<Event>);

impl Script {
    fn add(&mut self, due: Due, name: &str, mut event: Value) {
        event["type"] = json!(name);
        event["sequence_number"] = json!(self.0.len());
        self.0.push(Event { due, bytes: named(&event) });
    }

    fn reasoning(&mut self, reply: &Reply) {
        let tokens = reply.plan.reasoning;
        let place =
            json!({ "item_id": reasoning_id(reply), "output_index": 0, "summary_index": 0 });
        let pieces = pieces(&reply.thoughts, tokens);
        let begins = Due::Token(pieces.first().map_or(1, |(_, written)| *written));
        let item = json!({ "output_index": 0, "item": reasoning(reply, State::Begun) });
        self.add(begins, "response.output_item.added", item);
        let part = json!({ "part": { "type": "summary_text", "text": "" } });
        self.add(begins, "response.reasoning_summary_part.added", with(&place, part));
        for (piece, written) in pieces {
            let delta = with(&place, json!({ "delta": piece }));
            self.add(Due::Token(written), "response.reasoning_summary_text.delta", delta);
        }
        let ends = Due::Token(tokens);
        let text = with(&place, json!({ "text": reply.thoughts }));
        self.add(ends, "response.reasoning_summary_text.done", text);
        let part = json!({ "part": { "type": "summary_text", "text": reply.thoughts } });
        self.add(ends, "response.reasoning_summary_part.done", with(&place, part));
        let item = json!({ "output_index": 0, "item": reasoning(reply, State::Done) });
        self.add(ends, "response.output_item.done", item);
    }

    fn message(&mut self, reply: &Reply) {
        let before = reply.plan.reasoning;
        let index = u8::from(!reply.thoughts.is_empty());
        let place = json!({
            "item_id": message_id(reply), "output_index": index, "content_index": 0,
        });
        let pieces = pieces(&reply.text, reply.plan.visible);
        let begins = pieces.first().map_or(Due::End, |(_, first)| Due::Token(before + first));
        let item = json!({ "output_index": index, "item": message(reply, State::Begun) });
        self.add(begins, "response.output_item.added", item);
        let empty = with(&place, json!({ "part": part("") }));
        self.add(begins, "response.content_part.added", empty);
        for (piece, written) in pieces {
            let delta = with(&place, json!({ "delta": piece, "logprobs": [] }));
            self.add(Due::Token(before + written), "response.output_text.delta", delta);
        }
        let text = with(&place, json!({ "text": reply.text, "logprobs": [] }));
        self.add(Due::End, "response.output_text.done", text);
        let whole = with(&place, json!({ "part": part(&reply.text) }));
        self.add(Due::End, "response.content_part.done", whole);
        let item = json!({ "output_index": index, "item": message(reply, State::Done) });
        self.add(Due::End, "response.output_item.done", item);
    }
}

/// One object with the fields of both.
fn with(place: &Value, mut more: Value) -> Value {
    for (name, value) in place.as_object().into_iter().flatten() {
        more[name] = value.clone();
    }
    more
}

fn reasoning_id(reply: &Reply) -> String {
    format!("rs_{:016x}", reply.number)
}

fn message_id(reply: &Reply) -> String {
    format!("msg_{:016x}", reply.number)
}

fn reasoning(reply: &Reply, state: State) -> Value {
    let summary = match state {
        State::Begun => json!([]),
        State::Done => json!([{ "type": "summary_text", "text": reply.thoughts }]),
    };
    let status = if state == State::Done { "completed" } else { "in_progress" };
    json!({ "id": reasoning_id(reply), "type": "reasoning", "summary": summary, "status": status })
}

fn message(reply: &Reply, state: State) -> Value {
    let (content, status) = match state {
        State::Begun => (json!([]), "in_progress"),
        State::Done => (json!([part(&reply.text)]), status(reply)),
    };
    json!({
        "id": message_id(reply), "type": "message", "role": "assistant", "content": content,
        "status": status,
    })
}

fn part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

fn status(reply: &Reply) -> &'static str {
    match reply.plan.cut {
        Cut::Stop => "completed",
        Cut::Length => "incomplete",
    }
}

fn response(reply: &Reply, status: &str, output: Vec<Value>, usage: Value) -> Value {
    let incomplete = (status == "incomplete").then(|| json!({ "reason": "max_output_tokens" }));
    json!({
        "id": format!("resp_{:016x}", reply.number),
        "object": "response",
        "created_at": CREATED,
        "model": reply.model.name,
        "status": status,
        "output": output,
        "error": null,
        "incomplete_details": incomplete,
        "usage": usage,
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "store": true,
        "text": { "format": { "type": "text" } },
        "tool_choice": "auto",
        "tools": [],
    })
}

fn usage(reply: &Reply) -> Value {
    let output = reply.plan.output_tokens();
    json!({
        "input_tokens": reply.input_tokens,
        "input_tokens_details": { "cached_tokens": 0 },
        "output_tokens": output,
        "output_tokens_details": { "reasoning_tokens": reply.plan.reasoning },
        "total_tokens": reply.total_tokens(),
        "num_sources_used": 0,
        "num_server_side_tools_used": 0,
        "cost_in_usd_ticks": reply.cost(),
        "context_details": { "input_tokens": reply.input_tokens, "output_tokens": output },
    })
}
