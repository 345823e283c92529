//! A pacer: the generic cell rate algorithm with amounts, refunds and debt.
//!
//! It spaces what a rolling window alone would let through at once. Time is kept in 1/65,536 ns,
//! charges are rounded up and refunds down, so that no sequence mints anything.
//!
//! Rule: ITU-T I.371 (virtual scheduling), with one theoretical arrival time for amounts above 1.

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::Instant;

/// One theoretical arrival time.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    rate: Rate,
    /// When everything charged so far has been worked off.
    arrival: u128,
    /// All time ever given back.
    refunded: u128,
    /// Which rate this is; charges made at another give nothing back.
    epoch: u32,
}

/// `amount` per `period`, at most `burst` at once, `tolerance` early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) amount: NonZeroU64,
    pub(crate) period: Duration,
    pub(crate) burst: NonZeroU64,
    pub(crate) tolerance: Duration,
}

/// What one charge did, so that it can be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paced {
    amount: u64,
    /// The arrival time that this charge produced.
    arrival: u128,
    /// What had been given back by then.
    refunded: u128,
    epoch: u32,
}

impl Pacer {
    /// A pacer at rest: a whole burst is free.
    pub(crate) const fn new(rate: Rate) -> Self {
        Self { rate, arrival: 0, refunded: 0, epoch: 0 }
    }

    /// When `amount` conforms: now or earlier means at once. More than the burst is let in once
    /// the burst is whole, and leaves a debt.
    pub(crate) fn conforms_at(&self, amount: u64) -> Instant {
        let burst = self.rate.burst.get();
        let early = self.rate.cost(burst) + fine(self.rate.tolerance);
        let needed = self.rate.cost(amount.min(burst));
        coarse_up((self.arrival + needed).saturating_sub(early))
    }

    /// Charges `amount` at `now`, conforming or not.
    pub(crate) fn charge(&mut self, amount: u64, now: Instant) -> Paced {
        self.arrival = self.arrival.max(fine_instant(now)) + self.rate.cost(amount);
        Paced { amount, arrival: self.arrival, refunded: self.refunded, epoch: self.epoch }
    }

    /// Corrects a charge to what was used: gives back what time has not given back already, or
    /// takes the overrun as debt.
    pub(crate) fn settle(&mut self, paced: Paced, actual: u64, now: Instant) {
        if paced.epoch != self.epoch {
            return;
        }
        if actual > paced.amount {
            let overrun = self.rate.cost(actual - paced.amount);
            self.arrival = self.arrival.max(fine_instant(now)) + overrun;
            return;
        }
        let unused = self.rate.cost_down(paced.amount - actual);
        let since = self.refunded - paced.refunded;
        let left = paced.arrival.saturating_sub(since).saturating_sub(fine_instant(now));
        let refund = unused.min(left);
        self.arrival -= refund;
        self.refunded += refund;
    }

    /// Goes on at another rate: what is free now stays free, cut to the new burst; nothing more.
    pub(crate) fn set_rate(&mut self, rate: Rate, now: Instant) {
        if rate == self.rate {
            return;
        }
        let backlog = self.arrival.saturating_sub(fine_instant(now));
        let owed = self.rate.amount_of(backlog);
        let burst = u128::from(self.rate.burst.get());
        let new_burst = u128::from(rate.burst.get());
        let owed_then = match burst.checked_sub(owed) {
            Some(free) => new_burst - free.min(new_burst),
            None => owed - burst + new_burst,
        };
        self.rate = rate;
        self.epoch = self.epoch.wrapping_add(1);
        let cost = self.rate.cost(u64::try_from(owed_then).unwrap_or(u64::MAX));
        self.arrival = fine_instant(now) + cost;
    }
}

impl Rate {
    /// The time that `amount` takes, rounded up.
    fn cost(&self, amount: u64) -> u128 {
        (u128::from(amount) * fine(self.period)).div_ceil(u128::from(self.amount.get()))
    }

    /// The time that `amount` takes, rounded down.
    fn cost_down(&self, amount: u64) -> u128 {
        u128::from(amount) * fine(self.period) / u128::from(self.amount.get())
    }

    /// The amount that takes this time, rounded up.
    fn amount_of(&self, time: u128) -> u128 {
        // A backlog is bounded by what was charged, so the product fits: 2^64 amounts of 2^50 ns.
        time.saturating_mul(u128::from(self.amount.get())).div_ceil(fine(self.period).max(1))
    }
}

/// Sub-nanosecond digits: rates of up to 100 million tokens a minute stay exact to 2 in 10,000.
const FINE: u32 = 16;

const fn fine(duration: Duration) -> u128 {
    duration.as_nanos() << FINE
}

fn fine_instant(at: Instant) -> u128 {
    u128::from(at.as_nanos()) << FINE
}

fn coarse_up(fine: u128) -> Instant {
    let nanos = fine.div_ceil(1 << FINE);
    Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

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
        let conforms = pacer.conforms_at(amount) <= at(millis);
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
        pacer.settle(paced, 0, at(400));
        let grants: Vec<bool> = (0..5).map(|_| take(&mut pacer, 1, 400)).collect();
        assert_eq!(grants, [true, true, true, true, false]);
    }

    #[test]
    fn a_refund_at_once_gives_back_everything() {
        let mut pacer = Pacer::new(rate(10, 4));
        let paced = pacer.charge(4, at(0));
        assert!(!take(&mut pacer, 1, 0));
        pacer.settle(paced, 0, at(0));
        assert_eq!(pacer.conforms_at(4), at(0));
    }

    #[test]
    fn an_overrun_is_a_debt() {
        let mut pacer = Pacer::new(rate(10, 4));
        let paced = pacer.charge(4, at(0));
        pacer.settle(paced, 14, at(0));
        assert_eq!(pacer.conforms_at(1), at(1_100));
    }

    #[test]
    fn a_raise_mints_no_burst() {
        let mut pacer = Pacer::new(rate(10, 4));
        pacer.charge(3, at(0));
        pacer.set_rate(rate(100, 40), at(0));
        let free = (0..50).take_while(|_| take(&mut pacer, 1, 0)).count();
        assert_eq!(free, 1);
        // And it refills at the new rate.
        assert_eq!(pacer.conforms_at(1), at(10));
    }

    #[test]
    fn a_cut_clamps_what_is_free() {
        let mut pacer = Pacer::new(rate(100, 40));
        pacer.set_rate(rate(10, 4), at(5_000));
        let free = (0..50).take_while(|_| take(&mut pacer, 1, 5_000)).count();
        assert_eq!(free, 4);
    }
}
