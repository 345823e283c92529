//! How a server counts tokens, before it is said how many it allows.
//!
//! Data only; [`engine`](crate::engine) counts. Invariant: a rule that exists makes a legal
//! [`Rule`] of every limit.

use std::fmt;

use crate::engine::{Charge, Rule, Shape};

/// How a server counts tokens: how it forgets, and when it counts.
///
/// # Examples
/// ```
/// use paceline_sim::token_rule::TokenRule;
///
/// let rule = TokenRule::named("bucket-l4-arrival").expect("one of the named");
/// assert_eq!(rule.of(60_000).most(), 15_000);
/// assert_eq!(TokenRule::named("sliding-completion"), Some(TokenRule::GROK));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenRule {
    forgets: Forgets,
    charge: Charge,
}

/// How it forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Forgets {
    As(Shape),
    /// A bucket that holds the limit divided by this.
    BucketOf(u64),
}

/// Why there is no such rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTokenRule {
    /// A bucket that holds nothing.
    #[error("a bucket holds 1 token or more")]
    Capacity,
    /// A window without slices.
    #[error("a window has 1 slice or more")]
    Slices,
}

impl TokenRule {
    /// As xAI's server does: a sliding minute, counted when a call is over.
    pub const GROK: Self = Self::made(Forgets::As(Shape::Sliding), Charge::Completion);

    /// The thirteen that servers are known or suspected to keep, by name.
    pub const NAMED: [(&'static str, Self); 13] = {
        use Charge::{Arrival, Completion, Held};
        use Forgets::{As, BucketOf};
        use Shape::{Aligned, Sliding, TwoCounter};
        [
            ("sliding-completion", Self::GROK),
            ("sliding-arrival", Self::made(As(Sliding), Arrival)),
            ("aligned-completion", Self::made(As(Aligned), Completion)),
            ("aligned-arrival", Self::made(As(Aligned), Arrival)),
            ("two-counters-completion", Self::made(As(TwoCounter), Completion)),
            ("two-counters-arrival", Self::made(As(TwoCounter), Arrival)),
            ("bucket-l-completion", Self::made(BucketOf(1), Completion)),
            ("bucket-l-arrival", Self::made(BucketOf(1), Arrival)),
            ("bucket-l4-completion", Self::made(BucketOf(4), Completion)),
            ("bucket-l4-arrival", Self::made(BucketOf(4), Arrival)),
            ("bucket-l60-completion", Self::made(BucketOf(60), Completion)),
            ("bucket-l60-arrival", Self::made(BucketOf(60), Arrival)),
            ("held", Self::made(As(Sliding), Held)),
        ]
    };

    const fn made(forgets: Forgets, charge: Charge) -> Self {
        Self { forgets, charge }
    }

    /// A rule of one's own. A bucket's capacity is in tokens, whatever the limit is.
    ///
    /// # Errors
    /// [`InvalidTokenRule`] where a bucket holds nothing, or a window has no slices.
    pub const fn new(shape: Shape, charge: Charge) -> Result<Self, InvalidTokenRule> {
        match shape {
            Shape::Bucket { capacity: 0 } => Err(InvalidTokenRule::Capacity),
            Shape::Slices { count: 0 } => Err(InvalidTokenRule::Slices),
            _ => Ok(Self::made(Forgets::As(shape), charge)),
        }
    }

    /// A bucket that holds as much as the limit.
    pub const fn bucket(charge: Charge) -> Self {
        Self::made(Forgets::BucketOf(1), charge)
    }

    /// The named one, if there is one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, rule)| *rule)
    }

    /// The rule for so many tokens a minute.
    pub fn of(self, limit: u64) -> Rule {
        let shape = match self.forgets {
            Forgets::As(shape) => shape,
            Forgets::BucketOf(part) => Shape::Bucket { capacity: (limit / part).max(1) },
        };
        Rule::a_minute(limit, shape, self.charge)
    }
}

impl fmt::Display for TokenRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.forgets {
            Forgets::As(Shape::Sliding) => f.write_str("a sliding minute")?,
            Forgets::As(Shape::Aligned) => f.write_str("a minute of the clock")?,
            Forgets::As(Shape::TwoCounter) => f.write_str("two minutes of the clock, weighed")?,
            Forgets::As(Shape::Slices { count }) => write!(f, "a minute in {count} slices")?,
            Forgets::As(Shape::Bucket { capacity }) => write!(f, "a bucket of {capacity} tokens")?,
            Forgets::BucketOf(1) => f.write_str("a bucket that holds the limit")?,
            Forgets::BucketOf(part) => write!(f, "a bucket that holds 1/{part} of the limit")?,
        }
        f.write_str(match self.charge {
            Charge::Arrival => ", charged when a call arrives",
            Charge::Completion => ", charged when a call is over",
            Charge::Held => ", charged at the most it could use until it is over",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::shapes;

    #[test]
    fn the_named_ones_are_the_thirteen_shapes() {
        for limit in [1, 59, 6_000] {
            let shapes = shapes(limit, Duration::from_secs(60)).expect("a minute");
            let named = TokenRule::NAMED.iter().map(|(name, rule)| (*name, rule.of(limit)));
            for ((name, ours), (theirs, rule)) in named.zip(shapes) {
                assert_eq!(ours, rule, "{name} of {limit}");
                let spelled = theirs.replace(", ", "-").replace(' ', "-").replace('/', "");
                assert_eq!(name, spelled.to_lowercase());
            }
        }
    }

    #[test]
    fn each_name_says_what_it_does_and_no_two_the_same() {
        let said: std::collections::BTreeSet<String> =
            TokenRule::NAMED.iter().map(|(_, rule)| rule.to_string()).collect();
        assert_eq!(said.len(), 13);
        assert_eq!(TokenRule::named("no-such"), None);
        let six = TokenRule::new(Shape::Slices { count: 6 }, Charge::Arrival).expect("six");
        assert_eq!(six.to_string(), "a minute in 6 slices, charged when a call arrives");
    }

    #[test]
    fn what_could_hold_nothing_is_refused() {
        let of = |shape| TokenRule::new(shape, Charge::Arrival);
        assert_eq!(of(Shape::Bucket { capacity: 0 }), Err(InvalidTokenRule::Capacity));
        assert_eq!(of(Shape::Slices { count: 0 }), Err(InvalidTokenRule::Slices));
    }
}
