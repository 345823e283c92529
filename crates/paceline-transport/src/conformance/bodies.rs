//! The rules about bodies of answers.

use http_body_util::BodyExt;

use super::server::{GZIP, PIECES, pattern};
use super::{Stage, Verdict, ensure, read};
use crate::body::Body;
use crate::error::TransportErrorKind;

pub(super) async fn whole(stage: &Stage) -> Verdict {
    for how in ["length", "chunked", "close", "empty"] {
        let body = read(stage.answer(&format!("/body/{how}")).await?).await?;
        let expected = if how == "empty" { Vec::new() } else { pattern() };
        ensure(body == expected, || {
            format!("by {how}, {} bytes came of {}", body.len(), expected.len())
        })?;
    }
    Ok(())
}

/// Reads until so many bytes have come, or the body ends.
async fn read_some(body: &mut Body, bytes: usize) -> Result<Vec<u8>, String> {
    let mut came = Vec::new();
    while came.len() < bytes {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|error| format!("the body failed: {error:?}"))?;
        if let Ok(data) = frame.into_data() {
            came.extend(data);
        }
    }
    Ok(came)
}

pub(super) async fn pieces(stage: &Stage) -> Verdict {
    for how in ["chunked", "close"] {
        // The head comes before any of the body is sent.
        let mut body = stage.answer(&format!("/pieces/{how}")).await?.into_body();
        for piece in PIECES {
            stage.server.books().go.notify_one();
            let came = read_some(&mut body, piece.len()).await?;
            ensure(came == piece.as_bytes(), || {
                format!("for {piece:?}, {:?} came", String::from_utf8_lossy(&came))
            })?;
        }
        stage.server.books().go.notify_one();
        let rest = read_some(&mut body, 1).await?;
        ensure(rest.is_empty(), || format!("{} bytes came behind the last piece", rest.len()))?;
    }
    Ok(())
}

pub(super) async fn encodings(stage: &Stage) -> Verdict {
    let answer = stage.answer("/gzip").await?;
    let labelled = answer.headers().contains_key("content-encoding");
    let body = read(answer).await?;
    let fits = if labelled { body == GZIP } else { body == "ok" };
    ensure(fits, || format!("labelled: {labelled}, and the bytes were {body:?}"))
}

pub(super) async fn caps(stage: &Stage) -> Verdict {
    match stage.answer("/endless").await?.into_body().collect(1_000_000).await {
        Ok(body) => return Err(format!("it ended after {} bytes", body.len())),
        Err(error) => ensure(error.kind() == TransportErrorKind::BodyTooLarge, || {
            format!("the error was {error:?}")
        })?,
    }
    stage.server.books().closed.notified().await;
    Ok(())
}

pub(super) async fn cut_short(stage: &Stage) -> Verdict {
    for how in ["length", "chunked"] {
        let mut body = stage.answer(&format!("/cut/{how}")).await?.into_body();
        let came = read_some(&mut body, 4).await?;
        ensure(came == b"half", || {
            format!("by {how}, {:?} came before the cut", String::from_utf8_lossy(&came))
        })?;
        match body.frame().await {
            Some(Err(error)) => ensure(!error.is_not_sent(), || {
                format!("by {how}, the error said that nothing was sent: {error:?}")
            })?,
            Some(Ok(_)) => return Err(format!("by {how}, more came behind the cut")),
            None => return Err(format!("by {how}, the body ended as if it were whole")),
        }
    }
    Ok(())
}
