//! Refusals as the real server words them: flat bodies with a code and an error.
//!
//! The counts and the pattern `<Dimension> (actual/limit): a/b` are the real one's; the sentences
//! around them are our own. A refusal carries no rate headers: whether the real one's do is not
//! known.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::fault::raw_answer;
use crate::rules::{Exceeded, What};

/// The team that this server plays.
pub(super) const TEAM: &str = "5e5f00d5-0000-4000-8000-000000000000";

/// A refusal by status, code and text.
pub(super) fn plain(status: StatusCode, code: &str, text: &str) -> Response<Bytes> {
    raw_answer(status, json!({ "code": code, "error": text }).to_string())
}

/// For want of a key, or for one that is not accepted. The key is not repeated.
pub(super) fn no_key() -> Response<Bytes> {
    let text = "Incorrect API key provided. Keys are made at https://console.x.ai.";
    plain(StatusCode::BAD_REQUEST, "invalid-argument", text)
}

/// For a model that is not in the table.
pub(super) fn no_model(name: &str) -> Response<Bytes> {
    let name: String = name.chars().filter(|c| !c.is_control()).take(NAMED).collect();
    let text =
        format!("The model {name} does not exist or your team {TEAM} does not have access to it.");
    plain(StatusCode::NOT_FOUND, "not-found", &text)
}

/// For a prompt beyond the model's context.
pub(super) fn too_long(context: u64, input_tokens: u64) -> Response<Bytes> {
    let text = format!(
        "This model's maximum prompt length is {context} but the request contains {input_tokens} \
         tokens."
    );
    plain(StatusCode::BAD_REQUEST, "invalid-argument", &text)
}

/// For a body that is not read.
pub(super) fn too_large() -> Response<Bytes> {
    let text = "The request is larger than 32 MiB.";
    plain(StatusCode::PAYLOAD_TOO_LARGE, "invalid-argument", text)
}

/// Characters of an unknown model's name that are repeated.
const NAMED: usize = 100;

/// A refusal for the rate. It carries no rate headers.
pub(super) fn rate(
    model: &str,
    exceeded: &[Exceeded],
    retry_after: Option<Duration>,
) -> Response<Bytes> {
    let what =
        if exceeded.iter().all(|limit| limit.what == What::Tpm) { "tokens" } else { "requests" };
    let parts: Vec<String> = exceeded
        .iter()
        .map(|limit| {
            let unit = match limit.what {
                What::Rps => "Requests per Second",
                What::Rpm => "Requests per Minute",
                What::Tpm => "Tokens per Minute",
            };
            format!("{unit} (actual/limit): {}/{}", limit.actual, limit.limit)
        })
        .collect();
    let text = format!(
        "Too many {what} for team {TEAM} and model {model}. Your team's rate limit is \u{2014} {}. \
         Limits rise with what a team spends.",
        parts.join(", ")
    );
    let mut answer = plain(StatusCode::TOO_MANY_REQUESTS, "resource-exhausted", &text);
    if let Some(after) = retry_after {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        answer.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}
