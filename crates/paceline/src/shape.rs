//! What the size of a request depends on, read from its body.
//!
//! It estimates nothing. Invariants: it goes down to a bounded depth, and takes the data of an image
//! for an image and never for text.

use paceline_budget::{Features, Tokenizer};
use serde_json::{Map, Value};

/// The features of a request, added up part by part.
pub(crate) struct Shape<'a> {
    features: Features,
    tokenizer: Option<&'a dyn Tokenizer>,
}

/// So deep does it look into a body.
const DEPTH: u32 = 32;
/// Parts of a message that are images, by the names of both APIs.
const IMAGES: [&str; 3] = ["image_url", "input_image", "image"];

impl<'a> Shape<'a> {
    /// Nothing yet; texts are also counted by a tokenizer, where there is one.
    pub(crate) fn new(tokenizer: Option<&'a dyn Tokenizer>) -> Self {
        Self { features: Features::default(), tokenizer }
    }

    /// A chat completion: its messages, its tools and the form of its answer.
    pub(crate) fn chat(mut self, body: &Map<String, Value>) -> Features {
        let messages = body.get("messages").and_then(Value::as_array);
        messages.into_iter().flatten().for_each(|message| self.message(message));
        self.tools(body);
        self.json(body.get("response_format"));
        self.features
    }

    /// A call to `responses`: its instructions, its input, its tools and the form of its answer.
    pub(crate) fn responses(mut self, body: &Map<String, Value>) -> Features {
        for field in ["instructions", "input"] {
            match body.get(field) {
                Some(Value::Array(items)) => items.iter().for_each(|item| self.message(item)),
                Some(Value::String(text)) => {
                    self.features.add_message();
                    self.text(text);
                }
                _ => {}
            }
        }
        self.tools(body);
        self.json(body.get("text").and_then(|text| text.get("format")));
        self.features
    }

    /// Any other request: a message of all its strings.
    pub(crate) fn other(mut self, body: &Value) -> Features {
        self.features.add_message();
        self.strings(body, DEPTH);
        self.features
    }

    /// A message, or an item of `responses`: what it says, what it thought, and what it called.
    fn message(&mut self, message: &Value) {
        self.features.add_message();
        for field in ["content", "summary"] {
            match message.get(field) {
                Some(Value::String(text)) => self.text(text),
                Some(Value::Array(parts)) => parts.iter().for_each(|part| self.part(part)),
                _ => {}
            }
        }
        self.string(message.get("reasoning_content"));
        let calls = message.get("tool_calls").and_then(Value::as_array);
        let functions = calls.into_iter().flatten().filter_map(|call| call.get("function"));
        functions.chain(message.get("function_call")).for_each(|called| self.call(called));
        match message.get("type").and_then(Value::as_str) {
            Some("function_call") => self.call(message),
            Some("function_call_output") => match message.get("output") {
                Some(Value::Array(parts)) => parts.iter().for_each(|part| self.part(part)),
                output => self.string(output),
            },
            _ => {}
        }
    }

    /// A part of a message: text, or an image. What else there is, such as a file that the server
    /// reads, is not known here.
    fn part(&mut self, part: &Value) {
        if is_image(part) {
            self.features.add_image();
        } else {
            ["text", "refusal"].into_iter().for_each(|field| self.string(part.get(field)));
        }
    }

    /// A function that was called, with its arguments.
    fn call(&mut self, called: &Value) {
        ["name", "arguments"].into_iter().for_each(|field| self.string(called.get(field)));
    }

    /// The tools that a request offers, by both their names.
    fn tools(&mut self, body: &Map<String, Value>) {
        for tool in ["tools", "functions"].into_iter().filter_map(|field| body.get(field)) {
            for tool in tool.as_array().into_iter().flatten() {
                self.features.add_tool();
                self.json(Some(tool));
            }
        }
    }

