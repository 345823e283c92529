//! Several who write and read the same file at once.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use paceline_budget::Record;
use paceline_core::Money;
use paceline_ledger::{Range, Reader};

use crate::support::{Place, answered, intent, wait};

#[test]
fn several_openings_write_at_once_and_no_row_is_lost_or_mixed_up() {
    const WRITERS: usize = 4;
    const CALLS: i64 = 150;
    let place = Place::new();
    let runs: HashSet<i64> = thread::scope(|scope| {
        // Opened at once too: who comes first makes the file.
        let threads: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    let ledger = place.open();
                    for number in 0..CALLS {
                        let call = number.to_string();
                        wait(ledger.intent(&intent(&call, number))).expect("recorded");
                        ledger.outcome(&answered(&call, i128::from(number))).expect("taken");
                    }
                    ledger.close().expect("closed");
                    ledger.run()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("it ended well")).collect()
    });
    assert_eq!(runs.len(), WRITERS, "every opening is a run of its own");
    let reader = Reader::open(place.ledger()).expect("read");
    let totals = reader.totals(&Range::default()).expect("added up");
    let each = i128::from(CALLS * (CALLS - 1) / 2);
    assert_eq!(totals.attempts, 600);
    assert_eq!(totals.known, Money::from_ticks(4 * each));
    let mut names = HashSet::new();
    reader
        .for_each(&Range::default(), |attempt| {
            assert!(names.insert((attempt.run, attempt.id)), "one row an attempt");
            ControlFlow::Continue(())
        })
        .expect("read");
    assert_eq!(names.len(), 600);
}

#[test]
fn a_reader_sees_whole_commits_while_they_are_made() {
    let place = Place::new();
    let ledger = place.open();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..400 {
                let call = number.to_string();
                wait(ledger.intent(&intent(&call, number))).expect("recorded");
                ledger.outcome(&answered(&call, 3)).expect("taken");
            }
            ledger.flush().expect("committed");
            done.store(true, Ordering::Release);
        });
        let reader = Reader::open(place.ledger()).expect("read");
        let (mut last, mut looks) = (0, 0);
        while !done.load(Ordering::Acquire) {
            let totals = reader.totals(&Range::default()).expect("added up");
            assert!(totals.attempts >= last, "nothing disappears");
            assert_eq!(totals.attempts, totals.answered + totals.open);
            assert_eq!(totals.known, Money::from_ticks(3 * i128::from(totals.answered)));
            (last, looks) = (totals.attempts, looks + 1);
        }
        assert!(looks > 0);
    });
    let totals = Reader::open(place.ledger()).expect("read").totals(&Range::default());
    assert_eq!(totals.expect("added up").answered, 400);
}

#[test]
fn many_intents_at_once_wait_for_few_commits_and_more_than_fit_wait_for_room() {
    let place = Place::new();
    let ledger = place.open();
    // More than the queue holds, all polled by hand before anything is awaited.
    let intents: Vec<_> = (0..6_000).map(|n| intent(&n.to_string(), n)).collect();
    let mut waiting: Vec<_> = intents.iter().map(|intent| ledger.intent(intent)).collect();
    thread::scope(|scope| {
        for some in waiting.chunks_mut(1_500) {
            scope.spawn(move || {
                let mut context = Context::from_waker(Waker::noop());
                let mut open: Vec<_> = some.iter_mut().collect();
                while !open.is_empty() {
                    open.retain_mut(|one| match one.as_mut().poll(&mut context) {
                        Poll::Ready(done) => {
                            done.expect("recorded");
                            false
                        }
                        Poll::Pending => true,
                    });
                    thread::yield_now();
                }
            });
        }
    });
    drop(waiting);
    let totals = ledger.reader().expect("read").totals(&Range::default()).expect("added up");
    assert_eq!(totals.attempts, 6_000);
}

#[test]
fn the_log_is_folded_into_the_file_while_it_is_written() {
    let place = Place::new();
    let ledger = place.open();
    let size = |name: &str| std::fs::metadata(place.path(name)).expect("it is there").len();
    let begun = size("ledger.db");
    let mut number = 0;
    // Each is a commit of its own. Without folding all of them would stay in the log.
    while size("ledger.db") < begun + (64 << 10) {
        let call = number.to_string();
        wait(ledger.intent(&intent(&call, number))).expect("recorded");
        ledger.outcome(&answered(&call, 3)).expect("taken");
        number += 1;
        assert!(number < 200_000, "nothing is folded");
    }
    // And nothing that is folded is lost or there twice.
    let whole = |reader: Reader| reader.totals(&Range::default()).expect("added up");
    ledger.flush().expect("committed");
    assert_eq!(whole(ledger.reader().expect("read")).answered, number.unsigned_abs());
    ledger.close().expect("closed");
    assert!(!place.path("ledger.db-wal").exists(), "a closed ledger is one file");
    assert_eq!(whole(Reader::open(place.ledger()).expect("read")).answered, number.unsigned_abs());
}
