//! The words of a scenario: durations, quotas, keys and dimensions, as they are written in TOML.
//!
//! Each is a checked string. Invariant: what is not understood is an error that quotes it.

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{Dimension, LimitKey, Quota};
use paceline_limiter::{ChargeRule, Pacing};
use serde::Deserialize;

/// A duration or a moment since the scenario's start: `"1.5s"`, `"250ms"`, `"2min"`, `"1ns"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Span(pub(crate) Duration);

/// What is counted: `"requests"`, `"total_tokens"`, `"custom0"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Counted(pub(crate) Dimension);

/// Whose calls: `"all"`, `"model:grok-4"`, `"tag:nightly"`, `"caller:alice"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Key(pub(crate) LimitKey);

/// How much: `"10/s"`, `"600/min"`, `"100/2.5s"`, `"5 in all"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Amounts(pub(crate) Quota);

/// How it is spaced: `"none"`, `"even"`, `"bucket"`, `"burst 5"`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Spacing(pub(crate) Pacing);

/// When it is charged: `"arrival"`, `"completion"`, `"in_flight"`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Charged(pub(crate) ChargeRule);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("not a duration: {text:?}");
        let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(unit_at);
        let nanos: u64 = match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "min" => 60 * 1_000_000_000,
            "h" => 3_600 * 1_000_000_000,
            "day" => 86_400 * 1_000_000_000,
            _ => return Err(wrong()),
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 9 {
            return Err(wrong());
        }
        let mut total = whole.parse::<u64>().ok().and_then(|n| n.checked_mul(nanos));
        if !part.is_empty() {
            let scale = 10_u64.pow(u32::try_from(part.len()).map_err(|_| wrong())?);
            let fraction = part.parse::<u64>().map_err(|_| wrong())?;
            let product = u128::from(fraction) * u128::from(nanos);
            if product % u128::from(scale) != 0 {
                return Err(wrong());
            }
            let nanos = u64::try_from(product / u128::from(scale)).map_err(|_| wrong())?;
            total = total.and_then(|total| total.checked_add(nanos));
        }
        total.map(|nanos| Self(Duration::from_nanos(nanos))).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Counted {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Ok(Self(match text.as_str() {
            "requests" => Dimension::Requests,
            "input_tokens" => Dimension::InputTokens,
            "output_tokens" => Dimension::OutputTokens,
            "total_tokens" => Dimension::TotalTokens,
            "in_flight" => Dimension::InFlight,
            "money" => Dimension::Money,
            "custom0" => Dimension::custom::<0>(),
            "custom1" => Dimension::custom::<1>(),
            _ => return Err(format!("not a dimension: {text:?}")),
        }))
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Ok(Self(match text.split_once(':') {
            None if text == "all" => LimitKey::All,
            Some(("model", name)) => LimitKey::Model(name.into()),
            Some(("tag", name)) => LimitKey::Tag(name.into()),
            Some(("caller", name)) => LimitKey::Caller(name.into()),
            _ => return Err(format!("not a key: {text:?}")),
        }))
    }
}

impl TryFrom<String> for Amounts {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("not a quota: {text:?}");
        let limit = |text: &str| {
            let digits = text.replace('_', "");
            digits.parse::<u64>().ok().and_then(NonZeroU64::new).ok_or_else(wrong)
        };
        if let Some(total) = text.strip_suffix(" in all") {
            return Ok(Self(Quota::once(limit(total)?)));
        }
        let (amount, window) = text.split_once('/').ok_or_else(wrong)?;
        let is_unit = window.starts_with(|c: char| c.is_ascii_alphabetic());
        let window = if is_unit { format!("1{window}") } else { window.to_owned() };
        let window = Span::try_from(window)?.0;
        Quota::per(limit(amount)?, window).map(Self).map_err(|why| format!("{text:?}: {why}"))
    }
}

impl TryFrom<String> for Spacing {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let burst = |text: &str| text.strip_prefix("burst ")?.parse::<NonZeroU64>().ok();
        Ok(Self(match text.as_str() {
            "none" => Pacing::None,
            "even" => Pacing::Even,
            "bucket" => Pacing::Bucket,
            other => burst(other).map(Pacing::Burst).ok_or(format!("not a pacing: {text:?}"))?,
        }))
    }
}

impl TryFrom<String> for Charged {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Ok(Self(match text.as_str() {
            "arrival" => ChargeRule::Arrival,
            "completion" => ChargeRule::Completion,
            "flow" => ChargeRule::Flow,
            "in_flight" => ChargeRule::WhileInFlight,
            _ => return Err(format!("not a charge rule: {text:?}")),
        }))
    }
}

#[test]
fn a_duration_is_exact_or_refused() {
    let nanos = |text: &str| Span::try_from(text.to_owned()).map(|span| span.0.as_nanos());
    assert_eq!(nanos("1.5s"), Ok(1_500_000_000));
    assert_eq!(nanos("60.000000001s"), Ok(60_000_000_001));
    assert_eq!(nanos("2min"), Ok(120_000_000_000));
    for wrong in ["", "5", "s", "-1s", "1.s5", "0.5ns", "1 s", "1e3s", "99999999999day"] {
        assert!(nanos(wrong).is_err(), "{wrong}");
    }
}
