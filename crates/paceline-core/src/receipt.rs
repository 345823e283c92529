//! What was granted, and what was used of it.

use std::fmt;
use std::num::NonZeroU64;

use crate::dimension::Dimension;
use crate::usage::Usage;

/// The proof that a call was admitted: plain data that can cross a process.
///
/// It does nothing by itself: until whoever holds it settles or cancels it, what it reserved is held,
/// in one that was dropped or forgotten for ever. Only the limiter that issued it takes it; copies are
/// the same receipt, which is settled once.
#[must_use = "what it reserved is held until it is settled or cancelled"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Receipt {
    limiter: LimiterId,
    number: u64,
}

/// Which limiter issued a receipt. Never zero, so that a receipt or none comes back in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct LimiterId(NonZeroU64);

/// What a call really used, per dimension.
///
/// A dimension that is not named keeps what was reserved for it: a usage nobody reported is
/// never taken as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Actual {
    amounts: [Option<u64>; Dimension::COUNT],
}

impl Receipt {
    /// Receipt `number` of a limiter, for those who issue receipts.
    #[inline]
    pub const fn new(limiter: LimiterId, number: u64) -> Self {
        Self { limiter, number }
    }

    /// Who issued it.
    #[inline]
    pub const fn limiter(self) -> LimiterId {
        self.limiter
    }

    /// Its number there; not used again while anybody can still hold it.
    #[inline]
    pub const fn number(self) -> u64 {
        self.number
    }
}

impl LimiterId {
    /// A limiter by a number that no other limiter in reach has.
    pub const fn new(number: NonZeroU64) -> Self {
        Self(number)
    }

    /// The number.
    #[inline]
    pub const fn number(self) -> NonZeroU64 {
        self.0
    }
}

impl fmt::Display for LimiterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limiter {}", self.0)
    }
}

impl Actual {
    /// Nothing is known: every dimension keeps what was reserved.
    pub const fn new() -> Self {
        Self { amounts: [None; Dimension::COUNT] }
    }

    /// With what was used of one dimension, in place of what was said before.
    #[must_use]
    pub const fn with(mut self, dimension: Dimension, amount: u64) -> Self {
        self.amounts[dimension.index()] = Some(amount);
        self
    }

    /// What was used of one dimension, if that is known.
    #[inline]
    pub const fn amount(&self, dimension: Dimension) -> Option<u64> {
        self.amounts[dimension.index()]
    }

    /// The same by the [index](Dimension::index) of a dimension; `None` where there is no such
    /// dimension.
    #[inline]
    pub const fn amount_at(&self, index: usize) -> Option<u64> {
        if index < Dimension::COUNT { self.amounts[index] } else { None }
    }
}

impl From<&Usage> for Actual {
    /// The tokens of a usage. Money is left to the caller, who knows the price.
    fn from(usage: &Usage) -> Self {
        Self::new()
            .with(Dimension::InputTokens, usage.input_tokens())
            .with(Dimension::OutputTokens, usage.output_tokens())
            .with(Dimension::TotalTokens, usage.total_tokens())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_or_none_is_two_words() {
        assert_eq!(size_of::<Option<Receipt>>(), 16);
    }

    #[test]
    fn what_is_not_named_is_not_zero() {
        let usage = Usage::new(3, 10).expect("consistent");
        let actual = Actual::from(&usage);
        assert_eq!(actual.amount(Dimension::OutputTokens), Some(7));
        assert_eq!(actual.amount(Dimension::Money), None);
        assert_eq!(actual.amount(Dimension::Requests), None);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_receipt_crosses_a_process() {
        let receipt = Receipt::new(LimiterId::new(NonZeroU64::MIN.saturating_add(6)), 42);
        let text = serde_json::to_string(&receipt).expect("plain data");
        assert_eq!(text, r#"{"limiter":7,"number":42}"#);
        assert_eq!(serde_json::from_str::<Receipt>(&text).expect("the same"), receipt);
        serde_json::from_str::<Receipt>(r#"{"limiter":0,"number":42}"#).expect_err("no limiter");
    }
}
