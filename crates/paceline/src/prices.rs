//! What the server says that its models cost, and the table that it goes into.
//!
//! Reading it is a pure function. Invariant: integers alone, and a price is believed whole or not at
//! all; what is not believed leaves the price that was known before.

use bytes::Bytes;
use http::Method;
use paceline_budget::{Price, PriceTable, TicksPerInput, TicksPerOutput};
use paceline_core::ModelId;
use serde_json::Value;

use crate::client::{Client, lock};
use crate::error::Error;

/// The prices of `/v1/language-models`, or of `/v1/models`: in ticks per token, as xAI states them.
///
/// ```
/// use paceline::PriceList;
/// let list = PriceList::read(&serde_json::json!({ "models": [{
///     "id": "grok-4.3", "aliases": ["grok-4.3-latest"], "prompt_text_token_price": 12_500,
///     "cached_prompt_text_token_price": 2_000, "completion_text_token_price": 25_000,
/// }] }));
/// let (model, price) = &list.prices()[0];
/// assert_eq!((model.as_str(), price.cost_of(10, 1).as_ticks()), ("grok-4.3", 150_000));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PriceList {
    prices: Vec<(ModelId, Price)>,
    refused: Vec<(ModelId, PriceProblem)>,
}

/// Why the price of a model is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PriceProblem {
    /// The price of input or of output is missing, or nothing.
    #[error("a price is missing")]
    Missing,
    /// A price is no whole number of ticks, or below zero.
    #[error("a price is not a whole number of ticks")]
    NotANumber,
    /// A price is above [`Price::MOST_PER_TOKEN`].
    #[error("a price is absurdly high")]
    Absurd,
    /// Cached input is said to cost more than other, or a long prompt less than a short one.
    #[error("the prices contradict each other")]
    Contradictory,
}

/// So long a name is no model's.
const LONGEST_NAME: usize = 200;

impl PriceList {
    /// Reads an answer, whatever it holds. Of more than [`PriceTable::MOST`] names, the first.
    pub fn read(answer: &Value) -> Self {
        let mut list = Self::default();
        let models = ["models", "data"].iter().find_map(|field| answer.get(field)?.as_array());
        for model in models.into_iter().flatten() {
            let Some(name) = model.get("id").and_then(name) else { continue };
            match price(model) {
                Err(problem) => list.refused.push((name, problem)),
                Ok(price) => {
                    list.prices.push((name, price));
                    let aliases = model.get("aliases").and_then(Value::as_array);
                    let aliases = aliases.into_iter().flatten().filter_map(self::name);
                    list.prices.extend(aliases.map(|alias| (alias, price)));
                }
            }
        }
        list.prices.truncate(PriceTable::MOST);
        list.refused.truncate(PriceTable::MOST);
        list
    }

    /// Prices by name, an alias beside the model that it stands for.
    pub fn prices(&self) -> &[(ModelId, Price)] {
        &self.prices
    }

    /// The models whose prices are not believed.
    pub fn refused(&self) -> &[(ModelId, PriceProblem)] {
        &self.refused
    }
}

impl Client {
    /// Asks the server what its models cost (`GET /v1/language-models`) and goes by that from now on:
    /// for reservations, for budgets, and for answers that do not say what they cost. What is not believed
    /// leaves the price that was known before. A price given to
    /// [`ClientBuilder::price`](crate::ClientBuilder::price) still holds for every model.
    ///
    /// It is one request, which waits for no turn and is not retried.
    ///
    /// # Errors
    /// [`Error`] where there is no such answer; the prices stay as they were.
    ///
    /// # Cancel safety
    /// Dropped, it has changed nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use paceline::Client;
    /// # let transport = paceline_transport::mock::MockTransport::new().answer(200, r#"{"models": [{
    /// #   "id": "grok-9", "prompt_text_token_price": 30000, "completion_text_token_price": 90000}]}"#);
    /// # let client = Client::builder().base_url("http://127.0.0.1:1/v1").transport(transport).build()?;
    /// let list = client.refresh_prices().await?;
    /// for (model, problem) in list.refused() {
    ///     eprintln!("{model}: {problem}");
    /// }
    /// assert!(client.price(&"grok-9".into()).is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn refresh_prices(&self) -> Result<PriceList, Error> {
        let answer = self.ask(Method::GET, "language-models", Bytes::new()).await?;
        let list = PriceList::read(&answer);
        let mut table = lock(&self.0.prices);
        for (model, price) in list.prices() {
            table.put(model.clone(), *price);
        }
        Ok(list)
    }
}

fn name(value: &Value) -> Option<ModelId> {
    let name = value.as_str().filter(|name| !name.is_empty() && name.len() <= LONGEST_NAME)?;
    Some(ModelId::from(name))
}

fn price(model: &Value) -> Result<Price, PriceProblem> {
    let field = |name: &str| ticks(model.get(name));
    let base = rates(
        field("prompt_text_token_price")?,
        field("cached_prompt_text_token_price")?,
        field("completion_text_token_price")?,
    )?;
    let (base, (input, output)) = base.ok_or(PriceProblem::Missing)?;
    let long = rates(
        field("prompt_text_token_price_long_context")?,
        field("cached_prompt_text_token_price_long_context")?,
        field("completion_text_token_price_long_context")?,
    )?;
    let threshold = match model.get("long_context_threshold") {
        None | Some(Value::Null) => None,
        Some(tokens) => Some(tokens.as_u64().ok_or(PriceProblem::NotANumber)?),
    };
    match (long, threshold) {
        (Some((_, (long_input, long_output))), _) if long_input < input || long_output < output => {
            Err(PriceProblem::Contradictory)
        }
        // Nobody knows from where on it holds: it always does, as that is no less than the truth.
        (Some((long, _)), None) => Ok(long),
        (Some((long, _)), Some(from)) => Ok(base.long_context(from, long)),
        (None, _) => Ok(base),
    }
}

