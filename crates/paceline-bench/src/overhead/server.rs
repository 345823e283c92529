//! The server that both sides call: a process of its own, one thread, as little work as can be.
//!
//! It speaks just enough HTTP/1.1 for clients that keep their connections, judges nothing and limits
//! nobody: the limits that it states are far above what any client could send, and what it says is left
//! goes down with what it has counted in this minute, as on a real server. Invariant: it ends when
//! whoever started it does.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Builder;

use super::answers::{self, TOKENS};

/// What it states as the limits of a minute: 100 million requests a second, and as many tokens as a
/// million large calls.
pub(super) const REQUESTS_PER_MINUTE: u64 = 6_000_000_000;
pub(super) const TOKENS_PER_MINUTE: u64 = 6_000_000_000_000;

/// The server, seen by who started it. It is ended when this is dropped.
pub(super) struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Starts this program again, as a server.
    pub(super) fn start() -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|why| why.to_string())?;
        let mut command = Command::new(program);
        command.arg("--serve").stdin(Stdio::piped()).stdout(Stdio::piped());
        let process = command.spawn().map_err(|why| format!("the server does not start: {why}"))?;
        let mut server = Self { process, port: 0 };
        let mut line = String::new();
        let said = server.process.stdout.take().ok_or("the server can't be heard")?;
        BufReader::new(said).read_line(&mut line).map_err(|why| why.to_string())?;
        server.port = line.trim().parse().map_err(|_| "the server named no port".to_owned())?;
        Ok(server)
    }

    /// The base address of answers of this kind.
    pub(super) fn base(&self, kind: Kind) -> String {
        format!("http://127.0.0.1:{}/{}/v1", self.port, kind.path())
    }

    /// Over how many connections calls have come so far.
    pub(super) fn connections(&self) -> Result<u64, String> {
        let ask = || -> std::io::Result<String> {
            let mut connection = TcpStream::connect(("127.0.0.1", self.port))?;
            connection.write_all(b"GET /connections HTTP/1.1\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().map_err(|why| format!("the server does not answer: {why}"))?;
        let count = answer.rsplit("\r\n").next().and_then(|count| count.parse().ok());
        count.ok_or_else(|| format!("the server answers {answer:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// What kind of answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole answer, after so long.
    Whole(Duration),
    /// A stream of events, as fast as it is read.
    Stream,
}

impl Kind {
    fn path(self) -> String {
        match self {
            Self::Whole(after) => format!("after/{}", after.as_millis()),
            Self::Stream => "stream".to_owned(),
        }
    }

    /// By the path of a request.
    fn of(path: &str) -> Option<Self> {
        if path.starts_with("/stream/") {
            return Some(Self::Stream);
        }
        let millis = path.strip_prefix("/after/")?.split('/').next()?;
        Some(Self::Whole(Duration::from_millis(millis.parse().ok()?)))
    }
}

/// Serves until whoever started it is gone.
///
/// # Errors
/// A text for people where it can't listen.
pub(super) fn serve() -> Result<(), String> {
    std::thread::spawn(|| {
        // Nothing is ever said here: it ends when the other end is closed.
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        std::process::exit(0);
    });
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.and_then(|runtime| runtime.block_on(listen())).map_err(|why| why.to_string())
}

async fn listen() -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener: TcpListener = socket.listen(4_096)?;
    crate::program::say(&listener.local_addr()?.port().to_string());
    let shared = Arc::new(Shared::new());
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let shared = Arc::clone(&shared);
        // Where a client goes away in the middle, nobody has to know.
        tokio::spawn(async move { connection(socket, &shared).await.ok() });
    }
}

/// What all connections share.
struct Shared {
    whole: Vec<u8>,
    /// How a whole answer is framed.
    framing: String,
    stream: Vec<u8>,
    connections: AtomicU64,
    /// The minute of the clock, and the calls that were counted in it.
    minute: AtomicU64,
    calls: AtomicU64,
}

impl Shared {
    fn new() -> Self {
        let whole = answers::whole();
        Self {
            framing: format!("application/json\r\ncontent-length: {}", whole.len()),
            whole,
            stream: answers::stream(),
            connections: AtomicU64::new(0),
            minute: AtomicU64::new(0),
            calls: AtomicU64::new(0),
        }
    }

    /// Counts a call; how many it is in this minute. One thread counts.
    fn count(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let minute = now.as_secs() / 60;
        if self.minute.swap(minute, Ordering::Relaxed) != minute {
            self.calls.store(0, Ordering::Relaxed);
        }
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Answers what comes over one connection, in order.
async fn connection(mut socket: tokio::net::TcpStream, shared: &Shared) -> std::io::Result<()> {
    let (mut read, mut answer, mut calls) = (Vec::with_capacity(16 << 10), Vec::new(), 0_u64);
    loop {
        let Some((length, path)) = request(&read) else {
            if socket.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
            continue;
        };
        answer.clear();
        if path == "/connections" {
            let count = shared.connections.load(Ordering::Relaxed);
            socket.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{count}").as_bytes()).await?;
            return Ok(());
        }
        let kind = Kind::of(path);
        read.drain(..length);
        calls += 1;
        if calls == 1 {
            shared.connections.fetch_add(1, Ordering::Relaxed);
        }
        let counted = shared.count();
        match kind {
            Some(Kind::Whole(after)) => {
                if !after.is_zero() {
                    tokio::time::sleep(after).await;
                }
                head(&mut answer, counted, &shared.framing);
                answer.extend_from_slice(&shared.whole);
                socket.write_all(&answer).await?;
            }
            Some(Kind::Stream) => {
                head(&mut answer, counted, "text/event-stream\r\ntransfer-encoding: chunked");
                socket.write_all(&answer).await?;
                socket.write_all(&shared.stream).await?;
            }
            None => {
                socket.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await?
            }
        }
    }
}

/// The first request of what was read, if it is all there: its length in bytes, and its path.
fn request(read: &[u8]) -> Option<(usize, &str)> {
    let end = read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&read[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?;
    let mut headers = lines.filter_map(|line| line.split_once(':'));
    let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, length)| length.trim().parse().ok()).unwrap_or(0);
    (read.len() >= end + length).then_some((end + length, path))
}

/// The head of an answer to the call that is the so-manieth of its minute.
fn head(answer: &mut Vec<u8>, counted: u64, framing: &str) {
    let mut text = String::with_capacity(512);
    let requests = REQUESTS_PER_MINUTE.saturating_sub(counted);
    let tokens = TOKENS_PER_MINUTE.saturating_sub(counted.saturating_mul(TOKENS));
    let written = write!(
        text,
        "HTTP/1.1 200 OK\r\n\
         x-ratelimit-limit-requests: {REQUESTS_PER_MINUTE}\r\n\
         x-ratelimit-limit-tokens: {TOKENS_PER_MINUTE}\r\n\
         x-ratelimit-remaining-requests: {requests}\r\n\
         x-ratelimit-remaining-tokens: {tokens}\r\n\
         x-request-id: 5a1e5f0c-6a7a-9f0e-b1a5-{counted:012x}\r\n\
         content-type: {framing}\r\n\r\n"
    );
    written.expect("a string takes anything");
    answer.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_once_all_of_it_is_there() {
        let whole =
            b"POST /after/5/v1/chat/completions HTTP/1.1\r\nContent-Length: 3\r\n\r\n{ }GET";
        let end = whole.len() - 3;
        for cut in 0..end {
            assert_eq!(request(&whole[..cut]), None, "{cut}");
        }
        let (length, path) = request(whole).unwrap();
        assert_eq!(length, end);
        assert_eq!(Kind::of(path), Some(Kind::Whole(Duration::from_millis(5))));
        assert_eq!(Kind::of("/stream/v1/chat/completions"), Some(Kind::Stream));
        assert_eq!(Kind::of("/v1/chat/completions"), None);
    }

    #[test]
    fn what_is_left_goes_down_by_what_was_counted() {
        let mut answer = Vec::new();
        head(&mut answer, 7, "application/json\r\ncontent-length: 0");
        let answer = String::from_utf8(answer).unwrap();
        let left = TOKENS_PER_MINUTE - 7 * TOKENS;
        assert!(answer.contains(&format!("x-ratelimit-remaining-tokens: {left}\r\n")), "{answer}");
        assert!(answer.ends_with("content-length: 0\r\n\r\n"), "{answer}");
    }
}
