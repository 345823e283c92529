//! A pacer for many keys at a rate that never changes: the rate stands once, and a key's own part is
//! an arrival time and what was given back.
//!
//! The rule is that of [`Pacer`](crate::pacer::Pacer), in the same fractions of a nanosecond, so that
//! nothing is rounded here either. Invariant: what it decides for a key is what a pacer of the key's
//! own would.

use std::time::Duration;

use paceline_core::{Actual, Amount, Demand, Instant, LimitKey};

use crate::limit::{ChargeRule, Limit, Pacing};
use crate::pacer::Rate;
use crate::snapshot::{Binds, LimitSnapshot};
use crate::state::Verdict;
use crate::window::MOST;

/// A limit of which only the pacer counts, as it is for every key.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// How early the arrival time may be met: a burst's time, and the tolerance.
    early: u128,
    /// The time that one unit takes: the period.
    unit: u64,
    /// The time that a nanosecond is: the amount.
    scale: u64,
    burst: u64,
    /// No demand may ask for more.
    most: u64,
    /// The index of its dimension.
    index: usize,
    /// Whose calls it counts; `None`: everybody's.
    key: Option<LimitKey>,
}

/// What a key has of its own. Nothing less than 128 bits holds either of them exactly: of 2^62 units
/// a year one takes 2^55 times as much as a nanosecond is made of 2^62 parts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrival {
    /// When everything charged so far has been worked off.
    at: u128,
    /// All time ever given back; it may wrap, because only differences count.
    refunded: u128,
}

/// What one charge did, so that it can be given back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Paced {
    /// The arrival time that this charge produced, and what had been given back by then: their
    /// sum, which may wrap.
    mark: u128,
    amount: u64,
}

impl Pace {
    /// `None` where a limit counts by more than its pacer.
    pub(super) fn of(limit: &Limit, rate: Option<Rate>) -> Option<Self> {
        let is_alone =
            limit.pacing() == Pacing::Bucket && limit.rule() != ChargeRule::WhileInFlight;
        let rate = rate.filter(|_| is_alone)?;
        let whole = |duration: Duration| u64::try_from(duration.as_nanos()).ok();
        let unit = whole(rate.period)?.clamp(1, LONGEST);
        let scale = rate.amount.get().min(MOST);
        let burst = rate.burst.get();
        let tolerance = whole(rate.tolerance)?.min(LONGEST);
        let key = limit.key();
        Some(Self {
            early: u128::from(burst) * u128::from(unit) + u128::from(tolerance) * u128::from(scale),
            unit,
            scale,
            burst,
            most: limit.quota().limit().get(),
            index: limit.dimension().index(),
            key: (*key != LimitKey::All).then(|| key.clone()),
        })
    }

    /// What a demand asks of it, if it counts that.
    #[inline]
    pub(super) fn asked(&self, demand: &Demand) -> Option<Amount> {
        let counts = self.key.as_ref().is_none_or(|key| demand.is_counted_by(key));
        if counts { demand.amount_at(self.index) } else { None }
    }

    /// What a call used of it, where that is known.
    #[inline]
    pub(super) const fn actual(&self, actual: &Actual) -> Option<u64> {
        actual.amount_at(self.index)
    }

    /// Whether `amount` fits now. More than the burst does once that is whole, and leaves a debt.
    #[inline]
    pub(super) fn fits(&self, own: &Arrival, amount: Amount, now: Instant) -> bool {
        let cost = self.cost(amount.expected_amount().min(self.burst));
        amount.upper_amount() <= self.most && own.at + cost <= self.time(now) + self.early
    }

    /// Charges `amount`, fitting or not, and says what it did.
    #[inline]
    pub(super) fn charge(&self, own: &mut Arrival, amount: Amount, now: Instant) -> Paced {
        let amount = amount.expected_amount();
        self.add(own, amount, now);
        Paced { mark: own.at.wrapping_add(own.refunded), amount }
    }

