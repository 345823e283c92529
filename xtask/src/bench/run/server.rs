//! `paceline sim` as a process of its own, and what it counted.
//!
//! It judges nothing: the server keeps its own limits. Invariant: the server ends with the value
//! that holds it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, sink};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::http;
use super::program::{Arguments, command};
use crate::bench::Bench;
use crate::shell::{Failure, Outcome, about};

/// The longest that the server may take to say where it listens.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the first line of the server begins with.
const LISTENING: &str = "listening on ";

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    base_url: String,
    address: SocketAddr,
}

/// What the server counted since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stats {
    /// Requests that reached it.
    pub(super) arrived: u64,
    /// Those that it answered with 429.
    pub(super) status_429: u64,
}

impl Server {
    /// Starts it on a free port and waits until it listens.
    pub(super) fn start(bench: &Bench, limits: &[(&str, u64)], log: &Path) -> Outcome<Self> {
        let mut arguments = Arguments::new("sim").option("--port", "0");
        for (name, limit) in limits {
            arguments = arguments.option(name, limit.to_string());
        }
        let errors = File::create(log).map_err(|why| about("write", log, why))?;
        let mut child = command(bench, &arguments)
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|why| about("start", &bench.program, why))?;
        let first = child.stdout.take().and_then(first_line);
        let place = first.as_deref().and_then(read_place);
        if let Some((base_url, address)) = place {
            return Ok(Self { child, base_url, address });
        }
        // Both fail where it has ended already.
        let _ = child.kill();
        let _ = child.wait();
        Err(Failure::check(format!(
            "`paceline sim` did not say where it listens within {} s (see {}); its first line was {first:?}",
            PATIENCE.as_secs(),
            log.display()
        )))
    }

    pub(super) fn base_url(&self) -> &str {
        &self.base_url
    }

    pub(super) fn stats(&self) -> Outcome<Stats> {
        read_stats(&http::get_json(self.address, "/stats")?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first line, for which it waits so long at most; what follows is read and thrown away, so
/// that the server never waits for a reader.
fn first_line(stdout: impl Read + Send + 'static) -> Option<String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        if stdout.read_line(&mut line).is_ok() && sender.send(line).is_ok() {
            let _ = std::io::copy(&mut stdout, &mut sink());
        }
    });
    receiver.recv_timeout(PATIENCE).ok()
}

/// The base URL and the address in `listening on http://127.0.0.1:PORT/v1`.
fn read_place(line: &str) -> Option<(String, SocketAddr)> {
    let base_url = line.trim_end().strip_prefix(LISTENING)?;
    let address = base_url.strip_prefix("http://")?.strip_suffix("/v1")?;
    let address: SocketAddr = address.parse().ok()?;
    address.ip().is_loopback().then(|| (base_url.to_owned(), address))
}

fn read_stats(stats: &Value) -> Outcome<Stats> {
    let count = |name: &str| {
        let count = stats.get(name).and_then(Value::as_u64);
        count.ok_or_else(|| Failure::check(format!("the server's statistics have no count {name}")))
    };
    Ok(Stats { arrived: count("arrived")?, status_429: count("status_429")? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_servers_place_is_read_from_its_first_line() {
        let place = read_place("listening on http://127.0.0.1:40123/v1\n").unwrap();
        assert_eq!(place.0, "http://127.0.0.1:40123/v1");
        assert_eq!(place.1, SocketAddr::from(([127, 0, 0, 1], 40_123)));
    }

    #[test]
    fn a_place_that_is_not_this_machine_or_not_said_is_none() {
        for line in [
            "listening on http://192.0.2.1:80/v1",
            "listening on https://127.0.0.1:80/v1",
            "listening on http://127.0.0.1/v1",
            "error: the port is in use",
            "",
        ] {
            assert_eq!(read_place(line), None, "{line}");
        }
    }

    #[test]
    fn the_first_line_is_taken_and_the_rest_left() {
        assert_eq!(first_line("one\ntwo\n".as_bytes()).as_deref(), Some("one\n"));
    }

    #[test]
    fn statistics_without_a_count_are_an_error() {
        let stats = read_stats(&json!({"arrived": 12, "ok": 11, "status_429": 1}));
        assert_eq!(stats, Ok(Stats { arrived: 12, status_429: 1 }));
        assert!(read_stats(&json!({"arrived": 12})).is_err());
    }
}
