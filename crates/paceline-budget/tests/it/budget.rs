//! Budgets against a naive admission and a naive ledger: nothing is passed but by what was
//! under-estimated in flight, and only what is spent refuses.

use std::collections::HashMap;
use std::time::Duration;

use paceline_budget::{Budget, BudgetError, Budgets, Period, Spend};
use paceline_core::{Amount, Demand, Dimension, LimitKey, Money, Observation, Refill, UnixMillis};
use proptest::prelude::*;

const DAY: i64 = 86_400_000;
const HOUR: i64 = 3_600_000;

/// What an admission does with limits that never come back, in the plainest way.
#[derive(Default)]
struct Admission {
    limits: HashMap<LimitKey, (u64, u64, u64)>,
}

#[derive(Debug, PartialEq)]
enum Answer {
    Admitted,
    Waits,
    Refused,
}

impl Admission {
    fn observe(&mut self, changes: Vec<Observation>) {
        for change in changes {
            let Observation::Stated { key, dimension, quota } = change else {
                panic!("{change:?}")
            };
            assert_eq!((dimension, quota.refill()), (Dimension::Money, Refill::Never));
            self.limits.entry(key).or_default().0 = quota.limit().get();
        }
    }

    fn acquire(&mut self, demand: &Demand, asked: u64) -> Answer {
        let mut answer = Answer::Admitted;
        for (_, (limit, spent, held)) in self.counting(demand) {
            if *spent + asked > *limit {
                return Answer::Refused;
            } else if *spent + *held + asked > *limit {
                answer = Answer::Waits;
            }
        }
        if answer == Answer::Admitted {
            self.counting(demand).for_each(|(_, (.., held))| *held += asked);
        }
        answer
    }

    fn settle(&mut self, demand: &Demand, asked: u64, used: u64) {
        for (_, (_, spent, held)) in self.counting(demand) {
            *held -= asked;
            *spent += used;
        }
    }

    fn counting<'a>(
        &'a mut self,
        demand: &'a Demand,
    ) -> impl Iterator<Item = (&'a LimitKey, &'a mut (u64, u64, u64))> {
        self.limits.iter_mut().filter(|(key, _)| demand.is_counted_by(key))
    }
}

fn usd(dollars: i64) -> Money {
    Money::from_usd(dollars)
}

fn daily(dollars: i64) -> Budget {
    Budget::money(usd(dollars), Period::Day).expect("above zero")
}

fn spent(at: i64, dollars: i64) -> Spend {
    Spend::new(UnixMillis::new(at)).money(usd(dollars))
}

/// How much of the only limit there is, in whole dollars.
#[track_caller]
fn limit(changes: &[Observation]) -> i128 {
    let [Observation::Stated { quota, .. }] = changes else { panic!("{changes:?}") };
    i128::from(quota.limit().get()) / Money::TICKS_PER_USD
}

