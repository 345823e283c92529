//! Journals: what a killed run may have spent.

use std::time::Duration;

use paceline_budget::AttemptId;
use paceline_core::Usage;
use serde_json::json;

use crate::input::InputOptions;

use super::*;

struct Place {
    folder: tempfile::TempDir,
    input: Input,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("in.txt");
        std::fs::write(&path, "one\ntwo\n").expect("written");
        let input = Input::open(&path, InputOptions::default(), |_| {}).expect("legal");
        Self { folder, input }
    }

    fn header(&self) -> Header {
        let input = self.input.fingerprint().clone();
        Header { version: 1, input, settings: json!({"model": "m"}), simulated: false }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("out.jsonl.journal")
    }

    fn open(&self, now: i64) -> Result<(Journal, Past), UserError> {
        Journal::open(&self.path(), &self.header(), &self.input, UnixMillis::new(now))
    }
}

fn intend(journal: &Journal, call: &str, at: i64) -> AttemptId {
    let id = AttemptId::new(call, 1);
    let intent = Intent::new(id.clone(), "m".into(), UnixMillis::new(at))
        .total_tokens(900)
        .cost(Money::from_ticks(50))
        .latest(Duration::from_secs(9));
    let mut recorded = journal.intent(&intent);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(matches!(recorded.as_mut().poll(&mut context), std::task::Poll::Ready(Ok(()))));
    id
}

fn answered(journal: &Journal, id: AttemptId, at: i64) {
    let usage = Usage::new(100, 130).expect("consistent");
    let outcome = Outcome::new(id, UnixMillis::new(at), Ending::Answered)
        .usage(usage)
        .cost(Money::from_ticks(7));
    journal.outcome(&outcome).expect("written");
}

#[test]
fn a_killed_run_leaves_what_it_may_have_spent() {
    let place = Place::new();
    let (journal, past) = place.open(0).expect("new");
    assert_eq!(past, Past::default());
    let first = intend(&journal, "a", 1_000);
    answered(&journal, first, 4_000);
    intend(&journal, "b", 5_000);
    let never = intend(&journal, "c", 6_000);
    journal
        .outcome(&Outcome::new(never, UnixMillis::new(6_000), Ending::NotSent))
        .expect("written");
    drop(journal);

    let (_, past) = place.open(8_000).expect("resumed");
    let send = |sent_ms, over_ms, tokens| PastSend { model: "m".into(), sent_ms, over_ms, tokens };
    assert_eq!(past.sends, [send(1_000, 4_000, 130), send(5_000, 14_000, 900)]);
    assert_eq!((past.spent, past.unfinished), (Money::from_ticks(57), 1));
}

#[test]
fn folding_again_and_again_neither_loses_nor_doubles_and_forgets_what_left_the_window() {
    let place = Place::new();
    let (journal, _) = place.open(0).expect("new");
    intend(&journal, "a", 1_000);
    let second = intend(&journal, "b", 2_000);
    answered(&journal, second, 3_000);
    drop(journal);
    let (_, first) = place.open(10_000).expect("resumed");
    let (_, second) = place.open(20_000).expect("resumed");
    assert_eq!(first, second);
    let (_, late) = place.open(10_000_000).expect("resumed");
    assert_eq!((late.sends.len(), late.spent, late.unfinished), (0, first.spent, first.unfinished));
}

#[test]
fn a_torn_last_line_is_no_attempt_and_a_broken_line_is_named() {
    let place = Place::new();
    let (journal, _) = place.open(0).expect("new");
    intend(&journal, "a", 1_000);
    drop(journal);
    let whole = std::fs::read_to_string(place.path()).expect("readable");
    std::fs::write(place.path(), &whole[..whole.len() - 20]).expect("written");
    assert_eq!(place.open(2_000).expect("resumed").1.unfinished, 0);
    std::fs::write(place.path(), format!("{whole}nonsense\n")).expect("written");
    let error = place.open(2_000).expect_err("refused").to_string();
    assert!(error.contains("line 4") && error.contains("hint:"), "{error}");
}

#[test]
fn another_run_is_refused_by_what_differs() {
    let place = Place::new();
    drop(place.open(0).expect("new"));
    let refused = |change: fn(&mut Header), says: &str| {
        let mut header = place.header();
        change(&mut header);
        let now = UnixMillis::new(0);
        let error = Journal::open(&place.path(), &header, &place.input, now).expect_err("refused");
        assert!(error.to_string().contains(says), "{error}");
    };
    refused(|header| header.simulated = true, "was real");
    refused(|header| header.settings = json!({"model": "n"}), "other settings");
    let other = place.folder.path().join("other.txt");
    std::fs::write(&other, "three\n").expect("written");
    let input = Input::open(&other, InputOptions::default(), |_| {}).expect("legal");
    let error = Journal::open(&place.path(), &place.header(), &input, UnixMillis::new(0));
    assert!(error.expect_err("refused").to_string().contains("another input"));
}
