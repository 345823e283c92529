//! What tokens cost: dated tables, and the arithmetic on them in integers.
//!
//! Prices are in ticks (10⁻¹⁰ US dollars) per token, the unit in which xAI reports both prices
//! and costs. Invariant: no floating point, nothing is rounded, sums saturate.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use paceline_core::{ModelId, Money, Usage};

use crate::terms::{Region, Service, Terms};

/// The price of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    base: Rates,
    /// From so many prompt tokens on, the whole request costs this instead.
    long: Option<(u64, Rates)>,
    /// What a batch costs, in percent of that.
    batch_percent: u8,
}

/// Ticks per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rates {
    input: u64,
    cached: u64,
    output: u64,
}

impl Rates {
    const fn times(self, by: u64) -> Self {
        Self { input: self.input * by, cached: self.cached * by, output: self.output * by }
    }
}

/// Why what a server says a call cost is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CostError {
    /// No call costs that much.
    #[error("the reported cost of {said} is absurd")]
    Absurd {
        /// What was said.
        said: Money,
    },
}

impl Price {
    /// No call costs more than this; larger figures are refused as absurd.
    pub const MOST: Money = Money::from_usd(100_000);
    /// No token costs more ticks than this; larger prices are refused as absurd.
    pub const MOST_PER_TOKEN: u64 = MAX_PRICE;

    /// So many ticks per input token and per output token; cached input costs as much as other.
    pub const fn per_token(input: TicksPerInput, output: TicksPerOutput) -> Self {
        let base = Rates { input: input.0, cached: input.0, output: output.0 };
        Self { base, long: None, batch_percent: 100 }
    }

    /// With another price of cached input.
    #[must_use]
    pub const fn cached(mut self, cached: TicksPerInput) -> Self {
        self.base.cached = cached.0;
        self
    }

    /// With the price that the whole request has from so many prompt tokens on. Those of `price` for
    /// longer prompts still, and for batches, are left out.
    #[must_use]
    pub const fn long_context(mut self, from: u64, price: Self) -> Self {
        self.long = Some((from, price.base));
        self
    }

    /// What a call cost: what the server said where that is above zero, else the table's word.
    /// The server says 0 where it does not know, never because a call was free. What it says is not
    /// believed above [`Price::MOST`]; see [`Price::judged_cost`].
    pub fn cost(&self, usage: &Usage) -> Money {
        self.judged_cost(usage).unwrap_or_else(|_| self.listed_cost(usage))
    }

    /// The same for those who tell a cost that is not believed from one that is.
    ///
    /// # Errors
    /// [`CostError`] where the server says more than [`Price::MOST`]: keep what was reserved.
    pub fn judged_cost(&self, usage: &Usage) -> Result<Money, CostError> {
        match usage.cost().filter(|cost| *cost > Money::ZERO) {
            Some(said) if said > Self::MOST => Err(CostError::Absurd { said }),
            Some(said) => Ok(said),
            None => Ok(self.listed_cost(usage)),
        }
    }

    /// What the table says that a usage costs, whatever the server says.
    pub fn listed_cost(&self, usage: &Usage) -> Money {
        let rates = self.rates(usage.input_tokens());
        let fresh = usage.input_tokens() - usage.cached_input_tokens();
        Money::from_ticks(
            i128::from(fresh) * i128::from(rates.input)
                + i128::from(usage.cached_input_tokens()) * i128::from(rates.cached)
                + i128::from(usage.output_tokens()) * i128::from(rates.output),
        )
    }

    /// What so many input tokens, none of them cached, and output tokens would cost.
    pub fn cost_of(&self, input_tokens: u64, output_tokens: u64) -> Money {
        let rates = self.rates(input_tokens);
        Money::from_ticks(
            i128::from(input_tokens) * i128::from(rates.input)
                + i128::from(output_tokens) * i128::from(rates.output),
        )
    }

