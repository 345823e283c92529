//! What is measured, and its targets.
//!
//! Data and the peers beside each decision. Invariant: a target is the row's own; nothing else
//! depends on it.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::book::{Book, Comparison};
use super::ours::{self, Kind};
use super::{loss, peers};

/// One thing that is measured.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) measure: fn(&mut Book<'_>),
}

/// All of them, in this order.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "floor",
        about: "what no decision of the shared form can cost less than: its lock and its clock, \
                then a call that no limit counts, and the bare arithmetic of one and of two \
                limits with a receipt, written out by hand",
        measure: floor,
    },
    Case { name: "one", about: "one limit with a pacer alone, shared", measure: one },
    Case {
        name: "two",
        about: "two limits, all or nothing, shared: with pacers alone, with windows behind them \
                and tokens held until settled, and the latter on a coarse clock",
        measure: two,
    },
    Case {
        name: "flow",
        about: "two limits of which one pools the calls in flight",
        measure: flow,
    },
    Case { name: "many", about: "four and eight limits with windows behind pacers", measure: many },
    Case { name: "refused", about: "two limits that are spent", measure: refused },
    Case { name: "pure", about: "without sharing, the time given", measure: pure },
    Case { name: "threads", about: "two threads on one limiter: the slower one", measure: threads },
    Case { name: "async", about: "awaited where nobody has to wait", measure: awaited },
    Case {
        name: "waiters",
        about: "2,000 in line, let through in a second: polls for each, CPU time of all (1 min)",
        measure: waiters,
    },
    Case { name: "keyed", about: "one limit for each of 10,000 keys", measure: keyed },
    Case {
        name: "loss",
        about: "the share of a quota that granularity costs, in virtual time",
        measure: loss::measure,
    },
];

fn floor(book: &mut Book<'_>) {
    let floors =
        [("floor/lock+clock", Some(ours::floor())), ("floor/none", ours::shared(0, Kind::Pacer))];
    for (name, floor) in floors {
        book.compare(Comparison::new(name), floor, vec![peers::governor()]);
    }
    for (name, limits) in [("floor/one/by-hand", 1), ("floor/two/by-hand", 2)] {
        book.compare(Comparison::new(name), Some(ours::by_hand(limits)), vec![peers::governor()]);
    }
}

fn one(book: &mut Book<'_>) {
    book.compare(
        Comparison::new("one/pacer/arrival/shared").at_most(1.4),
        ours::shared(1, Kind::Pacer),
        vec![
            peers::governor(),
            peers::leaky_bucket(),
            peers::leaky_bucket_unfair(),
            peers::throttle(),
            peers::tower(),
        ],
    );
}

fn two(book: &mut Book<'_>) {
    let beside = || {
        vec![
            peers::governor(),
            peers::governor_twice(),
            peers::leaky_bucket(),
            peers::throttle_of(2),
        ]
    };
    book.compare(
        Comparison::new("two/pacer/arrival/shared").at_most(1.4),
        ours::shared(2, Kind::Pacer),
        beside(),
    );
    book.compare(
        Comparison::new("two/guard+pacer/hold/shared").at_most(1.75).settles_at_most(1.6),
        ours::shared(2, Kind::Guarded),
        beside(),
    );
    let mut beside = beside();
    beside.extend(peers::governor_coarse());
    book.compare(
        Comparison::new("two/guard+pacer/hold/coarse").at_most(1.3),
        ours::coarse(2, Kind::Guarded),
        beside,
    );
}

fn flow(book: &mut Book<'_>) {
    for in_flight in [128, 2_000] {
        book.compare(
            Comparison::new(&format!("two/flow/shared/{in_flight}")).at_most(5.0),
            ours::flow(in_flight),
            vec![peers::governor(), peers::throttle_of(2)],
        );
        let name = format!("two/flow/{in_flight}/slot");
        book.time(&name, 1_500.0, ours::flow_slot(in_flight));
    }
}

fn many(book: &mut Book<'_>) {
    for (name, limits) in [("four", 4), ("eight", 8)] {
        book.compare(
            Comparison::new(&format!("{name}/guard+pacer/hold/shared")),
            ours::shared(limits, Kind::Guarded),
            vec![peers::governor(), peers::throttle_of(limits)],
        );
    }
}

fn refused(book: &mut Book<'_>) {
    book.compare(
        Comparison::new("refused/two/guard+pacer/hold/shared").refused(),
        ours::refusing(),
        vec![
            peers::governor_refusing(),
            peers::leaky_bucket_refusing(),
            peers::throttle_refusing(),
        ],
    );
}

fn pure(book: &mut Book<'_>) {
    for (name, kind) in
        [("two/pacer/arrival/pure", Kind::Pacer), ("two/guard+pacer/hold/pure", Kind::Guarded)]
    {
        book.compare(
            Comparison::new(name),
            ours::pure(2, kind),
            vec![peers::governor(), peers::tower()],
        );
    }
}

fn threads(book: &mut Book<'_>) {
    let beside = || {
        vec![
            peers::governor_two_threads(),
            peers::leaky_bucket_two_threads(),
            peers::throttle_two_threads(),
        ]
    };
    book.compare(
        Comparison::new("threads/two/pacer/arrival/shared").at_most(1.6),
        ours::two_threads(2, Kind::Pacer),
        beside(),
    );
    book.compare(
        Comparison::new("threads/two/guard+pacer/hold/shared").at_most(1.6),
        ours::two_threads(2, Kind::Guarded),
        beside(),
    );
}

fn awaited(book: &mut Book<'_>) {
    let beside = || {
        vec![peers::governor_awaited(), peers::leaky_bucket_awaited(), peers::throttle_awaited()]
    };
    book.compare(
        Comparison::new("async/one/pacer/arrival").at_most(1.0),
        ours::awaited(1, Kind::Pacer),
        beside(),
    );
    // The peers decide on one limit all the same.
    book.compare(
        Comparison::new("async/two/guard+pacer/hold"),
        ours::awaited(2, Kind::Guarded),
        beside(),
    );
}

/// As coarsely as the first peer looks at its own, every 10 ms, and as finely as tokio's timer can.
fn waiters(book: &mut Book<'_>) {
    book.crowds(
        "waiters/2000",
        (2.0, 1.0),
        ours::crowd(Duration::from_millis(10)),
        vec![peers::leaky_bucket_crowd()],
    );
    book.crowds(
        "waiters/2000/fine",
        (2.0, 1.0),
        ours::crowd(Duration::ZERO),
        vec![
            peers::leaky_bucket_fine_crowd(),
            peers::governor_crowd(),
            peers::throttle_crowd(),
            peers::leaky_bucket_crowd(),
        ],
    );
}

fn keyed(book: &mut Book<'_>) {
    let mut keys: Vec<u64> = (0..10_000).collect();
    // So that neighbours in a map are not asked for one after the other.
    keys.shuffle(&mut StdRng::seed_from_u64(1));
    let names: Vec<_> = keys.iter().map(|key| format!("customer-{key:05}")).collect();
    book.compare(
        Comparison::new("keyed/10000/u64").at_most(1.0),
        ours::keyed(keys.clone()),
        vec![peers::governor_keyed(keys.clone()), peers::throttle_keyed(keys)],
    );
    book.compare(
        Comparison::new("keyed/10000/string").at_most(1.0),
        ours::keyed(names.clone()),
        vec![peers::governor_keyed(names.clone()), peers::throttle_keyed(names)],
    );
}
