//! Progress on stderr: seven lines on a terminal, a line every 30 seconds elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use paceline::budget::Job;
use paceline::{Client, JobRange};
use paceline_core::{Dimension, LimitKey};
use paceline_limiter::{LimitSnapshot, Snapshot};

use crate::plan::{self, thousands};
use crate::runner::RowCounts;
use crate::tally::Tally;
use crate::time::spoken;

/// The painter.
#[derive(Debug)]
pub(crate) struct Progress {
    on_terminal: bool,
    quiet: bool,
    painted: usize,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        Self { on_terminal, quiet, painted: 0 }
    }

    /// How often to show.
    pub(crate) const fn period(&self) -> Duration {
        if self.on_terminal { Duration::from_millis(500) } else { Duration::from_secs(30) }
    }

    pub(crate) fn show(&mut self, rows: &RowCounts, tally: &Tally, client: &Client, job: &Job) {
        if self.quiet {
            return;
        }
        let Some(limits) = client.limits() else { return };
        let lines = lines(rows, tally, &limits, &client.job(job));
        let mut text = String::new();
        if self.on_terminal {
            self.erase(&mut text);
            self.painted = lines.len();
            for line in &lines {
                text.push_str(line);
                text.push('\n');
            }
        } else {
            text = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" | ");
            text.push('\n');
        }
        // Progress that nobody can read is not worth an error.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// Takes the lines off the terminal again.
    pub(crate) fn clear(&mut self) {
        let mut text = String::new();
        self.erase(&mut text);
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    fn erase(&mut self, text: &mut String) {
        if self.painted > 0 {
            text.push_str(&format!("\x1b[{}A\x1b[0J", self.painted));
            self.painted = 0;
        }
    }
}

fn lines(rows: &RowCounts, tally: &Tally, limits: &Snapshot, job: &JobRange) -> Vec<String> {
    let counts = tally.counts();
    let over = rows.done + rows.failed + rows.skipped;
    let percent = over * 100 / rows.total.max(1);
    let filled = usize::try_from(percent / 5).unwrap_or(20).min(20);
    let bar = format!("{}{}", "#".repeat(filled), "-".repeat(20 - filled));
    let mut lines = vec![format!(
        "[{bar}] {percent} %  {}/{} rows   ok {}  failed {}  in flight {}",
        thousands(over),
        thousands(rows.total),
        thousands(rows.done + rows.skipped),
        rows.failed,
        limits.in_flight,
    )];
    let blocked = limits.blocked.as_ref();
    let waited_on = blocked.and_then(|blocked| blocked.by.as_ref());
    for limit in limits.limits.iter().filter(|limit| is_shown(limit)) {
        let mut line = format!(
            "{:<12} {} of {}   {} %",
            limit.dimension.to_string(),
            thousands(limit.used.saturating_add(limit.held)),
            limit.quota,
            (limit.used.saturating_add(limit.held)).saturating_mul(100) / limit.quota.limit(),
        );
        let is_it = waited_on.is_some_and(|by| {
            by.key == limit.key && by.dimension == limit.dimension && by.quota == limit.quota
        });
        if is_it {
            line.push_str("   <- waiting on this");
            if let Some(wait) = blocked.and_then(|blocked| blocked.wait(limits.at)) {
                line.push_str(&format!(", next in {}", spoken(wait)));
            }
        }
        lines.push(line);
    }
    lines.push(format!(
        "cost {} now   429s {}  retries {}",
        counts.cost,
        counts.status_429(),
        counts.retries
    ));
    lines.push(format!("in all    {}", plan::in_short(job)));
    let left = rows.total.saturating_sub(over);
    if let Some(time) = time_left(left, counts.averages.of(Dimension::TotalTokens).mean(), limits) {
        lines.push(format!("done in about {}", spoken(time)));
    }
    lines
}

fn is_shown(limit: &LimitSnapshot) -> bool {
    matches!(limit.key, LimitKey::Model(_))
}

/// The slowest of what is left over each limit.
fn time_left(rows: u64, mean_tokens: f64, limits: &Snapshot) -> Option<Duration> {
    let needs = limits.limits.iter().filter_map(|limit| {
        let need = match limit.dimension {
            Dimension::Requests => rows as f64,
            Dimension::TotalTokens if mean_tokens > 0.0 => rows as f64 * mean_tokens,
            _ => return None,
        };
        Some(need / limit.quota.limit().get() as f64 * limit.quota.window()?.as_secs_f64())
    });
    needs.reduce(f64::max).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}
