//! The pass over a text once more, character by character, as plainly as it can be said: what the
//! fast one is judged by.

use super::super::blocks::{class_of, is_sign};
use super::super::{COUNT, Class, common};

/// What stood before the character at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
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
    counts: [u32; COUNT],
    before: Before,
    /// The character before.
    last: u32,
    before_last: u32,
    /// Letters of the present sub-word, digits of the present number, or spaces of a run.
    run: u32,
    /// ASCII letters and digits without anything between, and how often one gave way to the other.
    mixed: u32,
    switches: u32,
}

/// Letters and digits that alternate at least so often in a run of at least such a length are
/// no words: keys, hashes, base64. Tokenizers split them finely.
const RANDOM_SWITCHES: u32 = 4;
const RANDOM_LENGTH: u32 = 16;

/// Counts the classes of a text.
pub(super) fn scan(text: &str) -> [u32; COUNT] {
    let mut scan = Scan {
        counts: [0; COUNT],
        before: Before::Else,
        last: 0,
        before_last: 0,
        run: 0,
        mixed: 0,
        switches: 0,
    };
    for c in text.chars() {
        scan.see(c);
    }
    scan.counts
}

impl Scan {
    fn count(&mut self, class: Class) {
        self.count_many(class, 1);
    }

    fn count_many(&mut self, class: Class, more: u32) {
        let count = &mut self.counts[class as usize];
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
            ' ' | '\t' => self.space(c),
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
        self.before_last = self.last;
        self.last = c as u32;
    }

    /// A single space belongs to the word behind it; two or a tab are a token of their own.
    fn space(&mut self, c: char) -> Before {
        self.run = if self.before == Before::Space { self.run.saturating_add(1) } else { 1 };
        if self.run == 2 && self.last == u32::from(' ') || self.run == 1 && c == '\t' {
            self.count(Class::SpaceRuns);
        }
        Before::Space
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
            if common::is_rare_pair(self.last as u8, c as u8) == 1 {
                self.count(Class::RarePairs);
            }
            if upper {
                self.count(Class::Capitals);
            }
        } else {
            self.run = 1;
            self.count(Class::Words);
            if self.before == Before::Mark {
                self.count(Class::GluedWords);
            }
        }
        if upper { Before::Upper } else { Before::Lower }
    }

    /// Some tokenizers take digits one by one, some by up to three.
    fn digit(&mut self) -> Before {
        if self.before == Before::Space {
            self.count(Class::SpacedDigits);
        }
        self.run = if self.before == Before::Digit { self.run % 3 + 1 } else { 1 };
        self.count(Class::Digits);
        if self.run == 1 {
            self.count(Class::DigitGroups);
        }
        Before::Digit
    }

    fn beyond_ascii(&mut self, c: char) -> Before {
        let class = class_of(c as u32);
        self.count(class);
        if is_sign(class, c as u32) {
            self.count(Class::Diacritics);
        }
        if let Some(surprise) = class.surprise() {
            // An alphabet is known by three letters, a script of thousands by two.
            let before = match surprise {
                Class::AlphabetSurprise => common::two_before(self.before_last, self.last),
                _ => self.last,
            };
            self.count_many(surprise, common::surprise(before, c as u32));
        }
        if class.surprise() != Some(Class::AlphabetSurprise) {
            return Before::Else;
        }
        if self.before == Before::Foreign {
            self.run = self.run.saturating_add(1);
            if self.run > 5 {
                self.count(Class::ForeignLettersBeyondFive);
            }
        } else {
            self.run = 1;
            self.count(Class::ForeignWords);
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
        let was_random = self.is_random();
        if self.mixed > 0 && is_digit != (self.before == Before::Digit) {
            self.switches = self.switches.saturating_add(1);
        }
        self.mixed = self.mixed.saturating_add(1);
        if self.is_random() {
            self.count_many(Class::RandomRuns, if was_random { 1 } else { self.mixed });
        }
    }

    const fn is_random(&self) -> bool {
        self.mixed >= RANDOM_LENGTH && self.switches >= RANDOM_SWITCHES
    }
}
