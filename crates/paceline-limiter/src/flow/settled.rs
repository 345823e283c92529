//! What has been settled in the last window, in slots whose length is a power of two.
//!
//! It knows no limit and no calls. Invariant: an amount counts from the moment it is added until a
//! window after the end of the slot it is stamped in, never shorter; what is stamped ahead of now
//! counts at once.

use std::collections::VecDeque;

/// How a window is cut into slots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// A slot is 2^this nanoseconds.
    shift: u32,
    /// Slots that begin in one window, rounded up.
    slots: u64,
    /// What is missing in the window to that many slots, in nanoseconds.
    pad: u64,
    window: u64,
}

/// The amounts of the last window.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    grid: Grid,
    /// Amounts by slot, modulo the length; of the slots from `tick - slots` to `tick`.
    ring: Box<[u64]>,
    tick: u64,
    /// Of the ring: what will still count after no, one, two and three quarters of the window.
    sums: [u64; 4],
    /// Amounts stamped in slots to come, by slot, ascending.
    ahead: VecDeque<(u64, u64)>,
    ahead_sum: u64,
}

impl Grid {
    pub(super) fn new(window: u64) -> Self {
        let window = window.clamp(1, LONGEST);
        let length = window.div_ceil(SLOTS).next_power_of_two().max(SHORTEST);
        let slots = window.div_ceil(length);
        Self { shift: length.trailing_zeros(), slots, pad: slots * length - window, window }
    }

    pub(super) const fn shift(self) -> u32 {
        self.shift
    }

    /// The length of a slot in nanoseconds.
    pub(super) const fn slot(self) -> u64 {
        1 << self.shift
    }

    pub(super) const fn window(self) -> u64 {
        self.window
    }

    /// Changes exactly when a slot leaves the window.
    pub(super) const fn tick(self, now: u64) -> u64 {
        (now.saturating_add(self.pad) >> self.shift) + self.slots
    }

    /// When a tick begins.
    pub(super) const fn begins(self, tick: u64) -> u64 {
        self.start(tick).saturating_sub(self.pad)
    }

    /// Slots are numbered from a window before time began, so that none is below zero.
    const fn stamp(self, at: u64) -> u64 {
        (at >> self.shift) + self.slots
    }

    const fn start(self, slot: u64) -> u64 {
        slot.saturating_sub(self.slots).saturating_mul(1 << self.shift)
    }

    /// How many slots after the oldest one the sum of so many quarters begins.
    const fn quarter(self, of: usize) -> u64 {
        self.slots * of as u64 / 4
    }
}

impl Settled {
    pub(super) fn new(grid: Grid, now: u64) -> Self {
        let length = usize::try_from(grid.slots + 1).unwrap_or(usize::MAX);
        Self {
            grid,
            ring: vec![0; length].into(),
            tick: grid.tick(now),
            sums: [0; 4],
            ahead: VecDeque::new(),
            ahead_sum: 0,
        }
    }

    /// Lets go of what is older than the window.
    pub(super) fn advance(&mut self, tick: u64) {
        // After that many steps everything has left, whatever is in between.
        let skipped = tick.saturating_sub(self.tick).saturating_sub(self.grid.slots + 1);
        if skipped > 0 {
            self.ring.fill(0);
            self.sums = [0; 4];
            self.tick += skipped;
        }
        while self.tick < tick {
            // What is the oldest of each sum leaves it.
            for of in 0..self.sums.len() {
                let leaving = self.amount(self.oldest(of));
                self.sums[of] = self.sums[of].saturating_sub(leaving);
            }
            self.tick += 1;
            let newest = self.place(self.tick);
            self.ring[newest] = 0;
        }
        while let Some((slot, amount)) = self.ahead.front().copied() {
            if slot > tick {
                break;
            }
            self.ahead.pop_front();
            self.ahead_sum = self.ahead_sum.saturating_sub(amount);
            self.put(slot, amount);
        }
    }

    /// Counts an amount, stamped at a moment; a moment more than a window ago counts nothing.
    pub(super) fn add(&mut self, at: u64, amount: u64) {
        let slot = self.grid.stamp(at);
        if slot <= self.tick {
            self.put(slot, amount);
            return;
        }
        self.ahead_sum = self.ahead_sum.saturating_add(amount);
        let place = self.ahead.partition_point(|(other, _)| *other < slot);
        let is_full = self.ahead.len() >= MOST_AHEAD;
        match self.ahead.get_mut(place) {
            Some((other, sum)) if *other == slot || is_full => *sum = sum.saturating_add(amount),
            None if is_full => {
                if let Some((other, sum)) = self.ahead.back_mut() {
                    *other = slot;
                    *sum = sum.saturating_add(amount);
                }
            }
            _ => self.ahead.insert(place, (slot, amount)),
        }
    }

