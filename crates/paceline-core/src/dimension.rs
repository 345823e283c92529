//! What is counted.

use std::fmt;

/// One thing a limit counts, each in its own unit.
///
/// A closed, small set (at most [`Dimension::COUNT`]), so that a demand needs no allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Dimension {
    /// Calls.
    Requests,
    /// Tokens of the prompt, cached ones included.
    InputTokens,
    /// Tokens generated, visible and reasoning.
    OutputTokens,
    /// Input and output tokens together.
    TotalTokens,
    /// Calls that have been admitted and not yet settled.
    InFlight,
    /// Money, in ticks of 10⁻¹⁰ US dollars ([`Money`](crate::Money)).
    Money,
    /// The user's own, number 0 to 3: see [`Dimension::custom`].
    Custom(
        /// Which of the user's own, 0 to 3.
        CustomDimension,
    ),
}

/// The number of a user's own dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[expect(clippy::exhaustive_enums, reason = "the set is closed: it sizes every demand")]
pub enum CustomDimension {
    /// Number 0.
    A,
    /// Number 1.
    B,
    /// Number 2.
    C,
    /// Number 3.
    D,
}

impl Dimension {
    /// How many dimensions there are.
    pub const COUNT: usize = 10;

    /// Every dimension, in the order of [`Dimension::index`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::Requests,
        Self::InputTokens,
        Self::OutputTokens,
        Self::TotalTokens,
        Self::InFlight,
        Self::Money,
        Self::Custom(CustomDimension::A),
        Self::Custom(CustomDimension::B),
        Self::Custom(CustomDimension::C),
        Self::Custom(CustomDimension::D),
    ];

    /// A dimension of the user's own; `N` is 0 to 3, checked when it is compiled.
    ///
    /// ```
    /// use paceline_core::Dimension;
    /// const READ_UNITS: Dimension = Dimension::custom::<0>();
    /// assert_ne!(READ_UNITS, Dimension::custom::<1>());
    /// ```
    pub const fn custom<const N: usize>() -> Self {
        const { assert!(N < 4, "a custom dimension is numbered 0 to 3") };
        match N {
            0 => Self::Custom(CustomDimension::A),
            1 => Self::Custom(CustomDimension::B),
            2 => Self::Custom(CustomDimension::C),
            _ => Self::Custom(CustomDimension::D),
        }
    }

    /// Its place in [`Dimension::ALL`].
    #[inline]
    pub const fn index(self) -> usize {
        match self {
            Self::Requests => 0,
            Self::InputTokens => 1,
            Self::OutputTokens => 2,
            Self::TotalTokens => 3,
            Self::InFlight => 4,
            Self::Money => 5,
            Self::Custom(CustomDimension::A) => 6,
            Self::Custom(CustomDimension::B) => 7,
            Self::Custom(CustomDimension::C) => 8,
            Self::Custom(CustomDimension::D) => 9,
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::InputTokens => "input tokens",
            Self::OutputTokens => "output tokens",
            Self::TotalTokens => "tokens",
            Self::InFlight => "calls in flight",
            Self::Money => "money",
            Self::Custom(CustomDimension::A) => "custom 0",
            Self::Custom(CustomDimension::B) => "custom 1",
            Self::Custom(CustomDimension::C) => "custom 2",
            Self::Custom(CustomDimension::D) => "custom 3",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_and_order_agree() {
        for (place, dimension) in Dimension::ALL.into_iter().enumerate() {
            assert_eq!(dimension.index(), place);
        }
    }
}
