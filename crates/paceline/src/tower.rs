//! A `tower` layer: every request of another client waits for its turn, and is settled by its answer.
//!
//! The layer makes one attempt of one request and retries nothing. What is above it may retry, and
//! each attempt waits for its own turn; what is below it must not, because what it repeats would
//! escape the limits and the budgets.
//!
//! It is generic over requests and answers by a small trait, [`Adapter`]. There is one for the types
//! of the `http` crate, [`HttpAdapter`], and with the features of these names one for [`reqwest`] and
//! a service for `async-openai`.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tower_layer::Layer;
use tower_service::Service;

use crate::call::Call;
use crate::client::Client;
use crate::error::Error;
pub use crate::in_flight::InFlight;
use crate::request::{Chat, JsonCall};

#[cfg(feature = "async-openai")]
pub mod async_openai;
mod http;
#[cfg(feature = "reqwest")]
pub mod reqwest;

pub use self::http::{HttpAdapter, PacedBody};

/// What the layer has to know of somebody else's requests and answers.
///
/// `Paced` is what becomes of an answer: one whose body is shown to the call as it is read.
pub trait Adapter<Request, Response> {
    /// The answer as it is handed on.
    type Paced;

    /// What a request asks; `None` for one that no limit counts, which passes at once.
    fn asked(&self, request: &Request) -> Option<Asked>;

    /// Hands an answer on, and sees to it that the call is told of its head and its body.
    fn answered(&self, response: Response, call: Option<InFlight>) -> Self::Paced;

    /// Whether a request that failed certainly never left. Default: nobody knows.
    fn is_not_sent(&self, error: &(dyn StdError + 'static)) -> bool {
        let _ = error;
        false
    }
}

/// What a request asks of the limits.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Asked {
    /// A chat completion.
    Chat(Chat),
    /// A call to any other endpoint.
    Json(JsonCall),
}

/// Paces a service; see the [module](self).
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use paceline::Client;
/// use paceline::tower::PacedLayer;
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # let transport = paceline::transport::mock::MockTransport::new();
/// let client = Client::builder().base_url("http://127.0.0.1:1/v1").transport(transport).build()?;
/// // Any service of `http` types; here one that answers by itself.
/// let service = service_fn(|_: http::Request<String>| async {
///     let body = r#"{"usage": {"prompt_tokens": 140, "completion_tokens": 4, "total_tokens": 144}}"#;
///     Ok::<_, std::io::Error>(http::Response::new(http_body_util::Full::from(body)))
/// });
/// let mut service = ServiceBuilder::new().layer(PacedLayer::new(client.clone())).service(service);
///
/// let request = http::Request::post("http://127.0.0.1:1/v1/chat/completions")
///     .body(r#"{"model": "grok-4.3", "messages": []}"#.to_owned())?;
/// let answer = service.ready().await?.call(request).await?;
/// http_body_util::BodyExt::collect(answer.into_body()).await?;
/// let limits = client.limits().expect("our own limiter").limits;
/// assert!(limits.iter().any(|limit| limit.used == 144), "144 tokens are counted");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PacedLayer<A = HttpAdapter> {
    client: Client,
    adapter: A,
}

impl PacedLayer {
    /// Paces requests of the `http` crate through this client's limits.
    pub const fn new(client: Client) -> Self {
        Self { client, adapter: HttpAdapter }
    }
}

impl<A> PacedLayer<A> {
    /// Paces what this adapter knows.
    pub const fn with_adapter(client: Client, adapter: A) -> Self {
        Self { client, adapter }
    }
}

impl<S, A: Clone> Layer<S> for PacedLayer<A> {
    type Service = Paced<S, A>;

    fn layer(&self, inner: S) -> Paced<S, A> {
        Paced { client: self.client.clone(), adapter: self.adapter.clone(), inner }
    }
}

/// A service whose requests wait for their turn.
///
/// It is ready when the inner service is: how long a request has to wait is known once it is there, so
/// the wait is in the call's future. Bound how many may wait with a
/// [deadline](paceline_core::Demand::deadline) or a concurrency limit above.
///
/// # Cancel safety
/// A future that is dropped while it waits gives everything back; later it counts as spent.
#[derive(Clone, Debug)]
pub struct Paced<S, A = HttpAdapter> {
    client: Client,
    adapter: A,
    inner: S,
}

impl<S, A, Request> Service<Request> for Paced<S, A>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: StdError + 'static,
    Request: Send + 'static,
    A: Adapter<Request, S::Response> + Clone + Send + 'static,
{
    type Response = A::Paced;
    type Error = PacedError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<A::Paced, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(ready!(self.inner.poll_ready(context)).map_err(PacedError::Inner))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The one that is ready is taken along; its copy has to become ready anew.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let (client, adapter) = (self.client.clone(), self.adapter.clone());
        Box::pin(async move {
            let call = match adapter.asked(&request) {
                Some(asked) => Some(client.begin(asked).await.map_err(PacedError::Refused)?),
                None => None,
            };
            match inner.call(request).await {
                Ok(response) => Ok(adapter.answered(response, call)),
                Err(error) => {
                    if let Some(call) = call.filter(|_| adapter.is_not_sent(&error)) {
                        call.not_sent();
                    }
                    Err(PacedError::Inner(error))
                }
            }
        })
    }
}

impl Client {
    /// Waits for the turn of a call that another client makes, and takes it to be leaving now.
    ///
    /// # Errors
    /// [`Error`] where it can't be admitted.
    ///
    /// # Cancel safety
    /// Dropping the future gives everything back.
    pub async fn begin(&self, asked: Asked) -> Result<InFlight, Error> {
        let call = match asked {
            Asked::Chat(chat) => Call::chat(self, &chat)?,
            Asked::Json(json) => Call::json(self, &json)?,
        };
        Ok(InFlight::new(self.reserve(&Arc::new(call), 1).await?))
    }
}

/// Why a paced service failed.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "before the inner service, or in it")]
pub enum PacedError<E> {
    /// The request was not admitted; it has not left.
    Refused(
        /// Why.
        Error,
    ),
    /// The inner service failed.
    Inner(
        /// Its error.
        E,
    ),
}

impl<E: fmt::Display> fmt::Display for PacedError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: StdError + 'static> StdError for PacedError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Refused(error) => error.source(),
            Self::Inner(error) => error.source(),
        }
    }
}
