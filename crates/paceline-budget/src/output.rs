//! How many tokens an answer will be billed for: visible text and reasoning as one amount.
//!
//! It learns from every answer, for calls that are alike, and falls back on those that are less
//! alike until enough were seen. Invariant: a cap bounds what is billed only where the server's rule
//! is known to say so.

use std::sync::Arc;

use paceline_core::{Amount, ModelId, Tag};
use serde::{Deserialize, Serialize};

use crate::spread::{Distribution, Kind, Ladder, Seen, Tree};

/// What answers of one model are told apart by: effort, place in the program, cap, and the length of
/// the prompt.
///
/// ```
/// use paceline_budget::{CapRule, OutputKey, OutputModel};
///
/// let mut model = OutputModel::default();
/// let summary = OutputKey::new().tag("summaries").cap(400, CapRule::VisibleOnly);
/// let plan = OutputKey::new().tag("plans").effort("high");
/// for _ in 0..50 {
///     model.learn(&summary, 200);
///     model.learn(&plan, 9_000);
/// }
/// assert!(model.predict(&summary).quantile(0.95) < 400);
/// assert!(model.predict(&plan).quantile(0.95) >= 9_000);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputKey {
    pub(crate) ladder: Ladder,
    bound: Option<u64>,
}

/// What a cap on output tokens is a cap on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CapRule {
    /// On what can be seen: reasoning and calls of functions are billed on top. xAI's rule.
    #[default]
    VisibleOnly,
    /// On everything that is billed as output.
    Billed,
}

/// Models that do not reason. Recorded traffic and model pages of 2024 to October 2026.
const DO_NOT_REASON: [&str; 9] = [
    "grok-beta",
    "grok-vision-beta",
    "grok-2",
    "grok-2-1212",
    "grok-2-vision",
    "grok-2-vision-1212",
    "grok-3",
    "grok-4-fast-non-reasoning",
    "grok-4-1-fast-non-reasoning",
];

impl CapRule {
    /// The rule of a model for a call that offers no tools and asks for one answer: whatever such a
    /// call of a model that does not reason is billed for can be seen. Offer tools, and no cap is a
    /// bound; ask for several answers, and it is one on each.
    pub fn of(model: &ModelId) -> Self {
        let name = crate::tiers::canonical_name(model.as_str());
        if DO_NOT_REASON.contains(&name) || name == "grok-4.20-0309-non-reasoning" {
            Self::Billed
        } else {
            Self::VisibleOnly
        }
    }
}

impl OutputKey {
    /// A call of which nothing is known but its model.
    pub fn new() -> Self {
        Self::default()
    }

    /// With an effort of reasoning, such as `high`.
    #[must_use]
    pub fn effort(mut self, effort: impl Into<Arc<str>>) -> Self {
        self.ladder.effort = Some(Tag::new(effort));
        self
    }

    /// From this place in the program.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Tag>) -> Self {
        self.ladder.tag = Some(tag.into());
        self
    }

    /// With a cap on its output tokens, and what that is a cap on. Only [`CapRule::Billed`] makes it
    /// a bound; otherwise calls of one cap are merely taken as alike.
    #[must_use]
    pub const fn cap(mut self, tokens: u64, rule: CapRule) -> Self {
        self.ladder.cap = Some(tokens);
        self.bound = match rule {
            CapRule::Billed => Some(tokens),
            CapRule::VisibleOnly => None,
        };
        self
    }

    /// With a prompt of so many tokens, or about so many.
    #[must_use]
    pub const fn prompt(mut self, tokens: u64) -> Self {
        self.ladder.prompt = Some(tokens);
        self
    }
}

/// The billed output of one model, visible and reasoning together.
///
/// It remembers 256 kinds of calls and forgets those unused longest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OutputModel(Tree);

