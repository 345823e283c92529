//! The body of an answer: whole, or written piece by piece while the client reads.
//!
//! It only delivers. Invariant: no piece is delivered before its time, and a body that breaks has
//! no end, so that no client takes half an answer for a whole one.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

/// The body of an answer, as [`Grok::respond`](super::Grok::respond) gives it.
///
/// One frame, or one for each event of a stream at the moment it is written. Where the
/// connection is to break, it ends in an error. Dropping it says that the client has gone away.
#[derive(Debug)]
pub struct Body {
    kind: Kind,
    /// Whether what came before has been let out: a connection that breaks in the same breath
    /// would take it along.
    let_out: bool,
}

#[derive(Debug)]
enum Kind {
    /// What is left of it, and what happens then.
    Whole(Option<Bytes>, Tail),
    Written(Written),
}

/// What is behind the bytes of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    Ends,
    Breaks,
    /// Nothing, for as long as the client waits.
    Stalls,
}

/// A piece and the moment at which it has arrived; without bytes, the connection breaks.
pub(super) type Piece = (Instant, Option<Bytes>);

#[derive(Debug)]
struct Written {
    /// Holds no more than the events of one answer.
    pieces: UnboundedReceiver<Piece>,
    /// Taken from there, and on its way.
    coming: Option<(Pin<Box<Sleep>>, Option<Bytes>)>,
    over: bool,
    breaks: bool,
}

impl Body {
    /// Everything at once.
    pub(super) const fn whole(bytes: Bytes) -> Self {
        Self { kind: Kind::Whole(Some(bytes), Tail::Ends), let_out: false }
    }

    /// The first half of these bytes, and what follows instead of the rest.
    pub(super) fn half(bytes: &Bytes, tail: Tail) -> Self {
        let half = bytes.slice(..bytes.len() / 2);
        Self { kind: Kind::Whole(Some(half), tail), let_out: false }
    }

    /// Nothing: the connection breaks at once, before the head too.
    pub(super) const fn broken() -> Self {
        Self { kind: Kind::Whole(None, Tail::Breaks), let_out: true }
    }

    /// What comes out of a channel; it ends where the sender is dropped.
    pub(super) const fn written(pieces: UnboundedReceiver<Piece>) -> Self {
        let written = Written { pieces, coming: None, over: false, breaks: false };
        Self { kind: Kind::Written(written), let_out: false }
    }
}

/// What comes next.
enum Next {
    Data(Bytes),
    End,
    Break,
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let next = match &mut self.kind {
            Kind::Written(written) => match written.poll(context) {
                Poll::Ready(next) => next,
                Poll::Pending => return Poll::Pending,
            },
            Kind::Whole(bytes, tail) => match (bytes.take(), *tail) {
                (Some(bytes), _) if !bytes.is_empty() => Next::Data(bytes),
                (_, Tail::Ends) => Next::End,
                (_, Tail::Breaks) => Next::Break,
                (_, Tail::Stalls) => return Poll::Pending,
            },
        };
        Poll::Ready(match next {
            Next::Data(bytes) => Some(Ok(Frame::data(bytes))),
            Next::End => None,
            Next::Break if self.let_out => {
                self.kind = Kind::Whole(None, Tail::Ends);
                Some(Err(io::ErrorKind::ConnectionReset.into()))
            }
            Next::Break => {
                self.let_out = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes, tail) => {
                *tail == Tail::Ends && bytes.as_ref().is_none_or(Bytes::is_empty)
            }
            Kind::Written(written) => written.over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes, Tail::Ends) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            _ => SizeHint::default(),
        }
    }
}

impl Written {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if self.over {
            return Poll::Ready(Next::End);
        }
        if self.breaks {
            return Poll::Ready(Next::Break);
        }
        if self.coming.is_none() {
            match self.pieces.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    self.over = true;
                    return Poll::Ready(Next::End);
                }
                Poll::Ready(Some((at, bytes))) => {
                    self.coming = Some((Box::pin(sleep_until(at)), bytes));
                }
            }
        }
        let Some((arrives, _)) = &mut self.coming else { return Poll::Pending };
        if arrives.deadline() > Instant::now() && arrives.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(match self.coming.take().and_then(|(_, bytes)| bytes) {
            Some(bytes) => Next::Data(bytes),
            None => {
                self.breaks = true;
                Next::Break
            }
        })
    }
}

/// A body that breaks as soon as the server is cut off.
pub(super) struct Severable {
    body: Body,
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Severable {
    pub(super) fn new(body: Body, mut cut: watch::Receiver<()>) -> Self {
        let cut = Box::pin(async move {
            // Nothing is ever sent: the sender is gone.
            let _ = cut.changed().await;
        });
        Self { body, cut }
    }
}

impl http_body::Body for Severable {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let frame = pin!(&mut self.body).poll_frame(context);
        if frame.is_pending() && self.cut.as_mut().poll(context).is_ready() {
            self.body = Body::broken();
            return pin!(&mut self.body).poll_frame(context);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
