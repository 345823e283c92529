//! A rolling window: what was counted in the last `W`, in slots.
//!
//! It holds no limit and reads no clock. Invariant: an amount counts from the moment it is added
//! until at least `W` after its stamp, and at most one slot longer (rounded up, so that the
//! window is never empty too early). A stamp may lie ahead of now; it counts from the moment it
//! is added all the same.
//!
//! Slots are a power of two of nanoseconds long, so that finding one is a shift. There are at most
//! [`MAX_SLOTS`], of which between a half and all cover the window and the stamps that usually lie
//! ahead; what lies farther ahead is kept apart until its time comes near, in [`MOST_AHEAD`] sums at
//! most: further ones share a later one, and so leave later.

use std::collections::BTreeMap;
use std::time::Duration;

use paceline_core::Instant;

/// What was counted and when.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    length_ns: u64,
    /// A slot is 2^shift nanoseconds long.
    shift: u32,
    /// The number of the oldest slot that may count, and its place in the ring.
    oldest: u64,
    place: u32,
    /// The sum of what is stamped in each slot, as a ring that begins at `place`; empty until the
    /// first of them, so that a window nobody uses is small.
    ring: Box<[u64]>,
    /// How many slots the ring has.
    size: u32,
    /// What is stamped beyond the ring; `None` until the first of it, as hardly any window has it.
    ahead: Option<Box<Ahead>>,
    counted: u64,
}

/// What is stamped far ahead.
#[derive(Clone, Debug, Default)]
struct Ahead {
    /// By the number of the slot.
    sums: BTreeMap<u64, u64>,
    /// Whether a sum had to take in what is stamped earlier.
    shares: bool,
}

impl Window {
    /// An empty window. Stamps of up to `ahead` from now find a place in the ring.
    pub(crate) fn new(length: Duration, ahead: Duration) -> Self {
        let length_ns = nanos(length).max(1);
        let span = length_ns.saturating_add(nanos(ahead));
        let mut shift = 0;
        while (span >> shift) > MAX_SLOTS - SPARE {
            shift += 1;
        }
        let slots = u32::try_from((span >> shift) + SPARE).unwrap_or(1);
        Self {
            length_ns,
            shift,
            oldest: 0,
            place: 0,
            ring: Box::default(),
            size: slots,
            ahead: None,
            counted: 0,
        }
    }

    /// The same counts where stamps lie farther ahead. Slots may become longer: what is counted
    /// then leaves later, never earlier.
    pub(crate) fn reaching(&self, ahead: Duration) -> Self {
        let mut other = Self::new(Duration::from_nanos(self.length_ns), ahead);
        for (slot, amount) in self.slots() {
            // The last moment of the slot, so that it leaves no sooner than it would have here.
            let last = (slot.saturating_add(1) << self.shift).saturating_sub(1);
            other.add(Instant::from_nanos(last), amount);
        }
        if self.shares() {
            other.ahead.get_or_insert_default().shares = true;
        }
        other
    }

    /// Counts `amount`, stamped `at`; returns what it now counts more. What is older than the
    /// window counts nothing, and all together [`MOST`] at most.
    #[inline]
    pub(crate) fn add(&mut self, at: Instant, amount: u64) -> u64 {
        let slot = at.as_nanos() >> self.shift;
        let Some(after) = slot.checked_sub(self.oldest) else { return 0 };
        let added = amount.min(MOST - self.counted);
        self.counted += added;
        match self.index(after) {
            Some(index) => self.add_in_ring(index, added),
            None => self.add_ahead(slot, added),
        }
        added
    }

    #[inline]
    fn add_in_ring(&mut self, index: usize, amount: u64) {
        match self.ring.get_mut(index) {
            Some(sum) => *sum += amount,
            None => self.add_first(index, amount),
        }
    }

    #[cold]
    fn add_first(&mut self, index: usize, amount: u64) {
        self.ring = vec![0; self.size as usize].into();
        self.ring[index] = amount;
    }

    #[cold]
    fn add_ahead(&mut self, slot: u64, amount: u64) {
        if amount == 0 {
            return;
        }
        let Ahead { sums, shares } = &mut **self.ahead.get_or_insert_default();
        if sums.len() < MOST_AHEAD || sums.contains_key(&slot) {
            *sums.entry(slot).or_default() += amount;
            return;
        }
        *shares = true;
        // The next later one takes it in; where there is none, the last one becomes as late.
        if let Some((_, sum)) = sums.range_mut(slot..).next() {
            *sum += amount;
        } else if let Some((_, sum)) = sums.pop_last() {
            sums.insert(slot, sum + amount);
        }
    }

