//! How long an answer takes: to its first token, per token, and to its end.
//!
//! All three are learned as the lengths are, for calls that are alike. Invariants: a range is never
//! the wrong way round; nothing takes longer than [`LatencyModel::MOST`].

use std::time::Duration;

use paceline_core::Completion;
use serde::{Deserialize, Serialize};

use crate::output::OutputKey;
use crate::spread::{Distribution, Kind, Seen, Tree};

/// The times of one model's answers, from the sending on.
///
/// ```
/// use std::time::Duration;
/// use paceline_budget::{LatencyModel, OutputKey, Timing};
///
/// let mut model = LatencyModel::default();
/// let key = OutputKey::new();
/// for _ in 0..100 {
///     model.learn(&key, &Timing::new(Duration::from_secs(2)));
/// }
/// let range = model.completion(&key);
/// assert!(range.earliest() > Duration::from_millis(1_500));
/// assert!(range.latest() < Duration::from_millis(3_000));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyModel {
    whole: Tree,
    first: Tree,
    pace: Tree,
}

/// When the parts of an answer came, counted from its sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    whole: Duration,
    first: Option<Duration>,
    output_tokens: u64,
}

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAge {
    age: Duration,
    first: Option<Duration>,
    seen: u64,
}

/// A tenth of a millisecond: what times are counted in.
const UNIT: u128 = 100_000;
/// Nanoseconds: what the time per token is counted in.
const PACE_UNIT: f64 = 100.0;
/// The share of completions that lies inside of a range: as many are earlier as later.
const INSIDE: f64 = 0.95;

impl Timing {
    /// An answer that was over after this long.
    pub const fn new(whole: Duration) -> Self {
        Self { whole, first: None, output_tokens: 0 }
    }

    /// With the time to its first token, of so many in all. Only a stream shows it.
    #[must_use]
    pub const fn streamed(mut self, first: Duration, output_tokens: u64) -> Self {
        self.first = Some(first);
        self.output_tokens = output_tokens;
        self
    }
}

impl StreamAge {
    /// A call that was sent so long ago and has shown nothing yet.
    pub const fn silent(age: Duration) -> Self {
        Self { age, first: None, seen: 0 }
    }

    /// One that began to show tokens after `first`, and has shown so many.
    #[must_use]
    pub const fn shown(mut self, first: Duration, tokens: u64) -> Self {
        self.first = Some(first);
        self.seen = tokens;
        self
    }
}

impl Default for LatencyModel {
    /// Before any answer: 5 s in the middle, 95 % between 0.5 and 52 s, 99.9 % below 3.4 minutes. The
    /// first token after half a second, then 80 a second.
    fn default() -> Self {
        Self {
            whole: Tree::new(Kind { typical: 50_000.0, deviation: 1.2 }),
            first: Tree::new(Kind { typical: 5_000.0, deviation: 1.0 }),
            pace: Tree::new(Kind { typical: 125_000.0, deviation: 0.8 }),
        }
    }
}

impl LatencyModel {
    /// The longest time it tells: 3 hours and 43 minutes.
    pub const MOST: Duration = Duration::from_micros(((1 << 27) - 1) * 100);

    /// When a call will be over: 95 % are over inside of this range, and as many before it as after.
    pub fn completion(&self, key: &OutputKey) -> Completion {
        self.within(key, INSIDE)
    }

    /// The range that a share of the calls, from 0 to 1, is over inside of.
    pub fn within(&self, key: &OutputKey, share: f64) -> Completion {
        let [early, late] = self.whole.quantiles(&key.ladder, ends(share));
        Completion::between(time(early), time(late))
    }

    /// By when a call is over with this chance, from 0 to 1.
    pub fn over_by(&self, key: &OutputKey, chance: f64) -> Duration {
        let [over] = self.whole.quantiles(&key.ladder, [chance]);
        time(over)
    }

    /// The mean time to the end.
    pub fn mean(&self, key: &OutputKey) -> Duration {
        time(self.whole.predict(&key.ladder).mean().round() as u64)
    }

    /// When the first token will come: 95 % come inside of this range.
    pub fn first_token(&self, key: &OutputKey) -> Completion {
        range(&self.first.predict(&key.ladder), INSIDE)
    }

    /// Tokens a second after the first, in the middle of those seen.
    pub fn tokens_per_second(&self, key: &OutputKey) -> f64 {
        1e9 / PACE_UNIT / self.pace.predict(&key.ladder).quantile(0.5).max(1) as f64
    }

