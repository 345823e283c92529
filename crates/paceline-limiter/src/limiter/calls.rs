//! Calls that were admitted and are not settled, each found by its receipt's number.
//!
//! It knows no limits. Invariant: a number finds the call it was given to or none: a place is used
//! again, but its number is another.

use crate::queue::Share;
use crate::state::Charge;

/// One admitted call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// When it was admitted, and when it left; [`NOT_SENT`] before that.
    pub(crate) admitted_ns: u64,
    pub(crate) sent_ns: u64,
    /// By when it is over, counted from its sending.
    pub(crate) latest_ns: u64,
    charged: usize,
    few: [Charge; FEW],
    more: Vec<Charge>,
    /// What its caller was charged, where shares are fair.
    pub(crate) share: Option<Share>,
}

/// Not sent yet.
pub(crate) const NOT_SENT: u64 = u64::MAX;

/// So many charges of a call need no allocation.
pub(crate) const FEW: usize = 8;

/// The calls, in places that are used again.
#[derive(Debug)]
pub(crate) struct Calls {
    places: Vec<Place>,
    /// The first free place, which knows the next one; [`NO_PLACE`] where all are taken.
    free: u32,
    taken: usize,
}

#[derive(Debug)]
struct Place {
    /// Which use of this place it is; with [`FREE`] while there is no call in it.
    turn: u64,
    /// Of a free place: the next one.
    next: u32,
    call: Call,
}

/// A free place in which a call is being written. Nothing has happened unless it is taken.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    index: u32,
    place: &'a mut Place,
    free: &'a mut u32,
    taken: &'a mut usize,
}

impl Call {
    pub(crate) fn new() -> Self {
        Self {
            admitted_ns: 0,
            sent_ns: NOT_SENT,
            latest_ns: 0,
            charged: 0,
            few: [Charge::default(); FEW],
            more: Vec::new(),
            share: None,
        }
    }

    /// Where the next charge is to be written; it belongs to the call once it is
    /// [kept](Call::keep).
    #[inline]
    pub(crate) fn next(&mut self) -> &mut Charge {
        if self.charged < FEW { &mut self.few[self.charged] } else { self.next_of_more() }
    }

    /// What was written is one of its charges.
    #[inline]
    pub(crate) const fn keep(&mut self) {
        self.charged += 1;
    }

    #[cold]
    fn next_of_more(&mut self) -> &mut Charge {
        let index = self.charged - FEW;
        self.more.resize(index + 1, Charge::default());
        &mut self.more[index]
    }

    #[inline]
    pub(crate) fn charges(&mut self) -> impl Iterator<Item = &mut Charge> {
        let few = self.charged.min(FEW);
        self.few[..few].iter_mut().chain(&mut self.more)
    }

    /// Shows every charge, from one place in the code: cheaper than a chain of the few and of those
    /// that hardly a call has.
    #[inline(always)]
    pub(crate) fn each(&mut self, mut see: impl FnMut(&mut Charge)) {
        for index in 0..self.charged {
            let charge = match self.few.get_mut(index) {
                Some(charge) => charge,
                None => self.one_of_more(index - FEW),
            };
            see(charge);
        }
    }

    #[cold]
    fn one_of_more(&mut self, index: usize) -> &mut Charge {
        &mut self.more[index]
    }

    /// Forgets what was charged to a limit that is gone.
    pub(crate) fn forget(&mut self, limit: u32) {
        let kept: Vec<Charge> =
            self.charges().filter(|charge| charge.limit != limit).map(|charge| *charge).collect();
        self.forget_all();
        for charge in kept {
            *self.next() = charge;
            self.keep();
        }
    }

    /// Forgets every charge.
    #[inline]
    pub(crate) fn forget_all(&mut self) {
        if self.charged >= FEW {
            self.more.clear();
        }
        self.charged = 0;
    }

    #[inline]
    fn clear(&mut self) {
        self.sent_ns = NOT_SENT;
        debug_assert!(self.share.is_none(), "whoever ends a call takes its share");
        self.forget_all();
    }
}

impl Opening<'_> {
    /// The call that is being written: without charges, not sent.
    #[inline]
    pub(crate) fn call(&mut self) -> &mut Call {
        &mut self.place.call
    }

    /// The call is admitted: what it is found by from now on.
    #[inline]
    pub(crate) fn take(self) -> u64 {
        let turn = (self.place.turn + 1) % TURNS;
        self.place.turn = turn;
        *self.free = self.place.next;
        *self.taken += 1;
        turn << PLACE_BITS | u64::from(self.index)
    }
}

impl Calls {
    /// How many there may be at once.
    pub(crate) const MOST: usize = 1 << PLACE_BITS;

