//! What a whole answer says beside its usage: its text, and whether its cap ended it.
//!
//! Of chat completions and of responses, which are told apart by what they look like. What this file
//! keeps: the facade and the reader of streams know an answer by the same fields.

use serde_json::Value;

/// The visible texts of an answer, in its order: of a chat its first choice, of a response every part.
///
/// ```
/// use paceline_transport::answer::texts;
/// let chat = serde_json::json!({"choices": [{"message": {"content": "Twelve"}}]});
/// assert_eq!(texts(&chat).collect::<String>(), "Twelve");
/// ```
pub fn texts(answer: &Value) -> impl Iterator<Item = &str> {
    let chat = answer.pointer("/choices/0/message/content").and_then(Value::as_str);
    let items = answer.get("output").and_then(Value::as_array).into_iter().flatten();
    let parts = items.filter_map(|item| item.get("content")?.as_array()).flatten();
    let parts = parts.filter(|part| part.get("type").is_some_and(|kind| kind == "output_text"));
    chat.into_iter().chain(parts.filter_map(|part| part.get("text")?.as_str()))
}

/// Whether an answer ended because its cap was reached: `finish_reason` `length` in a choice of a chat,
/// `max_output_tokens` as the reason why a response is incomplete.
pub fn is_cut_off(answer: &Value) -> bool {
    let choices = answer.get("choices").and_then(Value::as_array).into_iter().flatten();
    let mut reasons = choices.filter_map(|choice| choice.get("finish_reason")?.as_str());
    let incomplete = answer.get("incomplete_details").and_then(|details| details.get("reason"));
    reasons.any(|reason| reason == "length")
        || incomplete.and_then(Value::as_str) == Some("max_output_tokens")
}
