//! The budgets of a program together: what is spent of each, and what the limits have to be.
//!
//! An admission counts what is spent and never forgets it; a new period raises the limit by what was
//! spent before. So one limit for each scope and dimension keeps any number of budgets, whatever
//! their periods are, and is stated anew only where one of them begins.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use paceline_core::{Demand, Dimension, LimitKey, Money, Observation, Quota, UnixMillis, Usage};

use super::sums::Sums;
use super::{Budget, Mode, Period, Spend};
use crate::prices::Price;

/// Why a budget, or what is said to be spent, can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// Nothing could ever be spent.
    #[error("a budget is more than nothing")]
    NotAboveZero,
    /// More than can be counted: some 900 million US dollars, or 9 × 10¹⁸ tokens.
    #[error("a budget is more than can be counted")]
    TooMuch,
    /// A rolling window of no length, or above 366 days.
    #[error("the window of a budget is above zero and 366 days at most")]
    NoWindow,
    /// There are [`Budgets::MOST`] already.
    #[error("there are {} budgets already", Budgets::MOST)]
    TooMany,
    /// No call spends less than nothing, or so much.
    #[error("no call can have spent that")]
    Absurd,
}

/// Budgets that are kept together.
///
/// ```
/// use paceline_budget::{Budget, Budgets, Period, Spend};
/// use paceline_core::{Money, UnixMillis};
///
/// let midnight = UnixMillis::new(1_767_225_600_000); // 2026-01-01 00:00 UTC
/// let mut budgets = Budgets::new();
/// budgets.add(Budget::money(Money::from_usd(10), Period::Day)?)?;
/// budgets.add(Budget::money(Money::from_usd(100), Period::Month)?)?;
///
/// // What a ledger says was spent before this program began.
/// budgets.restore([Spend::new(midnight).money(Money::from_usd(4))]);
/// // An admission is told the limits: six dollars are left of today's ten.
/// assert_eq!(budgets.changes(midnight).len(), 1);
/// assert_eq!(budgets.left(&paceline_core::Demand::new(), midnight), Some(Money::from_usd(6)));
/// // Every call's cost is entered as it is settled; the limits change only with the day.
/// budgets.spend(&Spend::new(midnight).money(Money::from_usd(1)))?;
/// assert!(budgets.changes(midnight).is_empty());
/// let tomorrow = budgets.next_change(midnight).expect("a day ends");
/// assert_eq!(budgets.changes(tomorrow).len(), 1);
/// # Ok::<(), paceline_budget::BudgetError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Budgets {
    kept: Vec<Kept>,
    /// What was entered since the limits were first stated, and what was stated last.
    limits: BTreeMap<(LimitKey, usize), Stated>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stated {
    spent: u64,
    limit: Option<NonZeroU64>,
}

#[derive(Clone, Debug)]
struct Kept {
    budget: Budget,
    /// What was spent, by the number of the period; of a window, by that of its slice.
    sums: Sums,
}

/// Where one budget stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// The budget.
    pub budget: Budget,
    /// What is spent in the present period, in the unit of the budget: ticks or tokens.
    pub spent: u64,
    /// What is left.
    pub left: u64,
    /// By how much it was passed. With a hard budget that is what calls in flight used beyond what
    /// was reserved for them.
    pub excess: u64,
    /// When the next period begins, where there is one.
    pub renews: Option<UnixMillis>,
}

/// A budget was reached, or passed for the first time in its period.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// Where it stands.
    pub standing: Standing,
}

/// What was spent leaves a window in so many steps; until its step is over, all of it counts.
const SLICES: i64 = 64;

impl Budgets {
    /// The most budgets that are kept together.
    pub const MOST: usize = 64;

    /// No budgets yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps one more. Add all of them before anything is spent.
    ///
    /// # Errors
    /// [`BudgetError::TooMany`].
    pub fn add(&mut self, budget: Budget) -> Result<(), BudgetError> {
        if self.kept.len() >= Self::MOST {
            return Err(BudgetError::TooMany);
        }
        if budget.mode == Mode::Hard {
            let limit = (budget.scope.clone(), budget.dimension.index());
            self.limits.entry(limit).or_default();
        }
        self.kept.push(Kept { budget, sums: Sums::default() });
        Ok(())
    }

    /// Enters what was spent before, such as the rows of a ledger, in any order: also what a clock
    /// that was ahead has stamped with a later time. The admission must not count it. Answers how
    /// many rows were refused as absurd.
    ///
    /// A budget of [`Period::Run`] does not count it: that is for what this run spends itself.
    ///
    /// A budget remembers 16,384 periods of what is restored, the latest, and 512 about the present
    /// one after that. Of those before and after, it takes each to have spent what the one of them
    /// did that spent most.
    pub fn restore(&mut self, spent: impl IntoIterator<Item = Spend>) -> usize {
        let mut refused = 0;
        for spend in spent {
            match spend.check() {
                Ok(()) => self.kept.iter_mut().for_each(|kept| kept.restore(&spend)),
                Err(_) => refused += 1,
            }
        }
        refused
    }

