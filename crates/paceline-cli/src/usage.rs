//! `paceline usage`: what the ledger says was used and spent, also while it is written.
//!
//! Invariants: money is printed exactly, from integers; the total is the sum of the lines shown.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};

use paceline_core::{Money, UnixMillis};
use paceline_ledger::{Group, Grouping, Range, Reader, Totals};
use serde_json::{Value, json};

use crate::account::unusable;
use crate::args::{By, UsageArgs};
use crate::error::{EXIT_DONE, UserError, escaped};
use crate::plan::thousands;
use crate::time::rfc3339;

/// Reads the ledger and prints.
pub(crate) fn run(args: &UsageArgs) -> Result<u8, UserError> {
    let failed = |error| unusable(&args.ledger, &error);
    let mut reader = Reader::open(&args.ledger).map_err(failed)?;
    if args.simulated {
        reader = reader.simulated();
    }
    let since = args.since.map(|since| since.moment(crate::time::now()));
    let range = since.map_or_else(Range::default, Range::since);
    let groups = reader.usage(args.by.into(), &range).map_err(failed)?;
    let mut total = Totals::default();
    groups.iter().for_each(|(_, totals)| total.add(totals));
    let text = if args.json {
        as_json(args, since, &groups, &total)
    } else if args.csv {
        as_csv(args.by, &groups)
    } else {
        as_table(args.by, &groups, &total)
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(UserError::usage("can't write to standard output").cause(error))
        }
        // Whoever read the beginning may have had enough.
        _ => Ok(EXIT_DONE),
    }
}

impl From<By> for Grouping {
    fn from(by: By) -> Self {
        match by {
            By::Hour => Self::Hour,
            By::Day => Self::Day,
            By::Model => Self::Model,
            By::Tag => Self::Tag,
        }
    }
}

const fn name_of(by: By) -> &'static str {
    match by {
        By::Hour => "hour",
        By::Day => "day",
        By::Model => "model",
        By::Tag => "tag",
    }
}

/// The group in one word; `None` where it has no name.
fn label(by: By, group: &Group) -> Option<String> {
    match group {
        Group::From(moment) => {
            let text = rfc3339(*moment);
            let (day, time) = text.split_once('T').unwrap_or((&text, ""));
            let hour = time.split(':').next().unwrap_or("");
            Some(if by == By::Hour { format!("{day}T{hour}:00Z") } else { day.to_owned() })
        }
        Group::Model(model) if model.as_str().is_empty() => None,
        Group::Model(model) => Some(model.as_str().to_owned()),
        Group::Tag(tag) => tag.as_ref().map(|tag| tag.as_str().to_owned()),
        _ => None,
    }
}

