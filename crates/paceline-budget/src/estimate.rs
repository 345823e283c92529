//! What a call will use, before it leaves: input, output and time, per model.
//!
//! It composes the models of input, output and latency. Invariant: the map of models is bounded.

mod hidden;
mod job;
mod state;

use std::collections::BTreeMap;
use std::time::Duration;

use paceline_core::{Amount, Certainty, Completion, ModelId, Usage};

use crate::features::Features;
use crate::input::{Inputs, JobTotal, TotalRange};
use crate::latency::{LatencyModel, StreamAge, Timing};
use crate::output::{OutputKey, OutputModel};
use crate::spread::Distribution;
pub use job::{Job, ModelTotal};
pub use state::EstimatorState;

/// Which of an API's doors a call goes through: each adds hidden text of its own.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[non_exhaustive]
pub enum Endpoint {
    /// `/v1/chat/completions`.
    #[default]
    Chat,
    /// `/v1/responses`.
    Responses,
    /// Anything else.
    Other,
}

/// A call, as far as its size depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallShape {
    model: ModelId,
    endpoint: Endpoint,
    features: Features,
    output: OutputKey,
    /// Tokens that its input has at least.
    least: u64,
}

impl CallShape {
    /// A chat call to a model.
    pub fn new(model: ModelId, features: Features) -> Self {
        Self { model, endpoint: Endpoint::Chat, features, output: OutputKey::new(), least: 0 }
    }

    /// Through another door.
    #[must_use]
    pub const fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// With what its answer is told apart by. Its prompt need not be said: it is estimated.
    #[must_use]
    pub fn output(mut self, key: OutputKey) -> Self {
        self.output = key;
        self
    }

    /// With the tokens that its input certainly has, such as those of its texts by the server's own
    /// tokenizer: no estimate is below that.
    #[must_use]
    pub const fn at_least(mut self, input_tokens: u64) -> Self {
        self.least = input_tokens;
        self
    }

    /// The model.
    pub const fn model(&self) -> &ModelId {
        &self.model
    }

    /// The door it goes through.
    pub const fn endpoint_kind(&self) -> Endpoint {
        self.endpoint
    }
}

/// What a call will probably use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    input: Amount,
    output: Amount,
    completion: Completion,
}

impl Estimate {
    /// Tokens of the prompt.
    pub const fn input(&self) -> Amount {
        self.input
    }

    /// Tokens generated, reasoning included.
    pub const fn output(&self) -> Amount {
        self.output
    }

    /// Both together. The upper amount bounds the sum at 99.9 %: the two parts are taken as
    /// independent, so their distances from the mean add as the sides of a right angle do.
    pub fn total(&self) -> Amount {
        let mean = self.input.expected_amount() + self.output.expected_amount();
        let across = |a: u64, b: u64| (a as f64).hypot(b as f64).ceil() as u64;
        let beyond = |amount: Amount| amount.upper_amount() - amount.expected_amount();
        Amount::expected(mean)
            .spread(across(self.input.spread_amount(), self.output.spread_amount()))
            .upper(mean.saturating_add(across(beyond(self.input), beyond(self.output))))
    }

    /// When it will be over, counted from its sending: 95 % are over inside of this range, and as
    /// many before it as after. [`Estimator::over_by`] says by when it is over more surely.
    pub const fn completion(&self) -> Completion {
        self.completion
    }
}

/// What became of a call that was estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    usage: Usage,
    elapsed: Duration,
    first_token: Option<Duration>,
    ended: Ended,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    ByItself,
    CutOff,
}

impl Observed {
    /// What the server reported, and how long it took from the sending to the end.
    pub const fn new(usage: Usage, elapsed: Duration) -> Self {
        Self { usage, elapsed, first_token: None, ended: Ended::ByItself }
    }

    /// With the time from the sending to its first token, of a stream.
    #[must_use]
    pub const fn first_token(mut self, after: Duration) -> Self {
        self.first_token = Some(after);
        self
    }

