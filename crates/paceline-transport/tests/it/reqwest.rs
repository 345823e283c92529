//! The reqwest transport over real sockets on this machine.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use paceline_transport::reqwest::ReqwestTransport;
use paceline_transport::{
    ApiKey, Reach, TimeoutKind, Transport, TransportError, TransportErrorKind,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wiremock::matchers::{any, body_string, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const SHORT: Duration = Duration::from_millis(50);

fn transport() -> ReqwestTransport {
    ReqwestTransport::new().unwrap()
}

fn post(address: impl AsRef<str>) -> Request<Bytes> {
    Request::post(address.as_ref()).body(Bytes::from_static(b"{\"a\":1}")).unwrap()
}

/// A server that treats every connection as `serve` says, once a whole request has arrived.
async fn raw<F, S>(serve: S) -> String
where
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/secret-path", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"{\"a\":1}") {
                assert!(socket.read_buf(&mut request).await.unwrap() > 0);
            }
            serve(socket).await;
        }
    });
    address
}

#[track_caller]
fn assert_fails(error: &TransportError, kind: TransportErrorKind, reach: Reach) {
    let mut shown = format!("{error:?}");
    let mut next: Option<&dyn Error> = Some(error);
    while let Some(error) = next {
        shown = format!("{shown}\n{error}");
        next = error.source();
    }
    assert_eq!((error.kind(), error.reach()), (kind, reach), "{shown}");
    assert!(!shown.contains("secret-path"), "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn a_request_arrives_whole_and_its_answer_comes_back_whole() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/v1/responses"))
        .and(header("authorization", "Bearer xai-s3cret"))
        .and(header("content-type", "application/json"))
        .and(header("user-agent", concat!("paceline/", env!("CARGO_PKG_VERSION"))))
        .and(body_string("{}"))
        .respond_with(
            ResponseTemplate::new(201).insert_header("x-request-id", "7").set_body_string("ok"),
        )
        .expect(1)
        .mount(&server)
        .await;
    let request = Request::post(format!("{}/v1/responses", server.uri()))
        .header("authorization", ApiKey::new("xai-s3cret").unwrap().authorization())
        .header("content-type", "application/json")
        .body(Bytes::from_static(b"{}"))
        .unwrap();
    let answer = transport().send(request).await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["x-request-id"], "7");
    assert_eq!(answer.into_body().collect(100).await.unwrap(), "ok");
}

#[tokio::test]
async fn an_answer_of_any_status_is_an_answer_and_comes_from_one_attempt() {
    for status in [204, 301, 400, 429, 500, 503, 529] {
        let server = MockServer::start().await;
        Mock::given(any())
            .respond_with(ResponseTemplate::new(status))
            .expect(1)
            .mount(&server)
            .await;
        let answer = transport().send(post(server.uri())).await.unwrap();
        assert_eq!(answer.status(), status);
    }
}

#[tokio::test]
async fn fault_11_a_redirect_is_handed_back_and_not_followed() {
    let elsewhere = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).expect(0).mount(&elsewhere).await;
    let server = MockServer::start().await;
    for (place, status) in [("/302", 302), ("/307", 307), ("/308", 308)] {
        let redirect = ResponseTemplate::new(status).insert_header("location", elsewhere.uri());
        Mock::given(path(place)).respond_with(redirect).expect(1).mount(&server).await;
        let answer = transport().send(post(format!("{}{place}", server.uri()))).await.unwrap();
        assert_eq!(answer.status(), status);
        assert!(answer.headers().contains_key("location"));
    }
}

#[tokio::test]
async fn a_compressed_body_is_passed_on_as_it_came() {
    let server = MockServer::start().await;
    let packed = ResponseTemplate::new(200)
        .insert_header("content-encoding", "gzip")
        .set_body_bytes(b"\x1f\x8bnot really".to_vec());
    Mock::given(any()).respond_with(packed).mount(&server).await;
    let answer = transport().send(post(server.uri())).await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    assert_eq!(&answer.into_body().collect(100).await.unwrap()[..], b"\x1f\x8bnot really");
    let asked = &server.received_requests().await.unwrap()[0];
    assert!(!asked.headers.contains_key("accept-encoding"));
}

#[tokio::test]
async fn fault_19_a_body_above_the_cap_is_a_typed_error() {
    let server = MockServer::start().await;
    let large = ResponseTemplate::new(200).set_body_bytes(vec![b'x'; 100_001]);
    Mock::given(any()).respond_with(large).mount(&server).await;
    let answer = transport().send(post(server.uri())).await.unwrap();
    let error = answer.into_body().collect(100_000).await.unwrap_err();
    assert_fails(&error, TransportErrorKind::BodyTooLarge, Reach::MaybeSent);
    let answer = transport().send(post(server.uri())).await.unwrap();
    assert_eq!(answer.into_body().collect(100_001).await.unwrap().len(), 100_001);
}

#[tokio::test]
async fn fault_19_a_body_without_end_is_stopped_at_the_cap() {
    let address = raw(async |mut socket| {
        socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        let chunk = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
        while socket.write_all(chunk.as_bytes()).await.is_ok() {}
    })
    .await;
    let answer = transport().send(post(address)).await.unwrap();
    let error = answer.into_body().collect(1_000_000).await.unwrap_err();
    assert_fails(&error, TransportErrorKind::BodyTooLarge, Reach::MaybeSent);
}

#[tokio::test]
async fn a_refused_connection_was_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/secret-path", listener.local_addr().unwrap());
    drop(listener);
    let error = transport().send(post(address)).await.unwrap_err();
    assert_fails(&error, TransportErrorKind::Connect, Reach::NotSent);
}

