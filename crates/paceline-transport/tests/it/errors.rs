//! Every row of what xAI's errors are known to mean, and what is in front of it.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use paceline_core::{Dimension, UnixMillis};
use paceline_transport::error_body::{Reject, Retry, ServerError, Stop, Verdict, Wait};
use paceline_transport::headers::RateHeaders;

const RATE: Verdict = Verdict::Wait(Wait::Rate);
const CAPACITY: Verdict = Verdict::Wait(Wait::Capacity);
const OVERLOADED: Verdict = Verdict::Retry(Retry::Overloaded);
const MAYBE_CHARGED: Verdict = Verdict::Retry(Retry::MaybeCharged);
const NO_CREDITS: Verdict = Verdict::Stop(Stop::NoCredits);
const BAD_KEY: Verdict = Verdict::Stop(Stop::BadKey);
const NO_ENTITLEMENT: Verdict = Verdict::Stop(Stop::NoEntitlement);
const BLOCKED: Verdict = Verdict::Stop(Stop::Blocked);
const CONTENT: Verdict = Verdict::Reject(Reject::Content);
const OVERFLOW: Verdict = Verdict::Reject(Reject::ContextOverflow);
const UNKNOWN_MODEL: Verdict = Verdict::Reject(Reject::UnknownModel);
const BAD_REQUEST: Verdict = Verdict::Reject(Reject::BadRequest);
const TOO_LARGE: Verdict = Verdict::Reject(Reject::TooLarge);
const OTHER: Verdict = Verdict::Reject(Reject::Other);

const TEAM: &str = "00000000-0000-0000-0000-000000000000";

fn read(status: u16, body: &str) -> ServerError {
    let status = StatusCode::from_u16(status).unwrap();
    ServerError::read(status, &RateHeaders::default(), body.as_bytes())
}

