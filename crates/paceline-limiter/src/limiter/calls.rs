//! Calls that were admitted and are not settled, each found by its receipt's number.
//!
//! It knows no limits. Invariant: a number finds the call it was given to or none: a place is used
//! again, but its number is another.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::queue::Share;
use crate::state::Charge;

/// One admitted call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// When it was admitted, and when it left; [`NOT_SENT`] before that.
    pub(crate) admitted_ns: u64,
    pub(crate) sent_ns: u64,
    /// By when it is over, counted from its sending.
    pub(crate) latest: Duration,
    /// What its caller was charged, where shares are fair.
    pub(crate) share: Option<Share>,
    charged: usize,
    few: [Charge; FEW],
    more: Vec<Charge>,
}

/// Not sent yet.
pub(crate) const NOT_SENT: u64 = u64::MAX;

/// So many charges of a call need no allocation.
pub(crate) const FEW: usize = 8;

/// The calls, in places that are used again.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place {
    /// Which use of this place it is; odd while there is a call in it.
    turn: u64,
    call: Call,
}

impl Call {
    pub(crate) fn new() -> Self {
        Self {
            admitted_ns: 0,
            sent_ns: NOT_SENT,
            latest: Duration::ZERO,
            share: None,
            charged: 0,
            few: [Charge::default(); FEW],
            more: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn charge(&mut self, charge: Charge) {
        match self.few.get_mut(self.charged) {
            Some(place) => *place = charge,
            None => self.more.push(charge),
        }
        self.charged += 1;
    }

    #[inline]
    pub(crate) fn charges(&mut self) -> impl Iterator<Item = &mut Charge> {
        let few = self.charged.min(FEW);
        self.few[..few].iter_mut().chain(&mut self.more)
    }

    /// Forgets what was charged to a limit that is gone.
    pub(crate) fn forget(&mut self, limit: u32) {
        let kept: Vec<Charge> =
            self.charges().filter(|charge| charge.limit != limit).map(|charge| *charge).collect();
        self.charged = 0;
        self.more.clear();
        kept.into_iter().for_each(|charge| self.charge(charge));
    }

    fn clear(&mut self) {
        self.sent_ns = NOT_SENT;
        self.share = None;
        self.charged = 0;
        self.more.clear();
    }
}

impl Calls {
    /// How many there may be at once.
    pub(crate) const MOST: usize = 1 << PLACE_BITS;

    /// A place for a call and the number it is found by; `None` where there are too many.
    #[inline]
    pub(crate) fn insert(&mut self) -> Option<(u64, &mut Call)> {
        let index = match self.free.pop() {
            Some(index) => index as usize,
            None => self.grow()?.get() - 1,
        };
        let place = &mut self.places[index];
        place.turn += 1;
        Some((place.turn << PLACE_BITS | index as u64, &mut place.call))
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
        let result = last(self.get(number)?);
        let index = index(number);
        let place = &mut self.places[index];
        place.call.clear();
        // Even: no call. A number's 40 bits of turns are not used up in an age of the universe
        // that this program will see: a place that is used a million times a second takes six days
        // to come round, and whoever holds a receipt for that long finds another call's.
        place.turn = (place.turn + 1) & (u64::MAX >> PLACE_BITS);
        self.free.push(index as u32);
        Some(result)
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn iter(&mut self) -> impl Iterator<Item = &mut Call> {
        self.places.iter_mut().filter(|place| place.turn % 2 == 1).map(|place| &mut place.call)
    }

    #[cold]
    fn grow(&mut self) -> Option<NonZeroUsize> {
        if self.places.len() >= Self::MOST {
            return None;
        }
        self.places.push(Place { turn: 0, call: Call::new() });
        NonZeroUsize::new(self.places.len())
    }
}

const fn index(number: u64) -> usize {
    (number & (Calls::MOST as u64 - 1)) as usize
}

/// Bits of a number that are the place; the others are the turn.
const PLACE_BITS: u32 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_its_number_is_not() {
        let mut calls = Calls::default();
        let (one, call) = calls.insert().expect("room");
        call.admitted_ns = 1;
        let (two, _) = calls.insert().expect("room");
        assert_eq!(calls.remove(one, |call| call.admitted_ns), Some(1));
        assert_eq!(calls.remove(one, |call| call.admitted_ns), None);
        let (three, call) = calls.insert().expect("room");
        assert_eq!((call.sent_ns, call.charges().count()), (NOT_SENT, 0));
        assert!(three != one && three != two);
        assert!(calls.get(one).is_none() && calls.get(two).is_some() && calls.get(three).is_some());
        assert_eq!((calls.len(), calls.iter().count()), (2, 2));
        assert!(calls.get(u64::MAX).is_none());
    }

    #[test]
    fn charges_beyond_the_few_are_kept_and_forgotten_as_the_others() {
        let mut call = Call::new();
        for limit in 0..12 {
            let mut charge = Charge::default();
            charge.limit = limit;
            call.charge(charge);
        }
        call.forget(3);
        call.forget(10);
        let limits: Vec<u32> = call.charges().map(|charge| charge.limit).collect();
        assert_eq!(limits, [0, 1, 2, 4, 5, 6, 7, 8, 9, 11]);
    }
}
