//! How many more requests fit into what is left, judged by the average of those so far; which limit
//! or budget binds first, and when.
//!
//! It counts nothing by itself: who calls it says what is left. Invariant: a range holds what is
//! expected.

mod average;

use std::fmt;
use std::time::Duration;

use paceline_core::{Dimension, LimitKey, Quota, Refill, RefusedBy, UnixMillis};

use crate::budget::{Budget, Period, Standing};
pub use average::{AverageUse, Fit};

/// What requests use on average, in every unit that is limited.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Averages([AverageUse; Dimension::COUNT]);

impl Averages {
    /// Adds what one request used of one dimension. A request itself need not be added.
    pub fn add(&mut self, dimension: Dimension, used: u64) {
        self.0[dimension.index()].add(used);
    }

    /// The average of one dimension.
    pub const fn of(&self, dimension: Dimension) -> AverageUse {
        self.0[dimension.index()]
    }

    fn fits(&self, room: &Room) -> Option<Fit> {
        match room.dimension {
            Dimension::Requests | Dimension::InFlight => {
                Some(Fit { low: room.left, expected: room.left, high: room.left })
            }
            other => self.of(other).fits(room.left),
        }
    }
}

/// What is left of one limit or budget. It is shown as whose it is: `the budget of $5.00 a day for all
/// calls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    key: LimitKey,
    dimension: Dimension,
    left: u64,
    again: Again,
    of: Of,
}

/// What it is left of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    Limit(Quota),
    Budget(Budget),
}

/// When it is whole again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Never,
    In(Duration),
    Rolling { limit: u64, window: Duration },
}

impl Room {
    /// What is left of a limit: its quota, and how much of it counts now.
    pub fn of_limit(key: LimitKey, dimension: Dimension, quota: Quota, counted: u64) -> Self {
        let limit = quota.limit().get();
        let again = match quota.refill() {
            Refill::Rolling(window) => Again::Rolling { limit, window },
            _ => Again::Never,
        };
        let left = limit.saturating_sub(counted);
        Self { key, dimension, left, again, of: Of::Limit(quota) }
    }

    /// What is left of a budget.
    pub fn of_budget(standing: &Standing, now: UnixMillis) -> Self {
        let budget = &standing.budget;
        let again = match (budget.period(), standing.renews) {
            (Period::Rolling(window), _) => Again::Rolling { limit: budget.most().get(), window },
            (_, Some(renews)) => Again::In(renews.since(now)),
            (_, None) => Again::Never,
        };
        let (key, dimension) = (budget.key().clone(), budget.dimension());
        Self { key, dimension, left: standing.left, again, of: Of::Budget(budget.clone()) }
    }

    /// Whose calls it counts.
    pub const fn key(&self) -> &LimitKey {
        &self.key
    }

    /// What it counts.
    pub const fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// How much is left.
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// The rolling window that it counts in; `None` where what is used comes back all at once, or never.
    pub const fn window(&self) -> Option<Duration> {
        match self.again {
            Again::Rolling { window, .. } => Some(window),
            Again::In(_) | Again::Never => None,
        }
    }

    /// When so many requests have used it up at a pace; `None` where it is whole again before.
    fn runs_out(&self, fit: u64, pace: Pace) -> Option<Duration> {
        // One that fits no request is used up already.
        let seconds = match self.again {
            _ if fit == 0 => 0.0,
            Again::Never | Again::In(_) => fit as f64 / pace.per_second,
            Again::Rolling { limit, window } => {
                // What counts now leaves evenly while requests come evenly.
                let use_a_second = self.left as f64 / fit as f64 * pace.per_second;
                let window = window.as_secs_f64();
                if use_a_second * window <= limit as f64 {
                    return None;
                }
                let leaves_a_second = limit.saturating_sub(self.left) as f64 / window;
                self.left as f64 / (use_a_second - leaves_a_second)
            }
        };
        let time = Duration::try_from_secs_f64(seconds).ok()?;
        match self.again {
            Again::In(whole) if time >= whole => None,
            _ => Some(time),
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            Of::Limit(quota) => {
                write!(f, "{}", RefusedBy::new(self.key.clone(), self.dimension, *quota))
            }
            Of::Budget(budget) => write!(f, "the budget of {budget}"),
        }
    }
}

