//! Prices: what costs more never costs less, and the two ways to a cost agree.

use paceline_budget::{Price, PriceTable, parse_usd};
use paceline_core::{Money, Usage};
use proptest::prelude::*;

fn price(model: &str) -> Price {
    PriceTable::builtin().price(&model.into()).expect("a known model")
}

const MODELS: [&str; 5] = ["grok-4.7", "grok-4.5", "grok-4.3", "grok-3-mini", "grok-2-1212"];

proptest! {
    #[test]
    fn more_tokens_never_cost_less(
        model in prop::sample::select(&MODELS[..]),
        input in 0_u64..2_000_000,
        output in 0_u64..2_000_000,
        more in 0_u64..500_000,
    ) {
        let price = price(model);
        prop_assert!(price.cost_of(input + more, output) >= price.cost_of(input, output));
        prop_assert!(price.cost_of(input, output + more) >= price.cost_of(input, output));
    }

    #[test]
    fn cached_input_never_costs_more_and_without_it_both_ways_agree(
        model in prop::sample::select(&MODELS[..]),
        input in 0_u64..2_000_000,
        output in 0_u64..2_000_000,
        share in 0_u64..=100,
    ) {
        let price = price(model);
        let usage = Usage::new(input, input + output).expect("consistent");
        prop_assert_eq!(price.cost(&usage), price.cost_of(input, output));
        let cached = usage.with_cached_input(input * share / 100).expect("a part");
        prop_assert!(price.cost(&cached) <= price.cost(&usage));
    }

    #[test]
    fn an_amount_is_read_to_the_tick(ticks in 0..u64::MAX) {
        let text = format!("${}.{:010}", ticks / 10_000_000_000, ticks % 10_000_000_000);
        prop_assert_eq!(parse_usd(&text), Ok(Money::from_ticks(ticks.into())));
    }

    #[test]
    fn no_text_makes_reading_panic(text in ".{0,40}") {
        let _ = text.parse::<Price>();
        let _ = parse_usd(&text);
    }
}

#[test]
fn the_largest_usage_has_a_cost() {
    let most: Price = "100000/100000".parse().expect("the highest price");
    let tokens = i128::from(Usage::MAX_TOKENS);
    let cost = most.cost_of(Usage::MAX_TOKENS, Usage::MAX_TOKENS);
    assert_eq!(cost.as_ticks(), 2 * tokens * 1_000_000_000);
}