    /// What counts now.
    pub(super) const fn counted(&self) -> u64 {
        self.sums[0].saturating_add(self.ahead_sum)
    }

    /// What of it will still count after so many quarters of the window.
    pub(super) fn counted_after(&self, quarters: usize) -> u64 {
        self.sums.get(quarters).copied().unwrap_or(0).saturating_add(self.ahead_sum)
    }

    /// When so much of what counts now has left, where nothing is added.
    pub(super) fn freed_at(&self, amount: u64) -> Option<u64> {
        let mut freed = 0_u64;
        for slot in self.oldest(0)..=self.tick {
            freed = freed.saturating_add(self.amount(slot));
            if freed >= amount {
                return Some(self.leaves(slot));
            }
        }
        for (slot, ahead) in &self.ahead {
            freed = freed.saturating_add(*ahead);
            if freed >= amount {
                return Some(self.leaves(*slot));
            }
        }
        None
    }

    /// Every amount with the end of its slot, oldest first.
    pub(super) fn amounts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let ring = (self.oldest(0)..=self.tick).map(|slot| (slot, self.amount(slot)));
        let all = ring.chain(self.ahead.iter().copied()).filter(|(_, amount)| *amount > 0);
        all.map(|(slot, amount)| (self.grid.start(slot + 1), amount))
    }

    fn put(&mut self, slot: u64, amount: u64) {
        if slot < self.oldest(0) {
            return;
        }
        let place = self.place(slot);
        self.ring[place] = self.ring[place].saturating_add(amount);
        for of in 0..self.sums.len() {
            if slot >= self.oldest(of) {
                self.sums[of] = self.sums[of].saturating_add(amount);
            }
        }
    }

    /// The oldest slot that still counts after so many quarters.
    fn oldest(&self, quarters: usize) -> u64 {
        self.tick - self.grid.slots + self.grid.quarter(quarters)
    }

    fn leaves(&self, slot: u64) -> u64 {
        self.grid.begins(slot + self.grid.slots + 1)
    }

    fn amount(&self, slot: u64) -> u64 {
        self.ring[self.place(slot)]
    }

    fn place(&self, slot: u64) -> usize {
        usize::try_from(slot % self.ring.len() as u64).unwrap_or(0)
    }
}

/// At most so many slots begin in a window: half a slot is lost on average, 0.1 % of the quota.
const SLOTS: u64 = 500;

/// The shortest slot and the longest window in nanoseconds: the keys of ages need eleven bits below
/// a slot, and sums of times have to fit.
const SHORTEST: u64 = 1 << 11;
const LONGEST: u64 = 1 << 60;

/// Slots to come that amounts may be stamped in; more share the next or the last of them.
const MOST_AHEAD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_leaves_room_for_the_keys_of_ages_however_short_the_window() {
        assert_eq!([1, 1_000, 1 << 20].map(|window| Grid::new(window).shift()), [11, 11, 12]);
        // And of the longest window some hundred slots are left.
        assert_eq!(Grid::new(u64::MAX).window(), LONGEST);
        assert!(Grid::new(u64::MAX).slots > SLOTS / 2 && Grid::new(u64::MAX).slots <= SLOTS);
    }

    /// Told late, an amount still counts until a window after its moment, and no longer than a slot more.
    #[test]
    fn what_is_told_late_counts_as_long_as_what_is_told_at_once() {
        for window in [1_000_000_000, 60_000_000_000_u64, 999_999_937] {
            let grid = Grid::new(window);
            let now = 5 * window + 12_345;
            for ago in
                (0..window + 4 * grid.slot()).step_by(usize::try_from(grid.slot() / 3).unwrap())
            {
                let mut settled = Settled::new(grid, 0);
                settled.advance(grid.tick(now));
                settled.add(now - ago, 7);
                let counts = settled.counted() > 0;
                if ago < window {
                    assert!(counts, "{window}: {ago} ago is within the window");
                }
                if ago >= window + 2 * grid.slot() {
                    assert!(!counts, "{window}: {ago} ago has left it");
                }
                let freed = settled.freed_at(7);
                assert_eq!(freed.is_some(), counts, "{window}: {ago} ago");
                let Some(freed) = freed else { continue };
                assert!(freed > now && freed + ago >= now + window, "{window}: {ago} ago");
                settled.advance(grid.tick(freed - 1));
                assert_eq!(settled.counted(), 7, "{window}: {ago} ago");
                settled.advance(grid.tick(freed));
                assert_eq!(settled.counted(), 0, "{window}: {ago} ago");
            }
        }
    }
}
