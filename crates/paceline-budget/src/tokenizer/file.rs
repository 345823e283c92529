//! A tokenizer that the user has as a file, read by the crate `kitoken`.
//!
//! No file is opened here: its bytes are given. Invariant: a count ends and never panics; a text that
//! the tokenizer can't encode counts a token for every byte, which is no less than it has.

use std::fmt;
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
        Self::of(Kitoken::from_sentencepiece_slice(bytes))
    }

    /// A tiktoken table: a token in base64 and its rank on every line.
    ///
    /// # Errors
    /// [`TokenizerError`] where the bytes are none, or of a vocabulary that `kitoken` does not know: such
    /// a table does not say how its texts are split into words.
    pub fn tiktoken(bytes: &[u8]) -> Result<Self, TokenizerError> {
        Self::of(Kitoken::from_tiktoken_slice(bytes))
    }

    fn of<E: fmt::Display>(read: Result<Kitoken, E>) -> Result<Self, TokenizerError> {
        match read {
            Ok(tokenizer) => Ok(Self(Arc::new(tokenizer))),
            Err(error) => Err(TokenizerError { reason: error.to_string() }),
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
