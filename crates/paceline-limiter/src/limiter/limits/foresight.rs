//! The moment before which a demand can't be admitted, given those who are to be admitted first.
//!
//! A lower bound: whatever is not certain is taken to be as quick as it can be. What is held goes
//! back at once; each of those in front is admitted at the first moment at which it could be, and
//! is over then; it has used what it stated exactly, and else nothing; and it takes nothing at all
//! where it might leave before, because its own deadline comes first. Invariant: nothing that
//! anybody could see is changed.

use std::collections::BTreeMap;

use paceline_core::{Demand, Instant};

use super::{INSTANT, Limits};
use crate::state::{LimitState, Verdict};

/// What limits come to, as far as it is certain; those that are not foreseen are `None`.
type Future = BTreeMap<u32, Option<LimitState>>;

impl Limits {
    /// The moment before which `demand` can't be admitted, where those `in_front` have to be
    /// admitted or leave before it. As soon as that is after `deadline`, how long after is not
    /// looked at.
    pub(crate) fn not_before<'a>(
        &mut self,
        demand: &Demand,
        in_front: impl IntoIterator<Item = &'a Demand>,
        deadline: Instant,
        now: Instant,
    ) -> Instant {
        let (mut future, mut at) = (Future::new(), now);
        for other in in_front {
            let leaves = other.latest_admission().map(|last| last + INSTANT);
            let Some(admitted) = self.foresee(&mut future, other, leaves, at) else {
                // Refused or late: it takes nothing.
                at = leaves.map_or(at, |leaves| at.max(leaves));
                continue;
            };
            at = admitted;
            if at > deadline {
                return at;
            }
            if leaves.is_none_or(|leaves| leaves > deadline) {
                self.use_up(&mut future, other, at);
            }
        }
        let alone = self.unforeseen_until(demand, now).map_or(at, |until| until.max(at));
        self.foresee(&mut future, demand, None, at).map_or(alone, |at| at.max(alone))
    }

    /// When it fits, from a moment on; `None` where it is refused first, or leaves.
    fn foresee(
        &self,
        future: &mut Future,
        demand: &Demand,
        leaves: Option<Instant>,
        from: Instant,
    ) -> Option<Instant> {
        let mut at = from;
        for _ in 0..ROUNDS {
            let mut until = self.pauses.until(demand, at);
            for limit in self.scopes.counting(demand).into_iter().flatten() {
                let Some(state) = self.foreseen(future, *limit) else { continue };
                let Some(amount) = state.asked(demand) else { continue };
                match state.verdict(amount, demand, at) {
                    Verdict::Fits | Verdict::NotUntil(None) => {}
                    Verdict::NotUntil(later) => until = until.max(later),
                    Verdict::Never | Verdict::Exhausted => return None,
                }
            }
            let Some(later) = until.filter(|later| *later > at) else { break };
            if leaves.is_some_and(|leaves| later >= leaves) {
                return None;
            }
            at = later;
        }
        Some(at)
    }

    /// It was admitted at a moment, and is over.
    fn use_up(&self, future: &mut Future, demand: &Demand, at: Instant) {
        for limit in self.scopes.counting(demand).into_iter().flatten() {
            let Some(state) = self.foreseen(future, *limit) else { continue };
            if let Some(amount) = state.asked(demand) {
                state.use_up(amount, at);
            }
        }
    }

    fn foreseen<'a>(&self, future: &'a mut Future, limit: u32) -> Option<&'a mut LimitState> {
        let now = || self.states.get(limit as usize)?.as_ref()?.foreseen();
        future.entry(limit).or_insert_with(now).as_mut()
    }

    /// By the limits that can't be foreseen with others in front, when it fits if nothing happens.
    fn unforeseen_until(&mut self, demand: &Demand, now: Instant) -> Option<Instant> {
        let mut last = None;
        let Self { states, scopes, .. } = self;
        for limit in scopes.counting(demand).into_iter().flatten() {
            let Some(Some(state)) = states.get_mut(*limit as usize) else { continue };
            let Some(amount) = state.asked(demand).filter(|_| !state.is_foreseen()) else {
                continue;
            };
            if let Verdict::NotUntil(until) = state.verdict(amount, demand, now) {
                last = last.max(until);
            }
        }
        last
    }
}

/// How often several limits may put one demand off in turn, before the moment so far is the bound.
const ROUNDS: usize = 8;
