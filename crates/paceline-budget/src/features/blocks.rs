//! Which class a character beyond ASCII belongs to, by its place in Unicode.
//!
//! Invariant: the class of a character depends on nothing but its code point.

use super::{Class, common};

/// Code points of a block.
const SIZE: usize = 16;
/// Blocks below U+10000.
const BLOCKS: usize = 0x1_0000 / SIZE;

/// The classes of the blocks below U+10000.
static TABLE: [Class; BLOCKS] = {
    let mut table = [Class::Other; BLOCKS];
    let mut block = 0;
    while block < BLOCKS {
        table[block] = of_block((block * SIZE) as u32);
        block += 1;
    }
    table
};

/// The class of a block by its first code point.
const fn of_block(first: u32) -> Class {
    match first {
        0x00C0..=0x02FF | 0x1E00..=0x1EFF => Class::LatinExtended,
        0x0300..=0x036F => Class::Diacritics,
        0x0370..=0x03FF | 0x1F00..=0x1FFF => Class::Greek,
        0x0400..=0x052F => Class::Cyrillic,
        0x0590..=0x05FF => Class::Hebrew,
        0x0600..=0x077F | 0x08A0..=0x08FF | 0xFB50..=0xFDFF | 0xFE70..=0xFEFF => Class::Arabic,
        0x0900..=0x097F | 0xA8E0..=0xA8FF => Class::Devanagari,
        0x0980..=0x09FF => Class::Bengali,
        0x0A00..=0x0A7F => Class::Gurmukhi,
        0x0A80..=0x0AFF => Class::Gujarati,
        0x0B00..=0x0B7F => Class::Oriya,
        0x0B80..=0x0BFF => Class::Tamil,
        0x0C00..=0x0C7F => Class::Telugu,
        0x0C80..=0x0CFF => Class::Kannada,
        0x0D00..=0x0DFF => Class::Malayalam,
        0x0E00..=0x0EFF => Class::Thai,
        0x1000..=0x109F => Class::Myanmar,
        0x1780..=0x17FF => Class::Khmer,
        0x10A0..=0x10FF => Class::Georgian,
        0x0530..=0x058F => Class::Armenian,
        0x1200..=0x139F => Class::Ethiopic,
        0x3040..=0x309F => Class::Hiragana,
        0x30A0..=0x30FF | 0x31F0..=0x31FF | 0xFF60..=0xFF9F => Class::Katakana,
        0x3400..=0x9FFF | 0xF900..=0xFAFF => Class::HanRare,
        0x1100..=0x11FF | 0x3130..=0x318F | 0xAC00..=0xD7AF => Class::HangulRare,
        0x0080..=0x00BF | 0x2000..=0x206F | 0x3000..=0x303F | 0xFE30..=0xFE4F | 0xFF00..=0xFF5F => {
            Class::OtherMarks
        }
        0x2600..=0x27BF => Class::Emoji,
        _ => Class::Other,
    }
}

/// The class of a character beyond ASCII.
pub(super) fn class_of(code: u32) -> Class {
    match TABLE.get(code as usize / SIZE) {
        Some(Class::HanRare) => match common::han_grade(code) {
            3 => Class::HanCommon,
            2 => Class::HanFrequent,
            1 => Class::HanMiddle,
            _ => Class::HanRare,
        },
        Some(Class::HangulRare) if common::is_common_hangul(code) => Class::HangulCommon,
        Some(Class::OtherMarks) if is_common_mark(code) => Class::CommonMarks,
        Some(class) => *class,
        None => match code {
            0x1_F000..=0x1_FAFF => Class::Emoji,
            0x2_0000..=0x3_134F => Class::HanRare,
            _ => Class::Other,
        },
    }
}

/// The marks that make most of all beyond ASCII: quotes and dashes; commas, stops, brackets and
/// their like in East Asia.
const fn is_common_mark(code: u32) -> bool {
    matches!(
        code,
        0x2013 | 0x2014 | 0x2018
            ..=0x201D
                | 0x2026
                | 0xAB
                | 0xBB
                | 0x3001
                | 0x3002
                | 0x300C
                | 0x300D
                | 0xFF01
                | 0xFF08
                | 0xFF09
                | 0xFF0C
                | 0xFF1A
                | 0xFF1B
                | 0xFF1F
    )
}

/// Whether a character of a script is a sign upon the letter before it.
pub(super) const fn is_sign(class: Class, code: u32) -> bool {
    match class {
        Class::Arabic => matches!(code, 0x064B..=0x065F | 0x0670),
        Class::Hebrew => matches!(code, 0x0591..=0x05C7),
        // The blocks of India are laid out alike, 128 code points each.
        Class::Devanagari
        | Class::Bengali
        | Class::Gurmukhi
        | Class::Gujarati
        | Class::Oriya
        | Class::Tamil
        | Class::Telugu
        | Class::Kannada
        | Class::Malayalam => {
            matches!(code % 128, 0x00..=0x03 | 0x3C | 0x3E..=0x4D | 0x51..=0x57 | 0x62..=0x63)
        }
        Class::Thai | Class::Myanmar | Class::Khmer => matches!(
            code,
            0x0E31 | 0x0E34..=0x0E3A | 0x0E47..=0x0E4E | 0x0EB1 | 0x0EB4..=0x0EBC
                | 0x0EC8..=0x0ECD | 0x102B..=0x103E | 0x17B4..=0x17D3
        ),
        _ => false,
    }
}

impl Class {
    /// Where surprise at its letters is counted. In alphabets they stand in words with something
    /// between.
    pub(super) const fn surprise(self) -> Option<Self> {
        match self {
            Self::Cyrillic
            | Self::Greek
            | Self::Hebrew
            | Self::Arabic
            | Self::Devanagari
            | Self::Bengali
            | Self::Gurmukhi
            | Self::Gujarati
            | Self::Oriya
            | Self::Tamil
            | Self::Telugu
            | Self::Kannada
            | Self::Malayalam
            | Self::Georgian
            | Self::Armenian
            | Self::Ethiopic
            | Self::HangulCommon
            | Self::HangulRare
            | Self::Other => Some(Self::AlphabetSurprise),
            Self::Hiragana
            | Self::Katakana
            | Self::HanCommon
            | Self::HanFrequent
            | Self::HanMiddle
            | Self::HanRare => Some(Self::EastAsianSurprise),
            Self::Thai | Self::Myanmar | Self::Khmer => Some(Self::SouthEastAsianSurprise),
            _ => None,
        }
    }
}
