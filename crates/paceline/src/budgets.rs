//! The budgets of a client, between those who keep the account and the admission that holds the money.
//!
//! It tells the admission what the limits have to be, and the budgets what was settled. Time is an
//! argument. Invariant: what the admission counts and the budgets do not, such as money of the past
//! that only the cap counts, takes nothing from a budget.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use paceline_budget::{Budgets, Room, Spend, SpendingCap, Standing};
use paceline_core::{Actual, Amount, Demand, Dimension, LimitKey, Money, Observation, Quota};
use paceline_core::{Refusal, UnixMillis};
use paceline_limiter::LimitSnapshot;

/// The budgets, and what the admission was told of them.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    budgets: Budgets,
    cap: Option<(LimitKey, NonZeroU64)>,
    told: BTreeMap<(LimitKey, usize), Told>,
}

/// One limit that stands for budgets.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// What the budgets say it has to be.
    limit: NonZeroU64,
    /// What the admission counts and they do not.
    beside: u64,
}

impl Keeper {
    pub(crate) fn new(budgets: Budgets, cap: Option<&SpendingCap>) -> Self {
        let cap = cap.and_then(|cap| match cap.observation() {
            Observation::Stated { key, quota, .. } => Some((key, quota.limit())),
            _ => None,
        });
        Self { budgets, cap, told: BTreeMap::new() }
    }

    /// What the admission has to be told now.
    pub(crate) fn changes(&mut self, now: UnixMillis) -> Vec<Observation> {
        let mut changes = Vec::new();
        for change in self.budgets.changes(now) {
            let Observation::Stated { key, dimension, quota } = change else { continue };
            let limit = (key, dimension.index());
            let told = self
                .told
                .entry(limit.clone())
                .or_insert(Told { limit: NonZeroU64::MIN, beside: 0 });
            told.limit = quota.limit();
            changes.push(stated(&limit, *told, self.cap.as_ref()));
        }
        changes
    }

    /// When that may change next.
    pub(crate) fn next_change(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.budgets.next_change(now)
    }

    /// The admission was made to count this, and it is nothing that the budgets count: what it has
    /// to be told for that.
    pub(crate) fn counted_beside(&mut self, past: &Demand) -> Vec<Observation> {
        let mut changes = Vec::new();
        for (limit, told) in &mut self.told {
            let amount = past.amount_at(limit.1).map_or(0, Amount::upper_amount);
            if amount > 0 && past.is_counted_by(&limit.0) {
                told.beside = told.beside.saturating_add(amount);
                changes.push(stated(limit, *told, self.cap.as_ref()));
            }
        }
        changes
    }

    /// Enters what a call came to. Answers what the admission is to be settled with: what was
    /// reserved, where nobody can have spent what is said.
    pub(crate) fn settle(&mut self, demand: &Demand, actual: &Actual, now: UnixMillis) -> Actual {
        let mut settled = *actual;
        let mut notices = self.budgets.spend(&counted(demand, &settled, now));
        if notices.is_err() {
            settled = Actual::new();
            notices = self.budgets.spend(&counted(demand, &settled, now));
        }
        for notice in notices.unwrap_or_default() {
            let Standing { budget, spent, excess, .. } = notice.standing;
            tracing::warn!(%budget, spent, excess, "a budget is reached");
        }
        // What a demand did not name is not counted by the admission either.
        let unnamed = |dimension| match demand.amount(dimension) {
            None => actual.amount(dimension).unwrap_or(0),
            Some(_) => 0,
        };
        let (money, tokens) = (unnamed(Dimension::Money), unnamed(Dimension::TotalTokens));
        if money > 0 || tokens > 0 {
            let more = of(demand, now).money(Money::from_ticks(money.into())).total_tokens(tokens);
            if self.budgets.spend_beside(&more).is_err() {
                tracing::warn!(
                    money,
                    tokens,
                    "no call can have spent that; budgets do not count it"
                );
            }
        }
        settled
    }

