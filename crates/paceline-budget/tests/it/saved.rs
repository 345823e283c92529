//! What was learned of lengths and times is saved and read back; what is foreign is refused.

use std::time::Duration;

use paceline_budget::{LatencyModel, OutputKey, OutputModel, Timing};
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

#[test]
fn what_was_saved_foresees_the_same() {
    let (output, latency) = learned(1_000);
    let saved = serde_json::to_string(&(&output, &latency)).expect("plain data");
    assert!(saved.len() < 100_000, "{}", saved.len());
    let (again, times): (OutputModel, LatencyModel) =
        serde_json::from_str(&saved).expect("it was saved");
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
    assert_eq!((again.count(), times.count()), (1_000, 1_000));
}

#[test]
fn what_is_foreign_is_refused() {
    let (output, _) = learned(20);
    let saved = serde_json::to_value(&output).expect("plain data");
    let changed = |pointer: &str, value: Value| {
        let mut changed = saved.clone();
        *changed.pointer_mut(&format!("/{pointer}")).expect(pointer) = value;
        serde_json::from_value::<OutputModel>(changed).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(changed("clock", 9.into()), Ok(()));
    let newer = changed("version", 2.into()).expect_err("it is of another form");
    assert!(newer.contains("form 2"), "{newer}");
    let nodes: Vec<Value> = (0..300).map(|_| saved["nodes"][0].clone()).collect();
    for (pointer, value) in [
        ("logs/squares", Value::from(-1.0)),
        ("logs/mean", Value::from(1e300)),
        ("root/ended/0/0", Value::from(5_000)),
        ("root/ended/0/1", Value::from(u32::MAX)),
        ("root/ended/0/1", Value::Null),
        ("nodes", Value::from(nodes)),
        ("root", Value::Null),
    ] {
        assert!(changed(pointer, value.clone()).is_err(), "{pointer} {value}");
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
