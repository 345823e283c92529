//! In which order those who wait are served, as it is stated.
//!
//! Plain data and its checks; the order itself is kept elsewhere. Invariant: what has passed
//! [`QueuePolicy::check`] can be kept for any demands.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use paceline_core::{Caller, Dimension};

/// In which order those who wait are served.
///
/// First the class, then the caller, then the arrival:
///
/// 1. **Class.** [`Class::Interactive`](paceline_core::Class::Interactive) goes before
///    [`Class::Standard`](paceline_core::Class::Standard) before
///    [`Class::Batch`](paceline_core::Class::Batch). A class that waits and is not served gains
///    one class per [`ageing`](QueuePolicy::ageing), until one of its waiters is admitted.
/// 2. **Caller**, only with [`fair`](QueuePolicy::fair): within a class, the caller that has had
///    the least, by weight.
/// 3. **Arrival.** Without fair shares a later call is never admitted before an earlier one of
///    its class, unless [`overtaking`](QueuePolicy::overtaking) is on. With them that holds for
///    the calls of one caller.
///
/// Whoever is first is waited for, however much it asks for: a large demand is never passed over
/// for small ones that would fit.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use paceline_limiter::{FairShare, Overtaking, QueuePolicy};
///
/// let three = NonZeroU32::new(3).unwrap();
/// let policy = QueuePolicy::new()
///     .ageing(Duration::from_secs(10))
///     .fair(FairShare::by_caller().weight("paying", three))
///     .overtaking(Overtaking::IfHeadKeepsItsTime);
/// # let _ = policy;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePolicy {
    ageing: Duration,
    fair: Option<FairShare>,
    overtaking: Overtaking,
    max_waiting: usize,
}

/// Callers of one class share by weight, by what their calls use.
///
/// Each caller has a counter of what it was granted, divided by its weight: what a call is
/// expected to use at first, what it used once it is settled. The caller with the least is next;
/// at equal counters, the one whose first call came first. Calls that name no caller share one
/// counter. A caller that comes back after having had nothing in the queue is lifted to the least
/// of those who wait: time spent away earns nothing. Nor is what was admitted while nobody waited
/// held against anyone, the last call before the queue formed excepted. (Virtual token counters:
/// Sheng et al., *Fairness in Serving Large Language Models*, OSDI 2024.)
///
/// # Fairness
/// Take two callers that both have calls waiting in one class all through an interval. Count a
/// call as what it was expected to use until it is settled and as what it used from then on, and
/// divide by its caller's weight. Let A be the largest such amount of one call, and R the most by
/// which all that one caller has in flight turns out to differ from what was expected. Then what
/// the two were granted in the interval differs by at most **2 A** where calls use what was
/// expected (the bound of that paper), else by at most 2 A + 8 R. What [overtakes](Overtaking)
/// comes on top.
///
/// Each class has counters of its own, so that being served in one costs nothing in another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FairShare {
    dimension: Option<Dimension>,
    weights: BTreeMap<Caller, NonZeroU32>,
}

/// Whether those behind the first may be admitted while it waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overtaking {
    /// No: strict order. Default.
    #[default]
    Never,
    /// What fits now and leaves the first one's own time where it is may go before it. Only the
    /// next [`QueuePolicy::LOOK_AHEAD`] are looked at.
    IfHeadKeepsItsTime,
}

/// Why a policy can't be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueuePolicyError {
    /// [`QueuePolicy::ageing`] of no time: classes would mean nothing.
    ZeroAgeing,
    /// More [`FairShare::weight`]s than [`FairShare::MAX_WEIGHTS`].
    TooManyWeights {
        /// How many there are.
        weights: usize,
        /// How many are taken.
        most: usize,
    },
}

impl QueuePolicy {
    /// After how long a class that is not served gains one, unless told otherwise.
    pub const DEFAULT_AGEING: Duration = Duration::from_secs(30);
    /// How many may wait, unless told otherwise.
    pub const DEFAULT_MAX_WAITING: usize = 10_000;
    /// How many of those who wait are looked at at once, the first included.
    pub const LOOK_AHEAD: usize = 64;

    /// First come, first served within a class; no fair shares, no overtaking.
    pub const fn new() -> Self {
        Self {
            ageing: Self::DEFAULT_AGEING,
            fair: None,
            overtaking: Overtaking::Never,
            max_waiting: Self::DEFAULT_MAX_WAITING,
        }
    }

