//! What the calls in flight may land, and when.
//!
//! It keeps sums only; the calls are the classes'. Invariant: between two sweeps a call that enters
//! is added and one that leaves is taken out, so that a sweep corrects only what ages change.

use super::class::{Class, Reach};
use super::curve::{Curve, Group};
use super::streams::Pace;

/// What may land, scaled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Forecast {
    /// Expected before our next request is judged, and the variance of that.
    mean: u64,
    variance: u64,
    /// The largest amount that a single call could land now.
    most: u64,
    /// Of all that may land, with room for chance.
    guard: u64,
    /// Expected by each quarter of the window, and room for chance in that.
    quarters: [u64; 4],
    chances: [u64; 4],
}

/// What time is for a sweep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) now: u64,
    /// A slot is 2^this nanoseconds.
    pub(super) shift: u32,
    pub(super) reach: Reach,
}

/// What a sweep adds up for one group after the other.
struct Sweep<'a> {
    sum: &'a mut Forecast,
    quarter: Option<usize>,
    /// Expected by that quarter, and the variance.
    mean: u64,
    variance: u64,
}

/// Where a group is on a curve, and where the moments looked ahead to are.
struct Spot {
    here: u64,
    soon: u64,
    later: u64,
    /// The key before which the first of them may land soon.
    first: u64,
}

impl Sight {
    /// An age as a key: a unit is an eighth of a slot.
    #[inline]
    pub(super) const fn key(&self, age: u64) -> u64 {
        age >> (self.shift - 11)
    }
}

impl Forecast {
    /// Looks at all calls again: at what may land soon, and where one is named, by a quarter of the
    /// window, from 1.
    pub(super) fn sweep(&mut self, classes: &[Class], sight: &Sight, quarter: Option<usize>) {
        (self.mean, self.variance, self.most) = (0, 0, 0);
        let mut sweep = Sweep { sum: self, quarter, mean: 0, variance: 0 };
        for class in classes {
            sweep.cohorts(class, sight);
            sweep.streams(class, sight);
        }
        let (mean, variance) = (sweep.mean, sweep.variance);
        if let Some(quarter) = quarter {
            self.quarters[quarter - 1] = mean;
            // Two deviations.
            self.chances[quarter - 1] = variance.saturating_mul(4).isqrt();
        }
        self.sum();
    }

    /// A call is sent now: so much of it lands by the moments looked ahead to.
    #[inline]
    pub(super) fn enter(&mut self, class: &Class, input: u64) {
        let [soon, quarters @ ..] = class.fresh();
        self.mean += soon.amount(input);
        self.guard += soon.amount(input);
        for (sum, fresh) in self.quarters.iter_mut().zip(quarters) {
            *sum += fresh.amount(input);
        }
    }

    /// A call is over: what was expected of it is no longer.
    pub(super) fn leave(
        &mut self,
        class: &Class,
        sight: &Sight,
        sent: u64,
        pace: Option<&Pace>,
        input: u64,
    ) {
        let group = Group { calls: 1, input, squares: 0 };
        let [soon, quarters @ ..] = match (pace, &class.by_output) {
            (Some(pace), Some(curve)) => {
                let here = pace.at(sight.now, sight.shift);
                let reach = sight.reach.map(|key| here + run(pace.speed, key));
                means(curve, here, &reach, &group)
            }
            _ => {
                let here = sight.key(sight.now.saturating_sub(sent));
                means(&class.by_age, here, &sight.reach.map(|key| here + key), &group)
            }
        };
        self.mean = self.mean.saturating_sub(soon);
        for (sum, quarter) in self.quarters.iter_mut().zip(quarters) {
            *sum = sum.saturating_sub(quarter);
        }
        self.sum();
    }

    /// What may land before our next request is judged.
    pub(super) const fn guard(&self) -> u64 {
        self.guard
    }

    /// What may land by a quarter of the window, from 1.
    #[inline]
    pub(super) const fn by_quarter(&self, quarter: usize) -> u64 {
        self.quarters[quarter - 1] + self.chances[quarter - 1]
    }

    fn sum(&mut self) {
        // Two deviations, rounded up, and five sixths of the largest: the rest of it has to meet with
        // the rest of them.
        let chance = self.variance.saturating_mul(4).isqrt() + 1;
        let most = self.most.saturating_mul(5).div_ceil(6);
        self.guard = most.saturating_add(self.mean).saturating_add(chance);
    }
}

impl Sweep<'_> {
    fn cohorts(&mut self, class: &Class, sight: &Sight) {
        let (soon, later) = (sight.reach[0], sight.reach[self.quarter.unwrap_or(0)]);
        for cohort in class.cohorts.iter() {
            let here = sight.key(sight.now.saturating_sub(cohort.middle()));
            let oldest = sight.key(sight.now.saturating_sub(cohort.begins));
            let spot = Spot { here, soon: here + soon, later: here + later, first: oldest + soon };
            self.group(&class.by_age, &spot, &cohort.group, cohort.largest);
        }
    }

    fn streams(&mut self, class: &Class, sight: &Sight) {
        let (Some(streams), Some(curve)) = (&class.streams, &class.by_output) else { return };
        for strand in streams.iter() {
            let here = strand.position(sight.now, sight.shift);
            let reach = |at: usize| here + run(strand.speed(), sight.reach[at]);
            let (soon, later) = (reach(0), reach(self.quarter.unwrap_or(0)));
            // Of several, one may be as much ahead as a strand is wide.
            let ahead = if strand.group.calls > 1 { here / 4 } else { 0 };
            let spot = Spot { here, soon, later, first: soon + ahead };
            self.group(curve, &spot, &strand.group, strand.largest);
        }
    }

    #[inline]
    fn group(&mut self, curve: &Curve, spot: &Spot, group: &Group, largest: u64) {
        let sum = &mut *self.sum;
        sum.most = sum.most.max(largest + curve.most(spot.first));
        let here = curve.ahead(spot.here);
        let Some(reciprocal) = here.reciprocal() else {
            let all = overdue(curve, group);
            sum.mean += all;
            self.mean += all;
            return;
        };
        let soon = here.part(&curve.ahead(spot.soon), reciprocal);
        sum.mean += soon.mean(group);
        sum.variance = sum.variance.saturating_add(soon.variance(group));
        if self.quarter.is_some() {
            let later = here.part(&curve.ahead(spot.later), reciprocal);
            self.mean += later.mean(group);
            self.variance = self.variance.saturating_add(later.variance(group));
        }
    }
}

/// What a group lands by each of some keys.
fn means(curve: &Curve, here: u64, reach: &Reach, group: &Group) -> Reach {
    let ahead = curve.ahead(here);
    match ahead.reciprocal() {
        Some(reciprocal) => reach.map(|key| ahead.part(&curve.ahead(key), reciprocal).mean(group)),
        None => [overdue(curve, group); 5],
    }
}

/// Who has taken longer than all others is expected at once, at the largest size.
fn overdue(curve: &Curve, group: &Group) -> u64 {
    group.calls.saturating_mul(curve.largest()).saturating_add(group.input)
}

/// How many keys of outputs are passed at a speed, in keys a slot, in the time of a key of ages.
#[inline]
const fn run(speed: u64, key: u64) -> u64 {
    // Eight units a slot, 256 keys a unit.
    speed.saturating_mul(key) >> 11
}
