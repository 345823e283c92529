//! What calls are like: their lengths, how long they take, and what is known of them beforehand.
//!
//! It knows no limits. Invariants: a call is drawn whole from one source of chance, so that a seed
//! repeats it; what is known beforehand is of the class, and of the single call only its input
//! within [`INPUT_ERROR`].

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, LogNormal};

/// How far the estimate of an input lies off, at most.
pub(super) const INPUT_ERROR: f64 = 0.03;

/// A second in nanoseconds, the unit of time here.
pub(super) const SECOND: u64 = 1_000_000_000;

/// A millisecond.
pub(crate) const MILLI: u64 = 1_000_000;

/// A class of calls that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Lengths of the trace: about 1,370 tokens in 3 s.
    Chat,
    /// Outputs that are log-normal with median 3,000 and capped at 32,000: about as long as the
    /// window.
    Reasoning,
    /// 151 tokens in half a second.
    Short,
}

/// What the calls of a case are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    /// All of one class.
    All(Class),
    /// Half of the tokens reasoning, half short, told apart by their tags.
    Half,
}

/// How fast output is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speed {
    /// As fast as the class always is: the age of a call tells its length.
    Steady,
    /// 45 to 135 tokens a second, drawn for each call.
    Spread,
}

/// One call, as nobody knows it before it is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) class: Class,
    pub(crate) input: u64,
    pub(crate) output: u64,
    /// What the client takes the input for.
    pub(super) estimate: u64,
    /// From its arrival to its first token, in nanoseconds.
    pub(crate) first: u64,
    /// From its arrival to its last token.
    pub(crate) latency: u64,
    /// The way there and the way back.
    pub(crate) there: u64,
    pub(crate) back: u64,
}

/// What is known of a class: the distribution, not the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Output: mean, standard deviation, cap.
    pub(crate) output: f64,
    pub(super) spread: f64,
    pub(super) cap: u64,
    /// From sending to the end of the answer: soonest and latest, in nanoseconds.
    pub(super) earliest: u64,
    pub(super) latest: u64,
}

/// Draws calls.
#[derive(Debug)]
pub(crate) struct Source {
    trace: Arc<[(u64, u64)]>,
    mix: Mix,
    speed: Speed,
    /// The longest way to or from the server.
    jitter: u64,
    rng: StdRng,
}

impl Class {
    pub(super) const ALL: [Self; 3] = [Self::Chat, Self::Reasoning, Self::Short];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Reasoning => "reasoning",
            Self::Short => "short",
        }
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Chat => 0,
            Self::Reasoning => 1,
            Self::Short => 2,
        }
    }

    /// Tokens a second, and seconds to the first, where the speed is steady.
    const fn pace(self) -> (f64, f64) {
        match self {
            Self::Chat => (80.0, 0.36),
            Self::Reasoning => (90.0, 0.5),
            Self::Short => (90.0, 0.165),
        }
    }

    /// What an output does not pass.
    pub(crate) const fn cap(self) -> u64 {
        match self {
            Self::Chat => 1_000,
            Self::Reasoning => 32_000,
            Self::Short => 35,
        }
    }
}

impl Mix {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::All(class) => class.name(),
            Self::Half => "mixed",
        }
    }

    fn draw(self, rng: &mut StdRng) -> Class {
        match self {
            Self::All(class) => class,
            Self::Half if rng.random_bool(SHARE_OF_REASONING) => Class::Reasoning,
            Self::Half => Class::Short,
        }
    }
}

impl Call {
    pub(super) const fn total(&self) -> u64 {
        self.input + self.output
    }

    /// How much of the output is there, so long after the arrival.
    pub(super) fn written(&self, age: u64) -> u64 {
        let streamed = u128::from(age.saturating_sub(self.first));
        let whole = u128::from(self.latency - self.first).max(1);
        let written = u128::from(self.output) * streamed / whole;
        u64::try_from(written).map_or(self.output, |written| written.min(self.output))
    }
}

impl Source {
    pub(crate) fn new(
        trace: Arc<[(u64, u64)]>,
        mix: Mix,
        speed: Speed,
        jitter: u64,
        seed: u64,
    ) -> Self {
        Self { trace, mix, speed, jitter, rng: StdRng::seed_from_u64(seed) }
    }

    /// The next call.
    pub(crate) fn draw(&mut self) -> Call {
        let class = self.mix.draw(&mut self.rng);
        let rng = &mut self.rng;
        let (input, output) = match class {
            Class::Chat => self.trace[rng.random_range(0..self.trace.len())],
            Class::Reasoning => (rng.random_range(100..=200), reasoning(rng)),
            Class::Short => (rng.random_range(115..=127), rng.random_range(25..=35)),
        };
        let (usual, first) = class.pace();
        let speed = match self.speed {
            Speed::Steady => usual,
            Speed::Spread => rng.random_range(SLOWEST..FASTEST),
        };
        let estimate = whole(real(input) * rng.random_range(1.0 - INPUT_ERROR..1.0 + INPUT_ERROR));
        Call {
            class,
            input,
            output,
            estimate,
            first: seconds(first),
            latency: seconds(first + real(output) / speed),
            there: rng.random_range(0..=self.jitter),
            back: rng.random_range(0..=self.jitter),
        }
    }

