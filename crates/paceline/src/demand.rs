//! What a call asks of the limits: from its shape, the estimator and the prices.
//!
//! It admits nothing. Invariant: what a demand asks at most in money is at its dearest terms.

use paceline_budget::CallShape;
use paceline_core::{Amount, Caller, Demand, Dimension, Tag};

use crate::client::{Client, lock};
use crate::error::{Error, ErrorKind};
use crate::terms::AskedTerms;

/// A call, as far as its demand depends on it.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) shape: &'a CallShape,
    pub(crate) tag: Option<&'a Tag>,
    pub(crate) caller: Option<&'a Caller>,
    pub(crate) terms: &'a AskedTerms,
}

impl Client {
    pub(crate) fn demand_of(&self, asking: Asking<'_>) -> Result<Demand, Error> {
        let shape = asking.shape;
        self.know(shape.model());
        let estimate = lock(&self.0.estimator).estimate(shape);
        let (input, output) = (estimate.input(), estimate.output());
        let mut demand = Demand::call(estimate.total())
            .with(Dimension::InputTokens, input)
            .with(Dimension::OutputTokens, output)
            .completes(estimate.completion())
            .model(shape.model().clone());
        if let Some(tag) = asking.tag {
            demand = demand.tag(tag.clone());
        }
        if let Some(caller) = asking.caller {
            demand = demand.caller(caller.clone());
        }
        match self.price(shape.model()) {
            Some(price) => {
                let cost = |terms, input, output| {
                    price.on(terms, price.cost_of(input, output)).as_amount()
                };
                let AskedTerms { expected, most, .. } = asking.terms;
                let mean = cost(expected, input.expected_amount(), output.expected_amount());
                let most = cost(most, input.upper_amount(), output.upper_amount());
                Ok(demand.with(Dimension::Money, Amount::expected(mean).upper(most)))
            }
            None if self.needs_price(&demand) => Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "model {} has no known price, so a spending cap or budget can't be kept",
                    shape.model()
                ),
            )),
            None => Ok(demand),
        }
    }
}
