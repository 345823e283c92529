//! Finds message and code in an error body of any shape.
//!
//! It interprets neither. What this file keeps: every sequence of bytes has a shape.

use serde_json::Value;

/// What an error body says, as it says it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) message: String,
    pub(super) code: Option<String>,
    /// Whether it is a page for people, which comes from something in front of the API.
    pub(super) html: bool,
}

pub(super) fn read(body: &[u8]) -> Shape {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => json(&value),
        Err(_) => text(&String::from_utf8_lossy(body)),
    }
}

fn json(value: &Value) -> Shape {
    match value {
        Value::String(message) => Shape { message: message.clone(), ..Shape::default() },
        // Some gateways wrap the one error in a list.
        Value::Array(list) => match list.first() {
            Some(first @ Value::Object(_)) => object(first),
            _ => Shape::default(),
        },
        Value::Object(_) => object(value),
        _ => Shape::default(),
    }
}

fn object(outer: &Value) -> Shape {
    let error = outer.get("error").filter(|error| !error.is_null());
    let inner = error.filter(|error| error.is_object());
    let levels = || [inner, Some(outer)].into_iter().flatten();
    let message = match error {
        Some(Value::String(message)) => Some(message.clone()),
        _ => levels().find_map(|from| {
            ["message", "detail", "error", "title"].iter().find_map(|name| said(from.get(name)?))
        }),
    };
    // Google's code is the status, and its status the code.
    let named = |name: &'static str| {
        levels().find_map(move |from| from.get(name)?.as_str().map(ToOwned::to_owned))
    };
    let code = named("code")
        .or_else(|| inner.and_then(|inner| inner.get("status")?.as_str().map(ToOwned::to_owned)))
        .or_else(|| levels().find_map(|from| scalar(from.get("code")?)))
        .or_else(|| inner.and_then(|inner| scalar(inner.get("type")?)))
        .or_else(|| problem(outer));
    Shape { message: message.unwrap_or_default(), code, html: false }
}

/// The last part of the address that names a problem (RFC 9457).
fn problem(outer: &Value) -> Option<String> {
    let kind = outer.get("type")?.as_str()?;
    let (_, last) = kind.rsplit_once(['#', '/'])?;
    (!last.is_empty()).then(|| last.to_owned())
}

/// A text, or the first of a list of complaints about a request's fields.
fn said(value: &Value) -> Option<String> {
    match value {
        Value::Array(list) => list.first().and_then(|first| match first {
            Value::Object(first) => scalar(first.get("msg").or_else(|| first.get("message"))?),
            first => scalar(first),
        }),
        value => scalar(value),
    }
}

/// A string or a number, as text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn text(body: &str) -> Shape {
    let body = body.trim_start_matches('\u{feff}').trim();
    let lower = body.get(..1024).unwrap_or(body).to_ascii_lowercase();
    let html = body.starts_with('<') && (lower.contains("<html") || lower.contains("<!doctype"));
    let message = match html {
        true => title(body).unwrap_or("an HTML page").to_owned(),
        false => body.to_owned(),
    };
    Shape { message, code: None, html }
}

/// The title of a page, which on an error page says what is wrong.
fn title(page: &str) -> Option<&str> {
    // ASCII only, so that offsets are the same in both.
    let lower = page.to_ascii_lowercase();
    let open = lower.find("<title")?;
    let start = open + lower[open..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    Some(page[start..end].trim()).filter(|title| !title.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, message: &str, code: Option<&str>) {
        let shape = read(body.as_bytes());
        assert_eq!((shape.message.as_str(), shape.code.as_deref()), (message, code), "{body}");
    }

    #[test]
    fn every_known_shape_yields_its_message_and_code() {
        check(r#"{"code": "not-found", "error": "gone"}"#, "gone", Some("not-found"));
        check(
            r#"{"error": {"message": "no", "type": "invalid_request_error", "code": "x", "param": null}}"#,
            "no",
            Some("x"),
        );
        check(r#"{"error": {"message": "no", "code": 503}}"#, "no", Some("503"));
        check(r#"{"error": {"message": "no", "type": "t", "code": null}}"#, "no", Some("t"));
        check(r#"{"error": "no"}"#, "no", None);
        check(r#""stream and deferred""#, "stream and deferred", None);
        check(r#"{"message": "no", "code": 7}"#, "no", Some("7"));
        check(r#"{"detail": "no"}"#, "no", None);
        check(r#"{"detail": [{"loc": ["body", 3], "msg": "no", "type": "missing"}]}"#, "no", None);
        check(
            r#"{"type": "error", "error": {"type": "overloaded_error", "message": "no"}}"#,
            "no",
            Some("overloaded_error"),
        );
        check(
            r#"{"error": {"code": 429, "message": "no", "status": "RESOURCE_EXHAUSTED"}}"#,
            "no",
            Some("RESOURCE_EXHAUSTED"),
        );
        check(
            r#"{"type": "https://a.example/http-problem-types#quota-exceeded", "title": "no"}"#,
            "no",
            Some("quota-exceeded"),
        );
        check(r#"{"type": "about:blank", "title": "no", "status": 429}"#, "no", None);
        check(r#"[{"error": {"message": "no", "code": 429}}]"#, "no", Some("429"));
        check("  upstream connect error\n", "upstream connect error", None);
        check("", "", None);
        check("{}", "", None);
        check("null", "", None);
        check("[1]", "", None);
        check(r#"{"error": {}}"#, "", None);
        check(r#"{"error": null, "code": "a"}"#, "", Some("a"));
    }

    #[test]
    fn a_page_is_known_by_its_title() {
        let page = "<!DOCTYPE html>\n<html><head><TITLE>api.x.ai | 502: Bad gateway</title>";
        check(page, "api.x.ai | 502: Bad gateway", None);
        assert!(read(page.as_bytes()).html);
        check("<html></html>", "an HTML page", None);
        assert!(!read(b"<xml/>").html);
    }

    #[test]
    fn bytes_that_are_no_text_are_still_read() {
        assert_eq!(read(b"\xff\xfeno").message, "\u{fffd}\u{fffd}no");
    }
}