    /// A value as the model is shown it.
    fn json(&mut self, value: Option<&Value>) {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            self.text(&value.to_string());
        }
    }

    fn string(&mut self, value: Option<&Value>) {
        if let Some(Value::String(text)) = value {
            self.text(text);
        }
    }

    fn strings(&mut self, value: &Value, depth: u32) {
        match value {
            Value::String(text) if text.starts_with("data:image/") => self.features.add_image(),
            Value::String(text) => self.text(text),
            _ if depth == 0 => {}
            _ if is_image(value) => self.features.add_image(),
            Value::Array(items) => items.iter().for_each(|item| self.strings(item, depth - 1)),
            Value::Object(fields) => {
                fields.values().for_each(|field| self.strings(field, depth - 1));
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        self.features.merge(&match self.tokenizer {
            Some(tokenizer) => Features::of_text_with(text, tokenizer),
            None => Features::of_text(text),
        });
    }
}

fn is_image(part: &Value) -> bool {
    part.get("type").and_then(Value::as_str).is_some_and(|kind| IMAGES.contains(&kind))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Which named features two requests differ in, and by how much.
    #[track_caller]
    fn differ(one: &Features, other: &Features, expected: &[(&str, f64)]) {
        let named = ["further messages", "tools", "images", "words"];
        let all = one.iter().zip(other.iter());
        let found: Vec<_> = all
            .filter(|((name, one), (_, other))| named.contains(name) && one != other)
            .map(|((name, one), (_, other))| (name, other - one))
            .collect();
        assert_eq!(found, expected);
    }

    fn chat(body: &Value) -> Features {
        Shape::new(None).chat(body.as_object().expect("an object"))
    }

    fn responses(body: &Value) -> Features {
        Shape::new(None).responses(body.as_object().expect("an object"))
    }

    #[test]
    fn every_part_of_a_chat_is_counted() {
        let plain = json!({ "messages": [{ "role": "user", "content": "What is this?" }] });
        let plain = chat(&plain);
        let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA BBBB" } });
        let parts = json!([{ "type": "text", "text": "What is this?" }, image]);
        differ(&plain, &chat(&json!({ "messages": [{ "content": parts }] })), &[("images", 1.0)]);
        let tool = json!({ "type": "function", "function": { "name": "add", "parameters": {} } });
        let mut tools = json!({ "messages": [{ "content": "What is this?" }], "tools": [tool] });
        differ(&plain, &chat(&tools), &[("tools", 1.0), ("words", 6.0)]);
        tools["functions"] = json!([{ "name": "add" }]);
        differ(&plain, &chat(&tools), &[("tools", 2.0), ("words", 8.0)]);
        let called = json!({ "messages": [
            { "content": "What is this?" },
            { "content": null, "reasoning_content": "Two words", "tool_calls": [
                { "id": "call_1", "function": { "name": "look", "arguments": "{\"at\": \"it\"}" } }] },
        ] });
        differ(&plain, &chat(&called), &[("further messages", 1.0), ("words", 5.0)]);
    }

    #[test]
    fn every_part_of_responses_is_counted() {
        let plain = responses(&json!({ "input": "What is this?" }));
        let body = json!({
            "instructions": "Be brief.",
            "input": [
                { "role": "user", "content": [
                    { "type": "input_text", "text": "What is this?" },
                    { "type": "input_image", "image_url": "data:image/png;base64,AAAA" }] },
                { "type": "function_call", "name": "look", "arguments": "{}" },
                { "type": "function_call_output", "output": "An egg" },
            ],
            "tools": [{ "type": "web_search" }],
        });
        let expected = [
            ("further messages", 3.0),
            ("tools", 1.0),
            ("images", 1.0),
            ("words", 2.0 + 1.0 + 2.0 + 3.0),
        ];
        differ(&plain, &responses(&body), &expected);
    }

    #[test]
    fn of_any_other_request_all_strings_count_and_images_are_images() {
        let plain = Shape::new(None).other(&json!({ "text": "two words" }));
        let images = json!({ "text": "two words", "more": [
            { "type": "image_url", "image_url": { "url": "https://example.com/x.png" } },
            "data:image/png;base64,AAAA",
        ] });
        differ(&plain, &Shape::new(None).other(&images), &[("images", 2.0)]);
        let mut deep = json!("word");
        for _ in 0..100 {
            deep = json!([deep]);
        }
        differ(&plain, &Shape::new(None).other(&deep), &[("words", -2.0)]);
    }

    #[test]
    fn a_tokenizer_counts_the_same_texts() {
        struct Bytes;
        impl Tokenizer for Bytes {
            fn count(&self, text: &str) -> u64 {
                text.len() as u64
            }
        }
        let body = json!({ "messages": [{ "content": "abc" }, { "content": "de" }] });
        let features = Shape::new(Some(&Bytes)).chat(body.as_object().expect("an object"));
        assert_eq!(features.borrowed(), 5);
    }
}
