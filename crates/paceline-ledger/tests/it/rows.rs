//! One row an attempt, and what rows add up to.

use std::ops::ControlFlow;
use std::time::Duration;

use paceline_budget::{AttemptId, Budget, Budgets, Ending, Intent, Outcome, Period, Price};
use paceline_budget::{Record, Spend};
use paceline_core::{Caller, Certainty, LimitKey, Money, Tag, UnixMillis, Usage};
use paceline_ledger::{Attempt, Group, Grouping, Range, Reader, RunInfo, Totals};

use crate::support::{Place, answered, ended, id, intent, wait};

fn attempts(reader: &Reader) -> Vec<Attempt> {
    let mut all = Vec::new();
    reader
        .for_each(&Range::default(), |attempt| {
            all.push(attempt);
            ControlFlow::Continue(())
        })
        .expect("read");
    all
}

fn all(reader: &Reader) -> Totals {
    reader.totals(&Range::default()).expect("added up")
}

#[test]
fn a_row_holds_what_was_intended_and_what_became_of_it() {
    let place = Place::new();
    let ledger = place.open();
    let intended = intent("a", 1_000)
        .latest(Duration::from_secs(2))
        .tag(Tag::from("sums"))
        .caller(Caller::from("key-7"));
    wait(ledger.intent(&intended)).expect("recorded");
    let reader = ledger.reader().expect("read while it is written");
    let open = attempts(&reader).pop().expect("a row before anything is sent");
    assert_eq!(
        (open.ending, open.spent(), open.is_possible()),
        (None, Money::from_ticks(1_000), true)
    );
    ledger.outcome(&answered("a", 250)).expect("taken");
    ledger.flush().expect("committed");
    let row = attempts(&reader).pop().expect("the same row");
    assert_eq!((row.id, row.model.as_str(), row.run), (id("a"), "grok-4.3", ledger.run()));
    assert_eq!((row.tag, row.caller), (Some("sums".into()), Some("key-7".into())));
    assert_eq!((row.sent_at, row.ended_at), (UnixMillis::new(1_000), Some(UnixMillis::new(77))));
    assert_eq!(row.latest, Some(UnixMillis::new(3_000)));
    assert_eq!((row.reserved_tokens, row.reserved), (10, Money::from_ticks(1_000)));
    assert_eq!((row.ending, row.status), (Some(Ending::Answered), Some(200)));
    assert_eq!((row.tokens, row.certainty), (Some((3, 4)), Some(Certainty::Exact)));
    assert_eq!((row.cost, row.cost_refused), (Some(Money::from_ticks(250)), false));
}

#[test]
fn an_attempt_has_one_row_and_its_first_outcome_stands() {
    let place = Place::new();
    let ledger = place.open();
    wait(ledger.intent(&intent("a", 0))).expect("recorded");
    // A second attempt of the same name would not be accounted for, so it must not leave.
    let error = wait(ledger.intent(&intent("a", 5))).unwrap_err();
    assert!(error.is_refusal(), "it concerns that attempt alone");
    let error = error.to_string();
    assert!(error.contains("attempt 1 of \"a\"") && error.contains("ledger.db"), "{error}");
    // Its client says that it did not leave. The one that has the name is still under way.
    ledger.outcome(&ended("a", Ending::NotSent, 0)).expect("taken");
    ledger.flush().expect("committed");
    assert_eq!(all(&ledger.reader().expect("read")).open, 1);
    ledger.outcome(&answered("a", 250)).expect("taken");
    ledger.outcome(&answered("a", 9_999)).expect("taken");
    ledger.outcome(&ended("a", Ending::NotSent, 0)).expect("taken");
    // Another attempt of the same call, and the same name in another run, are others.
    let second = Intent::new(AttemptId::new("a", 2), "m".into(), UnixMillis::new(0));
    wait(ledger.intent(&second)).expect("recorded");
    let other = place.open();
    wait(other.intent(&intent("a", 0))).expect("recorded");
    ledger.close().expect("closed");
    let totals = all(&other.reader().expect("read"));
    assert_eq!((totals.attempts, totals.answered, totals.open), (3, 1, 2));
    assert_eq!(totals.known, Money::from_ticks(250));
}

#[test]
fn what_never_left_and_was_answered_all_the_same_counts() {
    let place = Place::new();
    let ledger = place.open();
    wait(ledger.intent(&intent("a", 0))).expect("recorded");
    ledger.outcome(&ended("a", Ending::NotSent, 0)).expect("taken");
    ledger.outcome(&ended("a", Ending::NotSent, 0)).expect("taken");
    ledger.outcome(&answered("a", 250)).expect("taken");
    ledger.flush().expect("committed");
    let totals = all(&ledger.reader().expect("read"));
    assert_eq!((totals.not_sent, totals.answered), (0, 1));
    assert_eq!(totals.spent(), Money::from_ticks(250));
}

