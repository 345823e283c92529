//! Money as integers: ticks of 10⁻¹⁰ US dollars, the unit in which xAI reports costs.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub};

/// An amount of money in ticks; 1 US dollar is 10¹⁰ ticks.
///
/// 128 bits, so that no sum of real costs overflows; arithmetic saturates all the same. The form
/// on display has cents from one dollar up and three significant digits below.
///
/// ```
/// use paceline_core::Money;
/// let call = Money::from_ticks(3_206_000);
/// assert_eq!(call.to_string(), "$0.000321");
/// assert_eq!([call, call].into_iter().sum::<Money>().as_ticks(), 6_412_000);
/// assert_eq!(Money::from_usd(18).to_string(), "$18.00");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Money(i128);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// How many ticks make one US dollar.
    pub const TICKS_PER_USD: i128 = 10_000_000_000;

    /// So many ticks.
    pub const fn from_ticks(ticks: i128) -> Self {
        Self(ticks)
    }

    /// So many whole US dollars.
    pub const fn from_usd(dollars: i64) -> Self {
        Self(dollars as i128 * Self::TICKS_PER_USD)
    }

    /// In ticks.
    pub const fn as_ticks(self) -> i128 {
        self.0
    }

    /// In ticks, as a limit counts them: below zero is 0, above `u64::MAX` is `u64::MAX`.
    pub fn as_amount(self) -> u64 {
        u64::try_from(self.0.max(0)).unwrap_or(u64::MAX)
    }

    /// In US dollars, rounded as floating point rounds. For display and reports, never for sums.
    pub fn to_usd_lossy(self) -> f64 {
        // Whole dollars and the rest apart, so that large amounts keep their cents.
        let whole = self.0 / Self::TICKS_PER_USD;
        let rest = self.0 % Self::TICKS_PER_USD;
        whole as f64 + rest as f64 / Self::TICKS_PER_USD as f64
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Money {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Money {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let ticks = self.0.unsigned_abs();
        // Ten digits stand behind the point; keep two, or enough for three significant ones.
        let mut digits = 2;
        if ticks > 0 {
            let leading = 10_u32.saturating_sub(ticks.ilog10() + 1);
            digits = if ticks >= 10_000_000_000 { 2 } else { (leading + 3).min(10) };
        }
        let unit = 10_u128.pow(10 - digits);
        let rounded = ticks.saturating_add(unit / 2) / unit;
        let scale = 10_u128.pow(digits);
        let (whole, rest) = (rounded / scale, rounded % scale);
        write!(f, "{sign}${whole}.{rest:0width$}", width = digits as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ticks: i128, shown: &str) {
        assert_eq!(Money::from_ticks(ticks).to_string(), shown);
    }

    #[test]
    fn three_digits_below_a_dollar_and_cents_above() {
        check(0, "$0.00");
        check(1, "$0.0000000001");
        check(3_206_000, "$0.000321");
        check(5_000_000_000, "$0.500");
        check(12_345_600_000, "$1.23");
        check(-12_345_600_000, "-$1.23");
        check(9_999_999_999, "$1.000");
        check(i128::MAX, "$17014118346046923173168730371.59");
    }

    #[test]
    fn sums_saturate() {
        let most = Money::from_ticks(i128::MAX);
        assert_eq!(most + most, most);
        assert_eq!((-most - most).as_ticks(), i128::MIN);
        assert_eq!(most.as_amount(), u64::MAX);
        assert_eq!((-most).as_amount(), 0);
    }
}
