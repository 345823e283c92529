//! One recorded request.
//!
//! What this file keeps: its `Debug` shows no key.

use std::ops::Deref;

use bytes::Bytes;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use http::{HeaderName, Request};
use tokio::time::Instant;

/// A request as it was sent, with its place and moment. Derefs to the request.
#[derive(Clone, Debug)]
pub struct SentRequest {
    request: Request<Bytes>,
    number: u64,
    at: Instant,
}

impl SentRequest {
    pub(super) fn new(mut request: Request<Bytes>, number: u64) -> Self {
        for name in [AUTHORIZATION, PROXY_AUTHORIZATION, HeaderName::from_static("x-api-key")] {
            if let http::header::Entry::Occupied(mut values) = request.headers_mut().entry(name) {
                values.iter_mut().for_each(|value| value.set_sensitive(true));
            }
        }
        Self { request, number, at: Instant::now() }
    }

    /// How many calls were made before it.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// When it was sent, on tokio's clock.
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// Its body as JSON, where it is.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(self.request.body()).ok()
    }
}

impl Deref for SentRequest {
    type Target = Request<Bytes>;

    fn deref(&self) -> &Request<Bytes> {
        &self.request
    }
}
