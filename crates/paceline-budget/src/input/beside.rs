//! The model by classes, and beside it one that is told what another tokenizer counts.
//!
//! Both learn from every answer that they have the features of. Invariant: a request without a
//! borrowed count is estimated by classes alone.

use paceline_core::Amount;

use super::{InputModel, InputPrior, JobTotal, TotalRange};
use crate::features::Features;

/// What estimates the input of one model's calls.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    pub(crate) classes: InputModel,
    pub(crate) borrowing: Option<InputModel>,
    /// What is hidden in a request, and how well that is known, to begin with.
    hidden: (f64, f64),
}

impl Inputs {
    pub(crate) fn new(constant: f64, deviation: f64) -> Self {
        let classes = InputModel::new(constant, deviation);
        Self { classes, borrowing: None, hidden: (constant, deviation) }
    }

    /// With models that had learned before.
    pub(crate) const fn of(
        classes: InputModel,
        borrowing: Option<InputModel>,
        hidden: (f64, f64),
    ) -> Self {
        Self { classes, borrowing, hidden }
    }

    pub(crate) fn estimate(&self, features: &Features) -> Amount {
        self.with(features, |model| model.estimate(features))
    }

    pub(crate) fn upper_95(&self, features: &Features) -> u64 {
        self.with(features, |model| model.upper_95(features))
    }

    pub(crate) fn explain(&self, features: &Features) -> Vec<(&'static str, f64)> {
        self.with(features, |model| model.explain(features))
    }

    pub(crate) fn total(&self, job: &JobTotal) -> TotalRange {
        match &self.borrowing {
            Some(model) if job.is_borrowing() => model.total(job),
            _ => self.classes.total(job),
        }
    }

    pub(crate) fn learn(&mut self, features: &Features, actual: u64) {
        if features.borrowed() > 0 {
            let hidden = self.hidden;
            self.borrowing.get_or_insert_with(|| borrowing(hidden)).learn(features, actual);
        }
        self.classes.learn(&features.without_borrowed(), actual);
    }

    fn with<T>(&self, features: &Features, ask: impl FnOnce(&InputModel) -> T) -> T {
        match &self.borrowing {
            _ if features.borrowed() == 0 => ask(&self.classes),
            Some(model) => ask(model),
            None => ask(&borrowing(self.hidden)),
        }
    }
}

fn borrowing((constant, deviation): (f64, f64)) -> InputModel {
    InputModel::with_prior(InputPrior::fitted().borrowing(), constant, deviation)
}
