//! Calls that are alike: what they came to, and which of them are in flight.
//!
//! It admits nothing. Invariant: it remembers [`SAMPLE`] calls at most, the latest ones; until it has
//! [`PRIORS`] of its own, what the first call said of itself stands for the rest.

use paceline_core::Tag;

use super::cohorts::Cohorts;
use super::curve::{Curve, Part, begins, place};
use super::flights::Flight;
use super::streams::{Pace, Streams};

/// What a call that has not been sent yet is thought to be, scaled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlook {
    /// Mean, standard deviation and most of its output.
    pub(super) output: u64,
    pub(super) spread: u64,
    pub(super) most: u64,
    /// When it is over at the soonest and at the latest, as keys of ages.
    pub(super) earliest: u64,
    pub(super) latest: u64,
}

/// The moments that are looked ahead to, as keys of ages: the next answers, then each quarter of
/// the window.
pub(super) type Reach = [u64; 5];

/// Whether what is remembered in full is looked at too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Soon {
    Yes,
    No,
}

/// One class of calls.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) name: Option<Tag>,
    /// Bin of the age at the end and output of the latest calls, packed.
    sample: Vec<u32>,
    next: usize,
    /// Calls not yet in the curves.
    changed: usize,
    /// What outputs were expected to be and were, in the mean of the latest.
    expected: u64,
    actual: u64,
    pub(super) by_age: Curve,
    /// Where progress has been seen.
    pub(super) by_output: Option<Curve>,
    /// A unit of the keys of outputs is 2^this.
    output_shift: u32,
    pub(super) cohorts: Cohorts,
    pub(super) streams: Option<Streams>,
    /// How long nothing is seen of a call, at the least.
    silence: Option<u64>,
    fresh: [Part; 5],
    /// Whether a call of it has ended in this run.
    has_learned: bool,
    /// The call that made it, while that is in flight.
    pub(super) first: Option<Flight>,
    /// Which of those of before a restart it goes on from.
    recalled: Option<usize>,
}

impl Class {
    pub(super) fn new(name: Option<Tag>, outlook: &Outlook, reach: &Reach) -> Self {
        let mut sample = priors(outlook);
        sample.reserve_exact(SAMPLE - sample.len());
        let mut class = Self {
            name,
            sample,
            next: 0,
            changed: SAMPLE,
            expected: outlook.output * WEIGHT,
            actual: outlook.output * WEIGHT,
            by_age: Curve::new(),
            by_output: None,
            // A unit where the bins begin to widen is a five-hundredth of the most or less.
            output_shift: (64 - outlook.most.leading_zeros()).saturating_sub(15),
            cohorts: Cohorts::new(),
            streams: None,
            silence: None,
            fresh: [Part::default(); 5],
            has_learned: false,
            first: None,
            recalled: None,
        };
        class.refresh(reach, Soon::Yes);
        class
    }

    /// What an output that is said to be this much is expected to be.
    pub(super) fn corrected(&self, output: u64) -> u64 {
        if self.expected == self.actual {
            return output;
        }
        let corrected =
            u128::from(output) * u128::from(self.actual) / u128::from(self.expected.max(1));
        u64::try_from(corrected).unwrap_or(u64::MAX)
    }

    /// A call of this age came to this output.
    pub(super) fn learn(&mut self, age: u64, output: u64, expected: u64) {
        self.remember(pack(place(age).0, output));
        self.has_learned = true;
        self.changed += 1;
        self.expected = self.expected.saturating_add(expected.min(MOST_OUTPUT));
        self.actual = self.actual.saturating_add(output.min(MOST_OUTPUT));
        if self.expected.max(self.actual) > MOST_OUTPUT << 9 || self.next == 0 {
            self.expected /= 2;
            self.actual /= 2;
        }
    }

    /// Builds the curves again where enough is new. Not `soon`, a full sample waits for the next
    /// occasion.
    #[inline]
    pub(super) fn refresh(&mut self, reach: &Reach, soon: Soon) {
        let is_full = self.sample.len() == SAMPLE;
        let is_time = soon == Soon::Yes || !is_full;
        if is_time && self.changed > 0 && self.changed * FRESHNESS >= self.sample.len() {
            self.rebuild(reach);
        }
    }

