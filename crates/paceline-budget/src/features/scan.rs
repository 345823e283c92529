//! The pass over a text.
//!
//! It goes from run to run: a sub-word, a number, blanks, marks, then characters beyond ASCII one
//! by one. Invariant: it ends a text in no state that the next one would begin with.

use super::blocks::{class_of, is_sign};
use super::{COUNT, Class, common};

#[cfg(test)]
mod naive;

/// What stood before the run at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Letter,
    Digit,
    Mark,
    Space,
    Break,
    Foreign,
    Else,
}

/// What a byte begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    Letter,
    Digit,
    Space,
    Break,
    Mark,
    Beyond,
}

/// Letters and digits that alternate at least so often in a run of at least such a length are
/// no words: keys, hashes, base64. Tokenizers split them finely.
const RANDOM_SWITCHES: u32 = 4;
const RANDOM_LENGTH: usize = 16;
/// Letters of a word that tokenizers mostly keep together.
const KEPT_TOGETHER: usize = 5;

static BEGINS: [Begins; 256] = {
    let mut table = [Begins::Beyond; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => Begins::Letter,
            b'0'..=b'9' => Begins::Digit,
            b' ' | b'\t' => Begins::Space,
            b'\n' | b'\r' => Begins::Break,
            b'!'..=b'~' => Begins::Mark,
            _ => Begins::Beyond,
        };
        byte += 1;
    }
    table
};

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    counts: [u64; COUNT],
    before: Before,
    /// The two characters before, where the last is beyond ASCII.
    last: u32,
    before_last: u32,
    /// Letters of the present word beyond Latin.
    run: u32,
    /// Where ASCII letters and digits without anything between begin, and how often one gave way
    /// to the other.
    mixed_from: usize,
    switches: u32,
}

/// Counts the classes of a text.
pub(super) fn scan(text: &str) -> [u32; COUNT] {
    let mut scan = Scan {
        bytes: text.as_bytes(),
        at: 0,
        counts: [0; COUNT],
        before: Before::Else,
        last: 0,
        before_last: 0,
        run: 0,
        mixed_from: 0,
        switches: 0,
    };
    while let Some(&byte) = scan.bytes.get(scan.at) {
        match BEGINS[usize::from(byte)] {
            Begins::Letter => scan.letters(byte),
            Begins::Digit => scan.digits(),
            Begins::Space => scan.spaces(),
            Begins::Break => scan.breaks(),
            Begins::Mark => scan.marks(),
            Begins::Beyond => scan.beyond_ascii(byte),
        }
    }
    scan.end_mixed();
    scan.counts.map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

impl Scan<'_> {
    fn count(&mut self, class: Class, more: usize) {
        self.counts[class as usize] += more as u64;
    }

    /// Sub-words split where lower meets upper; what is long is split further by tokenizers.
    fn letters(&mut self, first: u8) {
        self.mix(Before::Digit);
        let start = self.at;
        let (mut previous, mut rare, mut capitals) = (first, 0, 0);
        let mut end = start + 1;
        while let Some(&byte) = self.bytes.get(end) {
            // Upper case lacks this bit.
            let capital = byte & 0x20 == 0;
            if BEGINS[usize::from(byte)] != Begins::Letter || capital && previous & 0x20 != 0 {
                break;
            }
            rare += common::is_rare_pair(previous, byte);
            capitals += usize::from(capital);
            previous = byte;
            end += 1;
        }
        self.count(Class::Words, 1);
        self.count(Class::LettersBeyondFive, (end - start).saturating_sub(KEPT_TOGETHER));
        self.count(Class::RarePairs, rare);
        self.count(Class::Capitals, capitals);
        self.count(Class::GluedWords, usize::from(self.before == Before::Mark));
        self.pass(end, Before::Letter);
    }

    /// Some tokenizers take digits one by one, some by up to three.
    fn digits(&mut self) {
        self.mix(Before::Letter);
        let digits = self.run_of(Begins::Digit);
        self.count(Class::SpacedDigits, usize::from(self.before == Before::Space));
        self.count(Class::Digits, digits);
        self.count(Class::DigitGroups, digits.div_ceil(3));
        self.pass(self.at + digits, Before::Digit);
    }

    /// A single space belongs to the word behind it; two or a tab are a token of their own.
    fn spaces(&mut self) {
        self.end_mixed();
        let spaces = self.run_of(Begins::Space);
        let run = &self.bytes[self.at..self.at + spaces];
        let long = spaces > 1 || run[0] == b'\t';
        self.count(Class::SpaceRuns, usize::from(long));
        self.pass(self.at + spaces, Before::Space);
    }

    fn breaks(&mut self) {
        self.end_mixed();
        let breaks = self.run_of(Begins::Break);
        self.count(Class::LineBreaks, 1);
        self.pass(self.at + breaks, Before::Break);
    }

    fn marks(&mut self) {
        self.end_mixed();
        let marks = self.run_of(Begins::Mark);
        self.count(Class::MarkRuns, 1);
        self.count(Class::FurtherMarks, marks - 1);
        self.pass(self.at + marks, Before::Mark);
    }

    fn beyond_ascii(&mut self, first: u8) {
        self.end_mixed();
        let (code, bytes) = decode(first, self.bytes.get(self.at + 1..).unwrap_or_default());
        let class = class_of(code);
        self.count(class, 1);
        self.count(Class::Diacritics, usize::from(is_sign(class, code)));
        let mut now = Before::Else;
        if let Some(surprise) = class.surprise() {
            // An alphabet is known by three letters, a script of thousands by two.
            let before = match surprise {
                Class::AlphabetSurprise => common::two_before(self.before_last, self.last),
                _ => self.last,
            };
            self.count(surprise, common::surprise(before, code) as usize);
            if surprise == Class::AlphabetSurprise {
                self.letter_beyond_ascii();
                now = Before::Foreign;
            }
        }
        (self.before_last, self.last) = (self.last, code);
        self.at += bytes;
        self.before = now;
    }

    fn letter_beyond_ascii(&mut self) {
        if self.before == Before::Foreign {
            self.run = self.run.saturating_add(1);
            self.count(Class::ForeignLettersBeyondFive, usize::from(self.run > 5));
        } else {
            self.run = 1;
            self.count(Class::ForeignWords, 1);
        }
    }

    /// How many bytes from here on begin the same.
    fn run_of(&self, begins: Begins) -> usize {
        let rest = &self.bytes[self.at..];
        let ends = |byte: &u8| BEGINS[usize::from(*byte)] != begins;
        rest.iter().position(ends).unwrap_or(rest.len())
    }

    /// Goes past a run of ASCII.
    const fn pass(&mut self, end: usize, before: Before) {
        self.at = end;
        self.before = before;
        self.last = ASCII;
    }

    /// Letters or digits begin or go on; `other` is the other of them.
    fn mix(&mut self, other: Before) {
        if self.before == other {
            self.switches += 1;
        } else if !matches!(self.before, Before::Letter | Before::Digit) {
            (self.mixed_from, self.switches) = (self.at, 0);
        }
    }

    fn end_mixed(&mut self) {
        if self.switches >= RANDOM_SWITCHES {
            let length = self.at - self.mixed_from;
            if length >= RANDOM_LENGTH {
                self.count(Class::RandomRuns, length);
            }
        }
        self.switches = 0;
    }
}

