//! Usage in every recorded shape, and what is not to be believed.

use paceline_core::{Certainty, Money};
use paceline_transport::usage::{UsageProblem, UsageReading, read_chat, read_pointer};
use serde_json::{Value, json};

/// Input, output, reasoning, cached.
#[track_caller]
fn reported(usage: Value, expected: (u64, u64, u64, u64)) {
    let UsageReading::Reported(read) = read_chat(&json!({"usage": usage})) else {
        panic!("{usage} is {:?}", read_chat(&json!({"usage": usage})));
    };
    let found = (
        read.input_tokens(),
        read.output_tokens(),
        read.reasoning_tokens(),
        read.cached_input_tokens(),
    );
    assert_eq!(found, expected, "{usage}");
    assert_eq!(read.certainty(), Certainty::Exact);
}

#[track_caller]
fn refused(usage: Value, problem: UsageProblem) {
    let answer = json!({"usage": usage});
    assert_eq!(read_chat(&answer), UsageReading::Refused(problem), "{answer}");
}

#[test]
fn chat_counts_reasoning_beside_the_completion() {
    reported(
        json!({
            "prompt_tokens": 137, "completion_tokens": 7, "total_tokens": 270,
            "prompt_tokens_details": {"text_tokens": 137, "cached_tokens": 128},
            "completion_tokens_details": {"reasoning_tokens": 126},
        }),
        (137, 133, 126, 128),
    );
    reported(
        json!({
            "prompt_tokens": 50, "completion_tokens": 419, "total_tokens": 2762,
            "completion_tokens_details": {"reasoning_tokens": 2293},
        }),
        (50, 2712, 2293, 0),
    );
}

#[test]
fn responses_count_reasoning_inside_the_output() {
    reported(
        json!({
            "input_tokens": 204, "output_tokens": 80, "total_tokens": 284,
            "input_tokens_details": {"cached_tokens": 128},
            "output_tokens_details": {"reasoning_tokens": 79},
            "context_details": {"input_tokens": 1, "output_tokens": 1},
        }),
        (204, 80, 79, 128),
    );
}

#[test]
fn the_documented_form_that_mixes_both_is_taken_by_its_total() {
    reported(
        json!({
            "input_tokens": 32, "output_tokens": 9, "total_tokens": 151,
            "output_tokens_details": {"reasoning_tokens": 110},
        }),
        (32, 119, 110, 0),
    );
}

#[test]
fn the_early_guide_is_read_from_its_own_place() {
    let answer = json!({"result": "x", "token_usage": {
        "input_tokens": 12, "completion_tokens": 30, "total_tokens": 42,
    }});
    let expected = read_chat(&answer);
    assert_eq!(expected.usage().map(|usage| usage.output_tokens()), Some(30));
    assert_eq!(read_pointer(&answer, "/token_usage"), expected);
    assert_eq!(read_pointer(&answer, "/usage"), UsageReading::Missing);
}

#[test]
fn a_total_that_is_not_stated_is_the_sum_where_that_is_certain() {
    reported(json!({"prompt_tokens": 10, "completion_tokens": 5}), (10, 5, 0, 0));
    reported(
        json!({"input_tokens": 10, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 4}}),
        (10, 5, 4, 0),
    );
    // More reasoning than completion can't be inside it.
    reported(
        json!({"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 6}}),
        (10, 11, 6, 0),
    );
    refused(
        json!({"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 4}}),
        UsageProblem::Incomplete,
    );
    refused(
        json!({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 900}),
        UsageProblem::Incomplete,
    );
    reported(json!({"prompt_tokens": 10, "total_tokens": 15}), (10, 5, 0, 0));
}

#[test]
fn zero_is_a_report_and_silence_is_not() {
    reported(json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}), (0, 0, 0, 0));
    for answer in [
        json!({}),
        json!({"usage": null}),
        json!({"usage": {}}),
        json!({"usage": {"num_sources_used": 3}}),
        json!("text"),
        json!([1]),
        Value::Null,
    ] {
        assert_eq!(read_chat(&answer), UsageReading::Missing, "{answer}");
    }
    assert_eq!(read_pointer(&json!({}), "no pointer"), UsageReading::Missing);
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    let chat = |input: Value, output: Value, total: Value| json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": total});
    refused(chat(json!(-1), json!(2), json!(1)), UsageProblem::Negative);
    refused(chat(json!(-1.5), json!(2), json!(1)), UsageProblem::Negative);
    refused(chat(json!(1.5), json!(2), json!(3)), UsageProblem::NotANumber);
    refused(chat(json!("1"), json!(2), json!(3)), UsageProblem::NotANumber);
    refused(chat(json!(1), json!([2]), json!(3)), UsageProblem::NotANumber);
    refused(chat(json!(1), json!(u64::MAX), json!(u64::MAX)), UsageProblem::Absurd);
    refused(chat(json!(1), json!(2), json!(1e300)), UsageProblem::Absurd);
    refused(chat(json!(10), json!(5), json!(16)), UsageProblem::Contradictory);
    refused(chat(json!(10), json!(5), json!(9)), UsageProblem::Contradictory);
    refused(json!({"prompt_tokens": 10, "total_tokens": 9}), UsageProblem::Contradictory);
    refused(json!({"total_tokens": 9}), UsageProblem::Incomplete);
    refused(json!({"completion_tokens": 9}), UsageProblem::Incomplete);
    refused(json!("not provided"), UsageProblem::NotANumber);
    refused(
        json!({"prompt_tokens": 1, "input_tokens": 2, "total_tokens": 3}),
        UsageProblem::Contradictory,
    );
    refused(
        json!({"prompt_tokens": 1, "total_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}),
        UsageProblem::Contradictory,
    );
    refused(
        json!({"prompt_tokens": 1, "total_tokens": 3, "completion_tokens_details": {"reasoning_tokens": -2}}),
        UsageProblem::Negative,
    );
}

#[test]
fn only_a_cost_above_zero_is_a_cost() {
    let cost = |ticks: Value| {
        let answer = json!({"usage": {
            "prompt_tokens": 204, "completion_tokens": 80, "total_tokens": 284,
            "cost_in_usd_ticks": ticks,
        }});
        read_chat(&answer).usage().expect("reported").cost()
    };
    assert_eq!(cost(json!(3_206_000)), Some(Money::from_ticks(3_206_000)));
    assert_eq!(cost(json!(1_000_000_000_000_000_u64)), Some(Money::from_usd(100_000)));
    for ticks in [
        json!(0),
        json!(-5),
        json!(null),
        json!("3206000"),
        json!(1.5),
        json!(1_000_000_000_000_001_u64),
        json!(u64::MAX),
    ] {
        assert_eq!(cost(ticks.clone()), None, "{ticks}");
    }
}
