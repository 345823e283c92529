//! Text from the network, made fit for messages and logs: bounded, escaped, without keys.
//!
//! What this file keeps: nothing that leaves it holds a control character, a character that
//! turns the direction of writing, or what looks like an API key.

use std::fmt::Write;

/// The prefixes of keys, and how many characters must follow for it to be one.
const KEYS: [(&str, usize); 5] =
    [("xai-", 8), ("sk-", 16), ("gsk_", 16), ("aiza", 16), ("bearer ", 8)];

/// At most this much of a text is looked at, in bytes.
const MAX_SOURCE: usize = 16 * 1024;

/// The first `max_chars` characters of `text`, escaped and with keys redacted; `…` marks what
/// was cut.
pub(crate) fn excerpt(text: &str, max_chars: usize) -> String {
    let end = text.floor_char_boundary_at(MAX_SOURCE);
    let text = redact(text[..end].trim());
    let mut out = String::with_capacity(text.len().min(max_chars));
    for (count, c) in text.chars().enumerate() {
        if count == max_chars {
            out.push('…');
            break;
        }
        if is_unprintable(c) {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// `text` with everything that looks like a key replaced.
fn redact(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let key = KEYS.iter().find_map(|&(prefix, least)| {
            let rest = lower[at..].strip_prefix(prefix)?;
            let length = rest.bytes().take_while(|&byte| is_key_byte(byte)).count();
            (length >= least).then_some((prefix.len(), length))
        });
        if let Some((prefix, length)) = key {
            out.push_str(&text[at..at + prefix]);
            out.push_str("[redacted]");
            at += prefix + length;
        } else {
            out.push(c);
            at += c.len_utf8();
        }
    }
    out
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'_' | b'.' | b'*' | b'+' | b'/' | b'=' | b'~')
}

/// Control characters, and what reorders or hides text.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{2060}'..='\u{2064}' | '\u{e0000}'..='\u{e007f}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

trait FloorCharBoundary {
    fn floor_char_boundary_at(&self, index: usize) -> usize;
}

impl FloorCharBoundary for str {
    fn floor_char_boundary_at(&self, index: usize) -> usize {
        if index >= self.len() {
            return self.len();
        }
        (0..=index).rev().find(|&at| self.is_char_boundary(at)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_cannot_forge_a_log_line() {
        assert_eq!(excerpt("a\nb\u{1b}[31m\u{202e}c", 50), "a\\nb\\u{1b}[31m\\u{202e}c");
    }

    #[test]
    fn keys_are_redacted_wherever_they_stand() {
        assert_eq!(
            excerpt("key xai-AbCdEf0123456789, XAI-abcdefgh end", 99),
            "key xai-[redacted], XAI-[redacted] end"
        );
        assert_eq!(excerpt("Bearer abc.def-012345", 99), "Bearer [redacted]");
        assert_eq!(excerpt("Bearer abcdefgh+SECRET/xyz=", 99), "Bearer [redacted]");
        assert_eq!(excerpt("gsk_0123456789abcdefgh", 99), "gsk_[redacted]");
        assert_eq!(excerpt("AIzaSyA-0123456789abcdef", 99), "AIza[redacted]");
        assert_eq!(excerpt("sk-proj-0123456789abcdef", 99), "sk-[redacted]");
    }

    #[test]
    fn what_turns_or_hides_text_is_shown_as_what_it_is() {
        assert_eq!(
            excerpt("a\u{61c}\u{2060}\u{ad}\u{e0041}b", 50),
            "a\\u{61c}\\u{2060}\\u{ad}\\u{e0041}b"
        );
    }

    #[test]
    fn what_only_begins_like_a_key_stays() {
        assert_eq!(excerpt("the xai-sdk and sk-1", 99), "the xai-sdk and sk-1");
    }

    #[test]
    fn a_key_at_the_cut_is_redacted_too() {
        let text = format!("{}xai-0123456789abcdef", "-".repeat(10));
        assert_eq!(excerpt(&text, 20), format!("{}xai-[redac…", "-".repeat(10)));
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(excerpt("ééé", 2), "éé…");
        let long = "é".repeat(MAX_SOURCE);
        assert_eq!(excerpt(&long, 3), "ééé…");
    }
}
