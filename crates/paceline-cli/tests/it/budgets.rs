//! `run --budget-per-day` and the like: kept over runs, by what the ledger holds and by what others
//! write to it meanwhile.

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use paceline_budget::{AttemptId, Ending, Intent, Outcome, Record};
use paceline_core::{Money, UnixMillis, Usage};
use paceline_ledger::{Ledger, RunInfo};
use serde_json::Value;

use crate::{Place, stderr};

const DAY: i64 = 86_400_000;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}

/// The present moment, with no hour, and so no day or month of UTC, about to end: a test whose
/// budgets begin anew while it runs would fail for nothing. Waits for the next one where this ends in
/// less than two minutes, more than any test here takes.
fn in_the_middle_of_an_hour() -> i64 {
    const HOUR: i64 = 3_600_000;
    while HOUR - now() % HOUR < 120_000 {
        std::thread::sleep(Duration::from_millis(100));
    }
    now()
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

/// A ledger of one simulated call, made now for a tag, at so many cents and tokens.
fn spent(place: &Place, tag: &str, cents: i64, tokens: u64) {
    let info = RunInfo::new("before").simulated();
    let ledger = Ledger::open(place.path("l.db"), &info).expect("a ledger");
    let intent = held(cents, "before").tag(tag.into());
    block_on(ledger.intent(&intent)).expect("recorded");
    let over = Outcome::new(intent.id, UnixMillis::new(now()), Ending::Answered);
    let over = over.usage(Usage::new(1, tokens).expect("a usage")).cost(intent.cost);
    ledger.outcome(&over).expect("recorded");
    ledger.close().expect("kept");
}

/// An attempt of another run that may cost so many cents, and is over within the minute.
fn held(cents: i64, call: &str) -> Intent {
    let cost = Money::from_ticks(i128::from(cents) * 100_000_000);
    Intent::new(AttemptId::new(call, 1), "grok-4.3".into(), UnixMillis::new(now()))
        .cost(cost)
        .latest(Duration::from_secs(60))
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
    in_the_middle_of_an_hour();
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
        let report = place.report("r.json");
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
    let report = place.report("r.json");
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

/// `--budget-usd` goes with the answers: what other runs wrote to the same ledger is not counted, and what went
/// into the same file is, by whichever run.
#[test]
fn the_budget_of_an_output_counts_the_runs_into_it_and_no_other_on_the_ledger() {
    let place = Place::new();
    ledger(&place, &[(now(), 500, true), (now(), 500, false)]);
    place.prompts("in.txt", 2);
    let args = ["run", "in.txt", "--simulate", "--ledger", "l.db", "--report", "r.json"];
    let with = |usd: &str| place.run(&[&args[..], &["--budget-usd", usd]].concat());
    let first = with("1");
    assert_eq!(
        first.status.code(),
        Some(0),
        "ten dollars were spent elsewhere: {}",
        stderr(&first)
    );
    let cost = usd(&place.report("r.json")["cost_usd"]);
    assert!(cost > 0.0 && cost < 0.5, "{cost}");
    // Two rows more, and what is left beside what was spent is enough for none.
    place.prompts("in.txt", 4);
    let second = with(&format!("{:.4}", cost + 0.0001));
    assert_eq!(second.status.code(), Some(3), "{}", stderr(&second));
    assert_eq!(place.rows("in.sim.jsonl").len(), 2, "{}", stderr(&second));
    let third = with("1");
    assert_eq!(third.status.code(), Some(0), "{}", stderr(&third));
    assert_eq!(place.rows("in.sim.jsonl").len(), 4);
}

#[test]
fn a_day_counts_what_the_ledger_holds_of_it_and_nothing_before() {
    let now = in_the_middle_of_an_hour();
    let place = Place::new();
    place.prompts("in.txt", 3);
    ledger(&place, &[(now - 2 * DAY, 900, true)]);
    let output = place.run(&run("in.txt", ["--budget-per-day", "1"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    // One that was sent today and has no outcome counts at what was reserved for it.
    let other = Place::new();
    other.prompts("in.txt", 3);
    ledger(&other, &[(now, 60, true), (now, 39, false)]);
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
    for name in ["--budget-per-hour", "--budget-per-day", "--budget-per-month"] {
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
fn tokens_are_a_budget_too_and_need_no_price() {
    in_the_middle_of_an_hour();
    let place = Place::new();
    place.prompts("in.txt", 3);
    spent(&place, "before", 1, 20_000);
    let args = ["run", "in.txt", "--simulate", "--ledger", "l.db", "--report", "r.json"];
    let most = ["--tokens-per-hour", "50000", "--tokens-per-day", "90000"];
    let output = place.run(&[&args[..], &most].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let used: u64 = place
        .rows("in.sim.jsonl")
        .iter()
        .map(|row| row["usage"]["total_tokens"].as_u64().expect("tokens"))
        .sum();
    let used = used + 20_000;
    let budgets = place.report("r.json")["budgets"].clone();
    for (budget, most) in [(&budgets[0], 50_000), (&budgets[1], 90_000)] {
        assert_eq!(budget["spent_tokens"], used, "{budget}");
        let rest = (&budget["most_tokens"], &budget["left_tokens"]);
        assert_eq!(rest, (&most.into(), &(most - used).into()));
        assert!(budget.get("spent_usd").is_none(), "{budget}");
    }
    // Where fewer are left than a call may use, nothing is sent.
    let little = ["--tokens-per-hour", "20010", "--out", "other.jsonl"];
    let output = place.run(&[&args[..], &little].concat());
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("20010 tokens an hour for all calls") && text.contains("0 sent"),
        "{text}"
    );
    let model = ["--model", "grok-99", "--tokens-per-hour", "20010", "--out", "unpriced.jsonl"];
    let output = place.run(&[&args[..], &model].concat());
    let text = stderr(&output);
    assert!(output.status.code() == Some(3) && !text.contains("--price"), "{text}");
}

#[test]
fn a_budget_of_a_tag_counts_the_calls_of_that_tag_alone() {
    in_the_middle_of_an_hour();
    let place = Place::new();
    place.prompts("in.txt", 3);
    spent(&place, "evals", 199, 1_000);
    let run = |tag, out| {
        let args = ["run", "in.txt", "--simulate", "--ledger", "l.db", "--report", "r.json"];
        let budgets = ["--budget-per-day", "evals=1.9901", "--budget-per-day", "5"];
        let output = place.run(&[&args[..], &budgets, &["--tag", tag, "--out", out]].concat());
        (output.status.code(), stderr(&output))
    };
    let (code, text) = run("chat", "chat.jsonl");
    assert_eq!(code, Some(0), "{text}");
    let chat = usd(&place.report("r.json")["cost_usd"]);
    assert!(chat > 0.0001, "more than the other tag may: {chat}");
    let (code, text) = run("evals", "evals.jsonl");
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("a day for tag evals is spent") && text.contains("0 sent"), "{text}");
    let report = place.report("r.json");
    let spent = |n: usize| usd(&report["budgets"][n]["spent_usd"]);
    assert!((spent(0) - 1.99).abs() < 1e-9, "{report}");
    assert!((spent(1) - 1.99 - chat).abs() < 1e-9, "all of them: {report}");
}

/// A run that goes on while a test does something else.
fn start(mut command: Command) -> Child {
    command.stderr(Stdio::piped()).spawn().expect("it starts")
}

#[test]
fn what_another_run_spends_meanwhile_counts_and_what_it_holds_is_waited_for() {
    in_the_middle_of_an_hour();
    let place = Place::new();
    place.prompts("in.txt", 3);
    let other = Ledger::open(place.path("l.db"), &RunInfo::new("other").simulated());
    let other = other.expect("a ledger");
    block_on(other.intent(&held(99, "first"))).expect("recorded");
    let run = start(place.command(&run("in.txt", ["--budget-per-day", "1"])));
    // It has looked at the ledger once its own name is in it, and can't send for what the other holds.
    let began = || Ledger::open(place.path("l.db"), &RunInfo::new("look")).expect("open").run();
    let mut runs = began();
    while runs == began() - 1 && runs < 50 {
        runs += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(place.rows("in.sim.jsonl").is_empty(), "nothing was sent");
    // The other call cost a cent: there is room, without anything being started anew.
    let id = AttemptId::new("first", 1);
    let cost = Money::from_ticks(100_000_000);
    let over = Outcome::new(id, UnixMillis::new(now()), Ending::Answered).cost(cost);
    other.outcome(&over).expect("taken");
    other.close().expect("kept");
    let output = run.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = place.report("r.json");
    let spent = usd(&report["budgets"][0]["spent_usd"]);
    assert!((spent - usd(&report["cost_usd"]) - 0.01).abs() < 1e-9, "{report}");
}

#[test]
fn two_runs_at_once_pass_no_budget_together() {
    in_the_middle_of_an_hour();
    let place = Place::new();
    place.prompts("a.txt", 200);
    place.prompts("b.txt", 200);
    let args = |input| run(input, ["--budget-per-day", "0.05"]);
    let runs = ["a.txt", "b.txt"].map(|input| start(place.command(&args(input))));
    for run in runs {
        let output = run.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    }
    let cost = |name: &str| -> f64 {
        place.rows(name).iter().map(|row| row["cost_usd"].as_f64().expect("a cost")).sum()
    };
    let (a, b) = (cost("a.sim.jsonl"), cost("b.sim.jsonl"));
    assert!(a > 0.0 && b > 0.0, "both sent: {a} and {b}");
    // What both admit between two looks may pass it: eight calls at once of each, at 0.06 cents.
    assert!(a + b <= 0.05 + 0.01, "{a} and {b}");
    assert!(a + b > 0.03, "and it is used: {a} and {b}");
}

#[cfg(unix)]
#[test]
fn a_run_that_waits_for_its_budget_says_until_when_and_goes_on_later() {
    let began = in_the_middle_of_an_hour();
    let place = Place::new();
    place.prompts("in.txt", 3);
    spent(&place, "before", 100, 1_000);
    let args = [run("in.txt", ["--budget-per-hour", "1.0001"]), vec!["--wait-for-budget"]].concat();
    let mut waiting = start(place.command(&args));
    let mut lines = BufReader::new(waiting.stderr.take().expect("piped")).lines();
    let line = lines.by_ref().map(|line| line.expect("text")).find(|line| line.contains("waiting"));
    let line = line.expect("it waits");
    let next = format!("T{:02}:00:00.000Z", (began / 3_600_000 + 1) % 24);
    assert!(line.contains("an hour for all calls is spent") && line.contains(&next), "{line}");
    let killed = Command::new("kill").args(["-INT", &waiting.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    assert_eq!(waiting.wait().expect("it ends").code(), Some(130));
    assert!(place.rows("in.sim.jsonl").is_empty());
    let output = place.run(&run("in.txt", ["--budget-per-hour", "5"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(place.rows("in.sim.jsonl").len(), 3);
    // Nothing to wait for.
    place.refused(
        &["run", "in.txt", "--simulate", "--wait-for-budget"],
        &["--wait-for-budget", "--budget-per-day"],
    );
    // What costs more than the whole budget is not waited for.
    let never = [run("in.txt", ["--budget-per-hour", "0.000001"]), vec!["--wait-for-budget"]];
    let output = place.run(&[&never.concat()[..], &["--out", "never.jsonl"]].concat());
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
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

#[test]
fn the_plan_holds_what_was_used_before_any_answer_and_narrows_with_them() {
    let place = Place::new();
    place.prompts("in.txt", 40);
    let output = place.run(&["run", "in.txt", "--simulate", "--report", "r.json"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("planned   about "), "{text}");
    let report = place.report("r.json");
    assert_eq!(report["planned"]["answers_learned_from"], 0);
    let range = |name: &str, what: &str| {
        let range = &report[name][what];
        let of = |end: &str| usd(&range[end]);
        (of("low"), of("expected"), of("high"))
    };
    let used = report["tokens"]["total"].as_f64().expect("tokens");
    let cost = usd(&report["cost_usd"]);
    for (what, truth) in [("tokens", used), ("cost_usd", cost)] {
        let (low, expected, high) = range("planned", what);
        assert!(low < expected && expected < high, "{what}: {report}");
        assert!(low <= truth && truth <= high, "planned {what} {truth}: {report}");
        let (now_low, _, now_high) = range("in_all", what);
        assert!(now_low <= truth && truth <= now_high, "{what} {truth}: {report}");
        assert!(now_high / now_low < high / low / 10.0, "{what} is known better: {report}");
    }
}
