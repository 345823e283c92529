//! What one call asks for, before it leaves.

use std::time::Duration;

use crate::dimension::Dimension;
use crate::limit_key::{Caller, LimitKey, Tag};
use crate::model::ModelId;
use crate::time::Instant;

/// How much of one dimension a call will use: what is expected, how far it spreads, and what it
/// will not pass.
///
/// Limits that guarantee reserve the upper amount; limits that pool many calls use the expected
/// amount and its spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Amount {
    expected: u64,
    spread: u64,
    upper: u64,
}

/// When a call will be over, counted from its sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Completion {
    earliest: Duration,
    latest: Duration,
}

/// How urgent a call is. Within one class, first come is first served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Class {
    /// Somebody is waiting.
    Interactive,
    /// The default.
    #[default]
    Standard,
    /// Whenever there is room.
    Batch,
}

/// What one call asks of every limit that applies to it.
///
/// Plain data; building and cloning it allocates nothing. The default demand asks for nothing
/// and is admitted at once.
///
/// **A limit on a dimension that a demand does not name does not count it**: such a call passes,
/// and nobody is told. A limit on calls in flight lets `Demand::new().with(Dimension::Requests, ..)`
/// through without end; a demand that it is to hold names [`Dimension::InFlight`]. So for each
/// dimension that is limited, name an amount, an upper one where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    amounts: [Amount; Dimension::COUNT],
    /// Which of them are asked for: bit n is dimension n of [`Dimension::ALL`].
    asked: u16,
    completion: Option<Completion>,
    class: Class,
    deadline: Option<Instant>,
    model: Option<ModelId>,
    tag: Option<Tag>,
    caller: Option<Caller>,
}

impl Amount {
    /// An amount that is known: expected and upper are the same.
    pub const fn exact(amount: u64) -> Self {
        Self { expected: amount, spread: 0, upper: amount }
    }

    /// An amount of which the mean is known. The upper amount is the same until
    /// [`Amount::upper`] says more.
    pub const fn expected(mean: u64) -> Self {
        Self::exact(mean)
    }

    /// With this standard deviation.
    #[must_use]
    pub const fn spread(mut self, deviation: u64) -> Self {
        self.spread = deviation;
        self
    }

    /// With this upper amount; never below the expected one.
    #[must_use]
    pub const fn upper(mut self, most: u64) -> Self {
        self.upper = if most > self.expected { most } else { self.expected };
        self
    }

    /// The mean.
    #[inline]
    pub const fn expected_amount(self) -> u64 {
        self.expected
    }

    /// The standard deviation.
    #[inline]
    pub const fn spread_amount(self) -> u64 {
        self.spread
    }

    /// What the call will not pass; at least the mean.
    #[inline]
    pub const fn upper_amount(self) -> u64 {
        self.upper
    }
}

impl Completion {
    /// Between `earliest` and `latest` after the sending. Where they are the wrong way round,
    /// `latest` is taken as `earliest`.
    pub fn between(earliest: Duration, latest: Duration) -> Self {
        Self { earliest: earliest.min(latest), latest: latest.max(earliest) }
    }

    /// The soonest that the call can be over.
    pub const fn earliest(self) -> Duration {
        self.earliest
    }

    /// By when the call is over.
    pub const fn latest(self) -> Duration {
        self.latest
    }
}

impl Demand {
    /// A demand for nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One call of so many total tokens: the common case.
    pub fn call(total_tokens: Amount) -> Self {
        Self::new()
            .with(Dimension::Requests, Amount::exact(1))
            .with(Dimension::InFlight, Amount::exact(1))
            .with(Dimension::TotalTokens, total_tokens)
    }

    /// With so much of one dimension, in place of what was there.
    #[must_use]
    pub const fn with(mut self, dimension: Dimension, amount: Amount) -> Self {
        self.amounts[dimension.index()] = amount;
        self.asked |= 1 << dimension.index();
        self
    }

    /// With the range in which the call will be over.
    #[must_use]
    pub const fn completes(mut self, completion: Completion) -> Self {
        self.completion = Some(completion);
        self
    }

    /// With another urgency than [`Class::Standard`].
    #[must_use]
    pub const fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// To be refused rather than admitted after this moment, on the admission's clock
    /// ([`Admission::now`](crate::Admission::now)). Default: waits as long as it takes.
    #[must_use]
    pub const fn deadline(mut self, at: Instant) -> Self {
        self.deadline = Some(at);
        self
    }

    /// To be held against the limits of this model.
    #[must_use]
    pub fn model(mut self, model: impl Into<ModelId>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// To be held against the limits of this tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Tag>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// To be held against the limits of this caller.
    #[must_use]
    pub fn caller(mut self, caller: impl Into<Caller>) -> Self {
        self.caller = Some(caller.into());
        self
    }

    /// How much of one dimension it asks for, if any.
    #[inline]
    pub const fn amount(&self, dimension: Dimension) -> Option<Amount> {
        self.amount_at(dimension.index())
    }

    /// The same by the [index](Dimension::index) of a dimension, for those who keep it; `None`
    /// where there is no such dimension.
    #[inline]
    pub const fn amount_at(&self, index: usize) -> Option<Amount> {
        if index >= Dimension::COUNT || self.asked & (1 << index) == 0 {
            None
        } else {
            Some(self.amounts[index])
        }
    }

    /// Every dimension it asks for, in the order of [`Dimension::ALL`].
    pub fn amounts(&self) -> impl Iterator<Item = (Dimension, Amount)> + '_ {
        Dimension::ALL.into_iter().filter_map(|d| self.amount(d).map(|amount| (d, amount)))
    }

    /// The range in which the call will be over, if it is known.
    pub const fn completion(&self) -> Option<Completion> {
        self.completion
    }

    /// How urgent it is.
    pub const fn urgency(&self) -> Class {
        self.class
    }

    /// The moment after which it is to be refused, if there is one.
    pub const fn latest_admission(&self) -> Option<Instant> {
        self.deadline
    }

    /// The model it names, if any.
    #[inline]
    pub const fn model_id(&self) -> Option<&ModelId> {
        self.model.as_ref()
    }

    /// The tag it names, if any.
    #[inline]
    pub const fn tag_name(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The caller it names, if any.
    #[inline]
    pub const fn caller_name(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// Whether a limit of this key counts it.
    pub fn is_counted_by(&self, key: &LimitKey) -> bool {
        key.counts(self.model.as_ref(), self.tag.as_ref(), self.caller.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_amount_is_never_below_the_mean() {
        assert_eq!(Amount::expected(10).upper(4).upper_amount(), 10);
        assert_eq!(Amount::expected(10).spread(3).upper(40).upper_amount(), 40);
    }

    #[test]
    fn a_demand_is_counted_by_what_it_names() {
        let demand = Demand::new().model("m").caller("c");
        assert!(demand.is_counted_by(&LimitKey::All));
        assert!(demand.is_counted_by(&LimitKey::Model("m".into())));
        assert!(demand.is_counted_by(&LimitKey::Caller("c".into())));
        assert!(!demand.is_counted_by(&LimitKey::Model("n".into())));
        assert!(!demand.is_counted_by(&LimitKey::Tag("m".into())));
    }

    #[test]
    fn a_range_the_wrong_way_round_is_turned() {
        let range = Completion::between(Duration::from_secs(9), Duration::from_secs(1));
        assert_eq!((range.earliest().as_secs(), range.latest().as_secs()), (1, 9));
    }
}
