//! The reqwest transport keeps every rule; transports that break one are told which.

use bytes::Bytes;
use http::{Request, Response};
use paceline_transport::conformance::{Rule, check};
use paceline_transport::reqwest::ReqwestTransport;
use paceline_transport::{Body, Reach, Transport, TransportError, TransportErrorKind, async_trait};

#[tokio::test]
async fn the_reqwest_transport_keeps_every_rule() {
    check(|_| ReqwestTransport::new().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_them_on_several_threads_too() {
    check(|_| ReqwestTransport::new().unwrap()).await.unwrap();
}

/// The same transport with one fault.
#[derive(Debug)]
struct Faulty(ReqwestTransport, Fault);

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Tries again after a failure or a 5xx.
    Retries,
    /// Follows redirects.
    Follows,
    /// Makes an error of a status.
    Judges,
    /// Says of every failure that nothing was sent.
    Forgets,
    /// Says of every failure that it may have been sent.
    Fears,
    /// Ends a body at its first error.
    Swallows,
    /// Keeps the last of several headers.
    Merges,
    /// Leaves out the query.
    Shortens,
    /// Takes compressed bytes for plain ones.
    Relabels,
    /// Puts the address into its errors.
    Tells,
}

impl Faulty {
    async fn once(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        self.0.send(request).await
    }
}

/// Ends where the other fails.
struct Swallowed(Body);

impl http_body::Body for Swallowed {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, TransportError>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(context).map(|frame| frame.filter(Result::is_ok))
    }
}

#[async_trait]
impl Transport for Faulty {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let again = request.clone();
        let address = request.uri().to_string();
        match self.1 {
            Fault::Retries => match self.once(request).await {
                Ok(answer) if !answer.status().is_server_error() => Ok(answer),
                _ => self.once(again).await,
            },
            Fault::Follows => {
                let answer = self.once(request).await?;
                let Some(place) = answer.headers().get("location") else { return Ok(answer) };
                if !answer.status().is_redirection() {
                    return Ok(answer);
                }
                let uri = again.uri();
                let base = format!("http://{}", uri.authority().unwrap());
                let place = format!("{base}{}", place.to_str().unwrap());
                self.once(Request::get(place).body(Bytes::new()).unwrap()).await
            }
            Fault::Judges => {
                let answer = self.once(request).await?;
                if answer.status().is_success() {
                    return Ok(answer);
                }
                Err(TransportError::new(TransportErrorKind::Other, Reach::MaybeSent))
            }
            Fault::Forgets | Fault::Fears => self.once(request).await.map_err(|error| {
                let reach = if matches!(self.1, Fault::Forgets) {
                    Reach::NotSent
                } else {
                    Reach::MaybeSent
                };
                TransportError::new(error.kind(), reach)
            }),
            Fault::Swallows => Ok(self.once(request).await?.map(|body| Body::new(Swallowed(body)))),
            Fault::Merges => {
                let mut answer = self.once(request).await?;
                let headers = answer.headers_mut();
                if let Some(last) = headers.get_all("x-many").iter().next_back().cloned() {
                    headers.insert("x-many", last);
                }
                Ok(answer)
            }
            Fault::Shortens => {
                let mut request = request;
                let short = address.split('?').next().unwrap();
                *request.uri_mut() = short.parse().unwrap();
                self.once(request).await
            }
            Fault::Relabels => {
                let mut answer = self.once(request).await?;
                answer.headers_mut().remove("content-encoding");
                Ok(answer)
            }
            Fault::Tells => self.once(request).await.map_err(|error| {
                TransportError::new(error.kind(), error.reach()).with_source(address)
            }),
        }
    }
}

/// The rules that are told to be broken.
async fn broken(transport: &ReqwestTransport, fault: Fault) -> Vec<Rule> {
    let judged = check(|_| Faulty(transport.clone(), fault)).await;
    let Err(broken) = judged else { return Vec::new() };
    assert!(broken.to_string().contains(broken.rules().next().unwrap().text()), "{broken}");
    broken.rules().collect()
}

#[tokio::test]
async fn each_fault_is_found_by_the_rule_it_breaks_and_by_no_other() {
    let transport = ReqwestTransport::new().unwrap();
    for (fault, expected) in [
        (Fault::Retries, &[Rule::OneAttempt][..]),
        (Fault::Follows, &[Rule::Redirects, Rule::OneAttempt]),
        (Fault::Judges, &[Rule::Statuses, Rule::Redirects]),
        (Fault::Forgets, &[Rule::MaybeSent]),
        (Fault::Fears, &[Rule::NotSent]),
        (Fault::Swallows, &[Rule::CutShort]),
        (Fault::Merges, &[Rule::HeaderNames]),
        (Fault::Shortens, &[Rule::Request]),
        (Fault::Relabels, &[Rule::Encodings]),
        (Fault::Tells, &[Rule::Secrets]),
    ] {
        assert_eq!(broken(&transport, fault).await, expected, "{fault:?}");
    }
}