    /// It was cut off by its cap: `finish_reason` is `length`.
    #[must_use]
    pub const fn cut_off(mut self) -> Self {
        self.ended = Ended::CutOff;
        self
    }

    fn timing(&self) -> Timing {
        let timing = Timing::new(self.elapsed);
        match self.first_token {
            Some(first) => timing.streamed(first, self.usage.output_tokens()),
            None => timing,
        }
    }
}

/// How good the estimates of input tokens were, each made before its answer was learned.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Accuracy {
    /// How many were judged.
    pub count: u64,
    /// The mean of |estimate − actual| / actual.
    pub mean_error: f64,
    /// The mean of (estimate − actual) / actual: above 0 is too high.
    pub bias: f64,
    /// Σ |estimate − actual| / Σ actual: what the errors weigh in the whole bill.
    pub weighted_error: f64,
    /// The mean of |estimate − actual| / actual over the last 20.
    pub recent_error: f64,
    recent: [f64; RECENT],
    error_sum: f64,
    bias_sum: f64,
    distance: f64,
    actual: f64,
}

/// How many of the last errors are told apart.
const RECENT: usize = 20;

#[derive(Clone, Debug)]
struct Models {
    input: Inputs,
    output: OutputModel,
    latency: LatencyModel,
    used: u64,
}

/// Estimates calls and learns from their answers.
///
/// ```
/// use std::time::Duration;
/// use paceline_budget::{CallShape, Estimator, Features, Observed};
/// use paceline_core::Usage;
///
/// let mut estimator = Estimator::new();
/// let call = CallShape::new("grok-4.3".into(), Features::of_text("Count from 1 to 3"));
/// let before = estimator.estimate(&call);
/// let usage = Usage::new(137, 160)?;
/// for _ in 0..20 {
///     estimator.learn(&call, &Observed::new(usage, Duration::from_secs(1)));
/// }
/// let after = estimator.estimate(&call);
/// assert!(after.input().expected_amount().abs_diff(137) <= 2);
/// assert!(after.total().upper_amount() < before.total().upper_amount());
/// # Ok::<(), paceline_core::UsageError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Estimator {
    models: BTreeMap<(ModelId, Endpoint), Models>,
    accuracy: Accuracy,
    clock: u64,
}

/// How many models and doors are remembered; the one unused longest makes room.
const MAX_MODELS: usize = 64;

impl Estimator {
    /// An estimator that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a call will probably use.
    pub fn estimate(&self, call: &CallShape) -> Estimate {
        let fresh;
        let models = match self.models.get(&(call.model.clone(), call.endpoint)) {
            Some(models) => models,
            None => {
                fresh = Models::new(&call.model, call.endpoint);
                &fresh
            }
        };
        let input = models.input.estimate(&call.features);
        let input = Amount::expected(input.expected_amount().max(call.least))
            .spread(input.spread_amount())
            .upper(input.upper_amount().max(call.least));
        let key = call.output.clone().prompt(input.expected_amount());
        Estimate {
            input,
            output: models.output.amount(&key),
            completion: models.latency.completion(&key),
        }
    }

    /// Learns from an answer. Only what the server reported teaches anything.
    pub fn learn(&mut self, call: &CallShape, observed: &Observed) {
        let usage = &observed.usage;
        if usage.certainty() != Certainty::Exact {
            return;
        }
        self.clock += 1;
        let key = (call.model.clone(), call.endpoint);
        if !self.models.contains_key(&key) && self.models.len() >= MAX_MODELS {
            let oldest = self.models.iter().min_by_key(|(_, models)| models.used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.models.remove(&oldest);
            }
        }
        let models =
            self.models.entry(key).or_insert_with(|| Models::new(&call.model, call.endpoint));
        models.used = self.clock;
        let key = call.output.clone().prompt(usage.input_tokens());
        models.latency.learn(&key, &observed.timing());
        match observed.ended {
            Ended::ByItself => models.output.learn(&key, usage.output_tokens()),
            Ended::CutOff => models.output.learn_cut_off(&key, usage.output_tokens()),
        }
        // A prompt of no tokens teaches nothing about texts.
        if usage.input_tokens() > 0 {
            let estimate = models.input.estimate(&call.features).expected_amount();
            self.accuracy.judge(estimate, usage.input_tokens());
            models.input.learn(&call.features, usage.input_tokens());
        }
    }

