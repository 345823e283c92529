//! What every parser keeps for every input, as functions over bytes: run on random input by the fuzzer
//! (`fuzz/`), and on its corpus by the tests.
//!
//! Each reads an input as its parser's kind of input, and panics where a law is broken. What this file
//! keeps: a law is about what the input says, not about how the parser reads it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use paceline_core::UnixMillis;
use paceline_transport::error_body::{Reject, ServerError, Stop, Verdict};
use paceline_transport::headers::{RateHeaders, StatedLimit};
use paceline_transport::sse::{AnswerStream, ChunkKind, Decoder};
use paceline_transport::usage::{UsageReading, read_chat, read_pointer};
use serde_json::Value;

/// Lines of `name: value`, as an answer that arrived in November 2026.
pub(crate) fn headers(input: &[u8]) {
    let headers = header_map(input);
    let read = RateHeaders::parse(&headers, NOW);
    assert!(read.rates().len() <= 32 && read.ignored().len() <= 16);
    for name in read.ignored() {
        assert!(headers.contains_key(name), "{name} was not there");
    }
    let texts: Vec<_> = headers.values().filter_map(|value| value.to_str().ok()).collect();
    let is_there = |number: u64| texts.iter().any(|text| text.contains(&number.to_string()));
    for rate in read.rates() {
        if let Some(StatedLimit::Limit(limit)) = rate.limit() {
            assert!(limit > 0 && is_there(limit), "nobody stated {limit}");
            assert!(rate.remaining().is_none_or(|left| left <= limit), "more is left than allowed");
        }
        assert!(rate.remaining().is_none_or(is_there), "nobody stated {:?}", rate.remaining());
        let says = rate.limit().is_some() || rate.remaining().is_some();
        assert!(says || rate.reset_after().is_some(), "a rate that says nothing");
    }
    assert!(read.request_id().is_none_or(|id| !id.chars().any(char::is_control)));
    // What one answer says does not depend on what was read before.
    assert_eq!(RateHeaders::parse(&headers, NOW), read);
}

/// The value of one `retry-after`.
pub(crate) fn retry_after(input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else { return };
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", value.clone());
    let read = RateHeaders::parse(&headers, NOW);
    assert_eq!(read.retry_after().is_none(), read.ignored() == ["retry-after"], "said or read");
    let Some(text) = value.to_str().ok().map(str::trim) else {
        assert_eq!(read.retry_after(), None);
        return;
    };
    if text.starts_with(['-', '+']) || !text.contains(|c: char| c.is_ascii_digit()) {
        assert_eq!(read.retry_after(), None, "{text:?} is no wait");
    }
    if let Some(seconds) = plain_number(text).filter(|seconds| *seconds <= 1_000_000_000) {
        assert_eq!(read.retry_after(), Some(Duration::from_secs(seconds)), "{text:?}");
    }
    // The same in milliseconds.
    headers.remove("retry-after");
    headers.insert("retry-after-ms", value.clone());
    let millis = RateHeaders::parse(&headers, NOW).retry_after();
    if let Some(number) = plain_number(text) {
        assert_eq!(millis, Some(Duration::from_millis(number)), "{text:?}");
    }
}

/// Two bytes of a status, then a body.
pub(crate) fn error_body(input: &[u8]) {
    let Some((status, body)) = input.split_first_chunk::<2>() else { return };
    let status = 100 + u16::from_be_bytes(*status) % 900;
    let status = StatusCode::from_u16(status).expect("100 to 999");
    let error = ServerError::read(status, &RateHeaders::default(), body);
    assert!(error.message().chars().count() <= 500 * 10 + 1);
    assert!(!error.message().chars().any(char::is_control));
    assert!(!error.code().unwrap_or_default().chars().any(char::is_control));
    let has_key = |text: &str| {
        text.match_indices("xai-").any(|(at, _)| {
            let key = text[at + 4..].chars().take_while(char::is_ascii_alphanumeric);
            key.count() >= 20
        })
    };
    assert!(!has_key(&format!("{error} {error:?}")), "a key is shown");
    assert!(error.rates().len() <= 8);
    for rate in error.rates() {
        assert!(contains(body, &rate.limit.to_string()), "nobody stated {}", rate.limit);
    }
    if error.rates().iter().any(|rate| rate.limit == 0) {
        assert_eq!(error.verdict(), Verdict::Stop(Stop::NoEntitlement));
    }
    // The server's veto leaves only what ends a call, or every call.
    let mut veto = HeaderMap::new();
    veto.insert("x-should-retry", HeaderValue::from_static("false"));
    let vetoed = ServerError::read(status, &RateHeaders::parse(&veto, NOW), body);
    match error.verdict() {
        Verdict::Wait(_) | Verdict::Retry(_) => {
            assert_eq!(vetoed.verdict(), Verdict::Reject(Reject::Other));
        }
        other => assert_eq!(vetoed.verdict(), other),
    }
}

