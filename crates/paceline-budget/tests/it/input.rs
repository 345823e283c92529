//! The model of input tokens: first estimates, absurd answers, and what it takes to recover.

use paceline_budget::{Features, InputModel};
use proptest::prelude::*;

/// Sentences of our own, with their tokens as counted on 2026-11-24 by the public tokenizers
/// `o200k`, `cl100k` and that of Grok 1.
const SENTENCES: [(&str, [u64; 3]); 5] = [
    (
        "A baker sells 48 loaves in the morning and half as many in the afternoon. How many loaves \
         does she sell altogether?",
        [27, 27, 26],
    ),
    ("面包师上午卖了48个面包，下午卖的是上午的一半。她一共卖了多少个面包？", [28, 40, 51]),
    (
        "パン屋さんは午前中に48個のパンを売り、午後はその半分を売りました。全部で何個のパンを売りましたか。",
        [36, 49, 48],
    ),
    (
        "Пекарь утром продал 48 буханок хлеба, а днём вдвое меньше. Сколько всего буханок он \
         продал?",
        [33, 49, 40],
    ),
    ("คนทำขนมปังขายได้ 48 ก้อนในตอนเช้า และขายได้ครึ่งหนึ่งในตอนบ่าย เธอขายได้ทั้งหมดกี่ก้อน", [37, 82, 149]),
];

#[test]
fn a_first_estimate_lies_among_public_tokenizers_and_its_bound_above_them() {
    for (text, counts) in SENTENCES {
        // No hidden text: what is compared is the text alone.
        let estimate = InputModel::new(0.0, 1.0).estimate(&Features::of_text(text));
        let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
        let (least, most) = (least.unwrap_or(0), most.unwrap_or(0));
        let expected = estimate.expected_amount();
        assert!(expected * 10 >= least * 9 && expected * 10 <= most * 11, "{expected} {counts:?}");
        assert!(estimate.upper_amount() >= most, "{estimate:?} {counts:?}");
    }
}

/// Words, digits and marks in changing shares; a token per word, digit and mark, and 130 hidden.
fn sane_text(number: u64) -> (Features, u64) {
    let (words, digits, marks) = (20 + number * 7 % 60, number * 5 % 13, number * 3 % 7);
    let text = format!(
        "{}{}{}",
        "lorem ".repeat(words as usize),
        "7 ".repeat(digits as usize),
        "! ".repeat(marks as usize)
    );
    (Features::of_text(&text), 130 + words + digits + marks)
}

fn error_after(model: &mut InputModel, answers: u64) -> f64 {
    for number in 0..answers {
        let (features, truth) = sane_text(number);
        model.learn(&features, truth);
    }
    let (features, truth) = sane_text(answers);
    model.estimate(&features).expected_amount().abs_diff(truth) as f64 / truth as f64
}

#[test]
fn one_absurd_answer_hardly_moves_a_model_that_has_learned() {
    for absurd in [1, 100_000, 1 << 40] {
        let mut model = InputModel::new(100.0, 80.0);
        let before = error_after(&mut model, 100);
        model.learn(&sane_text(5).0, absurd);
        let (features, truth) = sane_text(17);
        let after = model.estimate(&features).expected_amount().abs_diff(truth);
        let after = after as f64 / truth as f64;
        assert!(before < 0.02 && after < 0.06, "{absurd}: {before} {after}");
    }
}

#[test]
fn a_start_that_is_no_number_is_taken_as_unknown() {
    let (features, _) = sane_text(1);
    let unknown = InputModel::new(100.0, 80.0).estimate(&features);
    for odd in [f64::NAN, f64::INFINITY, -1.0] {
        assert_eq!(InputModel::new(odd, odd).estimate(&features), unknown);
    }
    assert!(error_after(&mut InputModel::new(100.0, 0.0), 100) < 0.03, "0 is not certainty");
}

/// Texts up to four thousand million characters of a class, by adding a text to itself.
fn huge(text: &str, doublings: u32) -> Features {
    let mut features = Features::of_text(text);
    for _ in 0..doublings {
        let same = features;
        features.merge(&same);
    }
    features
}

#[test]
fn much_more_hidden_text_than_expected_is_learned_in_a_few_answers() {
    for hidden in [2_000, 20_000, 200_000] {
        let mut model = InputModel::new(130.0, 60.0);
        for number in 0..30 {
            let (features, truth) = sane_text(number);
            model.learn(&features, truth + hidden);
        }
        let (features, truth) = sane_text(30);
        let estimate = model.estimate(&features).expected_amount();
        assert!(estimate.abs_diff(truth + hidden) * 20 <= truth + hidden, "{hidden}: {estimate}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn after_any_chaos_it_stays_finite_and_learns_again(
        chaos in prop::collection::vec((".{0,30}", 0_u32..40, 0..=1_u64 << 40), 1..60),
    ) {
        let mut model = InputModel::new(100.0, 80.0);
        for (text, doublings, tokens) in &chaos {
            let features = huge(text, *doublings);
            model.learn(&features, *tokens);
            let estimate = model.estimate(&features);
            prop_assert!(estimate.expected_amount() >= 1);
            prop_assert!(estimate.upper_amount() >= estimate.expected_amount());
            prop_assert!(estimate.upper_amount() < 1 << 50);
        }
        let error = error_after(&mut model, 150);
        prop_assert!(error < 0.1, "{}", error);
    }
}
