//! Tokens and cost of one call, and how sure we are of them.

use std::fmt;

use crate::money::Money;

/// What one call used.
///
/// Output is always *total less input*, so that it means the same whether an API counts
/// reasoning inside its output figure or beside it. A call whose usage was not reported has no
/// `Usage`; where it was estimated instead, [`Usage::certainty`] says so.
///
/// ```
/// use paceline_core::{Certainty, Usage};
/// // 137 in, 7 visible and 126 reasoning out.
/// let usage = Usage::new(137, 270)?.with_reasoning(126)?;
/// assert_eq!(usage.output_tokens(), 133);
/// assert_eq!(usage.certainty(), Certainty::Exact);
/// # Ok::<(), paceline_core::UsageError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Usage {
    input_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
    cached_input_tokens: u64,
    cost: Option<Money>,
    certainty: Certainty,
}

/// How sure a usage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[expect(
    clippy::exhaustive_enums,
    reason = "three states are the model: a fourth would be a new one"
)]
pub enum Certainty {
    /// The server reported it.
    Exact,
    /// At least this much: part of it was seen, such as the text of a broken stream.
    LowerBound,
    /// Nobody reported it; it was reckoned.
    Estimated,
}

/// Why reported numbers are not a usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UsageError {
    /// The total was below the input.
    TotalBelowInput,
    /// A part was larger than the whole it belongs to.
    PartAboveWhole,
    /// A number was larger than [`Usage::MAX_TOKENS`].
    Absurd,
}

impl Usage {
    /// No call uses more tokens than this; larger figures are refused as absurd.
    pub const MAX_TOKENS: u64 = 1 << 40;

    /// A usage that the server reported: input and total tokens.
    ///
    /// # Errors
    /// [`UsageError`] where the total is below the input or a figure is absurd.
    pub const fn new(input_tokens: u64, total_tokens: u64) -> Result<Self, UsageError> {
        if total_tokens > Self::MAX_TOKENS || input_tokens > Self::MAX_TOKENS {
            return Err(UsageError::Absurd);
        }
        let Some(output_tokens) = total_tokens.checked_sub(input_tokens) else {
            return Err(UsageError::TotalBelowInput);
        };
        Ok(Self {
            input_tokens,
            output_tokens,
            reasoning_tokens: 0,
            cached_input_tokens: 0,
            cost: None,
            certainty: Certainty::Exact,
        })
    }

    /// With the reasoning tokens, a part of the output.
    ///
    /// # Errors
    /// [`UsageError::PartAboveWhole`] where they exceed the output.
    pub const fn with_reasoning(mut self, reasoning_tokens: u64) -> Result<Self, UsageError> {
        if reasoning_tokens > self.output_tokens {
            return Err(UsageError::PartAboveWhole);
        }
        self.reasoning_tokens = reasoning_tokens;
        Ok(self)
    }

    /// With the input tokens that came from the server's cache, a part of the input.
    ///
    /// # Errors
    /// [`UsageError::PartAboveWhole`] where they exceed the input.
    pub const fn with_cached_input(mut self, cached_tokens: u64) -> Result<Self, UsageError> {
        if cached_tokens > self.input_tokens {
            return Err(UsageError::PartAboveWhole);
        }
        self.cached_input_tokens = cached_tokens;
        Ok(self)
    }

    /// With the cost that the server reported.
    #[must_use]
    pub const fn with_cost(mut self, cost: Money) -> Self {
        self.cost = Some(cost);
        self
    }

    /// With another certainty.
    #[must_use]
    pub const fn with_certainty(mut self, certainty: Certainty) -> Self {
        self.certainty = certainty;
        self
    }

    /// Tokens of the prompt, cached ones included.
    pub const fn input_tokens(&self) -> u64 {
        self.input_tokens
    }

    /// Tokens generated, reasoning included: total less input.
    pub const fn output_tokens(&self) -> u64 {
        self.output_tokens
    }

    /// Tokens of reasoning, a part of [`Usage::output_tokens`].
    pub const fn reasoning_tokens(&self) -> u64 {
        self.reasoning_tokens
    }

    /// Tokens of the prompt that came from the cache, a part of [`Usage::input_tokens`].
    pub const fn cached_input_tokens(&self) -> u64 {
        self.cached_input_tokens
    }

    /// Input and output together, which is what token limits count.
    pub const fn total_tokens(&self) -> u64 {
        self.input_tokens + self.output_tokens
    }

    /// The cost that the server reported, if it did.
    pub const fn cost(&self) -> Option<Money> {
        self.cost
    }

    /// How sure this is.
    pub const fn certainty(&self) -> Certainty {
        self.certainty
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TotalBelowInput => "the reported total is below the reported input",
            Self::PartAboveWhole => "a reported part is larger than its whole",
            Self::Absurd => "a reported number of tokens is absurdly large",
        })
    }
}

impl std::error::Error for UsageError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_contradict_each_other_are_refused() {
        assert_eq!(Usage::new(10, 9), Err(UsageError::TotalBelowInput));
        assert_eq!(Usage::new(1, u64::MAX), Err(UsageError::Absurd));
        let usage = Usage::new(10, 15).expect("consistent");
        assert_eq!(usage.with_reasoning(6), Err(UsageError::PartAboveWhole));
        assert_eq!(usage.with_cached_input(11), Err(UsageError::PartAboveWhole));
    }

    #[test]
    fn zero_is_a_usage() {
        let usage = Usage::new(0, 0).expect("zero is legal");
        assert_eq!((usage.total_tokens(), usage.certainty()), (0, Certainty::Exact));
    }
}
