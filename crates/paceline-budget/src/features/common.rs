//! What is common in writing: Han characters, Hangul syllables, pairs of letters.
//!
//! The bitmaps are generated. Invariant: an answer depends on nothing but the characters.

mod table;

/// How common a Han character is: 3 for the commonest, 0 for a rare one.
pub(super) fn han_grade(code: u32) -> u32 {
    let Some(place) = code.checked_sub(HAN_FIRST) else { return 0 };
    let place = place as usize;
    table::HAN.get(place / 32).map_or(0, |word| (word >> (2 * (place % 32)) & 3) as u32)
}

/// Whether a Hangul syllable is among the common ones.
pub(super) fn is_common_hangul(code: u32) -> bool {
    code >= HANGUL_FIRST && bit(&table::HANGUL, (code - HANGUL_FIRST) as usize)
}

/// 1 where a pair of ASCII letters is rare, whatever their case.
pub(super) const fn is_rare_pair(before: u8, now: u8) -> usize {
    let place = (before & 1) << 5 | now & 31;
    (table::RARE_LETTER_PAIRS[(before & 31) as usize / 2] >> place & 1) as usize
}

/// How surprising a character beyond ASCII is after the one before it: about the bits that say
/// it, at most [`SURPRISE_MOST`].
pub(super) fn surprise(before: u32, now: u32) -> u32 {
    let place = pair_place(before, now);
    (table::SURPRISE[place / 16] >> (4 * (place % 16)) & 15) as u32
}

/// Two characters before one, as one number.
pub const fn two_before(before_last: u32, last: u32) -> u32 {
    if last < 128 {
        return 32;
    }
    let before_last = if before_last < 128 { 32 } else { before_last };
    last.wrapping_add(before_last.wrapping_mul(0x2545_F491))
}

/// Where a pair is in the table. Pairs may share a place.
pub const fn pair_place(before: u32, now: u32) -> usize {
    // Whatever ASCII stands before: a beginning.
    let before = if before < 128 { 32 } else { before };
    let mixed = before.wrapping_mul(0x9E37_79B1) ^ now.wrapping_mul(0x85EB_CA77);
    (mixed.wrapping_mul(0xC2B2_AE3D) >> (32 - PAIR_BITS)) as usize
}

const fn bit<const WORDS: usize>(bitmap: &[u64; WORDS], place: usize) -> bool {
    place / 64 < WORDS && bitmap[place / 64] >> (place % 64) & 1 == 1
}

/// The first Han character of the bitmap.
pub const HAN_FIRST: u32 = 0x4E00;
/// The first Hangul syllable.
pub const HANGUL_FIRST: u32 = 0xAC00;
/// The table of pairs has two to the power of this many places.
pub const PAIR_BITS: u32 = 16;
/// What a pair that was never seen counts.
pub const SURPRISE_MOST: u32 = 15;
