//! Every short sequence of operations, with the naive limiter beside the real one.

use std::collections::HashSet;

use paceline_limiter::ChargeRule;

use super::naive::{Deed, Pair, Setting, Step};

/// 3 amounts, 2 limits, and 4 times.
const DEEDS: [Deed; 11] = [
    Deed::Acquire(1),
    Deed::Acquire(2),
    Deed::Acquire(3),
    Deed::Send,
    Deed::Settle(0),
    Deed::Settle(1),
    Deed::SettleNothing,
    Deed::SettleUnknown,
    Deed::Cancel,
    Deed::SetLimit(3),
    Deed::SetLimit(5),
];
const PAUSES: [u64; 4] = [0, 1, 2, 4];

const fn setting(rule: ChargeRule) -> Setting {
    Setting { rule, window: 4, delay: 1, latest: 2, requests: 3, tokens: 5 }
}

/// Walks a sequence of which all but the last step have been checked; `None` where there is
/// nothing that the last one could be about.
fn walk(rule: ChargeRule, steps: &[Step]) -> Option<Pair> {
    let mut pair = Pair::new(setting(rule));
    let (last, before) = steps.split_last()?;
    for step in before {
        pair.step(*step, false);
    }
    if !pair.step(*last, true) {
        return None;
    }
    pair.check();
    Some(pair)
}

fn steps() -> impl Iterator<Item = Step> {
    PAUSES.into_iter().flat_map(|pause| DEEDS.into_iter().map(move |deed| Step { pause, deed }))
}

/// Every sequence of up to so many operations; how many there are.
pub(super) fn all(rule: ChargeRule, depth: usize) -> u64 {
    fn deeper(rule: ChargeRule, depth: usize, so_far: &mut Vec<Step>) -> u64 {
        let mut walked = 0;
        for step in steps() {
            so_far.push(step);
            if judged(rule, so_far).is_some() {
                walked += 1;
                if so_far.len() < depth {
                    walked += deeper(rule, depth, so_far);
                }
            }
            so_far.pop();
        }
        walked
    }
    deeper(rule, depth, &mut Vec::new())
}

/// Every sequence of up to so many operations, where one of all that lead to the same state goes
/// on; how many steps were taken, and how many states there were.
pub(super) fn merged(rule: ChargeRule, depth: usize) -> (u64, usize) {
    let (mut known, mut walked) = (HashSet::new(), 0);
    let menu: Vec<Step> = steps().collect();
    let mut frontier: Vec<Vec<u8>> = vec![Vec::new()];
    for _ in 0..depth {
        let mut next = Vec::new();
        for so_far in frontier {
            let mut sequence: Vec<Step> =
                so_far.iter().map(|index| menu[usize::from(*index)]).collect();
            for (index, step) in (0..).zip(&menu) {
                sequence.push(*step);
                if let Some(mut pair) = judged(rule, &sequence) {
                    walked += 1;
                    if known.insert(pair.state()) {
                        next.push([&so_far[..], &[index]].concat());
                    }
                }
                sequence.pop();
            }
        }
        frontier = next;
    }
    (walked, known.len())
}

/// Names the sequence in which something is not right.
fn judged(rule: ChargeRule, sequence: &[Step]) -> Option<Pair> {
    let walked = std::panic::AssertUnwindSafe(|| walk(rule, sequence));
    std::panic::catch_unwind(walked).unwrap_or_else(|_| panic!("{rule:?}: {sequence:?}"))
}
