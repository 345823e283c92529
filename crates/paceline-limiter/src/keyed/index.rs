//! Finds the place of a key by its hash: open addressing over small numbers.
//!
//! It holds no keys: who asks says whether a place is the one, and what the tag of a place is.
//! Invariant: every place that was inserted and not removed is found from its home on without crossing
//! an empty slot.

/// Slots of four bytes, of which at most three quarters are taken.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// From above: whether it is taken, the lower bits of the tag, the place.
    slots: Box<[u32]>,
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
        Self { slots: vec![EMPTY; 1 << LEAST_BITS].into(), shift: u32::BITS - LEAST_BITS, taken: 0 }
    }

    /// The place of this tag that `is` the one.
    #[inline]
    pub(crate) fn find(&self, tag: Tag, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(tag);
        loop {
            let slot = self.slots[at];
            if slot == EMPTY {
                return None;
            }
            // What differs is the place, where the tag may be the same.
            let place = slot ^ slot_of(tag, 0);
            if place < PLACES && is(place) {
                return Some(place);
            }
            at = self.after(at);
        }
    }

    /// Adds a place that is not there; places lie below [`PLACES`]. `tag_of` knows the tag of every
    /// place that is there.
    pub(crate) fn insert(&mut self, tag: Tag, place: u32, tag_of: impl Fn(u32) -> Tag) {
        if (self.taken + 1) * 4 > self.slots.len() * 3 {
            self.grow(tag_of);
        }
        self.put(tag, place);
        self.taken += 1;
    }

    /// Removes a place that is there, and moves up whoever could not be found past the gap.
    pub(crate) fn remove(&mut self, tag: Tag, place: u32, tag_of: impl Fn(u32) -> Tag) {
        let mut gap = self.home(tag);
        while self.slots[gap] != slot_of(tag, place) {
            if self.slots[gap] == EMPTY {
                return;
            }
            gap = self.after(gap);
        }
        let mask = self.slots.len() - 1;
        let mut at = self.after(gap);
        while self.slots[at] != EMPTY {
            // It may move to the gap if its home does not lie behind the gap.
            let home = self.home(tag_of(place_of(self.slots[at])));
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.slots[gap] = self.slots[at];
                gap = at;
            }
            at = self.after(at);
        }
        self.slots[gap] = EMPTY;
        self.taken -= 1;
    }

    fn put(&mut self, tag: Tag, place: u32) {
        let mut at = self.home(tag);
        while self.slots[at] != EMPTY {
            at = self.after(at);
        }
        self.slots[at] = slot_of(tag, place);
    }

    #[cold]
    fn grow(&mut self, tag_of: impl Fn(u32) -> Tag) {
        let larger = vec![EMPTY; self.slots.len() * 2].into();
        self.shift -= 1;
        for slot in std::mem::replace(&mut self.slots, larger).into_iter().filter(|s| *s != EMPTY) {
            let place = place_of(slot);
            self.put(tag_of(place), place);
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

/// Taken, by a place of this tag. The home is the upper bits of the tag, so that these are others.
#[inline]
const fn slot_of(tag: Tag, place: u32) -> u32 {
    1 << (u32::BITS - 1) | (tag.0 & (TAGS - 1)) << PLACES.ilog2() | place
}

#[inline]
const fn place_of(slot: u32) -> u32 {
    slot % PLACES
}

/// No place.
const EMPTY: u32 = 0;

/// So many places can be told apart.
pub(crate) const PLACES: u32 = 1 << 24;

/// So many tags can, in a slot.
const TAGS: u32 = 1 << 7;

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
                        index.remove(tag, place, |other| naive[&other]);
                    }
                } else if !naive.contains_key(&place) {
                    index.insert(tag, place, |other| naive[&other]);
                    naive.insert(place, tag);
                } else {
                    index.remove(naive[&place], place, |other| naive[&other]);
                    prop_assert_eq!(index.find(naive[&place], |other| other == place), None);
                    naive.insert(place, tag);
                    index.insert(tag, place, |other| naive[&other]);
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
    fn the_last_place_of_all_is_found_by_any_tag() {
        for tag in [Tag(0), Tag(TAGS - 1), Tag(TAGS), Tag(u32::MAX)] {
            let mut index = Index::new();
            for place in [0, PLACES - 1] {
                index.insert(tag, place, |_| tag);
            }
            for place in [0, PLACES - 1] {
                assert_eq!(index.find(tag, |other| other == place), Some(place));
                index.remove(tag, place, |_| tag);
            }
            assert_eq!((index.taken, index.find(tag, |_| true)), (0, None));
        }
    }

    #[test]
    fn hashes_that_are_the_keys_themselves_are_spread() {
        let mut index = Index::new();
        let tags: Vec<Tag> = (0..10_000).map(|hash| Tag::of(hash).0).collect();
        for (place, tag) in (0..).zip(&tags) {
            index.insert(*tag, place, |other| tags[other as usize]);
        }
        let steps = |(place, tag): (u32, &Tag)| {
            let (mut steps, mut at) = (0, index.home(*tag));
            while place_of(index.slots[at]) != place {
                steps += 1;
                at = index.after(at);
            }
            steps
        };
        let longest = (0..).zip(&tags).map(steps).max();
        assert!(longest < Some(64), "{longest:?}");
    }
}