    fn rebuild(&mut self, reach: &Reach) {
        self.changed = 0;
        self.by_age.rebuild(self.sample.iter().map(|entry| unpack(*entry)));
        let shift = self.output_shift;
        if let Some(curve) = &mut self.by_output {
            curve.rebuild(self.sample.iter().map(|entry| {
                let output = unpack(*entry).1;
                (place(u64::from(output) << 8 >> shift).0, output)
            }));
        }
        self.reach(reach);
    }

    /// Other moments are looked ahead to.
    pub(super) fn reach(&mut self, reach: &Reach) {
        let start = self.by_age.ahead(0);
        let Some(reciprocal) = start.reciprocal() else { return };
        for (fresh, key) in self.fresh.iter_mut().zip(reach) {
            *fresh = start.part(&self.by_age.ahead(*key), reciprocal);
        }
    }

    /// By the moments looked ahead to.
    #[inline]
    pub(super) const fn fresh(&self) -> &[Part; 5] {
        &self.fresh
    }

    /// The age at which a middling call of what it remembers ends, as a key.
    pub(super) fn middle_age(&self) -> u64 {
        let mut bins: Vec<_> = self.sample.iter().map(|entry| unpack(*entry).0).collect();
        bins.sort_unstable();
        bins.get(bins.len() / 2).map_or(0, |bin| begins(*bin))
    }

    /// From now on progress is seen.
    pub(super) fn stream(&mut self, shift: u32, reach: &Reach) -> &mut Streams {
        if self.by_output.is_none() {
            self.by_output = Some(Curve::new());
            self.rebuild(reach);
        }
        self.streams.get_or_insert_with(|| Streams::new(shift))
    }

    /// An output as a key.
    pub(super) fn output_key(&self, output: u64) -> u64 {
        (output.min(MOST_OUTPUT) << 8) >> self.output_shift
    }

    /// How much longer than usual nothing was seen of a call: what it put out unseen meanwhile.
    pub(super) fn silent(&mut self, silence: u64) -> u64 {
        let least = self.silence.unwrap_or(silence).min(silence);
        // The least of all would be the least of a whole life: let it creep up.
        self.silence = Some(least + (silence - least) / 64);
        silence - least
    }

    /// A call in flight.
    pub(super) fn enter(&mut self, sent: u64, pace: Option<&Pace>, input: u64, shift: u32) {
        match (pace, &mut self.streams) {
            (Some(pace), Some(streams)) => streams.add(pace, input),
            _ => self.cohorts.add(sent, input, shift),
        }
    }

    /// And no longer.
    pub(super) fn leave(&mut self, sent: u64, pace: Option<&Pace>, input: u64) {
        match (pace, &mut self.streams) {
            (Some(pace), Some(streams)) => streams.remove(pace, input),
            _ => self.cohorts.remove(sent, input),
        }
    }

    /// A call that was sent then never left.
    pub(super) fn take_back(&mut self, sent: u64, pace: Option<&Pace>, input: u64) {
        match pace {
            Some(_) => self.leave(sent, pace, input),
            None => self.cohorts.take_back(sent, input),
        }
    }

    /// Makes room for the calls of one more slot.
    pub(super) fn make_room(&mut self, now: u64) {
        self.cohorts.make_room(now);
    }

    /// Whether it would not be there without this call, which has left.
    pub(super) fn is_only_for(&self, call: Flight) -> bool {
        let streams = self.streams.as_ref().map_or(0, |streams| streams.calls);
        self.first == Some(call) && !self.has_learned && self.cohorts.is_empty() && streams == 0
    }

    /// Where among those of before a restart it was.
    pub(super) const fn recalled(&self) -> Option<usize> {
        self.recalled
    }

    /// Bins and outputs of what it remembers, oldest first, without what stands for its own.
    pub(super) fn remembered(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        let (new, old) = self.sample.split_at(self.next);
        let old = if self.sample.len() == SAMPLE { old } else { &[] };
        old.iter().chain(new).map(|entry| unpack(*entry))
    }

