//! A granted call, for users of another client: settled once, or kept as spent when it is lost.

use std::fmt;

use paceline_core::{Actual, Demand, Receipt, Usage};

use crate::client::Client;

/// The right to make one call now.
///
/// Tell it [`Permit::sent`] just before the call leaves and settle it when the call is over. A
/// permit that is dropped without either counts as spent at what was reserved, because the
/// server may have charged the call; without [`Permit::sent`] the call counts as sent when the
/// permit was handed out.
#[must_use = "a permit that is dropped counts as a call made"]
pub struct Permit {
    client: Client,
    demand: Demand,
    receipt: Option<Receipt>,
}

impl Permit {
    pub(crate) fn new(client: Client, demand: Demand, receipt: Receipt) -> Self {
        Self { client, demand, receipt: Some(receipt) }
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

    /// The call is over and used these tokens.
    pub fn settle(self, usage: &Usage) {
        self.settle_actual(&Actual::from(usage));
    }

    /// The call is over and used this much of each dimension; what is not named stays reserved.
    pub fn settle_actual(mut self, actual: &Actual) {
        if let Some(receipt) = self.receipt.take() {
            self.client.settle(receipt, &self.demand, actual);
        }
    }

    /// The call certainly never left: everything goes back.
    pub fn cancel_unsent(mut self) {
        if let Some(receipt) = self.receipt.take() {
            self.client.0.admission.cancel_unsent(receipt);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            self.client.settle(receipt, &self.demand, &Actual::new());
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("receipt", &self.receipt).finish_non_exhaustive()
    }
}