#[test]
fn money_is_told_apart_by_how_sure_it_is() {
    let place = Place::new();
    let ledger = place.open();
    for call in ["answered", "silent", "refused", "reset", "unsent", "flying"] {
        wait(ledger.intent(&intent(call, 0))).expect("recorded");
    }
    ledger.outcome(&answered("answered", 250)).expect("taken");
    ledger.outcome(&ended("silent", Ending::Answered, 800)).expect("taken");
    ledger.outcome(&ended("refused", Ending::Refused, 0).status(429)).expect("taken");
    ledger.outcome(&ended("reset", Ending::MaybeCharged, 1_000)).expect("taken");
    ledger.outcome(&ended("unsent", Ending::NotSent, 0)).expect("taken");
    ledger.flush().expect("committed");
    let totals = all(&ledger.reader().expect("read"));
    let counts = [
        totals.attempts,
        totals.answered,
        totals.refused,
        totals.not_sent,
        totals.maybe_charged,
        totals.open,
        totals.without_usage,
    ];
    assert_eq!(counts, [6, 2, 1, 1, 1, 1, 1]);
    assert_eq!(totals.known, Money::from_ticks(1_050));
    assert_eq!(totals.possible, Money::from_ticks(1_000));
    assert_eq!(totals.open_reserved, Money::from_ticks(1_000));
    assert_eq!(totals.spent(), Money::from_ticks(3_050));
    // 7 were reported; 10 each were reserved for the silent, the reset and the flying one.
    assert_eq!((totals.input_tokens, totals.output_tokens, totals.counted_tokens), (3, 4, 37));
    assert_eq!((totals.reasoning_tokens, totals.cached_input_tokens), (2, 0));
}

#[test]
fn what_was_never_announced_is_not_lost_and_what_never_left_leaves_no_trace() {
    let place = Place::new();
    let ledger = place.open();
    ledger.outcome(&answered("a", 250)).expect("taken");
    ledger.outcome(&answered("a", 250)).expect("taken");
    ledger.outcome(&ended("b", Ending::NotSent, 0)).expect("taken");
    ledger.flush().expect("committed");
    let rows = attempts(&ledger.reader().expect("read"));
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].model.as_str(), rows[0].spent()), ("", Money::from_ticks(250)));
}

#[test]
fn a_cost_that_can_be_none_is_flagged_and_the_reservation_stays() {
    let place = Place::new();
    let ledger = place.open();
    let bad = [-1, i128::MIN, i128::MAX, i128::from(i64::MAX) + 1];
    for (number, ticks) in bad.into_iter().enumerate() {
        let call = number.to_string();
        wait(ledger.intent(&intent(&call, 0))).expect("recorded");
        ledger.outcome(&answered(&call, ticks)).expect("taken");
    }
    // The most that can be kept is kept as it is, and so is nothing.
    for (call, ticks) in [("most", i128::from(i64::MAX)), ("none", 0)] {
        wait(ledger.intent(&intent(call, 0))).expect("recorded");
        ledger.outcome(&answered(call, ticks)).expect("taken");
    }
    ledger.flush().expect("committed");
    let totals = all(&ledger.reader().expect("read"));
    assert_eq!(totals.cost_refused, 4);
    assert_eq!(totals.spent(), Money::from_ticks(4_000 + i128::from(i64::MAX)));
}

#[test]
fn sums_pass_64_bits() {
    let place = Place::new();
    let ledger = place.open();
    let most = i128::from(i64::MAX);
    for call in ["a", "b", "c", "d", "e"] {
        let huge = intent(call, 0).total_tokens(u64::MAX).cost(Money::from_ticks(i128::MAX));
        wait(ledger.intent(&huge)).expect("recorded");
    }
    let usage = Usage::new(Usage::MAX_TOKENS, Usage::MAX_TOKENS).expect("just not absurd");
    ledger.outcome(&answered("a", most).usage(usage)).expect("taken");
    ledger.outcome(&ended("b", Ending::MaybeCharged, most)).expect("taken");
    ledger.flush().expect("committed");
    let totals = all(&ledger.reader().expect("read"));
    // What can't be kept is entered as the most that can.
    assert_eq!(totals.spent(), Money::from_ticks(5 * most));
    let reserved = 4 * u128::from(i64::MAX.unsigned_abs());
    assert_eq!(totals.counted_tokens, reserved + u128::from(Usage::MAX_TOKENS));
}