/// Any character of ASCII, as what stands before another.
const ASCII: u32 = 32;

/// A character beyond ASCII, or a control character, and its bytes: `rest` is what follows the
/// first in a valid text.
fn decode(first: u8, rest: &[u8]) -> (u32, usize) {
    let bits = |place: usize| u32::from(rest.get(place).copied().unwrap_or_default() & 0x3F);
    let first = u32::from(first);
    match first {
        0..0xC0 => (first, 1),
        0xC0..0xE0 => ((first & 0x1F) << 6 | bits(0), 2),
        0xE0..0xF0 => ((first & 0x0F) << 12 | bits(0) << 6 | bits(1), 3),
        _ => ((first & 0x07) << 18 | bits(0) << 12 | bits(1) << 6 | bits(2), 4),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn real_texts_are_counted_as_by_the_plain_form() {
        for text in [
            "fn main() {\n\tlet x2 = a1b2c3d4e5f6a7b8;\r\n  println!(\"{x2:?}\");\n}\n",
            "Пекарь утром продал 48 буханок хлеба, а днём вдвое меньше.",
            "面包师上午卖了48个面包。パン屋さんは HTTPServer を見た",
            "คนทำขนมปัง 48 ก้อน \u{1F986}é naïve \u{7f}\u{0}",
        ] {
            assert_eq!(scan(text), naive::scan(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_counted_as_by_the_plain_form(
            text in "([a-zA-Z]{1,9}|[0-9]{1,7}|[ \t]{1,3}|[\r\n]{1,3}|[!-/]{1,4}|\\PC{0,6}|[а-яё]{1,9}|[一-鿿]{1,4}|[가-힣]{1,3}|[a-z][0-9]|.){0,60}",
        ) {
            prop_assert_eq!(scan(&text), naive::scan(&text));
        }
    }
}
