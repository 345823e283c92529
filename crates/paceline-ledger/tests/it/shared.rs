//! Several who write and read the same file at once.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use paceline_budget::{Budget, Budgets, Period, Record};
use paceline_core::{Money, UnixMillis};
use paceline_ledger::{Change, Ledger, Others, Range, Reader, RunInfo};

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

/// Enters what has changed; how much is spent, and how much is taken back.
fn follow(others: &mut Others, budgets: &mut Budgets, now: i64) -> (usize, usize) {
    let (mut spent, mut taken_back) = (0, 0);
    let look = others.look(UnixMillis::new(now), |change| match change {
        Change::Spent(spend) => {
            spent += 1;
            assert_eq!(budgets.restore([spend]), 0);
        }
        Change::TakenBack(spend) => {
            taken_back += 1;
            budgets.take_back([spend]);
        }
        other => panic!("{other:?}"),
    });
    look.expect("read");
    (spent, taken_back)
}

/// What budgets say that others have spent, against what their rows come to.
fn stands(budgets: &Budgets, at: i64) -> u64 {
    budgets.standings(UnixMillis::new(at)).next().expect("one").spent
}

#[test]
fn what_others_spend_is_followed_from_intent_to_outcome_and_own_calls_are_not() {
    let place = Place::new();
    let (own, other) = (place.open(), place.open());
    wait(own.intent(&intent("own", 5))).expect("recorded");
    wait(other.intent(&intent("old", 5))).expect("recorded");
    let long = intent("new", 90).latest(Duration::from_secs(60));
    wait(other.intent(&long)).expect("recorded");
    let mut budgets = Budgets::new();
    budgets.add(Budget::money(Money::from_usd(1), Period::Day).expect("a budget")).expect("room");
    let mut others = own.others(UnixMillis::new(10)).expect("read");
    let mut look = |budgets: &mut Budgets, now: i64| {
        let (spent, taken_back) = follow(&mut others, budgets, now);
        (spent, taken_back, others.are_in_flight(UnixMillis::new(now)))
    };
    assert_eq!(look(&mut budgets, 100), (1, 0, true), "since the moment, and of others");
    assert_eq!(stands(&budgets, 100), 1_000, "what is reserved for it");
    assert_eq!(look(&mut budgets, 100), (0, 0, true), "each is handed out once");
    // It cost less. Another begins, is over, and cost something before the next look.
    other.outcome(&answered("new", 250)).expect("taken");
    wait(other.intent(&intent("quick", 95))).expect("recorded");
    other.outcome(&answered("quick", 40)).expect("taken");
    other.flush().expect("committed");
    assert_eq!(look(&mut budgets, 101), (2, 1, false));
    assert_eq!(stands(&budgets, 101), 290);
    // A program that died leaves one without an outcome: it counts, and nobody waits for it.
    wait(other.intent(&intent("dead", 97).latest(Duration::from_millis(3)))).expect("recorded");
    assert_eq!(look(&mut budgets, 99), (1, 0, true));
    assert_eq!(look(&mut budgets, 101), (0, 0, false));
    assert_eq!(stands(&budgets, 101), 1_290);
    // One that is over after all is seen as long as that may be.
    other.outcome(&answered("dead", 7)).expect("taken");
    other.flush().expect("committed");
    assert_eq!(look(&mut budgets, 200_000), (1, 1, false));
    assert_eq!(stands(&budgets, 200_000), 297);
    // What is not real is another account.
    let info = RunInfo::new("simulated").simulated();
    let simulated = Ledger::open(place.ledger(), &info).expect("opened");
    wait(simulated.intent(&intent("play", 99))).expect("recorded");
    assert_eq!(look(&mut budgets, 200_001), (0, 0, false));
    let mut theirs = simulated.others(UnixMillis::new(0)).expect("read");
    assert_eq!(follow(&mut theirs, &mut budgets, 200_001), (0, 0));
}

#[test]
fn a_budget_that_follows_writers_at_full_speed_stands_where_the_rows_say() {
    const CALLS: i64 = 300;
    let place = Place::new();
    let own = place.open();
    let mut budgets = Budgets::new();
    budgets.add(Budget::money(Money::from_usd(1), Period::Day).expect("a budget")).expect("room");
    let mut others = own.others(UnixMillis::new(0)).expect("read");
    let running = AtomicUsize::new(3);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let ledger = place.open();
                for number in 0..CALLS {
                    let call = number.to_string();
                    wait(ledger.intent(&intent(&call, number))).expect("recorded");
                    ledger.outcome(&answered(&call, i128::from(number))).expect("taken");
                }
                ledger.close().expect("closed");
                running.fetch_sub(1, Ordering::Release);
            });
        }
        let mut is_last = false;
        while !is_last {
            is_last = running.load(Ordering::Acquire) == 0;
            follow(&mut others, &mut budgets, 0);
        }
    });
    assert_eq!(i64::try_from(stands(&budgets, 0)), Ok(3 * CALLS * (CALLS - 1) / 2));
}