    /// Corrects a charge to what was used: gives back what time has not given back already, or
    /// takes the overrun as debt.
    pub(super) fn settle(&self, own: &mut Arrival, paced: &Paced, actual: u64, now: Instant) {
        let Some(unused) = paced.amount.checked_sub(actual) else {
            return self.add(own, actual - paced.amount, now);
        };
        let time = self.time(now);
        // Its arrival time without what has been given back since; below zero where that was more.
        let left = paced.mark.wrapping_sub(own.refunded) as i128 - time as i128;
        if left > 0 {
            let refund = self.cost(unused).min(left as u128).min(own.at.saturating_sub(time));
            own.at -= refund;
            own.refunded = own.refunded.wrapping_add(refund);
        }
    }

    /// Whether `amount` fits now, and if not, when.
    pub(super) fn verdict(&self, own: &Arrival, amount: Amount, now: Instant) -> Verdict {
        if amount.upper_amount() > self.most {
            return Verdict::Never;
        }
        // Not by when it fits: at the end of all time that is now, and it does not.
        if self.fits(own, amount, now) {
            return Verdict::Fits;
        }
        Verdict::NotUntil(Some(self.fits_at(own, amount.expected_amount())))
    }

    /// Whether nothing is charged that is not worked off.
    pub(super) fn is_idle(&self, own: &Arrival, now: Instant) -> bool {
        own.at <= self.time(now)
    }

    /// A key's part of the limit, which it shows as a fresh key has it.
    pub(super) fn show(&self, own: &Arrival, fresh: LimitSnapshot, now: Instant) -> LimitSnapshot {
        let next_free_at = Some(self.fits_at(own, 1)).filter(|at| *at > now);
        LimitSnapshot {
            used: u64::try_from(self.owed(own, now)).unwrap_or(u64::MAX),
            free: self.free(own, now),
            next_free_at,
            binds: next_free_at.map(|_| Binds::Pace),
            ..fresh
        }
    }

    /// What is charged and not worked off, in units, rounded up.
    fn owed(&self, own: &Arrival, now: Instant) -> u128 {
        own.at.saturating_sub(self.time(now)).div_ceil(u128::from(self.unit))
    }

    /// The most that fits now without leaving a debt, rounded down.
    fn free(&self, own: &Arrival, now: Instant) -> u64 {
        let free = (self.time(now) + self.early).saturating_sub(own.at) / u128::from(self.unit);
        u64::try_from(free).map_or(self.burst, |free| free.min(self.burst))
    }

    /// The first moment at which `amount` fits, rounded up to a nanosecond.
    fn fits_at(&self, own: &Arrival, amount: u64) -> Instant {
        let at = (own.at + self.cost(amount.min(self.burst))).saturating_sub(self.early);
        let nanos = at.div_ceil(u128::from(self.scale));
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Moves the arrival time by what `amount` takes, from now on at the earliest.
    #[inline]
    fn add(&self, own: &mut Arrival, amount: u64, now: Instant) {
        let at = own.at.max(self.time(now)) + self.cost(amount);
        own.at = if at < END { at } else { end() };
    }

    /// What one unit takes times the amount: below 2^124.
    #[inline]
    fn cost(&self, amount: u64) -> u128 {
        u128::from(amount) * u128::from(self.unit)
    }

    /// At most 2^126.
    #[inline]
    fn time(&self, at: Instant) -> u128 {
        u128::from(at.as_nanos()) * u128::from(self.scale)
    }
}

/// [`END`], where hardly anybody comes.
#[cold]
const fn end() -> u128 {
    END
}

/// The longest period, 36 years; a window is a year at most.
const LONGEST: u64 = 1 << 60;

/// A time that never comes; what one charge takes can be added to it.
const END: u128 = 1 << 126;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use paceline_core::{Dimension, Quota};
    use proptest::prelude::*;

    use super::*;
    use crate::pacer::Pacer;

