//! `run --budget-per-day` and `--budget-per-month`: kept over runs, by what the ledger holds.

use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

use paceline_budget::{AttemptId, Ending, Intent, Outcome, Record};
use paceline_core::{Money, UnixMillis};
use paceline_ledger::{Ledger, RunInfo};
use serde_json::Value;

use crate::{Place, stderr};

const DAY: i64 = 86_400_000;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(out) = future.as_mut().poll(&mut context) {
            return out;
        }
        std::thread::yield_now();
    }
}

/// A ledger of simulated calls: when each was made, what it cost, and whether it has an outcome.
fn ledger(place: &Place, calls: &[(i64, i64, bool)]) {
    let info = RunInfo::new("before").simulated();
    let ledger = Ledger::open(place.path("l.db"), &info).expect("a ledger");
    for (number, (at, cents, is_over)) in calls.iter().enumerate() {
        let id = AttemptId::new(format!("call-{number}"), 1);
        let cost = Money::from_ticks(i128::from(*cents) * 100_000_000);
        let intent = Intent::new(id.clone(), "grok-4.3".into(), UnixMillis::new(*at)).cost(cost);
        block_on(ledger.intent(&intent)).expect("recorded");
        if *is_over {
            let outcome = Outcome::new(id, UnixMillis::new(*at), Ending::Answered).cost(cost);
            ledger.outcome(&outcome).expect("recorded");
        }
    }
    ledger.close().expect("kept");
}

fn report(place: &Place) -> Value {
    let bytes = std::fs::read(place.path("r.json")).expect("written");
    serde_json::from_slice(&bytes).expect("an object")
}

fn usd(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).expect("money")
}

fn run<'a>(input: &'a str, budget: [&'a str; 2]) -> Vec<&'a str> {
    let ends = ["--ledger", "l.db", "--max-in-flight", "8", "--report", "r.json"];
    [&["run", input, "--simulate"][..], &budget, &ends].concat()
}

#[test]
fn a_monthly_budget_is_kept_over_runs_that_share_a_ledger() {
    let place = Place::new();
    place.prompts("a.txt", 40);
    place.prompts("b.txt", 40);
    let mut spent = 0.0;
    for input in ["a.txt", "b.txt"] {
        let output = place.run(&run(input, ["--budget-per-month", "0.02"]));
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("the budget of $0.0200 a month for all calls is spent"), "{text}");
        assert!(text.contains("goes on from 2") && text.contains("-01T00:00:00.000Z"), "{text}");
        let report = report(&place);
        spent += usd(&report["cost_usd"]);
        let budget = &report["budgets"][0];
        assert!((usd(&budget["spent_usd"]) - spent).abs() < 1e-9, "{budget} is not {spent}");
        let sum = usd(&budget["spent_usd"]) + usd(&budget["left_usd"]);
        assert!((sum - 0.02).abs() < 1e-9 && usd(&budget["excess_usd"]) == 0.0, "{budget}");
    }
    assert!(spent > 0.0 && spent <= 0.02, "{spent}");
    assert!(place.rows("b.sim.jsonl").len() < place.rows("a.sim.jsonl").len());
    // With a higher one the same command goes on, and says how many more calls fit.
    let output = place.run(&run("a.txt", ["--budget-per-month", "5"]));
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(place.rows("a.sim.jsonl").len(), 40);
    assert!(text.contains("fit in what is left of the budget of $5.00 a month"), "{text}");
    let report = report(&place);
    let rooms = report["forecast"].as_array().expect("a list");
    let budget = rooms.iter().find(|room| room["of"].as_str().is_some_and(|of| of.contains("$5")));
    let fits = &budget.expect("the budget is among them")["fits"];
    // As many as the average says: what is left, over what a call cost.
    let each = usd(&report["cost_usd"]) / report["http"]["requests"].as_f64().expect("a count");
    let expected = usd(&report["budgets"][0]["left_usd"]) / each;
    let said = fits["expected"].as_f64().expect("a count");
    assert!((said - expected).abs() <= 1.0, "{said} and not {expected}");
    assert!(fits["low"].as_f64() < Some(said) && fits["high"].as_f64() > Some(said), "{fits}");
}

#[test]
fn a_day_counts_what_the_ledger_holds_of_it_and_nothing_before() {
    let place = Place::new();
    place.prompts("in.txt", 3);
    ledger(&place, &[(now() - 2 * DAY, 900, true)]);
    let output = place.run(&run("in.txt", ["--budget-per-day", "1"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    // One that was sent today and has no outcome counts at what was reserved for it.
    let other = Place::new();
    other.prompts("in.txt", 3);
    ledger(&other, &[(now(), 60, true), (now(), 39, false)]);
    let output = other.run(&run("in.txt", ["--budget-per-day", "0.99"]));
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("$0.990 used, $0.00 left") && text.contains("0 sent"), "{text}");
    assert!(text.contains("T00:00:00.000Z"), "{text}");
    // Money that is real is not spent by what is simulated, and the other way round.
    let real = ["run", "in.txt", "--base-url", "http://127.0.0.1:9/v1", "--ledger", "l.db"];
    let outage = ["--budget-per-day", "0.99", "--max-outage", "1s", "--out", "real.jsonl"];
    let args = [&real[..], &outage].concat();
    let output = other.command(&args).env("XAI_API_KEY", "k").output().expect("it starts");
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
}

#[test]
fn budgets_over_runs_need_a_ledger_and_a_price() {
    for name in ["--budget-per-day", "--budget-per-month"] {
        let place = Place::new();
        place.prompts("in.txt", 1);
        let args = ["run", "in.txt", "--simulate", name, "5"];
        place.refused(&args, &[name, "needs a ledger", "--ledger FILE"]);
        assert!(!place.path("in.sim.jsonl").exists(), "nothing was started");
        let unpriced = [&args[..], &["--ledger", "l.db", "--model", "grok-99"]].concat();
        place.refused(&unpriced, &["grok-99", name, "--price"]);
        place.refused(
            &["run", "in.txt", "--simulate", name, "0", "--ledger", "l.db"],
            &[name, "more than 0"],
        );
    }
}

#[test]
fn the_plan_says_how_many_calls_fit_before_anything_is_sent() {
    let place = Place::new();
    place.prompts("in.txt", 50);
    let args = ["run", "in.txt", "--ledger", "l.db", "--budget-per-day", "0.01"];
    let with_cap = [&args[..], &["--budget-usd", "100"]].concat();
    let output = place.command(&with_cap).env("XAI_API_KEY", "k").output().expect("it starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "it asks, and there is no terminal: {text}");
    let room = "calls fit in what is left of the budget of $0.0100 a day for all calls";
    assert!(text.contains("50 calls") && text.contains(room), "{text}");
}
