//! What a run came to.
//!
//! It judges nothing. Invariant: shares are of what the limit allows in the time counted, which
//! begins after the first window.

use super::workload::{SECOND, real};

/// The width of a bin of the used share.
const BIN: f64 = 0.001;

/// Shares above this are taken as this.
const BINS: usize = 20_000;

/// What is counted while a run goes on.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// Tokens completed after the first window, weighted as the mean over all windows is.
    pub(super) ours: f64,
    pub(super) theirs: f64,
    /// Calls completed, the first window included; so for what follows.
    pub(super) calls: u64,
    pub(super) sends: u64,
    /// When a call was refused for its tokens, and for its being one.
    pub(super) refused: Vec<u64>,
    pub(super) refused_as_requests: u64,
    /// Calls refused at least once.
    pub(super) ever_refused: u64,
    /// Refusals of the others on the same quota.
    pub(super) theirs_refused: u64,
    /// How long calls waited before they first left, in nanoseconds.
    pub(super) waits: Vec<u64>,
    /// How often the used share was in each bin.
    shares: Vec<u64>,
    samples: u64,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) tally: Tally,
    /// Tokens completed over those that the limit allowed: ours, and theirs.
    pub(super) used: f64,
    pub(super) theirs: f64,
    /// The highest window over the limit.
    pub(super) highest: f64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            ours: 0.0,
            theirs: 0.0,
            calls: 0,
            sends: 0,
            refused: Vec::new(),
            refused_as_requests: 0,
            ever_refused: 0,
            theirs_refused: 0,
            waits: Vec::new(),
            shares: vec![0; BINS],
            samples: 0,
        }
    }

    /// Takes in a moment's used share, in thousandths.
    pub(super) fn sample(&mut self, used: u64, limit: u64) {
        let bin = (u128::from(used) * 1_000).div_ceil(u128::from(limit));
        let bin = usize::try_from(bin).unwrap_or(BINS).min(BINS - 1);
        self.shares[bin] += 1;
        self.samples += 1;
    }

    /// What the used share was below for all but one in a thousand of the time.
    pub(super) fn share_999(&self) -> f64 {
        let rest = self.samples / 1_000;
        let mut above = 0;
        for (bin, count) in self.shares.iter().enumerate().rev() {
            above += count;
            if above > rest {
                return real(bin as u64) * BIN;
            }
        }
        0.0
    }

    /// Refusals of all kinds per 10,000 sends.
    pub(super) fn refused_per_10_000(&self) -> f64 {
        let refused = self.refused.len() as u64 + self.refused_as_requests;
        per_10_000(refused, self.sends)
    }

    /// Calls refused at least once, per 10,000 calls that left.
    pub(super) fn ever_refused_per_10_000(&self) -> f64 {
        per_10_000(self.ever_refused, self.waits.len() as u64)
    }

    /// Refusals for tokens between two moments.
    pub(super) fn refused_between(&self, from: u64, to: u64) -> u64 {
        self.refused.iter().filter(|at| (from..to).contains(*at)).count() as u64
    }

    /// The wait that all but one in a hundred stay below, in seconds.
    pub(super) fn wait_99(&self) -> f64 {
        let mut waits = self.waits.clone();
        let Some(last) = waits.len().checked_sub(1) else { return 0.0 };
        let (_, wait, _) = waits.select_nth_unstable(last * 99 / 100);
        real(*wait) / real(SECOND)
    }
}

fn per_10_000(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { real(count) * 10_000.0 / real(of) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_one_in_a_thousand_are_below() {
        let mut tally = Tally::new();
        (0..9_989).for_each(|_| tally.sample(900, 1_000));
        (0..11).for_each(|_| tally.sample(1_500, 1_000));
        assert!((tally.share_999() - 1.5).abs() < 1e-9);
        (0..10_000).for_each(|_| tally.sample(900, 1_000));
        assert!((tally.share_999() - 0.9).abs() < 1e-9);
    }
}