    /// A wait between arrivals with this mean, as of many who know nothing of each other.
    pub(super) fn gap(&mut self, mean: f64) -> u64 {
        let chance: f64 = self.rng.random_range(f64::MIN_POSITIVE..1.0);
        whole(-mean * chance.ln())
    }

    /// A number from 0 to 1.
    pub(super) fn chance(&mut self) -> f64 {
        self.rng.random()
    }

    /// Mean tokens and mean latency in nanoseconds of the calls it draws, from a sample of them.
    pub(super) fn means(&self) -> (f64, f64) {
        let mut source = self.sample(self.mix);
        let (mut tokens, mut latency) = (0.0, 0.0);
        for _ in 0..SAMPLE {
            let call = source.draw();
            tokens += real(call.total());
            latency += real(call.latency);
        }
        (tokens / real(SAMPLE), latency / real(SAMPLE))
    }

    /// Another source that draws alike, always the same calls.
    fn sample(&self, mix: Mix) -> Self {
        Self::new(Arc::clone(&self.trace), mix, self.speed, self.jitter, SAMPLE_SEED)
    }

    /// What is known of a class.
    pub(super) fn known(&self, class: Class) -> Known {
        let mut source = self.sample(Mix::All(class));
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..SAMPLE {
            let output = real(source.draw().output);
            sum += output;
            squares += output * output;
        }
        let mean = sum / real(SAMPLE);
        let (usual, first) = class.pace();
        let (slowest, fastest) = match self.speed {
            Speed::Steady => (usual, usual),
            Speed::Spread => (SLOWEST, FASTEST),
        };
        let least = match class {
            Class::Short => 25.0,
            Class::Chat | Class::Reasoning => 1.0,
        };
        Known {
            output: mean,
            spread: (squares / real(SAMPLE) - mean * mean).max(0.0).sqrt(),
            cap: class.cap(),
            earliest: seconds(first + least / fastest),
            latest: seconds(first + real(class.cap()) / slowest) + 2 * self.jitter,
        }
    }
}

fn reasoning(rng: &mut StdRng) -> u64 {
    let lengths = LogNormal::new(3_000_f64.ln(), 1.0).expect("1 is a standard deviation");
    whole(lengths.sample(rng)).clamp(1, Class::Reasoning.cap())
}

/// The nearest number that has a fraction; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "tokens and nanoseconds here stay below 2^53")]
pub(super) const fn real(count: u64) -> f64 {
    count as f64
}

/// The nearest whole number; 0 for what is below it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
pub(super) fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// Seconds in nanoseconds.
pub(super) fn seconds(value: f64) -> u64 {
    whole(value * real(SECOND))
}

/// Of the calls of [`Mix::Half`], so that half of the tokens are reasoning: 151 / (151 + 4,959).
const SHARE_OF_REASONING: f64 = 0.029_55;

/// Tokens a second where the speed is spread.
const SLOWEST: f64 = 45.0;
const FASTEST: f64 = 135.0;

/// How many calls stand for a distribution, and what they are drawn from. The same in every run,
/// so that a limit does not depend on the seed.
const SAMPLE: u64 = 50_000;
const SAMPLE_SEED: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn source(mix: Mix) -> Source {
        let trace = Arc::from(vec![(1_000, 200), (2_000, 100)]);
        Source::new(trace, mix, Speed::Steady, 50 * MILLI, 7)
    }

    #[test]
    fn a_seed_repeats_its_calls() {
        let draw = |mut source: Source| [source.draw(), source.draw()];
        let mix = Mix::All(Class::Reasoning);
        assert_eq!(draw(source(mix)), draw(source(mix)));
    }

    #[test]
    fn half_of_the_tokens_are_reasoning() {
        let mut source = source(Mix::Half);
        let (mut long, mut all) = (0, 0);
        for _ in 0..400_000 {
            let call = source.draw();
            all += call.total();
            long += if call.class == Class::Reasoning { call.total() } else { 0 };
        }
        let share = real(long) / real(all);
        assert!((share - 0.5).abs() < 0.02, "{share}");
    }

    #[test]
    fn a_stream_is_written_from_its_first_token_to_its_last() {
        let call = source(Mix::All(Class::Reasoning)).draw();
        assert_eq!(call.written(call.first), 0);
        assert_eq!(call.written(call.latency), call.output);
        assert_eq!(call.written(u64::MAX), call.output);
    }
}
