//! A rolling window: what was counted in the last `W`, in slots.
//!
//! It holds no limit and reads no clock. Invariant: an amount counts from the moment it is added
//! until at least `W` after its stamp, and at most one slot longer (rounded up, so that the
//! window is never empty too early). A stamp may lie ahead of now.

use std::collections::VecDeque;
use std::time::Duration;

use paceline_core::Instant;

/// What was counted and when, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    length_ns: u64,
    slot_ns: u64,
    /// Slot number and the sum of what is stamped in it; numbers strictly ascend.
    slots: VecDeque<(u64, u64)>,
    counted: u128,
}

impl Window {
    pub(crate) fn new(length: Duration) -> Self {
        let length_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX).max(1);
        let slot_ns = length_ns.div_ceil(SLOTS);
        Self { length_ns, slot_ns, slots: VecDeque::new(), counted: 0 }
    }

    /// Counts `amount`, stamped `at`.
    pub(crate) fn add(&mut self, at: Instant, amount: u64) {
        if amount == 0 {
            return;
        }
        let slot = self.slot(at);
        // Nearly always the newest slot, so the search starts at the back.
        let behind = self.slots.iter().rev().take_while(|(other, _)| *other > slot).count();
        let place = self.slots.len() - behind;
        match place.checked_sub(1).and_then(|last| self.slots.get_mut(last)) {
            Some((other, sum)) if *other == slot => *sum = sum.saturating_add(amount),
            _ => self.slots.insert(place, (slot, amount)),
        }
        self.counted += u128::from(amount);
    }

    /// Takes back up to `amount` of what was stamped `at`; what has left already stays gone.
    pub(crate) fn remove(&mut self, at: Instant, amount: u64) {
        let slot = self.slot(at);
        let Ok(place) = self.slots.binary_search_by_key(&slot, |(other, _)| *other) else { return };
        let Some((_, sum)) = self.slots.get_mut(place) else { return };
        let taken = amount.min(*sum);
        *sum -= taken;
        if *sum == 0 {
            self.slots.remove(place);
        }
        self.counted -= u128::from(taken);
    }

    /// Lets go of what is older than the window.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((slot, sum)) = self.slots.front().copied() {
            if self.leaves_at(slot) > now {
                break;
            }
            self.counted -= u128::from(sum);
            self.slots.pop_front();
        }
    }

    /// What counts now; call [`Window::expire`] first.
    pub(crate) const fn counted(&self) -> u128 {
        self.counted
    }

    /// The moment by which `excess` of what counts now has left; `None` where less than that is
    /// counted at all.
    pub(crate) fn freed_at(&self, excess: u128) -> Option<Instant> {
        let mut freed = 0;
        for (slot, sum) in &self.slots {
            freed += u128::from(*sum);
            if freed >= excess {
                return Some(self.leaves_at(*slot));
            }
        }
        None
    }

    const fn slot(&self, at: Instant) -> u64 {
        at.as_nanos() / self.slot_ns
    }

    /// The end of the slot, and a window's length behind it.
    const fn leaves_at(&self, slot: u64) -> Instant {
        let end = slot.saturating_add(1).saturating_mul(self.slot_ns);
        Instant::from_nanos(end.saturating_add(self.length_ns))
    }
}

/// Slots in a window: 480 lose 0.1 % of the quota on average (half a slot a window) and bound the
/// memory of a window to 480 entries and what is stamped ahead.
const SLOTS: u64 = 480;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn an_amount_counts_for_a_window_and_at_most_a_slot_more() {
        let mut window = Window::new(Duration::from_secs(48));
        window.add(at(1_050), 7);
        window.expire(at(49_049));
        assert_eq!(window.counted(), 7);
        assert_eq!(window.freed_at(7), Some(at(49_100)));
        window.expire(at(49_100));
        assert_eq!(window.counted(), 0);
    }

    #[test]
    fn stamps_may_come_out_of_order_and_be_taken_back() {
        let mut window = Window::new(Duration::from_secs(48));
        window.add(at(500), 1);
        window.add(at(300), 2);
        window.add(at(400), 4);
        window.add(at(300), 8);
        assert_eq!(window.freed_at(10), Some(at(48_400)));
        assert_eq!(window.freed_at(11), Some(at(48_500)));
        window.remove(at(300), 9);
        window.remove(at(900), 9);
        assert_eq!(window.counted(), 6);
        assert_eq!(window.freed_at(7), None);
        window.remove(at(300), 9);
        assert_eq!(window.counted(), 5);
    }
}