proptest! {
    #[test]
    fn a_hard_budget_is_passed_only_by_what_was_under_estimated(
        calls in prop::collection::vec(
            (0_i64..3 * HOUR, 1_u64..400, 0_u64..600, 0_usize..3, any::<bool>()),
            1..200,
        ),
        before in prop::collection::vec((-40 * DAY..0, 0_u64..300), 0..30),
        steps_back in any::<bool>(),
    ) {
        let tag = |number: usize| ["a", "b", "c"][number];
        let budget = |most: i128, period| Budget::money(Money::from_ticks(most), period).expect("above zero");
        let all = [
            budget(9_000, Period::Month),
            budget(2_000, Period::Day),
            budget(900, Period::Hour),
            budget(1_000, Period::Day).scope(LimitKey::Tag("a".into())),
            budget(1_500, Period::Hour).scope(LimitKey::Tag("b".into())),
        ];
        let mut budgets = Budgets::new();
        all.iter().try_for_each(|budget| budgets.add(budget.clone())).expect("few");
        // From the 10th of a month on, 2027-03-10.
        let start = 1_804_636_800_000_i64;
        let ticks = |ticks: u64| Money::from_ticks(ticks.into());
        let mut rows: Vec<Spend> = before
            .iter()
            .map(|(at, used)| Spend::new(UnixMillis::new(start + at)).money(ticks(*used)).tag("a"))
            .collect();
        prop_assert_eq!(budgets.restore(rows.clone()), 0);
        let mut admission = Admission::default();
        let (mut now, mut under, mut flying) = (start, 0, Vec::new());
        for (wait, asked, used, number, ends) in calls {
            now += if steps_back && wait % 5 == 0 { -wait } else { wait };
            admission.observe(budgets.changes(UnixMillis::new(now)));
            let demand = Demand::new().tag(tag(number)).with(Dimension::Money, Amount::exact(asked));
            let refusing = budgets.refusing(&demand, UnixMillis::new(now));
            match admission.acquire(&demand, asked) {
                Answer::Admitted => flying.push((demand, asked, used, number)),
                Answer::Waits => prop_assert!(!flying.is_empty() && refusing.is_none()),
                Answer::Refused => prop_assert!(refusing.is_some(), "only what is spent refuses"),
            }
            if ends && !flying.is_empty() {
                let (demand, asked, used, number) = flying.remove(0);
                admission.settle(&demand, asked, used);
                under += used.saturating_sub(asked);
                let spend = Spend::new(UnixMillis::new(now)).money(ticks(used)).tag(tag(number));
                budgets.spend(&spend).expect("not absurd");
                rows.push(spend);
            }
        }
        // A fresh keeper that reads the ledger comes to the same, to the unit.
        let mut restored = Budgets::new();
        all.iter().try_for_each(|budget| restored.add(budget.clone())).expect("few");
        restored.restore(rows);
        let at = UnixMillis::new(now);
        let (lived, read): (Vec<_>, Vec<_>) = (budgets.standings(at).collect(), restored.standings(at).collect());
        prop_assert_eq!(&lived, &read);
        // What was spent before may have passed a budget of its own accord; nothing since has.
        if before.iter().all(|(at, _)| *at < -31 * DAY) {
            for standing in lived {
                prop_assert!(standing.excess <= under, "{standing:?} {under}");
            }
        }
    }
}

#[test]
fn what_is_left_of_the_tightest_is_the_limit_and_every_period_renews_its_own() {
    let mut budgets = Budgets::new();
    budgets.add(daily(10)).expect("one");
    budgets.add(Budget::money(usd(25), Period::Month).expect("above zero")).expect("two");
    // The 29th of a February with one.
    let start = 1_835_395_200_000;
    let at = UnixMillis::new;
    assert_eq!(limit(&budgets.changes(at(start))), 10);
    budgets.spend(&spent(start + 1, 9)).expect("sane");
    assert_eq!(budgets.changes(at(start + 2)), []);
    // The 1st of March: both are new, and what was counted stays counted.
    let next = budgets.next_change(at(start + 2)).expect("a day ends");
    assert_eq!(next, at(start + DAY));
    assert_eq!(limit(&budgets.changes(next)), 9 + 10);
    budgets.spend(&spent(start + DAY, 9)).expect("sane");
    assert_eq!(limit(&budgets.changes(at(start + 2 * DAY))), 18 + 10);
    budgets.spend(&spent(start + 2 * DAY, 9)).expect("sane");
    // The month has seven left, less than a day may spend.
    assert_eq!(limit(&budgets.changes(at(start + 3 * DAY))), 27 + 7);
}

#[test]
fn a_clock_that_steps_back_over_midnight_and_forward_again_mints_nothing() {
    let mut budgets = Budgets::new();
    budgets.add(daily(10)).expect("one");
    let midnight = 1_767_225_600_000;
    budgets.spend(&spent(midnight - 1, 6)).expect("sane");
    budgets.spend(&spent(midnight, 7)).expect("sane");
    let left = |at| {
        let standing = budgets.standings(UnixMillis::new(at)).next().expect("one");
        i128::from(standing.left) / Money::TICKS_PER_USD
    };
    assert_eq!([left(midnight), left(midnight - 1), left(midnight)], [3, 4, 3]);
    assert_eq!(left(4_000_000_000_000), 10, "a leap ahead is another day");
    assert_eq!(left(midnight), 3);
}

