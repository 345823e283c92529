//! What an answer says it used.
//!
//! Estimates nothing. What this file keeps: a reading is the server's own numbers, checked
//! against each other, or no numbers at all; and output is always total less input.

use paceline_core::{Money, Usage, UsageError};
use serde_json::Value;

/// What an answer said of its usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "stated, not stated, or not to be believed")]
pub enum UsageReading {
    /// The server reported it. Zero is a report.
    Reported(
        /// The usage, exact.
        Usage,
    ),
    /// The server said nothing.
    Missing,
    /// The server said something that can't be. What was reserved for the call stays spent.
    Refused(
        /// What is wrong with it.
        UsageProblem,
    ),
}

/// Why reported numbers were not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsageProblem {
    /// A number is below zero.
    #[error("the reported usage holds a negative number")]
    Negative,
    /// The usage is no object, or a number in it is not an integer.
    #[error("the reported usage holds something that is not a whole number")]
    NotANumber,
    /// A number is larger than [`Usage::MAX_TOKENS`].
    #[error("the reported usage holds an absurdly large number")]
    Absurd,
    /// The numbers do not add up, or two names of one number differ.
    #[error("the reported usage contradicts itself")]
    Contradictory,
    /// Too little is there to know the input and the total.
    #[error("the reported usage does not say both input and output")]
    Incomplete,
}

impl UsageReading {
    /// The usage, if there is one.
    pub const fn usage(&self) -> Option<&Usage> {
        match self {
            Self::Reported(usage) => Some(usage),
            Self::Missing | Self::Refused(_) => None,
        }
    }
}

/// Reads the usage of a whole answer: its `usage`, or its `token_usage`.
///
/// Takes every shape xAI has sent: chat (`prompt_tokens`, `completion_tokens` without
/// reasoning), responses (`input_tokens`, `output_tokens` with reasoning), and the `token_usage`
/// of the early Grok-2 guide, which mixes both. A `cost_in_usd_ticks` above zero becomes the
/// cost; zero, less, and more than 100,000 dollars count as not reported.
///
/// ```
/// use paceline_transport::usage::{UsageReading, read_chat};
/// let answer = serde_json::json!({"usage": {
///     "prompt_tokens": 137, "completion_tokens": 7, "total_tokens": 270,
///     "completion_tokens_details": {"reasoning_tokens": 126},
/// }});
/// let UsageReading::Reported(usage) = read_chat(&answer) else { panic!("it is reported") };
/// assert_eq!((usage.input_tokens(), usage.output_tokens()), (137, 133));
/// ```
pub fn read_chat(answer: &Value) -> UsageReading {
    let usage = ["usage", "token_usage"]
        .into_iter()
        .filter_map(|name| answer.get(name))
        .find(|usage| !usage.is_null());
    usage.map_or(UsageReading::Missing, read_object)
}

/// Reads the usage that stands at a JSON pointer (RFC 6901), such as `/token_usage`.
pub fn read_pointer(answer: &Value, pointer: &str) -> UsageReading {
    answer.pointer(pointer).map_or(UsageReading::Missing, read_object)
}

fn read_object(object: &Value) -> UsageReading {
    if object.is_null() {
        return UsageReading::Missing;
    }
    match read_fields(object) {
        Ok(Some(usage)) => UsageReading::Reported(usage),
        Ok(None) => UsageReading::Missing,
        Err(problem) => UsageReading::Refused(problem),
    }
}

/// `None` where no known field is there.
fn read_fields(object: &Value) -> Result<Option<Usage>, UsageProblem> {
    if !object.is_object() {
        return Err(UsageProblem::NotANumber);
    }
    let input = either(object.get("prompt_tokens"), object.get("input_tokens"))?;
    let output = either(object.get("completion_tokens"), object.get("output_tokens"))?;
    let total = count(object.get("total_tokens"))?;
    if input.is_none() && output.is_none() && total.is_none() {
        return Ok(None);
    }
    let detail = |details: &str, name: &str| object.get(details).and_then(|all| all.get(name));
    let reasoning = either(
        detail("completion_tokens_details", "reasoning_tokens"),
        detail("output_tokens_details", "reasoning_tokens"),
    )?
    .unwrap_or(0);
    let cached = either(
        detail("prompt_tokens_details", "cached_tokens"),
        detail("input_tokens_details", "cached_tokens"),
    )?
    .unwrap_or(0);
    let (Some(input), Some(total)) = (input, total_of(object, input, output, total, reasoning)?)
    else {
        return Err(UsageProblem::Incomplete);
    };
    let usage = Usage::new(input, total)
        .and_then(|usage| usage.with_reasoning(reasoning))
        .and_then(|usage| usage.with_cached_input(cached))
        .map_err(|error| match error {
            UsageError::Absurd => UsageProblem::Absurd,
            _ => UsageProblem::Contradictory,
        })?;
    Ok(Some(match cost(object) {
        Some(cost) => usage.with_cost(cost),
        None => usage,
    }))
}

/// The total, checked against the parts or, where it is not stated, reckoned from them.
fn total_of(
    object: &Value,
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    reasoning: u64,
) -> Result<Option<u64>, UsageProblem> {
    let (Some(input), Some(output)) = (input, output) else {
        return Ok(total);
    };
    // No sum overflows: `count` takes nothing above 2^40.
    let (inclusive, exclusive) = (input + output, input + output + reasoning);
    match total {
        Some(total) if total == inclusive || total == exclusive => Ok(Some(total)),
        Some(_) => Err(UsageProblem::Contradictory),
        // Cached input that stands beside the input makes the sum too small.
        None if ["cache_read_input_tokens", "cache_creation_input_tokens"]
            .iter()
            .any(|name| !matches!(count(object.get(*name)), Ok(None | Some(0)))) =>
        {
            Ok(None)
        }
        None if object.get("output_tokens").is_some() => Ok(Some(inclusive)),
        // Reasoning larger than the output can't be inside it.
        None if reasoning == 0 || reasoning > output => Ok(Some(exclusive)),
        None => Ok(None),
    }
}

/// A number that goes by two names; where both are there, they must agree.
fn either(one: Option<&Value>, other: Option<&Value>) -> Result<Option<u64>, UsageProblem> {
    match (count(one)?, count(other)?) {
        (Some(one), Some(other)) if one != other => Err(UsageProblem::Contradictory),
        (one, other) => Ok(one.or(other)),
    }
}

/// A number of tokens; `None` where it is not there or null.
fn count(value: Option<&Value>) -> Result<Option<u64>, UsageProblem> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => match (number.as_u64(), number.as_f64()) {
            (Some(tokens), _) if tokens <= Usage::MAX_TOKENS => Ok(Some(tokens)),
            (Some(_), _) => Err(UsageProblem::Absurd),
            (None, Some(number)) if number < 0.0 => Err(UsageProblem::Negative),
            (None, Some(number)) if number >= Usage::MAX_TOKENS as f64 => Err(UsageProblem::Absurd),
            (None, _) => Err(UsageProblem::NotANumber),
        },
        Some(_) => Err(UsageProblem::NotANumber),
    }
}

/// The cost, where the server reported one that can be.
fn cost(object: &Value) -> Option<Money> {
    let ticks = object.get("cost_in_usd_ticks")?.as_i64()?;
    let most = Money::TICKS_PER_USD * MAX_COST_USD;
    let ticks = i128::from(ticks);
    (ticks > 0 && ticks <= most).then(|| Money::from_ticks(ticks))
}

/// No call costs more; a larger figure is a fault of the report.
const MAX_COST_USD: i128 = 100_000;
