//! What was learned of lengths and times is saved and read back; what is foreign is refused.

use std::time::Duration;

use paceline_budget::{
    CallShape, Estimator, EstimatorState, Features, LatencyModel, Observed, OutputKey, OutputModel,
    Timing,
};
use paceline_core::Usage;
use proptest::prelude::*;
use serde_json::Value;

use crate::Chance;

const TAGS: [&str; 3] = ["answers", "plans", "titles"];

fn key(number: u64) -> OutputKey {
    OutputKey::new().tag(TAGS[(number % 3) as usize]).prompt(50 + 37 * (number % 40))
}

fn learned(answers: u64) -> (OutputModel, LatencyModel) {
    let (mut output, mut latency) = (OutputModel::default(), LatencyModel::default());
    let mut chance = Chance(5);
    for number in 0..answers {
        let tokens = (4.0 + (number % 3) as f64 + 0.5 * chance.normal()).exp() as u64;
        if tokens > 900 {
            output.learn_cut_off(&key(number), 900);
        } else {
            output.learn(&key(number), tokens);
        }
        let whole = Duration::from_millis(300 + 12 * tokens);
        let first = Duration::from_millis(200 + tokens % 100);
        latency.learn(&key(number), &Timing::new(whole).streamed(first, tokens));
    }
    (output, latency)
}

/// What was saved, and how long that is.
fn again(output: &OutputModel, latency: &LatencyModel) -> (OutputModel, LatencyModel, usize) {
    let saved = serde_json::to_string(&(output, latency)).expect("plain data");
    let (output, latency) = serde_json::from_str(&saved).expect("it was saved");
    (output, latency, saved.len())
}

#[test]
fn what_was_saved_of_some_answers_foresees_the_same() {
    let (output, latency) = learned(25);
    let (again, times, _) = again(&output, &latency);
    for number in 0..40 {
        let (before, after) = (output.predict(&key(number)), again.predict(&key(number)));
        for level in [0.025, 0.5, 0.95, 0.999] {
            let (one, other) = (before.quantile(level), after.quantile(level));
            assert!(one.abs_diff(other) * 50 <= one + 50, "{number} {level}: {one} {other}");
        }
        assert!((before.mean() / after.mean() - 1.0).abs() < 0.01);
        let (one, other) = (latency.mean(&key(number)), times.mean(&key(number)));
        assert!((one.as_secs_f64() / other.as_secs_f64() - 1.0).abs() < 0.01, "{one:?} {other:?}");
    }
    assert_eq!((again.count(), times.count()), (25, 25));
}

#[test]
fn of_many_answers_what_is_kept_is_short_and_foresees_as_well() {
    let (output, latency) = learned(3_000);
    let (again, times, length) = again(&output, &latency);
    assert!(length < 42_000, "{length}");
    for number in 0..30 {
        // The truth of its place: lognormal about e to the 4th, 5th or 6th, cut off at 900.
        let middle = (4.0 + (number % 3) as f64).exp();
        let known = again.predict(&key(number));
        for (level, truth) in [(0.5, middle), (0.95, (middle * 2.276).min(900.0))] {
            let off = known.quantile(level) as f64 / truth - 1.0;
            assert!(off.abs() < 0.2, "{number} {level}: {off}");
        }
        let (one, other) = (latency.mean(&key(number)), times.mean(&key(number)));
        assert!((one.as_secs_f64() / other.as_secs_f64() - 1.0).abs() < 0.2, "{one:?} {other:?}");
    }
    assert_eq!((again.count(), times.count()), (3_000, 3_000));
}

