//! The keys that are kept, each in a place of its own that is used again.
//!
//! It knows no limits. Invariant: a key has one place at most, and there are never more than the
//! bound; a place that calls in flight point at is never given to another key unless they have
//! been told.

use std::borrow::Borrow;

use super::index::{Index, Tag};
use super::pace::Arrival;

/// Keys in places.
#[derive(Clone)]
pub(super) struct Keys<K> {
    index: Index,
    places: Vec<Place<K>>,
    free: Vec<u32>,
    /// The next place to look at for an idle key.
    hand: u32,
}

/// What is asked for first lies in one cache line, where the key is not larger than three words.
#[derive(Clone)]
#[repr(align(64))]
struct Place<K> {
    /// `None` where the place is free.
    key: Option<K>,
    tag: Tag,
    in_flight: u32,
    first: Arrival,
}

/// What a key has of its own in its place.
#[derive(Debug)]
pub(super) struct Own<'a> {
    /// How many of its calls are in flight.
    pub(super) in_flight: &'a mut u32,
    /// Its part of the first pacer.
    pub(super) first: &'a mut Arrival,
}

impl<K> Keys<K> {
    /// How many bytes a place takes.
    #[cfg(test)]
    pub(super) const PLACE: usize = size_of::<Place<K>>();

    pub(super) fn new() -> Self {
        Self { index: Index::new(), places: Vec::new(), free: Vec::new(), hand: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// How many places there are, free or not.
    pub(super) fn places(&self) -> u32 {
        self.places.len() as u32
    }

    /// The place of a key.
    #[inline]
    pub(super) fn find<Q: Eq + ?Sized>(&self, tag: Tag, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
    {
        self.index.find(tag, |place| {
            let found = self.places[place as usize].key.as_ref();
            found.is_some_and(|found| found.borrow() == key)
        })
    }

    /// Gives a place to a key that has none: a free one, else one at the end.
    pub(super) fn insert(&mut self, tag: Tag, key: K) -> u32 {
        let new = Place { key: Some(key), tag, in_flight: 0, first: Arrival::default() };
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = new;
                place
            }
            None => {
                self.places.push(new);
                self.places.len() as u32 - 1
            }
        };
        let places = &self.places;
        self.index.insert(tag, place, |other| places[other as usize].tag);
        place
    }

    /// Forgets the key in a place.
    pub(super) fn remove(&mut self, place: u32) {
        if self.places[place as usize].key.take().is_some() {
            let places = &self.places;
            let tag_of = |other: u32| places[other as usize].tag;
            self.index.remove(tag_of(place), place, tag_of);
            self.free.push(place);
        }
    }

    /// The place that the hand points at, if a key is in it; the hand moves on.
    pub(super) fn next_place(&mut self) -> Option<u32> {
        let place = self.hand;
        self.hand = if place as usize + 1 < self.places.len() { place + 1 } else { 0 };
        self.places.get(place as usize)?.key.as_ref().map(|_| place)
    }

    /// Every key and its place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &K)> {
        (0..).zip(&self.places).filter_map(|(place, kept)| Some((place, kept.key.as_ref()?)))
    }

    /// What the key in a place has of its own.
    #[inline]
    pub(super) fn own(&mut self, place: u32) -> Own<'_> {
        let Place { in_flight, first, .. } = &mut self.places[place as usize];
        Own { in_flight, first }
    }
}