    /// With another time after which a class that waits, and of which nobody is admitted, gains
    /// one class. Default: [`QueuePolicy::DEFAULT_AGEING`]. More than zero; [`Duration::MAX`]
    /// never ages.
    ///
    /// The time counts from when the class was last served, or began to wait. So the first of
    /// [`Class::Standard`](paceline_core::Class::Standard) is level with interactive calls after
    /// one such time, the first of [`Class::Batch`](paceline_core::Class::Batch) after two; among
    /// classes that are level, the one that has gone without for longest is next. From then on at
    /// most one call of each of the two other classes is admitted before it. So the waiter at
    /// place n of its class is first after at most n times that long, beside the time that those
    /// before it take to be admitted, however busy the classes above are. And no more than that:
    /// a long backlog of batch calls never gets in front of interactive ones as a whole.
    #[must_use]
    pub const fn ageing(mut self, step: Duration) -> Self {
        self.ageing = step;
        self
    }

    /// With fair shares within each class. Default: none, the order of arrival.
    #[must_use]
    pub fn fair(mut self, share: FairShare) -> Self {
        self.fair = Some(share);
        self
    }

    /// Whether what fits may go before what does not. Default: [`Overtaking::Never`].
    #[must_use]
    pub const fn overtaking(mut self, overtaking: Overtaking) -> Self {
        self.overtaking = overtaking;
        self
    }

    /// With another bound on how many may wait than [`QueuePolicy::DEFAULT_MAX_WAITING`]. With
    /// none, nobody waits.
    #[must_use]
    pub const fn max_waiting(mut self, waiting: usize) -> Self {
        self.max_waiting = waiting;
        self
    }

    pub(super) fn check(&self) -> Result<(), QueuePolicyError> {
        if self.ageing.is_zero() {
            return Err(QueuePolicyError::ZeroAgeing);
        }
        let weights = self.fair.as_ref().map_or(0, |share| share.weights.len());
        if weights > FairShare::MAX_WEIGHTS {
            return Err(QueuePolicyError::TooManyWeights { weights, most: FairShare::MAX_WEIGHTS });
        }
        Ok(())
    }

    pub(super) const fn ageing_step(&self) -> Duration {
        self.ageing
    }

    pub(super) const fn fair_share(&self) -> Option<&FairShare> {
        self.fair.as_ref()
    }

    pub(super) const fn overtakes(&self) -> Overtaking {
        self.overtaking
    }

    pub(super) const fn bound(&self) -> usize {
        self.max_waiting
    }
}

impl Default for QueuePolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl FairShare {
    /// How many callers may have a weight of their own.
    pub const MAX_WEIGHTS: usize = 4_096;

    /// The callers that demands name, at equal weights.
    pub fn by_caller() -> Self {
        Self::default()
    }

    /// With this weight for one caller: at weight 3 it gets three times what one of weight 1
    /// gets, while both wait. Default: 1.
    #[must_use]
    pub fn weight(mut self, caller: impl Into<Caller>, weight: NonZeroU32) -> Self {
        self.weights.insert(caller.into(), weight);
        self
    }

    /// With what is shared. Default: [`Dimension::TotalTokens`] where a demand asks for it, else
    /// [`Dimension::Requests`]. A call counts as at least 1, even one that asks for nothing of it.
    #[must_use]
    pub const fn measured_in(mut self, dimension: Dimension) -> Self {
        self.dimension = Some(dimension);
        self
    }

    pub(super) const fn dimension(&self) -> Option<Dimension> {
        self.dimension
    }

    pub(super) fn weight_of(&self, caller: Option<&Caller>) -> NonZeroU32 {
        caller.and_then(|caller| self.weights.get(caller)).copied().unwrap_or(NonZeroU32::MIN)
    }
}

impl fmt::Display for QueuePolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroAgeing => f.write_str("ageing of no time would leave no classes"),
            Self::TooManyWeights { weights, most } => {
                write!(f, "{weights} weights of callers, at most {most}")
            }
        }
    }
}

impl std::error::Error for QueuePolicyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_can_not_be_kept_is_named() {
        let timeless = QueuePolicy::new().ageing(Duration::ZERO);
        assert_eq!(timeless.check(), Err(QueuePolicyError::ZeroAgeing));
        let weigh = |callers: usize| {
            let share = (0..callers).fold(FairShare::by_caller(), |share, n| {
                share.weight(n.to_string(), NonZeroU32::MIN)
            });
            QueuePolicy::new().fair(share).check()
        };
        assert_eq!(weigh(4_096), Ok(()));
        let error = QueuePolicyError::TooManyWeights { weights: 4_097, most: 4_096 };
        assert_eq!(weigh(4_097), Err(error));
        assert_eq!(error.to_string(), "4097 weights of callers, at most 4096");
        assert_eq!(QueuePolicy::default().check(), Ok(()));
    }
}
