//! Calls in flight of one class whose output is seen as it comes, by how far they are.
//!
//! It says nothing about when they land. Invariants: a call is in the strand of the position that it
//! had when it was last seen; what was added for it is taken out again to the digit.

use super::curve::{BINS, Group, place};

/// How far a call is and how fast it goes, in keys of outputs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Its position when it was seen, in keys.
    pub(super) position: u64,
    /// When it was seen.
    pub(super) seen: u64,
    /// Keys a slot.
    pub(super) speed: u64,
}

/// Calls that are about as far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Strand {
    pub(super) group: Group,
    /// The largest input that has been in it.
    pub(super) largest: u64,
    /// Keys a slot, summed.
    speeds: u64,
    /// Where they would have been when time began, in keys and 256ths, summed.
    origins: i128,
}

/// Every call in flight whose progress is seen.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    strands: Box<[Strand; STRANDS]>,
    shift: u32,
    pub(super) calls: u64,
}

impl Pace {
    fn origin(&self, shift: u32) -> i128 {
        i128::from(self.position) * 256
            - i128::from(self.speed) * i128::from(time(self.seen, shift))
    }

    /// The position that it has by now, if it went on as fast.
    pub(super) fn at(&self, now: u64, shift: u32) -> u64 {
        let passed = now.saturating_sub(self.seen);
        let run = (u128::from(self.speed) * u128::from(passed)) >> shift;
        self.position.saturating_add(u64::try_from(run).unwrap_or(u64::MAX))
    }
}

impl Strand {
    /// Keys a slot, on average.
    pub(super) fn speed(&self) -> u64 {
        self.speeds / self.group.calls.max(1)
    }

    /// Where they are by now on average, in keys.
    pub(super) fn position(&self, now: u64, shift: u32) -> u64 {
        let sum = self.origins + i128::from(self.speeds) * i128::from(time(now, shift));
        let mean = sum / (256 * i128::from(self.group.calls.max(1)));
        u64::try_from(mean.max(0)).unwrap_or(u64::MAX)
    }
}

impl Streams {
    pub(super) fn new(shift: u32) -> Self {
        Self { strands: Box::new([Strand::default(); STRANDS]), shift, calls: 0 }
    }

    pub(super) fn add(&mut self, pace: &Pace, input: u64) {
        let strand = &mut self.strands[place(pace.position).0 / BINS_EACH];
        strand.group.calls += 1;
        strand.group.input += input;
        strand.group.squares = strand.group.squares.saturating_add(input * input);
        strand.largest = strand.largest.max(input);
        strand.speeds += pace.speed;
        strand.origins += pace.origin(self.shift);
        self.calls += 1;
    }

    pub(super) fn remove(&mut self, pace: &Pace, input: u64) {
        let strand = &mut self.strands[place(pace.position).0 / BINS_EACH];
        self.calls = self.calls.saturating_sub(1);
        if strand.group.calls <= 1 {
            *strand = Strand::default();
            return;
        }
        strand.group.calls -= 1;
        strand.group.input = strand.group.input.saturating_sub(input);
        strand.group.squares = strand.group.squares.saturating_sub(input * input);
        strand.speeds = strand.speeds.saturating_sub(pace.speed);
        strand.origins -= pace.origin(self.shift);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Strand> {
        self.strands.iter().filter(|strand| strand.group.calls > 0)
    }
}

/// A strand is two bins wide: a quarter of its positions at most.
const BINS_EACH: usize = 2;
const STRANDS: usize = BINS / BINS_EACH;

/// A moment in 256ths of a slot.
const fn time(at: u64, shift: u32) -> u64 {
    at >> (shift - 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIFT: u32 = 27;

    #[test]
    fn a_strand_moves_on_and_empties_to_nothing() {
        let mut streams = Streams::new(SHIFT);
        let pace = |position, slot: u64| Pace { position, seen: slot << SHIFT, speed: 100 };
        streams.add(&pace(3_000, 50), 7);
        streams.add(&pace(3_040, 52), 9);
        let strand = *streams.iter().next().expect("both are in it");
        assert_eq!((strand.group.calls, strand.speed()), (2, 100));
        assert_eq!(strand.position(54 << SHIFT, SHIFT), 3_320);
        streams.remove(&pace(3_000, 50), 7);
        let strand = *streams.iter().next().expect("one is in it");
        assert_eq!(strand.position(54 << SHIFT, SHIFT), 3_240);
        streams.remove(&pace(3_040, 52), 9);
        assert_eq!((streams.iter().count(), streams.calls), (0, 0));
    }
}
