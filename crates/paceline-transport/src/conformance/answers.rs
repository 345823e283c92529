//! The rules about requests and heads of answers.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use tokio::task::JoinSet;

use super::server::{LONG, pattern};
use super::{KEY, Stage, Verdict, ensure, post, read};

/// A header's value, empty where it has none.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

pub(super) async fn request(stage: &Stage) -> Verdict {
    let base = stage.server.base();
    for (method, body) in [("POST", pattern()), ("PUT", b"{}".to_vec()), ("GET", Vec::new())] {
        let request = Request::builder()
            .method(method)
            .uri(format!("{base}/echo/a%20b?x=1&y=%2F"))
            .header("authorization", KEY)
            .header("x-test", "one")
            .header("x-test", "two")
            .body(Bytes::from(body.clone()))
            .map_err(|error| error.to_string())?;
        let answer = stage.send(request).await.map_err(|error| format!("{error:?}"))?;
        let headers = answer.headers().clone();
        for (name, expected) in [
            ("x-method", method),
            ("x-target", "/echo/a%20b?x=1&y=%2F"),
            ("x-key", KEY),
            ("x-test", "one|two"),
        ] {
            let seen = text(&headers, name);
            ensure(seen == expected, || format!("of {method}, {name} was {seen:?}"))?;
        }
        let echoed = read(answer).await?;
        ensure(echoed == body, || {
            format!("of {method}, {} bytes arrived for {}", echoed.len(), body.len())
        })?;
    }
    Ok(())
}

pub(super) async fn statuses(stage: &Stage) -> Verdict {
    for status in [200, 202, 204, 299, 304, 400, 401, 403, 404, 408, 429, 500, 502, 503, 529, 599] {
        let answer = stage.answer(&format!("/status/{status}")).await?;
        let (seen, scene) = (answer.status().as_u16(), text(answer.headers(), "x-scene"));
        ensure(seen == status && scene == status.to_string(), || {
            format!("{status} came as {seen} with x-scene {scene:?}")
        })?;
        let expected: &[u8] = if matches!(status, 204 | 304) { b"" } else { b"the body" };
        let body = read(answer).await?;
        ensure(body == expected, || format!("the body of {status} was {body:?}"))?;
    }
    Ok(())
}

pub(super) async fn interim(stage: &Stage) -> Verdict {
    let answer = stage.answer("/interim").await?;
    let status = answer.status();
    let body = read(answer).await?;
    ensure(status == 200 && body == "final", || format!("the answer was {status} with {body:?}"))
}

pub(super) async fn header_names(stage: &Stage) -> Verdict {
    let answer = stage.answer("/headers").await?;
    let remaining = text(answer.headers(), "x-ratelimit-remaining-requests");
    ensure(remaining == "7", || format!("x-ratelimit-remaining-requests was {remaining:?}"))?;
    let many: Vec<&[u8]> =
        answer.headers().get_all("x-many").iter().map(|value| value.as_bytes()).collect();
    ensure(many == [b"a", b"b"], || format!("of x-many a and b, {many:?} came"))
}

pub(super) async fn large_headers(stage: &Stage) -> Verdict {
    let answer = stage.answer("/headers").await?;
    let came = text(answer.headers(), "x-long").len();
    ensure(came == LONG, || format!("{came} bytes of an answer's header came"))?;
    let request = Request::post(format!("{}/echo", stage.server.base()))
        .header("x-long", "l".repeat(LONG))
        .body(Bytes::new())
        .map_err(|error| error.to_string())?;
    let answer = stage.send(request).await.map_err(|error| format!("{error:?}"))?;
    let arrived = text(answer.headers(), "x-long");
    ensure(arrived == LONG.to_string(), || format!("{arrived} bytes of a request's header arrived"))
}

pub(super) async fn redirects(stage: &Stage) -> Verdict {
    for status in [301, 302, 303, 307, 308] {
        let answer = stage.answer(&format!("/redirect/{status}")).await?;
        let seen = answer.status().as_u16();
        let location = text(answer.headers(), "location");
        ensure(seen == status && location == "/followed", || {
            format!("{status} came as {seen} with location {location:?}")
        })?;
    }
    let followed = stage.server.books().seen().iter().any(|target| target == "/followed");
    ensure(!followed, || "the other address was asked".to_owned())
}

pub(super) async fn concurrency(stage: &Stage) -> Verdict {
    let mut calls = JoinSet::new();
    for number in 0..16 {
        let transport = Arc::clone(&stage.transport);
        let address = format!("{}/echo/{number}", stage.server.base());
        calls.spawn(async move { (number, transport.send(post(&address)).await) });
    }
    while let Some(call) = calls.join_next().await {
        let (number, answer) = call.map_err(|error| error.to_string())?;
        let answer = answer.map_err(|error| format!("call {number} failed: {error:?}"))?;
        let target = text(answer.headers(), "x-target");
        ensure(target == format!("/echo/{number}"), || {
            format!("call {number} got the answer to {target}")
        })?;
    }
    Ok(())
}