    /// What a cost by this price comes to on other terms: tokens first, then fees. A fraction of a
    /// tick is rounded up.
    pub fn on(&self, terms: &Terms, tokens: Money) -> Money {
        let percent = match terms.service {
            Service::Default => 100,
            Service::Priority => 200,
            Service::Batch => i128::from(self.batch_percent),
        } * match terms.region {
            Region::Global => 100,
            Region::UnitedStates => 110,
        };
        let ticks = tokens.as_ticks().saturating_mul(percent);
        let whole = ticks.div_euclid(10_000) + i128::from(ticks.rem_euclid(10_000) > 0);
        Money::from_ticks(whole) + terms.fees
    }

    fn rates(&self, prompt_tokens: u64) -> Rates {
        match self.long {
            Some((from, rates)) if prompt_tokens >= from => rates,
            _ => self.base,
        }
    }
}

/// Ticks per input token; 10,000 are 1 US dollar per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a plain number with a unit")]
pub struct TicksPerInput(
    /// The number.
    pub u64,
);

/// Ticks per output token; 10,000 are 1 US dollar per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a plain number with a unit")]
pub struct TicksPerOutput(
    /// The number.
    pub u64,
);

/// Why a price or an amount can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoneyError {
    /// Not a decimal number of US dollars, such as `0.50`.
    #[error("it is not an amount of US dollars such as 0.50")]
    NotAnAmount,
    /// More decimal places than are counted.
    #[error("it has more than {most} decimal places")]
    TooFine {
        /// How many are counted.
        most: u32,
    },
    /// More than can be counted.
    #[error("it is more than can be counted")]
    TooMuch,
    /// Not two prices with a slash between.
    #[error("it is not two prices with a slash between, such as 1.25/2.50")]
    NotAPair,
}

impl FromStr for Price {
    type Err = MoneyError;

    /// `IN/OUT` in US dollars per million tokens, such as `1.25/2.50`.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let (input, output) = text.split_once('/').ok_or(MoneyError::NotAPair)?;
        // A dollar per million tokens is 10^4 ticks per token, so four decimals are whole ticks.
        let ticks = |text: &str| {
            let ticks = decimal(text, 4)?;
            u64::try_from(ticks).ok().filter(|ticks| *ticks <= MAX_PRICE).ok_or(MoneyError::TooMuch)
        };
        Ok(Self::per_token(TicksPerInput(ticks(input)?), TicksPerOutput(ticks(output)?)))
    }
}

/// The highest price taken: 100,000 US dollars per million tokens.
const MAX_PRICE: u64 = 1_000_000_000;

/// Reads an amount of US dollars: `1`, `0.50`, `$12.5`. Ten decimal places at most.
///
/// # Errors
/// [`MoneyError`]; a sign is not an amount.
pub fn parse_usd(text: &str) -> Result<Money, MoneyError> {
    let text = text.trim();
    decimal(text.strip_prefix('$').unwrap_or(text), 10).map(Money::from_ticks)
}

/// A decimal number in units of 10^-places.
fn decimal(text: &str, places: u32) -> Result<i128, MoneyError> {
    let text = text.trim();
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && rest.is_empty()) || !digits(whole) || !digits(rest) {
        return Err(MoneyError::NotAnAmount);
    }
    let rest = rest.trim_end_matches('0');
    let missing = places
        .checked_sub(u32::try_from(rest.len()).unwrap_or(u32::MAX))
        .ok_or(MoneyError::TooFine { most: places })?;
    let number: i128 = format!("0{whole}{rest}").parse().map_err(|_| MoneyError::TooMuch)?;
    let scaled = number.checked_mul(10_i128.pow(missing)).ok_or(MoneyError::TooMuch)?;
    if scaled > i128::from(u64::MAX) { Err(MoneyError::TooMuch) } else { Ok(scaled) }
}

/// Prices by model, with their date.
#[derive(Clone, Debug)]
pub struct PriceTable {
    rows: &'static [Row],
    /// What was said since, by model.
    said: BTreeMap<ModelId, Price>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    price: Price,
}

/// Input, cached input and output, in ticks per token: 20,000 = $2.00 per million.
const fn row(name: &'static str, input: u64, cached: u64, output: u64, long: Option<u64>) -> Row {
    let base = Rates { input, cached, output };
    let long = match long {
        Some(from) => Some((from, base.times(2))),
        None => None,
    };
    Row { name, price: Price { base, long, batch_percent: 100 } }
}