/// Spends ten dollars twenty times in hour 50 after a clock was ahead for 600 hours, or days.
fn after_a_clock_that_was_ahead(period: Period, length: i64, ahead: i64, restored: bool) {
    let mut budgets = Budgets::new();
    budgets.add(Budget::money(usd(10), period).expect("above zero")).expect("one");
    let later = (0..600).map(|number| spent((ahead + number) * length, 10));
    if restored {
        // Some of it before, some after, as a ledger has it once the clock was put right.
        budgets.restore([spent(50 * length, 4)]);
        assert_eq!(budgets.restore(later), 0);
    } else {
        later.for_each(|spend| drop(budgets.spend(&spend).expect("sane")));
    }
    let now = UnixMillis::new(50 * length);
    let already = if restored { 4 } else { 0 };
    budgets.changes(now);
    let lived = if restored { 0 } else { 6_000 };
    for number in 1..=20 {
        budgets.spend(&spent(50 * length, 10)).expect("sane");
        let changes = budgets.changes(now);
        if !changes.is_empty() {
            assert!(limit(&changes) <= i128::from(lived + 10 * number), "that lets more through");
        }
        let standing = budgets.standings(now).next().expect("one");
        assert!(standing.spent >= usd(already + 10 * number).as_amount(), "{standing:?}");
        assert_eq!(standing.left, 0);
        assert!(budgets.refusing(&demand_of_one(), now).is_some());
    }
}

fn demand_of_one() -> Demand {
    Demand::new().with(Dimension::Money, Amount::exact(1))
}

#[test]
fn a_clock_that_was_ahead_for_long_does_not_void_a_budget() {
    for restored in [false, true] {
        after_a_clock_that_was_ahead(Period::Hour, HOUR, 100, restored);
        after_a_clock_that_was_ahead(Period::Day, DAY, 100, restored);
        // A window's slices are a 64th of it.
        let window = Period::Rolling(Duration::from_secs(64));
        after_a_clock_that_was_ahead(window, 1_000, 10_000, restored);
    }
}

#[test]
fn the_hours_after_a_clock_was_put_right_spend_their_own() {
    let mut budgets = Budgets::new();
    budgets.add(Budget::money(usd(10), Period::Hour).expect("above zero")).expect("one");
    budgets.restore((0..1_000).map(|number| spent((100 + number) * HOUR, 10)));
    for hour in 50..90 {
        let now = UnixMillis::new(hour * HOUR);
        assert_eq!(budgets.left(&Demand::new(), now), Some(usd(10)), "hour {hour}");
        budgets.spend(&spent(hour * HOUR, 3)).expect("sane");
        assert_eq!(budgets.left(&Demand::new(), now), Some(usd(7)), "hour {hour}");
    }
}

#[test]
fn a_window_lets_go_of_what_is_older_and_never_earlier() {
    let mut budgets = Budgets::new();
    let window = Duration::from_secs(3_600);
    budgets.add(Budget::money(usd(10), Period::Rolling(window)).expect("a window")).expect("one");
    let at = UnixMillis::new;
    budgets.spend(&spent(-1_000, 8)).expect("sane, though before 1970");
    assert_eq!(budgets.left(&Demand::new(), at(HOUR - 1_000)), Some(usd(2)));
    let leaves = budgets.next_change(at(0)).expect("something was spent");
    assert!(leaves >= at(HOUR - 1_000) && leaves <= at(HOUR + HOUR / 32), "{leaves:?}");
    assert_eq!(budgets.left(&Demand::new(), leaves), Some(usd(10)));
    assert_eq!(budgets.next_change(leaves), None);
}

