//! What other runs on the same ledger spend while this one goes on.
//!
//! Invariant: what they record counts in this run's budgets within [`LOOK_EVERY`] and what a look
//! takes, an attempt of theirs from its intent on at what it reserved.

use std::sync::Arc;
use std::time::Duration;

use paceline::Client;
use paceline::budget::Budgets;
use paceline_core::UnixMillis;
use paceline_ledger::{Change, Ledger, LedgerError, Others};

use crate::account::unusable;
use crate::error::{UserError, warn};
use crate::time::spoken;

/// How often the ledger is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A month and the day on which its first calls were sent.
const LONGEST: i64 = 32 * 86_400_000;

/// The ledger, as it is watched during a run.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    ledger: Arc<Ledger>,
    /// Nobody's spending is followed where there are no budgets.
    others: Option<Others>,
    /// It was said that somebody keeps it to himself.
    is_held_up: bool,
}

impl Elsewhere {
    /// Watches a ledger; where there are budgets, they start with what it holds.
    pub(crate) fn new(
        ledger: Arc<Ledger>,
        budgets: &mut Budgets,
        now: UnixMillis,
    ) -> Result<Self, UserError> {
        let failed = |error: LedgerError| unusable(ledger.path(), &error);
        let has_any = budgets.standings(now).next().is_some();
        let others = if has_any {
            let since = UnixMillis::new(now.as_millis().saturating_sub(LONGEST));
            let mut others = ledger.others(since).map_err(failed)?;
            let enter = |change| match change {
                Change::TakenBack(spend) => budgets.take_back([spend]),
                Change::Spent(spend) => drop(budgets.restore([spend])),
                _ => {}
            };
            others.look(now, enter).map_err(failed)?;
            if others.absurd() > 0 {
                warn(format!(
                    "{} attempts in the ledger are said to have spent what none can; budgets count \
                     what was reserved for them",
                    others.absurd()
                ));
            }
            Some(others)
        } else {
            None
        };
        Ok(Self { ledger, others, is_held_up: false })
    }

    /// Looks at the ledger, and has the client count what others have spent; whether that was
    /// anything.
    pub(crate) fn look(&mut self, client: &Client, now: UnixMillis) -> Result<bool, LedgerError> {
        self.say_held_up();
        let Some(others) = &mut self.others else { return Ok(false) };
        let (mut spent, mut taken_back) = (Vec::new(), Vec::new());
        let looked = others.look(now, |change| match change {
            Change::TakenBack(spend) => taken_back.push(spend),
            Change::Spent(spend) => spent.push(spend),
            _ => {}
        });
        let is_new = !spent.is_empty() || !taken_back.is_empty();
        if is_new {
            client.count_elsewhere(spent, taken_back);
        }
        looked.map(|()| is_new)
    }

    /// Whether others have calls in flight, so that what these hold may come back.
    pub(crate) fn are_in_flight(&self, now: UnixMillis) -> bool {
        self.others.as_ref().is_some_and(|others| others.are_in_flight(now))
    }

    fn say_held_up(&mut self) {
        let path = self.ledger.path().display();
        match self.ledger.held_up() {
            Some(time) if !self.is_held_up => warn(format!(
                "another program has kept the ledger {path} to itself for {}; nothing is sent until \
                 it is free",
                spoken(time)
            )),
            None if self.is_held_up => warn(format!("the ledger {path} is free again")),
            _ => return,
        }
        self.is_held_up = !self.is_held_up;
    }
}
