//! What is learned of each model's server, and what a client begins with.
//!
//! Pure, as the [`Learner`] itself. Invariant: a bounded number of models.

use std::collections::BTreeMap;
use std::time::Duration;

use paceline_core::{Dimension, Instant, ModelId, UnixMillis};

use super::{CountedAt, Learner, ServerRule};

/// The learners of all models.
#[derive(Debug, Default)]
pub(crate) struct Models {
    models: BTreeMap<ModelId, Model>,
    next: u64,
}

#[derive(Debug, Default)]
struct Model {
    learner: Learner,
    /// What an earlier client had learned.
    began_with: ServerRule,
    /// What was told last.
    told: Option<CountedAt>,
    /// Of requests, and of tokens.
    left: [MostLeft; 2],
}

/// What was said to be left of a limit.
#[derive(Clone, Copy, Debug)]
struct MostLeft {
    /// The most ever.
    most: u64,
    /// How often it was said, since when, and of which limit last.
    times: u64,
    since: Option<Instant>,
    at: Instant,
    limit: u64,
}

/// A call as its learner knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number(u64);

/// Answers, and how long they have come, after which it is clear that a server never has more left than
/// it ever said.
const CLEAR: (u64, Duration) = (16, Duration::from_secs(120));

/// Models that are told apart; of further ones nothing is learned.
const MOST: usize = 64;

impl Default for MostLeft {
    fn default() -> Self {
        Self { most: 0, times: 0, since: None, at: Instant::ORIGIN, limit: 0 }
    }
}

impl MostLeft {
    /// What can be used at once, where that is clear; within, whether that is less than the limit.
    fn capacity(&self) -> Option<Option<u64>> {
        let is_less = self.most < self.limit - self.limit / 10;
        let (times, long) = CLEAR;
        let has_come = self.since.is_some_and(|since| self.at.since(since) >= long);
        (self.times >= times && has_come).then(|| Some(self.most).filter(|_| is_less))
    }
}

impl Models {
    /// Begins with what was learned before.
    pub(crate) fn from_rules(rules: BTreeMap<ModelId, ServerRule>) -> Self {
        let model = |began_with: ServerRule| {
            let tokens = MostLeft { most: began_with.capacity.unwrap_or(0), ..MostLeft::default() };
            Model { began_with, left: [MostLeft::default(), tokens], ..Model::default() }
        };
        let models = rules.into_iter().take(MOST).map(|(name, rule)| (name, model(rule)));
        Self { models: models.collect(), next: 0 }
    }

    /// A call leaves now, and could use so much at most.
    pub(crate) fn sent(
        &mut self,
        model: &ModelId,
        most: Option<u64>,
        now: Instant,
    ) -> Option<Number> {
        if !self.models.contains_key(model) {
            if self.models.len() == MOST {
                return None;
            }
            self.models.insert(model.clone(), Model::default());
        }
        self.next += 1;
        self.models.get_mut(model)?.learner.sent(self.next, most, now);
        Some(Number(self.next))
    }

    /// Its answer says that so much of the limit is left.
    pub(crate) fn told(
        &mut self,
        model: &ModelId,
        Number(number): Number,
        (remaining, limit): (u64, u64),
        now: Instant,
        wall: UnixMillis,
    ) {
        if let Some(model) = self.models.get_mut(model) {
            model.learner.told(number, remaining, limit, now, wall);
        }
    }

    /// The most that was ever said to be left of a limit, with what is said now.
    pub(crate) fn most_left(
        &mut self,
        model: &ModelId,
        dimension: Dimension,
        (remaining, limit): (u64, u64),
        now: Instant,
    ) -> u64 {
        // Where a model is one too many, nothing is made of what it says.
        let Some(model) = self.models.get_mut(model) else { return u64::MAX };
        let left = &mut model.left[usize::from(dimension == Dimension::TotalTokens)];
        left.most = remaining.max(left.most);
        left.times += 1;
        left.since.get_or_insert(now);
        left.at = now;
        left.limit = limit;
        left.most
    }

    /// It is over. Returns when the server counts, where that has just become clear or changed.
    pub(crate) fn over(
        &mut self,
        model: &ModelId,
        Number(number): Number,
        used: Option<u64>,
        now: Instant,
    ) -> Option<CountedAt> {
        let model = self.models.get_mut(model)?;
        model.learner.over(number, used, now);
        let counted_at = model.learner.rule().counted_at?;
        (model.told.replace(counted_at) != Some(counted_at)).then_some(counted_at)
    }

    /// When the server is known to count the calls to a model.
    pub(crate) fn counted_at(&self, model: &ModelId) -> Option<CountedAt> {
        let model = self.models.get(model)?;
        model.learner.rule().counted_at.or(model.began_with.counted_at)
    }

    /// What is known of each model, of what nothing new was learned what was known before.
    pub(crate) fn rules(&self) -> BTreeMap<ModelId, ServerRule> {
        let rule = |model: &Model| {
            let (new, old) = (model.learner.rule(), model.began_with);
            ServerRule {
                counted_at: new.counted_at.or(old.counted_at),
                window: new.window.or(old.window),
                capacity: model.left[1].capacity().unwrap_or(old.capacity),
                looks: new.looks.saturating_add(old.looks),
            }
        };
        self.models.iter().map(|(name, model)| (name.clone(), rule(model))).collect()
    }
}