    /// What others have spent, and what counted before and does not any more.
    pub(crate) fn elsewhere(
        &mut self,
        spent: impl IntoIterator<Item = Spend>,
        taken_back: impl IntoIterator<Item = Spend>,
    ) -> usize {
        self.budgets.take_back(taken_back);
        self.budgets.restore(spent)
    }

    /// Where every budget stands.
    pub(crate) fn standings(&self, now: UnixMillis) -> Vec<Standing> {
        self.budgets.standings(now).collect()
    }

    /// Whether a hard budget of money counts a demand.
    pub(crate) fn needs_price(&self, demand: &Demand, now: UnixMillis) -> bool {
        self.budgets.left(demand, now).is_some()
    }

    /// The budget behind a refusal, if it is one.
    pub(crate) fn behind(
        &self,
        refusal: &Refusal,
        demand: &Demand,
        now: UnixMillis,
    ) -> Option<Standing> {
        let (Refusal::Never { by, .. } | Refusal::Exhausted { by, .. }) = refusal else {
            return None;
        };
        let is_told = self.told.contains_key(&(by.key.clone(), by.dimension.index()));
        (is_told && by.quota.window().is_none())
            .then(|| self.budgets.refusing(demand, now))
            .flatten()
    }

    /// What is left of every budget and of every other limit.
    pub(crate) fn rooms(&self, limits: &[LimitSnapshot], now: UnixMillis) -> Vec<Room> {
        let others = limits.iter().filter_map(|limit| {
            let is_told = limit.quota.window().is_none()
                && self.told.contains_key(&(limit.key.clone(), limit.dimension.index()));
            let cap = self.cap.as_ref().filter(|(key, _)| *key == limit.key);
            let quota = match cap {
                Some((_, most)) if is_told && limit.dimension == Dimension::Money => {
                    Quota::once(*most)
                }
                _ if is_told => return None,
                _ => limit.quota,
            };
            let counted = limit.used.saturating_add(limit.held);
            Some(Room::of_limit(limit.key.clone(), limit.dimension, quota, counted))
        });
        let mut rooms: Vec<_> = others.collect();
        rooms.extend(self.budgets.standings(now).map(|standing| Room::of_budget(&standing, now)));
        rooms
    }
}

/// A limit as the admission has to keep it: with what it counts beside, and below the cap.
fn stated(
    (key, dimension): &(LimitKey, usize),
    told: Told,
    cap: Option<&(LimitKey, NonZeroU64)>,
) -> Observation {
    let dimension = Dimension::ALL[*dimension];
    let mut limit = told.limit.saturating_add(told.beside);
    if let Some((scope, most)) = cap
        && dimension == Dimension::Money
        && scope == key
    {
        limit = limit.min(*most);
    }
    Observation::Stated { key: key.clone(), dimension, quota: Quota::once(limit) }
}

/// Whose spending it is.
fn of(demand: &Demand, now: UnixMillis) -> Spend {
    let mut spend = Spend::new(now);
    if let Some(model) = demand.model_id() {
        spend = spend.model(model.clone());
    }
    if let Some(tag) = demand.tag_name() {
        spend = spend.tag(tag.clone());
    }
    if let Some(caller) = demand.caller_name() {
        spend = spend.caller(caller.clone());
    }
    spend
}

/// What the admission counts of a call that is settled.
fn counted(demand: &Demand, actual: &Actual, now: UnixMillis) -> Spend {
    let amount = |dimension| match demand.amount(dimension) {
        Some(reserved) => actual.amount(dimension).unwrap_or(reserved.upper_amount()),
        None => 0,
    };
    of(demand, now)
        .money(Money::from_ticks(amount(Dimension::Money).into()))
        .total_tokens(amount(Dimension::TotalTokens))
}

#[cfg(test)]
mod tests {
    use paceline_budget::{Budget, Period};
    use paceline_core::RefusedBy;

    use super::*;

    const DAY: i64 = 86_400_000;

    fn cents(cents: i64) -> Money {
        Money::from_ticks(i128::from(cents) * 100_000_000)
    }

