//! What a run will take, before anything is sent: a range, because nothing is learned yet.

use std::collections::BTreeSet;

use paceline::Client;
use paceline::budget::tiers::{self, Tier};
use paceline::budget::{Averages, Pace};
use paceline_core::{Dimension, ModelId, Money};

use crate::budgets;
use crate::input::Row;
use crate::row::Settings;
use crate::time::spoken;

/// What the rows still to do will probably take.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) rows: u64,
    calls: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost: Option<Money>,
    averages: Averages,
    models: BTreeSet<ModelId>,
    unknown: Vec<ModelId>,
    unpriced: Vec<ModelId>,
}

/// Before the first answers input is known to a third and output to a factor of three.
const LOW: f64 = 0.4;
const HIGH: f64 = 2.5;
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
            self.calls += 1;
            self.averages.add(Dimension::TotalTokens, input + output);
            self.input_tokens += input;
            self.output_tokens += output;
            match client.price(&model) {
                Some(price) => {
                    let cost = price.cost_of(input, output);
                    *self.cost.get_or_insert(Money::ZERO) += cost;
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
        let total = (self.input_tokens + self.output_tokens) as f64;
        let cost = match self.cost {
            Some(cost) => {
                let part = |factor| Money::from_ticks((cost.as_ticks() as f64 * factor) as i128);
                format!("{} to {}", part(LOW), part(HIGH))
            }
            None => "unknown (no price for the model; see --price)".to_owned(),
        };
        let time = |factor: f64| spoken(self.least_time(client, total * factor));
        format!(
            "{} rows, {} calls\n  tokens  {} to {}\n  cost    {cost}\n  time    {} to {}",
            self.rows,
            self.calls,
            thousands((total * LOW) as u64),
            thousands((total * HIGH) as u64),
            time(LOW),
            time(HIGH),
        ) + &self.room(client, self.least_time(client, total))
    }

    /// How many of the calls fit into the budget or cap that binds first; empty where there is none.
    fn room(&self, client: &Client, time: std::time::Duration) -> String {
        let pace = Pace::of(self.calls, time);
        let Some(outlook) = budgets::binding(client, &self.averages, pace) else {
            return String::new();
        };
        let Some(fits) = outlook.fits else { return String::new() };
        let part = |factor: f64| thousands((fits.expected as f64 / factor) as u64);
        let (low, high) = (part(HIGH), part(LOW));
        format!("\n  room    {low} to {high} calls fit in what is left of {}", outlook.room)
    }

    /// The least time that the limits in force allow.
    fn least_time(&self, client: &Client, tokens: f64) -> std::time::Duration {
        let limits = client.limits().map(|limits| limits.limits).unwrap_or_default();
        let seconds = limits.iter().filter_map(|limit| {
            let need = match limit.dimension {
                Dimension::Requests => self.calls as f64,
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
