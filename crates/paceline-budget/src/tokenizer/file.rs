//! A tokenizer that the user has as a file, read by the crate `kitoken`.
//!
//! No file is opened here: its bytes are given. Invariant: a count ends and never panics; a text that
//! the tokenizer can't encode counts a token for every byte, which is no less than it has.

use std::fmt;
use std::panic::{UnwindSafe, catch_unwind};
use std::sync::Arc;

use kitoken::Kitoken;

use super::Tokenizer;

/// A tokenizer from a file of the user's: SentencePiece (`tokenizer.model`) or tiktoken. Cheap to clone.
///
/// Where it is the one that the server counts with, its count of the texts is exact, and only what
/// frames and hides beside them is left to be learned. It needs the feature `kitoken` and Rust 1.92,
/// later than what this crate needs without.
///
/// ```no_run
/// use paceline_budget::{FileTokenizer, Tokenizer};
/// let grok1 = FileTokenizer::sentencepiece(&std::fs::read("tokenizer.model")?)?;
/// println!("{}", grok1.count("Hello world!"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct FileTokenizer(Arc<Kitoken>);

/// Why a file is no tokenizer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no tokenizer that can be used: {reason}")]
#[non_exhaustive]
pub struct TokenizerError {
    /// What is wrong with it.
    pub reason: String,
}

impl FileTokenizer {
    /// A SentencePiece model, such as the `tokenizer.model` of Grok-1.
    ///
    /// # Errors
    /// [`TokenizerError`] where the bytes are none.
    pub fn sentencepiece(bytes: &[u8]) -> Result<Self, TokenizerError> {
        Self::of(|| Kitoken::from_sentencepiece_slice(bytes))
    }

    /// A tiktoken table: a token in base64 and its rank on every line.
    ///
    /// # Errors
    /// [`TokenizerError`] where the bytes are none. A table does not say how texts are split into words;
    /// that goes by the number of its tokens, as published ones have it. Of another number, counts may be
    /// off, which is learned like anything else.
    pub fn tiktoken(bytes: &[u8]) -> Result<Self, TokenizerError> {
        Self::of(|| Kitoken::from_tiktoken_slice(bytes))
    }

    /// The crate breaks on some files, such as one without any token, instead of refusing them.
    fn of<E: fmt::Display>(
        read: impl FnOnce() -> Result<Kitoken, E> + UnwindSafe,
    ) -> Result<Self, TokenizerError> {
        match catch_unwind(read) {
            Ok(Ok(tokenizer)) => Ok(Self(Arc::new(tokenizer))),
            Ok(Err(error)) => Err(TokenizerError { reason: error.to_string() }),
            Err(_) => Err(TokenizerError { reason: "reading it broke off".to_owned() }),
        }
    }
}

impl Tokenizer for FileTokenizer {
    fn count(&self, text: &str) -> u64 {
        self.0.encode(text, false).map_or(text.len(), |tokens| tokens.len()) as u64
    }
}

impl fmt::Debug for FileTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileTokenizer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of a protocol buffer that has a length.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("short");
        [&[number << 3 | 2, length], bytes].concat()
    }

    /// A SentencePiece model by byte pairs: an unknown piece, and these, the better the earlier.
    fn model(pieces: &[&str]) -> Vec<u8> {
        const UNKNOWN: u8 = 2;
        const BYTE_PAIRS: u8 = 2;
        let mut model = field(1, &[field(1, b"<unk>"), vec![3 << 3, UNKNOWN]].concat());
        for (at, piece) in pieces.iter().enumerate() {
            let score = (-(at as f32)).to_le_bytes();
            let piece = [field(1, piece.as_bytes()), vec![2 << 3 | 5], score.to_vec()].concat();
            model.extend(field(1, &piece));
        }
        model.extend(field(2, &[3 << 3, BYTE_PAIRS]));
        model.extend(field(3, &field(1, b"identity")));
        model
    }

    #[test]
    fn a_sentencepiece_model_counts_its_pieces() {
        let pieces = ["ab", "\u{2581}ab", "\u{2581}", "a", "b"];
        let tokenizer = FileTokenizer::sentencepiece(&model(&pieces)).expect("a model");
        // Every text begins with a blank of its own.
        assert_eq!(tokenizer.count("ab"), 1);
        assert_eq!(tokenizer.count("ab ab"), 2);
        assert_eq!(tokenizer.count("ab b"), 3);
        assert_eq!(tokenizer.count(""), 0);
        assert!(tokenizer.count(&"ab ".repeat(100_000)) >= 100_000);
        let features = crate::Features::of_text_with("ab ab", &tokenizer);
        assert_eq!(features.borrowed(), 2);
    }

    #[test]
    fn what_is_no_tokenizer_is_refused() {
        for bytes in [&b"no model"[..], b"", &[0xff; 40]] {
            assert!(FileTokenizer::sentencepiece(bytes).is_err(), "{bytes:?}");
            let error = FileTokenizer::tiktoken(bytes).expect_err("no table");
            assert!(error.to_string().starts_with("it is no tokenizer"), "{error}");
        }
    }

    #[test]
    fn a_tiktoken_table_counts_its_tokens() {
        let table = b"YQ== 0\nYg== 1\nYWI= 2\n";
        let tokenizer = FileTokenizer::tiktoken(table).expect("a table");
        assert_eq!([tokenizer.count("ab"), tokenizer.count("ba")], [1, 2]);
    }
}
