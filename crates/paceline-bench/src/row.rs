//! One measured number in the form that every benchmark of the workspace writes.
//!
//! It measures and shows nothing. Invariant: a number that is none is written as null.

use serde_json::{Value, json};

/// How a value is held against its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    AtLeast,
    AtMost,
}

impl Compare {
    const fn sign(self) -> &'static str {
        match self {
            Self::AtLeast => ">=",
            Self::AtMost => "<=",
        }
    }
}

/// One measured number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    target: Option<(Compare, f64)>,
    peer: Option<String>,
}

impl Row {
    /// A value in a unit, which is only reported.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, target: None, peer: None }
    }

    /// It has to reach this.
    pub(crate) fn at_least(&mut self, target: f64) {
        self.target = Some((Compare::AtLeast, target));
    }

    /// It must not pass this.
    pub(crate) fn at_most(&mut self, target: f64) {
        self.target = Some((Compare::AtMost, target));
    }

    /// Measured beside this, in the same run.
    #[must_use]
    pub(crate) fn beside(mut self, peer: impl Into<String>) -> Self {
        self.peer = Some(peer.into());
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn value(&self) -> f64 {
        self.value
    }

    pub(crate) const fn unit(&self) -> &'static str {
        self.unit
    }

    /// Its target for people; empty where it has none.
    pub(crate) fn held_to(&self) -> String {
        match self.target {
            Some((compare, target)) => format!("{} {target}", compare.sign()),
            None => String::new(),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value.is_finite().then_some(self.value),
            "unit": self.unit,
            "target": self.target.map(|(_, target)| target),
            "cmp": self.target.map(|(compare, _)| compare.sign()),
            "peer": self.peer,
        })
    }
}

/// The rows as one JSON list, a row a line.
pub(crate) fn to_json(rows: &[Row]) -> String {
    let lines: Vec<_> = rows.iter().map(|row| format!("  {}", row.to_json())).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}
