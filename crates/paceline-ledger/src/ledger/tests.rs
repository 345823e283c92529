//! A disk without room, played by SQLite's own bound on the size of a file.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use paceline_core::{Money, UnixMillis};

use super::*;
use crate::query::Range;

fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
        thread::yield_now();
    }
}

fn id(number: u32) -> AttemptId {
    AttemptId::new(format!("call-{number}"), 1)
}

fn intent(number: u32) -> Intent {
    let at = UnixMillis::new(i64::from(number));
    Intent::new(id(number), "m".into(), at).cost(Money::from_ticks(1_000))
}

fn answered(number: u32) -> Outcome {
    let at = UnixMillis::new(i64::from(number) + 5);
    Outcome::new(id(number), at, Ending::Answered).cost(Money::from_ticks(7))
}

/// A ledger that takes about so many pages more and is full then.
fn small(path: &Path, pages: u32) -> Ledger {
    let connection = schema::open_to_write(path).expect("made");
    let used: u32 =
        connection.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a number");
    connection
        .pragma_update_and_check(None, "max_page_count", used + pages, |_| Ok(()))
        .expect("bounded");
    Ledger::start(path, connection, &RunInfo::new("small")).expect("started")
}

#[test]
fn a_full_disk_stops_what_is_sent_and_keeps_what_was_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let ledger = small(&path, 3);
    let mut number = 0;
    let error = loop {
        match wait(ledger.intent(&intent(number))) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(number > 10, "some were taken: {number}");
    assert!(error.to_string().contains("no room is left for the ledger"), "{error}");
    assert!(error.to_string().contains("ledger.db"), "{error}");
    // The first failure is the last, also for what would still fit.
    assert!(wait(ledger.intent(&intent(number + 1))).is_err());
    assert_eq!(ledger.flush().unwrap_err().kind(), LedgerErrorKind::Full);
    // Answers go on to arrive; the caller learns that they are not kept yet.
    for answer in 0..number {
        assert!(ledger.outcome(&answered(answer)).is_err());
    }
    // With room again, closing keeps them: the file is opened anew, without the bound.
    ledger.close().expect("there is room now");
    let totals = ledger.reader().expect("read").totals(&Range::default()).expect("added up");
    assert_eq!((totals.answered, totals.open), (u64::from(number), 0));
    assert_eq!(totals.spent(), Money::from_ticks(7 * i128::from(number)));
}

#[test]
fn outcomes_that_are_lost_are_said_to_be_and_count_as_reserved() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let ledger = small(&path, 2);
    let mut number = 0;
    while wait(ledger.intent(&intent(number))).is_ok() {
        number += 1;
    }
    assert!(ledger.outcome(&answered(0)).is_err());
    // Somebody puts a folder in its place, so that nothing helps.
    let away = folder.path().join("away.db");
    std::fs::rename(&path, &away).expect("moved");
    std::fs::create_dir(&path).expect("made");
    let error = ledger.close().unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::OutcomesLost);
    assert!(error.to_string().contains("1 of them, because"), "{error}");
    let _ = std::fs::remove_dir(&path);
}

#[test]
fn a_closed_ledger_takes_nothing_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&path, &RunInfo::new("closed")).expect("made");
    wait(ledger.intent(&intent(1))).expect("recorded");
    ledger.close().expect("closed");
    assert!(wait(ledger.intent(&intent(2))).unwrap_err().to_string().contains("is closed"));
    // An outcome that comes late is kept by closing again.
    assert!(ledger.outcome(&answered(1)).is_err());
    ledger.close().expect("closed again");
    let totals = ledger.reader().expect("read").totals(&Range::default()).expect("added up");
    assert_eq!((totals.attempts, totals.spent()), (1, Money::from_ticks(7)));
}

#[test]
fn a_file_that_another_program_keeps_to_itself_is_waited_for_and_that_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&path, &RunInfo::new("held up")).expect("made");
    wait(ledger.intent(&intent(1))).expect("recorded");
    ledger.flush().expect("committed");
    assert_eq!(ledger.held_up(), None);
    let mut other = Connection::open(&path).expect("opened");
    let held = other.transaction_with_behavior(TransactionBehavior::Immediate).expect("held");
    ledger.outcome(&answered(1)).expect("taken");
    let second = intent(2);
    let mut waiting = pin!(ledger.intent(&second));
    let mut context = Context::from_waker(Waker::noop());
    // Three times as long as the writer waits before it tries again: it has not given up.
    while ledger.held_up().is_none_or(|held_up| held_up < Duration::from_secs(3)) {
        assert!(waiting.as_mut().poll(&mut context).is_pending(), "nothing is sent meanwhile");
        thread::sleep(Duration::from_millis(10));
    }
    drop(held);
    wait(waiting).expect("recorded once it is free");
    assert_eq!(ledger.held_up(), None);
    ledger.close().expect("closed");
    let totals = ledger.reader().expect("read").totals(&Range::default()).expect("added up");
    assert_eq!((totals.answered, totals.open), (1, 1), "what came meanwhile is there");
}

#[test]
fn closing_does_not_wait_for_ever_and_keeps_outcomes_once_the_file_is_free() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&path, &RunInfo::new("held up")).expect("made");
    wait(ledger.intent(&intent(1))).expect("recorded");
    ledger.flush().expect("committed");
    let mut other = Connection::open(&path).expect("opened");
    let held = other.transaction_with_behavior(TransactionBehavior::Immediate).expect("held");
    ledger.outcome(&answered(1)).expect("taken");
    thread::scope(|scope| {
        let closing = scope.spawn(|| ledger.close());
        // The writer gives up, and the outcomes are tried on a file that is opened anew.
        assert!(ledger.flush().is_err());
        drop(held);
        closing.join().expect("it ended").expect("kept after all");
    });
    let totals = ledger.reader().expect("read").totals(&Range::default()).expect("added up");
    assert_eq!((totals.answered, totals.open), (1, 0));
}