#[test]
fn groups_are_those_of_utc_and_add_up_to_the_whole() {
    let place = Place::new();
    let ledger = place.open();
    const DAY: i64 = 86_400_000;
    // 2024-02-29 begins 19,782 days after 1970, and is the leap day.
    let leap = 19_782 * DAY;
    let moments = [-1, 0, DAY - 1, DAY, leap, leap + DAY - 1, leap + DAY, i64::MIN, i64::MAX];
    for (number, at) in moments.into_iter().enumerate() {
        let call = number.to_string();
        let model = if number % 2 == 0 { "even" } else { "odd" };
        let mut made = Intent::new(id(&call), model.into(), UnixMillis::new(at))
            .cost(Money::from_ticks(1 << number));
        if number < 3 {
            made = made.tag("early".into());
        }
        wait(ledger.intent(&made)).expect("recorded");
    }
    let reader = ledger.reader().expect("read");
    let within = Range::since(UnixMillis::new(-DAY)).until(UnixMillis::new(leap + 2 * DAY));
    let days = reader.usage(Grouping::Day, &within).expect("grouped");
    let days: Vec<_> = days
        .into_iter()
        .map(|(day, totals)| match day {
            Group::From(moment) => (moment.as_millis() / DAY, totals.spent().as_ticks()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(days, [(-1, 1), (0, 2 + 4), (1, 8), (19_782, 16 + 32), (19_783, 64)]);
    let hours = reader.usage(Grouping::Hour, &within).expect("grouped");
    assert_eq!(hours.len(), 7);
    assert_eq!(hours[0].0, Group::From(UnixMillis::new(-3_600_000)));
    let money = |by| -> Vec<_> {
        let groups = reader.usage(by, &Range::default()).expect("grouped");
        groups.into_iter().map(|(group, totals)| (group, totals.spent().as_ticks())).collect()
    };
    let (even, odd) = (0b1_0101_0101, 0b0_1010_1010);
    assert_eq!(
        money(Grouping::Model),
        [(Group::Model("even".into()), even), (Group::Model("odd".into()), odd)]
    );
    assert_eq!(
        money(Grouping::Tag),
        [(Group::Tag(None), 0b1_1111_1000), (Group::Tag(Some("early".into())), 0b111)]
    );
    // The ends of time are in some day too.
    let whole = reader.usage(Grouping::Day, &Range::default()).expect("grouped");
    assert_eq!(whole.iter().map(|(_, totals)| totals.attempts).sum::<u64>(), 9);
}

#[test]
fn a_budget_starts_with_what_its_scope_spent_since_its_moment() {
    let place = Place::new();
    let ledger = place.open();
    let calls = [("a", 10, "x", "k1"), ("b", 20, "x", "k2"), ("c", 30, "y", "k1")];
    for (call, at, tag, caller) in calls {
        let made = intent(call, at).tag(tag.into()).caller(caller.into());
        wait(ledger.intent(&made)).expect("recorded");
        ledger.outcome(&answered(call, i128::from(at))).expect("taken");
    }
    ledger.close().expect("closed");
    let reader = place.open().reader().expect("read");
    let spent = |since, scope| {
        let range = Range::since(UnixMillis::new(since)).of(scope);
        reader.totals(&range).expect("added up").spent().as_ticks()
    };
    assert_eq!(spent(0, LimitKey::All), 60);
    assert_eq!(spent(20, LimitKey::All), 50, "the moment itself is in");
    assert_eq!(spent(21, LimitKey::All), 30);
    assert_eq!(spent(0, LimitKey::Tag("x".into())), 30);
    assert_eq!(spent(0, LimitKey::Caller("k1".into())), 40);
    assert_eq!(spent(11, LimitKey::Caller("k1".into())), 30);
    assert_eq!(spent(0, LimitKey::Model("grok-4.3".into())), 60);
    assert_eq!(spent(0, LimitKey::Model("' OR 1 --".into())), 0);
    let until = Range::default().until(UnixMillis::new(20));
    assert_eq!(reader.totals(&until).expect("added up").spent().as_ticks(), 10);
}

#[test]
fn simulated_money_is_never_mixed_with_real_money() {
    let place = Place::new();
    let simulated = RunInfo::new("dry").simulated();
    let dry = paceline_ledger::Ledger::open(place.ledger(), &simulated).expect("opened");
    let real = place.open();
    wait(dry.intent(&intent("a", 0).cost(Money::from_ticks(1)))).expect("recorded");
    wait(real.intent(&intent("a", 0).cost(Money::from_ticks(2)))).expect("recorded");
    assert_eq!(all(&real.reader().expect("read")).spent(), Money::from_ticks(2));
    let reader = real.reader().expect("read").simulated();
    assert_eq!(all(&reader).spent(), Money::from_ticks(1));
}

#[test]
fn a_future_that_is_dropped_unpolled_records_nothing() {
    let place = Place::new();
    let ledger = place.open();
    drop(ledger.intent(&intent("a", 0)));
    let outcome = Outcome::new(id("a"), UnixMillis::new(0), Ending::NotSent);
    ledger.outcome(&outcome).expect("taken");
    ledger.flush().expect("committed");
    assert_eq!(all(&ledger.reader().expect("read")), Totals::default());
}

#[test]
fn a_budget_is_restored_from_rows_at_the_moments_at_which_a_client_would_have_counted_them() {
    const DAY: i64 = 86_400_000;
    let place = Place::new();
    let ledger = place.open();
    let before_midnight = DAY - 1;
    for call in ["late", "open", "reset", "refused", "silent"] {
        let intended = intent(call, before_midnight).tag(Tag::from("t")).caller(Caller::from("c"));
        wait(ledger.intent(&intended)).expect("recorded");
    }
    let over = |call, ending| Outcome::new(id(call), UnixMillis::new(DAY), ending);
    let usage = Usage::new(3, 7).expect("a usage");
    let late = over("late", Ending::Answered).usage(usage).cost(Money::from_ticks(250));
    ledger.outcome(&late).expect("taken");
    let reset = over("reset", Ending::MaybeCharged).cost(Money::from_ticks(1_000));
    ledger.outcome(&reset).expect("taken");
    ledger.outcome(&over("refused", Ending::Refused)).expect("taken");
    let silent = over("silent", Ending::Answered).cost(Money::from_ticks(800));
    ledger.outcome(&silent).expect("taken");
    ledger.flush().expect("committed");
    // The first day has the one without an outcome, and the second those that were over then.
    let keys = [LimitKey::All, LimitKey::Tag("t".into()), LimitKey::Caller("c".into())];
    let mut budgets = Budgets::new();
    for key in keys.iter().chain(&[LimitKey::Model("grok-4.3".into())]) {
        let money = Budget::money(Money::from_usd(1), Period::Day).expect("a budget");
        let tokens = Budget::total_tokens(1_000, Period::Day).expect("a budget");
        budgets.add(money.scope(key.clone())).expect("room");
        budgets.add(tokens.scope(key.clone())).expect("room");
    }
    let rows = attempts(&ledger.reader().expect("read"));
    assert_eq!(budgets.restore(rows.iter().map(Spend::from)), 0);
    for (day, [money, tokens]) in [(0, [1_000, 10]), (1, [2_050, 7 + 10 + 10])] {
        let now = UnixMillis::new(day * DAY + 5);
        let spent: Vec<u64> = budgets.standings(now).map(|standing| standing.spent).collect();
        assert_eq!(spent, [money, tokens].repeat(4), "day {day}");
    }
}

#[test]
fn what_no_call_can_have_spent_counts_as_what_was_reserved_and_never_as_nothing() {
    let place = Place::new();
    let ledger = place.open();
    let most = i128::from(i64::MAX);
    // More than any call costs, with a reservation that can be and with one that can't.
    wait(ledger.intent(&intent("dear", 0))).expect("recorded");
    ledger.outcome(&answered("dear", most)).expect("taken");
    let huge = intent("huge", 0).total_tokens(u64::MAX).cost(Money::from_ticks(i128::MAX));
    wait(ledger.intent(&huge)).expect("recorded");
    wait(ledger.intent(&intent("sane", 0))).expect("recorded");
    ledger.flush().expect("committed");
    let rows = attempts(&ledger.reader().expect("read"));
    let absurd: Vec<bool> = rows.iter().map(Attempt::is_absurd).collect();
    assert_eq!(absurd, [true, true, false]);
    let at = |at| Spend::new(UnixMillis::new(at)).model("grok-4.3");
    let spends: Vec<Spend> = rows.iter().map(Spend::from).collect();
    assert_eq!(spends[0], at(77).money(Money::from_ticks(1_000)).total_tokens(7));
    assert_eq!(spends[1], at(0).money(Price::MOST).total_tokens(Usage::MAX_TOKENS));
    assert_eq!(Budgets::new().restore(spends), 0, "none is refused");
}
