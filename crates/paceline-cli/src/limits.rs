//! `paceline limits`: which limits are in force for a model, who says so, and what was learned of the server.
//!
//! It sends nothing unless it is told to.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use paceline::transport::ApiKey;
use paceline::{Chat, Client, CountedAt, ServerRule, WindowShape};
use paceline_core::{Dimension, ModelId};
use serde_json::{Value, json};

use crate::args::LimitsArgs;
use crate::error::{EXIT_DONE, UserError};
use crate::learned::beside;
use crate::plan::thousands;
use crate::servers::{self, Limit, Model, Said, Servers, Word};
use crate::time::{now, rfc3339};

/// Shows them.
pub(crate) async fn run(args: &LimitsArgs) -> Result<u8, UserError> {
    let model = paceline::budget::tiers::canonical(&ModelId::from(args.model.as_str()));
    let from = kept_at(args);
    let kept = from.as_deref().map(Servers::load).transpose()?;
    let kept = kept.unwrap_or_else(Servers::new);
    let base_url = args.base_url.as_deref().unwrap_or(paceline::XAI_BASE_URL);
    let only = kept.only().filter(|_| args.base_url.is_none() && !args.probe);
    let host = only.map_or_else(|| servers::host(base_url), ToOwned::to_owned);
    let server = kept.of(&host);
    let client = client(args, base_url, server.map(servers::Server::rules).unwrap_or_default())?;
    let mut heard = server.map(|server| rfc3339(server.at()));
    let mut found = server.and_then(|server| server.model(&model)).cloned().unwrap_or_default();
    if args.probe {
        let chat = Chat::new(model.clone()).user("Hi").max_output_tokens(1);
        client.chat(&chat).await.map_err(|error| {
            UserError::usage(format!("the call to {host} did not succeed: {error}"))
                .hint("leave out --probe to see what is known without asking")
        })?;
        heard = Some(rfc3339(now()));
        found.limits.clear();
    }
    if found.limits.is_empty() {
        found.limits = client.known_limits(&model).iter().map(Limit::from).collect();
    }
    let text = if args.json {
        format!("{:#}\n", as_json(&host, &model, heard.as_deref(), &found))
    } else {
        as_text(&host, &model, heard.as_deref(), &found)
    };
    // Who stopped reading has seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(EXIT_DONE)
}

/// What a run kept: as named, or of the ledger.
fn kept_at(args: &LimitsArgs) -> Option<PathBuf> {
    let ledger = args.ledger.as_deref().map(|ledger| beside(ledger, ".limits"));
    args.kept.clone().or(ledger)
}

/// A client that knows what is in the table, and sends only where it is told to.
fn client(
    args: &LimitsArgs,
    base_url: &str,
    rules: std::collections::BTreeMap<ModelId, ServerRule>,
) -> Result<Client, UserError> {
    let key = if args.probe {
        crate::run::key_in(&args.api_key_env)?
    } else {
        ApiKey::new("nothing-is-sent").map_err(|error| UserError::usage(error.to_string()))?
    };
    Client::builder().base_url(base_url).api_key(key).learned(rules).build().map_err(|error| {
        UserError::usage(error.to_string())
            .hint("--base-url takes an address such as https://api.x.ai/v1")
    })
}

fn as_text(host: &str, model: &ModelId, heard: Option<&str>, found: &Model) -> String {
    let mut text = format!("{model} at {host}\n");
    let name = |limit: &Limit| format!("{} per {}", noun(limit.dimension), window(limit));
    let width = found.limits.iter().map(|limit| name(limit).len()).max().unwrap_or(0);
    let number = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), thousands);
    let digits = found.limits.iter().map(|limit| number(limit.in_force).len()).max().unwrap_or(0);
    for limit in &found.limits {
        let in_force = number(limit.in_force);
        let _ = writeln!(text, "  {:width$}  {in_force:>digits$}  {}", name(limit), source(limit));
    }
    if found.limits.is_empty() {
        text.push_str("  no limits are known\n");
    }
    let _ = writeln!(text, "  {}", rule(&found.rule));
    let _ = match heard {
        Some(at) => writeln!(text, "  heard of last at {at}"),
        None => writeln!(
            text,
            "  nothing was heard of this server yet: name what a run kept, or ask it with --probe"
        ),
    };
    text
}

fn noun(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Requests => "requests",
        Dimension::InputTokens => "input tokens",
        Dimension::OutputTokens => "output tokens",
        Dimension::TotalTokens => "tokens",
        _ => "units",
    }
}

fn window(limit: &Limit) -> String {
    match limit.window().as_secs() {
        1 => "second".to_owned(),
        60 => "minute".to_owned(),
        3_600 => "hour".to_owned(),
        86_400 => "day".to_owned(),
        seconds => format!("{seconds} s"),
    }
}

/// Who says so, the one that binds first.
fn source(limit: &Limit) -> String {
    let mut said = Vec::new();
    if let Some(refusal) = limit.refusal {
        said.push(format!("a refusal said {}", thousands(refusal)));
    }
    match limit.header {
        Some(Said::Limit(limit)) => said.push(format!("the headers say {}", thousands(limit))),
        Some(Said::Word(Word::Unlimited)) => said.push("the headers say unlimited".to_owned()),
        None => {}
    }
    if let Some(ceiling) = limit.ceiling {
        said.push(format!("you allow {}", thousands(ceiling)));
    }
    if let Some(table) = limit.table {
        let begins =
            if limit.header.is_none() && limit.refusal.is_none() { "" } else { "began at " };
        said.push(format!("{begins}{} by the table for tier 0", thousands(table)));
    }
    said.join("; ")
}

/// What was learned, as a sentence.
fn rule(rule: &ServerRule) -> String {
    let mut parts = Vec::new();
    match rule.counted_at {
        Some(CountedAt::Arrival) => parts.push("tokens count when a call arrives".to_owned()),
        Some(CountedAt::Completion) => parts.push("tokens count when a call is over".to_owned()),
        Some(CountedAt::HeldAtMost) => {
            parts.push("the most a call could use counts until it is over".to_owned());
        }
        _ => {}
    }
    match rule.window {
        Some(WindowShape::Sliding) => parts.push("they leave a minute later".to_owned()),
        Some(WindowShape::Aligned) => parts.push("they leave when a minute begins".to_owned()),
        Some(WindowShape::TwoCounter) => {
            parts.push("the minute before counts in part".to_owned());
        }
        Some(WindowShape::Bucket) => parts.push("they leave evenly, as from a bucket".to_owned()),
        _ => {}
    }
    if let Some(capacity) = rule.capacity {
        parts.push(format!("at most {} at once", thousands(capacity)));
    }
    if parts.is_empty() {
        return "learned: nothing yet of how the server counts".to_owned();
    }
    let by = match rule.looks {
        0 => String::new(),
        looks => format!(" (by {} answers)", thousands(looks)),
    };
    format!("learned: {}{by}", parts.join("; "))
}

fn as_json(host: &str, model: &ModelId, heard: Option<&str>, found: &Model) -> Value {
    let limits: Vec<Value> = found
        .limits
        .iter()
        .map(|limit| {
            json!({
                "dimension": limit.dimension,
                "window_s": limit.window().as_secs_f64(),
                "in_force": limit.in_force,
                "table": limit.table,
                "header": limit.header,
                "refusal": limit.refusal,
                "ceiling": limit.ceiling,
            })
        })
        .collect();
    json!({
        "server": host,
        "model": model.as_str(),
        "heard_at": heard,
        "limits": limits,
        "learned": found.rule,
    })
}
