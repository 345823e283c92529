//! A body that comes in pieces, each at its moment.
//!
//! What this file keeps: the moments are fixed when the head is given; a slow reader finds what
//! came meanwhile and delays nothing.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::{Reach, TransportError, TransportErrorKind};

/// What is behind the last piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    Breaks(TransportErrorKind),
    Stalls,
}

pub(super) struct Pieces {
    /// Each with the wait before it.
    pieces: VecDeque<(Duration, Bytes)>,
    end: End,
    /// When the last piece came.
    since: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pieces {
    pub(super) const fn new(pieces: VecDeque<(Duration, Bytes)>, end: End, since: Instant) -> Self {
        Self { pieces, end, since, timer: None }
    }

    /// The next piece at its moment; an empty one is only a wait.
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while let Some((wait, _)) = self.pieces.front() {
            // A moment that no clock can hold never comes.
            let Some(due) = self.since.checked_add(*wait) else { return Poll::Pending };
            if due > Instant::now() {
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
                if timer.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
            }
            self.timer = None;
            self.since = due;
            if let Some((_, bytes)) = self.pieces.pop_front().filter(|(_, bytes)| !bytes.is_empty())
            {
                return Poll::Ready(Some(bytes));
            }
        }
        Poll::Ready(None)
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        let next = match self.next(context) {
            Poll::Ready(next) => next,
            Poll::Pending => return Poll::Pending,
        };
        match (next, self.end) {
            (Some(bytes), _) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            (None, End::Whole) => Poll::Ready(None),
            (None, End::Stalls) => Poll::Pending,
            (None, End::Breaks(kind)) => {
                self.end = End::Whole;
                Poll::Ready(Some(Err(TransportError::new(kind, Reach::MaybeSent))))
            }
        }
    }
}
