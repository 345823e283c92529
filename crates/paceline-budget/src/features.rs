//! What a text is made of, as far as its number of tokens depends on it.
//!
//! One pass, no allocation, no tokenizer. Invariant: the features of two texts joined by a line
//! break are the sum of theirs, so a chat's features are added up message by message.

/// How many features there are.
pub(crate) const COUNT: usize = 22;

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
    MarkRuns,
    FurtherMarks,
    LineBreaks,
    SpaceRuns,
    LatinExtended,
    Cyrillic,
    Greek,
    Hebrew,
    Arabic,
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
        let mut scan = Scan { features: Self::default(), before: Before::Start, run: 0 };
        for c in text.chars() {
            scan.see(c);
        }
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
    Mark,
    Space,
    Break,
    Else,
}

struct Scan {
    features: Features,
    before: Before,
    /// Letters of the present sub-word.
    run: u32,
}

impl Scan {
    fn count(&mut self, class: Class) {
        let count = &mut self.features.counts[class as usize];
        *count = count.saturating_add(1);
    }

    fn see(&mut self, c: char) {
        self.before = match c {
            'a'..='z' | 'A'..='Z' => self.letter(c),
            '0'..='9' => {
                self.count(Class::Digits);
                Before::Else
            }
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
            _ => {
                self.count(class_of(c));
                Before::Else
            }
        };
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
            self.run += 1;
            if self.run > 5 {
                self.count(Class::LettersBeyondFive);
            }
        } else {
            self.run = 1;
            self.count(Class::Words);
        }
        if upper { Before::Upper } else { Before::Lower }
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
        0x0900..=0x0DFF => Class::Indic,
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
        check("127", &[(Class::Digits, 3)]);
        check("a)));", &[(Class::Words, 1), (Class::MarkRuns, 1), (Class::FurtherMarks, 3)]);
        check("a\n\n\nb", &[(Class::Words, 2), (Class::LineBreaks, 1)]);
        check("    x", &[(Class::SpaceRuns, 3), (Class::Words, 1)]);
        check("鸭子。", &[(Class::Han, 2), (Class::OtherMarks, 1)]);
        check("アヒル", &[(Class::Kana, 3)]);
        check("утка", &[(Class::Cyrillic, 4)]);
        check("เป็ด", &[(Class::SouthEastAsian, 4)]);
        check("🦆é", &[(Class::Emoji, 1), (Class::LatinExtended, 1)]);
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
