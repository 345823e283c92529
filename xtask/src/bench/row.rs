//! One measured number, how it is written and how it is shown.
//!
//! It measures nothing. Invariant: a row that could not be measured is written as null and never
//! counts as met.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// How a value is held against its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    AtLeast,
    AtMost,
    Exactly,
}

impl Compare {
    const fn sign(self) -> &'static str {
        match self {
            Self::AtLeast => ">=",
            Self::AtMost => "<=",
            Self::Exactly => "==",
        }
    }
}

/// What a value was measured beside.
#[derive(Clone, Debug, PartialEq)]
enum Peer {
    /// The same number, measured on something else.
    Figure(f64),
    /// What a ratio is to.
    Name(String),
}

/// One measured number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    name: String,
    value: Option<f64>,
    unit: &'static str,
    target: Option<(Compare, f64)>,
    peer: Option<Peer>,
}

impl Row {
    /// A value in a unit; without a target it is only reported.
    pub(super) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let value = value.is_finite().then_some(value);
        Self { name: name.into(), value, unit, target: None, peer: None }
    }

    /// A count.
    pub(super) fn count(name: impl Into<String>, value: u64, unit: &'static str) -> Self {
        Self::new(name, as_f64(value), unit)
    }

    /// Something that should have been measured and could not be.
    pub(super) fn not_measured(name: impl Into<String>, unit: &'static str) -> Self {
        Self::new(name, f64::NAN, unit)
    }

    /// With what it has to reach.
    #[must_use]
    pub(super) const fn target(mut self, compare: Compare, target: f64) -> Self {
        self.target = Some((compare, target));
        self
    }

    /// With the same number measured on something else.
    #[must_use]
    pub(super) fn peer(mut self, peer: f64) -> Self {
        self.peer = Some(Peer::Figure(peer));
        self
    }

    /// With the name of what it is a ratio to.
    #[must_use]
    pub(super) fn beside(mut self, peer: impl Into<String>) -> Self {
        self.peer = Some(Peer::Name(peer.into()));
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it was measured and reaches its target, if it has one.
    pub(super) fn is_met(&self) -> bool {
        match (self.value, self.target) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(value), Some((Compare::AtLeast, target))) => value >= target,
            (Some(value), Some((Compare::AtMost, target))) => value <= target,
            (Some(value), Some((Compare::Exactly, target))) => (value - target).abs() < 1e-9,
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "target": self.target.map(|(_, target)| target),
            "cmp": self.target.map(|(compare, _)| compare.sign()),
            "peer": self.peer.as_ref().map(Peer::to_json),
        })
    }

    fn cells(&self) -> [String; 6] {
        let verdict = match (self.value, self.target) {
            (None, _) => "NOT MEASURED",
            (Some(_), None) => "",
            _ if self.is_met() => "met",
            _ => "MISSED",
        };
        [
            self.name.clone(),
            self.value.map_or_else(String::new, number),
            self.unit.to_owned(),
            self.target.map_or_else(String::new, |(compare, target)| {
                format!("{} {}", compare.sign(), number(target))
            }),
            self.peer.as_ref().map_or_else(String::new, Peer::cell),
            verdict.to_owned(),
        ]
    }
}

impl Peer {
    fn to_json(&self) -> Value {
        match self {
            Self::Figure(figure) => json!(figure),
            Self::Name(name) => json!(name),
        }
    }

    fn cell(&self) -> String {
        match self {
            Self::Figure(figure) => number(*figure),
            Self::Name(name) => name.clone(),
        }
    }
}

/// The nearest number that has a fraction; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "a figure for people, and counts are small")]
pub(super) const fn as_f64(count: u64) -> f64 {
    count as f64
}

/// The rows as one JSON list, a row a line.
pub(super) fn to_json(rows: &[Row]) -> String {
    let lines: Vec<_> = rows.iter().map(|row| format!("  {}", row.to_json())).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

/// The rows for people: names to the left, numbers to the right.
pub(super) fn table(rows: &[Row]) -> String {
    let head = ["name", "value", "unit", "target", "peer", ""].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max();
    let widths: [usize; 6] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for [name, value, unit, target, peer, verdict] in &lines {
        let [n, v, u, t, p, _] = widths;
        let _ =
            write!(text, "{name:n$}  {value:>v$}  {unit:u$}  {target:t$}  {peer:>p$}  {verdict}");
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// A whole number as such, another with three decimals.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        vec![
            Row::count("gsm8k.rows_once", 1319, "rows").target(Compare::Exactly, 1319.0),
            Row::new("gsm8k.send_span", 34.5, "s").target(Compare::AtLeast, 35.0),
            Row::new("memory.peak", 21.25, "MiB").peer(20.0),
            Row::not_measured("mgsm.input_error.th", "share"),
        ]
    }

    #[test]
    fn rows_are_written_as_a_json_list_with_nulls_for_what_is_not_there() {
        let written: Value = serde_json::from_str(&to_json(&rows())).unwrap();
        assert_eq!(
            written,
            json!([
                {"name": "gsm8k.rows_once", "value": 1319.0, "unit": "rows", "target": 1319.0, "cmp": "==", "peer": null},
                {"name": "gsm8k.send_span", "value": 34.5, "unit": "s", "target": 35.0, "cmp": ">=", "peer": null},
                {"name": "memory.peak", "value": 21.25, "unit": "MiB", "target": null, "cmp": null, "peer": 20.0},
                {"name": "mgsm.input_error.th", "value": null, "unit": "share", "target": null, "cmp": null, "peer": null},
            ])
        );
    }

    #[test]
    fn rows_are_shown_in_columns_with_a_verdict() {
        assert_eq!(
            table(&rows()),
            "name                  value  unit   target   peer\n\
             gsm8k.rows_once        1319  rows   == 1319        met\n\
             gsm8k.send_span      34.500  s      >= 35          MISSED\n\
             memory.peak          21.250  MiB               20\n\
             mgsm.input_error.th          share                 NOT MEASURED"
        );
    }

    #[test]
    fn a_target_is_met_at_its_bound_and_not_beyond_it() {
        let met = |compare, value| Row::new("x", value, "s").target(compare, 35.0).is_met();
        assert!(met(Compare::AtLeast, 35.0) && !met(Compare::AtLeast, 34.999));
        assert!(met(Compare::AtMost, 35.0) && !met(Compare::AtMost, 35.001));
        assert!(met(Compare::Exactly, 35.0) && !met(Compare::Exactly, 36.0));
    }

    #[test]
    fn what_was_not_measured_or_is_no_number_is_never_met() {
        assert!(!Row::not_measured("x", "s").is_met());
        assert!(!Row::new("x", f64::INFINITY, "s").target(Compare::AtLeast, 1.0).is_met());
    }
}
