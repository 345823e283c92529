//! What to do where a budget is reached: wait for money that others hold, wait for the next period, or
//! end.
//!
//! Time is an argument: the wall clock's, as periods are those of the calendar. Invariant: nobody waits
//! for what does not come, such as a call that costs more than the whole budget.

use std::time::Duration;

use paceline_core::UnixMillis;

/// Why no row is started now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Calls of other runs are in flight, and hold what they may not need.
    Others,
    /// The budget begins anew then.
    Until(UnixMillis),
}

/// A pause is looked at so often at least: the wall clock may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

impl Pause {
    /// What a refusal by a budget calls for; `None` where the run is over. The budget begins anew at
    /// `renews`, if ever.
    pub(crate) const fn after(
        renews: Option<UnixMillis>,
        others_in_flight: bool,
        waits_for_budget: bool,
    ) -> Option<Self> {
        match renews {
            Some(_) if others_in_flight => Some(Self::Others),
            Some(renews) if waits_for_budget => Some(Self::Until(renews)),
            _ => None,
        }
    }

    /// Whether it is over, by the clock. Others are looked at elsewhere.
    pub(crate) fn is_over(self, now: UnixMillis) -> bool {
        matches!(self, Self::Until(moment) if now >= moment)
    }

    /// How long to sleep before it is looked at again.
    pub(crate) fn rest(self, now: UnixMillis) -> Duration {
        match self {
            Self::Others => LOOK_AGAIN,
            Self::Until(moment) => moment.since(now).clamp(Duration::from_millis(1), LOOK_AGAIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: UnixMillis = UnixMillis::new(43_200_000);
    const MIDNIGHT: UnixMillis = UnixMillis::new(86_400_000);

    #[test]
    fn a_run_waits_for_what_comes_and_for_nothing_else() {
        // A cap, or a call that is larger than its budget, never comes back.
        for waits in [true, false] {
            for in_flight in [true, false] {
                assert_eq!(Pause::after(None, in_flight, waits), None);
            }
            assert_eq!(Pause::after(Some(MIDNIGHT), true, waits), Some(Pause::Others));
        }
        assert_eq!(Pause::after(Some(MIDNIGHT), false, false), None);
        assert_eq!(Pause::after(Some(MIDNIGHT), false, true), Some(Pause::Until(MIDNIGHT)));
    }

    #[test]
    fn a_period_is_waited_for_by_the_wall_clock_whichever_way_it_steps() {
        let pause = Pause::Until(MIDNIGHT);
        assert!(!pause.is_over(NOON) && pause.is_over(MIDNIGHT));
        assert_eq!(pause.rest(NOON), LOOK_AGAIN, "the clock may be set meanwhile");
        assert_eq!(pause.rest(UnixMillis::new(86_399_000)), Duration::from_secs(1));
        assert!(pause.rest(UnixMillis::new(i64::MAX)) > Duration::ZERO, "no hot loop");
        assert!(!Pause::Others.is_over(UnixMillis::new(i64::MAX)));
    }
}