#[test]
fn what_is_foreign_is_refused() {
    let (output, _) = learned(20);
    let saved = serde_json::to_value(&output).expect("plain data");
    let changed = |pointer: &str, value: Value| {
        let mut changed = saved.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap_or(("", pointer));
        let parent = if parent.is_empty() { String::new() } else { format!("/{parent}") };
        match changed.pointer_mut(&parent).expect(pointer) {
            Value::Array(items) => items[name.parse::<usize>().expect("a place")] = value,
            fields => fields[name] = value,
        }
        serde_json::from_value::<OutputModel>(changed).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(changed("clock", 20.into()), Ok(()));
    let newer = changed("version", 3.into()).expect_err("it is of another form");
    assert!(newer.contains("form 3"), "{newer}");
    let nodes: Vec<Value> = (0..300).map(|_| saved["nodes"][0].clone()).collect();
    for (pointer, value) in [
        ("logs/squares", Value::from(-1.0)),
        ("logs/mean", Value::from(1e300)),
        ("logs/weight", Value::from(1e6)),
        ("clock", Value::from(u64::MAX)),
        ("clock", Value::from(9)),
        ("root/count", Value::from(u64::MAX)),
        ("root/count", Value::from(9)),
        ("root/cuts", Value::from(21)),
        ("root/used", Value::from(21)),
        ("nodes/0/0", Value::from(0)),
        ("nodes/0/0", Value::from(9)),
        ("nodes/0/1/tag", Value::from("none at this depth")),
        ("nodes/0/1/prompt", Value::from(3)),
        ("root/ended/0", Value::from(5_000)),
        ("root/ended/1", Value::from(u32::MAX)),
        ("root/ended/1", Value::Null),
        ("root/ended", serde_json::json!([3])),
        ("nodes", Value::from(nodes)),
        ("root", Value::Null),
    ] {
        assert!(changed(pointer, value.clone()).is_err(), "{pointer} {value}");
    }
}

/// A client of one model: streamed answers of four places at two efforts, in ten languages' worth
/// of classes.
fn busy(answers: u64) -> Estimator {
    const TEXTS: [&str; 4] =
        ["Wie viele Äpfel? 12!", "let x = f(3);", "鸭子在湖里", "Пекарь продал хлеба"];
    let (mut estimator, mut chance) = (Estimator::new(), Chance(8));
    for number in 0..answers {
        let text = TEXTS[(number % 4) as usize].repeat(1 + chance.below(200) as usize);
        let key = OutputKey::new()
            .tag(["answers", "plans", "titles", "summaries"][(number % 4) as usize])
            .effort(["low", "high"][(number / 4 % 2) as usize]);
        let call = CallShape::new("grok-4.3".into(), Features::of_text(&text)).output(key);
        let output = (4.0 + (number % 4) as f64 + 0.7 * chance.normal()).exp() as u64;
        let input = 130 + text.chars().count() as u64 / 3;
        let usage = Usage::new(input, input + output).expect("consistent");
        let first = Duration::from_millis(200 + chance.below(300));
        let whole = first + Duration::from_millis(output * (8 + chance.below(8)));
        estimator.learn(&call, &Observed::new(usage, whole).first_token(first));
    }
    estimator
}

#[test]
fn a_busy_model_is_kept_in_some_tens_of_kilobytes() {
    let estimator = busy(5_000);
    let saved = serde_json::to_string(&estimator.state()).expect("plain data");
    assert!(saved.len() < 50_000, "{}", saved.len());
    let state: EstimatorState = serde_json::from_str(&saved).expect("it was saved");
    let again = Estimator::restore(&state).expect("it was learned");
    let places = [("answers", "low"), ("plans", "high"), ("titles", "low"), ("summaries", "high")];
    for (place, (tag, effort)) in places.into_iter().enumerate() {
        let key = OutputKey::new().tag(tag).effort(effort);
        let call = CallShape::new("grok-4.3".into(), Features::of_text(&"鸭子".repeat(90)));
        let call = call.output(key);
        let (one, other) = (estimator.estimate(&call), again.estimate(&call));
        let (before, after) = (one.input().expected_amount(), other.input().expected_amount());
        assert!(before.abs_diff(after) <= 1, "{before} {after}");
        let middle = (4.0 + place as f64).exp();
        let off = again.output(&call).quantile(0.5) as f64 / middle - 1.0;
        assert!(off.abs() < 0.2, "{tag}: {off}");
        let latest = other.completion().latest().as_secs_f64();
        // 2.5 % are above e to 1.96 times 0.7, at up to 16 ms a token.
        assert!(latest > middle * 3.0 * 0.008 && latest < middle * 6.0 * 0.016 + 0.5, "{latest}");
    }
}

#[test]
fn a_tag_as_long_as_a_book_is_not_kept_and_others_are() {
    let mut model = OutputModel::default();
    let book = OutputKey::new().tag("x".repeat(100_000));
    let title = OutputKey::new().tag("titles");
    for _ in 0..50 {
        model.learn(&book, 9_000);
        model.learn(&title, 9);
    }
    let saved = serde_json::to_string(&model).expect("plain data");
    assert!(saved.len() < 12_000, "{}", saved.len());
    let again: OutputModel = serde_json::from_str(&saved).expect("it was saved");
    assert!(again.predict(&title).mean() < 300.0);
}

#[test]
fn a_damaged_count_is_refused_or_harms_nothing() {
    let good = serde_json::to_value(busy(16).state()).expect("plain data");
    let mut numbers = Vec::new();
    pointers(&good, &mut String::new(), &mut numbers);
    assert!(numbers.len() > 100, "{}", numbers.len());
    let call = CallShape::new("grok-4.3".into(), Features::of_text("Count from 1 to 3"));
    let usage = Usage::new(137, 160).expect("consistent");
    for pointer in numbers {
        for value in [Value::from(u64::MAX), Value::from(-9e11), Value::from(9e11)] {
            let mut state = good.clone();
            *state.pointer_mut(&pointer).expect("it is there") = value.clone();
            let Ok(state) = serde_json::from_value::<EstimatorState>(state) else { continue };
            let Ok(mut estimator) = Estimator::restore(&state) else { continue };
            let input = estimator.estimate(&call).input().expected_amount();
            assert!((20..2_000).contains(&input), "{pointer} {value}: {input}");
            for _ in 0..3 {
                estimator.learn(&call, &Observed::new(usage, Duration::from_secs(1)));
            }
        }
    }
}

/// Where every number in a value is.
fn pointers(value: &Value, at: &mut String, found: &mut Vec<String>) {
    let length = at.len();
    let mut within = |name: &str, value: &Value| {
        at.push('/');
        at.push_str(name);
        pointers(value, at, found);
        at.truncate(length);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, it)| within(name, it)),
        Value::Array(items) => {
            // Those that follow are read as the first ones are.
            let first = items.iter().enumerate().take(3);
            first.for_each(|(place, it)| within(&place.to_string(), it));
        }
        Value::Number(_) => found.push(at.clone()),
        _ => {}
    }
}

