//! What a text is made of, as far as its number of tokens depends on it.
//!
//! One pass, no allocation, no tokenizer. Invariant: the features of two texts joined by a line
//! break are the sum of theirs, so a chat's features are added up message by message.

mod blocks;
mod common;
mod scan;

pub use common::{HAN_FIRST, HANGUL_FIRST, PAIR_BITS, SURPRISE_MOST, pair_place, two_before};

use crate::tokenizer::Tokenizer;

/// How many features there are.
pub(crate) const COUNT: usize = 56;

/// Counts of character classes in a text or a chat, and of what else a request consists of.
///
/// ```
/// use paceline_budget::Features;
/// let mut chat = Features::default();
/// chat.add_message();
/// chat.merge(&Features::of_text("How many legs have 7 spiders?"));
/// assert_eq!(chat.messages(), 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    counts: [u32; COUNT],
}

/// The classes, in the order of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Class {
    Constant,
    FurtherMessages,
    Tools,
    Images,
    /// What another tokenizer counts.
    Borrowed,
    Words,
    LettersBeyondFive,
    RarePairs,
    Capitals,
    GluedWords,
    Digits,
    DigitGroups,
    SpacedDigits,
    RandomRuns,
    MarkRuns,
    FurtherMarks,
    LineBreaks,
    SpaceRuns,
    ForeignWords,
    ForeignLettersBeyondFive,
    AlphabetSurprise,
    EastAsianSurprise,
    SouthEastAsianSurprise,
    LatinExtended,
    Cyrillic,
    Greek,
    Hebrew,
    Arabic,
    Diacritics,
    Devanagari,
    Bengali,
    Gurmukhi,
    Gujarati,
    Oriya,
    Tamil,
    Telugu,
    Kannada,
    Malayalam,
    Thai,
    Myanmar,
    Khmer,
    Georgian,
    Armenian,
    Ethiopic,
    Hiragana,
    Katakana,
    HanCommon,
    HanFrequent,
    HanMiddle,
    HanRare,
    HangulCommon,
    HangulRare,
    CommonMarks,
    OtherMarks,
    Emoji,
    Other,
}

/// Their names, for people and for tables.
pub(crate) const NAMES: [&str; COUNT] = [
    "constant",
    "further messages",
    "tools",
    "images",
    "borrowed count",
    "words",
    "letters beyond five",
    "rare letter pairs",
    "capitals in a row",
    "words after a mark",
    "digits",
    "groups of digits",
    "digits after a space",
    "random runs",
    "runs of marks",
    "further marks",
    "line breaks",
    "runs of spaces",
    "words beyond Latin",
    "letters beyond five beyond Latin",
    "surprise in alphabets",
    "surprise in Han and kana",
    "surprise in South-East Asian",
    "Latin extended",
    "Cyrillic",
    "Greek",
    "Hebrew",
    "Arabic",
    "diacritics",
    "Devanagari",
    "Bengali",
    "Gurmukhi",
    "Gujarati",
    "Oriya",
    "Tamil",
    "Telugu",
    "Kannada",
    "Malayalam and Sinhala",
    "Thai and Lao",
    "Myanmar",
    "Khmer",
    "Georgian",
    "Armenian",
    "Ethiopic",
    "hiragana",
    "katakana",
    "common Han",
    "frequent Han",
    "middling Han",
    "rare Han",
    "common Hangul",
    "rare Hangul",
    "common marks beyond ASCII",
    "other marks",
    "emoji",
    "other",
];

/// The first class that is counted in texts.
pub(crate) const FIRST_OF_TEXT: usize = Class::Words as usize;

impl Default for Features {
    /// A request without any text.
    fn default() -> Self {
        let mut counts = [0; COUNT];
        counts[Class::Constant as usize] = 1;
        Self { counts }
    }
}

impl Features {
    /// The features of one text.
    pub fn of_text(text: &str) -> Self {
        let mut counts = scan::scan(text);
        counts[Class::Constant as usize] = 1;
        Self { counts }
    }

    /// The features of one text, with what another tokenizer counts of it beside.
    pub fn of_text_with(text: &str, tokenizer: &dyn Tokenizer) -> Self {
        let mut features = Self::of_text(text);
        features.add_borrowed(tokenizer.count(text));
        features
    }

    /// Counts one more message.
    pub const fn add_message(&mut self) {
        // The first is part of the constant; `messages` adds it back.
        self.add(Class::FurtherMessages, 1);
    }

    /// Counts one more tool that the model may call, beside the text of its definition.
    pub const fn add_tool(&mut self) {
        self.add(Class::Tools, 1);
    }

    /// Counts one more image.
    pub const fn add_image(&mut self) {
        self.add(Class::Images, 1);
    }

    /// Adds what another tokenizer counts of the same texts, as one more witness.
    pub fn add_borrowed(&mut self, tokens: u64) {
        self.add(Class::Borrowed, u32::try_from(tokens).unwrap_or(u32::MAX));
    }

    /// How many messages were counted.
    pub const fn messages(&self) -> u32 {
        self.counts[Class::FurtherMessages as usize]
    }

