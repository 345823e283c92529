//! The end of a run, for people and for machines.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use paceline::budget::{Forecast, Outlook, Pace, Standing};
use paceline::{Client, JobRange};
use paceline_core::{Dimension, LimitKey};
use paceline_limiter::LimitSnapshot;
use serde_json::{Value, json};

use crate::budgets;
use crate::output::usd;
use crate::plan::{self, thousands};
use crate::runner::{End, RowCounts, Runner};
use crate::tally::Counts;
use crate::time::{rfc3339, spoken};

/// What there is to say about a run.
#[derive(Debug)]
pub(crate) struct Summary {
    rows: RowCounts,
    left: u64,
    counts: Counts,
    errors: Vec<(String, u64, String)>,
    wall: Duration,
    quota: Option<QuotaUse>,
    budgets: Vec<Standing>,
    forecast: Forecast,
    /// The budget or cap that binds first.
    binding: Option<Outlook>,
    input_error: f64,
    estimates: u64,
    /// What all of it was to come to, before anything was sent and with what is known now.
    planned: JobRange,
    learned: JobRange,
    simulated: bool,
}

/// How much of the limit that binds was used.
#[derive(Clone, Debug, PartialEq)]
struct QuotaUse {
    bound: String,
    minimum_s: f64,
    used: Option<f64>,
    delay_bound: Duration,
    sending_s: f64,
}

impl Summary {
    pub(crate) fn new(
        runner: &Runner,
        client: &Client,
        wall: Duration,
        simulated: bool,
        planned: JobRange,
    ) -> Self {
        let counts = runner.tally.counts().clone();
        let limits = client.limits().map(|limits| limits.limits).unwrap_or_default();
        let quota = limits
            .iter()
            .filter(|limit| matches!(limit.key, LimitKey::Model(_)))
            .filter_map(|limit| QuotaUse::of(limit, &counts))
            .max_by(|a, b| a.minimum_s.total_cmp(&b.minimum_s));
        let accuracy = client.accuracy();
        let pace = Pace::of(counts.requests, wall);
        Self {
            rows: runner.counts,
            left: runner.left(),
            errors: runner.errors.clone(),
            wall,
            quota,
            budgets: client.budgets(),
            forecast: budgets::outlook(client, &counts.averages, pace),
            binding: budgets::binding(client, &counts.averages, pace),
            input_error: accuracy.mean_error,
            estimates: accuracy.count,
            planned,
            learned: client.job(&runner.job),
            simulated,
            counts,
        }
    }

    /// For people, on stderr.
    pub(crate) fn for_people(&self, out: &Path, end: &End) -> String {
        let RowCounts { total, done, failed, skipped } = self.rows;
        let mut text = String::new();
        let mut say = |name: &str, what: String| {
            let _ = writeln!(text, "{name:<10}{what}");
        };
        say("run", format!("{}{}", ended(end), if self.simulated { " (simulated)" } else { "" }));
        say(
            "rows",
            format!(
                "{} in all: {} done, {} failed, {} from before, {} left",
                thousands(total),
                thousands(done),
                thousands(failed),
                thousands(skipped),
                thousands(self.left)
            ),
        );
        for (message, count, id) in self.errors.iter().take(5) {
            say("", format!("{count} x {message} (row {id})"));
        }
        say(
            "calls",
            format!(
                "{} sent, {} answered 429, {} retries",
                thousands(self.counts.requests),
                self.counts.status_429(),
                self.counts.retries
            ),
        );
        say(
            "tokens",
            format!(
                "{} in, {} out, of which {} reasoning",
                thousands(self.counts.input_tokens),
                thousands(self.counts.output_tokens),
                thousands(self.counts.reasoning_tokens)
            ),
        );
        if self.estimates > 0 {
            let error = self.input_error * 100.0;
            say("estimate", format!("input tokens off by {error:.1} % on average"));
        }
        say("cost", self.counts.cost.to_string());
        self.job().into_iter().for_each(|(name, what)| say(name, what));
        say("time", spoken(self.wall));
        if let Some(quota) = &self.quota {
            let used = match quota.used {
                Some(used) => format!("{:.1} % of it used", used * 100.0),
                None => "too short a run to tell its use".to_owned(),
            };
            let (took, least) = (quota.sending_s, quota.minimum_s);
            say(
                "bound by",
                format!("{}; {used}; sent within {took:.1} s of {least:.0} s least", quota.bound),
            );
        }
        for standing in &self.budgets {
            say("budget", budgets::describe(standing));
        }
        if let Some(room) = self.binding.as_ref().and_then(room) {
            say("room", room);
        }
        say("answers", out.display().to_string());
        if let Some(next) = self.next(end) {
            say("next", next);
        }
        text
    }

    /// What all of it was to come to; where some is left, also what it is to come to by now.
    fn job(&self) -> Vec<(&'static str, String)> {
        if self.planned.calls == 0 {
            return Vec::new();
        }
        let mut lines = vec![("planned", plan::in_short(&self.planned))];
        if self.left > 0 && self.estimates > 0 {
            let now = format!("{}, by what was answered", plan::in_short(&self.learned));
            lines.push(("in all", now));
        }
        lines
    }