impl Default for OutputModel {
    /// Before any answer: 300 tokens in the middle, 99.9 % below 6,600.
    fn default() -> Self {
        Self(Tree::new(Kind { typical: 300.0, deviation: 1.0 }))
    }
}

impl OutputModel {
    /// What is known of the billed output of a call.
    pub fn predict(&self, key: &OutputKey) -> Distribution {
        let known = self.0.predict(&key.ladder);
        match key.bound {
            Some(bound) => known.bounded(bound),
            None => known,
        }
    }

    /// [`Distribution::amount`] of what is known.
    pub(crate) fn amount(&self, key: &OutputKey) -> Amount {
        let bound = key.bound.unwrap_or(u64::MAX);
        let (mean, variance, upper) = self.0.summary(&key.ladder, bound, UPPER);
        amount(mean, variance, upper)
    }

    /// Learns from an answer that ended by itself.
    pub fn learn(&mut self, key: &OutputKey, output_tokens: u64) {
        self.0.learn(&key.ladder, Seen { number: output_tokens, cut: false });
    }

    /// Learns from an answer that its cap cut off (`finish_reason` `length`): with another cap it
    /// would have been at least this long.
    pub fn learn_cut_off(&mut self, key: &OutputKey, output_tokens: u64) {
        self.0.learn(&key.ladder, Seen { number: output_tokens, cut: true });
    }

    /// How many answers it has learned from.
    pub const fn count(&self) -> u64 {
        self.0.count()
    }
}

/// The share of answers that stays below what a demand asks at most.
const UPPER: f64 = 0.999;

fn amount(mean: f64, variance: f64, upper: u64) -> Amount {
    Amount::expected(whole(mean)).spread(whole(variance.sqrt())).upper(upper)
}

impl Distribution {
    /// As a demand takes it: the mean, the deviation, and an upper amount that 99.9 % stay below.
    pub fn amount(&self) -> Amount {
        let (mean, variance) = self.moments();
        amount(mean, variance, self.quantile(UPPER))
    }

    /// What is still to come once `seen` tokens were streamed: the rest of
    /// [`Distribution::reached`].
    ///
    /// ```
    /// use paceline_budget::{OutputKey, OutputModel};
    /// let mut model = OutputModel::default();
    /// let key = OutputKey::new();
    /// (0..300).for_each(|i| model.learn(&key, if i % 2 == 0 { 100 } else { 1_000 }));
    /// // Whoever passed 200 is one of the long ones.
    /// let rest = model.predict(&key).remaining(200);
    /// assert!(rest.expected_amount().abs_diff(800) < 80, "{rest:?}");
    /// ```
    pub fn remaining(&self, seen: u64) -> Amount {
        let whole = self.reached(seen).amount();
        Amount::expected(whole.expected_amount().saturating_sub(seen))
            .spread(whole.spread_amount())
            .upper(whole.upper_amount().saturating_sub(seen))
    }
}

