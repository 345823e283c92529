//! One measured number in the form that every benchmark of the workspace writes.
//!
//! It measures and shows nothing. Invariant: a number that is none is written as null.

use serde_json::{Value, json};

/// How a value is held against its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    AtLeast,
    AtMost,
}

/// One measured number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    target: Option<(Compare, f64)>,
}

impl Row {
    /// A value in a unit, which is only reported.
    pub(super) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, target: None }
    }

    /// It has to reach this.
    pub(super) fn at_least(&mut self, target: f64) {
        self.target = Some((Compare::AtLeast, target));
    }

    /// It must not pass this.
    pub(super) fn at_most(&mut self, target: f64) {
        self.target = Some((Compare::AtMost, target));
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value.is_finite().then_some(self.value),
            "unit": self.unit,
            "target": self.target.map(|(_, target)| target),
            "cmp": self.target.map(|(compare, _)| match compare {
                Compare::AtLeast => ">=",
                Compare::AtMost => "<=",
            }),
            "peer": null,
        })
    }
}

/// The rows as one JSON list, a row a line.
pub(super) fn to_json(rows: &[Row]) -> String {
    let lines: Vec<_> = rows.iter().map(|row| format!("  {}", row.to_json())).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}
