//! A small generator of pseudo-random numbers, for moments that have to vary and be repeatable.
//!
//! It is no source of secrets. Invariant: the same seed gives the same numbers everywhere.

use std::time::Duration;

/// SplitMix64, as published by Steele, Lea and Flood (2014).
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A whole number of milliseconds from `shortest`, below `longest`.
    pub(super) fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        let span = longest.saturating_sub(shortest).as_millis().max(1);
        let extra = u128::from(self.next()) % span;
        shortest + Duration::from_millis(u64::try_from(extra).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_generator() {
        let mut chance = Chance::new(1_234_567);
        let numbers = [chance.next(), chance.next(), chance.next()];
        assert_eq!(
            numbers,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn a_moment_lies_within_its_bounds_and_they_vary() {
        let (shortest, longest) = (Duration::from_millis(100), Duration::from_millis(900));
        let mut chance = Chance::new(7);
        let moments: Vec<_> = (0..200).map(|_| chance.between(shortest, longest)).collect();
        assert!(moments.iter().all(|moment| (shortest..longest).contains(moment)));
        assert!(moments.iter().any(|moment| *moment < Duration::from_millis(300)));
        assert!(moments.iter().any(|moment| *moment > Duration::from_millis(700)));
    }
}
