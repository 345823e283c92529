//! One corpus of timed scenarios through every form of the limiter.
//!
//! `tests/scenarios/README.md` says how they are written. They come from specifications and from
//! public issues of other limiters, not from what this one does. Invariant: a form runs every
//! scenario, but for those whose `except` names it, and it must really be unable to run those.
#![expect(clippy::disallowed_methods, reason = "reads the corpus")]

#[cfg(feature = "clock")]
mod clock;
mod driver;
mod format;
#[cfg(feature = "tokio")]
mod futures;
mod mutate;
mod pure;
mod run;
#[cfg(feature = "tokio")]
mod seam;
#[cfg(feature = "tokio")]
mod waiting;
mod words;

use std::collections::BTreeSet;
use std::path::Path;

use paceline_core::Instant;

use driver::Form;
use format::Scenario;
use run::{Problem, run};

/// Every scenario, by its file's name.
fn corpus() -> Vec<(String, Scenario)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut scenarios = Vec::new();
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let file = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let scenario = Scenario::parse(&text).unwrap_or_else(|why| panic!("{file}: {why}"));
        for form in scenario.except.keys() {
            assert!(Form::NAMES.contains(&form.as_str()), "{file}: no form is named {form}");
        }
        assert!(names.insert(scenario.name.clone()), "{file}: two are named {:?}", scenario.name);
        scenarios.push((file, scenario));
    }
    scenarios.sort_by(|(a, _), (b, _)| a.cmp(b));
    scenarios
}

/// Runs the corpus through one form: all but so many scenarios, each of which must give a reason
/// that holds.
#[track_caller]
fn check(form: Form, excepted: usize) {
    let mut problems = Vec::new();
    let mut passed = 0;
    let corpus = corpus();
    assert!(corpus.len() >= 80, "only {} scenarios", corpus.len());
    for (file, scenario) in &corpus {
        let is_excepted =
            scenario.except.contains_key(form.name()) || (scenario.has_waiters() && !form.waits());
        match (run(scenario, form), is_excepted) {
            (Ok(()), false) => passed += 1,
            (Err(Problem::Unable(_)), true) => {}
            (Ok(()), true) => problems.push(format!("{file}: {form} can run it after all")),
            (Err(Problem::Unable(why)), false) => {
                problems.push(format!("{file}: {form} can't run it: {why}"));
            }
            (Err(Problem::Wrong(why)), _) => problems.push(format!("{file}: {why}")),
        }
    }
    assert!(problems.is_empty(), "{form}: {} problems\n{}", problems.len(), problems.join("\n"));
    assert_eq!(passed, corpus.len() - excepted, "{form}: how many ran");
}

/// A moment at which no slot of any window begins.
const ODD: Instant = Instant::from_nanos(86_400_123_456_789);

#[test]
fn the_pure_form_does_what_the_corpus_says() {
    check(Form::Pure(Instant::ORIGIN), 0);
}

#[test]
fn the_pure_form_does_so_wherever_its_clock_begins() {
    check(Form::Pure(ODD), 0);
}

#[cfg(feature = "clock")]
#[test]
fn the_form_for_threads_does_what_the_corpus_says() {
    check(Form::Clock(ODD), 5);
}

#[cfg(feature = "tokio")]
#[test]
fn the_async_form_does_what_the_corpus_says() {
    check(Form::Async, 2);
}

#[cfg(feature = "tokio")]
#[test]
fn the_facades_seam_does_what_the_corpus_says() {
    check(Form::Seam, 10);
}

#[test]
fn every_expectation_of_the_corpus_can_fail() {
    let mut unseen = Vec::new();
    let mut changes = 0;
    for (file, scenario) in corpus() {
        for (what, falsified) in mutate::falsified(&scenario) {
            changes += 1;
            if run(&falsified, Form::Pure(ODD)).is_ok() {
                unseen.push(format!("{file}: {what}"));
            }
        }
    }
    assert!(unseen.is_empty(), "{} of {changes} unseen:\n{}", unseen.len(), unseen.join("\n"));
    assert!(changes > 300, "only {changes} were tried");
}

/// A whole file, around one step.
fn around(step: &str) -> Result<Scenario, String> {
    Scenario::parse(&format!(
        "name = \"n\"\nabout = \"a\"\nsource = \"s\"\n\
         [[limit]]\ndimension = \"requests\"\nquota = \"1/s\"\n[[step]]\n{step}"
    ))
}

#[test]
fn what_a_step_does_not_look_at_is_an_error() {
    let ask = "at = \"0s\"\ndo = \"acquire\"\nask = { requests = 1 }\n";
    assert!(around(&format!("{ask}expect = \"admitted\"")).is_ok());
    let wrong = [
        format!("{ask}expect = \"admitted\"\nwithin = [\"0s\", \"1s\"]"),
        format!("{ask}expect = \"admitted\"\nuntil = [\"0s\", \"1s\"]"),
        format!("{ask}expect = \"waits\"\nuntil = [\"2s\", \"1s\"]"),
        format!("{ask}expect = \"waits\"\nuntil = \"soon\""),
        format!("{ask}expect = \"maybe\""),
        format!("{ask}expect = \"admitted\"\nexpects = 1"),
        format!("{ask}times = 3"),
        ask.to_owned(),
        "at = \"0s\"\ndo = \"look\"".to_owned(),
        "at = \"0s\"\ndo = \"look\"\nwaiting = 0\nused = { requests = 1 }".to_owned(),
        "at = \"0s\"\ndo = \"settle\"\nwaiting = 0".to_owned(),
        "at = \"0 s\"\ndo = \"look\"\nwaiting = 0".to_owned(),
    ];
    for step in wrong {
        assert!(around(&step).is_err(), "{step}");
    }
}
