//! The adapter for requests and answers of the `http` crate.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::http::{Method, Request, Response, Uri};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use serde_json::Value;

use super::{Adapter, Asked, InFlight};
use crate::request::{Chat, JsonCall, Path};

/// Reads what is asked from the path and the JSON body of a request, and shows the call the body of
/// the answer as somebody reads it.
///
/// A POST whose path ends with `chat/completions` is a chat; one whose body names a model is a call to
/// some other endpoint, with its usage at `/usage`. All else passes at once: no limit counts it.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it has no settings")]
pub struct HttpAdapter;

impl<B: AsRef<[u8]>, R: Body<Data = Bytes>> Adapter<Request<B>, Response<R>> for HttpAdapter {
    type Paced = Response<PacedBody<R>>;

    fn asked(&self, request: &Request<B>) -> Option<Asked> {
        asked(request.method(), request.uri(), request.body().as_ref())
    }

    fn answered(&self, response: Response<R>, call: Option<InFlight>) -> Self::Paced {
        paced(response, call)
    }

    fn is_not_sent(&self, error: &(dyn StdError + 'static)) -> bool {
        let io = error.downcast_ref::<std::io::Error>();
        io.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    }
}

/// What a request asks, by its method, its path and its JSON body.
pub(super) fn asked(method: &Method, uri: &Uri, body: &[u8]) -> Option<Asked> {
    if method != Method::POST {
        return None;
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return None };
    if uri.path().ends_with("chat/completions") {
        return Chat::from_body(fields).map(Asked::Chat);
    }
    let model = fields.get("model")?.as_str()?.to_owned();
    let path = Path::new(uri.path().trim_start_matches('/'));
    Some(Asked::Json(JsonCall::post(path, model, Value::Object(fields))))
}

pub(super) fn paced<R: Body<Data = Bytes>>(
    response: Response<R>,
    mut call: Option<InFlight>,
) -> Response<PacedBody<R>> {
    let (head, body) = response.into_parts();
    if let Some(call) = &mut call {
        call.head(head.status, &head.headers);
    }
    let is_over = body.is_end_stream();
    let mut body = PacedBody { inner: Box::pin(body), call };
    if is_over {
        body.end();
    }
    Response::from_parts(head, body)
}

/// The body of an answer, shown to its call as it is read. Dropped before its end, the call counts as
/// spent at what was reserved for it.
pub struct PacedBody<B> {
    inner: Pin<Box<B>>,
    call: Option<InFlight>,
}

impl<B> PacedBody<B> {
    fn end(&mut self) {
        self.call.take().into_iter().for_each(InFlight::end);
    }
}

impl<B: Body<Data = Bytes>> Body for PacedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(self.inner.as_mut().poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(piece), Some(call)) = (frame.data_ref(), &mut self.call) {
                    call.body(piece);
                }
                // Some readers never ask for what they know is not there.
                if self.inner.is_end_stream() {
                    self.end();
                }
            }
            // It broke off: nobody knows what is charged.
            Some(Err(_)) => self.call = None,
            None => self.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> fmt::Debug for PacedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacedBody").field("call", &self.call).finish_non_exhaustive()
    }
}
