//! What is common in writing: Han characters, Hangul syllables, pairs of letters.
//!
//! The bitmaps are generated. Invariant: an answer depends on nothing but the characters.

mod table;

/// Whether a Han character is among the common ones.
pub(super) fn is_common_han(code: u32) -> bool {
    code >= HAN_FIRST && bit(&table::HAN, (code - HAN_FIRST) as usize)
}

/// Whether a Hangul syllable is among the common ones.
pub(super) fn is_common_hangul(code: u32) -> bool {
    code >= HANGUL_FIRST && bit(&table::HANGUL, (code - HANGUL_FIRST) as usize)
}

/// Whether a pair of ASCII letters is rare, whatever their case.
pub(super) fn is_rare_pair(before: u32, now: u32) -> bool {
    let place = ((before & 31) << 5 | now & 31) as usize;
    bit(&table::RARE_LETTER_PAIRS, place)
}

/// Whether a pair of characters beyond ASCII is common, in the writing that they belong to.
pub(super) fn is_common_pair(before: u32, now: u32) -> bool {
    bit(&table::COMMON_PAIRS, pair_place(before, now))
}

/// Where a pair is in the bitmap. Pairs may share a place.
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
/// The bitmap of pairs has two to the power of this many places.
pub const PAIR_BITS: u32 = 16;
