//! Questions to the server that are no calls of a model: one request each, which nothing counts or retries.

use bytes::Bytes;
use http::Method;
use paceline_transport::headers::RateHeaders;
use serde_json::Value;

use crate::attempt::{ANSWER_CAP, ERROR_CAP};
use crate::call::JSON;
use crate::client::{Client, wall_now};
use crate::error::{Error, ErrorKind};

impl Client {
    /// Sends one request, and reads the JSON that is its answer.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Value, Error> {
        let request = self.request_to(method, path, body, JSON)?;
        let response = self.0.transport.send(request).await.map_err(Error::transport)?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            let headers = RateHeaders::parse(&head.headers, wall_now());
            // Where even the error breaks off, its status has to do.
            let bytes = body.collect(ERROR_CAP).await.unwrap_or_default();
            let server = self.server_error(head.status, &headers, &bytes);
            return Err(Error::server(&server).retry_in(headers.retry_after()));
        }
        let bytes = body.collect(ANSWER_CAP).await.map_err(Error::transport)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(ErrorKind::BadAnswer, "the answer is no JSON").because(error)
        })
    }
}
