//! What the model says, how long it takes, and what it is billed: made up, and the same again
//! for the same request and seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, LogNormal};

use super::models::{Model, Reasons};
use super::options::Latency;

/// The plan of one answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) text: String,
    pub(super) visible: u64,
    pub(super) reasoning: u64,
    pub(super) cut: Cut,
    /// On the way to the server, at work there, and on the way back.
    pub(super) inbound: Duration,
    pub(super) work: Duration,
    pub(super) outbound: Duration,
}

/// Whether the answer ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Stop,
    Length,
}

/// Output tokens: lognormal, this median, this deviation of the logarithm.
const MEDIAN: f64 = 110.0;
const SIGMA: f64 = 0.45;
const MOST: f64 = 4_096.0;

/// Plans the answer to a request of this hash.
pub(super) fn plan(
    seed: u64,
    hash: u64,
    model: &Model,
    cap: Option<u64>,
    latency: &Latency,
) -> Plan {
    let mut chance = StdRng::seed_from_u64(seed ^ hash.rotate_left(17));
    let length = LogNormal::new(MEDIAN.ln(), SIGMA).map_or(MEDIAN, |law| law.sample(&mut chance));
    let total = length.clamp(1.0, MOST).round() as u64;
    let reasoning = match model.reasons {
        Reasons::Yes => (total as f64 * chance.random_range(0.40..0.50)) as u64,
        Reasons::No => 0,
    };
    let wanted = total - reasoning;
    // The cap is on what is visible; reasoning comes on top.
    let visible = cap.map_or(wanted, |cap| wanted.min(cap));
    let cut = if visible < wanted { Cut::Length } else { Cut::Stop };
    let first = latency.first_token.draw(&mut chance);
    let speed = latency.tokens_per_second.draw(&mut chance);
    let written = if speed > 0.0 { (visible + reasoning) as f64 / speed } else { 0.0 };
    Plan {
        text: prose(&mut chance, visible),
        visible,
        reasoning,
        cut,
        inbound: seconds(latency.jitter.draw(&mut chance)),
        work: seconds(first + written),
        outbound: seconds(latency.jitter.draw(&mut chance)),
    }
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or(Duration::ZERO)
}

const WORDS: [&str; 40] = [
    "the", "answer", "follows", "from", "a", "short", "look", "at", "what", "is", "given", "first",
    "take", "each", "part", "alone", "then", "add", "them", "up", "and", "check", "that",
    "nothing", "was", "counted", "twice", "in", "this", "case", "it", "comes", "to", "more",
    "than", "one", "would", "guess", "so", "far",
];

/// So many words, in sentences.
fn prose(chance: &mut StdRng, words: u64) -> String {
    let mut text = String::new();
    let mut left_in_sentence = 0;
    for _ in 0..words {
        let word = WORDS[chance.random_range(0..WORDS.len())];
        if left_in_sentence == 0 {
            if !text.is_empty() {
                text.push_str(". ");
            }
            text.push_str(&word[..1].to_uppercase());
            text.push_str(&word[1..]);
            left_in_sentence = chance.random_range(5..16);
        } else {
            text.push(' ');
            text.push_str(word);
        }
        left_in_sentence -= 1;
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::super::models::find;
    use super::*;

    fn draw(hash: u64, cap: Option<u64>) -> Plan {
        plan(1, hash, find("grok-4.3").expect("known"), cap, &Latency::default())
    }

    #[test]
    fn the_same_request_gets_the_same_answer_and_another_one_another() {
        assert_eq!(draw(5, None), draw(5, None));
        assert_ne!(draw(5, None).text, draw(6, None).text);
    }

    #[test]
    fn lengths_and_times_are_as_the_docs_say() {
        let plans: Vec<Plan> = (0..4_000).map(|hash| draw(hash, None)).collect();
        let mut totals: Vec<u64> = plans.iter().map(|plan| plan.visible + plan.reasoning).collect();
        totals.sort_unstable();
        assert!(totals[2_000].abs_diff(110) <= 5, "median {}", totals[2_000]);
        for plan in &plans {
            let least = 0.3 + (plan.visible + plan.reasoning) as f64 / 120.0;
            let most = 1.0 + (plan.visible + plan.reasoning) as f64 / 60.0;
            let work = plan.work.as_secs_f64();
            assert!(work >= least - 1e-6 && work <= most + 1e-6);
            assert!(plan.inbound <= Duration::from_millis(50));
        }
    }

    #[test]
    fn a_cap_cuts_what_is_visible_and_not_the_reasoning() {
        let (whole, cut) = (draw(9, None), draw(9, Some(3)));
        assert_eq!((cut.visible, cut.reasoning, cut.cut), (3, whole.reasoning, Cut::Length));
        assert_eq!(cut.text.split_whitespace().count(), 3);
    }
}