    /// What another tokenizer counted; 0 where none did.
    pub const fn borrowed(&self) -> u32 {
        self.counts[Class::Borrowed as usize]
    }

    pub(crate) const fn without_borrowed(mut self) -> Self {
        self.counts[Class::Borrowed as usize] = 0;
        self
    }

    /// Adds what another text is made of.
    pub fn merge(&mut self, other: &Self) {
        for (class, count) in self.counts.iter_mut().zip(other.counts) {
            *class = class.saturating_add(count);
        }
        self.counts[Class::Constant as usize] = 1;
    }

    /// Every feature by its name, as it enters the model.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> {
        NAMES.into_iter().zip(self.regressors())
    }

    const fn add(&mut self, class: Class, more: u32) {
        let count = &mut self.counts[class as usize];
        *count = count.saturating_add(more);
    }

    /// As the regressors of the model: the first message belongs to the constant.
    pub(crate) fn regressors(&self) -> [f64; COUNT] {
        let mut values = self.counts.map(f64::from);
        let further = &mut values[Class::FurtherMessages as usize];
        *further = (*further - 1.0).max(0.0);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENERATED: [Class; 4] = [
        Class::RarePairs,
        Class::AlphabetSurprise,
        Class::EastAsianSurprise,
        Class::SouthEastAsianSurprise,
    ];

    #[track_caller]
    fn check(text: &str, expected: &[(Class, u32)]) {
        let mut counts = [0; COUNT];
        counts[Class::Constant as usize] = 1;
        for (class, count) in expected {
            counts[*class as usize] = *count;
        }
        let mut found = Features::of_text(text).counts;
        // These come from generated tables.
        for class in GENERATED {
            found[class as usize] = 0;
        }
        assert_eq!(found, counts, "{text:?}");
    }

    #[test]
    fn classes_are_counted_one_by_one() {
        check("", &[]);
        check("two words", &[(Class::Words, 2)]);
        check("camelCase", &[(Class::Words, 2)]);
        check(
            "HTTPServer",
            &[(Class::Words, 1), (Class::LettersBeyondFive, 5), (Class::Capitals, 4)],
        );
        check("127", &[(Class::Digits, 3), (Class::DigitGroups, 1)]);
        check("1274.50", &[(Class::Digits, 6), (Class::DigitGroups, 3), (Class::MarkRuns, 1)]);
        check("a)));", &[(Class::Words, 1), (Class::MarkRuns, 1), (Class::FurtherMarks, 3)]);
        check("a\n\n\nb", &[(Class::Words, 2), (Class::LineBreaks, 1)]);
        check("    x", &[(Class::SpaceRuns, 1), (Class::Words, 1)]);
        check("\tx y", &[(Class::SpaceRuns, 1), (Class::Words, 2)]);
        check(
            "x 7",
            &[
                (Class::Words, 1),
                (Class::Digits, 1),
                (Class::DigitGroups, 1),
                (Class::SpacedDigits, 1),
            ],
        );
        check("(x", &[(Class::MarkRuns, 1), (Class::Words, 1), (Class::GluedWords, 1)]);
        check("的鸭。", &[(Class::HanCommon, 1), (Class::HanRare, 1), (Class::CommonMarks, 1)]);
        check("한", &[(Class::ForeignWords, 1), (Class::HangulCommon, 1)]);
        check("뷁", &[(Class::ForeignWords, 1), (Class::HangulRare, 1)]);
        check("アヒルの", &[(Class::Katakana, 3), (Class::Hiragana, 1)]);
        check("утка и", &[(Class::ForeignWords, 2), (Class::Cyrillic, 5)]);
        check("बतख", &[(Class::ForeignWords, 1), (Class::Devanagari, 3)]);
        check("হাঁস", &[(Class::ForeignWords, 1), (Class::Bengali, 4), (Class::Diacritics, 2)]);
        check("เป็ด", &[(Class::Thai, 4), (Class::Diacritics, 1)]);
        check("🦆é", &[(Class::Emoji, 1), (Class::LatinExtended, 1)]);
    }

    #[test]
    fn letters_and_digits_in_turn_are_no_words() {
        let random = |text| Features::of_text(text).counts[Class::RandomRuns as usize];
        assert_eq!(random("a1b2c3d4e5f6a7b"), 0, "15 are too few");
        assert_eq!(random("a1b2c3d4e5f6a7b8"), 16);
        assert_eq!(random("a1b2c3d4e5f6a7b8c9"), 18);
        assert_eq!(random("abcdefgh12345678abcdefgh"), 0, "two switches are too few");
        assert_eq!(random("a1b2c3d4 e5f6a7b8"), 0, "a space ends a run");
    }

    #[test]
    fn a_chat_is_the_sum_of_its_messages() {
        let mut chat = Features::default();
        for text in ["one two", "three"] {
            chat.add_message();
            chat.merge(&Features::of_text(text));
        }
        let regressors = chat.regressors();
        assert_eq!(regressors[Class::Constant as usize], 1.0);
        assert_eq!(regressors[Class::FurtherMessages as usize], 1.0);
        assert_eq!(regressors[Class::Words as usize], 3.0);
    }
}