fn as_table(by: By, groups: &[(Group, Totals)], total: &Totals) -> String {
    let head = [name_of(by), "attempts", "answered", "in", "out", "known", "maybe", "spent"];
    let mut lines = vec![head.map(str::to_owned)];
    for (group, totals) in groups {
        let label = label(by, group).unwrap_or_else(|| "(none)".to_owned());
        lines.push(cells(escaped(&label).replace('\n', "\\n"), totals));
    }
    lines.push(cells("total".to_owned(), total));
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        let _ = write!(text, "{:width$}", line[0], width = widths[0]);
        for (cell, width) in line.iter().zip(widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    for (count, what) in [
        (total.open, "without an outcome: in flight, or their program died"),
        (total.maybe_charged, "may have been charged though no good answer came"),
        (total.without_usage, "answered without a usage, at what was reserved"),
        (total.cost_refused, "reported a cost that can't be one, at what was reserved"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{} {what}", thousands(count));
        }
    }
    text
}

fn cells(label: String, totals: &Totals) -> [String; 8] {
    let tokens = |tokens: u128| thousands(u64::try_from(tokens).unwrap_or(u64::MAX));
    [
        label,
        thousands(totals.attempts),
        thousands(totals.answered),
        tokens(totals.input_tokens),
        tokens(totals.output_tokens),
        totals.known.to_string(),
        (totals.possible + totals.open_reserved).to_string(),
        totals.spent().to_string(),
    ]
}

/// The figures of a group by name, in the order of the columns.
fn figures(totals: &Totals) -> [(&'static str, Value); 17] {
    let tokens = |tokens: u128| match u64::try_from(tokens) {
        Ok(tokens) => json!(tokens),
        Err(_) => json!(tokens.to_string()),
    };
    [
        ("attempts", json!(totals.attempts)),
        ("answered", json!(totals.answered)),
        ("refused", json!(totals.refused)),
        ("not_sent", json!(totals.not_sent)),
        ("maybe_charged", json!(totals.maybe_charged)),
        ("open", json!(totals.open)),
        ("input_tokens", tokens(totals.input_tokens)),
        ("output_tokens", tokens(totals.output_tokens)),
        ("reasoning_tokens", tokens(totals.reasoning_tokens)),
        ("cached_input_tokens", tokens(totals.cached_input_tokens)),
        ("counted_tokens", tokens(totals.counted_tokens)),
        ("known_usd", json!(exact(totals.known))),
        ("possible_usd", json!(exact(totals.possible))),
        ("open_usd", json!(exact(totals.open_reserved))),
        ("spent_usd", json!(exact(totals.spent()))),
        ("without_usage", json!(totals.without_usage)),
        ("cost_refused", json!(totals.cost_refused)),
    ]
}

fn object(totals: &Totals) -> serde_json::Map<String, Value> {
    figures(totals).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn as_json(
    args: &UsageArgs,
    since: Option<UnixMillis>,
    groups: &[(Group, Totals)],
    total: &Totals,
) -> String {
    let by = name_of(args.by);
    let rows: Vec<Value> = groups
        .iter()
        .map(|(group, totals)| {
            let mut row = serde_json::Map::new();
            row.insert(by.to_owned(), json!(label(args.by, group)));
            row.extend(object(totals));
            Value::Object(row)
        })
        .collect();
    let whole = json!({
        "ledger": args.ledger.display().to_string(),
        "simulated": args.simulated,
        "since": since.map(rfc3339),
        "by": by,
        "rows": rows,
        "total": object(total),
    });
    format!("{whole:#}\n")
}

fn as_csv(by: By, groups: &[(Group, Totals)]) -> String {
    let mut text = name_of(by).to_owned();
    for (name, _) in figures(&Totals::default()) {
        text.push(',');
        text.push_str(name);
    }
    text.push('\n');
    for (group, totals) in groups {
        text.push_str(&quoted(&label(by, group).unwrap_or_default()));
        for (_, value) in figures(totals) {
            text.push(',');
            match value {
                Value::String(value) => text.push_str(&value),
                value => text.push_str(&value.to_string()),
            }
        }
        text.push('\n');
    }
    text
}

/// A field as RFC 4180 has it.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", field.replace('"', "\"\""));
    }
    field.to_owned()
}

/// US dollars with all ten places.
fn exact(money: Money) -> String {
    let ticks = money.as_ticks();
    let sign = if ticks < 0 { "-" } else { "" };
    let unit = Money::TICKS_PER_USD.unsigned_abs();
    let (whole, rest) = (ticks.unsigned_abs() / unit, ticks.unsigned_abs() % unit);
    format!("{sign}{whole}.{rest:010}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_printed_to_the_tick() {
        let shown = |ticks| exact(Money::from_ticks(ticks));
        assert_eq!(shown(0), "0.0000000000");
        assert_eq!(shown(123_456_789_012), "12.3456789012");
        assert_eq!(shown(-1), "-0.0000000001");
    }

    #[test]
    fn groups_are_named_by_their_hour_or_day_in_utc() {
        let group = Group::From(UnixMillis::new(1_732_446_000_000));
        assert_eq!(label(By::Hour, &group).as_deref(), Some("2024-11-24T11:00Z"));
        assert_eq!(label(By::Day, &group).as_deref(), Some("2024-11-24"));
        assert_eq!(
            label(By::Day, &Group::From(UnixMillis::new(-1))).as_deref(),
            Some("1969-12-31")
        );
        assert_eq!(label(By::Tag, &Group::Tag(None)), None);
    }

    #[test]
    fn a_name_can_forge_neither_a_line_nor_a_column() {
        let groups = [(Group::Tag(Some("a,b\"c\nd\u{1b}[2J".into())), Totals::default())];
        let csv = as_csv(By::Tag, &groups);
        assert!(csv.contains("\"a,b\"\"c\nd\u{1b}[2J\",0,0"), "{csv:?}");
        let table = as_table(By::Tag, &groups, &Totals::default());
        assert_eq!(table.lines().count(), 3, "{table:?}");
        assert!(!table.contains('\u{1b}'), "{table:?}");
    }
}
