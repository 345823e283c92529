//! What the model says and thinks: made-up prose, and the pieces a stream sends it in.
//!
//! Invariant: a text has about as many tokens as are billed for it, and its pieces, put together,
//! are the text.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::tokens::Tokenizer;

/// Characters of the last message that an answer repeats, where they are at most half of it.
const QUOTED: usize = 40;

/// The visible text: about so many tokens.
pub(super) fn visible(dice: u64, last: &str, tokens: u64, tokenizer: &Tokenizer) -> String {
    let mut text = String::new();
    let mut words = tokens;
    let quoted: String = last.trim().chars().take(QUOTED).collect();
    let opening = format!("On \u{201c}{quoted}\u{201d}:");
    let opened = tokenizer.count(&opening);
    if !quoted.is_empty() && 2 * opened <= words {
        text = opening;
        words -= opened;
    }
    prose(&mut text, &mut StdRng::seed_from_u64(dice), words);
    text
}

/// The reasoning: about so many tokens, of other dice.
pub(super) fn thoughts(dice: u64, tokens: u64) -> String {
    let mut text = String::new();
    prose(&mut text, &mut StdRng::seed_from_u64(!dice), tokens);
    text
}

/// A text in pieces that each end before a blank or a full stop, each with the number of tokens
/// that are written once it is: the last of them is `tokens`, the others in proportion.
pub(super) fn pieces(text: &str, tokens: u64) -> Vec<(&str, u64)> {
    let cuts = text.char_indices().skip(1).filter(|(_, c)| matches!(c, ' ' | '.'));
    let ends: Vec<usize> = cuts.map(|(at, _)| at).chain([text.len()]).collect();
    let all = ends.len() as u128;
    let mut start = 0;
    ends.iter()
        .enumerate()
        .filter(|_| !text.is_empty())
        .map(|(number, &end)| {
            let piece = &text[start..end];
            start = end;
            let written = (number as u128 + 1) * u128::from(tokens) / all;
            (piece, u64::try_from(written).unwrap_or(tokens))
        })
        .collect()
}

const WORDS: [&str; 40] = [
    "the", "answer", "follows", "from", "a", "short", "look", "at", "what", "is", "given", "first",
    "take", "each", "part", "alone", "then", "add", "them", "up", "and", "check", "that",
    "nothing", "was", "counted", "twice", "in", "this", "case", "it", "comes", "to", "more",
    "than", "one", "would", "guess", "so", "far",
];

/// Adds sentences of so many tokens in all: a word is one, a full stop is one.
fn prose(text: &mut String, chance: &mut StdRng, tokens: u64) {
    let mut left = tokens;
    while left > 0 {
        let words = chance.random_range(5..16).min(left.saturating_sub(1)).max(1);
        for number in 0..words {
            if !text.is_empty() {
                text.push(' ');
            }
            let word = WORDS[chance.random_range(0..WORDS.len())];
            let (first, rest) = word.split_at(1);
            text.push_str(&if number == 0 { first.to_uppercase() } else { first.to_owned() });
            text.push_str(rest);
        }
        left -= words;
        if left > 0 {
            text.push('.');
            left -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_text_and_end_with_all_its_tokens() {
        for (text, tokens) in
            [("One two. Three", 4), (" a", 9), ("one", 1), ("\u{201c}é\u{201d}: x y", 50)]
        {
            let pieces = pieces(text, tokens);
            assert_eq!(pieces.iter().map(|(piece, _)| *piece).collect::<String>(), text);
            assert!(pieces.iter().all(|(piece, _)| !piece.is_empty()));
            assert!(pieces.is_sorted_by_key(|(_, written)| *written), "{pieces:?}");
            assert_eq!(pieces.last().map(|(_, written)| *written), Some(tokens));
        }
        assert!(pieces("", 0).is_empty());
    }

    #[test]
    fn a_word_is_a_piece_and_so_is_a_full_stop() {
        let words: Vec<&str> = pieces("It is. So", 4).into_iter().map(|(piece, _)| piece).collect();
        assert_eq!(words, ["It", " is", ".", " So"]);
    }

    #[test]
    fn thoughts_have_the_tokens_that_are_billed_and_other_words_than_the_answer() {
        for dice in 0..50 {
            let thoughts = thoughts(dice, 120);
            let real = Tokenizer::O200k.count(&thoughts);
            assert!(real.abs_diff(120) <= 8, "{real}: {thoughts}");
            assert_ne!(thoughts, visible(dice, "", 120, &Tokenizer::O200k));
        }
    }
}
