//! The rules about calls that are dropped or fail, and about how often a request is sent.

use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use super::{Stage, Verdict, ensure, post, read, refused_address};
use crate::error::TransportError;

pub(super) async fn lazy(stage: &Stage) -> Verdict {
    drop(stage.transport.send(stage.post("/never")));
    // What was begun before three whole calls would be there after them.
    for _ in 0..3 {
        read(stage.answer("/later").await?).await?;
    }
    let seen = stage.server.books().seen().clone();
    ensure(seen == ["/later"; 3], || format!("the server saw {seen:?}"))
}

pub(super) async fn dropped_call(stage: &Stage) -> Verdict {
    let books = stage.server.books();
    {
        let mut call = pin!(stage.send(stage.post("/held/head")));
        let mut held = pin!(books.held.notified());
        // Whichever is ready first, on one task.
        let answered = std::future::poll_fn(|context| {
            if let Poll::Ready(answer) = call.as_mut().poll(context) {
                return Poll::Ready(Some(answer.map(|answer| answer.status())));
            }
            held.as_mut().poll(context).map(|()| None)
        });
        if let Some(answer) = answered.await {
            return Err(format!("it was over before it was dropped: {answer:?}"));
        }
    }
    books.closed.notified().await;
    Ok(())
}

pub(super) async fn dropped_body(stage: &Stage) -> Verdict {
    let answer = stage.answer("/held/body").await?;
    stage.server.books().held.notified().await;
    drop(answer);
    stage.server.books().closed.notified().await;
    Ok(())
}

pub(super) async fn not_sent(stage: &Stage) -> Verdict {
    let refused = refused_address().await.map_err(|error| error.to_string())?;
    // The server there speaks no TLS.
    let plain = stage.server.base().replace("http://", "https://");
    for (what, address) in [("a refused connection", refused), ("no TLS", plain)] {
        let error = stage.failure(post(&address)).await?;
        ensure(error.is_not_sent(), || {
            format!("after {what}, the error said that it may have been sent: {error:?}")
        })?;
    }
    Ok(())
}

pub(super) async fn maybe_sent(stage: &Stage) -> Verdict {
    for how in ["close", "reset", "head"] {
        let error = stage.failure(stage.post(&format!("/lost/{how}"))).await?;
        ensure(!error.is_not_sent(), || {
            format!("after {how}, the error said that nothing was sent: {error:?}")
        })?;
    }
    Ok(())
}

pub(super) async fn one_attempt(stage: &Stage) -> Verdict {
    let failing = ["/lost/close", "/lost/reset", "/lost/head"];
    let answered = ["/status/408", "/status/429", "/status/500", "/status/503", "/redirect/307"];
    for scene in answered.into_iter().chain(failing) {
        // On a connection that is kept, where there is one.
        read(stage.answer("/kept").await?).await?;
        stage.server.books().seen().clear();
        match stage.send(stage.post(scene)).await {
            Ok(answer) => drop(read(answer).await),
            Err(error) => drop(error),
        }
        let seen = stage.server.books().seen().clone();
        ensure(seen == [scene], || format!("of one {scene}, the server saw {seen:?}"))?;
    }
    Ok(())
}

pub(super) async fn secrets(stage: &Stage) -> Verdict {
    let refused = refused_address().await.map_err(|error| error.to_string())?;
    let lost = format!("{}/lost/close?s3cret-query", stage.server.base());
    let plain = format!("{}/s3cret-path", stage.server.base().replace("http://", "https://"));
    for address in [refused, lost, plain] {
        let shown = shown(&stage.failure(post(&address)).await?);
        ensure(!shown.contains("s3cret"), || format!("an error showed: {shown}"))?;
    }
    Ok(())
}

/// An error and every one behind it, in both forms.
fn shown(error: &TransportError) -> String {
    let mut shown = format!("{error:?}");
    let mut next: Option<&dyn Error> = Some(error);
    // No chain is longer; a loop in one would hang the suite.
    for _ in 0..32 {
        let Some(error) = next else { break };
        shown = format!("{shown} / {error} / {error:?}");
        next = error.source();
    }
    shown
}
