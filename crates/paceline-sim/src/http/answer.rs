//! What the model says, how long it takes, and what it is billed: made up from the seed and the
//! number of the call.
//!
//! Invariant: length and delays know nothing of the prompt. Only the quotation that opens a
//! longer answer does, so that an answer in the wrong row is found out.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::asked::{Asked, Door};
use super::latency::{Delays, Latency};
use super::length::OutputLength;
use super::models::Reasons;
use super::tokens::Tokenizer;

/// The plan of one answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) visible: u64,
    pub(super) reasoning: u64,
    pub(super) cut: Cut,
    pub(super) delays: Delays,
    /// The dice of the text.
    text: u64,
}

/// Whether the answer ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Stop,
    Length,
}

/// Plans the answer to the call with these dice.
pub(super) fn plan(
    mut chance: StdRng,
    reasons: Reasons,
    cap: Option<u64>,
    output: &OutputLength,
    latency: &Latency,
) -> Plan {
    let total = output.draw(&mut chance);
    // Drawn for every model, so that the draws that follow are the same.
    let share = chance.random_range(0.40..0.50);
    let reasoning = match reasons {
        Reasons::Yes => (total as f64 * share) as u64,
        Reasons::No => 0,
    };
    let wanted = total - reasoning;
    // The cap is on what is visible; reasoning comes on top.
    let visible = cap.map_or(wanted, |cap| wanted.min(cap));
    let cut = if visible < wanted { Cut::Length } else { Cut::Stop };
    let delays = latency.draw(visible + reasoning, &mut chance);
    let text = chance.random();
    Plan { visible, reasoning, cut, delays, text }
}

/// The dice of a call.
pub(super) fn chance(seed: u64, call: u64) -> StdRng {
    // Spread over all bits, so that neighbouring seeds don't share calls.
    StdRng::seed_from_u64(seed ^ call.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

impl Plan {
    /// The tokens that are billed as output.
    pub(super) const fn output_tokens(&self) -> u64 {
        self.visible + self.reasoning
    }

    /// The text: about as many tokens as are visible.
    fn text(&self, asked: &Asked, tokenizer: &Tokenizer) -> String {
        let mut text = String::new();
        let mut words = self.visible;
        let last = asked.texts.last().map_or("", |last| last.trim());
        let quoted: String = last.chars().take(QUOTED).collect();
        let opening = format!("On \u{201c}{quoted}\u{201d}:");
        let tokens = tokenizer.count(&opening);
        if !quoted.is_empty() && 2 * tokens <= words {
            text = opening;
            words -= tokens;
        }
        prose(&mut text, &mut StdRng::seed_from_u64(self.text), words);
        text
    }
}

/// Characters of the last message that an answer repeats, where they are at most half of it.
const QUOTED: usize = 40;

/// The body of an answer.
pub(super) fn body(
    asked: &Asked,
    plan: &Plan,
    input_tokens: u64,
    call: u64,
    tokenizer: &Tokenizer,
) -> Value {
    let output = plan.output_tokens();
    let text = plan.text(asked, tokenizer);
    if asked.door == Door::Process {
        return json!({
            "result": text,
            "token_usage": {
                "input_tokens": input_tokens, "output_tokens": output,
                "total_tokens": input_tokens + output,
            },
        });
    }
    json!({
        "id": format!("sim-{call:016x}"),
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": asked.model.name,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": text, "refusal": null },
            "finish_reason": if plan.cut == Cut::Length { "length" } else { "stop" },
        }],
        "usage": {
            "prompt_tokens": input_tokens,
            "completion_tokens": plan.visible,
            "total_tokens": input_tokens + output,
            "prompt_tokens_details": {
                "text_tokens": input_tokens, "audio_tokens": 0, "image_tokens": 0,
                "cached_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": plan.reasoning, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
            },
            "num_sources_used": 0,
            "cost_in_usd_ticks": asked.model.cost(input_tokens, output),
        },
        "system_fingerprint": "fp_simulated",
    })
}

const WORDS: [&str; 40] = [
    "the", "answer", "follows", "from", "a", "short", "look", "at", "what", "is", "given", "first",
    "take", "each", "part", "alone", "then", "add", "them", "up", "and", "check", "that",
    "nothing", "was", "counted", "twice", "in", "this", "case", "it", "comes", "to", "more",
    "than", "one", "would", "guess", "so", "far",
];