/// Up to the next whole number.
fn whole(number: f64) -> u64 {
    number.ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(answers: impl IntoIterator<Item = u64>) -> OutputModel {
        let mut model = OutputModel::default();
        answers.into_iter().for_each(|tokens| model.learn(&OutputKey::new(), tokens));
        model
    }

    #[test]
    fn an_amount_is_that_of_the_whole_distribution() {
        let model = model((1..400).map(|number| number * number % 7_919));
        for key in [OutputKey::new(), OutputKey::new().cap(900, CapRule::Billed)] {
            assert_eq!(model.amount(&key), model.predict(&key).amount());
        }
    }

    fn after(answers: impl IntoIterator<Item = u64>) -> Amount {
        model(answers).predict(&OutputKey::new()).amount()
    }

    #[test]
    fn before_any_answer_the_prior_speaks() {
        // Lognormal about 300 with deviation 1: mean 300 e^0.5 = 495, quantile 300 e^3.09 = 6,594.
        let estimate = after([]);
        assert!(estimate.expected_amount().abs_diff(495) <= 5, "{estimate:?}");
        assert!(estimate.upper_amount().abs_diff(6_594) <= 66, "{estimate:?}");
        // A variance of (e - 1) times the square of the mean.
        assert!(estimate.spread_amount().abs_diff(648) <= 20, "{estimate:?}");
    }

    #[test]
    fn the_mean_is_that_of_the_answers_even_with_empty_ones_among_them() {
        let estimate = after((0..400).map(|i| if i % 20 == 0 { 0 } else { 300 }));
        assert!(estimate.expected_amount().abs_diff(285) <= 9, "{estimate:?}");
        assert!(estimate.upper_amount() < 50 * 300, "{estimate:?}");
    }

    #[test]
    fn the_longest_answer_of_late_is_inside_the_bound() {
        let estimate = after((0..300).map(|i| if i == 250 { 60_000 } else { 40 }));
        assert!(estimate.upper_amount() > 55_000, "{estimate:?}");
    }

    #[test]
    fn equal_answers_narrow_the_bound() {
        let estimate = after([100; 200]);
        assert!(estimate.expected_amount().abs_diff(100) <= 3, "{estimate:?}");
        assert!(estimate.upper_amount() < 200, "{estimate:?}");
    }

    #[test]
    fn what_a_cap_cut_off_counts_as_longer_for_other_caps() {
        let capped = |cap| OutputKey::new().cap(cap, CapRule::VisibleOnly);
        let mut cut = OutputModel::default();
        let mut whole = OutputModel::default();
        // Answers of 50 to 549 tokens; whatever is longer than 300 is cut there.
        let mut seed = 7_u64;
        for _ in 0..1_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let tokens = 50 + (seed >> 33) % 500;
            whole.learn(&OutputKey::new(), tokens);
            match tokens {
                301.. => cut.learn_cut_off(&capped(300), 300),
                _ => cut.learn(&capped(300), tokens),
            }
        }
        // Half are below 300 in truth; of those that were cut it is not said how long they are.
        let truth = whole.predict(&OutputKey::new()).quantile(0.4);
        let other = cut.predict(&capped(2_000)).quantile(0.4);
        assert!(other.abs_diff(truth) * 10 <= truth, "{other} {truth}");
        assert!(cut.predict(&capped(2_000)).quantile(0.9) > 400);
        assert!(cut.predict(&capped(300)).quantile(0.99) <= 320);
    }

    #[test]
    fn a_cap_is_a_bound_only_where_the_rule_says_so() {
        let model = model((0..200).map(|_| 2_500));
        let with = |rule| model.predict(&OutputKey::new().cap(100, rule)).amount();
        assert!(with(CapRule::VisibleOnly).upper_amount() >= 2_500);
        assert_eq!(with(CapRule::Billed), Amount::expected(100).upper(100));
        assert_eq!(CapRule::of(&"grok-4.3".into()), CapRule::VisibleOnly);
        assert_eq!(CapRule::of(&"grok-3-mini".into()), CapRule::VisibleOnly);
        assert_eq!(CapRule::of(&"grok-2-latest".into()), CapRule::Billed);
        assert_eq!(CapRule::of(&"something-else".into()), CapRule::VisibleOnly);
    }

    #[test]
    fn a_new_tag_begins_with_what_is_known_of_the_model() {
        let model = model((0..300).map(|i| 900 + i % 200));
        let fresh = model.predict(&OutputKey::new().tag("new").effort("low").prompt(70));
        assert!(fresh.amount().expected_amount().abs_diff(1_000) < 30);
    }

    #[test]
    fn a_stream_longer_than_any_before_goes_on_for_a_while() {
        let known = model([40; 300]).predict(&OutputKey::new());
        let rest = known.remaining(100_000);
        assert!(rest.expected_amount() > 1_000, "{rest:?}");
        assert_eq!(known.reached(u64::MAX).quantile(0.5), (1 << 27) - 1);
    }
}
