//! Each call in flight, by a small number.
//!
//! It sums nothing but inputs. Invariant: a number is given again only after its call has left.

use super::streams::Pace;

/// A call in flight. Whoever holds it settles it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flight(u32);

/// What is kept of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) sent: u64,
    pub(super) class: usize,
    /// Expected, scaled.
    pub(super) input: u64,
    pub(super) seen: Seen,
    /// What the credit was charged.
    pub(super) charged: u64,
    /// What was said of it: output, input, upper amount, and how long it takes at most.
    pub(super) output: u64,
    pub(super) ask: u64,
    pub(super) upper: u64,
    pub(super) latest: u64,
}

/// What has been seen of a call's output.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    Nothing,
    /// Once: how fast it goes is not known yet.
    First {
        position: u64,
        at: u64,
    },
    Stream {
        pace: Pace,
        /// What it has put out unseen, in keys.
        hidden: u64,
    },
}

/// The calls in flight.
#[derive(Clone, Debug, Default)]
pub(super) struct Flights {
    slots: Vec<Option<Call>>,
    free: Vec<u32>,
    inputs: u64,
}

impl Seen {
    pub(super) const fn pace(&self) -> Option<&Pace> {
        match self {
            Self::Stream { pace, .. } => Some(pace),
            Self::Nothing | Self::First { .. } => None,
        }
    }

    /// When something was seen last.
    pub(super) const fn at(&self) -> u64 {
        match self {
            Self::Stream { pace, .. } => pace.seen,
            Self::First { at, .. } => *at,
            Self::Nothing => 0,
        }
    }
}

impl Flights {
    pub(super) fn add(&mut self, call: Call) -> Flight {
        self.inputs += call.input;
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(call);
            return Flight(slot);
        }
        self.slots.push(Some(call));
        Flight(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
    }

    pub(super) fn get_mut(&mut self, flight: Flight) -> Option<&mut Call> {
        self.slots.get_mut(flight.0 as usize)?.as_mut()
    }

    pub(super) fn get(&self, flight: Flight) -> Option<&Call> {
        self.slots.get(flight.0 as usize)?.as_ref()
    }

    pub(super) fn remove(&mut self, flight: Flight) -> Option<Call> {
        let call = self.slots.get_mut(flight.0 as usize)?.take()?;
        self.free.push(flight.0);
        self.inputs -= call.input;
        Some(call)
    }

    /// Calls in flight.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Their inputs, scaled.
    pub(super) const fn inputs(&self) -> u64 {
        self.inputs
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Call> {
        self.slots.iter().flatten()
    }
}
