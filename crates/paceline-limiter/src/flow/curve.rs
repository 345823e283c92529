//! What calls that are alike came to, as a function of a key: their age, or what they have put out.
//!
//! It keeps no calls, only sums over those it was built from. Invariant: between two bins values are
//! interpolated, so that they fall (or, for the largest amount, rise) without steps.

use super::class::{MOST_OUTPUT, SAMPLE};

/// Bins of a curve: eight linear ones, then eight an octave, up to 2^16 units.
pub(super) const BINS: usize = 112;

/// One past the largest key.
pub(super) const KEYS: u64 = 1 << 24;

/// Sums over the calls of a sample whose key is in a bin or behind it.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    rows: Box<[Row; BINS + 1]>,
}

/// Two words, as a limit has a curve of them for each class. Each word has a count in its low bits and a
/// sum above them, so that words are added, and the lesser taken from the greater, as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// Calls, and their squares without the last eight bits.
    calls_squares: u64,
    /// The largest amount in this bin or before it, and the sum of amounts.
    most_sum: u64,
}

/// Sums over the calls of a sample that are still to end at a key, times 256.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ahead {
    calls: u64,
    sum: u64,
    squares: u64,
}

/// What a call lands in some time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    /// In 2^24ths.
    chance: u64,
    /// Mean output, in 256ths, and mean square; what does not land counts as zero.
    output: u64,
    squares: u64,
}

/// Calls in flight, as sums.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    pub(super) calls: u64,
    /// Inputs, and their squares.
    pub(super) input: u64,
    pub(super) squares: u64,
}

/// Keys have eight bits below the unit. The bin of a key, and how far in it the key lies, of 256.
pub(super) const fn place(key: u64) -> (usize, u64) {
    if key >= KEYS {
        return (BINS - 1, 255);
    }
    let top = 63 - (key | 1 << LINEAR).leading_zeros();
    let shift = top - FINE;
    let bin = ((top - LINEAR) << FINE) as usize + (key >> shift) as usize;
    (bin, (key >> (shift - 8)) & 255)
}

/// The key at which a bin begins.
pub(super) const fn begins(bin: usize) -> u64 {
    let octave = (bin >> FINE).saturating_sub(1);
    ((bin - (octave << FINE)) as u64) << (8 + octave)
}

impl Curve {
    pub(super) fn new() -> Self {
        Self { rows: Box::new([Row::default(); BINS + 1]) }
    }

    /// Builds it again, from the bin and the output of each call.
    pub(super) fn rebuild(&mut self, calls: impl Iterator<Item = (usize, u32)>) {
        self.rows.fill(Row::default());
        for (bin, output) in calls {
            self.rows[bin].add(u64::from(output));
        }
        let mut most = 0;
        for row in self.rows.iter_mut() {
            most = row.most().max(most);
            row.most_sum = row.sum() << MOST_BITS | most;
        }
        let mut behind = Row::default();
        for row in self.rows.iter_mut().rev() {
            row.calls_squares += behind.calls_squares;
            row.most_sum += behind.sum() << MOST_BITS;
            behind = *row;
        }
    }

    /// What it takes, in bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.rows)
    }

    /// What is still to end at a key.
    #[inline]
    pub(super) fn ahead(&self, key: u64) -> Ahead {
        let (bin, part) = place(key);
        let (here, next) = (&self.rows[bin], &self.rows[bin + 1]);
        let ends = here.calls_squares - next.calls_squares;
        Ahead {
            calls: calls(here.calls_squares) * 256 - calls(ends) * part,
            sum: here.sum() * 256 - (here.sum() - next.sum()) * part,
            squares: squares(here.calls_squares) * 256 - squares(ends) * part,
        }
    }

    /// The largest amount of a call that ends before a key.
    #[inline]
    pub(super) fn most(&self, key: u64) -> u64 {
        let (bin, part) = place(key);
        let here = self.rows[bin].most();
        let before = bin.checked_sub(1).map_or(here, |bin| self.rows[bin].most());
        before + (((here - before) * part) >> 8)
    }

    /// The largest amount of all.
    #[inline]
    pub(super) fn largest(&self) -> u64 {
        self.rows[BINS].most()
    }
}

impl Row {
    /// One more call of this bin.
    fn add(&mut self, output: u64) {
        self.calls_squares += ((output * output) >> 8) << CALLS_BITS | 1;
        let most = self.most().max(output);
        self.most_sum = (self.sum() + output) << MOST_BITS | most;
    }

    const fn most(&self) -> u64 {
        self.most_sum & ((1 << MOST_BITS) - 1)
    }

    const fn sum(&self) -> u64 {
        self.most_sum >> MOST_BITS
    }
}

