//! Server-sent events, decoded as their bytes arrive.
//!
//! Pure: no I/O, no JSON. Rule: the event stream of the WHATWG HTML standard, section 9.2.6, but that
//! nothing reconnects, so `retry` and `id` are read past. What this file keeps: the same events come out
//! however the bytes are cut into pieces, and nobody keeps more than the cap in memory.
//!
//! The libraries that do this (`eventsource-stream`, `sse-stream`) are adapters of asynchronous streams
//! without a bound on a line, and none of them says that an event was cut off at the end.

mod answer;

pub use answer::{AnswerStream, Chunk, ChunkKind, StreamEnding};

/// One event, as long as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event<'a> {
    /// Its type; `message` where it names none.
    pub name: &'a str,
    /// Its data, lines joined by a line feed. What is no UTF-8 is replaced.
    pub data: &'a str,
}

/// An event was larger than the cap; nothing more is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {most} bytes")]
#[non_exhaustive]
pub struct EventTooLarge {
    /// The cap.
    pub most: usize,
}

/// Decodes a stream of events, piece by piece.
///
/// ```
/// use paceline_transport::sse::Decoder;
/// let mut decoder = Decoder::new();
/// let mut seen = Vec::new();
/// for piece in ["data: {\"a\"", ": 1}\r", "\n\r\n: a comment\n", "data: [DONE]\n\n"] {
///     decoder.push(piece.as_bytes(), |event| seen.push(event.data.to_owned()))?;
/// }
/// assert_eq!(seen, ["{\"a\": 1}", "[DONE]"]);
/// assert!(!decoder.is_amid_event());
/// # Ok::<(), paceline_transport::sse::EventTooLarge>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    /// The present line, without its end.
    line: Vec<u8>,
    data: Vec<u8>,
    name: Vec<u8>,
    has_data: bool,
    /// The last line ended with a carriage return: a line feed now belongs to it.
    is_after_return: bool,
    is_at_start: bool,
    most: usize,
    is_over: bool,
}

/// Bytes of one event that are kept at most, unless told otherwise: 16 MiB.
const MOST: usize = 16 << 20;

const BOM: &[u8] = b"\xEF\xBB\xBF";

impl Decoder {
    /// A decoder that takes events of up to 16 MiB.
    pub const fn new() -> Self {
        Self::with_most(MOST)
    }

    /// A decoder that takes events of up to `most` bytes.
    pub const fn with_most(most: usize) -> Self {
        Self {
            line: Vec::new(),
            data: Vec::new(),
            name: Vec::new(),
            has_data: false,
            is_after_return: false,
            is_at_start: true,
            most,
            is_over: false,
        }
    }

    /// Takes in the next bytes, and shows every event that they complete.
    ///
    /// # Errors
    /// [`EventTooLarge`], and then again for whatever follows.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        mut show: impl FnMut(Event<'_>),
    ) -> Result<(), EventTooLarge> {
        while !bytes.is_empty() && !self.is_over {
            if std::mem::take(&mut self.is_after_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + part.len() + self.data.len() > self.most {
                self.is_over = true;
                break;
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { break };
            self.is_after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line(&mut show);
        }
        if self.is_over { Err(EventTooLarge { most: self.most }) } else { Ok(()) }
    }

    /// Whether an event has begun that is not complete. Where the stream ends then, it was cut off, and
    /// by the standard what there is of it counts for nothing.
    pub fn is_amid_event(&self) -> bool {
        self.has_data || !(self.line.is_empty() || (self.is_at_start && self.line == BOM))
    }

    fn end_line(&mut self, show: &mut impl FnMut(Event<'_>)) {
        let line = std::mem::take(&mut self.line);
        let mut text = &line[..];
        if std::mem::take(&mut self.is_at_start) {
            text = text.strip_prefix(BOM).unwrap_or(text);
        }
        if text.is_empty() {
            self.dispatch(show);
        } else {
            self.field(text);
        }
        // The room is used again.
        self.line = line;
        self.line.clear();
    }

    fn field(&mut self, line: &[u8]) {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = match colon {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => value.clone_into(&mut self.name),
            // A comment, `id`, `retry`, or something that nobody knows.
            _ => {}
        }
    }

    fn dispatch(&mut self, show: &mut impl FnMut(Event<'_>)) {
        if std::mem::take(&mut self.has_data) {
            let name = String::from_utf8_lossy(&self.name);
            let data = String::from_utf8_lossy(&self.data);
            let name = if name.is_empty() { "message" } else { &*name };
            show(Event { name, data: &data });
        }
        self.data.clear();
        self.name.clear();
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}
