//! The adapter for `reqwest`: a `reqwest::Client` is a service of its requests already.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use paceline::Client;
//! use paceline::tower::{PacedLayer, reqwest::ReqwestAdapter};
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! let limits = Client::builder().build()?;
//! // Its own retries are off: what they repeat would escape the limits.
//! let http = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
//! let layer = PacedLayer::with_adapter(limits, ReqwestAdapter);
//! let mut service = ServiceBuilder::new().layer(layer).service(http.clone());
//! let request = http.post("https://api.x.ai/v1/chat/completions").body("{}").build()?;
//! let answer = service.ready().await?.call(request).await?;
//! println!("{}", answer.text().await?);
//! # Ok(())
//! # }
//! ```

use std::error::Error as StdError;

use ::http::Uri;
use ::reqwest::{Body, Request, Response};

use super::http::{asked, paced};
use super::{Adapter, Asked, InFlight};

/// As [`HttpAdapter`](super::HttpAdapter), for requests and answers of `reqwest`. A request whose body
/// streams can't be looked at, and passes at once: no limit counts it.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it has no settings")]
pub struct ReqwestAdapter;

impl Adapter<Request, Response> for ReqwestAdapter {
    type Paced = Response;

    fn asked(&self, request: &Request) -> Option<Asked> {
        let uri: Uri = request.url().as_str().parse().ok()?;
        asked(request.method(), &uri, request.body()?.as_bytes()?)
    }

    fn answered(&self, response: Response, call: Option<InFlight>) -> Response {
        if call.is_none() {
            return response;
        }
        let response: ::http::Response<Body> = response.into();
        Response::from(paced(response, call).map(Body::wrap))
    }

    fn is_not_sent(&self, error: &(dyn StdError + 'static)) -> bool {
        let error = error.downcast_ref::<::reqwest::Error>();
        error.is_some_and(|error| error.is_builder() || error.is_connect())
    }
}
