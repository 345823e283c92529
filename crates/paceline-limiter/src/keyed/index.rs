//! Finds the place of a key by its hash: open addressing over small numbers.
//!
//! It holds no keys: who asks says whether a place is the one. Invariant: every place that was
//! inserted and not removed is found from its home on without crossing an empty slot.

/// Slots of a tag and a place each. At most three quarters are taken.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// The tag in the upper half, one more than the place in the lower; zero where empty.
    slots: Box<[u64]>,
    /// The home of a tag is its upper bits: so many are left off.
    shift: u32,
    taken: usize,
}

/// Half of a hash, well mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u32);

impl Tag {
    /// The tag of a hash, however badly its bits are spread, and a number for other uses.
    #[inline]
    pub(crate) const fn of(hash: u64) -> (Self, u32) {
        // 2^64 over the golden ratio: neighbours come to lie far apart.
        let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (Self((mixed >> 32) as u32), mixed as u32)
    }
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { slots: vec![0; 1 << LEAST_BITS].into(), shift: u32::BITS - LEAST_BITS, taken: 0 }
    }

    /// The place of this tag that `is` the one.
    #[inline]
    pub(crate) fn find(&self, tag: Tag, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(tag);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            let place = slot as u32 - 1;
            if tag_of(slot) == tag && is(place) {
                return Some(place);
            }
            at = self.after(at);
        }
    }

    /// Adds a place that is not there.
    pub(crate) fn insert(&mut self, tag: Tag, place: u32) {
        if (self.taken + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        self.put(slot(tag, place));
        self.taken += 1;
    }

    /// Removes a place that is there, and moves up whoever could not be found past the gap.
    pub(crate) fn remove(&mut self, tag: Tag, place: u32) {
        let mut gap = self.home(tag);
        while self.slots[gap] != slot(tag, place) {
            if self.slots[gap] == 0 {
                return;
            }
            gap = self.after(gap);
        }
        let mask = self.slots.len() - 1;
        let mut at = self.after(gap);
        while self.slots[at] != 0 {
            // It may move to the gap if its home does not lie behind the gap.
            let from_home = at.wrapping_sub(self.home(tag_of(self.slots[at]))) & mask;
            if from_home >= at.wrapping_sub(gap) & mask {
                self.slots[gap] = self.slots[at];
                gap = at;
            }
            at = self.after(at);
        }
        self.slots[gap] = 0;
        self.taken -= 1;
    }

    fn put(&mut self, slot: u64) {
        let mut at = self.home(tag_of(slot));
        while self.slots[at] != 0 {
            at = self.after(at);
        }
        self.slots[at] = slot;
    }

    #[cold]
    fn grow(&mut self) {
        let larger = vec![0; self.slots.len() * 2].into();
        self.shift -= 1;
        for slot in std::mem::replace(&mut self.slots, larger).into_iter().filter(|s| *s != 0) {
            self.put(slot);
        }
    }

    #[inline]
    const fn home(&self, tag: Tag) -> usize {
        (tag.0 >> self.shift) as usize
    }

    #[inline]
    const fn after(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }
}

const fn slot(tag: Tag, place: u32) -> u64 {
    (tag.0 as u64) << 32 | (place + 1) as u64
}

#[inline]
const fn tag_of(slot: u64) -> Tag {
    Tag((slot >> 32) as u32)
}

/// Slots at first: 2^3.
const LEAST_BITS: u32 = 3;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few tags, so that they collide, and homes at both ends, so that runs wrap around.
        #[test]
        fn it_finds_what_a_naive_map_finds(
            steps in prop::collection::vec((any::<bool>(), 0..60_u32, 0..4_u32), 1..300),
        ) {
            let mut index = Index::new();
            let mut naive: BTreeMap<u32, Tag> = BTreeMap::new();
            for (adds, place, home) in steps {
                let tag = [Tag(0), Tag(1), Tag(u32::MAX), Tag(u32::MAX - 1)][home as usize];
                if !adds {
                    if let Some(tag) = naive.remove(&place) {
                        index.remove(tag, place);
                    }
                } else if naive.insert(place, tag).is_none() {
                    index.insert(tag, place);
                } else {
                    let old = index.find(tag, |other| other == place);
                    prop_assert!(old.is_none_or(|old| old == place));
                    naive.insert(place, tag);
                    for tag in [Tag(0), Tag(1), Tag(u32::MAX), Tag(u32::MAX - 1)] {
                        if index.find(tag, |other| other == place).is_some() {
                            index.remove(tag, place);
                        }
                    }
                    index.insert(tag, place);
                }
                prop_assert_eq!(index.taken, naive.len());
                for (place, tag) in &naive {
                    prop_assert_eq!(index.find(*tag, |other| other == *place), Some(*place));
                }
                prop_assert_eq!(index.find(Tag(7), |_| true), None);
            }
        }
    }

    #[test]
    fn hashes_that_are_the_keys_themselves_are_spread() {
        let mut index = Index::new();
        let tags: Vec<Tag> = (0..10_000).map(|hash| Tag::of(hash).0).collect();
        for (place, tag) in (0..).zip(&tags) {
            index.insert(*tag, place);
        }
        let steps = |tag: &Tag| {
            let (mut steps, mut at) = (0, index.home(*tag));
            while tag_of(index.slots[at]) != *tag {
                steps += 1;
                at = index.after(at);
            }
            steps
        };
        let longest = tags.iter().map(steps).max();
        assert!(longest < Some(64), "{longest:?}");
    }
}
