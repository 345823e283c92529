//! Calls in flight of one class, together with those that were sent at about the same time.
//!
//! It says nothing about when they land. Invariants: cohorts are in the order of their sending and
//! do not overlap; there are [`MOST`] of them at most, and where there are fewer, each is of one
//! slot.

use std::collections::VecDeque;

use super::curve::Group;

/// Calls sent at about the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cohort {
    /// When the first of them was sent.
    pub(super) begins: u64,
    /// And the last.
    ends: u64,
    /// How much later than the first they were sent, summed.
    later: u64,
    pub(super) group: Group,
    /// The largest input that has been in it.
    pub(super) largest: u64,
}

/// Every call in flight whose progress is not seen, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Cohorts {
    all: VecDeque<Cohort>,
    /// The youngest cohort as it was before the last call joined it, and that call alone.
    before: Option<(Cohort, Cohort)>,
}

impl Cohort {
    /// When they were sent on average.
    pub(super) fn middle(&self) -> u64 {
        self.begins + self.later / self.group.calls.max(1)
    }

    fn join(&mut self, other: &Self) {
        let shift = (other.begins - self.begins).saturating_mul(other.group.calls);
        self.ends = self.ends.max(other.ends);
        self.later = self.later.saturating_add(other.later).saturating_add(shift);
        self.group.calls += other.group.calls;
        self.group.input += other.group.input;
        self.group.squares = self.group.squares.saturating_add(other.group.squares);
        self.largest = self.largest.max(other.largest);
    }
}

impl Cohorts {
    pub(super) fn new() -> Self {
        Self { all: VecDeque::with_capacity(MOST), before: None }
    }

    /// What they take, in bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.all.capacity() * size_of::<Cohort>()
    }

    /// A call sent now, which is no earlier than all others; slots are 2^`shift` nanoseconds.
    pub(super) fn add(&mut self, sent: u64, input: u64, shift: u32) {
        let group = Group { calls: 1, input, squares: input * input };
        let cohort = Cohort { begins: sent, ends: sent, later: 0, group, largest: input };
        self.before = None;
        match self.all.back_mut() {
            Some(last) if last.begins >> shift >= sent >> shift => {
                let cohort = Cohort { begins: sent.max(last.begins), ..cohort };
                self.before = Some((*last, cohort));
                last.join(&cohort);
            }
            _ => {
                if self.all.len() >= MOST {
                    self.merge(sent);
                }
                self.all.push_back(cohort);
            }
        }
    }

    /// A call sent then never left. Where it was the last to join, nothing is left of it.
    pub(super) fn take_back(&mut self, sent: u64, input: u64) {
        match (self.before.take(), self.all.back_mut()) {
            (Some((before, it)), Some(last)) if (it.ends, it.largest) == (sent, input) => {
                *last = before;
            }
            _ => self.remove(sent, input),
        }
    }

    /// A call sent then is no longer in flight.
    pub(super) fn remove(&mut self, sent: u64, input: u64) {
        self.before = None;
        let place = self.all.partition_point(|cohort| cohort.begins <= sent).saturating_sub(1);
        let Some(cohort) = self.all.get_mut(place) else { return };
        if cohort.group.calls <= 1 {
            self.all.remove(place);
            return;
        }
        cohort.later = cohort.later.saturating_sub(sent.saturating_sub(cohort.begins));
        cohort.group.calls -= 1;
        cohort.group.input = cohort.group.input.saturating_sub(input);
        cohort.group.squares = cohort.group.squares.saturating_sub(input * input);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Cohort> {
        self.all.iter()
    }

    /// Makes room for the calls of one more slot.
    pub(super) fn make_room(&mut self, now: u64) {
        if self.all.len() >= MOST {
            self.before = None;
            self.merge(now);
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Joins neighbours as long as what they span is small beside their age.
    fn merge(&mut self, now: u64) {
        let mut part = PART;
        while self.all.len() > MOST * 7 / 8 {
            // Once round in place: what has been looked at goes to the back.
            for place in 0..self.all.len() {
                let Some(cohort) = self.all.pop_front() else { return };
                match self.all.back_mut().filter(|_| place > 0) {
                    Some(last) if is_near(last, &cohort, now, part) => last.join(&cohort),
                    _ => self.all.push_back(cohort),
                }
            }
            // Ages beyond all measure, or spread too thin: coarser then.
            part /= 2;
        }
    }
}

fn is_near(older: &Cohort, younger: &Cohort, now: u64, part: u64) -> bool {
    let span = younger.ends - older.begins;
    span.saturating_mul(part) <= now.saturating_sub(younger.ends)
}

/// Cohorts of a class, at most.
const MOST: usize = 48;

/// What a cohort spans is this part of its age, where there are many, or twice as much.
const PART: u64 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    const SHIFT: u32 = 27;

    #[test]
    fn many_calls_share_few_cohorts_and_all_of_them_leave() {
        let mut cohorts = Cohorts::new();
        let sent = |call: u64| call * 40_000_000;
        for call in 0..9_000 {
            cohorts.add(sent(call), call % 7, SHIFT);
            assert!(cohorts.all.len() <= MOST);
        }
        let calls: u64 = cohorts.iter().map(|cohort| cohort.group.calls).sum();
        assert_eq!(calls, 9_000);
        let now = sent(9_000);
        for (older, younger) in cohorts.all.iter().zip(cohorts.all.iter().skip(1)) {
            assert!(older.begins <= older.middle() && older.middle() <= older.ends);
            assert!(older.ends < younger.begins);
            let span = older.ends - older.begins;
            assert!(span <= (now - older.ends) / (PART / 2) + (1 << SHIFT), "{span}");
        }
        for call in (0..9_000).rev() {
            cohorts.remove(sent(call), call % 7);
        }
        assert!(cohorts.all.is_empty());
    }

    #[test]
    fn few_calls_are_told_apart() {
        let mut cohorts = Cohorts::new();
        for call in 0..8 {
            cohorts.add(call << (SHIFT + 4), 100, SHIFT);
        }
        assert_eq!(cohorts.all.len(), 8);
        cohorts.remove(3 << (SHIFT + 4), 100);
        assert!(cohorts.iter().all(|cohort| cohort.middle() != 3 << (SHIFT + 4)));
    }
}
