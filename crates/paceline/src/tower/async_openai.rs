//! `async-openai` behind the limits: a service to give to its `Client::with_http_service`.
//!
//! With a service of your own that client retries nothing by itself, so an attempt of it is one
//! attempt here. Do not put its retry layer below this service.
//!
//! ```no_run
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use async_openai::{Client, config::OpenAIConfig};
//! use paceline::tower::async_openai::OpenAiService;
//!
//! let limits = paceline::Client::builder().build()?;
//! let http = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
//! let config = OpenAIConfig::new().with_api_base("https://api.x.ai/v1");
//! let client = Client::with_config(config).with_http_service(OpenAiService::new(limits, http));
//! # Ok(())
//! # }
//! ```

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::async_openai::error::OpenAIError;
use ::async_openai::middleware::HttpRequestFactory;
use ::reqwest::Response;
use tower_layer::Layer;
use tower_service::Service;

use super::reqwest::ReqwestAdapter;
use super::{Paced, PacedError, PacedLayer};
use crate::client::Client;

/// Builds each request, waits for its turn, and sends it with `reqwest`.
#[derive(Clone, Debug)]
pub struct OpenAiService(Paced<::reqwest::Client, ReqwestAdapter>);

impl OpenAiService {
    /// Sends with `http` what the limits of `client` admit. Switch the retries of `http` off.
    pub fn new(client: Client, http: ::reqwest::Client) -> Self {
        Self(PacedLayer::with_adapter(client, ReqwestAdapter).layer(http))
    }
}

impl Service<HttpRequestFactory> for OpenAiService {
    type Response = Response;
    type Error = OpenAIError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, OpenAIError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenAIError>> {
        // reqwest is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, factory: HttpRequestFactory) -> Self::Future {
        let mut paced = self.0.clone();
        Box::pin(async move {
            let request = factory.build().await?;
            paced.call(request).await.map_err(|error| match error {
                PacedError::Inner(error) => OpenAIError::Reqwest(error),
                PacedError::Refused(error) => OpenAIError::Boxed(Box::new(error)),
            })
        })
    }
}
