//! Counts by place in time: one of every place that is still looked at, and their sum.
//!
//! What a place is, is its user's: a nanosecond makes it the exact log of a sliding window, a
//! minute the counter of an aligned one. Invariant: the sum is that of the slots, which stand in
//! the order of time.

use std::collections::VecDeque;

/// The slots `(place - span, place]`.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    span: u128,
    slots: VecDeque<(u128, u128)>,
    sum: u128,
}

impl Slots {
    pub(crate) const fn new(span: u128) -> Self {
        Self { span, slots: VecDeque::new(), sum: 0 }
    }

    /// Adds an amount at a place, not before the last one, and forgets what has left.
    pub(crate) fn add(&mut self, place: u128, amount: u64) {
        self.forget(place);
        let amount = u128::from(amount);
        self.sum += amount;
        match self.slots.back_mut() {
            Some((last, held)) if *last == place => *held += amount,
            _ => self.slots.push_back((place, amount)),
        }
    }

    /// Puts `to` where `from` was added at a place. Nothing changes where that has left.
    pub(crate) fn replace(&mut self, place: u128, from: u64, to: u64) {
        let Ok(found) = self.slots.binary_search_by_key(&place, |(place, _)| *place) else {
            return;
        };
        let (_, held) = &mut self.slots[found];
        *held = *held - u128::from(from) + u128::from(to);
        self.sum = self.sum - u128::from(from) + u128::from(to);
    }

    /// Forgets what has left when the present is at `place`.
    pub(crate) fn forget(&mut self, place: u128) {
        while let Some((_, amount)) = self.slots.front().filter(|slot| self.has_left(slot, place)) {
            self.sum -= amount;
            self.slots.pop_front();
        }
    }

    /// The sum of what has not left when the present is at `place`. Passes over what has left since
    /// the last change.
    pub(crate) fn sum(&self, place: u128) -> u128 {
        let gone = self.slots.iter().take_while(|slot| self.has_left(slot, place));
        self.sum - gone.map(|(_, amount)| amount).sum::<u128>()
    }

    /// What was added at the place itself, the last one or a later one.
    pub(crate) fn at(&self, place: u128) -> u128 {
        self.slots.back().filter(|(last, _)| *last == place).map_or(0, |(_, amount)| *amount)
    }

    /// How many slots it holds.
    pub(crate) fn held(&self) -> usize {
        self.slots.len()
    }

    fn has_left(&self, (slot, _): &(u128, u128), place: u128) -> bool {
        place - slot >= self.span
    }
}
