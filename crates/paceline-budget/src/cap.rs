//! A spending cap, as a limit that does not come back.
//!
//! It counts nothing itself: it states the limit that an admission keeps, so that money is
//! reserved in the same decision as everything else.

use std::num::NonZeroU64;

use paceline_core::{Dimension, LimitKey, Money, Observation, Quota};

/// The most that may be spent.
///
/// ```
/// use paceline_budget::SpendingCap;
/// use paceline_core::{LimitKey, Money};
/// let cap = SpendingCap::new(Money::from_usd(40), LimitKey::All)?;
/// assert_eq!(cap.amount(), Money::from_usd(40));
/// # Ok::<(), paceline_budget::CapError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendingCap {
    ticks: NonZeroU64,
    scope: LimitKey,
}

/// Why a cap can't be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CapError {
    /// Nothing could ever be spent.
    #[error("a spending cap is more than $0.00")]
    NotAboveZero,
    /// More than can be counted: some 1.8 billion US dollars.
    #[error("a spending cap is below $1,844,674,407.37")]
    TooMuch,
}

impl SpendingCap {
    /// At most this much for the calls of a scope; an alias stands for its model.
    ///
    /// # Errors
    /// [`CapError`] where it is not above zero or can't be counted.
    pub fn new(most: Money, scope: LimitKey) -> Result<Self, CapError> {
        if most <= Money::ZERO {
            return Err(CapError::NotAboveZero);
        }
        let ticks = u64::try_from(most.as_ticks()).map_err(|_| CapError::TooMuch)?;
        let ticks = NonZeroU64::new(ticks).ok_or(CapError::NotAboveZero)?;
        Ok(Self { ticks, scope: crate::tiers::canonical_key(scope) })
    }

    /// The most that may be spent.
    pub fn amount(&self) -> Money {
        Money::from_ticks(self.ticks.get().into())
    }

    /// What an admission has to be told to keep it.
    pub fn observation(&self) -> Observation {
        let quota = Quota::once(self.ticks);
        Observation::Stated { key: self.scope.clone(), dimension: Dimension::Money, quota }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_less_are_no_caps() {
        let cap = |ticks| SpendingCap::new(Money::from_ticks(ticks), LimitKey::All);
        assert_eq!(cap(0), Err(CapError::NotAboveZero));
        assert_eq!(cap(-5), Err(CapError::NotAboveZero));
        assert_eq!(cap(i128::MAX), Err(CapError::TooMuch));
        let quota = Quota::once(NonZeroU64::MIN);
        assert_eq!(
            cap(1).map(|cap| cap.observation()),
            Ok(Observation::Stated { key: LimitKey::All, dimension: Dimension::Money, quota })
        );
    }
}
