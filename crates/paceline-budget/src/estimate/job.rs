//! What many calls will use together: input and output of a whole job, as ranges.
//!
//! What each call differs by evens out over a job, and what is not known of the weights or of the mean
//! length of answers does not. So the ranges narrow with what was learned, not with the size of the job.
//! Invariant: memory is bounded by the number of models and of kinds of calls, not by that of calls.

use std::collections::BTreeMap;

use paceline_core::ModelId;

use super::{CallShape, Endpoint, Estimator, Models};
use crate::input::{JobTotal, TotalRange};
use crate::output::OutputKey;

/// Calls that are to be estimated as a whole.
///
/// ```
/// use paceline_budget::{CallShape, Estimator, Features, Job};
///
/// let estimator = Estimator::new();
/// let mut job = Job::new();
/// for question in ["How many legs have 7 spiders?", "Name three rivers in Asia."] {
///     let call = CallShape::new("grok-4.3".into(), Features::of_text(question));
///     estimator.add_to_job(&mut job, &call);
/// }
/// let total = &estimator.job(&job)[0];
/// assert_eq!((total.model.as_str(), total.calls), ("grok-4.3", 2));
/// assert!(total.output.low < total.output.expected && total.output.expected < total.output.high);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Job {
    parts: BTreeMap<(ModelId, Endpoint), Part>,
    left_out: u64,
}

/// The calls to one model through one endpoint.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    input: JobTotal,
    /// Calls by what the length of their answers depends on.
    kinds: Vec<(OutputKey, u64)>,
}

/// What the calls of a job to one model will use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelTotal {
    /// The model.
    pub model: ModelId,
    /// How many calls they are.
    pub calls: u64,
    /// Tokens of their prompts; holds the truth in 95 of 100 jobs.
    pub input: TotalRange,
    /// Tokens generated, reasoning included. Before any answer a factor of thirteen to either side, as
    /// answers may be one word or a long thought; afterwards it holds the truth in nine of ten jobs at
    /// least, where answers differ as calls' do (a deviation of the logarithm of 0.5 to 1) and those to
    /// come are like those that were learned from.
    pub output: TotalRange,
    /// Answers of this model and endpoint that were learned from so far.
    pub learned: u64,
}

/// How many models and endpoints are told apart; calls to further ones are left out and counted.
const MAX_PARTS: usize = 64;
/// How many kinds of calls are told apart in each; further ones count as the first.
const MAX_KINDS: usize = 128;
/// The deviation of the logarithm of the mean length of answers, before there were any: a factor of
/// thirteen at [`SIDES`]. Answers of two words and answers that think for minutes are both usual, and
/// lie so far from the typical one.
const UNKNOWN: f64 = 1.31;
/// By this, over their number, the variance that answers show is taken to be larger.
const UNSEEN: f64 = 6.0;
/// Deviations to both sides of 95 %.
const SIDES: f64 = 1.96;
/// Answers count at most so often: older ones fade.
const MEMORY: f64 = 1_000.0;

impl Job {
    /// No calls yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many calls were added.
    pub fn calls(&self) -> u64 {
        self.parts.values().map(|part| part.input.requests()).sum::<u64>() + self.left_out
    }
}

impl Estimator {
    /// Adds a call to a job. Of a job to more than 64 models the calls to the rest are not estimated.
    pub fn add_to_job(&self, job: &mut Job, call: &CallShape) {
        let key = (call.model.clone(), call.endpoint);
        if job.parts.len() >= MAX_PARTS && !job.parts.contains_key(&key) {
            job.left_out += 1;
            return;
        }
        let input = self.input(call, |input| input.estimate(&call.features)).expected_amount();
        let kind = call.output.clone().prompt(input);
        let empty = || Part { input: JobTotal::new(), kinds: Vec::new() };
        let part = job.parts.entry(key).or_insert_with(empty);
        part.input.add(&call.features);
        let is_full = part.kinds.len() >= MAX_KINDS;
        match part.kinds.iter().position(|(known, _)| *known == kind) {
            Some(at) => part.kinds[at].1 += 1,
            None if is_full => part.kinds[0].1 += 1,
            None => part.kinds.push((kind, 1)),
        }
    }

    /// What a job will use, by models: anew with all that was learned since its calls were added.
    pub fn job(&self, job: &Job) -> Vec<ModelTotal> {
        let total = |((model, endpoint), part): (&(ModelId, Endpoint), &Part)| {
            let fresh;
            let models = match self.models.get(&(model.clone(), *endpoint)) {
                Some(models) => models,
                None => {
                    fresh = Models::new(model, *endpoint);
                    &fresh
                }
            };
            ModelTotal {
                model: model.clone(),
                calls: part.input.requests(),
                input: models.input.total(&part.input),
                output: output(models, &part.kinds),
                learned: models.output.count(),
            }
        };
        job.parts.iter().map(total).collect()
    }
}

