//! The tokenizers: those that judge, and those that were fitted on or are borrowed.
//!
//! Invariant: the same text has the same count, and every count ends.

use std::path::Path;

use kitoken::Kitoken;

/// How many tokenizers there are.
pub(super) const TOKENIZERS: usize = 5;

/// A tokenizer, by its place in the counts of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Tokenizer {
    /// Grok-1's SentencePiece.
    Grok1,
    /// o200k with digits one by one.
    O200k1d,
    /// cl100k with digits one by one.
    Cl100k1d,
    /// o200k as it is.
    O200k,
    /// cl100k as it is.
    Cl100k,
}

impl Tokenizer {
    pub(super) const ALL: [Self; TOKENIZERS] =
        [Self::Grok1, Self::O200k1d, Self::Cl100k1d, Self::O200k, Self::Cl100k];
    /// Those that judge. cl100k does not, as what is common in Han was told by it too.
    pub(super) const TRUTHS: [Self; 2] = [Self::Grok1, Self::O200k1d];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Grok1 => "grok1",
            Self::O200k1d => "o200k_1d",
            Self::Cl100k1d => "cl100k_1d",
            Self::O200k => "o200k",
            Self::Cl100k => "cl100k",
        }
    }

    /// The public tokenizer that a client may borrow beside this truth: never the truth itself.
    pub(super) const fn peer(self) -> Self {
        match self {
            Self::O200k1d => Self::Cl100k,
            _ => Self::O200k,
        }
    }
}

/// The tokenizers, loaded.
pub(super) struct Tokenizers {
    grok1: Kitoken,
}

impl Tokenizers {
    pub(super) fn load(data: &Path) -> Result<Self, String> {
        let path = data.join("tokenizer/grok-1.model");
        let grok1 = Kitoken::from_sentencepiece_file(&path)
            .map_err(|why| format!("can't read {}: {why}", path.display()))?;
        Ok(Self { grok1 })
    }

    /// How many tokens a text has.
    pub(super) fn count(&self, tokenizer: Tokenizer, text: &str) -> u64 {
        let o200k = tiktoken_rs::o200k_base_singleton();
        let cl100k = tiktoken_rs::cl100k_base_singleton();
        let count = match tokenizer {
            Tokenizer::Grok1 => self.grok1.encode(text, false).map_or(text.len(), |it| it.len()),
            Tokenizer::O200k => o200k.count_ordinary(text),
            Tokenizer::Cl100k => cl100k.count_ordinary(text),
            Tokenizer::O200k1d => one_digit(text, |piece| o200k.count_ordinary(piece)),
            Tokenizer::Cl100k1d => one_digit(text, |piece| cl100k.count_ordinary(piece)),
        };
        count as u64
    }
}

/// The tokens of a text of which every digit is one.
fn one_digit(text: &str, count: impl Fn(&str) -> usize) -> usize {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let pieces = text.split(|c: char| c.is_ascii_digit()).filter(|piece| !piece.is_empty());
    digits + pieces.map(count).sum::<usize>()
}
