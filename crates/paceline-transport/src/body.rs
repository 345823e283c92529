//! The body of an answer: a stream of byte frames of one type, whatever it came from.
//!
//! It parses nothing. What this file keeps: nobody reads more into memory than the cap they
//! named.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use crate::error::{Reach, TransportError, TransportErrorKind};

/// The body of an answer.
///
/// Read it whole with [`Body::collect`], or frame by frame through [`http_body::Body`].
///
/// ```
/// use bytes::Bytes;
/// use http_body::Body as _;
/// use paceline_transport::Body;
///
/// let body = Body::from(Bytes::from_static(b"{}"));
/// assert_eq!(body.size_hint().exact(), Some(2));
/// ```
#[derive(Default)]
pub struct Body(Inner);

type Stream = Pin<Box<dyn http_body::Body<Data = Bytes, Error = TransportError> + Send>>;

#[derive(Default)]
enum Inner {
    #[default]
    Empty,
    Once(Bytes),
    Stream(Stream),
}

impl Body {
    /// A body without a byte.
    pub const fn empty() -> Self {
        Self(Inner::Empty)
    }

    /// A body that streams.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<TransportError>,
    {
        Self(Inner::Stream(Box::pin(body.map_err(Into::into))))
    }

    /// Reads it to its end, at most `cap` bytes. Trailers are dropped.
    ///
    /// # Errors
    /// [`TransportErrorKind::BodyTooLarge`] as soon as it is known to be longer, before the rest
    /// is read; otherwise what the connection reports. The reach is always
    /// [`Reach::MaybeSent`]: an answer had begun.
    ///
    /// # Cancel safety
    /// Dropping the future loses what was read and closes the body.
    pub async fn collect(mut self, cap: u64) -> Result<Bytes, TransportError> {
        let too_large = || TransportError::new(TransportErrorKind::BodyTooLarge, Reach::MaybeSent);
        if http_body::Body::size_hint(&self).lower() > cap {
            return Err(too_large());
        }
        // Most bodies are one frame, which needs no copy.
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            let length = first.len() + joined.len() + data.len();
            if length as u64 > cap {
                return Err(too_large());
            }
            if first.is_empty() && joined.is_empty() {
                first = data;
            } else {
                joined.extend_from_slice(&std::mem::take(&mut first));
                joined.extend_from_slice(&data);
            }
        }
        Ok(if joined.is_empty() { first } else { joined.freeze() })
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() { Inner::Empty } else { Inner::Once(bytes) })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        match &mut self.0 {
            Inner::Stream(stream) => stream.as_mut().poll_frame(context),
            inner => Poll::Ready(match std::mem::take(inner) {
                Inner::Once(bytes) => Some(Ok(Frame::data(bytes))),
                _ => None,
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Empty => true,
            Inner::Once(_) => false,
            Inner::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Once(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Stream(stream) => stream.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    /// Its length where that is known, never its content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = http_body::Body::size_hint(self).exact();
        f.debug_struct("Body").field("length", &length).finish()
    }
}
