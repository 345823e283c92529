//! Budgets over runs: those that were asked for, and how they are told to people.
//!
//! What others spend of them, before the run and during it, is the matter of `elsewhere`.

use std::time::Duration;

use paceline::Client;
use paceline::budget::{Averages, Budgets, Forecast, Outlook, Pace, Standing, forecast};
use paceline_core::{Dimension, Money};
use serde_json::{Value, json};

use crate::args::RunArgs;
use crate::error::UserError;
use crate::output::usd;
use crate::plan::thousands;
use crate::time::rfc3339;

/// The budgets that were asked for, with nothing spent of them yet; what is wrong with them is said
/// before anything else is done.
pub(crate) fn of(args: &RunArgs) -> Result<Budgets, UserError> {
    if let (None, Some(name)) = (&args.ledger, args.budgets.first()) {
        return Err(UserError::usage(format!(
            "{name} needs a ledger, which knows what other runs have spent"
        ))
        .hint(
            "name one with --ledger FILE or in PACELINE_LEDGER; it is made where there is none",
        ));
    }
    if args.budgets.wait_for_budget && args.budgets.first().is_none() {
        return Err(UserError::usage("--wait-for-budget has no budget to wait for")
            .hint("give one that comes back, such as --budget-per-day USD"));
    }
    let mut budgets = Budgets::new();
    for (name, budget) in args.budgets.asked() {
        let added = budget.and_then(|budget| budgets.add(budget));
        added.map_err(|error| {
            UserError::usage(format!("{name}: {error}"))
                .hint("see paceline run --help for what it takes")
        })?;
    }
    Ok(budgets)
}

/// One budget in words.
pub(crate) fn describe(standing: &Standing) -> String {
    let amount = |amount: u64| match standing.budget.dimension() {
        Dimension::Money => Money::from_ticks(amount.into()).to_string(),
        _ => format!("{} tokens", thousands(amount)),
    };
    let mut text = format!(
        "{}: {} used, {} left",
        standing.budget,
        amount(standing.spent),
        amount(standing.left)
    );
    if standing.excess > 0 {
        text.push_str(&format!(", passed by {}", amount(standing.excess)));
    }
    if let Some(renews) = standing.renews {
        text.push_str(&format!("; it begins anew at {}", rfc3339(renews)));
    }
    text
}

/// Budgets for machines: amounts with their unit in the name, `_usd` or `_tokens`.
pub(crate) fn to_json(standings: &[Standing]) -> Value {
    let each = standings.iter().map(|standing| {
        let is_money = standing.budget.dimension() == Dimension::Money;
        let mut budget = json!({ "budget": standing.budget.to_string() });
        let amounts = [
            ("most", standing.budget.most().get()),
            ("spent", standing.spent),
            ("left", standing.left),
            ("excess", standing.excess),
        ];
        for (name, amount) in amounts {
            if is_money {
                budget[format!("{name}_usd")] = json!(usd(Money::from_ticks(amount.into())));
            } else {
                budget[format!("{name}_tokens")] = json!(amount);
            }
        }
        budget["renews_at"] = json!(standing.renews.map(rfc3339));
        budget
    });
    each.collect()
}

/// How many more calls fit into everything that is limited.
pub(crate) fn outlook(client: &Client, averages: &Averages, pace: Option<Pace>) -> Forecast {
    forecast(client.rooms(), averages, pace)
}

/// The budget or cap that binds first. Windows that come back all the time are told elsewhere.
pub(crate) fn binding(client: &Client, averages: &Averages, pace: Option<Pace>) -> Option<Outlook> {
    let stocks = client.rooms().into_iter().filter(|room| room.window().is_none());
    forecast(stocks, averages, pace).first().cloned()
}

/// A forecast for machines: one object for each limit and budget.
pub(crate) fn forecast_to_json(forecast: &Forecast) -> Value {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let each = forecast.outlooks.iter().map(|outlook| {
        let fits = outlook
            .fits
            .map(|fit| json!({ "low": fit.low, "expected": fit.expected, "high": fit.high }));
        json!({
            "of": outlook.room.to_string(),
            "fits": fits,
            "runs_out_s": seconds(outlook.runs_out),
            "binds_first": forecast.first() == Some(outlook),
        })
    });
    each.collect()
}