    /// What to do now; nothing where all is done.
    fn next(&self, end: &End) -> Option<String> {
        Some(match end {
            End::Finished => return None,
            End::FailedRows => "add --retry-failed to run the failed rows again".to_owned(),
            End::Budget(_, None) if self.budgets.is_empty() => {
                "raise --budget-usd to go on".to_owned()
            }
            End::Budget(_, None) => "raise the budget to go on".to_owned(),
            End::Budget(_, Some(renews)) => format!(
                "the same command goes on from {}, or with a higher budget",
                rfc3339(*renews)
            ),
            _ => "the same command goes on where this one stopped".to_owned(),
        })
    }

    /// For machines: one JSON object.
    pub(crate) fn for_machines(&self) -> String {
        let RowCounts { total, done, failed, skipped } = self.rows;
        let quota = self.quota.as_ref().map_or(Value::Null, |quota| {
            json!({
                "bound": quota.bound,
                "minimum_s": quota.minimum_s,
                "used": quota.used,
                "delay_bound_s": quota.delay_bound.as_secs_f64(),
                "sending_s": quota.sending_s,
            })
        });
        let by_status: serde_json::Map<String, Value> = self
            .counts
            .by_status
            .iter()
            .map(|(status, n)| (status.to_string(), json!(n)))
            .collect();
        let report = json!({
            "rows": { "total": total, "done": done, "failed": failed, "skipped": skipped },
            "http": {
                "requests": self.counts.requests,
                "status_429": self.counts.status_429(),
                "retries": self.counts.retries,
                "by_status": by_status,
            },
            "tokens": {
                "input": self.counts.input_tokens,
                "output": self.counts.output_tokens,
                "reasoning": self.counts.reasoning_tokens,
                "total": self.counts.total_tokens(),
            },
            "cost_usd": usd(self.counts.cost),
            "wall_s": self.wall.as_secs_f64(),
            "quota": quota,
            "budgets": budgets::to_json(&self.budgets),
            "planned": plan::to_json(&self.planned),
            "in_all": plan::to_json(&self.learned),
            "forecast": budgets::forecast_to_json(&self.forecast),
            "estimate": { "judged": self.estimates, "input_error": self.input_error },
            "simulated": self.simulated,
        });
        format!("{report:#}\n")
    }
}

/// How it ended, in words.
fn ended(end: &End) -> String {
    match end {
        End::Finished => "all rows are done".to_owned(),
        End::FailedRows => "finished, with failed rows".to_owned(),
        End::TooManyFailures => "stopped: more rows failed than --max-failures".to_owned(),
        End::Budget(why, _) => format!("budget reached: {why}"),
        End::Stopped(why) => format!("stopped: {why}"),
        End::Interrupted => "interrupted".to_owned(),
    }
}

/// How many more calls fit into what binds first, in words.
fn room(outlook: &Outlook) -> Option<String> {
    let fits = outlook.fits?;
    let (low, high) = (thousands(fits.low), thousands(fits.high));
    let mut text = format!(
        "{} more calls ({low} to {high}) fit in what is left of {}",
        thousands(fits.expected),
        outlook.room
    );
    match outlook.runs_out {
        _ if fits.high == 0 => {}
        Some(time) => {
            text.push_str(&format!(", which lasts {} at this pace", spoken(time)));
        }
        None => text.push_str(", which lasts at this pace until it begins anew"),
    }
    Some(text)
}

impl QuotaUse {
    fn of(limit: &LimitSnapshot, counts: &Counts) -> Option<Self> {
        let window = limit.quota.window()?;
        let most = limit.quota.limit().get();
        // Requests are charged when they arrive, tokens when the call is over.
        let events: Vec<(i64, u64)> = match limit.dimension {
            Dimension::Requests => counts.calls.iter().map(|(sent, ..)| (*sent, 1)).collect(),
            Dimension::TotalTokens => {
                counts.calls.iter().map(|(_, over, n)| (*over, u64::from(*n))).collect()
            }
            _ => return None,
        };
        let total: u64 = events.iter().map(|(_, n)| n).sum();
        let first = counts.calls.iter().map(|(sent, ..)| *sent).min()?;
        let last = counts.calls.iter().map(|(sent, ..)| *sent).max()?;
        // The first window's worth may go at once; each further one has to wait a window.
        let waits = total.div_ceil(most).saturating_sub(1);
        Some(Self {
            bound: format!("{} {}", limit.quota, limit.dimension),
            minimum_s: waits as f64 * window.as_secs_f64(),
            used: used(&events, first, last, window, most),
            delay_bound: limit.delay_bound,
            sending_s: (last - first) as f64 / 1_000.0,
        })
    }
}

/// The share of the quota used in whole windows after the first until the last admission.
fn used(events: &[(i64, u64)], first: i64, last: i64, window: Duration, most: u64) -> Option<f64> {
    let window = i64::try_from(window.as_millis()).ok().filter(|window| *window > 0)?;
    let windows = (last - first) / window;
    let whole = windows.checked_sub(1).filter(|whole| *whole > 0)?;
    let (from, to) = (first + window, first + windows * window);
    let inside = events.iter().filter(|(at, _)| *at >= from && *at < to);
    let sum: u64 = inside.map(|(_, n)| n).sum();
    Some(sum as f64 / (most as f64 * whole as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_judged_in_whole_windows_after_the_first() {
        // Windows of 1 s from 0: [1,2) and [2,3) count; 3.5 is the last admission.
        let events = [(0, 9), (1_000, 4), (1_999, 2), (2_500, 6), (3_000, 5), (3_500, 5)];
        let second = Duration::from_secs(1);
        assert_eq!(used(&events, 0, 3_500, second, 6), Some(1.0));
        assert_eq!(used(&events, 0, 1_999, second, 6), None);
    }
}