    /// Enters what a call of this run has spent that the admission does not count, because its demand
    /// did not name it. It counts in every budget, those of the run too.
    ///
    /// # Errors
    /// [`BudgetError::Absurd`] where that can't be; nothing is entered then.
    pub fn spend_beside(&mut self, spend: &Spend) -> Result<(), BudgetError> {
        spend.check()?;
        self.kept.iter_mut().for_each(|kept| kept.remember(spend));
        Ok(())
    }

    /// Takes back what [`Budgets::restore`] has entered and what turned out to be less: such as what
    /// was reserved for a call of another program, once that is over. It has to be the same spending, of
    /// the same moment. What is not remembered any more changes nothing.
    ///
    /// ```
    /// use paceline_budget::{Budget, Budgets, Period, Spend};
    /// use paceline_core::{Money, UnixMillis};
    ///
    /// let mut budgets = Budgets::new();
    /// budgets.add(Budget::money(Money::from_usd(10), Period::Day)?)?;
    /// let (sent, over) = (UnixMillis::new(1), UnixMillis::new(900));
    /// let reserved = Spend::new(sent).money(Money::from_usd(3));
    /// budgets.restore([reserved.clone()]);
    /// budgets.take_back([reserved]);
    /// budgets.restore([Spend::new(over).money(Money::from_usd(1))]);
    /// assert_eq!(budgets.standings(over).next().map(|one| one.left), Some(90_000_000_000));
    /// # Ok::<(), paceline_budget::BudgetError>(())
    /// ```
    pub fn take_back(&mut self, spent: impl IntoIterator<Item = Spend>) {
        for spend in spent {
            if spend.check().is_ok() {
                self.kept.iter_mut().for_each(|kept| kept.take_back(&spend));
            }
        }
    }

    /// Enters what a call has spent: the same that is settled with the admission. Of a call that
    /// may have been charged that is what was reserved for it. Answers the budgets that it reached
    /// or passed.
    ///
    /// # Errors
    /// [`BudgetError::Absurd`] where that can't be; nothing is entered then. Enter what was reserved
    /// instead.
    pub fn spend(&mut self, spend: &Spend) -> Result<Vec<Notice>, BudgetError> {
        spend.check()?;
        for ((key, dimension), stated) in &mut self.limits {
            if spend.is_counted_by(key) {
                let amount = spend.amount(Dimension::ALL[*dimension]);
                stated.spent = stated.spent.saturating_add(amount);
            }
        }
        let mut notices = Vec::new();
        for kept in &mut self.kept {
            let most = kept.budget.most.get();
            let Some((before, after)) = kept.enter(spend) else { continue };
            if (before < most && after >= most) || (before == most && after > most) {
                notices.push(Notice { standing: kept.standing(spend.at) });
            }
        }
        Ok(notices)
    }

    /// What an admission has to be told now, to be passed to
    /// [`Admission::observe`](paceline_core::Admission::observe): the limits that are not what they
    /// were when this was asked last. Ask at the start, after [`Budgets::spend`] with a moment that is
    /// not in the present period, and at [`Budgets::next_change`].
    pub fn changes(&mut self, now: UnixMillis) -> Vec<Observation> {
        let mut changes = Vec::new();
        self.kept.iter_mut().for_each(|kept| kept.forget_about(now));
        for ((key, dimension), stated) in &mut self.limits {
            let dimension = Dimension::ALL[*dimension];
            let left = self.kept.iter().filter(|kept| kept.is_kept_by(key, dimension));
            let Some(left) = left.map(|kept| kept.left(now)).min() else { continue };
            // Of nothing there is no limit; the smallest lets nothing through that costs more.
            let limit = left.saturating_add(stated.spent);
            let limit = NonZeroU64::new(limit).unwrap_or(NonZeroU64::MIN);
            if stated.limit != Some(limit) {
                stated.limit = Some(limit);
                let quota = Quota::once(limit);
                changes.push(Observation::Stated { key: key.clone(), dimension, quota });
            }
        }
        changes
    }

    /// When the limits change next without anything being spent: a period ends, or what was spent
    /// begins to leave a window. `None` where they don't.
    pub fn next_change(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.kept.iter().filter_map(|kept| kept.next_change(now)).min()
    }

