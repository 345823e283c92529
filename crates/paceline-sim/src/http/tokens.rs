//! Counting tokens with a real tokenizer, which no estimator of ours knows.
//!
//! Invariant: a count ends and never panics, whatever the text; texts are cut into pieces that
//! the tokenizer can hold.

use std::path::Path;
use std::sync::Arc;

use kitoken::Kitoken;

use super::StartError;

/// A tokenizer; cheap to clone.
#[derive(Clone)]
pub(super) enum Tokenizer {
    /// The public byte-pair encoding o200k, which ships with the program.
    O200k,
    /// A SentencePiece model of the user's.
    File(Arc<Kitoken>),
}

/// Bytes of a piece. o200k's splitting of words overflows its stack somewhere above 300,000
/// blanks in a row.
const PIECE: usize = 64 << 10;
/// How far back from a piece's end a cut between two words is looked for.
const LOOK_BACK: usize = 1 << 10;

impl Tokenizer {
    /// The tokenizer in a SentencePiece file, or the one that ships with the program.
    pub(super) fn load(path: Option<&Path>) -> Result<Self, StartError> {
        let Some(path) = path else { return Ok(Self::O200k) };
        let tokenizer = Kitoken::from_sentencepiece_file(path).map_err(|error| {
            StartError::Tokenizer { path: path.to_owned(), reason: error.to_string() }
        })?;
        Ok(Self::File(Arc::new(tokenizer)))
    }

    /// How many tokens a text has. A text that the file's tokenizer can't encode counts a token
    /// for every byte. A cut inside a word, where a text has no blank for a kilobyte, can add one.
    pub(super) fn count(&self, text: &str) -> u64 {
        match self {
            Self::O200k => {
                let o200k = tiktoken_rs::o200k_base_singleton();
                pieces(text).map(|piece| o200k.count_ordinary(piece) as u64).sum()
            }
            Self::File(tokenizer) => {
                tokenizer.encode(text, false).map_or(text.len(), |tokens| tokens.len()) as u64
            }
        }
    }
}

impl Tokenizer {
    /// The tokens of a text: the number of each, and its bytes. They are as many as are counted.
    pub(super) fn tokens(&self, text: &str) -> Vec<(u32, Vec<u8>)> {
        match self {
            Self::O200k => {
                let o200k = tiktoken_rs::o200k_base_singleton();
                let tokens = pieces(text).flat_map(|piece| o200k.encode_ordinary(piece));
                tokens.map(|id| (id, o200k.decode_bytes(&[id]).unwrap_or_default())).collect()
            }
            Self::File(tokenizer) => match tokenizer.encode(text, false) {
                Ok(tokens) => {
                    let bytes = |id| tokenizer.decode([id], true).unwrap_or_default();
                    tokens.into_iter().map(|id| (id, bytes(id))).collect()
                }
                Err(_) => text.bytes().map(|byte| (u32::from(byte), vec![byte])).collect(),
            },
        }
    }
}

/// A text in pieces of at most [`PIECE`] bytes, cut before the blank of a word where there is one.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(cut(rest));
        rest = after;
        Some(piece)
    })
}

fn cut(text: &str) -> usize {
    if text.len() <= PIECE {
        return text.len();
    }
    let end = text.floor_char_boundary(PIECE);
    let bytes = text.as_bytes();
    let before_a_word = |at: &usize| {
        bytes[*at] == b' '
            && bytes[*at - 1].is_ascii_alphanumeric()
            && bytes[*at + 1].is_ascii_alphabetic()
    };
    (end - LOOK_BACK..end).rev().find(before_a_word).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_in_pieces_counts_as_in_one() {
        let prose = "The quick brown fox jumps over 13 lazy dogs, and then rests. ".repeat(4_000);
        assert!(prose.len() > 3 * PIECE);
        let whole = tiktoken_rs::o200k_base_singleton().count_ordinary(&prose) as u64;
        assert_eq!(Tokenizer::O200k.count(&prose), whole);
    }

    #[test]
    fn pieces_are_whole_characters_and_lose_nothing() {
        for text in
            ["", "a", &"中".repeat(70_000), &"\u{1f600} ".repeat(40_000), &"x".repeat(PIECE)]
        {
            assert_eq!(pieces(text).collect::<String>(), text);
            assert!(pieces(text).all(|piece| !piece.is_empty() && piece.len() <= PIECE));
        }
    }

    #[test]
    fn two_million_blanks_are_counted_and_break_nothing() {
        let count = Tokenizer::O200k.count(&" ".repeat(2_000_000));
        // 128 blanks are one token of o200k at most.
        assert!((15_625..17_000).contains(&count), "{count}");
    }

    #[test]
    fn what_is_no_tokenizer_is_refused_with_its_path() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let refused = Tokenizer::load(Some(&path)).err().expect("TOML is no tokenizer");
        assert!(matches!(&refused, StartError::Tokenizer { path: named, .. } if *named == path));
    }
}
