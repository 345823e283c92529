//! The models this server knows: their limits, prices and hidden text. Dated data.
//!
//! Sources: docs.x.ai rate limits and prices of August to October 2026 (tier 0, high); recorded
//! traffic for the limits of the older ones (January to March 2026) and for the hidden text of
//! grok-2, grok-3-mini and grok-4.3 (measured). The hidden text of the others is assumed to be
//! what a sibling has. A table of the simulator's own, shared with nobody.

use serde_json::{Value, json};

use crate::rules::Limits;

/// What is known of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model {
    pub(super) name: &'static str,
    /// Other names with the same limits, beside those that end in `-latest`.
    aliases: &'static [&'static str],
    pub(super) limits: Limits,
    /// Ticks of 10^-10 US dollars per token: input, cached input, output.
    ticks: [u64; 3],
    /// From so many prompt tokens on, the whole request costs twice as much.
    long_context: Option<u64>,
    /// Tokens that every chat has on top of its messages.
    pub(super) hidden: u64,
    pub(super) reasons: Reasons,
    pub(super) context: u64,
}

/// Whether part of the output is reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reasons {
    Yes,
    No,
}

/// A current model, with two of its three tier-0 limits; requests per second follow from those
/// per minute as in the docs.
const fn model(name: &'static str, rpm: u64, tpm: u64, ticks: [u64; 3]) -> Model {
    Model {
        name,
        aliases: &[],
        limits: Limits::new().rpm(rpm).tpm(tpm),
        ticks,
        long_context: Some(200_000),
        hidden: 130,
        reasons: Reasons::Yes,
        context: 500_000,
    }
}

/// A model of the past, without a limit on tokens (recorded: the largest 64-bit number).
const fn past(name: &'static str, rpm: u64, hidden: u64, ticks: [u64; 3]) -> Model {
    Model {
        name,
        aliases: &[],
        limits: Limits::new().rpm(rpm),
        ticks,
        long_context: None,
        hidden,
        reasons: Reasons::Yes,
        context: 131_072,
    }
}

const FLAGSHIP: [u64; 3] = [20_000, 5_000, 60_000];
const MIDDLE: [u64; 3] = [12_500, 2_000, 25_000];
const CREATED: u64 = 1_700_000_000;

/// Every model, the newest first.
pub(super) const MODELS: [Model; 10] = [
    Model { hidden: 168, ..model("grok-4.7", 7_200, 50_000_000, FLAGSHIP) },
    Model { hidden: 168, ..model("grok-4.6", 7_200, 50_000_000, FLAGSHIP) },
    Model { hidden: 168, ..model("grok-4.5", 7_200, 50_000_000, [20_000, 3_000, 60_000]) },
    Model { context: 1_000_000, ..model("grok-4.3", 1_800, 10_000_000, MIDDLE) },
    Model {
        reasons: Reasons::No,
        hidden: 168,
        context: 1_000_000,
        ..model("grok-4.20-0309-non-reasoning", 1_800, 10_000_000, MIDDLE)
    },
    Model { context: 1_000_000, ..model("grok-4.20-0309-reasoning", 1_800, 10_000_000, MIDDLE) },
    Model { context: 1_000_000, ..model("grok-4.20-multi-agent-0309", 450, 2_500_000, MIDDLE) },
    Model {
        context: 256_000,
        ..model("grok-build-0.1", 1_800, 10_000_000, [10_000, 2_000, 20_000])
    },
    past("grok-3-mini", 180, 7, [3_000, 750, 5_000]),
    Model {
        aliases: &["grok-2"],
        reasons: Reasons::No,
        ..past("grok-2-1212", 900, 6, [20_000, 20_000, 100_000])
    },
];

/// A model by its name or an alias, with or without `-latest`; all of them share its limits.
pub(super) fn find(name: &str) -> Option<&'static Model> {
    let name = name.strip_suffix("-latest").unwrap_or(name);
    MODELS.iter().find(|model| model.name == name || model.aliases.contains(&name))
}

