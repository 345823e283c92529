//! Another tokenizer as one more witness: known, but not the one that counts.
//!
//! Its count enters the model beside the classes; what it is off by is learned. Nothing here is
//! compiled in by default but the seam. Invariant: a count ends and never panics.

#[cfg(feature = "kitoken")]
pub(crate) mod file;

/// A tokenizer that counts texts: a public one, one that the user has as a file, or the server's
/// own `tokenize-text`, asked beforehand.
///
/// ```
/// use paceline_budget::{Features, Tokenizer};
///
/// struct Words;
/// impl Tokenizer for Words {
///     fn count(&self, text: &str) -> u64 {
///         text.split_whitespace().count() as u64
///     }
/// }
/// assert_eq!(Features::of_text_with("two words", &Words).borrowed(), 2);
/// ```
pub trait Tokenizer: Send + Sync {
    /// How many tokens a text has by it.
    fn count(&self, text: &str) -> u64;
}

/// The public byte-pair encoding o200k, which comes with the feature `tiktoken`.
#[cfg(feature = "tiktoken")]
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct O200k;

#[cfg(feature = "tiktoken")]
impl O200k {
    /// The encoding; its tables are read at the first count.
    pub const fn new() -> Self {
        Self
    }
}

#[cfg(feature = "tiktoken")]
impl Tokenizer for O200k {
    fn count(&self, text: &str) -> u64 {
        let o200k = tiktoken_rs::o200k_base_singleton();
        pieces(text).map(|piece| o200k.count_ordinary(piece) as u64).sum()
    }
}

/// Bytes of a piece: splitting words overflows tiktoken's stack at some 300,000 blanks in a row.
#[cfg(feature = "tiktoken")]
const PIECE: usize = 64 << 10;

#[cfg(feature = "tiktoken")]
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let most = PIECE.min(rest.len());
        let end = (0..=most).rev().find(|end| rest.is_char_boundary(*end))?;
        let (piece, after) = rest.split_at_checked(end)?;
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Features;

    struct Bytes;

    impl Tokenizer for Bytes {
        fn count(&self, text: &str) -> u64 {
            text.len() as u64
        }
    }

    #[test]
    fn a_borrowed_count_stands_beside_the_classes_of_the_same_text() {
        let mut both = Features::of_text_with("two words", &Bytes);
        assert_eq!(both.borrowed(), 9);
        both.merge(&Features::of_text_with("one", &Bytes));
        assert_eq!(both.borrowed(), 12);
        assert_eq!(Features::of_text("two words").borrowed(), 0);
    }

    #[cfg(feature = "tiktoken")]
    #[test]
    fn o200k_counts_known_sentences_and_ends_on_a_sea_of_blanks() {
        assert_eq!(O200k::new().count("Hello world!"), 3);
        assert!(O200k::new().count(&" ".repeat(400_000)) > 0);
    }
}