/// A fifth less in a batch.
const fn batch(mut row: Row) -> Row {
    row.price.batch_percent = 80;
    row
}

/// docs.x.ai/developers/pricing as of September and October 2026; from 200,000 prompt tokens on
/// the whole request costs double.
const CURRENT: [Row; 8] = [
    row("grok-4.7", 20_000, 5_000, 60_000, LONG),
    row("grok-4.6", 20_000, 5_000, 60_000, LONG),
    row("grok-4.5", 20_000, 3_000, 60_000, LONG),
    batch(row("grok-4.3", 12_500, 2_000, 25_000, LONG)),
    batch(row("grok-4.20-0309-reasoning", 12_500, 2_000, 25_000, LONG)),
    batch(row("grok-4.20-0309-non-reasoning", 12_500, 2_000, 25_000, LONG)),
    batch(row("grok-4.20-multi-agent-0309", 12_500, 2_000, 25_000, LONG)),
    row("grok-build-0.1", 10_000, 2_000, 20_000, LONG),
];

/// Models that are gone, for reading old records. Sources: docs.x.ai/docs/models of December 2024
/// for the Grok betas and Grok 2, met by recorded traffic of January 2026; xAI's API description,
/// docs and recorded traffic of 2025 and 2026 for the rest, most of them retired on 2026-05-15. A
/// model without a price for cached input pays the full one.
const PAST: [Row; 16] = [
    row("grok-beta", 50_000, 50_000, 150_000, None),
    row("grok-vision-beta", 50_000, 50_000, 150_000, None),
    row("grok-2-1212", 20_000, 20_000, 100_000, None),
    row("grok-2-vision-1212", 20_000, 20_000, 100_000, None),
    row("grok-2-vision", 20_000, 20_000, 100_000, None),
    row("grok-2", 20_000, 20_000, 100_000, None),
    row("grok-3", 30_000, 7_500, 150_000, None),
    row("grok-3-mini", 3_000, 750, 5_000, None),
    row("grok-4-0709", 30_000, 7_500, 150_000, None),
    row("grok-4", 30_000, 7_500, 150_000, None),
    row("grok-4-fast", 2_000, 500, 5_000, None),
    row("grok-4-fast-reasoning", 2_000, 500, 5_000, None),
    row("grok-4-fast-non-reasoning", 2_000, 500, 5_000, None),
    row("grok-4-1-fast", 2_000, 500, 5_000, None),
    row("grok-4-1-fast-reasoning", 2_000, 500, 5_000, None),
    row("grok-4-1-fast-non-reasoning", 2_000, 500, 5_000, None),
];

const LONG: Option<u64> = Some(200_000);

const ALL: [Row; CURRENT.len() + PAST.len()] = {
    let mut all = [CURRENT[0]; CURRENT.len() + PAST.len()];
    let mut i = 0;
    while i < all.len() {
        all[i] = if i < CURRENT.len() { CURRENT[i] } else { PAST[i - CURRENT.len()] };
        i += 1;
    }
    all
};

impl PriceTable {
    /// The table that ships with this version.
    pub const fn builtin() -> Self {
        Self { rows: &ALL, said: BTreeMap::new() }
    }

