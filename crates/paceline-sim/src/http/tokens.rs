//! Counting tokens with a real tokenizer, which no estimator of ours knows.

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
    /// for every byte.
    pub(super) fn count(&self, text: &str) -> u64 {
        match self {
            Self::O200k => tiktoken_rs::o200k_base_singleton().count_ordinary(text) as u64,
            Self::File(tokenizer) => {
                tokenizer.encode(text, false).map_or(text.len(), |tokens| tokens.len()) as u64
            }
        }
    }
}