    /// What is known of the length of a call's answer; a stream narrows its own by
    /// [`Distribution::remaining`].
    pub fn output(&self, call: &CallShape) -> Distribution {
        self.with(call, |models, key| models.output.predict(key))
    }

    /// When a stream will be over, counted from its sending; 95 % are inside of the range.
    pub fn stream_completion(&self, call: &CallShape, stream: StreamAge) -> Completion {
        self.with(call, |models, key| {
            models.latency.remaining(key, &models.output.predict(key), stream)
        })
    }

    /// By when a call is over with this chance, from 0 to 1, such as 0.999 for what may still be in
    /// flight after a kill.
    pub fn over_by(&self, call: &CallShape, chance: f64) -> Duration {
        self.with(call, |models, key| models.latency.over_by(key, chance))
    }

    /// The mean time from the sending to the end of an answer.
    pub fn mean_latency(&self, call: &CallShape) -> Duration {
        self.with(call, |models, key| models.latency.mean(key))
    }

    /// With what is known of a call's model, and what its answer is told apart by.
    fn with<T>(&self, call: &CallShape, ask: impl FnOnce(&Models, &OutputKey) -> T) -> T {
        let ask = |models: &Models| {
            let input = models.input.estimate(&call.features).expected_amount();
            ask(models, &call.output.clone().prompt(input))
        };
        match self.models.get(&(call.model.clone(), call.endpoint)) {
            Some(models) => ask(models),
            None => ask(&Models::new(&call.model, call.endpoint)),
        }
    }

    /// Which features made the estimate of a call's input, in tokens each, the largest first.
    pub fn explain(&self, call: &CallShape) -> Vec<(&'static str, f64)> {
        self.input(call, |input| input.explain(&call.features))
    }

    /// What 95 % of calls like this stay below, in input tokens, held by what was seen of late.
    pub fn input_95(&self, call: &CallShape) -> u64 {
        self.input(call, |input| input.upper_95(&call.features))
    }

    /// The input tokens of a whole job of calls to one model through one door, as a range.
    pub fn input_total(&self, call: &CallShape, job: &JobTotal) -> TotalRange {
        self.input(call, |input| input.total(job))
    }

    fn input<T>(&self, call: &CallShape, ask: impl FnOnce(&Inputs) -> T) -> T {
        match self.models.get(&(call.model.clone(), call.endpoint)) {
            Some(models) => ask(&models.input),
            None => ask(&Models::new(&call.model, call.endpoint).input),
        }
    }

    /// How good the estimates of input tokens were so far.
    pub const fn accuracy(&self) -> Accuracy {
        self.accuracy
    }
}

impl Models {
    fn new(model: &ModelId, endpoint: Endpoint) -> Self {
        let (constant, deviation) = hidden::hidden(model.as_str(), endpoint);
        Self {
            input: Inputs::new(constant, deviation),
            output: OutputModel::default(),
            latency: LatencyModel::default(),
            used: 0,
        }
    }
}

impl Accuracy {
    fn judge(&mut self, estimate: u64, actual: u64) {
        let (estimate, actual) = (estimate as f64, actual as f64);
        let error = (estimate - actual).abs() / actual;
        self.recent[(self.count % RECENT as u64) as usize] = error;
        self.count += 1;
        let kept = self.count.min(RECENT as u64) as usize;
        self.recent_error = self.recent[..kept].iter().sum::<f64>() / kept as f64;
        self.error_sum += error;
        self.bias_sum += (estimate - actual) / actual;
        self.distance += (estimate - actual).abs();
        self.actual += actual;
        self.mean_error = self.error_sum / self.count as f64;
        self.bias = self.bias_sum / self.count as f64;
        self.weighted_error = self.distance / self.actual;
    }
}
