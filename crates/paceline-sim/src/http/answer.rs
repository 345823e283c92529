//! What the model says, how long it takes, and what it is billed: made up from the seed and the
//! number of the call.
//!
//! Invariant: length and delays know nothing of the prompt. Only the quotation that opens a
//! longer answer does, so that an answer in the wrong row is found out.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::asked::Asked;
use super::latency::{Delays, Latency};
use super::length::OutputLength;
use super::models::{Model, Reasons};
use super::text;
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

    /// The answer, with its texts.
    pub(super) fn reply(
        self,
        asked: &Asked,
        input_tokens: u64,
        number: u64,
        tokenizer: &Tokenizer,
    ) -> Reply {
        let last = asked.texts.last().map_or("", String::as_str);
        Reply {
            model: asked.model,
            number,
            input_tokens,
            text: text::visible(self.text, last, self.visible, tokenizer),
            thoughts: text::thoughts(self.text, self.reasoning),
            plan: self,
        }
    }
}

/// An answer, before it has a form.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) model: &'static Model,
    /// Of the call.
    pub(super) number: u64,
    pub(super) input_tokens: u64,
    pub(super) plan: Plan,
    pub(super) text: String,
    /// Empty where the model doesn't reason.
    pub(super) thoughts: String,
}

impl Reply {
    pub(super) const fn total_tokens(&self) -> u64 {
        self.input_tokens + self.plan.output_tokens()
    }

    /// Its price in ticks.
    pub(super) fn cost(&self) -> u64 {
        self.model.cost(self.input_tokens, self.plan.output_tokens())
    }
}

/// The body of `/v1/process`.
pub(super) fn process(reply: &Reply) -> Value {
    json!({
        "result": reply.text,
        "token_usage": {
            "input_tokens": reply.input_tokens, "output_tokens": reply.plan.output_tokens(),
            "total_tokens": reply.total_tokens(),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::asked::Door;
    use super::*;

    fn draw(call: u64, cap: Option<u64>) -> Plan {
        plan(chance(1, call), Reasons::Yes, cap, &OutputLength::default(), &Latency::default())
    }

    fn text(plan: &Plan, asked: &Asked) -> String {
        plan.clone().reply(asked, 0, 0, &Tokenizer::O200k).text
    }

    fn asked(text: &str) -> Asked {
        let body = json!({ "model": "grok-4.3", "messages": [{ "content": text }] }).to_string();
        Asked::read(body.as_bytes(), Door::Chat).expect("well formed")
    }

    #[test]
    fn a_call_of_the_same_number_and_seed_gets_the_same_and_another_one_another() {
        let text = |plan: &Plan| text(plan, &asked("x"));
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
            let text = text(&plan, &asked("How many eggs are left, and why?"));
            let real = Tokenizer::O200k.count(&text);
            assert!(
                real.abs_diff(plan.visible) <= 2 + plan.visible / 20,
                "{real} for {}: {text}",
                plan.visible
            );
        }
        let none = draw(0, Some(0));
        assert_eq!(text(&none, &asked("x")), "");
    }

    #[test]
    fn an_answer_long_enough_quotes_what_it_answers() {
        let plan = draw(3, None);
        let quoting = text(&plan, &asked("  Two ducks, three ponds?  "));
        assert!(quoting.starts_with("On \u{201c}Two ducks, three ponds?\u{201d}: "), "{quoting}");
        let short = text(&draw(3, Some(8)), &asked("Two ducks, three ponds?"));
        assert!(!short.contains("ducks"), "{short}");
    }
}
