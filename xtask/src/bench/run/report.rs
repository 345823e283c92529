//! The report that a run writes for machines, by the names of its fields.
//!
//! It computes nothing. Invariant: a field that a measurement stands on and that is missing is an
//! error that names it, never a zero.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::shell::{Failure, Outcome, about};

/// A report.
#[derive(Debug)]
pub(super) struct Report(Value);

impl Report {
    pub(super) fn read(path: &Path) -> Outcome<Self> {
        let text = fs::read_to_string(path).map_err(|why| about("read", path, why))?;
        Self::parse(&text).map_err(|why| about("read", path, why))
    }

    fn parse(text: &str) -> Outcome<Self> {
        match serde_json::from_str(text) {
            Ok(value @ Value::Object(_)) => Ok(Self(value)),
            Ok(_) => Err(Failure::check("it is not a JSON object")),
            Err(why) => Err(Failure::check(why.to_string())),
        }
    }

    /// How many answers had status 429.
    pub(super) fn status_429(&self) -> Outcome<u64> {
        let field = "/http/status_429";
        let value = self.0.pointer(field).and_then(Value::as_u64);
        value.ok_or_else(|| Failure::check(format!("the report has no count {field}")))
    }

    /// The share of the binding limit that was used in whole windows.
    pub(super) fn quota_used(&self) -> Outcome<f64> {
        let field = "/quota/used";
        self.number(field)
            .ok_or_else(|| Failure::check(format!("the report has no number {field}")))
    }

    /// The delay bound of the limiter in seconds, where it is reported.
    pub(super) fn delay_bound_s(&self) -> Option<f64> {
        self.number("/quota/delay_bound_s")
    }

    /// The mean relative error of the estimated input tokens, where it is reported.
    pub(super) fn input_error(&self) -> Option<f64> {
        self.number("/estimate/input_error")
    }

    fn number(&self, field: &str) -> Option<f64> {
        self.0.pointer(field).and_then(Value::as_f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name() {
        let report = Report::parse(
            r#"{"http": {"status_429": 3}, "quota": {"used": 0.93, "delay_bound_s": 0.075},
                "estimate": {"input_error": 0.02}}"#,
        );
        let report = report.unwrap();
        assert_eq!(report.status_429(), Ok(3));
        assert_eq!(report.quota_used(), Ok(0.93));
        assert_eq!(report.delay_bound_s(), Some(0.075));
        assert_eq!(report.input_error(), Some(0.02));
    }

    #[test]
    fn a_missing_count_is_an_error_and_not_zero() {
        let report = Report::parse(r#"{"http": {}, "quota": {"used": null}}"#).unwrap();
        let Err(Failure::Check(why)) = report.status_429() else { panic!() };
        assert_eq!(why, "the report has no count /http/status_429");
        assert!(report.quota_used().is_err());
        assert!(Report::parse("[]").is_err() && Report::parse("{").is_err());
    }
}
