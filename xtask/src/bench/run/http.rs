//! One HTTP/1.1 GET over a plain socket to this machine, answered with JSON.
//!
//! It knows no TLS, no redirects and no chunks; the server it asks is our own. Invariant: the
//! request is bounded in time and the answer in size.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::shell::{Failure, Outcome};

/// The longest wait for each step of the exchange.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest answer that is read.
const MOST_BYTES: u64 = 1024 * 1024;

/// Gets a path, which begins with a slash.
pub(super) fn get_json(from: SocketAddr, path: &str) -> Outcome<Value> {
    let answer = exchange(from, path)
        .map_err(|why| Failure::check(format!("no answer from {from} to GET {path}: {why}")))?;
    body(&answer).map_err(|why| Failure::check(format!("the answer to GET {path} {why}")))
}

fn exchange(from: SocketAddr, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&from, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {from}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The JSON body of a whole answer with status 200.
fn body(answer: &[u8]) -> Result<Value, String> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("has no body")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    if status != "200" {
        return Err(format!("has status {status:?}"));
    }
    let header = |name: &str| {
        let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    if header("transfer-encoding").is_some() {
        return Err("is sent in chunks, which are not read here".to_owned());
    }
    let body = &answer[end + 4..];
    if header("content-length").is_some_and(|length| length != body.len().to_string()) {
        return Err("is shorter or longer than it says".to_owned());
    }
    serde_json::from_slice(body).map_err(|why| format!("is not JSON: {why}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_whole_answer_is_read_from_a_real_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 512];
            let read = stream.read(&mut request).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"status_429\": 2}";
            stream.write_all(answer).unwrap();
            String::from_utf8(request[..read].to_vec()).unwrap()
        });
        assert_eq!(get_json(address, "/stats"), Ok(json!({"status_429": 2})));
        let request = server.join().unwrap();
        assert!(request.starts_with("GET /stats HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
    }

    #[test]
    fn what_is_no_whole_answer_of_status_200_is_an_error() {
        let check = |answer: &str, expect: &str| {
            let why = body(answer.as_bytes()).unwrap_err();
            assert!(why.contains(expect), "{why}");
        };
        check("HTTP/1.1 404 Not Found\r\n\r\n{}", "status \"404\"");
        check("HTTP/1.1 200 OK\r\n", "no body");
        check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "shorter");
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}", "chunks");
        check("HTTP/1.1 200 OK\r\n\r\nhello", "not JSON");
    }
}