fn output(models: &Models, kinds: &[(OutputKey, u64)]) -> TotalRange {
    let (mut mean, mut variance, mut calls) = (0.0, 0.0, 0.0);
    for (kind, count) in kinds {
        let (each, own) = models.output.predict(kind).moments();
        let count = *count as f64;
        mean += count * each;
        variance += count * own;
        calls += count;
    }
    if mean <= 0.0 {
        return TotalRange { expected: 0, low: 0, high: 0 };
    }
    // Of one call, relative to its mean; then what n answers leave open of that mean.
    let each = (variance / calls) / (mean / calls).powi(2);
    let learned = (models.output.count() as f64).min(MEMORY);
    // A variance that few answers show is mostly too small: lengths have long tails.
    let each = each.max(1e-9) * (1.0 + UNSEEN / learned.max(1.0));
    // What is believed beforehand and what was seen, each by its certainty.
    let unknown = (1.0 / (UNKNOWN * UNKNOWN) + learned / each).recip();
    let deviation = (unknown + variance / (mean * mean)).sqrt();
    let factor = (SIDES * deviation).exp();
    let (low, high) = ((mean / factor).floor(), (mean * factor).ceil());
    TotalRange { expected: mean.ceil() as u64, low: low as u64, high: high as u64 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use paceline_core::Usage;

    use super::*;
    use crate::estimate::Observed;
    use crate::features::Features;

    fn call(text: &str) -> CallShape {
        CallShape::new("grok-4.3".into(), Features::of_text(text))
    }

    /// Numbers between 0 and 1 that look drawn by chance.
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> f64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            let (a, b) = (self.next(), self.next());
            (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
        }
    }

    #[test]
    fn the_range_of_a_job_narrows_with_what_was_learned_and_not_with_its_size() {
        let call = call("How many legs have 7 spiders?");
        let mut estimator = Estimator::new();
        let job = |estimator: &Estimator, calls: u64| {
            let mut job = Job::new();
            (0..calls).for_each(|_| estimator.add_to_job(&mut job, &call));
            assert_eq!(job.calls(), calls);
            let total = estimator.job(&job).remove(0);
            (total.input.high as f64 / total.input.low as f64, total.output)
        };
        let width = |range: TotalRange| range.high as f64 / range.low as f64;
        let (input_before, output_before) = job(&estimator, 1_000);
        assert!(
            (160.0..180.0).contains(&width(output_before)),
            "thirteen to each side: {output_before:?}"
        );
        for number in 0..30 {
            let usage = Usage::new(137, 137 + 200 + number).expect("a usage");
            estimator.learn(&call, &Observed::new(usage, Duration::from_secs(1)));
        }
        let (input, output) = job(&estimator, 1_000);
        assert!(input < input_before && width(output) < 1.3, "{input} and {output:?}");
        assert!(output.low <= 215_000 && 215_000 <= output.high, "{output:?}");
        let (_, large) = job(&estimator, 100_000);
        assert!(width(large) > 1.001, "what is not known of the mean does not even out: {large:?}");
    }

    #[test]
    fn the_range_of_the_output_holds_before_any_answer_and_after_five_and_twenty() {
        let call = call("How many legs have 7 spiders?");
        let mut chance = Chance(5);
        for (sigma, learned) in [(0.5, 0), (1.0, 0), (0.5, 20), (1.0, 5), (1.0, 20)] {
            let (jobs, mut held) = (120, 0);
            for _ in 0..jobs {
                // Somewhere within a factor of ten of what is believed beforehand.
                let middle = 400.0 * (chance.next() * 100_f64.ln() - 10_f64.ln()).exp();
                let mut answer = || (middle * (sigma * chance.normal()).exp()).max(1.0) as u64;
                let mut estimator = Estimator::new();
                for _ in 0..learned {
                    let usage = Usage::new(137, 137 + answer()).expect("a usage");
                    estimator.learn(&call, &Observed::new(usage, Duration::from_secs(1)));
                }
                let mut job = Job::new();
                (0..400).for_each(|_| estimator.add_to_job(&mut job, &call));
                let truth: u64 = (0..400).map(|_| answer()).sum();
                let range = estimator.job(&job).remove(0).output;
                held += i32::from(range.low <= truth && truth <= range.high);
            }
            let share = f64::from(held) / f64::from(jobs);
            assert!(share >= 0.9, "sigma {sigma} after {learned}: {share}");
        }
    }
}
