//! A granted call, for users of another client: settled once, or kept as spent when it is lost.

use std::fmt;

use paceline_budget::{AttemptId, Ending, Intent, Outcome};
use paceline_core::{Actual, Amount, Demand, Dimension, ModelId, Money, Receipt, Usage};

use crate::attempt::said_cost;
use crate::client::{Client, wall_now};
use crate::error::Error;
use crate::terms::region_of;

/// The right to make one call now.
///
/// Tell it [`Permit::sent`] just before the call leaves and settle it when the call is over. A
/// permit that is dropped without either counts as spent at what was reserved, because the
/// server may have charged the call; without [`Permit::sent`] the call counts as sent when the
/// permit was handed out.
///
/// Where the client keeps a record, a permit is an attempt in it, under a name that the client gives:
/// its intent before the permit is handed out, and what became of it when it ends.
#[must_use = "a permit that is dropped counts as a call made"]
pub struct Permit {
    client: Client,
    demand: Demand,
    receipt: Option<Receipt>,
    id: AttemptId,
    holder: Holder,
}

/// Who has a permit: until it is handed out nothing can have been sent with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Client,
    User,
}

impl Permit {
    /// Has it recorded, and hands it out.
    ///
    /// # Errors
    /// [`Error`] where it can't be recorded, or nothing may be sent any more; then everything goes back.
    ///
    /// # Cancel safety
    /// Dropping the future gives everything back.
    pub(crate) async fn issue(
        client: &Client,
        demand: Demand,
        receipt: Receipt,
    ) -> Result<Self, Error> {
        let id = AttemptId::new(client.name(None), 1);
        let holder = Holder::Client;
        let mut permit =
            Self { client: client.clone(), demand, receipt: Some(receipt), id, holder };
        // Another call may have met the end of it all while this one waited.
        client.stopped()?;
        if let Some(record) = &client.0.record {
            record.intent(&permit.intent()).await.map_err(Error::not_recorded)?;
            // And while its intent was written.
            client.stopped()?;
        }
        permit.holder = Holder::User;
        Ok(permit)
    }

    fn intent(&self) -> Intent {
        let model = self.demand.model_id().cloned().unwrap_or_else(|| ModelId::from(NO_MODEL));
        let mut intent = Intent::new(self.id.clone(), model, wall_now())
            .total_tokens(self.reserved(Dimension::TotalTokens))
            .cost(Money::from_ticks(self.reserved(Dimension::Money).into()));
        if let Some(completion) = self.demand.completion() {
            intent = intent.latest(completion.latest());
        }
        if let Some(tag) = self.demand.tag_name() {
            intent = intent.tag(tag.clone());
        }
        if let Some(caller) = self.demand.caller_name() {
            intent = intent.caller(caller.clone());
        }
        intent
    }

    fn reserved(&self, dimension: Dimension) -> u64 {
        self.demand.amount(dimension).map_or(0, Amount::upper_amount)
    }

    /// The call is about to leave.
    pub fn sent(&self) {
        if let Some(receipt) = self.receipt {
            self.client.0.admission.sent(receipt);
        }
    }

    /// The head of the answer has arrived.
    pub fn head_received(&self) {
        if let Some(receipt) = self.receipt {
            self.client.0.admission.head_received(receipt);
        }
    }

    /// The call is over and used these tokens. It cost what the usage says, else the list price of the
    /// model; where neither is known, what was reserved.
    pub fn settle(mut self, usage: &Usage) {
        let price = self.demand.model_id().and_then(|model| self.client.price(model));
        let mut actual = Actual::from(usage);
        let terms = region_of(&self.client.0.base);
        let listed = || Some(price?.on(&terms, price?.listed_cost(usage)));
        let cost = said_cost(usage).or_else(listed);
        if let Some(cost) = cost {
            actual = actual.with(Dimension::Money, cost.as_amount());
        }
        self.end(&actual, Ending::Answered, Some(*usage));
    }

    /// The call is over and used this much of each dimension; what is not named stays reserved.
    pub fn settle_actual(mut self, actual: &Actual) {
        let amount = |dimension| actual.amount(dimension);
        let input = amount(Dimension::InputTokens);
        let total = input.and_then(|input| {
            let output = amount(Dimension::OutputTokens).map(|output| input.saturating_add(output));
            amount(Dimension::TotalTokens).or(output)
        });
        let usage = input.zip(total).and_then(|(input, total)| Usage::new(input, total).ok());
        self.end(actual, Ending::Answered, usage);
    }

    /// The call certainly never left: everything goes back.
    pub fn cancel_unsent(mut self) {
        self.give_back();
    }

    fn give_back(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            self.client.0.admission.cancel_unsent(receipt);
            self.client.enter(&Outcome::new(self.id.clone(), wall_now(), Ending::NotSent));
        }
    }

    fn end(&mut self, actual: &Actual, ending: Ending, usage: Option<Usage>) {
        let Some(receipt) = self.receipt.take() else { return };
        self.client.settle(receipt, &self.demand, actual);
        let cost = actual.amount(Dimension::Money);
        let cost = cost.unwrap_or_else(|| self.reserved(Dimension::Money));
        let outcome =
            Outcome::new(self.id.clone(), wall_now(), ending).cost(Money::from_ticks(cost.into()));
        self.client.enter(&match usage {
            Some(usage) => outcome.usage(usage),
            None => outcome,
        });
    }
}

/// The model of a permit whose demand names none, in the record.
const NO_MODEL: &str = "unnamed";

impl Drop for Permit {
    fn drop(&mut self) {
        match self.holder {
            Holder::Client => self.give_back(),
            Holder::User => self.end(&Actual::new(), Ending::MaybeCharged, None),
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("receipt", &self.receipt).finish_non_exhaustive()
    }
}