const fn calls(word: u64) -> u64 {
    word & ((1 << CALLS_BITS) - 1)
}

const fn squares(word: u64) -> u64 {
    word >> CALLS_BITS
}

impl Ahead {
    /// 2^40 over its calls; `None` where it is less than half a call: whoever is that far is overdue.
    #[inline]
    pub(super) const fn reciprocal(&self) -> Option<u64> {
        if self.calls < 128 { None } else { Some((1 << 40) / self.calls) }
    }

    /// What a call that is here lands before `later`.
    #[inline]
    pub(super) const fn part(&self, later: &Self, reciprocal: u64) -> Part {
        Part {
            chance: scale((self.calls - later.calls) << 24, reciprocal),
            output: scale((self.sum - later.sum) << 8, reciprocal),
            squares: scale(self.squares - later.squares, reciprocal) << 8,
        }
    }
}

impl Part {
    /// Of all calls of a group, rounded up.
    #[inline]
    pub(super) const fn mean(&self, group: &Group) -> u64 {
        (group.calls.saturating_mul(self.output) >> 8)
            + ((group.input as u128 * self.chance as u128) >> 24) as u64
            + 1
    }

    /// Of a single call with this input.
    #[inline]
    pub(super) const fn amount(&self, input: u64) -> u64 {
        (self.output >> 8) + ((input as u128 * self.chance as u128) >> 24) as u64 + 1
    }

    /// The variance of that of a group.
    #[inline]
    pub(super) const fn variance(&self, group: &Group) -> u64 {
        let output = self.output >> 8;
        let rest = (1_u64 << 24).saturating_sub(self.chance) as u128;
        let outputs = group.calls as u128 * self.squares.saturating_sub(output * output) as u128;
        let both = (group.input as u128 * output as u128 * 2 * rest) >> 24;
        let inputs = (((group.squares as u128 * self.chance as u128) >> 24) * rest) >> 24;
        let sum = outputs + both + inputs;
        if sum >> 60 == 0 { sum as u64 } else { 1 << 60 }
    }
}

#[inline]
const fn scale(value: u64, reciprocal: u64) -> u64 {
    ((value as u128 * reciprocal as u128) >> 40) as u64
}

/// Bits of a count of calls, of which there are [`SAMPLE`] at most.
const CALLS_BITS: u32 = 10;

/// Bits of an amount, which is [`MOST_OUTPUT`] at most.
const MOST_BITS: u32 = 25;

// Every count, every amount, and every sum of as many of them as there can be, has its place.
const _: () = {
    assert!(SAMPLE < 1 << CALLS_BITS && MOST_OUTPUT < 1 << MOST_BITS);
    assert!((SAMPLE as u64) * MOST_OUTPUT < 1 << (64 - MOST_BITS));
    assert!((SAMPLE as u64) * ((MOST_OUTPUT * MOST_OUTPUT) >> 8) < 1 << (64 - CALLS_BITS));
};

/// Eight bins an octave: a bin is 6 to 12 % of its key wide, and within it values are interpolated.
const FINE: u32 = 3;

/// Keys below 2^this are binned linearly, a unit a bin.
const LINEAR: u32 = FINE + 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_ascend_without_gaps_and_the_last_takes_the_rest() {
        let mut last = place(0);
        for key in 1..KEYS {
            let next = place(key);
            assert!(next.0 == last.0 && next.1 >= last.1 || next.0 == last.0 + 1, "{key}");
            assert!(next.0 == last.0 || begins(next.0) == key, "{key}");
            last = next;
        }
        assert_eq!(last, (BINS - 1, 255));
        assert_eq!(place(u64::MAX), last);
    }

    #[test]
    fn what_lands_is_what_ends_between_two_keys() {
        let mut curve = Curve::new();
        // One call ends in each of the first eight units, with its number as output.
        curve.rebuild((0..8).map(|call| (call as usize, call * 100)));
        let (here, later) = (curve.ahead(4 * 256), curve.ahead(6 * 256));
        let reciprocal = here.reciprocal().expect("four are left");
        let group = Group { calls: 10, input: 500, squares: 25_000 };
        // Half of them land, with 400 or 500 and an input of 50.
        let part = here.part(&later, reciprocal);
        let mean = part.mean(&group);
        assert!((2_500..=2_502).contains(&mean), "{mean}");
        // A call is 0, 0, 450 or 550: the variance is 63,750, of ten 637,500.
        let variance = part.variance(&group);
        assert!((625_000..=645_000).contains(&variance), "{variance}");
        assert_eq!(curve.most(3 * 256), 200);
        assert!(curve.ahead(8 * 256).reciprocal().is_none());
    }
}