/// A JSON answer; what is none says nothing.
pub(crate) fn usage(input: &[u8]) {
    let Ok(answer) = serde_json::from_slice::<Value>(input) else { return };
    let named = answer.get("usage").filter(|usage| !usage.is_null());
    let at_pointer = read_pointer(&answer, "/usage");
    if named.is_some() {
        assert_eq!(read_chat(&answer), at_pointer, "by name and by pointer");
    }
    for reading in [read_chat(&answer), at_pointer, read_pointer(&answer, "")] {
        let UsageReading::Reported(usage) = reading else { continue };
        let (input_tokens, output, total) =
            (usage.input_tokens(), usage.output_tokens(), usage.total_tokens());
        assert_eq!(input_tokens + output, total, "output is total less input");
        assert!(usage.reasoning_tokens() <= output && usage.cached_input_tokens() <= input_tokens);
        assert!(contains(input, &input_tokens.to_string()), "nobody stated {input_tokens}");
        assert!(usage.cost().is_none_or(|cost| cost.as_ticks() > 0));
    }
}

/// Two bytes of how it is cut, then a stream of events.
pub(crate) fn event_stream(input: &[u8]) {
    let Some((cuts, stream)) = input.split_first_chunk::<2>() else { return };
    let sizes = cuts.map(|size| usize::from(size).max(1));
    let whole = decode([stream]);
    assert_eq!(decode(pieces(stream, sizes)), whole, "cut by {sizes:?}");
    assert_eq!(decode(stream.chunks(1)), whole, "byte by byte");
    assert_eq!(by_the_grammar(stream), whole, "against the grammar");
    let answer = answer_of([stream]);
    assert_eq!(answer_of(pieces(stream, sizes)), answer, "the answer cut by {sizes:?}");
}

/// Events with their types, and whether one was cut off at the end.
pub(crate) type Seen = (Vec<(String, String)>, bool);

/// What the decoder shows.
pub(crate) fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    for piece in pieces {
        let pushed =
            decoder.push(piece, |event| seen.push((event.name.to_owned(), event.data.to_owned())));
        pushed.expect("small events");
    }
    (seen, decoder.is_amid_event())
}

/// An independent reading of the whole stream at once, by the grammar of the standard.
pub(crate) fn by_the_grammar(bytes: &[u8]) -> Seen {
    let bytes = bytes.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(bytes);
    // Lines are cut before they are text: what is no UTF-8 may stand at the end of one.
    let mut lines = vec![Vec::new()];
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (b'\r', [b'\n', tail @ ..]) => tail,
            _ => tail,
        };
        match byte {
            b'\r' | b'\n' => lines.push(Vec::new()),
            byte => lines.last_mut().expect("there is one").push(*byte),
        }
    }
    let last = lines.pop().unwrap_or_default();
    let (mut seen, mut data, mut name) = (Vec::new(), None::<Vec<u8>>, Vec::new());
    for line in lines {
        if line.is_empty() {
            if let Some(data) = data.take() {
                let name = if name.is_empty() { b"message".to_vec() } else { name.clone() };
                seen.push((lossy(&name), lossy(&data)));
            }
            name.clear();
            continue;
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (field, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                let before = data.take().map(|mut before| {
                    before.push(b'\n');
                    before
                });
                data = Some([before.unwrap_or_default(), value.to_vec()].concat());
            }
            b"event" => name = value.to_vec(),
            _ => {}
        }
    }
    (seen, data.is_some() || !last.is_empty())
}

/// All that an answer in a stream comes to.
fn answer_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (String, Vec<(ChunkKind, String)>) {
    let mut answer = AnswerStream::new();
    let mut seen = Vec::new();
    for piece in pieces {
        let pushed = answer.push(piece, |chunk| seen.push((chunk.kind(), chunk.text().to_owned())));
        pushed.expect("small events");
    }
    answer.end(|chunk| seen.push((chunk.kind(), chunk.text().to_owned())));
    let (ending, usage) = (answer.ending(), answer.usage());
    let counts = (answer.text_bytes(), answer.reasoning_bytes(), answer.malformed());
    (format!("{ending:?} {usage:?} {counts:?} {} {:?}", answer.is_cut_off(), answer.error()), seen)
}

/// Pieces of two sizes in turn.
fn pieces(bytes: &[u8], sizes: [usize; 2]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    let mut sizes = sizes.into_iter().cycle();
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(sizes.next().expect("for ever").min(rest.len()));
        pieces.push(piece);
        rest = tail;
    }
    pieces
}

/// A number as RFC 9110 has it.
fn plain_number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn header_map(input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(1_000) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    headers
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Wed, 25 Nov 2026 00:00:00 GMT.
const NOW: UnixMillis = UnixMillis::new(1_795_564_800_000);