    fn limit(amount: u64, period: u64) -> Limit {
        let amount = NonZeroU64::new(amount).expect("not zero");
        let quota = Quota::per(amount, Duration::from_nanos(period)).expect("a window");
        Limit::new(LimitKey::All, Dimension::Requests, quota).paced(Pacing::Bucket)
    }

    /// What one step does: charge or settle so much, so long after the one before.
    type Step = (bool, u64, u64, u64);

    fn step() -> impl Strategy<Value = Step> {
        let amount = prop_oneof![0..9_u64, 0..1_u64 << 40, any::<u64>()];
        let passed = prop_oneof![Just(0), 0..2_000_000_000_u64, 0..1_u64 << 60];
        (any::<bool>(), amount.clone(), amount, passed)
    }

    proptest! {
        /// A pacer of the key's own, which remembers more, says and shows the same.
        #[test]
        fn it_decides_as_a_pacer_of_the_key_would(
            amount in prop_oneof![1..50_u64, 1..=MOST],
            period in prop_oneof![Just(1_000_000_000_u64), 1..366 * 86_400 * 1_000_000_000_u64],
            steps in prop::collection::vec(step(), 1..60),
        ) {
            let limit = limit(amount, period);
            let rate = limit.rate(Duration::ZERO).expect("a bucket has one");
            let pace = Pace::of(&limit, Some(rate)).expect("only its pacer counts");
            let (mut pacer, mut own, mut now) = (Pacer::new(rate), Arrival::default(), 0_u64);
            let mut calls = Vec::new();
            for (charges, units, actual, passed) in steps {
                now = now.saturating_add(passed);
                let at = Instant::from_nanos(now);
                if !charges && !calls.is_empty() {
                    let (theirs, ours) = calls.swap_remove(actual as usize % calls.len());
                    pacer.settle(&theirs, units, at);
                    pace.settle(&mut own, &ours, units, at);
                } else if units <= amount {
                    let asked = Amount::exact(units);
                    let conforms = pacer.conforms(units, at);
                    prop_assert_eq!(pace.fits(&own, asked, at), conforms);
                    let until = pacer.conforms_at(units);
                    let verdict = if conforms { Verdict::Fits } else { Verdict::NotUntil(Some(until)) };
                    prop_assert_eq!(pace.verdict(&own, asked, at), verdict);
                    if conforms {
                        let theirs = pacer.charge(units, at);
                        calls.push((theirs, pace.charge(&mut own, asked, at)));
                    }
                } else {
                    prop_assert_eq!(pace.verdict(&own, Amount::exact(units), at), Verdict::Never);
                }
                prop_assert_eq!(pace.is_idle(&own, at), pacer.owed(at) == 0);
                prop_assert_eq!(pace.fits_at(&own, 1), pacer.conforms_at(1));
                let fits = (pace.free(&own, at), pace.owed(&own, at));
                prop_assert_eq!(fits, (pacer.free(at), pacer.owed(at)));
            }
        }
    }

    #[test]
    fn what_does_not_fit_at_the_end_of_time_does_not_fit() {
        let limit = limit(5, 1_000_000_000);
        let rate = limit.rate(Duration::ZERO).expect("a bucket has one");
        let pace = Pace::of(&limit, Some(rate)).expect("only its pacer counts");
        let (mut own, one) = (Arrival::default(), Amount::exact(1));
        pace.add(&mut own, 1 << 40, Instant::MAX);
        assert!(!pace.fits(&own, one, Instant::MAX));
        assert_eq!(pace.verdict(&own, one, Instant::MAX), Verdict::NotUntil(Some(Instant::MAX)));
    }

    #[test]
    fn a_limit_that_counts_by_more_than_its_pacer_has_no_pace() {
        let bucket = limit(9, 1_000);
        let of = |limit: &Limit| Pace::of(limit, limit.rate(Duration::ZERO));
        assert!(of(&bucket).is_some());
        assert!(of(&bucket.clone().paced(Pacing::Even)).is_none());
        assert!(of(&bucket.charged(ChargeRule::WhileInFlight)).is_none());
    }
}