/// Adds sentences of so many tokens in all: a word is one, a full stop is one.
fn prose(text: &mut String, chance: &mut StdRng, tokens: u64) {
    let mut left = tokens;
    while left > 0 {
        let words = chance.random_range(5..16).min(left.saturating_sub(1)).max(1);
        for number in 0..words {
            if !text.is_empty() {
                text.push(' ');
            }
            let word = WORDS[chance.random_range(0..WORDS.len())];
            let (first, rest) = word.split_at(1);
            text.push_str(&if number == 0 { first.to_uppercase() } else { first.to_owned() });
            text.push_str(rest);
        }
        left -= words;
        if left > 0 {
            text.push('.');
            left -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn draw(call: u64, cap: Option<u64>) -> Plan {
        plan(chance(1, call), Reasons::Yes, cap, &OutputLength::default(), &Latency::default())
    }

    fn asked(text: &str) -> Asked {
        let body = json!({ "model": "grok-4.3", "messages": [{ "content": text }] }).to_string();
        Asked::read(body.as_bytes(), Door::Chat).expect("well formed")
    }

    #[test]
    fn a_call_of_the_same_number_and_seed_gets_the_same_and_another_one_another() {
        let text = |plan: &Plan| plan.text(&asked("x"), &Tokenizer::O200k);
        assert_eq!(draw(5, None), draw(5, None));
        assert_eq!(text(&draw(5, None)), text(&draw(5, None)));
        assert_ne!(text(&draw(5, None)), text(&draw(6, None)));
        let other =
            plan(chance(2, 5), Reasons::Yes, None, &OutputLength::default(), &Latency::default());
        assert_ne!(other, draw(5, None));
    }

    #[test]
    fn lengths_and_times_are_as_the_docs_say() {
        let plans: Vec<Plan> = (0..4_000).map(|call| draw(call, None)).collect();
        let mut totals: Vec<u64> = plans.iter().map(Plan::output_tokens).collect();
        totals.sort_unstable();
        assert!(totals[2_000].abs_diff(110) <= 5, "median {}", totals[2_000]);
        // One sigma above the median: 110 * e^0.45 = 172.5.
        assert!(totals[3_365].abs_diff(172) <= 8, "84.1 % are below {}", totals[3_365]);
        for plan in &plans {
            let least = 0.3 + plan.output_tokens() as f64 / 120.0;
            let most = 1.0 + plan.output_tokens() as f64 / 60.0;
            let work = plan.delays.work.as_secs_f64();
            assert!(work >= least - 1e-6 && work <= most + 1e-6);
            assert!(plan.delays.inbound.max(plan.delays.outbound) <= Duration::from_millis(50));
            assert_ne!(plan.delays.inbound, plan.delays.outbound);
            let share = plan.reasoning as f64 / plan.output_tokens() as f64;
            assert!((0.33..0.50).contains(&share), "{share}");
        }
    }

    #[test]
    fn a_cap_cuts_what_is_visible_and_not_the_reasoning() {
        let (whole, cut) = (draw(9, None), draw(9, Some(3)));
        assert_eq!((cut.visible, cut.reasoning, cut.cut), (3, whole.reasoning, Cut::Length));
        assert_eq!((whole.cut, draw(9, Some(whole.visible)).cut), (Cut::Stop, Cut::Stop));
    }

    #[test]
    fn a_text_has_about_the_tokens_that_are_billed_as_visible() {
        for call in 0..300 {
            let plan = draw(call, None);
            let text = plan.text(&asked("How many eggs are left, and why?"), &Tokenizer::O200k);
            let real = Tokenizer::O200k.count(&text);
            assert!(
                real.abs_diff(plan.visible) <= 2 + plan.visible / 20,
                "{real} for {}: {text}",
                plan.visible
            );
        }
        let none = draw(0, Some(0));
        assert_eq!(none.text(&asked("x"), &Tokenizer::O200k), "");
    }

    #[test]
    fn an_answer_long_enough_quotes_what_it_answers() {
        let plan = draw(3, None);
        let text = plan.text(&asked("  Two ducks, three ponds?  "), &Tokenizer::O200k);
        assert!(text.starts_with("On \u{201c}Two ducks, three ponds?\u{201d}: "), "{text}");
        let short = draw(3, Some(8)).text(&asked("Two ducks, three ponds?"), &Tokenizer::O200k);
        assert!(!short.contains("ducks"), "{short}");
    }
}
