//! What was spent in every period, or in every slice of a window, as far as it is remembered.
//!
//! It knows no calendar: periods are numbers that follow each other. Invariants: what is told of a
//! period is never less than was spent in it, in whichever order it was entered, and exactly that
//! while the period is remembered; the number of those is bounded.

use std::collections::BTreeMap;

/// Sums by the number of their period.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    kept: BTreeMap<i64, u64>,
    /// What is not told apart any more, before and after what is kept.
    earlier: Option<Forgotten>,
    later: Option<Forgotten>,
}

/// Periods that are not told apart: in none of them was more spent than this.
#[derive(Clone, Copy, Debug)]
struct Forgotten {
    from: i64,
    to: i64,
    most: u64,
}

/// How many periods are remembered about the present one: ten days of hours either way.
const PERIODS: usize = 512;
/// How many are before it is known which is the present one: near two years of hours.
const RESTORED: usize = 1 << 14;

impl Sums {
    /// Adds to a period.
    pub(super) fn add(&mut self, number: i64, amount: u64) {
        let before = self.of(number);
        self.kept.insert(number, before.saturating_add(amount));
    }

    /// Takes back what was added to a period, as far as that is still remembered.
    pub(super) fn take(&mut self, number: i64, amount: u64) {
        if let Some(sum) = self.kept.get_mut(&number) {
            *sum = sum.saturating_sub(amount);
        }
    }

    /// What was spent in a period; of one that is forgotten, the most it can be.
    pub(super) fn of(&self, number: i64) -> u64 {
        if let Some(sum) = self.kept.get(&number) {
            return *sum;
        }
        let forgotten = [self.earlier, self.later].into_iter().flatten();
        let inside = forgotten.filter(|it| (it.from..=it.to).contains(&number));
        inside.map(|it| it.most).max().unwrap_or(0)
    }

    /// What was spent from a period on.
    pub(super) fn since(&self, from: i64) -> u64 {
        self.kept.range(from..).fold(0, |sum, (_, more)| sum.saturating_add(*more))
    }

    /// The first period from this on in which anything was spent.
    pub(super) fn first_since(&self, from: i64) -> Option<i64> {
        self.kept.range(from..).next().map(|(number, _)| *number)
    }

    /// Bounds periods while it is not known which is the present one: the earliest are forgotten.
    pub(super) fn bound_periods(&mut self) {
        while self.kept.len() > RESTORED {
            forget(&mut self.earlier, self.kept.pop_first());
        }
    }

    /// Forgets the periods farthest from the present one.
    pub(super) fn bound_periods_about(&mut self, present: i64) {
        while self.kept.len() > PERIODS {
            let distance = |it: Option<(&i64, &u64)>| it.map(|(at, _)| at.abs_diff(present));
            let ends = (self.kept.first_key_value(), self.kept.last_key_value());
            if distance(ends.0) >= distance(ends.1) {
                forget(&mut self.earlier, self.kept.pop_first());
            } else {
                forget(&mut self.later, self.kept.pop_last());
            }
        }
    }

    /// Bounds the slices of a window while it is not known which is the present one: the earliest
    /// are taken as later than they were, so that they count longer.
    pub(super) fn bound_slices(&mut self) {
        while self.kept.len() > RESTORED {
            let Some((_, sum)) = self.kept.pop_first() else { return };
            if let Some(mut next) = self.kept.first_entry() {
                *next.get_mut() = next.get().saturating_add(sum);
            }
        }
    }

    /// Drops what left the window of so many slices that ends at present, and did so a window ago,
    /// as the clock may step back; where that is not enough because it was ahead, the latest are
    /// taken as later still.
    pub(super) fn bound_slices_about(&mut self, present: i64, window: i64) {
        let most = usize::try_from(window.saturating_mul(4)).unwrap_or(usize::MAX);
        while self.kept.len() > most {
            let first = self.kept.first_key_value().map(|(first, _)| *first);
            if first < Some(present.saturating_sub(window.saturating_mul(2))) {
                self.kept.pop_first();
                continue;
            }
            let Some((last, sum)) = self.kept.pop_last() else { return };
            let before = self.kept.pop_last().map_or(0, |(_, sum)| sum);
            self.kept.insert(last, sum.saturating_add(before));
        }
    }
}

fn forget(forgotten: &mut Option<Forgotten>, period: Option<(i64, u64)>) {
    let Some((number, sum)) = period else { return };
    let it = forgotten.get_or_insert(Forgotten { from: number, to: number, most: sum });
    it.from = it.from.min(number);
    it.to = it.to.max(number);
    it.most = it.most.max(sum);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const WINDOW: i64 = 64;

    proptest! {
        #[test]
        fn a_period_is_never_told_to_have_spent_less_than_it_did(
            steps in prop::collection::vec((-900_i64..900, 0_u64..100), 1..3_000),
        ) {
            let (mut sums, mut truth) = (Sums::default(), HashMap::<i64, u64>::new());
            for (number, amount) in steps {
                sums.add(number, amount);
                *truth.entry(number).or_default() += amount;
                sums.bound_periods_about(number);
                prop_assert!(sums.kept.len() <= PERIODS);
                prop_assert!(sums.kept.contains_key(&number), "the present one is remembered");
            }
            for (number, sum) in truth {
                prop_assert!(sums.of(number) >= sum, "{number}: {} {sum}", sums.of(number));
            }
        }

        #[test]
        fn a_window_is_never_told_to_have_spent_less_than_it_did(
            before in prop::collection::vec((-900_i64..900, 0_u64..100), 0..1_000),
            steps in prop::collection::vec((-2_i64..9, 0_u64..100), 1..300),
        ) {
            let (mut sums, mut truth) = (Sums::default(), Vec::new());
            for (number, amount) in before {
                sums.add(number, amount);
                truth.push((number, amount));
                sums.bound_slices();
            }
            let mut present = 0;
            for (step, amount) in steps {
                present += step;
                sums.add(present, amount);
                truth.push((present, amount));
                sums.bound_slices_about(present, WINDOW);
                prop_assert!(sums.kept.len() <= 4 * WINDOW as usize);
                let since = |from| truth.iter().filter(|it| it.0 >= from).map(|it| it.1).sum();
                let spent: u64 = since(present - WINDOW);
                prop_assert!(sums.since(present - WINDOW) >= spent, "{present}");
            }
        }
    }

    #[test]
    fn what_is_restored_in_any_order_is_exact_as_far_as_it_is_kept() {
        let years = 0..RESTORED as i64;
        for order in [years.clone().collect::<Vec<_>>(), years.rev().collect()] {
            let mut sums = Sums::default();
            for number in order {
                sums.add(number, number as u64);
                sums.bound_periods();
            }
            sums.bound_periods_about(5_000);
            assert_eq!([4_900, 5_000, 5_100].map(|number| sums.of(number)), [4_900, 5_000, 5_100]);
            assert_eq!(sums.kept.len(), PERIODS);
            let of_forgotten = [0, 20_000].map(|number| sums.of(number));
            assert_eq!(of_forgotten, [5_000 - PERIODS as u64 / 2, 0], "none reached more");
        }
    }
}