    /// When a stream will be over, counted from its sending: what is left of its length at its own
    /// pace, as far as it has shown that, and never before its age.
    ///
    /// `length` is that of the whole answer, before anything of it was seen.
    pub fn remaining(
        &self,
        key: &OutputKey,
        length: &Distribution,
        stream: StreamAge,
    ) -> Completion {
        let Some(first) = stream.first else {
            let known = self.whole.predict(&key.ladder).reached(units(stream.age));
            return range(&known, INSIDE);
        };
        let left = length.reached(stream.seen);
        let pace = self.pace.predict(&key.ladder);
        let streamed = stream.age.saturating_sub(first).as_nanos() as f64;
        // What it has shown itself says more with every token; the rest is what is usual. One more
        // token may be on its way.
        let at = |level: f64, own: u64| {
            let usual = pace.quantile(level) as f64 * PACE_UNIT;
            let nanos_per_token = (streamed + OWN_PACE * usual) / (own as f64 + OWN_PACE);
            let tokens = left.quantile(level).saturating_sub(own) as f64;
            let more = Duration::from_nanos((tokens * nanos_per_token) as u64);
            (stream.age + more).min(Self::MOST.max(stream.age))
        };
        let (early, late) = ((1.0 - INSIDE) / 2.0, (1.0 + INSIDE) / 2.0);
        Completion::between(at(early, stream.seen.saturating_add(1)), at(late, stream.seen))
    }

    /// Learns from one answer.
    pub fn learn(&mut self, key: &OutputKey, timing: &Timing) {
        let seen = |number| Seen { number, cut: false };
        self.whole.learn(&key.ladder, seen(units(timing.whole)));
        let Some(first) = timing.first else { return };
        self.first.learn(&key.ladder, seen(units(first)));
        // One token shows no pace.
        if let Some(tokens @ 1..) = timing.output_tokens.checked_sub(1) {
            let nanos = timing.whole.saturating_sub(first).as_nanos() / u128::from(tokens);
            self.pace.learn(
                &key.ladder,
                seen(u64::try_from(nanos / PACE_UNIT as u128).unwrap_or(u64::MAX)),
            );
        }
    }

    /// How many answers it has learned from.
    pub const fn count(&self) -> u64 {
        self.whole.count()
    }
}

/// How many tokens of a stream say as much of its pace as all the streams before.
const OWN_PACE: f64 = 8.0;

fn range(known: &Distribution, share: f64) -> Completion {
    let [early, late] = ends(share).map(|level| time(known.quantile(level)));
    Completion::between(early, late)
}

/// The levels between which a share lies, as much below them as above.
fn ends(share: f64) -> [f64; 2] {
    let beyond = (1.0 - if share.is_nan() { 1.0 } else { share.clamp(0.0, 1.0) }) / 2.0;
    [beyond, 1.0 - beyond]
}

fn units(time: Duration) -> u64 {
    // Up, so that what was counted is never shorter than what was.
    u64::try_from(time.as_nanos().div_ceil(UNIT)).unwrap_or(u64::MAX)
}

const fn time(units: u64) -> Duration {
    Duration::from_micros(units.saturating_mul(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn before_any_answer_the_prior_speaks() {
        let model = LatencyModel::default();
        let range = model.completion(&OutputKey::new());
        // Lognormal about 5 s with deviation 1.2: 5 e^(±1.96 × 1.2).
        assert!((0.45..0.5).contains(&range.earliest().as_secs_f64()), "{range:?}");
        assert!((52.0..54.0).contains(&range.latest().as_secs_f64()), "{range:?}");
        let surely = model.over_by(&OutputKey::new(), 0.999).as_secs_f64();
        assert!((200.0..210.0).contains(&surely), "{surely}");
        assert!((78.0..82.0).contains(&model.tokens_per_second(&OutputKey::new())));
    }

    #[test]
    fn the_time_narrows_to_what_was_seen() {
        let (mut model, key) = (LatencyModel::default(), OutputKey::new());
        (0..200).for_each(|_| model.learn(&key, &Timing::new(second(2))));
        let range = model.completion(&key);
        assert!(range.earliest() > Duration::from_millis(1_000), "{range:?}");
        assert!(range.latest() < second(5), "{range:?}");
        // What may still be in flight after a kill is over much sooner than before any answer.
        assert!(model.over_by(&key, 0.999) < second(5));
        model.learn(&key, &Timing::new(Duration::MAX));
        assert_eq!(model.over_by(&key, 1.0), LatencyModel::MOST);
    }

    #[test]
    fn a_stream_is_over_when_its_rest_has_come_at_its_own_pace() {
        let (mut model, mut output) = (LatencyModel::default(), crate::OutputModel::default());
        let key = OutputKey::new();
        // A thousand tokens, a hundred a second.
        for _ in 0..200 {
            model.learn(&key, &Timing::new(second(11)).streamed(second(1), 1_000));
            output.learn(&key, 1_000);
        }
        let length = output.predict(&key);
        // This one has half of them only after 20 s: it is four times slower, and has 20 s to go.
        let stream = StreamAge::silent(second(21)).shown(second(1), 500);
        let range = model.remaining(&key, &length, stream);
        assert!(range.earliest() > second(38) && range.latest() < second(43), "{range:?}");
        // One that has shown nothing is not over before it began.
        let silent = model.remaining(&key, &length, StreamAge::silent(second(50)));
        assert!(silent.earliest() >= second(49), "{silent:?}");
        let odd = StreamAge::silent(second(1)).shown(second(9), u64::MAX);
        assert!(model.remaining(&key, &length, odd).earliest() >= second(1));
    }
}