    /// A free place for a call; `None` where there are too many.
    #[inline]
    pub(crate) fn open(&mut self) -> Option<Opening<'_>> {
        if self.free == NO_PLACE {
            self.grow();
        }
        let Self { places, free, taken } = self;
        let index = *free;
        let place = places.get_mut(index as usize)?;
        Some(Opening { index, place, free, taken })
    }

    #[inline]
    pub(crate) fn get(&mut self, number: u64) -> Option<&mut Call> {
        let place = self.places.get_mut(index(number))?;
        (place.turn == number >> PLACE_BITS).then_some(&mut place.call)
    }

    /// Shows a call for the last time; its place is free afterwards.
    #[inline]
    pub(crate) fn remove<T>(
        &mut self,
        number: u64,
        last: impl FnOnce(&mut Call) -> T,
    ) -> Option<T> {
        let place = self.places.get_mut(index(number))?;
        // A number has 40 bits of turns: a place that is used a million times a second takes twelve
        // days to come round, and whoever holds a receipt for that long finds another call's.
        if place.turn != number >> PLACE_BITS {
            return None;
        }
        let result = last(&mut place.call);
        place.call.clear();
        place.turn |= FREE;
        place.next = self.free;
        self.free = index(number) as u32;
        self.taken -= 1;
        Some(result)
    }

    pub(crate) const fn len(&self) -> usize {
        self.taken
    }

    pub(crate) fn iter(&mut self) -> impl Iterator<Item = &mut Call> {
        self.places.iter_mut().filter(|place| place.turn < FREE).map(|place| &mut place.call)
    }

    #[cold]
    fn grow(&mut self) {
        if self.places.len() < Self::MOST {
            self.free = self.places.len() as u32;
            self.places.push(Place { turn: FREE, next: NO_PLACE, call: Call::new() });
        }
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self { places: Vec::new(), free: NO_PLACE, taken: 0 }
    }
}

#[inline]
const fn index(number: u64) -> usize {
    (number & (Calls::MOST as u64 - 1)) as usize
}

/// Bits of a number that are the place; the others are the turn.
const PLACE_BITS: u32 = 24;

/// How many turns a place has before it begins anew.
const TURNS: u64 = 1 << (u64::BITS - PLACE_BITS);

/// No call is in the place. No number has this bit in its turn, so that none finds a free place.
const FREE: u64 = 1 << 63;

/// Beyond every place.
const NO_PLACE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(calls: &mut Calls) -> u64 {
        calls.open().expect("room").take()
    }

    #[test]
    fn a_place_is_used_again_and_its_number_is_not() {
        let mut calls = Calls::default();
        let mut opening = calls.open().expect("room");
        opening.call().admitted_ns = 1;
        let one = opening.take();
        let two = insert(&mut calls);
        assert_eq!(calls.remove(one, |call| call.admitted_ns), Some(1));
        assert_eq!(calls.remove(one, |call| call.admitted_ns), None);
        let three = insert(&mut calls);
        let call = calls.get(three).expect("it is there");
        assert_eq!((call.sent_ns, call.charges().count()), (NOT_SENT, 0));
        assert!(three != one && three != two);
        assert!(calls.get(one).is_none() && calls.get(two).is_some() && calls.get(three).is_some());
        assert_eq!((calls.len(), calls.iter().count()), (2, 2));
        assert!(calls.get(u64::MAX).is_none());
    }

    #[test]
    fn a_place_that_is_used_a_thousand_times_has_a_thousand_numbers() {
        let mut calls = Calls::default();
        let mut numbers = std::collections::BTreeSet::new();
        for _ in 0..1_000 {
            let number = insert(&mut calls);
            assert!(numbers.insert(number), "{number}");
            calls.remove(number, |_| ()).expect("it is there");
        }
        assert_eq!(calls.places.len(), 1);
        assert!(numbers.iter().all(|number| calls.get(*number).is_none()));
    }

    #[test]
    fn a_place_that_was_only_opened_is_still_free() {
        let mut calls = Calls::default();
        assert!(calls.open().is_some());
        assert_eq!((calls.len(), calls.iter().count()), (0, 0));
        let one = insert(&mut calls);
        assert_eq!((calls.len(), calls.places.len()), (1, 1));
        calls.remove(one, |_| ()).expect("it is there");
        // No number finds a free place, whatever its turn.
        assert!((0..4).all(|turn| calls.get(turn << PLACE_BITS).is_none()));
    }

    #[test]
    fn places_are_used_up_and_then_none_is_left() {
        let mut calls = Calls::default();
        let numbers: Vec<u64> = (0..5).map(|_| insert(&mut calls)).collect();
        for number in &numbers {
            calls.remove(*number, |_| ()).expect("it is there");
        }
        let again: Vec<u64> = (0..5).map(|_| insert(&mut calls)).collect();
        assert_eq!((calls.places.len(), calls.free), (5, NO_PLACE));
        assert!(again.iter().all(|number| !numbers.contains(number)));
    }

    #[test]
    fn charges_beyond_the_few_are_kept_and_forgotten_as_the_others() {
        let mut call = Call::new();
        for limit in 0..12 {
            call.next().limit = limit;
            call.keep();
        }
        call.forget(3);
        call.forget(10);
        let limits: Vec<u32> = call.charges().map(|charge| charge.limit).collect();
        assert_eq!(limits, [0, 1, 2, 4, 5, 6, 7, 8, 9, 11]);
    }
}