    /// Takes back up to `amount` of what was stamped `at`, and returns how much; what has left
    /// already stays gone.
    #[inline]
    pub(crate) fn remove(&mut self, at: Instant, amount: u64) -> u64 {
        let slot = at.as_nanos() >> self.shift;
        let Some(after) = slot.checked_sub(self.oldest) else { return 0 };
        let taken = match self.index(after) {
            Some(index) => match self.ring.get_mut(index) {
                Some(sum) => take(sum, amount),
                None => 0,
            },
            None => self.remove_ahead(slot, amount),
        };
        let is_short = taken < amount && self.shares();
        let taken = if is_short { taken + self.remove_later(slot, amount - taken) } else { taken };
        self.counted -= taken;
        taken
    }

    #[cold]
    fn remove_ahead(&mut self, slot: u64, amount: u64) -> u64 {
        let Some(ahead) = &mut self.ahead else { return 0 };
        let Some(sum) = ahead.sums.get_mut(&slot) else { return 0 };
        let taken = take(sum, amount);
        if *sum == 0 {
            ahead.sums.remove(&slot);
        }
        taken
    }

    /// Takes back what is in later sums than its own: the nearest first, so that what is left there
    /// leaves no sooner than it would have.
    #[cold]
    fn remove_later(&mut self, slot: u64, amount: u64) -> u64 {
        let mut left = amount;
        let first = slot.saturating_add(1).saturating_sub(self.oldest);
        for after in first..self.ring.len() as u64 {
            if let Some(index) = self.index(after) {
                left -= take(&mut self.ring[index], left);
            }
        }
        if let Some(ahead) = &mut self.ahead {
            ahead
                .sums
                .range_mut(slot.saturating_add(1)..)
                .for_each(|(_, sum)| left -= take(sum, left));
            ahead.sums.retain(|_, sum| *sum > 0);
        }
        amount - left
    }

    /// Whether what was stamped far ahead may be counted later than its stamp.
    fn shares(&self) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| ahead.shares)
    }

    /// Lets go of what is older than the window; returns how much.
    pub(crate) fn expire(&mut self, now: Instant) -> u64 {
        let before = self.counted;
        let oldest = now.as_nanos().saturating_sub(self.length_ns) >> self.shift;
        if oldest > self.oldest {
            self.advance(oldest);
        }
        before - self.counted
    }

    /// The moment before which nothing expires, in nanoseconds.
    pub(crate) const fn next_expiry_ns(&self) -> u64 {
        self.leaves_at(self.oldest).as_nanos()
    }

    /// What counts now; call [`Window::expire`] first.
    #[cfg(test)]
    const fn counted(&self) -> u64 {
        self.counted
    }

    /// The moment by which `excess` of what counts now has left; `None` where less than that is
    /// counted at all.
    pub(crate) fn freed_at(&self, excess: u64) -> Option<Instant> {
        let excess = excess.max(1);
        let (newer, older) = self.ring.split_at(self.place as usize);
        let (mut freed, mut slot) = (0, self.oldest);
        // A window has hundreds of slots, most of which free too little: several at a step.
        for slots in older.chunks(STEP).chain(newer.chunks(STEP)) {
            let sum: u64 = slots.iter().sum();
            if freed + sum >= excess {
                let frees = |amount: &u64| {
                    freed += amount;
                    freed >= excess
                };
                let place = slots.iter().position(frees)?;
                return Some(self.leaves_at(slot + place as u64));
            }
            freed += sum;
            slot += slots.len() as u64;
        }
        let frees = |(_, amount): &(&u64, &u64)| {
            freed += *amount;
            freed >= excess
        };
        let ahead = self.ahead.iter().flat_map(|ahead| &ahead.sums);
        ahead.into_iter().find(frees).map(|(slot, _)| self.leaves_at(*slot))
    }

    /// What is counted, oldest first: the moment from which it no longer counts, and how much.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Instant, u64)> + '_ {
        self.slots().map(|(slot, amount)| (self.leaves_at(slot), amount))
    }

    /// The slots that count anything, oldest first.
    fn slots(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let (newer, older) = self.ring.split_at(self.place as usize);
        let ring = (self.oldest..).zip(older.iter().chain(newer).copied());
        let ahead = self.ahead.iter().flat_map(|ahead| &ahead.sums);
        let ahead = ahead.map(|(slot, sum)| (*slot, *sum));
        ring.chain(ahead).filter(|(_, sum)| *sum > 0)
    }

    /// The place in the ring of the slot so many after the oldest.
    #[inline]
    fn index(&self, after: u64) -> Option<usize> {
        let after = u32::try_from(after).ok().filter(|after| *after < self.size)?;
        let index = self.place + after;
        Some(if index < self.size { index } else { index - self.size } as usize)
    }

    /// Forgets everything before a later oldest slot.
    fn advance(&mut self, oldest: u64) {
        let passed = usize::try_from(oldest - self.oldest).unwrap_or(usize::MAX);
        for _ in 0..passed.min(self.ring.len()) {
            self.counted -= std::mem::take(&mut self.ring[self.place as usize]);
            self.place += 1;
            if self.place == self.size {
                self.place = 0;
            }
        }
        self.oldest = oldest;
        while let Some(entry) = self.ahead.as_mut().and_then(|ahead| ahead.sums.first_entry()) {
            let (slot, amount) = (*entry.key(), *entry.get());
            let Some(after) = slot.checked_sub(oldest) else {
                self.counted -= amount;
                entry.remove();
                continue;
            };
            if after >= u64::from(self.size) {
                break;
            }
            entry.remove();
            if let Some(index) = self.index(after) {
                self.add_in_ring(index, amount);
            }
        }
    }

    /// The end of the slot, and a window's length behind it.
    const fn leaves_at(&self, slot: u64) -> Instant {
        let next = slot.saturating_add(1);
        let end = if next > u64::MAX >> self.shift { u64::MAX } else { next << self.shift };
        Instant::from_nanos(end.saturating_add(self.length_ns))
    }
}

