//! What a run will take: before anything is sent, and again as answers teach the estimator.
//!
//! Ranges are those of the client: 95 % for the input and, once answers came, about as much for the
//! output. Memory: the sums of the job, and no row.

use std::collections::BTreeSet;

use paceline::budget::tiers::{self, Tier};
use paceline::budget::{Averages, Job, Pace};
use paceline::{Client, JobRange};
use paceline_core::{Dimension, ModelId};
use serde_json::{Value, json};

use crate::budgets;
use crate::input::Row;
use crate::output::usd;
use crate::row::Settings;
use crate::time::spoken;

/// What the rows still to do will probably take.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) rows: u64,
    pub(crate) job: Job,
    averages: Averages,
    models: BTreeSet<ModelId>,
    unknown: Vec<ModelId>,
    unpriced: Vec<ModelId>,
}

/// So many rows first tell how long answers are.
const FIRST_FEW: u64 = 20;
/// Models named in one warning.
const NAMED: usize = 5;
/// Models whose limits are looked up before the first call.
const MODELS: usize = 1_000;

impl Plan {
    pub(crate) fn add(&mut self, client: &Client, settings: &Settings, row: &Row) {
        self.rows += 1;
        for chat in settings.chats(row) {
            let estimate = client.estimate(&chat);
            let model = ModelId::from(chat.body()["model"].as_str().unwrap_or_default());
            let (input, output) =
                (estimate.input().expected_amount(), estimate.output().expected_amount());
            if self.models.len() < MODELS && self.models.insert(model.clone()) {
                // Its limits are in force from now on; a price that lacks is told apart below.
                let _ = client.demand(&chat);
            }
            client.add_to_job(&mut self.job, &chat);
            self.averages.add(Dimension::TotalTokens, input + output);
            match client.price(&model) {
                Some(price) => {
                    let cost = price.cost_of(input, output);
                    self.averages.add(Dimension::Money, cost.as_amount());
                }
                None => note(&mut self.unpriced, &model),
            }
            if tiers::row(&tiers::canonical(&model), Tier::T0).is_none() {
                note(&mut self.unknown, &model);
            }
        }
    }

    /// Models that no table of limits knows.
    pub(crate) fn unknown(&self) -> &[ModelId] {
        &self.unknown
    }

    /// Models that have no price.
    pub(crate) fn unpriced(&self) -> &[ModelId] {
        &self.unpriced
    }

    /// In words: rows, tokens, money and time, as ranges.
    pub(crate) fn describe(&self, client: &Client) -> String {
        let range = client.job(&self.job);
        let time = |tokens: u64| self.least_time(client, tokens as f64);
        format!(
            "{} rows, {} calls\n  tokens  {}\n  cost    {}\n  time    {} to {}",
            self.rows,
            range.calls,
            tokens(&range, ""),
            cost(&range),
            spoken(time(range.tokens.low)),
            spoken(time(range.tokens.high)),
        ) + &self.room(client, &range, time(range.tokens.expected))
            + self.not_known(&range)
    }

    /// What to do where a range is as wide as it is because no answer was seen yet.
    fn not_known(&self, range: &JobRange) -> &'static str {
        if range.learned > 0 || self.rows <= 2 * FIRST_FEW {
            return "";
        }
        "\n  how long answers are is not known yet; run with --limit 20 first, and what they were \
         narrows this"
    }

    /// How many of the calls fit into the budget or cap that binds first; empty where there is none.
    fn room(&self, client: &Client, range: &JobRange, time: std::time::Duration) -> String {
        let pace = Pace::of(range.calls, time);
        let Some(outlook) = budgets::binding(client, &self.averages, pace) else {
            return String::new();
        };
        let Some(fits) = outlook.fits else { return String::new() };
        // As many more as each is cheaper than expected, and as many fewer.
        let part = |of: u64, each: u64| {
            let fits = u128::from(fits.expected) * u128::from(of) / u128::from(each.max(1));
            thousands(u64::try_from(fits).unwrap_or(u64::MAX))
        };
        let (expected, low, high) = match (outlook.room.dimension(), range.cost) {
            (Dimension::Money, Some(cost)) => {
                (cost.expected.as_amount(), cost.low.as_amount(), cost.high.as_amount())
            }
            _ => (range.tokens.expected, range.tokens.low, range.tokens.high),
        };
        let (fewest, most) = (part(expected, high), part(expected, low));
        format!("\n  room    {fewest} to {most} calls fit in what is left of {}", outlook.room)
    }

    /// The least time that the limits in force allow.
    fn least_time(&self, client: &Client, tokens: f64) -> std::time::Duration {
        let limits = client.limits().map(|limits| limits.limits).unwrap_or_default();
        let seconds = limits.iter().filter_map(|limit| {
            let need = match limit.dimension {
                Dimension::Requests => self.job.calls() as f64,
                Dimension::TotalTokens => tokens,
                _ => return None,
            };
            let window = limit.quota.window()?.as_secs_f64();
            Some(need / limit.quota.limit().get() as f64 * window)
        });
        let seconds = seconds.fold(2.0, f64::max).min(1e9);
        std::time::Duration::from_secs_f64(seconds)
    }
}

/// What a job costs, as a range in words.
fn cost(range: &JobRange) -> String {
    match range.cost {
        Some(cost) => format!("about {} ({} to {})", cost.expected, cost.low, cost.high),
        None => "unknown (no price for the model; see --price)".to_owned(),
    }
}

/// The tokens of a job in words: what is expected, and the range.
fn tokens(range: &JobRange, unit: &str) -> String {
    let [expected, low, high] =
        [range.tokens.expected, range.tokens.low, range.tokens.high].map(thousands);
    format!("about {expected}{unit} ({low} to {high})")
}

/// A job in one line: its tokens and its cost, as ranges.
pub(crate) fn in_short(range: &JobRange) -> String {
    let cost = range.cost.map(|_| format!(", {}", cost(range))).unwrap_or_default();
    let when = if range.learned == 0 { "; no answer was known yet" } else { "" };
    format!("{}{cost}{when}", tokens(range, " tokens"))
}

/// A job for machines.
pub(crate) fn to_json(range: &JobRange) -> Value {
    let tokens = &range.tokens;
    let cost = range.cost.map(|cost| {
        json!({ "expected": usd(cost.expected), "low": usd(cost.low), "high": usd(cost.high) })
    });
    json!({
        "calls": range.calls,
        "answers_learned_from": range.learned,
        "tokens": { "expected": tokens.expected, "low": tokens.low, "high": tokens.high },
        "cost_usd": cost,
    })
}

fn note(models: &mut Vec<ModelId>, model: &ModelId) {
    if models.len() < NAMED && !models.contains(model) {
        models.push(model.clone());
    }
}

/// A number with commas: 1,234,567.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        let shown = [0, 999, 1_000, 1_234_567].map(thousands);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
