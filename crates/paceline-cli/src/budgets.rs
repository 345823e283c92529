//! Budgets by the day and by the month: what the ledger says of them at the start, and how they are
//! told to people.
//!
//! Invariant: what counts is what the ledger holds when the run starts and what the run itself spends;
//! runs at the same time do not see each other's.

use std::ops::ControlFlow;
use std::time::Duration;

use paceline::Client;
use paceline::budget::{Averages, Budget, Budgets, Forecast, Outlook, Pace, Period, Spend};
use paceline::budget::{Standing, forecast};
use paceline_core::{Money, UnixMillis};
use paceline_ledger::{Attempt, Ledger, Range};
use serde_json::{Value, json};

use crate::account::unusable;
use crate::args::RunArgs;
use crate::error::{UserError, warn};
use crate::output::usd;
use crate::time::rfc3339;

/// A month and the day on which its first calls were sent.
const LONGEST: i64 = 32 * 86_400_000;

/// Whether what was asked for can be kept at all.
pub(crate) fn check(args: &RunArgs) -> Result<(), UserError> {
    if args.ledger.is_some() || !has_any(args) {
        return Ok(());
    }
    let name =
        if args.budget_per_day.is_some() { "--budget-per-day" } else { "--budget-per-month" };
    Err(UserError::usage(format!("{name} needs a ledger, which knows what other runs have spent"))
        .hint("name one with --ledger FILE or in PACELINE_LEDGER; it is made where there is none"))
}

/// The budgets that were asked for, with what the ledger says is spent of them.
pub(crate) fn open(
    args: &RunArgs,
    ledger: Option<&Ledger>,
    now: UnixMillis,
) -> Result<Budgets, UserError> {
    let mut budgets = Budgets::new();
    let asked = [
        ("--budget-per-day", args.budget_per_day, Period::Day),
        ("--budget-per-month", args.budget_per_month, Period::Month),
    ];
    for (name, most, period) in asked {
        let Some(most) = most else { continue };
        let budget = Budget::money(most, period).and_then(|budget| budgets.add(budget));
        budget.map_err(|error| UserError::usage(format!("{name}: {error}")))?;
    }
    if let Some(ledger) = ledger.filter(|_| has_any(args)) {
        restore(&mut budgets, args, ledger, now)?;
    }
    Ok(budgets)
}

/// Whether there is a budget by the day or by the month.
pub(crate) const fn has_any(args: &RunArgs) -> bool {
    args.budget_per_day.is_some() || args.budget_per_month.is_some()
}

fn restore(
    budgets: &mut Budgets,
    args: &RunArgs,
    ledger: &Ledger,
    now: UnixMillis,
) -> Result<(), UserError> {
    let failed = |error| unusable(ledger.path(), &error);
    let reader = ledger.reader().map_err(failed)?;
    let reader = if args.simulate { reader.simulated() } else { reader };
    let since = UnixMillis::new(now.as_millis().saturating_sub(LONGEST));
    let mut absurd = 0_u64;
    let each = |attempt: Attempt| {
        absurd += u64::from(attempt.is_absurd());
        budgets.restore([Spend::from(&attempt)]);
        ControlFlow::Continue(())
    };
    reader.for_each(&Range::since(since), each).map_err(failed)?;
    if absurd > 0 {
        warn(format!(
            "{absurd} attempts in the ledger are said to have spent what none can; budgets count what was reserved for them"
        ));
    }
    Ok(())
}

/// One budget in words.
pub(crate) fn describe(standing: &Standing) -> String {
    let money = |ticks: u64| Money::from_ticks(ticks.into());
    let mut text = format!(
        "{}: {} used, {} left",
        standing.budget,
        money(standing.spent),
        money(standing.left)
    );
    if standing.excess > 0 {
        text.push_str(&format!(", passed by {}", money(standing.excess)));
    }
    if let Some(renews) = standing.renews {
        text.push_str(&format!("; it begins anew at {}", rfc3339(renews)));
    }
    text
}

/// Budgets for machines.
pub(crate) fn to_json(standings: &[Standing]) -> Value {
    let money = |ticks: u64| usd(Money::from_ticks(ticks.into()));
    let each = standings.iter().map(|standing| {
        json!({
            "budget": standing.budget.to_string(),
            "most_usd": money(standing.budget.most().get()),
            "spent_usd": money(standing.spent),
            "left_usd": money(standing.left),
            "excess_usd": money(standing.excess),
            "renews_at": standing.renews.map(rfc3339),
        })
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
