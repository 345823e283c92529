//! A body with an idle timeout and a deadline.
//!
//! What this file keeps: the idle time runs only while somebody waits for the next piece, so that
//! a slow reader is not taken for a slow server.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::failure::from_body;
use crate::error::{Reach, TimeoutKind, TransportError, TransportErrorKind};

/// reqwest's body, timed.
pub(super) struct TimedBody {
    inner: ::reqwest::Body,
    idle: Duration,
    deadline: Option<Instant>,
    /// Made when the next piece is first waited for, and dropped when it comes.
    timer: Option<(Pin<Box<Sleep>>, TimeoutKind)>,
    ended: bool,
}

impl TimedBody {
    pub(super) fn new(inner: ::reqwest::Body, idle: Duration, deadline: Option<Instant>) -> Self {
        Self { inner, idle, deadline, timer: None, ended: false }
    }

    /// The earlier of the idle timeout from now and the deadline, if either fits a clock.
    fn timer(&self) -> Option<(Pin<Box<Sleep>>, TimeoutKind)> {
        let idle = Instant::now().checked_add(self.idle);
        let (at, kind) = match (idle, self.deadline) {
            (Some(idle), Some(end)) if end < idle => (end, TimeoutKind::Total),
            (None, Some(end)) => (end, TimeoutKind::Total),
            (idle, _) => (idle?, TimeoutKind::Idle),
        };
        Some((Box::pin(sleep_until(at)), kind))
    }

    /// Ends the body.
    fn time_out(
        &mut self,
        kind: TimeoutKind,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        self.ended = true;
        let kind = TransportErrorKind::Timeout(kind);
        Poll::Ready(Some(Err(TransportError::new(kind, Reach::MaybeSent))))
    }
}

impl http_body::Body for TimedBody {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // A server that always has one more piece ready would never be waited for.
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return self.time_out(TimeoutKind::Total);
        }
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(frame) => {
                self.timer = None;
                self.ended = !matches!(frame, Some(Ok(_)));
                return Poll::Ready(frame.map(|frame| frame.map_err(from_body)));
            }
            Poll::Pending if self.timer.is_none() => self.timer = self.timer(),
            Poll::Pending => {}
        }
        let Some((sleep, kind)) = self.timer.as_mut() else { return Poll::Pending };
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let kind = *kind;
        self.time_out(kind)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
