//! Caps on money or tokens for an hour, a day, a month, a rolling window or a whole run.
//!
//! They count what was spent and say what the limits of an admission have to be, so that money is
//! reserved in the same decision as everything else: what is held by calls in flight makes others
//! wait, and only what is spent refuses them. They hold nothing back themselves. Invariants: what
//! counts in a period is never less than was spent in it, whichever way the clock steps, and exactly
//! that while the period is remembered; the number of budgets and of periods remembered is bounded.

mod calendar;
mod keeper;
mod sums;

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{Caller, Dimension, LimitKey, ModelId, Money, Quota, Tag, UnixMillis};

pub use keeper::{BudgetError, Budgets, Notice, Standing};

/// A cap on money or tokens.
///
/// ```
/// use paceline_budget::{Budget, Period};
/// use paceline_core::{LimitKey, Money};
///
/// let daily = Budget::money(Money::from_usd(40), Period::Day)?.scope(LimitKey::Tag("evals".into()));
/// assert_eq!(daily.to_string(), "$40.00 a day for tag evals");
/// # Ok::<(), paceline_budget::BudgetError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    dimension: Dimension,
    most: NonZeroU64,
    period: Period,
    scope: LimitKey,
    mode: Mode,
}

/// What a budget is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Period {
    /// One run: it never comes back. It counts what is spent through its own [`Budgets`], and nothing
    /// that is [restored](Budgets::restore) from a ledger.
    Run,
    /// Every hour of the clock, in UTC.
    Hour,
    /// Every day, in UTC.
    Day,
    /// Every month of the calendar, in UTC.
    Month,
    /// Any time of this length; 366 days at most.
    Rolling(
        /// The length.
        Duration,
    ),
}

/// What happens where a budget is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Nothing more is admitted.
    #[default]
    Hard,
    /// It is said, and everything goes on.
    Warn,
}

/// What one call spent, as a ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spend {
    pub(crate) at: UnixMillis,
    pub(crate) money: Money,
    pub(crate) total_tokens: u64,
    pub(crate) model: Option<ModelId>,
    pub(crate) tag: Option<Tag>,
    pub(crate) caller: Option<Caller>,
}

impl Budget {
    /// At most this much money.
    ///
    /// # Errors
    /// [`BudgetError`] where it is not above zero, can't be counted, or the window is no window.
    pub fn money(most: Money, period: Period) -> Result<Self, BudgetError> {
        if most <= Money::ZERO {
            return Err(BudgetError::NotAboveZero);
        }
        let ticks = u64::try_from(most.as_ticks()).map_err(|_| BudgetError::TooMuch)?;
        Self::new(Dimension::Money, ticks, period)
    }

    /// At most so many tokens, input and output together.
    ///
    /// # Errors
    /// [`BudgetError`] where it is zero, can't be counted, or the window is no window.
    pub fn total_tokens(most: u64, period: Period) -> Result<Self, BudgetError> {
        Self::new(Dimension::TotalTokens, most, period)
    }

    fn new(dimension: Dimension, most: u64, period: Period) -> Result<Self, BudgetError> {
        let most = NonZeroU64::new(most).ok_or(BudgetError::NotAboveZero)?;
        if most.get() > MOST {
            return Err(BudgetError::TooMuch);
        }
        if let Period::Rolling(window) = period {
            Quota::per(most, window).map_err(|_| BudgetError::NoWindow)?;
        }
        Ok(Self { dimension, most, period, scope: LimitKey::All, mode: Mode::Hard })
    }

    /// For these calls only; an alias stands for its model. Default: all of them.
    #[must_use]
    pub fn scope(mut self, key: LimitKey) -> Self {
        self.scope = crate::tiers::canonical_key(key);
        self
    }

    /// Only said where it is reached, not kept.
    #[must_use]
    pub const fn warn_only(mut self) -> Self {
        self.mode = Mode::Warn;
        self
    }

    /// What it counts: [`Dimension::Money`] in ticks, or [`Dimension::TotalTokens`].
    pub const fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// The most of it.
    pub const fn most(&self) -> NonZeroU64 {
        self.most
    }

    /// What it is for.
    pub const fn period(&self) -> Period {
        self.period
    }

    /// Whose calls it counts.
    pub const fn key(&self) -> &LimitKey {
        &self.scope
    }

    /// Whether it is kept or only said.
    pub const fn mode(&self) -> Mode {
        self.mode
    }
}

/// The most that a budget can be: half of what a limit can count, so that a limit that goes on
/// counting from period to period has room.
const MOST: u64 = u64::MAX / 2;

impl Period {
    /// The period that a moment lies in, by its number. One that does not come back has one.
    pub(crate) const fn number(self, at: UnixMillis) -> i64 {
        match self {
            Self::Run | Self::Rolling(_) => 0,
            Self::Hour => calendar::hour(at),
            Self::Day => calendar::day(at),
            Self::Month => calendar::month(at),
        }
    }

    /// When the next period begins, after a moment. `None` where there is no next one: a run's never
    /// comes, and a window has room again all the time.
    pub const fn renews(self, now: UnixMillis) -> Option<UnixMillis> {
        match self {
            Self::Run | Self::Rolling(_) => None,
            Self::Hour => Some(calendar::begin_of_hour(calendar::hour(now) + 1)),
            Self::Day => Some(calendar::begin_of_day(calendar::day(now) + 1)),
            Self::Month => Some(calendar::begin_of_month(calendar::month(now) + 1)),
        }
    }
}

impl Spend {
    /// Nothing yet, at a moment.
    pub const fn new(at: UnixMillis) -> Self {
        Self { at, money: Money::ZERO, total_tokens: 0, model: None, tag: None, caller: None }
    }

    /// With what it cost.
    #[must_use]
    pub const fn money(mut self, cost: Money) -> Self {
        self.money = cost;
        self
    }

    /// With its tokens, input and output together.
    #[must_use]
    pub const fn total_tokens(mut self, tokens: u64) -> Self {
        self.total_tokens = tokens;
        self
    }

    /// Of a model; an alias stands for it.
    #[must_use]
    pub fn model(mut self, model: impl Into<ModelId>) -> Self {
        self.model = Some(crate::tiers::canonical(&model.into()));
        self
    }

    /// Of a place in the program.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Tag>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// For a caller.
    #[must_use]
    pub fn caller(mut self, caller: impl Into<Caller>) -> Self {
        self.caller = Some(caller.into());
        self
    }

    /// How much of what a budget counts.
    pub(crate) fn amount(&self, dimension: Dimension) -> u64 {
        match dimension {
            Dimension::Money => self.money.as_amount(),
            _ => self.total_tokens,
        }
    }

    /// Whether a budget of this scope counts it.
    pub(crate) fn is_counted_by(&self, key: &LimitKey) -> bool {
        key.counts(self.model.as_ref(), self.tag.as_ref(), self.caller.as_ref())
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dimension {
            Dimension::Money => write!(f, "{}", Money::from_ticks(self.most.get().into()))?,
            _ => write!(f, "{} tokens", self.most)?,
        }
        match self.period {
            Period::Run => f.write_str(" in all")?,
            Period::Hour => f.write_str(" an hour")?,
            Period::Day => f.write_str(" a day")?,
            Period::Month => f.write_str(" a month")?,
            Period::Rolling(window) => write!(f, " in any {window:?}")?,
        }
        write!(f, " for {}", self.scope)
    }
}