    /// Where every budget stands, in the order in which they were added.
    pub fn standings(&self, now: UnixMillis) -> impl Iterator<Item = Standing> + '_ {
        self.kept.iter().map(move |kept| kept.standing(now))
    }

    /// The hard budget that refuses a demand, because what is left of it is less than the demand
    /// asks for at most. What is held by calls in flight is not looked at: it makes a demand wait.
    pub fn refusing(&self, demand: &Demand, now: UnixMillis) -> Option<Standing> {
        let refuses = |kept: &&Kept| {
            let asked = demand.amount(kept.budget.dimension);
            kept.budget.mode == Mode::Hard
                && demand.is_counted_by(&kept.budget.scope)
                && asked.is_some_and(|asked| asked.upper_amount() > kept.left(now))
        };
        self.kept.iter().find(refuses).map(|kept| kept.standing(now))
    }

    /// The money that is left for a demand, by the hard budgets that count it; `None` where none
    /// does.
    pub fn left(&self, demand: &Demand, now: UnixMillis) -> Option<Money> {
        let counted = self.kept.iter().filter(|kept| {
            kept.budget.mode == Mode::Hard
                && kept.budget.dimension == Dimension::Money
                && demand.is_counted_by(&kept.budget.scope)
        });
        counted.map(|kept| kept.left(now)).min().map(|left| Money::from_ticks(left.into()))
    }
}

impl Kept {
    fn is_kept_by(&self, key: &LimitKey, dimension: Dimension) -> bool {
        let Budget { scope, mode, dimension: own, .. } = &self.budget;
        *mode == Mode::Hard && scope == key && *own == dimension
    }

    /// The number of the period, or of the slice of a window, that a moment lies in.
    fn number(&self, at: UnixMillis) -> i64 {
        match self.slice() {
            Some(slice) => at.as_millis().div_euclid(slice),
            None => self.budget.period.number(at),
        }
    }

    /// The length of a slice of the window, in milliseconds, where there is one.
    fn slice(&self) -> Option<i64> {
        let Period::Rolling(window) = self.budget.period else { return None };
        let millis = i64::try_from(window.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
        Some((millis.saturating_add(SLICES - 1) / SLICES).max(1))
    }

    /// Enters a spending that counts; what was spent before and after in its own period.
    fn enter(&mut self, spend: &Spend) -> Option<(u64, u64)> {
        if !spend.is_counted_by(&self.budget.scope) {
            return None;
        }
        let before = self.spent(spend.at);
        self.sums.add(self.number(spend.at), spend.amount(self.budget.dimension));
        self.forget_about(spend.at);
        Some((before, self.spent(spend.at)))
    }

    fn take_back(&mut self, spend: &Spend) {
        let number = self.number(spend.at);
        if spend.is_counted_by(&self.budget.scope) && self.budget.period != Period::Run {
            self.sums.take(number, spend.amount(self.budget.dimension));
        }
    }

    /// The same for what was spent before, by other runs, which is nothing that this run has spent.
    fn restore(&mut self, spend: &Spend) {
        if self.budget.period != Period::Run {
            self.remember(spend);
        }
    }

    /// Enters a spending when it is not known yet which period is the present one.
    fn remember(&mut self, spend: &Spend) {
        if spend.is_counted_by(&self.budget.scope) {
            self.sums.add(self.number(spend.at), spend.amount(self.budget.dimension));
            match self.slice() {
                Some(_) => self.sums.bound_slices(),
                None => self.sums.bound_periods(),
            }
        }
    }

    /// Bounds what is remembered to what is near the present.
    fn forget_about(&mut self, now: UnixMillis) {
        let number = self.number(now);
        match self.slice() {
            Some(_) => self.sums.bound_slices_about(number, SLICES),
            None => self.sums.bound_periods_about(number),
        }
    }

    fn spent(&self, now: UnixMillis) -> u64 {
        let number = self.number(now);
        match self.slice() {
            // What is stamped later, by a clock that then stepped back, is in every window until it
            // ends.
            Some(_) => self.sums.since(number.saturating_sub(SLICES)),
            None => self.sums.of(number),
        }
    }

    fn left(&self, now: UnixMillis) -> u64 {
        self.budget.most.get().saturating_sub(self.spent(now))
    }

    fn next_change(&self, now: UnixMillis) -> Option<UnixMillis> {
        let Some(slice) = self.slice() else { return self.budget.period.renews(now) };
        let from = self.number(now).saturating_sub(SLICES);
        let oldest = self.sums.first_since(from)?;
        let leaves = oldest.saturating_add(SLICES + 1).saturating_mul(slice);
        Some(UnixMillis::new(leaves))
    }

    fn standing(&self, now: UnixMillis) -> Standing {
        let (spent, most) = (self.spent(now), self.budget.most.get());
        Standing {
            budget: self.budget.clone(),
            spent,
            left: most.saturating_sub(spent),
            excess: spent.saturating_sub(most),
            renews: self.budget.period.renews(now),
        }
    }
}

impl Spend {
    /// Whether a call can have spent that.
    fn check(&self) -> Result<(), BudgetError> {
        let money = (Money::ZERO..=Price::MOST).contains(&self.money);
        let tokens = self.total_tokens <= Usage::MAX_TOKENS;
        if money && tokens { Ok(()) } else { Err(BudgetError::Absurd) }
    }
}
