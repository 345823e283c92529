//! What the tests share: a folder, a way to wait, and attempts by number.

use std::path::PathBuf;

use paceline_budget::{AttemptId, Ending, Intent, Outcome};
use paceline_core::{Money, UnixMillis, Usage};
use paceline_ledger::{Ledger, RunInfo};

pub(crate) use crate::kill::scene::wait;

/// A folder of its own for one test.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.path("ledger.db")
    }

    pub(crate) fn open(&self) -> Ledger {
        Ledger::open(self.ledger(), &RunInfo::new("test")).expect("opened")
    }
}

pub(crate) fn id(call: &str) -> AttemptId {
    AttemptId::new(call, 1)
}

/// An intent at a moment, with 10 tokens and 1,000 ticks reserved.
pub(crate) fn intent(call: &str, at: i64) -> Intent {
    let intent = Intent::new(id(call), "grok-4.3".into(), UnixMillis::new(at));
    intent.total_tokens(10).cost(Money::from_ticks(1_000))
}

pub(crate) fn ended(call: &str, ending: Ending, ticks: i128) -> Outcome {
    Outcome::new(id(call), UnixMillis::new(77), ending).cost(Money::from_ticks(ticks))
}

pub(crate) fn answered(call: &str, ticks: i128) -> Outcome {
    let usage = Usage::new(3, 7).expect("a usage").with_reasoning(2).expect("a part");
    ended(call, Ending::Answered, ticks).status(200).usage(usage)
}
