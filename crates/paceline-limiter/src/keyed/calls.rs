//! Calls of every key that were admitted and are not settled, each found by its receipt's number.
//!
//! As [the limiter's own](crate::limiter::calls), but that every key has the same limits: what the
//! first pacer charged lies with the call, in one cache line, and what others did is kept apart.
//! Invariant: a number finds the call it was given to or none: a place is used again, but its number
//! is another.

use paceline_core::Instant;

use super::pace::Paced;

/// The calls, in places that are used again.
#[derive(Debug)]
pub(super) struct Calls {
    places: Vec<Call>,
    /// The first free place, which knows the next one; [`NO_PLACE`] where all are taken.
    free: u32,
    taken: usize,
}

/// One admitted call.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub(super) struct Call {
    /// What the first pacer charged it.
    pub(super) first: Paced,
    /// Which use of this place it is; with [`FREE`] while there is no call in it.
    turn: u64,
    /// When it left; before that, when it was admitted.
    pub(super) left_ns: u64,
    /// By when it is over, counted from its sending.
    pub(super) latest_ns: u64,
    /// The place of its key; of a free place: the next one.
    pub(super) key: u32,
    /// The limits that it was charged to, a bit each; none where nothing counted it, or its key is
    /// gone.
    pub(super) charged: u16,
    pub(super) was_sent: bool,
}

impl Call {
    /// A call of the key in this place that is admitted now.
    #[inline]
    pub(super) fn new(key: u32, now: Instant) -> Self {
        Self { key, left_ns: now.as_nanos(), ..Self::default() }
    }
}

impl Calls {
    /// How many there may be at once.
    pub(super) const MOST: usize = 1 << PLACE_BITS;

    /// A free place; `None` where there are too many calls. It stays free until it is taken.
    #[inline]
    pub(super) fn open(&mut self) -> Option<u32> {
        if self.free == NO_PLACE {
            self.grow();
        }
        Some(self.free).filter(|place| *place != NO_PLACE)
    }

    /// This call, which is admitted, takes the place that is open: what it is found by from now on.
    #[inline]
    pub(super) fn take(&mut self, place: u32, call: Call) -> u64 {
        let own = &mut self.places[place as usize];
        let turn = (own.turn + 1) % TURNS;
        self.free = own.key;
        self.taken += 1;
        *own = Call { turn, ..call };
        turn << PLACE_BITS | u64::from(place)
    }

    /// The place of a call.
    #[inline]
    pub(super) fn find(&self, number: u64) -> Option<u32> {
        let place = number & (Self::MOST as u64 - 1);
        let call = self.places.get(place as usize)?;
        (call.turn == number >> PLACE_BITS).then_some(place as u32)
    }

    /// The call in a place.
    #[inline]
    pub(super) fn at(&mut self, place: u32) -> &mut Call {
        &mut self.places[place as usize]
    }

    /// The call in this place is over.
    #[inline]
    pub(super) fn end(&mut self, place: u32) {
        let call = &mut self.places[place as usize];
        call.turn |= FREE;
        call.key = self.free;
        self.free = place;
        self.taken -= 1;
    }

    pub(super) const fn len(&self) -> usize {
        self.taken
    }

    pub(super) fn iter(&mut self) -> impl Iterator<Item = &mut Call> {
        self.places.iter_mut().filter(|call| call.turn < FREE)
    }

    #[cold]
    fn grow(&mut self) {
        if self.places.len() < Self::MOST {
            self.free = self.places.len() as u32;
            self.places.push(Call { turn: FREE, key: NO_PLACE, ..Call::default() });
        }
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self { places: Vec::new(), free: NO_PLACE, taken: 0 }
    }
}

/// Bits of a number that are the place; the others are the turn.
const PLACE_BITS: u32 = 24;

/// How many turns a place has before it begins anew: used a million times a second, in twelve days.
const TURNS: u64 = 1 << (u64::BITS - PLACE_BITS);

/// No call is in the place. No number has this bit in its turn, so that none finds a free place.
const FREE: u64 = 1 << 63;

/// Beyond every place.
const NO_PLACE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(calls: &mut Calls, key: u32) -> u64 {
        let place = calls.open().expect("room");
        calls.take(place, Call { key, charged: 1, ..Call::default() })
    }

    fn end(calls: &mut Calls, number: u64) {
        let place = calls.find(number).expect("it is there");
        calls.end(place);
    }

    #[test]
    fn a_place_is_used_again_and_its_number_is_not() {
        let mut calls = Calls::default();
        let (one, two) = (begin(&mut calls, 7), begin(&mut calls, 8));
        end(&mut calls, one);
        assert_eq!((calls.find(one), calls.len()), (None, 1));
        let three = begin(&mut calls, 9);
        assert!(three != one && three != two);
        assert_eq!((calls.find(one), calls.find(u64::MAX)), (None, None));
        let keys: Vec<u32> = calls.iter().map(|call| call.key).collect();
        assert_eq!((keys, calls.len()), (vec![9, 8], 2));
        let place = calls.find(three).expect("it is there");
        assert_eq!((calls.at(place).key, calls.at(place).charged), (9, 1));
    }

    #[test]
    fn a_place_that_is_used_a_thousand_times_has_a_thousand_numbers() {
        let mut calls = Calls::default();
        let mut numbers = std::collections::BTreeSet::new();
        for key in 0..1_000 {
            let number = begin(&mut calls, key);
            assert!(numbers.insert(number), "{key}");
            end(&mut calls, number);
        }
        assert_eq!(calls.places.len(), 1);
        assert!(numbers.iter().all(|number| calls.find(*number).is_none()));
    }

    #[test]
    fn a_place_that_was_only_opened_is_still_free() {
        let mut calls = Calls::default();
        assert_eq!((calls.open(), calls.open()), (Some(0), Some(0)));
        assert_eq!((calls.len(), calls.iter().count()), (0, 0));
        let one = begin(&mut calls, 0);
        assert_eq!((calls.len(), calls.places.len()), (1, 1));
        end(&mut calls, one);
        // No number finds a free place, whatever its turn.
        assert!((0..4).all(|turn| calls.find(turn << PLACE_BITS).is_none()));
    }

    #[test]
    fn places_are_used_up_before_there_are_more() {
        let mut calls = Calls::default();
        let numbers: Vec<u64> = (0..5).map(|key| begin(&mut calls, key)).collect();
        numbers.iter().for_each(|number| end(&mut calls, *number));
        let again: Vec<u64> = (0..5).map(|key| begin(&mut calls, key)).collect();
        assert_eq!((calls.places.len(), calls.free), (5, NO_PLACE));
        assert!(again.iter().all(|number| !numbers.contains(number)));
    }
}