/// Slots of a window, at most: 8 bytes each, so that a window stays below 4 KiB. Between 246 and
/// 492 of them cover it, which loses half a slot a window: 0.1 to 0.2 % of the quota.
pub(crate) const MAX_SLOTS: u64 = 494;

/// Slots that are added up at once.
const STEP: usize = 16;

/// Sums that are stamped beyond the ring, at most.
const MOST_AHEAD: usize = 32;

/// What a window counts at most; a quota is no larger.
pub(crate) const MOST: u64 = 1 << 62;

/// Slots beside those that a window's length takes: it seldom begins where a slot does.
const SPARE: u64 = 2;

/// Takes up to `amount` out of a sum; returns how much.
fn take(sum: &mut u64, amount: u64) -> u64 {
    let taken = amount.min(*sum);
    *sum -= taken;
    taken
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2^27 ns, a slot of a window of a minute.
    const SLOT: u64 = 1 << 27;
    const MINUTE: u64 = 60_000_000_000;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn minute() -> Window {
        Window::new(Duration::from_secs(60), Duration::from_millis(250))
    }

    #[test]
    fn an_amount_counts_for_a_window_and_at_most_a_slot_more() {
        let mut window = minute();
        window.add(at(SLOT), 3);
        window.add(at(2 * SLOT - 1), 4);
        window.expire(at(2 * SLOT + MINUTE - 1));
        assert_eq!(window.counted(), 7);
        assert_eq!(window.freed_at(7), Some(at(2 * SLOT + MINUTE)));
        window.expire(at(2 * SLOT + MINUTE));
        assert_eq!(window.counted(), 0);
    }

    #[test]
    fn stamps_may_come_out_of_order_and_be_taken_back() {
        let mut window = minute();
        window.add(at(5 * SLOT), 1);
        window.add(at(3 * SLOT), 2);
        window.add(at(4 * SLOT), 4);
        window.add(at(3 * SLOT), 8);
        assert_eq!(window.freed_at(10), Some(at(4 * SLOT + MINUTE)));
        assert_eq!(window.freed_at(11), Some(at(5 * SLOT + MINUTE)));
        window.remove(at(3 * SLOT), 9);
        window.remove(at(9 * SLOT), 9);
        assert_eq!(window.counted(), 6);
        assert_eq!(window.freed_at(7), None);
        window.remove(at(3 * SLOT), 9);
        assert_eq!(window.counted(), 5);
    }

    #[test]
    fn what_is_stamped_far_ahead_counts_at_once_and_leaves_a_window_after_its_stamp() {
        let mut window = minute();
        let far = 10 * MINUTE;
        window.add(at(far), 5);
        window.add(at(far + SLOT), 6);
        window.remove(at(far + SLOT), 2);
        assert_eq!((window.counted(), window.freed_at(6).is_some()), (9, true));
        window.expire(at(far + MINUTE - SLOT));
        assert_eq!(window.counted(), 9);
        window.remove(at(far), 1);
        assert_eq!(window.counted(), 8);
        window.expire(at(far + MINUTE + 3 * SLOT));
        assert_eq!(window.counted(), 0);
        window.add(at(20 * MINUTE), 5);
        // A leap over everything, the ring and what lay ahead of it.
        window.expire(at(40 * MINUTE));
        assert_eq!((window.counted(), window.freed_at(1)), (0, None));
    }

    #[test]
    fn what_is_stamped_far_ahead_takes_bounded_room_and_never_leaves_too_early() {
        let mut window = minute();
        let far = 10 * MINUTE;
        // Late ones first and early ones last, so that early ones share later sums, and back.
        let slots: Vec<u64> = (0..1_000).map(|n| (n * 617) % 1_000).collect();
        let stamp = |slot: u64| at(far + slot * SLOT);
        slots.iter().for_each(|slot| _ = window.add(stamp(*slot), slot + 1));
        assert_eq!(window.ahead.as_ref().map(|ahead| ahead.sums.len()), Some(MOST_AHEAD));
        let counts_at = |window: &Window, now| {
            let mut window = window.clone();
            window.expire(now);
            window.counted()
        };
        // Of the first hundred slots, half are taken back; of the rest all but a few.
        let is_back = |slot: u64| if slot < 100 { slot % 2 == 0 } else { slot % 50 > 0 };
        let check = |window: &Window| {
            for slot in (0..1_000).step_by(7) {
                let still: u64 = (slot..1_000).filter(|s| !is_back(*s)).map(|s| s + 1).sum();
                let now = at(far + slot * SLOT + MINUTE);
                assert!(counts_at(window, now) >= still, "at slot {slot}");
            }
        };
        window.expire(at(far - MINUTE));
        for slot in slots.iter().copied().filter(|slot| is_back(*slot)) {
            if slot == 500 {
                // By now some of it has come near.
                window.expire(at(far));
            }
            assert_eq!(window.remove(stamp(slot), slot + 1), slot + 1, "slot {slot}");
        }
        check(&window);
        check(&window.reaching(Duration::from_secs(30)));
        let rest: u64 = (0..1_000).filter(|slot| !is_back(*slot)).map(|slot| slot + 1).sum();
        assert_eq!(window.counted(), rest);
        assert_eq!(counts_at(&window, at(far + 2_000 * SLOT + MINUTE)), 0);
    }

    #[test]
    fn the_sum_saturates_and_comes_back_to_zero() {
        let mut window = minute();
        assert_eq!(window.add(at(0), MOST - 5), MOST - 5);
        assert_eq!(window.add(at(SLOT), u64::MAX), 5);
        assert_eq!(window.add(at(100 * MINUTE), 1), 0);
        assert_eq!(window.expire(at(3 * MINUTE)), MOST);
        assert_eq!(window.counted(), 0);
    }

    #[test]
    fn what_is_older_than_the_window_counts_nothing() {
        let mut window = minute();
        window.expire(at(3 * MINUTE));
        window.add(at(MINUTE), 5);
        window.remove(at(MINUTE), 5);
        assert_eq!(window.counted(), 0);
    }

    #[test]
    fn a_longer_reach_lets_nothing_go_earlier() {
        let mut window = minute();
        window.expire(at(2 * MINUTE));
        for slot in [900, 901, 950, 1_300] {
            window.add(at(slot * SLOT), slot);
        }
        let other = window.reaching(Duration::from_secs(30));
        assert_eq!(other.counted(), window.counted());
        for excess in [1, 900, 1_801, 2_751, 4_051] {
            assert!(other.freed_at(excess) >= window.freed_at(excess), "{excess}");
        }
    }

    #[test]
    fn a_window_stays_below_four_kibibytes() {
        for seconds in [1, 2, 59, 60, 61, 3_600, 366 * 86_400] {
            let mut window = Window::new(Duration::from_secs(seconds), Duration::from_secs(2));
            window.expire(at(0));
            window.remove(at(0), 1);
            assert_eq!(window.ring.len(), 0, "nothing is counted yet");
            window.add(at(0), 1);
            let bytes = size_of_val(&window) + size_of_val(&*window.ring);
            assert!(bytes <= 4_096 - 64, "{seconds} s: {bytes}");
            assert!(window.ring.len() as u64 > MAX_SLOTS / 3, "{seconds} s: {}", window.ring.len());
        }
    }
}