    /// The date of its newest row.
    pub const fn as_of(&self) -> &'static str {
        "2026-10"
    }

    /// How many prices can be put in.
    pub const MOST: usize = 256;

    /// Puts in a price that was learned since, such as from `/v1/language-models`, whose numbers are
    /// ticks per token. It holds for this name and its aliases, and before those of the table; the answer
    /// is the price that it replaces, whose share for a batch is kept where `price` has none of its own.
    /// Beyond [`PriceTable::MOST`] names nothing more is put in.
    pub fn put(&mut self, model: ModelId, mut price: Price) -> Option<Price> {
        let before = self.price(&model);
        if let Some(before) = before.filter(|_| price.batch_percent == 100) {
            price.batch_percent = before.batch_percent;
        }
        if self.said.len() < Self::MOST || self.said.contains_key(&model) {
            self.said.insert(model, price);
        }
        before
    }

    /// The price of a model, by its name, a dated form of it, or its alias `-latest`.
    pub fn price(&self, model: &ModelId) -> Option<Price> {
        if let Some(price) = self.said.get(model) {
            return Some(*price);
        }
        let name = crate::tiers::canonical_name(model.as_str());
        if let Some(price) = self.said.get(&ModelId::from(name)) {
            return Some(*price);
        }
        self.rows.iter().find(|row| row.name == name).map(|row| row.price)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_million = |ticks: u64| Money::from_ticks(i128::from(ticks) * 1_000_000);
        write!(
            f,
            "{} in, {} out per million tokens",
            per_million(self.base.input),
            per_million(self.base.output)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Tool;

    fn price(model: &str) -> Price {
        PriceTable::builtin().price(&model.into()).expect("a known model")
    }

    #[test]
    fn recorded_costs_are_met_to_the_tick() {
        let usage = Usage::new(204, 284).and_then(|usage| usage.with_cached_input(128));
        let cost = price("grok-4.3").cost(&usage.expect("consistent"));
        assert_eq!(cost.as_ticks(), 3_206_000);
    }

    #[test]
    fn a_batch_priority_and_a_region_cost_what_they_are_listed_at() {
        let usage = Usage::new(204, 284).and_then(|usage| usage.with_cached_input(128));
        let tokens = price("grok-4.3").listed_cost(&usage.expect("consistent"));
        let on = |model, terms: Terms| price(model).on(&terms, tokens).as_ticks();
        // Recorded: a batch is charged 0.80 of the list price exactly.
        assert_eq!(on("grok-4.3", Terms::new().service(Service::Batch)), 2_564_800);
        assert_eq!(on("grok-4.7", Terms::new().service(Service::Batch)), 3_206_000);
        assert_eq!(on("grok-4.3", Terms::new().service(Service::Priority)), 6_412_000);
        let states = Terms::new().region(Region::UnitedStates);
        assert_eq!(on("grok-4.7", states), 3_526_600);
        let searched = states.service(Service::Priority).tool_calls(Tool::WebSearch, 3);
        assert_eq!(on("grok-4.7", searched), 7_053_200 + 3 * 50_000_000);
        assert_eq!(price("grok-4.7").on(&states, Money::from_ticks(1)).as_ticks(), 2);
    }

    #[test]
    fn an_absurd_cost_is_refused_and_the_table_asked() {
        let said = Money::from_ticks(i128::MAX);
        let usage = Usage::new(204, 284).expect("consistent").with_cost(said);
        assert_eq!(price("grok-4.3").judged_cost(&usage), Err(CostError::Absurd { said }));
        assert_eq!(price("grok-4.3").cost(&usage).as_ticks(), 204 * 12_500 + 80 * 25_000);
        let below = usage.with_cost(Money::from_ticks(-1));
        assert_eq!(price("grok-4.3").cost(&below).as_ticks(), 204 * 12_500 + 80 * 25_000);
    }

    #[test]
    fn what_was_learned_since_holds_before_the_table_and_for_its_aliases_alone() {
        let mut table = PriceTable::builtin();
        // As `/v1/language-models` has it.
        let base = Price::per_token(TicksPerInput(12_500), TicksPerOutput(25_000));
        let long = Price::per_token(TicksPerInput(25_000), TicksPerOutput(50_000));
        let said = base
            .cached(TicksPerInput(2_000))
            .long_context(128_000, long.cached(TicksPerInput(4_000)));
        let model = ModelId::from("grok-4.20-0309-reasoning");
        assert_eq!(table.put(model.clone(), said), Some(price("grok-4.20-0309-reasoning")));
        let cost = table.price(&model).map(|price| price.cost_of(128_000, 1).as_ticks());
        assert_eq!(cost, Some(128_000 * 25_000 + 50_000));
        assert_eq!(table.price(&"grok-4.3".into()), Some(price("grok-4.3")));
        let alias = table.price(&"grok-4.20-0309-reasoning-latest".into()).expect("of its model");
        assert_eq!(alias.cost_of(128_000, 1).as_ticks(), 128_000 * 25_000 + 50_000);
        let batch = Terms::new().service(Service::Batch);
        assert_eq!(alias.on(&batch, Money::from_ticks(1_000)).as_ticks(), 800, "as before");
        for i in 0..300 {
            table.put(format!("model-{i}").as_str().into(), said);
        }
        assert_eq!(table.price(&"model-299".into()), None);
    }

    #[test]
    fn what_the_server_says_wins() {
        let usage = Usage::new(204, 284).expect("consistent").with_cost(Money::from_ticks(7));
        assert_eq!(price("grok-4.3").cost(&usage).as_ticks(), 7);
        let unsaid = usage.with_cost(Money::ZERO);
        assert_eq!(price("grok-4.3").cost(&unsaid).as_ticks(), 204 * 12_500 + 80 * 25_000);
    }

    #[test]
    fn a_long_prompt_doubles_the_whole_request() {
        let below = price("grok-4.3").cost_of(199_999, 1_000);
        let from = price("grok-4.3").cost_of(200_000, 1_000);
        assert_eq!(below.as_ticks(), 199_999 * 12_500 + 25_000_000);
        assert_eq!(from.as_ticks(), 2 * (200_000 * 12_500 + 25_000_000));
    }

    #[test]
    fn aliases_and_dates_find_their_model_and_strangers_none() {
        assert_eq!(price("grok-4.3-latest"), price("grok-4.3"));
        assert_eq!(price("grok-4.3-0501"), price("grok-4.3"));
        assert_eq!(price("grok-2-latest"), price("grok-2-1212"));
        assert_eq!(price("grok-4-latest"), price("grok-4-0709"));
        assert_eq!(price("grok-4-fast-non-reasoning-latest"), price("grok-4-fast"));
        assert_eq!(PriceTable::builtin().price(&"gpt-5".into()), None);
    }

    #[test]
    fn every_model_that_is_known_by_name_has_a_price_and_the_reverse() {
        for name in crate::tiers::known_names() {
            assert!(ALL.iter().any(|row| row.name == name), "{name} has no price");
        }
        for row in ALL {
            assert!(crate::tiers::known_names().any(|name| name == row.name), "{}", row.name);
        }
    }

    #[test]
    fn models_of_the_past_cost_what_they_did() {
        // Grok 2: 2 and 10 US dollars per million tokens. Grok 3 mini: 0.30, 0.075 cached, 0.50.
        assert_eq!(price("grok-2-1212").cost_of(13, 9).as_ticks(), 260_000 + 900_000);
        let usage = Usage::new(50, 2_762).and_then(|usage| usage.with_cached_input(49));
        let cost = price("grok-3-mini").cost(&usage.expect("consistent"));
        assert_eq!(cost.as_ticks(), 3_000 + 49 * 750 + 2_712 * 5_000);
    }

    #[test]
    fn prices_and_amounts_are_read_exactly_or_refused() {
        assert_eq!(
            "2/6".parse(),
            Ok(Price::per_token(TicksPerInput(20_000), TicksPerOutput(60_000)))
        );
        let fine: Price = "0.0001/.5".parse().expect("a price");
        assert_eq!(fine.cost_of(1, 1).as_ticks(), 1 + 5_000);
        assert_eq!("2".parse::<Price>(), Err(MoneyError::NotAPair));
        assert_eq!("2/-6".parse::<Price>(), Err(MoneyError::NotAnAmount));
        assert_eq!("0.00001/1".parse::<Price>(), Err(MoneyError::TooFine { most: 4 }));
        assert_eq!("99999999999/1".parse::<Price>(), Err(MoneyError::TooMuch));
        assert_eq!(parse_usd("$12.50"), Ok(Money::from_ticks(125_000_000_000)));
        assert_eq!(parse_usd("1"), Ok(Money::from_usd(1)));
        assert_eq!(parse_usd("1e3"), Err(MoneyError::NotAnAmount));
        assert_eq!(parse_usd("-1"), Err(MoneyError::NotAnAmount));
        assert_eq!(parse_usd(""), Err(MoneyError::NotAnAmount));
        assert_eq!(parse_usd(&"9".repeat(60)), Err(MoneyError::TooMuch));
    }
}
