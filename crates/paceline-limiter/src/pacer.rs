//! A pacer: the generic cell rate algorithm with amounts, refunds and debt.
//!
//! It spaces what a rolling window alone would let through at once. At a rate of `amount` per
//! `period` time is kept in fractions of 1/amount ns, of which one unit takes exactly `period`: nothing
//! is rounded but a wait, up, and what an old charge can give back at a new rate, down.
//!
//! Rule: ITU-T I.371 (virtual scheduling), with one theoretical arrival time for amounts above 1.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::Instant;

use crate::window::MOST;

/// One theoretical arrival time.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    /// How early the arrival time may be met: a burst's time, and the tolerance.
    early: u128,
    /// When everything charged so far has been worked off.
    arrival: u128,
    /// The arrival time before the last charge.
    before: u128,
    /// All time ever given back; it may wrap, because only differences count.
    refunded: u128,
    /// The time that one unit takes: the period.
    unit: u64,
    /// The time that a nanosecond is: the amount.
    scale: u64,
    burst: u64,
    /// Which rate this is.
    epoch: u32,
    /// What no decision needs, kept elsewhere.
    rates: Box<Rates>,
}

/// The rate as it was stated, and those before it.
#[derive(Clone, Debug)]
struct Rates {
    now: Rate,
    /// The last ones, so that a charge of theirs can still be given back.
    past: VecDeque<Past>,
}

/// `amount` per `period`, at most `burst` at once, `tolerance` early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) amount: NonZeroU64,
    pub(crate) period: Duration,
    pub(crate) burst: NonZeroU64,
    pub(crate) tolerance: Duration,
}

/// A rate that was, at the moment when it ended.
#[derive(Clone, Debug)]
struct Past {
    epoch: u32,
    unit: u64,
    /// The moment in time of the old rate and of the next one.
    ended: u128,
    began: u128,
    refunded: u128,
}

/// What one charge did, so that it can be given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paced {
    /// The arrival time that this charge produced, and what had been given back by then: their
    /// sum, which may wrap.
    mark: u128,
    amount: u64,
    epoch: u32,
}

impl Paced {
    /// What it was charged.
    pub(crate) const fn amount(&self) -> u64 {
        self.amount
    }
}

impl Pacer {
    /// A pacer at rest: a whole burst is free.
    pub(crate) fn new(rate: Rate) -> Self {
        let mut pacer = Self {
            early: 0,
            arrival: 0,
            before: 0,
            refunded: 0,
            unit: 0,
            scale: 1,
            burst: 0,
            epoch: FIRST,
            rates: Box::new(Rates { now: rate, past: VecDeque::new() }),
        };
        pacer.set_units(rate);
        pacer
    }

    /// Whether `amount` conforms at `now`. More than the burst does once the burst is whole, and
    /// leaves a debt.
    #[inline]
    pub(crate) fn conforms(&self, amount: u64, now: Instant) -> bool {
        self.arrival + self.cost(amount.min(self.burst)) <= self.time(now) + self.early
    }