#[test]
fn a_budget_that_only_warns_is_no_limit_and_is_said_once() {
    let mut budgets = Budgets::new();
    budgets.add(daily(10).warn_only()).expect("one");
    budgets.add(Budget::total_tokens(1_000, Period::Run).expect("above zero")).expect("two");
    let changes = budgets.changes(UnixMillis::new(0));
    assert!(matches!(
        &changes[..],
        [Observation::Stated { dimension: Dimension::TotalTokens, .. }]
    ));
    let mut spend = |dollars| budgets.spend(&spent(0, dollars)).expect("sane");
    assert_eq!(spend(9), []);
    assert_eq!(spend(1)[0].standing.excess, 0);
    assert_eq!(spend(3)[0].standing.excess, usd(3).as_amount());
    assert_eq!(spend(3), []);
    let refusing = budgets.refusing(&Demand::call(Amount::exact(1_001)), UnixMillis::new(0));
    assert_eq!(refusing.map(|standing| standing.left), Some(1_000));
}

#[test]
fn the_budget_of_a_run_counts_what_this_run_spends_and_nothing_of_a_ledger() {
    let mut budgets = Budgets::new();
    budgets.add(Budget::money(usd(10), Period::Run).expect("above zero")).expect("one");
    budgets.add(daily(100)).expect("two");
    assert_eq!(budgets.restore([spent(0, 9)]), 0);
    budgets.take_back([spent(0, 2)]);
    assert_eq!(budgets.left(&Demand::new(), UnixMillis::new(0)), Some(usd(10)));
    budgets.spend(&spent(1, 3)).expect("sane");
    budgets.spend_beside(&spent(1, 1)).expect("sane");
    assert_eq!(budgets.spend_beside(&spent(1, i64::MAX / 1_000_000)), Err(BudgetError::Absurd));
    let spent: Vec<_> = budgets.standings(UnixMillis::new(1)).map(|one| one.spent).collect();
    assert_eq!(spent, [usd(4).as_amount(), usd(11).as_amount()]);
}

#[test]
fn scopes_count_only_their_own() {
    let mut budgets = Budgets::new();
    budgets.add(daily(10).scope(LimitKey::Model("grok-4.3".into()))).expect("one");
    budgets.add(daily(10).scope(LimitKey::Caller("team".into()))).expect("two");
    budgets.spend(&spent(0, 3).model("grok-4.3").caller("other")).expect("sane");
    budgets.spend(&spent(0, 4).caller("team")).expect("sane");
    let spent: Vec<_> = budgets.standings(UnixMillis::new(0)).map(|one| one.spent).collect();
    assert_eq!(spent, [usd(3).as_amount(), usd(4).as_amount()]);
}

#[test]
fn what_can_not_be_is_refused_as_data() {
    assert_eq!(Budget::money(Money::ZERO, Period::Day), Err(BudgetError::NotAboveZero));
    assert_eq!(Budget::money(Money::from_ticks(i128::MAX), Period::Day), Err(BudgetError::TooMuch));
    assert_eq!(Budget::total_tokens(u64::MAX, Period::Run), Err(BudgetError::TooMuch));
    let zero = Period::Rolling(Duration::ZERO);
    assert_eq!(Budget::total_tokens(1, zero), Err(BudgetError::NoWindow));
    let mut budgets = Budgets::new();
    budgets.add(daily(1)).expect("one");
    for absurd in [-1, i128::MAX] {
        let spend = Spend::new(UnixMillis::new(0)).money(Money::from_ticks(absurd));
        assert_eq!(budgets.spend(&spend), Err(BudgetError::Absurd));
        assert_eq!(budgets.restore([spend]), 1);
    }
    let tokens = Spend::new(UnixMillis::new(0)).total_tokens(u64::MAX);
    assert_eq!(budgets.spend(&tokens), Err(BudgetError::Absurd));
    assert_eq!(budgets.standings(UnixMillis::new(0)).next().map(|one| one.spent), Some(0));
    (1..Budgets::MOST).for_each(|_| budgets.add(daily(1)).expect("room"));
    assert_eq!(budgets.add(daily(1)), Err(BudgetError::TooMany));
}
