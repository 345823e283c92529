//! Two exact ledgers of what may be admitted: credit in the long run, and a bound on its pace.
//!
//! Neither looks at what the server counts. Invariants: integers only; what time gives is given
//! once; what is given back was taken before.

/// Long-run credit: refilled at the limit a window, may fall into debt, holds two limits at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credit {
    /// In units times nanoseconds of the window times [`Credit::WHOLE`].
    level: i128,
    at: u64,
    rates: Rates,
    /// How much of the refill is given, in parts of [`Credit::WHOLE`].
    factor: u32,
    /// What it holds at most.
    most: i128,
}

/// A bucket that leaks at four limits a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peak {
    /// In units times nanoseconds of the window.
    level: u128,
    at: u64,
    rates: Rates,
}

/// A limit and its window in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) limit: u64,
    pub(super) window: u64,
}

impl Credit {
    /// A full refill, in parts.
    pub(super) const WHOLE: u32 = 1 << 16;

    /// Starts with this much.
    pub(super) fn new(rates: Rates, start: u64, now: u64) -> Self {
        let mut credit = Self { level: 0, at: now, rates, factor: Self::WHOLE, most: most(rates) };
        credit.give(start);
        credit
    }

    /// Takes in the time that has passed.
    pub(super) fn advance(&mut self, now: u64) {
        self.refill(now.saturating_sub(self.at));
        self.at = self.at.max(now);
    }

    /// What so many nanoseconds give.
    pub(super) fn refill(&mut self, passed: u64) {
        let parts = u128::from(passed) * u128::from(self.factor);
        let refill = product(self.rates.limit, parts);
        self.level = self.level.saturating_add(refill).min(self.most);
    }

    /// When there is credit again; `None` where there is now. [`Credit::advance`] comes first.
    pub(super) fn opens_at(&self) -> Option<u64> {
        if self.level > 0 {
            return None;
        }
        let rate = u128::from(self.rates.limit.max(1)) * u128::from(self.factor.max(1));
        let wait = self.level.unsigned_abs() / rate + 1;
        Some(self.at.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    pub(super) fn take(&mut self, amount: u64) {
        self.level = self.level.saturating_sub(self.scaled(amount));
    }

    pub(super) fn give(&mut self, amount: u64) {
        self.level = self.level.saturating_add(self.scaled(amount)).min(self.most);
    }

    /// Another limit: nothing is minted, and what is above the new most is lost.
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.rates.limit = limit;
        self.most = most(self.rates);
        self.level = self.level.min(self.most);
    }

    pub(super) fn set_factor(&mut self, factor: u32) {
        self.factor = factor.min(Self::WHOLE);
    }

    /// In whole units, rounded down.
    pub(super) fn level(&self) -> i128 {
        self.level.div_euclid(self.scaled(1).max(1))
    }

    pub(super) fn set_level(&mut self, units: i128) {
        self.level = units.saturating_mul(self.scaled(1)).min(self.most);
    }

    /// Begins with so many units; returns by how much that is less than before, in its own units.
    pub(super) fn begin(&mut self, units: i128) -> i128 {
        let before = self.level;
        self.set_level(units);
        before.saturating_sub(self.level)
    }

    /// Takes back what [`Credit::begin`] returned.
    pub(super) fn unbegin(&mut self, less: i128) {
        self.level = self.level.saturating_add(less).min(self.most);
    }

    fn scaled(&self, amount: u64) -> i128 {
        product(amount, unit(self.rates))
    }
}

impl Peak {
    pub(super) const fn new(rates: Rates, now: u64) -> Self {
        Self { level: 0, at: now, rates }
    }

    pub(super) fn advance(&mut self, now: u64) {
        let passed = u128::from(now.saturating_sub(self.at));
        let leaked = (u128::from(self.rates.limit) * TIMES).saturating_mul(passed);
        self.level = self.level.saturating_sub(leaked);
        self.at = self.at.max(now);
    }

    /// When no more than `burst` is in it; `None` where that is so. [`Peak::advance`] comes first.
    pub(super) fn opens_at(&self, burst: u64) -> Option<u64> {
        let over = self.level.checked_sub(self.scaled(burst)).filter(|over| *over > 0)?;
        let wait = over.div_ceil((u128::from(self.rates.limit) * TIMES).max(1));
        Some(self.at.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    pub(super) fn take(&mut self, amount: u64) {
        self.level = self.level.saturating_add(self.scaled(amount));
    }

    pub(super) fn give(&mut self, amount: u64) {
        self.level = self.level.saturating_sub(self.scaled(amount));
    }

    pub(super) fn set_limit(&mut self, limit: u64) {
        self.rates.limit = limit;
    }

    fn scaled(&self, amount: u64) -> u128 {
        u128::from(amount) * u128::from(self.rates.window)
    }
}

/// What a unit is in the credit's level.
fn unit(rates: Rates) -> u128 {
    u128::from(rates.window) * u128::from(Credit::WHOLE)
}

fn most(rates: Rates) -> i128 {
    product(rates.limit, unit(rates)).saturating_mul(MOST_LIMITS)
}

/// Saturating, and quick where it is far from that, which it nearly always is.
#[inline]
fn product(amount: u64, factor: u128) -> i128 {
    // 48 and 79 bits make 127, which leaves the sign.
    if amount >> 48 == 0 && factor >> 79 == 0 {
        return (u128::from(amount) * factor) as i128;
    }
    let product = u128::from(amount).saturating_mul(factor);
    i128::try_from(product).unwrap_or(i128::MAX)
}

/// Credit holds so many limits: one loses use after a lull, more gains nothing.
const MOST_LIMITS: i128 = 2;

/// How many times the long-run rate the peak is: twice loses use, more gains none.
const TIMES: u128 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_leaks_at_four_limits_a_window_and_gives_back_what_was_taken() {
        let mut peak = Peak::new(Rates { limit: 1_000, window: 60_000 }, 0);
        assert_eq!(peak.opens_at(0), None);
        peak.take(1_000);
        // A limit is gone after a quarter of the window, and half of it after an eighth.
        assert_eq!((peak.opens_at(0), peak.opens_at(500)), (Some(15_000), Some(7_500)));
        assert_eq!(peak.opens_at(1_000), None);
        peak.advance(7_500);
        assert_eq!((peak.opens_at(0), peak.opens_at(500)), (Some(15_000), None));
        peak.take(300);
        peak.give(300);
        assert_eq!(peak.opens_at(0), Some(15_000));
        peak.give(5_000);
        assert_eq!(peak.opens_at(0), None, "never below empty");
        peak.take(1);
        assert_eq!(peak.opens_at(0), Some(7_515));
    }
}
