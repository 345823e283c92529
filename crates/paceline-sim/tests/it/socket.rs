//! The server on a real socket of this machine, spoken to by hand.

use std::time::Duration;

use paceline_sim::http::{Fault, Latency, OutputLength, Server, ServerOptions, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::instant;

/// A call on a connection of its own.
async fn call(server: &Server) -> TcpStream {
    let body = r#"{"model": "grok-4.3", "messages": [{"role": "user", "content": "x"}]}"#;
    call_with(server, body).await
}

/// The same as a stream.
async fn stream(server: &Server) -> TcpStream {
    let body = r#"{"model": "grok-4.3", "messages": [{"content": "x"}], "stream": true}"#;
    call_with(server, body).await
}

async fn call_with(server: &Server, body: &str) -> TcpStream {
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: sim\r\nauthorization: Bearer k\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(server.addr()).await.expect("it listens");
    stream.write_all(format!("{head}{body}").as_bytes()).await.expect("it reads");
    stream
}

/// What comes back until the connection ends, however it ends.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A server whose answers take hours, with one call at work.
async fn busy() -> (Server, TcpStream) {
    let hours = Duration::from_secs(7_200);
    let latency = Latency::instant().first_token(hours..=hours);
    let server = Server::start(ServerOptions::new().latency(latency)).await.expect("a free port");
    let stream = call(&server).await;
    while server.stats().arrived == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (server, stream)
}

#[tokio::test]
async fn it_answers_on_loopback_and_a_taken_port_is_named() {
    let server = Server::start(instant()).await.expect("a free port");
    assert!(server.addr().ip().is_loopback());
    assert_eq!(server.base_url(), format!("http://127.0.0.1:{}/v1", server.addr().port()));
    let taken = Server::start(ServerOptions::new().port(server.addr().port())).await;
    assert!(matches!(taken, Err(StartError::PortInUse { port }) if port == server.addr().port()));
    let answer = rest(call(&server).await).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"usage\""), "{answer}");
    assert_eq!(server.stats().ok, 1);
    server.shutdown().await;
}

#[tokio::test]
async fn a_dropped_connection_ends_without_a_whole_answer_and_uncounted() {
    let server = Server::start(instant()).await.expect("a free port");
    server.drop_next(1);
    let answer = rest(call(&server).await).await;
    assert!(!answer.contains("usage"), "{answer}");
    assert_eq!(server.stats().arrived, 0);
    assert!(rest(call(&server).await).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn dropping_the_server_breaks_what_is_in_flight_and_frees_the_port() {
    let (server, stream) = busy().await;
    let addr = server.addr();
    drop(server);
    // It would take two hours if it waited for the answer; the bound is for a test that fails.
    let answer = tokio::time::timeout(Duration::from_secs(60), rest(stream)).await;
    let answer = answer.expect("the connection breaks");
    assert!(!answer.contains("usage"), "{answer}");
    while TcpStream::connect(addr).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn shutting_down_waits_two_seconds_and_then_breaks_what_is_in_flight() {
    let (server, stream) = busy().await;
    let begin = tokio::time::Instant::now();
    server.shutdown().await;
    let took = begin.elapsed();
    assert!((Duration::from_secs(2)..=Duration::from_secs(3)).contains(&took), "{took:?}");
    let answer = rest(stream).await;
    assert!(!answer.contains("usage"), "{answer}");
}

/// A server that writes a token every 50 ms, 10,000 of them, with one stream that has begun.
async fn writing() -> (Server, TcpStream) {
    let latency = Latency::instant().tokens_per_second(20..=20);
    let options = ServerOptions::new().latency(latency).output(OutputLength::fixed(10_000));
    let server = Server::start(options).await.expect("a free port");
    let mut stream = stream(&server).await;
    let mut seen = Vec::new();
    while !seen.windows(6).any(|bytes| bytes == b"data: ") {
        assert!(stream.read_buf(&mut seen).await.expect("it is open") > 0);
    }
    (server, stream)
}

#[tokio::test]
async fn a_stream_ends_with_its_connection_kept_whole() {
    let server = Server::start(instant()).await.expect("a free port");
    let answer = rest(stream(&server).await).await;
    assert!(answer.contains("content-type: text/event-stream"), "{answer}");
    assert!(answer.contains("data: [DONE]\n\n") && answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_hangs_up_is_noticed_and_its_stream_ends() {
    let (server, stream) = writing().await;
    drop(stream);
    while server.stats().cut_short == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!((1..10_000).contains(&server.stats().output_tokens));
}

#[tokio::test]
async fn dropping_the_server_breaks_a_stream() {
    let (server, stream) = writing().await;
    drop(server);
    // It would take minutes if it were written to its end; the bound is for a test that fails.
    let answer = tokio::time::timeout(Duration::from_secs(60), rest(stream)).await;
    let answer = answer.expect("the connection breaks");
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_stream_that_breaks_has_no_end_on_the_wire() {
    let server = Server::start(instant()).await.expect("a free port");
    server.inject(1, Fault::break_inside(3));
    let answer = rest(stream(&server).await).await;
    assert_eq!(answer.matches("data: ").count(), 3, "{answer}");
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
}