/// The body of `/v1/models`.
pub(super) fn list() -> Value {
    json!({ "object": "list", "data": MODELS.iter().map(Model::describe).collect::<Vec<_>>() })
}

/// The body of `/v1/language-models`: the same, and what the models read and write.
pub(super) fn language_models() -> Value {
    let models = MODELS.iter().map(|model| {
        let mut body = model.describe();
        body["fingerprint"] = json!("fp_simulated");
        body["version"] = json!("1.0");
        body["input_modalities"] = json!(["text"]);
        body["output_modalities"] = json!(["text"]);
        body["search_price"] = json!(250_000_000);
        body
    });
    json!({ "models": models.collect::<Vec<_>>() })
}

impl Model {
    /// The list price of a call, in ticks of 10^-10 US dollars.
    pub(super) fn cost(&self, input_tokens: u64, output_tokens: u64) -> u64 {
        let twice = self.long_context.is_some_and(|from| input_tokens >= from);
        let once = input_tokens
            .saturating_mul(self.ticks[0])
            .saturating_add(output_tokens.saturating_mul(self.ticks[2]));
        once.saturating_mul(1 + u64::from(twice))
    }

    /// The model as `/v1/models` lists it: prices in ticks per token, which is US cents per 100
    /// million tokens.
    pub(super) fn describe(&self) -> Value {
        let latest = format!("{}-latest", self.name);
        let aliases: Vec<&str> = self.aliases.iter().copied().chain([latest.as_str()]).collect();
        let [input, cached, output] = self.ticks;
        let mut body = json!({
            "id": self.name, "aliases": aliases, "object": "model", "created": CREATED,
            "owned_by": "xai", "context_length": self.context,
            "prompt_text_token_price": input, "cached_prompt_text_token_price": cached,
            "completion_text_token_price": output,
        });
        if let Some(from) = self.long_context {
            body["long_context_threshold"] = json!(from);
            body["prompt_text_token_price_long_context"] = json!(2 * input);
            body["cached_prompt_text_token_price_long_context"] = json!(2 * cached);
            body["completion_text_token_price_long_context"] = json!(2 * output);
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> &'static Model {
        find(name).expect("in the table")
    }

    #[test]
    fn the_limits_are_those_of_the_docs() {
        let row = |name| {
            let limits = known(name).limits;
            (limits.rps_in_force(), limits.rpm, limits.tpm)
        };
        assert_eq!(row("grok-4.7"), (Some(150), Some(7_200), Some(50_000_000)));
        assert_eq!(row("grok-4.3"), (Some(37), Some(1_800), Some(10_000_000)));
        assert_eq!(row("grok-4.20-multi-agent-0309"), (Some(9), Some(450), Some(2_500_000)));
        assert_eq!(row("grok-2"), (Some(18), Some(900), None));
    }

    #[test]
    fn aliases_are_one_model() {
        for name in ["grok-2", "grok-2-latest", "grok-2-1212", "grok-2-1212-latest"] {
            assert_eq!(known(name).name, "grok-2-1212");
        }
        assert!(find("grok-99").is_none() && find("").is_none() && find("-latest").is_none());
    }

    #[test]
    fn a_call_costs_what_the_price_page_says_and_twice_that_from_200_000_on() {
        // 1.25 and 2.50 USD per million tokens.
        assert_eq!(known("grok-4.3").cost(1_000_000 / 10, 0), 1_250_000_000);
        assert_eq!(known("grok-4.3").cost(199_999, 1), 199_999 * 12_500 + 25_000);
        assert_eq!(known("grok-4.3").cost(200_000, 1), 2 * (200_000 * 12_500 + 25_000));
        assert_eq!(known("grok-2").cost(200_000, 1), 200_000 * 20_000 + 100_000);
    }
}
