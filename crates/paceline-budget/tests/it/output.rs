//! Lengths and times against distributions that they were never told: what is promised is held.

use std::time::Duration;

use paceline_budget::{LatencyModel, OutputKey, OutputModel, Timing};

use crate::Chance;

/// Lengths of three places in a program, far from one another and none of them lognormal.
fn draw(chance: &mut Chance) -> (OutputKey, u64) {
    match chance.below(3) {
        0 => (OutputKey::new().tag("titles"), 5 + chance.below(10)),
        // Half short, half long.
        1 if chance.below(2) == 0 => (OutputKey::new().tag("chat"), 30 + chance.below(40)),
        1 => (OutputKey::new().tag("chat"), 500 + chance.below(300)),
        _ => {
            let tokens = (8.0 + 0.8 * chance.normal()).exp() as u64;
            (OutputKey::new().tag("plans").effort("high"), tokens)
        }
    }
}

/// How often in a hundred a quantile was not passed, after the first hundred.
fn held(level: f64, mut draw: impl FnMut(u64) -> (OutputKey, u64)) -> f64 {
    let (mut model, mut kept, mut all) = (OutputModel::default(), 0_u32, 0_u32);
    for number in 0..4_100 {
        let (key, tokens) = draw(number);
        if number >= 100 {
            all += 1;
            kept += u32::from(tokens <= model.predict(&key).quantile(level));
        }
        model.learn(&key, tokens);
    }
    100.0 * f64::from(kept) / f64::from(all)
}

#[test]
fn a_quantile_is_passed_as_often_as_it_says() {
    for level in [0.5, 0.8, 0.95, 0.99] {
        let mut chance = Chance(3);
        let held = held(level, |_| draw(&mut chance));
        // Titles have ten lengths, each of which holds a tenth of them: a little more is held.
        assert!((-1.0..3.0).contains(&(held - 100.0 * level)), "{level}: {held}");
    }
}

#[test]
fn it_is_held_though_lengths_grow_all_the_time_and_suddenly() {
    let mut chance = Chance(4);
    let held = held(0.95, |number| {
        let grown = 1.0 + number as f64 / 2_000.0 + if number > 3_000 { 3.0 } else { 0.0 };
        (OutputKey::new(), ((5.0 + 0.5 * chance.normal()).exp() * grown) as u64)
    });
    assert!((held - 95.0).abs() < 1.0, "{held}");
}

#[test]
fn places_far_apart_are_told_apart_after_some_forty_answers() {
    let (mut model, mut chance) = (OutputModel::default(), Chance(5));
    for _ in 0..120 {
        let (key, tokens) = draw(&mut chance);
        model.learn(&key, tokens);
    }
    let upper = |key: OutputKey| model.predict(&key).quantile(0.9);
    assert!(upper(OutputKey::new().tag("titles")) <= 20);
    assert!(upper(OutputKey::new().tag("plans").effort("high")) > 4_000);
    // Of a tag that was never met only the others of its effort are known.
    assert!((500..1_500).contains(&upper(OutputKey::new().tag("new"))));
    assert!(upper(OutputKey::new().tag("new").effort("high")) > 4_000);
}

#[test]
fn ten_thousand_tags_are_not_remembered_but_what_is_used_is() {
    let (mut model, mut latency) = (OutputModel::default(), LatencyModel::default());
    let often = OutputKey::new().tag("often").prompt(1_000);
    for number in 0..10_000 {
        let key = OutputKey::new().tag(format!("tag-{number}")).prompt(number);
        model.learn(&key, 40);
        latency.learn(&key, &Timing::new(Duration::from_secs(1)));
        model.learn(&often, 4_000);
    }
    let saved = serde_json::to_string(&(&model, &latency)).expect("plain data");
    assert!(saved.len() < 200_000, "{}", saved.len());
    let (one, other) = (model.predict(&often), model.predict(&OutputKey::new()));
    assert!(one.mean() > 3_900.0, "{}", one.mean());
    assert!((1_500.0..2_500.0).contains(&other.mean()), "{}", other.mean());
}
