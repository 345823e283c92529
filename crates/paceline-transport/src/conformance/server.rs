//! The server of the suite: HTTP/1.1 by hand, one scene for each path.
//!
//! It is no client's model of a server: bytes are written as they stand here. What this file
//! keeps: every request that came in whole is counted before anything is answered, and no task of
//! it outlives the server.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

/// The length of long headers.
pub(super) const LONG: usize = 32 << 10;
/// The length of long bodies.
pub(super) const WHOLE: usize = 100_000;
/// The pieces of a body that comes bit by bit.
pub(super) const PIECES: [&str; 4] = ["first", "second", "third", "last"];
/// "ok", packed by gzip without compression.
pub(super) const GZIP: &[u8] =
    b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x01\x02\0\xfd\xffok\x47\xdd\xdc\x79\x02\0\0\0";

/// A server that runs until it is dropped.
pub(super) struct Server {
    addr: SocketAddr,
    books: Arc<Books>,
    accepting: AbortHandle,
}

/// What the server and the rules tell each other.
#[derive(Default)]
pub(super) struct Books {
    /// The targets of the requests that came in whole, in their order.
    seen: Mutex<Vec<String>>,
    /// A request is held.
    pub(super) held: Notify,
    /// The client closed the connection of one that was held.
    pub(super) closed: Notify,
    /// The next piece may be sent.
    pub(super) go: Notify,
}

/// A request, read.
struct Asked {
    method: String,
    target: String,
    /// Names in lower case.
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Server {
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let books = Arc::new(Books::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&books))).abort_handle();
        Ok(Self { addr, books, accepting })
    }

    pub(super) fn base(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(super) fn books(&self) -> &Books {
        &self.books
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Books {
    pub(super) fn seen(&self) -> MutexGuard<'_, Vec<String>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections are tasks of this one, so that they end with it.
async fn accept(listener: TcpListener, books: Arc<Books>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let books = Arc::clone(&books);
        connections.spawn(async move {
            // A connection that breaks is the client's doing, and judged there.
            let _ = serve(socket, &books).await;
        });
    }
}

/// Whether another request may follow on the connection.
#[derive(PartialEq, Eq)]
enum Then {
    Again,
    Close,
}

async fn serve(mut socket: TcpStream, books: &Books) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(asked) = read(&mut socket, &mut buffer).await? {
        books.seen().push(asked.target.clone());
        if play(&mut socket, &asked, books).await? == Then::Close {
            break;
        }
    }
    Ok(())
}

/// The next request; `None` where there is none.
async fn read(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Asked>> {
    let head = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            break head;
        }
        // The beginning of a TLS handshake, or the end.
        if buffer.first() == Some(&0x16) || socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut words = first.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = lines
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
            Some((name, line[colon + 1..].trim_ascii().to_vec()))
        })
        .collect();
    let mut asked = Asked { method, target, headers, body: Vec::new() };
    asked.body = if asked.all("transfer-encoding").is_empty() {
        let length = asked.all("content-length").parse().unwrap_or(0);
        take(socket, buffer, length).await?
    } else {
        let mut body = Vec::new();
        loop {
            let size = line(socket, buffer).await?;
            let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16);
            let size = size.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            body.extend(take(socket, buffer, size).await?);
            line(socket, buffer).await?;
            if size == 0 {
                break body;
            }
        }
    };
    Ok(Some(asked))
}

async fn take(socket: &mut TcpStream, buffer: &mut Vec<u8>, n: usize) -> io::Result<Vec<u8>> {
    while buffer.len() < n {
        if socket.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.drain(..n).collect())
}