#[tokio::test]
async fn a_name_that_no_resolver_can_take_was_not_sent() {
    // A label of 64 letters is one too long to be asked for.
    let address = format!("http://{}.invalid/secret-path", "a".repeat(64));
    let direct = ReqwestTransport::builder().no_proxy().build().unwrap();
    let error = direct.send(post(address)).await.unwrap_err();
    assert_fails(&error, TransportErrorKind::Dns, Reach::NotSent);
}

#[tokio::test]
async fn a_failed_handshake_was_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}/secret-path", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.read_u8().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
    });
    let error = transport().send(post(address)).await.unwrap_err();
    assert_fails(&error, TransportErrorKind::Tls, Reach::NotSent);
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_a_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}/secret-path", listener.local_addr().unwrap());
    let transport = ReqwestTransport::builder().connect_timeout(SHORT).build().unwrap();
    let error = transport.send(post(address)).await.unwrap_err();
    assert_fails(&error, TransportErrorKind::Timeout(TimeoutKind::Connect), Reach::NotSent);
}

#[tokio::test]
async fn a_connection_closed_after_the_request_may_have_been_sent() {
    let address = raw(async |socket| drop(socket)).await;
    let error = transport().send(post(address)).await.unwrap_err();
    assert_fails(&error, TransportErrorKind::Reset, Reach::MaybeSent);
}

#[tokio::test]
async fn a_connection_reset_after_the_request_may_have_been_sent() {
    let address = raw(async |socket| {
        socket.set_zero_linger().unwrap();
        drop(socket);
    })
    .await;
    let error = transport().send(post(address)).await.unwrap_err();
    assert_fails(&error, TransportErrorKind::Reset, Reach::MaybeSent);
}

#[tokio::test]
async fn a_body_cut_short_is_a_reset() {
    let address = raw(async |mut socket| {
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    })
    .await;
    let answer = transport().send(post(address)).await.unwrap();
    let error = answer.into_body().collect(100).await.unwrap_err();
    assert_fails(&error, TransportErrorKind::Reset, Reach::MaybeSent);
}

#[tokio::test]
async fn a_head_that_does_not_come_is_a_head_timeout() {
    let address = raw(async |_socket| std::future::pending().await).await;
    let transport = ReqwestTransport::builder().head_timeout(SHORT).build().unwrap();
    let error = transport.send(post(address)).await.unwrap_err();
    assert_fails(&error, TransportErrorKind::Timeout(TimeoutKind::Head), Reach::MaybeSent);
}

#[tokio::test]
async fn fault_17_a_body_that_stalls_is_an_idle_timeout_and_what_came_before_is_delivered() {
    let address = raw(async |mut socket| {
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
        std::future::pending().await
    })
    .await;
    let transport = ReqwestTransport::builder().idle_timeout(SHORT).build().unwrap();
    let mut body = transport.send(post(address)).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    let error = body.frame().await.unwrap().unwrap_err();
    assert_fails(&error, TransportErrorKind::Timeout(TimeoutKind::Idle), Reach::MaybeSent);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_call_without_end_is_a_total_timeout_in_head_and_body() {
    let stuck = raw(async |_socket| std::future::pending().await).await;
    let endless = raw(async |mut socket| {
        socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        while socket.write_all(b"1\r\nx\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let within = |longest| ReqwestTransport::builder().total_timeout(longest).build().unwrap();
    let total = TransportErrorKind::Timeout(TimeoutKind::Total);
    let error = within(SHORT).send(post(stuck)).await.unwrap_err();
    assert_fails(&error, total, Reach::MaybeSent);
    // Long enough for the head on a busy machine.
    let answer = within(Duration::from_secs(1)).send(post(endless)).await.unwrap();
    let error = answer.into_body().collect(1 << 30).await.unwrap_err();
    assert_fails(&error, total, Reach::MaybeSent);
}

#[tokio::test]
async fn timeouts_beyond_any_clock_are_none() {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_string("ok"))
        .mount(&server)
        .await;
    let transport = ReqwestTransport::builder()
        .head_timeout(Duration::MAX)
        .idle_timeout(Duration::MAX)
        .total_timeout(Duration::MAX)
        .build()
        .unwrap();
    let answer = transport.send(post(server.uri())).await.unwrap();
    assert_eq!(answer.into_body().collect(9).await.unwrap(), "ok");
}

#[tokio::test]
async fn requests_to_this_machine_go_past_the_proxy_and_others_through_it() {
    let proxy = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(203)).expect(1).mount(&proxy).await;
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).expect(2).mount(&server).await;
    let transport = ReqwestTransport::builder().proxy(proxy.uri()).build().unwrap();
    let answer = transport.send(post("http://host.invalid/")).await.unwrap();
    assert_eq!(answer.status(), 203);
    let port = server.address().port();
    for host in ["127.0.0.1", "localhost"] {
        let answer = transport.send(post(format!("http://{host}:{port}/"))).await.unwrap();
        assert_eq!(answer.status(), 200, "{host}");
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_is_said_so() {
    for address in ["/no-host/secret-path", "ftp://127.0.0.1/secret-path"] {
        let error = transport().send(post(address)).await.unwrap_err();
        assert_fails(&error, TransportErrorKind::InvalidRequest, Reach::NotSent);
    }
}

#[test]
fn bad_settings_are_refused_without_being_shown() {
    for builder in [
        ReqwestTransport::builder().user_agent("a\nb"),
        ReqwestTransport::builder().proxy("http://me:s3cret@"),
    ] {
        let shown = format!("{builder:?}");
        let error = builder.build().unwrap_err();
        assert_fails(&error, TransportErrorKind::InvalidRequest, Reach::NotSent);
        assert!(!shown.contains("s3cret"));
    }
}