/// A price by its three rates, and the two of them that count; `None` where it is not stated.
#[expect(clippy::type_complexity, reason = "a price and what it was made of")]
fn rates(
    input: Option<u64>,
    cached: Option<u64>,
    output: Option<u64>,
) -> Result<Option<(Price, (u64, u64))>, PriceProblem> {
    let (Some(input), Some(output)) = (input, output) else { return Ok(None) };
    // What is cached costs as much as other input where nothing is said of it.
    let cached = cached.unwrap_or(input);
    if cached > input {
        return Err(PriceProblem::Contradictory);
    }
    let price = Price::per_token(TicksPerInput(input), TicksPerOutput(output));
    Ok(Some((price.cached(TicksPerInput(cached)), (input, output))))
}

/// Ticks per token; nothing where they are not stated, which xAI says by a zero, too.
fn ticks(value: Option<&Value>) -> Result<Option<u64>, PriceProblem> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            None => Err(PriceProblem::NotANumber),
            Some(0) => Ok(None),
            Some(ticks) if ticks > Price::MOST_PER_TOKEN => Err(PriceProblem::Absurd),
            Some(ticks) => Ok(Some(ticks)),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(model: Value) -> PriceList {
        PriceList::read(&json!({ "models": [model] }))
    }

    #[test]
    fn a_model_is_priced_with_its_aliases_and_its_long_prompts() {
        let stated = list(json!({
            "id": "grok-4.3", "aliases": ["grok-4.3-latest", 7, ""],
            "prompt_text_token_price": 12_500, "cached_prompt_text_token_price": 2_000,
            "completion_text_token_price": 25_000, "prompt_text_token_price_long_context": 25_000,
            "cached_prompt_text_token_price_long_context": 4_000,
            "completion_text_token_price_long_context": 50_000, "long_context_threshold": 128_000,
        }));
        let names: Vec<_> = stated.prices().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["grok-4.3", "grok-4.3-latest"]);
        let price = stated.prices()[1].1;
        assert_eq!(price.cost_of(127_999, 1).as_ticks(), 127_999 * 12_500 + 25_000);
        assert_eq!(price.cost_of(128_000, 1).as_ticks(), 128_000 * 25_000 + 50_000);
        let same = json!({ "data": [{ "id": "x", "prompt_text_token_price": 1, "completion_text_token_price": 2 }] });
        assert_eq!(PriceList::read(&same).prices()[0].1.cost_of(1, 1).as_ticks(), 3);
    }

    #[test]
    fn what_can_not_be_is_refused_by_its_name() {
        let good =
            json!({ "id": "x", "prompt_text_token_price": 10, "completion_text_token_price": 20 });
        let with = |field: &str, value: Value| {
            let mut model = good.clone();
            model[field] = value;
            let list = list(model);
            list.refused().first().map(|(name, problem)| {
                assert_eq!((name.as_str(), list.prices()), ("x", &[][..]));
                *problem
            })
        };
        assert_eq!(with("owned_by", json!("xai")), None);
        for field in ["prompt_text_token_price", "completion_text_token_price"] {
            assert_eq!(with(field, json!(null)), Some(PriceProblem::Missing));
            assert_eq!(with(field, json!(0)), Some(PriceProblem::Missing));
            assert_eq!(with(field, json!(u64::MAX)), Some(PriceProblem::Absurd));
            for no_number in [json!(-1), json!(1.5), json!("12500"), json!([])] {
                assert_eq!(with(field, no_number), Some(PriceProblem::NotANumber));
            }
        }
        let cached = |ticks| with("cached_prompt_text_token_price", json!(ticks));
        assert_eq!((cached(10), cached(11)), (None, Some(PriceProblem::Contradictory)));
        assert_eq!(with("long_context_threshold", json!(-5)), Some(PriceProblem::NotANumber));
        let mut long = good.clone();
        long["prompt_text_token_price_long_context"] = json!(9);
        long["completion_text_token_price_long_context"] = json!(40);
        assert_eq!(list(long).refused()[0].1, PriceProblem::Contradictory);
    }

    #[test]
    fn any_other_answer_has_no_prices_and_a_long_one_is_cut() {
        for answer in
            [json!(null), json!([]), json!({ "models": {} }), json!({ "models": [1, {}] })]
        {
            assert_eq!(PriceList::read(&answer), PriceList::default());
        }
        let model = |number: u32| json!({ "id": format!("m-{number}"), "prompt_text_token_price": 1, "completion_text_token_price": 1 });
        let many: Vec<_> = (0..1_000).map(model).collect();
        let list = PriceList::read(&json!({ "models": many }));
        assert_eq!(list.prices().len(), PriceTable::MOST);
        assert_eq!(list.prices()[0].0, "m-0".into());
    }
}
