//! Refusals as the real server words them: flat bodies with a code and an error.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::grok::json_answer;
use crate::rules::{Exceeded, What};

/// The team that this server plays.
pub(super) const TEAM: &str = "5e5f00d5-0000-4000-8000-000000000000";

/// A refusal by status, code and text.
pub(super) fn plain(status: StatusCode, code: &str, text: &str) -> Response<Bytes> {
    json_answer(status, &json!({ "code": code, "error": text }))
}

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
