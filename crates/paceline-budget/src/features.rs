//! What a text is made of, as far as its number of tokens depends on it.
//!
//! One pass, no allocation, no tokenizer. Invariant: the features of two texts joined by a line
//! break are the sum of theirs, so a chat's features are added up message by message.

/// How many features there are.
pub(crate) const COUNT: usize = 26;

/// Counts of character classes in a text or a chat.
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
#[repr(usize)]
pub(crate) enum Class {
    Constant,
    FurtherMessages,
    Words,
    LettersBeyondFive,
    Digits,
    DigitGroups,
    RandomRuns,
    MarkRuns,
    FurtherMarks,
    LineBreaks,
    SpaceRuns,
    WordsBeyondLatin,
    LatinExtended,
    Cyrillic,
    Greek,
    Hebrew,
    Arabic,
    Devanagari,
    Indic,
    SouthEastAsian,
    Kana,
    Han,
    Hangul,
    OtherMarks,
    Emoji,
    Other,
}

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
        let mut scan = Scan::new();
        for c in text.chars() {
            scan.see(c);
        }
        scan.features.counts[Class::Constant as usize] = 1;
        scan.features
    }

    /// Counts one more message.
    pub const fn add_message(&mut self) {
        // The first is part of the constant; `messages` adds it back.
        self.counts[Class::FurtherMessages as usize] =
            self.counts[Class::FurtherMessages as usize].saturating_add(1);
    }

    /// How many messages were counted.
    pub const fn messages(&self) -> u32 {
        self.counts[Class::FurtherMessages as usize]
    }

    /// Adds what another text is made of.
    pub fn merge(&mut self, other: &Self) {
        for (class, count) in self.counts.iter_mut().zip(other.counts) {
            *class = class.saturating_add(count);
        }
        self.counts[Class::Constant as usize] = 1;
    }

    /// As the regressors of the model: the first message belongs to the constant.
    pub(crate) fn regressors(&self) -> [f64; COUNT] {
        let mut values = self.counts.map(f64::from);
        let further = &mut values[Class::FurtherMessages as usize];
        *further = (*further - 1.0).max(0.0);
        values
    }
}

/// What stood before the character at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Start,
    Lower,
    Upper,
    Digit,
    Mark,
    Space,
    Break,
    Foreign,
    Else,
}

struct Scan {
    features: Features,
    before: Before,
    /// Letters of the present sub-word, or digits of the present number.
    run: u32,
    /// ASCII letters and digits without anything between, and how often one gave way to the other.
    mixed: u32,
    switches: u32,
}

/// Letters and digits that alternate at least so often in a run of at least such a length are
/// no words: keys, hashes, base64. Tokenizers split them finely.
const RANDOM_SWITCHES: u32 = 4;
const RANDOM_LENGTH: u32 = 16;

impl Scan {
    const fn new() -> Self {
        let features = Features { counts: [0; COUNT] };
        Self { features, before: Before::Start, run: 0, mixed: 0, switches: 0 }
    }

    fn count(&mut self, class: Class) {
        self.count_many(class, 1);
    }

    fn count_many(&mut self, class: Class, more: u32) {
        let count = &mut self.features.counts[class as usize];
        *count = count.saturating_add(more);
    }

    fn see(&mut self, c: char) {
        let now = match c {
            'a'..='z' | 'A'..='Z' => self.letter(c),
            '0'..='9' => self.digit(),
            '\n' | '\r' => {
                if self.before != Before::Break {
                    self.count(Class::LineBreaks);
                }
                Before::Break
            }
            ' ' | '\t' => {
                // A single space belongs to the word behind it.
                if self.before == Before::Space || c == '\t' {
                    self.count(Class::SpaceRuns);
                }
                Before::Space
            }
            '!'..='~' => {
                let class =
                    if self.before == Before::Mark { Class::FurtherMarks } else { Class::MarkRuns };
                self.count(class);
                Before::Mark
            }
            _ => self.beyond_ascii(c),
        };
        self.watch_randomness(now);
        self.before = now;
    }

    /// Sub-words split where lower meets upper; what is long is split further by tokenizers.
    fn letter(&mut self, c: char) -> Before {
        let upper = c.is_ascii_uppercase();
        let goes_on = match self.before {
            Before::Lower => !upper,
            Before::Upper => true,
            _ => false,
        };
        if goes_on {
            self.run = self.run.saturating_add(1);
            if self.run > 5 {
                self.count(Class::LettersBeyondFive);
            }
        } else {
            self.run = 1;
            self.count(Class::Words);
        }
        if upper { Before::Upper } else { Before::Lower }
    }

