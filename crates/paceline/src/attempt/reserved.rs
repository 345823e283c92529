//! What is reserved for one attempt: settled or given back exactly once, on every way out.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use paceline_budget::{AttemptId, Ending, Outcome};
use paceline_core::{Actual, Demand, Dimension, Money, Receipt, UnixMillis};
use paceline_transport::headers::RateHeaders;
use tokio::time::Instant;

use crate::call::Call;
use crate::client::{Client, wall_now};
use crate::event::EventKind;
use crate::learn::Number;

/// What is reserved for one attempt; given back or kept as spent when it is dropped.
pub(crate) struct Reserved {
    pub(crate) client: Client,
    pub(crate) call: Arc<Call>,
    pub(super) receipt: Option<Receipt>,
    pub(crate) id: AttemptId,
    pub(super) demand: Demand,
    pub(super) tokens: u64,
    pub(super) cost: Money,
    pub(super) sent: Option<UnixMillis>,
    pub(super) started: Option<Instant>,
    /// As what the server's rule is learned from.
    pub(super) number: Option<Number>,
}

impl Reserved {
    pub(crate) fn sent(&mut self) {
        self.sent = Some(wall_now());
        self.started = Some(Instant::now());
        self.tell(|| EventKind::Sent);
        let input = self.demand.amount(Dimension::InputTokens).unwrap_or_default();
        self.number = self.client.learns_of(&self.call, input.expected_amount());
        if let Some(receipt) = self.receipt {
            self.client.0.admission.sent(receipt);
        }
    }

    pub(crate) fn head_received(&self, status: StatusCode) {
        self.tell(|| EventKind::Head { status: status.as_u16(), after: self.since_sent() });
        if let Some(receipt) = self.receipt {
            self.client.0.admission.head_received(receipt);
        }
    }

    /// Settles, and enters the outcome.
    pub(super) fn close(
        &mut self,
        actual: &Actual,
        outcome: impl FnOnce(AttemptId, UnixMillis) -> Outcome,
    ) {
        let Some(receipt) = self.receipt.take() else { return };
        let used = actual.amount(Dimension::TotalTokens);
        self.client.learned_end(self.call.shape.model(), self.number, used);
        if self.sent.is_some() {
            self.client.settle(receipt, &self.demand, actual);
        } else {
            self.client.0.admission.cancel_unsent(receipt);
        }
        self.enter(&outcome(self.id.clone(), wall_now()));
    }

    fn enter(&self, outcome: &Outcome) {
        self.client.enter(outcome);
        self.tell(|| EventKind::Settled {
            ending: outcome.ending,
            status: outcome.status,
            usage: outcome.usage,
            cost: Some(outcome.cost).filter(|_| outcome.ending != Ending::NotSent),
            after: self.started.map(|started| started.elapsed()),
        });
    }

    /// Takes in the limits that the headers of its answer state, and what they say is left.
    pub(crate) fn adopt(&self, headers: &RateHeaders) {
        self.client.adopt(self.call.shape.model(), self.number, headers);
    }

    /// So many tokens of output were seen so far.
    pub(crate) fn progress(&self, tokens: u64) {
        if let Some(receipt) = self.receipt {
            self.client.0.admission.progress(receipt, tokens);
        }
    }

    /// What was expected of a dimension.
    pub(crate) fn expected(&self, dimension: Dimension) -> u64 {
        self.demand.amount(dimension).map_or(0, |amount| amount.expected_amount())
    }

    /// How long ago it was sent; nothing where it was not.
    pub(crate) fn since_sent(&self) -> Duration {
        self.started.map_or(Duration::ZERO, |started| started.elapsed())
    }

    fn tell(&self, kind: impl FnOnce() -> EventKind) {
        self.client.0.told.tell(Some((&self.call, self.id.attempt)), kind);
    }

    /// It certainly never left.
    pub(crate) fn not_sent(&mut self) {
        let Some(receipt) = self.receipt.take() else { return };
        self.client.learned_end(self.call.shape.model(), self.number, Some(0));
        self.client.0.admission.cancel_unsent(receipt);
        self.enter(&Outcome::new(self.id.clone(), wall_now(), Ending::NotSent));
    }

    /// Nobody knows what it cost: what was reserved is spent.
    pub(crate) fn maybe_charged(&mut self, status: Option<u16>) {
        let cost = self.cost;
        self.close(&Actual::new(), |id, at| {
            let outcome = Outcome::new(id, at, Ending::MaybeCharged).cost(cost);
            match status {
                Some(status) => outcome.status(status),
                None => outcome,
            }
        });
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.sent.is_some() { self.maybe_charged(None) } else { self.not_sent() }
    }
}