    fn keeper(most: i64, cap: Option<i64>) -> Keeper {
        let mut budgets = Budgets::new();
        let daily = Budget::money(cents(most), Period::Day).expect("above zero");
        budgets.add(daily).expect("room");
        let cap = cap.map(|cap| SpendingCap::new(cents(cap), LimitKey::All).expect("above zero"));
        Keeper::new(budgets, cap.as_ref())
    }

    fn call(most: i64) -> Demand {
        Demand::new().with(Dimension::Money, Amount::exact(cents(most).as_amount()))
    }

    /// The one limit that is told, in cents.
    #[track_caller]
    fn told(changes: &[Observation]) -> u64 {
        match changes {
            [Observation::Stated { key: LimitKey::All, dimension: Dimension::Money, quota }] => {
                assert_eq!(quota.window(), None);
                quota.limit().get() / 100_000_000
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_day_gives_back_what_the_last_one_spent() {
        let at = UnixMillis::new;
        let mut keeper = keeper(10, None);
        assert_eq!(told(&keeper.changes(at(5))), 10);
        let actual = Actual::new().with(Dimension::Money, cents(4).as_amount());
        keeper.settle(&call(6), &actual, at(6));
        assert_eq!(keeper.changes(at(7)), [], "the admission counts it too");
        assert_eq!(keeper.next_change(at(7)), Some(at(DAY)));
        assert_eq!(told(&keeper.changes(at(DAY))), 14, "four are counted, and ten are left");
        assert_eq!(keeper.standings(at(8))[0].left, cents(6).as_amount());
    }

    #[test]
    fn what_nobody_can_have_spent_counts_as_what_was_reserved() {
        let mut keeper = keeper(10, None);
        keeper.changes(UnixMillis::new(0));
        let absurd = Actual::new().with(Dimension::Money, u64::MAX);
        assert_eq!(keeper.settle(&call(6), &absurd, UnixMillis::new(1)), Actual::new());
        assert_eq!(keeper.standings(UnixMillis::new(1))[0].spent, cents(6).as_amount());
    }

    #[test]
    fn the_cap_holds_beside_budgets_and_its_past_takes_nothing_from_them() {
        let now = UnixMillis::new(0);
        let mut keeper = keeper(10, Some(12));
        assert_eq!(told(&keeper.changes(now)), 10);
        // Five were spent before, which the admission counts now: five and ten are above the cap.
        assert_eq!(told(&keeper.counted_beside(&call(5))), 12);
        let mut roomy = self::keeper(10, Some(100));
        roomy.changes(now);
        assert_eq!(told(&roomy.counted_beside(&call(5))), 15);
        assert_eq!(roomy.counted_beside(&Demand::new()), []);
    }

    #[test]
    fn money_that_a_demand_did_not_name_counts_all_the_same() {
        let now = UnixMillis::new(0);
        let mut keeper = keeper(10, None);
        keeper.changes(now);
        let actual = Actual::new().with(Dimension::Money, cents(4).as_amount());
        keeper.settle(&Demand::new(), &actual, now);
        assert_eq!(told(&keeper.changes(now)), 6, "the admission has not counted it");
    }

    #[test]
    fn a_refusal_has_a_budget_behind_it_only_where_one_refuses() {
        let now = UnixMillis::new(0);
        let mut keeper = keeper(10, Some(3));
        keeper.changes(now);
        let by = |quota| RefusedBy::new(LimitKey::All, Dimension::Money, quota);
        let once = Quota::once(NonZeroU64::MIN);
        let never = Refusal::Never { by: by(once), asked: 1 };
        assert!(keeper.behind(&never, &call(11), now).is_some());
        assert_eq!(keeper.behind(&never, &call(4), now), None, "that was the cap");
        let per_minute = Quota::per_minute(NonZeroU64::MIN);
        let window = Refusal::Never { by: by(per_minute), asked: 1 };
        assert_eq!(keeper.behind(&window, &call(11), now), None);
    }
}