proptest! {
    #[test]
    fn no_answer_breaks_a_quantile_or_a_range(
        answers in prop::collection::vec((any::<u64>(), any::<bool>(), any::<u64>()), 0..60),
        seen in any::<u64>(),
    ) {
        let (mut output, mut latency) = (OutputModel::default(), LatencyModel::default());
        for (tokens, is_cut, prompt) in &answers {
            let key = OutputKey::new().prompt(*prompt);
            if *is_cut { output.learn_cut_off(&key, *tokens) } else { output.learn(&key, *tokens) }
            let whole = Duration::from_nanos(*tokens);
            latency.learn(&key, &Timing::new(whole).streamed(Duration::from_nanos(*prompt), *tokens));
        }
        for known in [output.predict(&key(1)), output.predict(&key(1)).reached(seen)] {
            let quantiles: Vec<u64> =
                (0..=100).map(|level| known.quantile(f64::from(level) / 100.0)).collect();
            prop_assert!(quantiles.is_sorted(), "{quantiles:?}");
            prop_assert!(known.mean().is_finite() && known.variance().is_finite());
            prop_assert!(known.mean() >= 0.0 && known.mean() <= (1_u64 << 27) as f64);
            let amount = known.amount();
            prop_assert!(amount.upper_amount() >= amount.expected_amount());
        }
        let range = latency.completion(&key(1));
        prop_assert!(range.earliest() <= range.latest() && range.latest() <= LatencyModel::MOST);
    }
}