    /// The first moment at which `amount` conforms, rounded up to a nanosecond.
    pub(crate) fn conforms_at(&self, amount: u64) -> Instant {
        let at = (self.arrival + self.cost(amount.min(self.burst))).saturating_sub(self.early);
        let nanos = at.div_ceil(u128::from(self.scale));
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Charges `amount` if it conforms at `now`, and writes down what it did: there, because what is
    /// written in two halves and read as one a moment later stalls. `false`, and nothing has changed,
    /// where it does not.
    #[inline(always)]
    pub(crate) fn try_charge(&mut self, amount: u64, now: Instant, paced: &mut Paced) -> bool {
        if amount > self.burst {
            return self.try_debt(amount, now, paced);
        }
        let (time, cost) = (self.time(now), self.cost(amount));
        if self.arrival + cost > time + self.early {
            return false;
        }
        *paced = self.add(time, cost, amount);
        true
    }

    #[cold]
    fn try_debt(&mut self, amount: u64, now: Instant, paced: &mut Paced) -> bool {
        let conforms = self.conforms(amount, now);
        if conforms {
            *paced = self.charge(amount, now);
        }
        conforms
    }

    /// Charges `amount` at `now`, conforming or not.
    pub(crate) fn charge(&mut self, amount: u64, now: Instant) -> Paced {
        self.add(self.time(now), self.cost(amount), amount)
    }

    /// Takes back the last charge as if it had never been; nothing else may have come between.
    #[inline]
    pub(crate) fn undo(&mut self) {
        self.arrival = self.before;
    }

    /// The next one of the same limit: what an earlier one charged it does not give back.
    pub(crate) fn of_epoch(mut self, epoch: u32) -> Self {
        self.epoch = epoch.max(FIRST);
        self
    }

    /// Which rate this is, of all that its limit has had.
    pub(crate) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Corrects a charge to what was used: gives back what time has not given back already, or
    /// takes the overrun as debt.
    #[inline]
    pub(crate) fn settle(&mut self, paced: &Paced, actual: u64, now: Instant) {
        if actual > paced.amount {
            if paced.epoch == NOT_PACED {
                return;
            }
            self.owe(actual - paced.amount, now);
            return;
        }
        if actual == paced.amount {
            return;
        }
        let unused = self.cost(paced.amount - actual);
        let Some(mark) = self.mark(paced) else { return };
        // Its arrival time without what has been given back since; below zero where that was more.
        let arrival = mark.wrapping_sub(self.refunded) as i128;
        let left = arrival - self.time(now) as i128;
        if left > 0 {
            // A cut of the burst may have left less than the charge had.
            let owed = self.arrival.saturating_sub(self.time(now));
            let refund = unused.min(left as u128).min(owed);
            self.arrival -= refund;
            self.refunded = self.refunded.wrapping_add(refund);
        }
    }

    /// Goes on at another rate: what is free now stays free, cut to the new burst; nothing more.
    pub(crate) fn set_rate(&mut self, rate: Rate, now: Instant) {
        if rate == self.rates.now {
            return;
        }
        let owed = self.arrival.saturating_sub(self.time(now));
        // In units of the old rate, and the rest of one.
        let old_unit = u128::from(self.unit);
        let (owed, rest) = (owed / old_unit, owed % old_unit);
        // What is free stays free: of another burst, so much more or less is owed.
        let more = i128::from(rate.burst.get()) - i128::from(self.rates.now.burst.get());
        let owed = i128::try_from(owed).unwrap_or(i128::MAX).saturating_add(more);
        let (epoch, unit, ended, refunded) = (self.epoch, self.unit, self.time(now), self.refunded);
        self.set_units(rate);
        self.epoch = self.epoch.wrapping_add(1).max(FIRST);
        self.refunded = 0;
        self.arrival = self.time(now);
        if self.rates.past.len() == PAST {
            self.rates.past.pop_front();
        }
        self.rates.past.push_back(Past { epoch, unit, ended, began: self.arrival, refunded });
        if let Ok(owed) = u128::try_from(owed) {
            let unit = u128::from(self.unit);
            let rest = (rest * unit).div_ceil(old_unit);
            let owed = owed.checked_mul(unit).map_or(END, |owed| owed.saturating_add(rest));
            self.arrival = self.arrival.saturating_add(owed).min(END);
        }
    }

    /// What a charge stands at in time of the present rate; `None` where it gives nothing back.
    #[inline]
    fn mark(&self, paced: &Paced) -> Option<u128> {
        if paced.epoch == self.epoch { Some(paced.mark) } else { self.carried(paced) }
    }

    /// The mark of a charge of an earlier rate, carried over from one to the next.
    #[cold]
    fn carried(&self, paced: &Paced) -> Option<u128> {
        let first = self.rates.past.iter().position(|past| past.epoch == paced.epoch)?;
        let mut mark = paced.mark;
        for (place, past) in self.rates.past.iter().enumerate().skip(first) {
            let left = mark.wrapping_sub(past.refunded).wrapping_sub(past.ended) as i128;
            let units = u128::try_from(left).ok()? / u128::from(past.unit);
            let unit = self.rates.past.get(place + 1).map_or(self.unit, |next| next.unit);
            mark = past.began + units.checked_mul(u128::from(unit))?.min(END);
        }
        Some(mark)
    }

    /// What is charged and not worked off, in units, rounded up.
    pub(crate) fn owed(&self, now: Instant) -> u128 {
        self.arrival.saturating_sub(self.time(now)).div_ceil(u128::from(self.unit))
    }

    /// The most that conforms now without leaving a debt, rounded down.
    pub(crate) fn free(&self, now: Instant) -> u64 {
        let free = (self.time(now) + self.early).saturating_sub(self.arrival);
        let free = free / u128::from(self.unit);
        u64::try_from(free).map_or(self.burst, |free| free.min(self.burst))
    }

    /// Charges so much that nobody settles.
    pub(crate) fn owe(&mut self, amount: u64, now: Instant) {
        self.charge(amount, now);
    }

    /// Moves the arrival time by a cost, from `time` on at the earliest.
    #[inline]
    fn add(&mut self, time: u128, cost: u128, amount: u64) -> Paced {
        self.before = self.arrival;
        let arrival = self.arrival.max(time) + cost;
        self.arrival = if arrival < END { arrival } else { end() };
        let mark = self.arrival.wrapping_add(self.refunded);
        Paced { mark, amount, epoch: self.epoch }
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

    fn set_units(&mut self, rate: Rate) {
        self.unit =
            u64::try_from(rate.period.as_nanos()).map_or(LONGEST, |unit| unit.clamp(1, LONGEST));
        self.scale = rate.amount.get().min(MOST);
        self.rates.now = rate;
        self.burst = rate.burst.get();
        let tolerance = u64::try_from(rate.tolerance.as_nanos()).unwrap_or(LONGEST).min(LONGEST);
        self.early = self.cost(self.burst) + u128::from(tolerance) * u128::from(self.scale);
    }
}

/// [`END`], where hardly anybody comes.
#[cold]
const fn end() -> u128 {
    END
}

/// The epoch of what no pacer charged, and that of the first pacer.
const NOT_PACED: u32 = 0;
const FIRST: u32 = 1;

/// The longest period, 36 years; a window is a year at most.
const LONGEST: u64 = 1 << 60;

/// A time that never comes; what one charge takes can be added to it.
const END: u128 = 1 << 126;

/// How many rates before the present one are remembered. A charge of an older one gives nothing
/// back.
const PAST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(amount: u64, burst: u64) -> Rate {
        let not_zero = |n| NonZeroU64::new(n).expect("not zero");
        Rate {
            amount: not_zero(amount),
            period: Duration::from_secs(1),
            burst: not_zero(burst),
            tolerance: Duration::ZERO,
        }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    /// Charges where it conforms; returns whether it did.
    fn take(pacer: &mut Pacer, amount: u64, millis: u64) -> bool {
        let conforms = pacer.conforms(amount, at(millis));
        assert_eq!(conforms, pacer.conforms_at(amount) <= at(millis));
        if conforms {
            pacer.charge(amount, at(millis));
        }
        conforms
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut pacer = Pacer::new(rate(10, 3));
        let grants = [0, 0, 0, 0, 99, 100, 100, 200].map(|now| take(&mut pacer, 1, now));
        assert_eq!(grants, [true, true, true, false, false, true, false, true]);
    }

    #[test]
    fn a_burst_is_whole_whatever_a_unit_takes() {
        for amount in [3, 7, 61, 999_999_937, 1 << 62] {
            let mut pacer = Pacer::new(rate(amount, 1_000));
            let burst = (0..2_000).take_while(|_| take(&mut pacer, 1, 5)).count();
            assert_eq!(burst, 1_000, "{amount} a second");
        }
    }

    #[test]
    fn more_than_the_burst_is_let_in_when_it_is_whole_and_paid_off_after() {
        let mut pacer = Pacer::new(rate(10, 3));
        assert!(take(&mut pacer, 1, 1_000));
        assert!(!take(&mut pacer, 8, 1_050));
        assert!(take(&mut pacer, 8, 1_100));
        // 8 take 800 ms; one conforms when two thirds of the burst are still owed.
        assert_eq!(pacer.conforms_at(1), at(1_700));
    }

    #[test]
    fn time_and_refund_never_give_back_the_same_twice() {
        let mut pacer = Pacer::new(rate(10, 4));
        let paced = pacer.charge(4, at(0));
        // Worked off by itself after 400 ms: nothing is left to give back.
        pacer.settle(&paced, 0, at(400));
        let grants: Vec<bool> = (0..5).map(|_| take(&mut pacer, 1, 400)).collect();
        assert_eq!(grants, [true, true, true, true, false]);
    }

    #[test]
    fn a_refund_at_once_gives_back_everything() {
        let mut pacer = Pacer::new(rate(7, 4));
        pacer.charge(1, at(0));
        let before = pacer.conforms_at(4);
        let paced = pacer.charge(4, at(0));
        assert!(!take(&mut pacer, 1, 0));
        pacer.settle(&paced, 0, at(0));
        assert_eq!(pacer.conforms_at(4), before);
    }

    #[test]
    fn an_overrun_is_a_debt() {
        let mut pacer = Pacer::new(rate(10, 4));
        let paced = pacer.charge(4, at(0));
        pacer.settle(&paced, 14, at(0));
        assert_eq!(pacer.conforms_at(1), at(1_100));
    }

    #[test]
    fn a_raise_mints_no_burst() {
        let mut pacer = Pacer::new(rate(10, 4));
        let old = pacer.charge(3, at(0));
        pacer.set_rate(rate(100, 40), at(0));
        assert!(take(&mut pacer, 1, 0) && !take(&mut pacer, 1, 0));
        // It refills at the new rate.
        assert_eq!(pacer.conforms_at(1), at(10));
        // What a charge of the old rate did not use comes back, and no more.
        pacer.settle(&old, 0, at(0));
        let free = (0..50).take_while(|_| take(&mut pacer, 1, 0)).count();
        assert_eq!(free, 3);
    }

    #[test]
    fn an_old_charge_is_settled_at_every_later_rate() {
        let mut pacer = Pacer::new(rate(10, 4));
        let old = pacer.charge(4, at(0));
        pacer.set_rate(rate(20, 8), at(100));
        pacer.set_rate(rate(5, 8), at(150));
        // One was free at 100 ms and two at 150 ms; of the charge 3 were left, and then 2.
        assert_eq!(pacer.owed(at(150)), 6);
        let mut other = pacer.clone();
        other.settle(&old, 0, at(150));
        assert_eq!(other.owed(at(150)), 4);
        // An overrun is a debt at whatever rate.
        pacer.settle(&old, 9, at(150));
        assert_eq!(pacer.owed(at(150)), 11);
        // A charge that is older than what is remembered gives nothing back.
        let mut pacer = Pacer::new(rate(10, 4));
        let old = pacer.charge(4, at(0));
        (0..=PAST as u64).for_each(|n| pacer.set_rate(rate(11 + n, 4), at(0)));
        pacer.settle(&old, 0, at(0));
        assert_eq!(pacer.owed(at(0)), 4);
    }

    #[test]
    fn a_cut_clamps_what_is_free() {
        let mut pacer = Pacer::new(rate(100, 40));
        pacer.set_rate(rate(10, 4), at(5_000));
        let free = (0..50).take_while(|_| take(&mut pacer, 1, 5_000)).count();
        assert_eq!(free, 4);
    }

    #[test]
    fn a_debt_stays_a_debt_at_another_rate() {
        let mut pacer = Pacer::new(rate(10, 4));
        pacer.charge(9, at(0));
        pacer.set_rate(rate(20, 8), at(0));
        assert_eq!(pacer.owed(at(0)), 13);
        assert_eq!(pacer.conforms_at(1), at(300));
    }

    #[test]
    fn the_slowest_and_the_fastest_rate_do_not_overflow() {
        let year = Duration::from_secs(366 * 86_400);
        let one = NonZeroU64::MIN;
        let slow = Rate { amount: one, period: year, burst: one, tolerance: Duration::ZERO };
        let mut pacer = Pacer::new(slow);
        assert!(take(&mut pacer, u64::MAX, 0));
        assert_eq!(pacer.conforms_at(1), Instant::MAX);
        let mut pacer = Pacer::new(rate(1 << 62, 1 << 62));
        assert!(take(&mut pacer, 1 << 62, 0));
        assert_eq!(pacer.conforms_at(1 << 62), at(1_000));
        // At so slow a rate, a year is a year.
        let mut pacer = Pacer::new(slow);
        assert!(take(&mut pacer, 1, 0) && !take(&mut pacer, 1, 0));
        assert_eq!(pacer.conforms_at(1), Instant::from_nanos(366 * 86_400 * 1_000_000_000));
        // However much is charged, the arrival time stays in range.
        let mut pacer = Pacer::new(slow);
        for _ in 0..1_000 {
            pacer.charge(u64::MAX, at(0));
        }
        assert_eq!(pacer.arrival, END);
    }
}