    /// Some tokenizers take digits one by one, some by up to three.
    fn digit(&mut self) -> Before {
        self.run = if self.before == Before::Digit { self.run % 3 + 1 } else { 1 };
        self.count(Class::Digits);
        if self.run == 1 {
            self.count(Class::DigitGroups);
        }
        Before::Digit
    }

    fn beyond_ascii(&mut self, c: char) -> Before {
        let class = class_of(c);
        self.count(class);
        if !class.has_words() {
            return Before::Else;
        }
        if self.before != Before::Foreign {
            self.count(Class::WordsBeyondLatin);
        }
        Before::Foreign
    }

    fn watch_randomness(&mut self, now: Before) {
        let is_digit = match now {
            Before::Digit => true,
            Before::Lower | Before::Upper => false,
            _ => {
                (self.mixed, self.switches) = (0, 0);
                return;
            }
        };
        if self.mixed > 0 && is_digit != (self.before == Before::Digit) {
            self.switches = self.switches.saturating_add(1);
        }
        let was_random = self.is_random();
        self.mixed = self.mixed.saturating_add(1);
        if self.is_random() {
            self.count_many(Class::RandomRuns, if was_random { 1 } else { self.mixed });
        }
    }

    const fn is_random(&self) -> bool {
        self.mixed >= RANDOM_LENGTH && self.switches >= RANDOM_SWITCHES
    }
}

impl Class {
    /// Whether its letters stand in words with spaces between.
    const fn has_words(self) -> bool {
        matches!(
            self,
            Self::Cyrillic
                | Self::Greek
                | Self::Hebrew
                | Self::Arabic
                | Self::Devanagari
                | Self::Indic
                | Self::Hangul
        )
    }
}

/// The class of a character beyond ASCII, by Unicode block.
fn class_of(c: char) -> Class {
    match u32::from(c) {
        0x00C0..=0x024F | 0x1E00..=0x1EFF | 0x0300..=0x036F => Class::LatinExtended,
        0x0370..=0x03FF | 0x1F00..=0x1FFF => Class::Greek,
        0x0400..=0x052F => Class::Cyrillic,
        0x0590..=0x05FF => Class::Hebrew,
        0x0600..=0x077F | 0x08A0..=0x08FF | 0xFB50..=0xFDFF | 0xFE70..=0xFEFC => Class::Arabic,
        0x0900..=0x097F | 0xA8E0..=0xA8FF => Class::Devanagari,
        0x0980..=0x0DFF => Class::Indic,
        0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF => Class::SouthEastAsian,
        0x3040..=0x30FF | 0x31F0..=0x31FF | 0xFF66..=0xFF9F => Class::Kana,
        0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3134F => Class::Han,
        0x1100..=0x11FF | 0x3130..=0x318F | 0xAC00..=0xD7AF => Class::Hangul,
        0x00A0..=0x00BF | 0x2000..=0x206F | 0x3000..=0x303F | 0xFF01..=0xFF65 => Class::OtherMarks,
        0x2600..=0x27BF | 0x1F000..=0x1FAFF => Class::Emoji,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(Class, u32)]) {
        let mut counts = [0; COUNT];
        counts[Class::Constant as usize] = 1;
        for (class, count) in expected {
            counts[*class as usize] = *count;
        }
        assert_eq!(Features::of_text(text).counts, counts, "{text:?}");
    }

    #[test]
    fn classes_are_counted_one_by_one() {
        check("", &[]);
        check("two words", &[(Class::Words, 2)]);
        check("camelCase", &[(Class::Words, 2)]);
        check("HTTPServer", &[(Class::Words, 1), (Class::LettersBeyondFive, 5)]);
        check("127", &[(Class::Digits, 3), (Class::DigitGroups, 1)]);
        check("1274.50", &[(Class::Digits, 6), (Class::DigitGroups, 3), (Class::MarkRuns, 1)]);
        check("a)));", &[(Class::Words, 1), (Class::MarkRuns, 1), (Class::FurtherMarks, 3)]);
        check("a\n\n\nb", &[(Class::Words, 2), (Class::LineBreaks, 1)]);
        check("    x", &[(Class::SpaceRuns, 3), (Class::Words, 1)]);
        check("鸭子。", &[(Class::Han, 2), (Class::OtherMarks, 1)]);
        check("アヒル", &[(Class::Kana, 3)]);
        check("утка и", &[(Class::WordsBeyondLatin, 2), (Class::Cyrillic, 5)]);
        check("बतख", &[(Class::WordsBeyondLatin, 1), (Class::Devanagari, 3)]);
        check("হাঁস", &[(Class::WordsBeyondLatin, 1), (Class::Indic, 4)]);
        check("เป็ด", &[(Class::SouthEastAsian, 4)]);
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
