//! The state of the limits, for people and programs to look at.

use std::time::Duration;

use paceline_core::{Blocked, Dimension, Instant, LimitKey, Quota};

use crate::limit::ChargeRule;

/// All limits of a limiter at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// When it was taken.
    pub at: Instant,
    /// Every limit, in the order in which they were added.
    pub limits: Vec<LimitSnapshot>,
    /// Every pause that holds anybody, or after which one call goes ahead alone.
    pub pauses: Vec<PauseSnapshot>,
    /// How many calls wait.
    pub waiting: usize,
    /// What the first of them waits for.
    pub blocked: Option<Blocked>,
    /// How many calls are admitted and not yet settled.
    pub in_flight: usize,
}

/// A pause at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PauseSnapshot {
    /// Whose calls it holds.
    pub key: LimitKey,
    /// Of which dimension; `None`: of all.
    pub dimension: Option<Dimension>,
    /// Until when: it ends at that moment.
    pub until: Instant,
    /// Whether one call goes ahead alone then, and the others wait up to 250 ms for what becomes of it.
    pub probes: bool,
}

/// One limit at one moment. Amounts are in the unit of its dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitSnapshot {
    /// Whose calls it counts.
    pub key: LimitKey,
    /// What it counts.
    pub dimension: Dimension,
    /// How much, and when it comes back.
    pub quota: Quota,
    /// When it is charged.
    pub rule: ChargeRule,
    /// The bound on the variation of the one-way delay that it reckons with.
    pub delay_bound: Duration,
    /// Counted in the present window, or spent; of [`Pacing::Bucket`](crate::Pacing::Bucket) what
    /// was let through and has not come back, which a debt makes more than the quota.
    pub used: u64,
    /// Reserved for calls in flight: their upper amounts.
    /// [`Pacing::Bucket`](crate::Pacing::Bucket) reserves nothing, and
    /// [`ChargeRule::Flow`] decides by other means.
    pub held: u64,
    /// The most that one call could be admitted with now, but for a pacer in front of the window
    /// ([`LimitSnapshot::binds`] says whether that is what is waited for).
    ///
    /// In a window, what is in force and neither counted nor held; of a bucket, what is in it. By
    /// [`ChargeRule::Flow`], what is left beside all that is counted and may land before the next
    /// call is judged, for a call's input; none where the credit, the pace, or what may land later
    /// in the window let no unit through.
    pub free: u64,
    /// When one unit can be admitted, as a refusal would say: the window, the pacer, and by
    /// [`ChargeRule::Flow`] the credit and what may land, all taken together. `None` where that is
    /// now, or where time alone does not bring it.
    pub next_free_at: Option<Instant>,
    /// How much is in force: less than the quota after refusals that our own count does not explain.
    pub in_force: u64,
    /// What others are thought to count in the same window.
    pub others: u64,
    /// What keeps one more unit from being admitted now; `None` where nothing does.
    pub binds: Option<Binds>,
    /// How often what was counted rose above the quota, which only
    /// [`ChargeRule::Flow`] lets it do.
    pub passed: u64,
    /// The most that was counted by [`ChargeRule::Flow`] in one window.
    pub highest: u64,
}

/// What of a limit keeps a call from being admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Binds {
    /// What is counted and held reaches the quota.
    Counted,
    /// It does with what others are thought to count.
    Others,
    /// It does with what calls in flight may land before the next one is judged.
    Landing,
    /// It is not time yet: the pacer, or the credit of [`ChargeRule::Flow`].
    Pace,
}