/// How fast requests are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    per_second: f64,
}

impl Pace {
    /// So many requests in so long; `None` where there was no request or no time.
    pub fn of(requests: u64, during: Duration) -> Option<Self> {
        let per_second = requests as f64 / during.as_secs_f64();
        (per_second > 0.0 && per_second.is_finite()).then_some(Self { per_second })
    }
}

/// What is to be expected of one limit or budget.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outlook {
    /// The limit or budget.
    pub room: Room,
    /// How many more requests fit into it; `None` where nothing is known of what they use.
    pub fits: Option<Fit>,
    /// When it is used up at the pace, if it is before it is whole again.
    pub runs_out: Option<Duration>,
    /// The earliest that this may happen, with 95 % confidence.
    pub runs_out_earliest: Option<Duration>,
    /// The latest, with 95 % confidence; `None` where it may not happen at all.
    pub runs_out_latest: Option<Duration>,
}

/// What is to be expected of all limits and budgets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forecast {
    /// One for each, in the order they were given in.
    pub outlooks: Vec<Outlook>,
    first: Option<usize>,
}

impl Forecast {
    /// The one that binds first: that is used up first at the pace, or else that fits the fewest
    /// requests.
    pub fn first(&self) -> Option<&Outlook> {
        self.outlooks.get(self.first?)
    }
}