async fn line(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<String> {
    loop {
        if let Some(end) = find(buffer, b"\r\n") {
            let line: Vec<u8> = buffer.drain(..end + 2).collect();
            return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        if socket.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

impl Asked {
    /// The values of a header, joined.
    fn all(&self, name: &str) -> String {
        let values = self.headers.iter().filter(|(other, _)| other == name);
        let values: Vec<_> = values.map(|(_, value)| String::from_utf8_lossy(value)).collect();
        values.join("|")
    }
}

/// Plays the scene of the request's path.
async fn play(socket: &mut TcpStream, asked: &Asked, books: &Books) -> io::Result<Then> {
    let path = asked.target.split('?').next().unwrap_or_default();
    let (scene, how) = path.trim_start_matches('/').split_once('/').unwrap_or((&path[1..], ""));
    match scene {
        "echo" => echo(socket, asked).await,
        "status" | "redirect" => {
            let bodiless = matches!(how, "204" | "304");
            let body = if bodiless { "" } else { "the body" };
            let length = if bodiless { "" } else { "content-length: 8\r\n" };
            let place = if scene == "redirect" { "location: /followed\r\n" } else { "" };
            let head = format!(
                "HTTP/1.1 {how} Scene\r\nx-scene: {how}\r\nretry-after: \
                 0\r\n{place}{length}\r\n{body}"
            );
            answer(socket, head.as_bytes()).await
        }
        "interim" => {
            let heads = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
            answer(socket, format!("{heads}{}", ok("final")).as_bytes()).await
        }
        "headers" => {
            let long = "l".repeat(LONG);
            let head = format!(
                "HTTP/1.1 200 OK\r\nX-RateLimit-Remaining-Requests: 7\r\nx-many: \
                 a\r\nX-MANY: b\r\nX-Long: {long}\r\nContent-Length: 0\r\n\r\n"
            );
            answer(socket, head.as_bytes()).await
        }
        "gzip" => {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
                GZIP.len()
            );
            answer(socket, &[head.as_bytes(), GZIP].concat()).await
        }
        "body" => whole(socket, how).await,
        "pieces" => pieces(socket, how, books).await,
        "endless" => {
            socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            let chunk = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
            while socket.write_all(chunk.as_bytes()).await.is_ok() {}
            books.closed.notify_one();
            Ok(Then::Close)
        }
        "held" => hold(socket, how, books).await,
        "lost" | "cut" => lose(socket, how).await,
        _ => answer(socket, ok("ok").as_bytes()).await,
    }
}

async fn answer(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<Then> {
    socket.write_all(bytes).await?;
    Ok(Then::Again)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Says what it saw.
async fn echo(socket: &mut TcpStream, asked: &Asked) -> io::Result<Then> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nx-method: {}\r\nx-target: {}\r\nx-key: {}\r\nx-test: \
         {}\r\nx-long: {}\r\ncontent-length: {}\r\n\r\n",
        asked.method,
        asked.target,
        asked.all("authorization"),
        asked.all("x-test"),
        asked.all("x-long").len(),
        asked.body.len()
    );
    answer(socket, &[head.as_bytes(), &asked.body].concat()).await
}

/// Every byte there is, in turn.
pub(super) fn pattern() -> Vec<u8> {
    (0..=u8::MAX).cycle().take(WHOLE).collect()
}

async fn whole(socket: &mut TcpStream, how: &str) -> io::Result<Then> {
    let body = pattern();
    match how {
        "length" => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {WHOLE}\r\n\r\n");
            answer(socket, &[head.as_bytes(), &body].concat()).await
        }
        "chunked" => {
            let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
            for chunk in body.chunks(777) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
            answer(socket, &bytes).await
        }
        "close" => {
            answer(socket, &[b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", &body[..]].concat())
                .await?;
            socket.shutdown().await?;
            Ok(Then::Close)
        }
        _ => answer(socket, ok("").as_bytes()).await,
    }
}

/// Sends each piece when the one before has arrived.
async fn pieces(socket: &mut TcpStream, how: &str, books: &Books) -> io::Result<Then> {
    let chunked = how == "chunked";
    let framing = if chunked { "transfer-encoding: chunked" } else { "connection: close" };
    socket.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").as_bytes()).await?;
    for piece in PIECES {
        books.go.notified().await;
        let piece =
            if chunked { format!("{:x}\r\n{piece}\r\n", piece.len()) } else { piece.to_owned() };
        socket.write_all(piece.as_bytes()).await?;
    }
    books.go.notified().await;
    if chunked {
        return answer(socket, b"0\r\n\r\n").await;
    }
    socket.shutdown().await?;
    Ok(Then::Close)
}

/// Says nothing more, and waits until the client closes.
async fn hold(socket: &mut TcpStream, how: &str, books: &Books) -> io::Result<Then> {
    if how == "body" {
        let begun = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
        socket.write_all(begun).await?;
    }
    books.held.notify_one();
    let mut rest = Vec::new();
    while !matches!(socket.read_buf(&mut rest).await, Ok(0) | Err(_)) {}
    books.closed.notify_one();
    Ok(Then::Close)
}

/// Ends the connection too early.
async fn lose(socket: &mut TcpStream, how: &str) -> io::Result<Then> {
    match how {
        "reset" => socket.set_zero_linger()?,
        "head" => socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await?,
        "length" => {
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await?;
        }
        "chunked" => {
            let half = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
            socket.write_all(half).await?;
        }
        _ => {}
    }
    Ok(Then::Close)
}