/// A message in each of the shapes it may come in.
fn shapes(code: &str, message: &str) -> [String; 5] {
    let quoted = serde_json::Value::from(message);
    let code = serde_json::Value::from(code);
    [
        format!(r#"{{"code": {code}, "error": {quoted}}}"#),
        format!(
            r#"{{"error": {{"message": {quoted}, "type": "t", "code": {code}, "param": null}}}}"#
        ),
        format!(r#"{{"error": {quoted}}}"#),
        quoted.to_string(),
        message.to_owned(),
    ]
}

/// The verdict is the same in every shape, because the message decides.
#[track_caller]
fn in_every_shape(status: u16, code: &str, message: &str, verdict: Verdict) {
    for body in shapes(code, message) {
        assert_eq!(read(status, &body).verdict(), verdict, "{status} {body}");
    }
}

#[track_caller]
fn rates(message: &str, verdict: Verdict, expected: &[(Dimension, u64, u64, u64)]) {
    in_every_shape(429, "resource-exhausted", message, verdict);
    in_every_shape(429, "Some resource has been exhausted", message, verdict);
    for body in shapes("resource-exhausted", message) {
        let found: Vec<_> = read(429, &body)
            .rates()
            .iter()
            .map(|rate| (rate.dimension, rate.window.as_secs(), rate.actual, rate.limit))
            .collect();
        assert_eq!(found, expected, "{body}");
    }
}

fn too_many(what: &str, limits: &str) -> String {
    format!(
        "Too many {what} for team {TEAM} and model grok-4.3. Your team's rate limit is \u{2014} {limits}. See https://console.x.ai for your limits."
    )
}

#[test]
fn a_429_for_requests_per_second_waits() {
    let message = too_many("requests", "Requests per Second (actual/limit): 2/2");
    rates(&message, RATE, &[(Dimension::Requests, 1, 2, 2)]);
}

#[test]
fn a_429_for_requests_per_minute_waits() {
    let message = too_many("requests", "Requests per Minute (actual/limit): 1922/60");
    rates(&message, RATE, &[(Dimension::Requests, 60, 1922, 60)]);
}

#[test]
fn a_429_for_both_names_both() {
    let message = too_many(
        "requests",
        "Requests per Second (actual/limit): 2/2, Requests per Minute (actual/limit): 73/60",
    );
    rates(&message, RATE, &[(Dimension::Requests, 1, 2, 2), (Dimension::Requests, 60, 73, 60)]);
}

#[test]
fn a_429_for_tokens_per_minute_waits() {
    let message = too_many("tokens", "Tokens per Minute (actual/limit): 65605/16000");
    rates(&message, RATE, &[(Dimension::TotalTokens, 60, 65_605, 16_000)]);
}

#[test]
fn a_429_with_a_limit_of_zero_stops() {
    let message = too_many("requests", "Requests per Minute (actual/limit): 0/0");
    rates(&message, NO_ENTITLEMENT, &[(Dimension::Requests, 60, 0, 0)]);
}

#[test]
fn a_429_may_say_when_it_resets() {
    for (hint, seconds) in [("Resets in: 1h 2m 3s", 3_723), ("Resets in: 45s", 45)] {
        let message =
            format!("{} {hint}", too_many("requests", "Requests per Minute (actual/limit): 61/60"));
        let error = read(429, &shapes("resource-exhausted", &message)[0]);
        assert_eq!(error.verdict(), RATE);
        assert_eq!(error.resets_in(), Some(Duration::from_secs(seconds)));
    }
}

#[test]
fn a_429_for_capacity_waits_for_capacity() {
    let message = "The service is temporarily at capacity. Please retry shortly.";
    for body in &shapes("", message) {
        assert_eq!(read(429, body).verdict(), CAPACITY, "{body}");
    }
}

#[test]
fn a_free_quota_that_is_used_up_stops() {
    in_every_shape(429, "resource-exhausted", "You have used your free usage quota.", NO_CREDITS);
    let by_code = r#"{"code": "subscription:free-usage-exhausted", "error": "Try later."}"#;
    assert_eq!(read(429, by_code).verdict(), NO_CREDITS);
}

#[test]
fn money_gone_stops_whether_it_comes_as_429_or_403() {
    let message = format!(
        "Your team {TEAM} has either used all available credits or reached its monthly spending limit. To continue, purchase more credits."
    );
    in_every_shape(429, "Some resource has been exhausted", &message, NO_CREDITS);
    in_every_shape(403, "permission-denied", &message, NO_CREDITS);
    let compatible = r#"{"error": {"message": "Quota.", "code": "insufficient_quota"}}"#;
    assert_eq!(read(429, compatible).verdict(), NO_CREDITS);
}

#[test]
fn a_wrong_key_is_known_although_it_comes_as_a_400() {
    let message =
        "Incorrect API key provided: xa***99. You can obtain an API key from https://console.x.ai.";
    in_every_shape(400, "Client specified an invalid argument", message, BAD_KEY);
    in_every_shape(400, "invalid-argument", message, BAD_KEY);
    in_every_shape(401, "unauthenticated", "Missing authorization.", BAD_KEY);
}

#[test]
fn a_prompt_too_long_ends_its_call() {
    let message =
        "This model's maximum prompt length is 131072 but the request contains 140000 tokens.";
    in_every_shape(400, "Client specified an invalid argument", message, OVERFLOW);
}

#[test]
fn other_bad_requests_end_their_call() {
    in_every_shape(400, "invalid-argument", "Could not decode encrypted_content.", BAD_REQUEST);
    for status in [400, 405, 415, 422] {
        in_every_shape(status, "invalid-argument", "Unknown field.", BAD_REQUEST);
    }
    assert_eq!(read(400, r#""stream and deferred can't be combined""#).verdict(), BAD_REQUEST);
}

#[test]
fn a_403_for_content_ends_its_call_only() {
    let message = "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_EXAMPLE";
    in_every_shape(403, "permission-denied", message, CONTENT);
    in_every_shape(400, "invalid-argument", message, CONTENT);
}

#[test]
fn other_403s_end_everything_on_the_key() {
    in_every_shape(403, "permission-denied", "Your API key is blocked.", BLOCKED);
    in_every_shape(403, "permission-denied", "This team is disabled.", BLOCKED);
    in_every_shape(403, "permission-denied", "No permission for this model.", NO_ENTITLEMENT);
    assert_eq!(read(403, "").verdict(), NO_ENTITLEMENT);
    let challenge = "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>";
    assert_eq!(read(403, challenge).verdict(), BLOCKED);
}

#[test]
fn an_unknown_model_is_told_from_an_unknown_address() {
    let message =
        format!("The model grok-9 does not exist or your team {TEAM} does not have access to it.");
    in_every_shape(404, "not-found", &message, UNKNOWN_MODEL);
    in_every_shape(404, "Some requested entity was not found", &message, UNKNOWN_MODEL);
    in_every_shape(404, "x", "Model not found: grok-9", UNKNOWN_MODEL);
    assert_eq!(read(404, r#"{"error": "gone"}"#).verdict(), OTHER);
    assert_eq!(read(404, "").verdict(), OTHER);
}

#[test]
fn a_payload_too_large_ends_its_call() {
    assert_eq!(read(413, "").verdict(), TOO_LARGE);
    assert_eq!(read(400, "request entity too large").verdict(), TOO_LARGE);
}

#[test]
fn what_was_refused_before_generation_is_told_from_what_may_have_been_charged() {
    let busy = "The service is currently unavailable";
    in_every_shape(503, busy, "The model did not respond.", OVERLOADED);
    in_every_shape(503, "unavailable", "Model at capacity.", OVERLOADED);
    assert_eq!(read(529, "").verdict(), OVERLOADED);
    for status in [408, 409, 500, 502, 504, 520, 521, 522, 523, 524, 530] {
        assert_eq!(read(status, "").verdict(), MAYBE_CHARGED, "{status}");
    }
    let page = "<html><head><title>api.x.ai | 502: Bad gateway</title></head></html>";
    let error = read(502, page);
    assert_eq!(error.verdict(), MAYBE_CHARGED);
    assert_eq!(error.message(), "api.x.ai | 502: Bad gateway");
}

#[test]
fn a_503_for_a_grammar_is_no_overload() {
    in_every_shape(
        503,
        "The service is currently unavailable",
        "Grammar is too complex to compile.",
        BAD_REQUEST,
    );
}

#[test]
fn what_stays_so_is_not_retried() {
    for status in [525, 526, 501, 505, 301, 302, 307, 410, 418, 425, 451] {
        assert_eq!(read(status, "").verdict(), OTHER, "{status}");
    }
    assert_eq!(read(402, "").verdict(), NO_CREDITS);
}

#[test]
fn a_429_without_a_word_waits() {
    for body in ["", "{}", "error code: 1015", "<html><title>Slow down</title></html>"] {
        assert_eq!(read(429, body).verdict(), RATE, "{body}");
    }
}

#[test]
fn a_rate_is_a_rate_under_any_status() {
    let message = too_many("requests", "Requests per Minute (actual/limit): 61/60");
    for status in [200, 400, 403, 500, 502, 503] {
        in_every_shape(status, "", &message, RATE);
    }
}

#[test]
fn what_another_error_quotes_of_a_prompt_is_no_rate() {
    let quoted = "messages[0].content: 'Requests per Minute (actual/limit): 5/6, and 0/0'";
    for (status, verdict) in [(400, BAD_REQUEST), (422, BAD_REQUEST), (500, MAYBE_CHARGED)] {
        let error = read(status, quoted);
        assert_eq!((error.rates().len(), error.verdict()), (0, verdict), "{status}");
    }
    assert_eq!(read(429, quoted).rates().len(), 1, "that is what the refusal is about");
}

#[test]
fn an_error_under_a_success_status_is_judged_by_its_code() {
    for (code, verdict) in [
        (r#""resource-exhausted""#, RATE),
        // In a stream, something may have been generated before it.
        (r#""The service is currently unavailable""#, MAYBE_CHARGED),
        (r#""unavailable""#, MAYBE_CHARGED),
        ("503", MAYBE_CHARGED),
        ("429", RATE),
        ("401", BAD_KEY),
        (r#""permission-denied""#, NO_ENTITLEMENT),
        (r#""invalid-argument""#, BAD_REQUEST),
        (r#""never heard of""#, OTHER),
    ] {
        let body = format!(r#"{{"code": {code}, "error": "It failed."}}"#);
        assert_eq!(read(200, &body).verdict(), verdict, "{code}");
    }
    assert_eq!(read(200, "<html><title>Log in</title></html>").verdict(), OTHER);
}

/// Servers that speak like OpenAI, Anthropic, Google, or the IETF's draft.
#[test]
fn other_providers_bodies_mean_the_same() {
    let anthropic = |kind: &str| {
        format!(r#"{{"type": "error", "error": {{"type": "{kind}", "message": "It failed."}}}}"#)
    };
    let problem = |kind: &str| {
        format!(r#"{{"type": "https://a.example/problems#{kind}", "title": "It failed."}}"#)
    };
    let google =
        r#"{"error": {"code": 429, "message": "It failed.", "status": "RESOURCE_EXHAUSTED"}}"#;
    let azure = r#"{"error": {"code": "429", "message": "Requests have exceeded the call rate limit. Please retry after 26 seconds."}}"#;
    for (status, body, verdict) in [
        (429, anthropic("rate_limit_error"), RATE),
        (529, anthropic("overloaded_error"), OVERLOADED),
        (200, anthropic("overloaded_error"), MAYBE_CHARGED),
        (200, anthropic("rate_limit_error"), RATE),
        (200, anthropic("api_error"), MAYBE_CHARGED),
        (200, anthropic("authentication_error"), BAD_KEY),
        (200, anthropic("permission_error"), NO_ENTITLEMENT),
        (200, anthropic("invalid_request_error"), BAD_REQUEST),
        (413, anthropic("request_too_large"), TOO_LARGE),
        (401, anthropic("authentication_error"), BAD_KEY),
        (429, problem("quota-exceeded"), RATE),
        (429, problem("temporary-reduced-capacity"), CAPACITY),
        (503, problem("temporary-reduced-capacity"), OVERLOADED),
        (429, problem("abnormal-usage-detected"), BLOCKED),
        (429, google.to_owned(), RATE),
        (200, google.to_owned(), RATE),
        (429, azure.to_owned(), RATE),
    ] {
        assert_eq!(read(status, &body).verdict(), verdict, "{status} {body}");
    }
    assert_eq!(read(429, azure).resets_in(), Some(Duration::from_secs(26)));
    let openai = "Rate limit reached for m in organization org-1 on tokens per min (TPM): Limit 10000, Used 9500, Requested 600. Please try again in 600ms.";
    rates(openai, RATE, &[(Dimension::TotalTokens, 60, 10_100, 10_000)]);
    assert_eq!(read(429, openai).resets_in(), Some(Duration::from_millis(600)));
}

#[test]
fn the_server_can_forbid_a_retry_but_not_ask_for_one() {
    let headers = |value| {
        let mut headers = HeaderMap::new();
        headers.insert("x-should-retry", HeaderValue::from_static(value));
        RateHeaders::parse(&headers, UnixMillis::new(0))
    };
    let verdict = |status, value| {
        let status = StatusCode::from_u16(status).unwrap();
        ServerError::read(status, &headers(value), b"").verdict()
    };
    for status in [429, 500, 503] {
        assert_eq!(verdict(status, "false"), OTHER, "{status}");
    }
    assert_eq!(verdict(401, "false"), BAD_KEY);
    assert_eq!(verdict(400, "true"), BAD_REQUEST);
    assert_eq!(verdict(503, "true"), OVERLOADED);
}

#[test]
fn a_vetoed_rate_still_names_its_limit() {
    let mut headers = HeaderMap::new();
    headers.insert("x-should-retry", HeaderValue::from_static("false"));
    let headers = RateHeaders::parse(&headers, UnixMillis::new(0));
    let body = too_many("requests", "Requests per Minute (actual/limit): 61/60");
    let error = ServerError::read(StatusCode::TOO_MANY_REQUESTS, &headers, body.as_bytes());
    assert_eq!((error.verdict(), error.rates().len()), (OTHER, 1));
}

#[test]
fn a_prompt_echoed_behind_the_message_does_not_decide() {
    let echo = format!("{} Incorrect API key provided", "x".repeat(3_000));
    let body = serde_json::json!({"code": "invalid-argument", "error": echo}).to_string();
    assert_eq!(read(400, &body).verdict(), BAD_REQUEST);
    let echo =
        format!("{} Try again in 3 days. Requests per Day (actual/limit): 9/0", "x".repeat(3_000));
    let error = read(500, &serde_json::json!({"error": echo}).to_string());
    assert_eq!((error.verdict(), error.resets_in()), (MAYBE_CHARGED, None));
}

#[test]
fn what_is_kept_is_bounded_escaped_and_without_keys() {
    let body = |length| {
        let error = format!("Bad key xai-AbCdEf0123456789\n{}", "x".repeat(length));
        serde_json::json!({"error": error, "code": "a\nb".repeat(40)}).to_string()
    };
    // The longer one is cut at 64 KiB, is no JSON any more, and is taken as text.
    for body in [body(10_000), body(100_000)] {
        let error = read(500, &body);
        assert!(error.message().contains("xai-[redacted]"), "{}", error.message());
        assert!(!format!("{error} {error:?}").contains("AbCdEf"));
        assert!(!error.message().contains('\n'));
        assert!(error.message().chars().count() <= 501 + "u{a}".len());
        assert!(error.code().is_none_or(|code| code.len() <= 250 && !code.contains('\n')));
    }
}

#[test]
fn an_error_is_shown_with_its_status() {
    assert_eq!(read(503, "busy").to_string(), "the server answered 503: busy");
    assert_eq!(read(503, "").to_string(), "the server answered 503");
    let only_code = r#"{"code": "unavailable"}"#;
    assert_eq!(read(503, only_code).to_string(), "the server answered 503: unavailable");
    assert_eq!(read(503, only_code).code(), Some("unavailable"));
    assert_eq!(read(503, only_code).status(), 503);
}