/// How many more requests fit into every limit and budget, which of them binds first, and when it is
/// used up if requests go on as they do.
///
/// ```
/// use std::num::NonZeroU64;
/// use std::time::Duration;
/// use paceline_budget::{Averages, Pace, Room, forecast};
/// use paceline_core::{Dimension, LimitKey, Money, Quota};
///
/// // Two requests so far: what did they use?
/// let mut averages = Averages::default();
/// for (tokens, cents) in [(900, 1), (1_100, 3)] {
///     averages.add(Dimension::TotalTokens, tokens);
///     averages.add(Dimension::Money, cents * 100_000_000);
/// }
/// // 10 million tokens a minute, and two dollars of which half is spent.
/// let at_most = |limit: u64| NonZeroU64::new(limit).expect("not zero");
/// let per_minute = Quota::per_minute(at_most(10_000_000));
/// let two_dollars = Quota::once(at_most(Money::from_usd(2).as_amount()));
/// let rooms = [
///     Room::of_limit(LimitKey::All, Dimension::TotalTokens, per_minute, 0),
///     Room::of_limit(LimitKey::All, Dimension::Money, two_dollars, 10_000_000_000),
/// ];
/// // A request every two seconds.
/// let forecast = forecast(rooms, &averages, Pace::of(30, Duration::from_secs(60)));
/// let first = forecast.first().expect("both are known");
/// assert_eq!(first.room.dimension(), Dimension::Money);
/// assert_eq!(first.fits.map(|fit| fit.expected), Some(50));
/// assert_eq!(first.runs_out, Some(Duration::from_secs(100)));
/// // The tokens never run out at this pace.
/// assert_eq!(forecast.outlooks[0].runs_out, None);
/// ```
pub fn forecast(
    rooms: impl IntoIterator<Item = Room>,
    averages: &Averages,
    pace: Option<Pace>,
) -> Forecast {
    let outlook = |room: Room| {
        let fits = averages.fits(&room);
        let at = |fit: fn(Fit) -> u64| room.runs_out(fit(fits?), pace?);
        Outlook {
            fits,
            runs_out: at(|fit| fit.expected),
            runs_out_earliest: at(|fit| fit.low),
            runs_out_latest: at(|fit| fit.high),
            room,
        }
    };
    let outlooks: Vec<_> = rooms.into_iter().map(outlook).collect();
    // Calls in flight end: how many may be is no stock that is used up.
    let stock = |(_, outlook): &(usize, &Outlook)| outlook.room.dimension != Dimension::InFlight;
    let soonest = outlooks.iter().enumerate().filter(stock);
    let soonest = soonest.filter_map(|(index, outlook)| Some((outlook.runs_out?, index))).min();
    let fewest = outlooks.iter().enumerate().filter(stock);
    let fewest = fewest.filter_map(|(index, outlook)| Some((outlook.fits?.expected, index))).min();
    let first = soonest.map(|(_, index)| index).or(fewest.map(|(_, index)| index));
    Forecast { outlooks, first }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::budget::{Budget, Budgets, Spend};

    #[test]
    fn nothing_is_said_of_nothing() {
        assert_eq!(forecast([], &Averages::default(), None).first(), None);
        assert_eq!(Pace::of(0, Duration::from_secs(1)), None);
        assert_eq!(Pace::of(1, Duration::ZERO), None);
    }

    /// Requests of 100 tokens each, one a second.
    fn of(room: Room) -> Outlook {
        let mut averages = Averages::default();
        (0..10).for_each(|_| averages.add(Dimension::TotalTokens, 100));
        let pace = Pace::of(10, Duration::from_secs(10));
        let forecast = forecast([room], &averages, pace);
        forecast.first().cloned().expect("it is known")
    }

    fn tokens(limit: u64, counted: u64) -> Room {
        let quota = Quota::per_minute(NonZeroU64::new(limit).expect("not zero"));
        Room::of_limit(LimitKey::All, Dimension::TotalTokens, quota, counted)
    }

    #[test]
    fn a_rolling_window_runs_out_only_above_its_rate() {
        // 6,000 a minute is what is used.
        assert_eq!(of(tokens(6_000, 0)).runs_out, None);
        // 3,000 of an empty window last half of it.
        assert_eq!(of(tokens(3_000, 0)).runs_out, Some(Duration::from_secs(30)));
        // Where half of it counts, that leaves meanwhile: 1,500 + 25 t = 100 t.
        assert_eq!(of(tokens(3_000, 1_500)).runs_out, Some(Duration::from_secs(20)));
        assert_eq!(of(tokens(3_000, 3_000)).runs_out, Some(Duration::ZERO));
    }

    #[test]
    fn a_budget_that_is_whole_again_before_does_not_run_out() {
        let mut budgets = Budgets::new();
        let daily = Budget::total_tokens(10_000, Period::Day).expect("not zero");
        budgets.add(daily).expect("room");
        let outlook = |budgets: &Budgets, now: i64| {
            let now = UnixMillis::new(now);
            of(Room::of_budget(&budgets.standings(now).next().expect("one"), now))
        };
        // 100 requests last 100 s: a day's budget at noon runs out, one 99 s before midnight does not.
        let noon = outlook(&budgets, 43_200_000);
        assert_eq!(noon.runs_out, Some(Duration::from_secs(100)));
        assert_eq!(noon.fits.map(|fit| fit.expected), Some(100));
        assert_eq!(outlook(&budgets, 86_400_000 - 99_000).runs_out, None);
        let spent = Spend::new(UnixMillis::new(0)).total_tokens(9_000);
        budgets.spend(&spent).expect("sane");
        assert_eq!(outlook(&budgets, 1).runs_out, Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_room_says_what_it_is_left_of() {
        assert_eq!(tokens(6_000, 0).to_string(), "the limit of 6000/min tokens for all calls");
        assert_eq!(tokens(6_000, 0).window(), Some(Duration::from_secs(60)));
        let mut budgets = Budgets::new();
        budgets.add(Budget::total_tokens(10_000, Period::Day).expect("not zero")).expect("room");
        let now = UnixMillis::new(0);
        let room = Room::of_budget(&budgets.standings(now).next().expect("one"), now);
        assert_eq!(room.to_string(), "the budget of 10000 tokens a day for all calls");
        assert_eq!(room.window(), None);
    }

    #[test]
    fn requests_need_no_average() {
        let quota = Quota::per_minute(NonZeroU64::new(480).expect("not zero"));
        let room = Room::of_limit(LimitKey::All, Dimension::Requests, quota, 80);
        let forecast = forecast([room], &Averages::default(), None);
        let first = forecast.first().expect("it is known");
        assert_eq!(first.fits, Some(Fit { low: 400, expected: 400, high: 400 }));
        assert_eq!(first.runs_out, None);
    }
}