    /// What it takes where no progress is seen, in bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.sample.capacity() * 4 + self.by_age.bytes() + self.cohorts.bytes()
    }

    /// Remembers what was saved, in this place.
    pub(super) fn recall(&mut self, place: usize, calls: &[(usize, u64)], reach: &Reach) {
        self.recalled = Some(place);
        for (bin, output) in calls.iter().skip(calls.len().saturating_sub(SAMPLE)) {
            self.remember(pack(*bin, *output));
        }
        self.rebuild(reach);
    }

    fn remember(&mut self, entry: u32) {
        match self.sample.get_mut(self.next) {
            Some(oldest) => *oldest = entry,
            None => self.sample.push(entry),
        }
        self.next = (self.next + 1) % SAMPLE;
    }
}

/// Calls that stand for its own: of a skew distribution with the mean and the spread of the first
/// one, ending the later the longer they are, as at a constant speed.
fn priors(outlook: &Outlook) -> Vec<u32> {
    let span = outlook.latest.saturating_sub(outlook.earliest);
    let calls = QUANTILES.iter().cycle().take(PRIORS - 1).map(|quantile| {
        let away = outlook.spread * quantile.unsigned_abs() / 1_000;
        let output =
            if *quantile < 0 { outlook.output.saturating_sub(away) } else { outlook.output + away };
        let output = output.min(outlook.most);
        let passed = u128::from(span) * u128::from(output) / u128::from(outlook.most.max(1));
        let age = outlook.earliest.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX));
        pack(place(age).0, output)
    });
    // One is as long as it can be, so that nothing is taken for overdue before that.
    calls.chain([pack(place(outlook.latest).0, outlook.most)]).collect()
}

fn pack(bin: usize, output: u64) -> u32 {
    let bin = u32::try_from(bin).unwrap_or(0);
    let output = u32::try_from(output.min(MOST_OUTPUT)).unwrap_or(0);
    bin << OUTPUT_BITS | output
}

const fn unpack(entry: u32) -> (usize, u32) {
    ((entry >> OUTPUT_BITS) as usize, entry & ((1 << OUTPUT_BITS) - 1))
}

/// Calls that a class remembers.
pub(super) const SAMPLE: usize = 512;

/// From so many of its own on, only these count.
const PRIORS: usize = 48;

/// How many of its own the first call's expectation weighs as much as.
const WEIGHT: u64 = 4;

/// Curves are built again when one in so many of the calls is new.
const FRESHNESS: usize = 16;

/// Bits of an output in the sample; two limits are the most.
const OUTPUT_BITS: u32 = 25;
pub(super) const MOST_OUTPUT: u64 = (1 << OUTPUT_BITS) - 1;

/// Sixteen equal parts of an exponential distribution with mean 0 and deviation 1, in thousandths.
const QUANTILES: [i64; 16] =
    [-968, -902, -830, -753, -670, -579, -479, -368, -242, -99, 68, 268, 520, 856, 1_367, 2_466];

#[cfg(test)]
mod tests {
    use super::*;

    /// Each is what half of its sixteenth stays below: at a share of u that is -ln(1 - u), less the mean.
    #[test]
    fn the_sixteen_parts_are_those_of_an_exponential_distribution() {
        for (part, told) in QUANTILES.iter().enumerate() {
            let share = (part as f64 + 0.5) / 16.0;
            let value = -(1.0 - share).ln() - 1.0;
            assert!(
                (value * 1_000.0 - *told as f64).abs() <= 1.0,
                "part {part}: {value} and {told}"
            );
        }
        let (sum, squares) = QUANTILES.iter().fold((0, 0), |(a, b), n| (a + n, b + n * n));
        let (mean, deviation) = (sum as f64 / 16_000.0, (squares as f64 / 16.0).sqrt() / 1_000.0);
        assert!(mean.abs() < 0.05, "its mean is about none: {mean}");
        assert!((0.85..1.0).contains(&deviation), "its tail is cut: {deviation}");
    }
}
