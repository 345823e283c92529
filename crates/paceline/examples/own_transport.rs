//! A transport of one's own: on hyper, with a connection pool and no TLS. The test below runs
//! the suite that any transport can be held against.
//!
//! `cargo run -p paceline --example own_transport`, and
//! `cargo test -p paceline --example own_transport`.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as HyperClient, Error as SendError};
use hyper_util::rt::TokioExecutor;
use paceline::transport::{
    Body, Reach, Transport, TransportError, TransportErrorKind, async_trait,
};

/// Sends requests over plain HTTP/1.1. For `https`, give the client a connector that speaks TLS.
#[derive(Clone, Debug)]
struct HyperTransport(HyperClient<HttpConnector, Full<Bytes>>);

impl HyperTransport {
    fn new() -> Self {
        let mut builder = HyperClient::builder(TokioExecutor::new());
        // A connection that was closed while it lay in the pool: hyper would send the request
        // again by itself. Nothing is lost by leaving that to whoever counts attempts.
        builder.retry_canceled_requests(false);
        Self(builder.build_http())
    }
}

#[async_trait]
impl Transport for HyperTransport {
    async fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Body>, TransportError> {
        let answer = self.0.request(request.map(Full::new)).await.map_err(before_the_head)?;
        // The body streams behind the head; dropping it closes the connection.
        Ok(answer.map(|body| Body::new(body.map_err(in_the_body))))
    }
}

/// Whether the server may have seen it is what matters most: in doubt, it may have.
fn before_the_head(error: SendError) -> TransportError {
    let (kind, reach) = if error.is_connect() {
        (TransportErrorKind::Connect, Reach::NotSent)
    } else {
        (TransportErrorKind::Reset, Reach::MaybeSent)
    };
    TransportError::new(kind, reach).with_source(error)
}

/// An answer had begun, so that the request was processed.
fn in_the_body(error: hyper::Error) -> TransportError {
    TransportError::new(TransportErrorKind::Reset, Reach::MaybeSent).with_source(error)
}

#[cfg(not(test))]
#[expect(clippy::print_stdout, reason = "a program")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    use paceline::transport::ApiKey;
    use paceline::{Chat, Client};
    use paceline_sim::http::{Server, ServerOptions};

    let server = Server::start(ServerOptions::new()).await?;
    let client = Client::builder()
        .base_url(server.base_url())
        .api_key(ApiKey::new("simulated")?)
        .transport(HyperTransport::new())
        .build()?;
    let reply = client.chat(&Chat::new("grok-4.3").user("Hi!")).await?;
    println!("{}\n{:?}", reply.text().unwrap_or_default(), reply.usage());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::HyperTransport;
    use paceline::transport::conformance;

    #[tokio::test]
    async fn it_keeps_every_rule_of_a_transport() {
        conformance::check(|_base| HyperTransport::new()).await.unwrap();
    }
}
