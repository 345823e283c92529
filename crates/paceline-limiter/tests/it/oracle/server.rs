//! The server's meters of one limit: which shapes it may have, and which of them may refuse none.
//!
//! What is claimed follows the profiles' docs. The rest is measured.

use std::time::Duration;

use paceline_core::Instant;
use paceline_limiter::{ChargeRule, Limit, Pacing};
use paceline_sim::engine::{Ask, Call, Charge, Meter, Rule, Shape};

use super::plan::Habits;
use super::random::Random;

/// A meter, and whether it may refuse.
#[derive(Debug)]
pub(crate) struct Metered {
    pub(crate) shape: Name,
    pub(crate) is_claimed: bool,
    meter: Meter,
}

/// What is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Sliding,
    Aligned,
    Slices,
    TwoCounter,
    Bucket,
    Flow,
}

impl Name {
    pub(crate) const ALL: [Self; 6] =
        [Self::Sliding, Self::Aligned, Self::Slices, Self::TwoCounter, Self::Bucket, Self::Flow];
}

/// So many shapes stand beside each limit at most.
pub(crate) const MOST: usize = 3;

impl Metered {
    fn new(rule: Rule, shape: Name, is_claimed: bool) -> Self {
        Self { shape, is_claimed, meter: Meter::new(rule) }
    }

    /// Whether the call is let in.
    pub(crate) fn arrive(&mut self, ask: Ask, at: u64) -> Result<Call, String> {
        let told = self.meter.arrive(ask, Instant::from_nanos(at));
        told.map_err(|refused| format!("{:?} {:?}: {refused}", self.shape, self.meter.rule()))
    }

    pub(crate) fn complete(&mut self, call: Call, at: u64) {
        assert!(self.meter.complete(call, Instant::from_nanos(at)), "it was open");
    }
}

/// Some of the shapes that a server of this limit may have.
pub(crate) fn shapes(limit: &Limit, habits: &Habits, random: &mut Random) -> Vec<Metered> {
    let Some(window) = limit.quota().window() else { return Vec::new() };
    let most = limit.quota().limit().get();
    let charge = match limit.rule() {
        ChargeRule::Arrival => Charge::Arrival,
        ChargeRule::HeldMax => Charge::Held,
        ChargeRule::Completion | ChargeRule::Flow => Charge::Completion,
        _ => return Vec::new(),
    };
    let rule = |shape| Rule::new(most, window, shape, charge).expect("a legal rule");
    if limit.rule() == ChargeRule::Flow {
        return vec![Metered::new(rule(Shape::Sliding), Name::Flow, false)];
    }
    if limit.pacing() == Pacing::Bucket {
        let bucket = rule(Shape::Bucket { capacity: most });
        // What the ways' variation lets bunch is on top.
        return vec![Metered::new(bucket, Name::Bucket, habits.is_paced && habits.jitter == 0)];
    }
    let count = u32::try_from(random.between(2, 60)).expect("small");
    // The pacer goes by admissions: a server sees its spacing where calls leave at once.
    let is_spaced = charge == Charge::Arrival && habits.is_paced && limit.pacing() != Pacing::None;
    let is_burst = matches!(limit.pacing(), Pacing::Burst(_));
    let fixed = is_spaced && is_burst && !habits.changes;
    let mut shapes = vec![
        Metered::new(rule(Shape::Sliding), Name::Sliding, true),
        Metered::new(rule(Shape::Aligned), Name::Aligned, true),
        Metered::new(rule(Shape::Slices { count }), Name::Slices, true),
        Metered::new(rule(Shape::TwoCounter), Name::TwoCounter, fixed),
    ];
    if let Pacing::Burst(burst) = limit.pacing() {
        // What is sent within the delay's variation may arrive at once.
        let bunched = u128::from(most) * u128::from(habits.jitter);
        let bunched = bunched.div_ceil(window.as_nanos());
        let capacity = burst.get() + u64::try_from(bunched).expect("below the limit");
        shapes.push(Metered::new(rule(Shape::Bucket { capacity }), Name::Bucket, fixed));
    }
    while shapes.len() > MOST {
        let one = usize::try_from(random.below(shapes.len() as u64)).expect("an index");
        shapes.swap_remove(one);
    }
    shapes
}

/// The pacer itself, as an exact bucket that calls reach when they are admitted, by what they use.
pub(crate) fn pacer(limit: &Limit, habits: &Habits) -> Option<Metered> {
    let window = limit.quota().window()?;
    let most = limit.quota().limit().get();
    let period = window + limit.delay_bound();
    let (rate, period, capacity) = match limit.pacing() {
        // After a change the burst may be another part of the limit.
        Pacing::Burst(burst) if habits.changes => (most, period, burst.get()),
        Pacing::Burst(burst) => (most - burst.get(), period, burst.get()),
        Pacing::Bucket => (most, window, most),
        Pacing::Even => {
            // In parts of a call, so that a tick of tolerance can be told.
            let period = period + TICK;
            let rate = most * PARTS;
            let early = u128::from(rate) * TICK.as_nanos();
            let early = u64::try_from(early.div_ceil(period.as_nanos())).expect("small");
            (rate, period, PARTS + early)
        }
        _ => return None,
    };
    let rule = Rule::new(rate, period, Shape::Bucket { capacity }, Charge::Arrival);
    Some(Metered::new(rule.expect("a legal rule"), Name::Bucket, true))
}

/// How much of the pacer's bucket a unit takes.
pub(crate) fn parts(limit: &Limit) -> u64 {
    if limit.pacing() == Pacing::Even { PARTS } else { 1 }
}

const PARTS: u64 = 1_000_000;

/// The tolerance of even spacing.
const TICK: Duration = Duration::from_millis(2);
