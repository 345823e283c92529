//! What a limiter is told: remainders, refusals, how the server counts; and limits replaced.

use paceline_core::{ChargeMoment, Observation, Quota};
use paceline_limiter::{Limit, LimitSnapshot, Pacing};

use super::books::Kind;
use super::plan::{duration, not_zero};
use super::world::{Verdict, World};

impl World {
    /// The server, or whoever claims to be it, tells what is left or how it counts, or refuses.
    pub(super) fn observe(&mut self) -> Verdict {
        let one = self.random.below(self.watched.len() as u64);
        let index = usize::try_from(one).expect("an index");
        let told = self.news(index);
        let now = self.operate();
        let before = self.limiter.snapshot(now);
        self.limiter.observe(&told, now);
        let after = self.limiter.snapshot(now);
        for (index, watched) in self.watched.iter_mut().enumerate() {
            watched.books.is_complete = false;
            let (before, after) = (&before.limits[index], &after.limits[index]);
            // What headers tell of others may be less than what was thought of them; and where Flow
            // is told of anything, it looks again at what may land, which may be less than it was.
            let may_free = watched.books.kind == Kind::Flow;
            let is_refused = matches!(told, Observation::Refused { .. });
            let is_freed = if may_free {
                is_refused && after.in_force > before.in_force
            } else {
                after.free > before.free
            };
            if is_freed || is_less(before, after) {
                return Err(format!("{told:?} made {before:?} {after:?}"));
            }
        }
        let watched = &self.watched[index];
        let is_minute = watched.limit.quota().window() == Some(duration(60_000_000_000));
        let is_kept = matches!(watched.books.kind, Kind::Arrival | Kind::Completion);
        if let Observation::Remaining { remaining, .. } = told {
            if is_minute && is_kept && after.limits[index].free > remaining {
                return Err(format!("{told:?} left {:?}", after.limits[index]));
            }
        }
        Ok(())
    }

    /// Something about one limit, likely or not.
    fn news(&mut self, index: usize) -> Observation {
        let watched = &self.watched[index];
        let (key, dimension) = (watched.limit.key().clone(), watched.limit.dimension());
        let (limit, is_flow) = (watched.most, watched.books.kind == Kind::Flow);
        let amount = self.random.between(0, limit);
        match self.random.below(8) {
            0..3 => Observation::Remaining { key, dimension, remaining: amount, limit },
            3 | 4 if is_flow => {
                let moment = if self.random.one_in(2) {
                    ChargeMoment::Arrival
                } else {
                    ChargeMoment::Completion
                };
                Observation::CountedOn { key, dimension, moment }
            }
            _ => {
                // Of a call in flight, where it is known which one.
                let call = self.calls.iter().find(|call| !call.is_dead && call.heard == u64::MAX);
                let receipt = call.map(|call| call.receipt).filter(|_| limit % 2 == 0);
                let actual = (amount % 3 == 0).then_some(limit + amount);
                let dimension = Some(dimension);
                Observation::Refused { key, dimension, actual, limit: Some(limit), receipt }
            }
        }
    }

    /// Puts another limit in the place of one: of this much, and spaced otherwise.
    pub(super) fn replace_limit(&mut self, index: usize, quota: Quota) -> Verdict {
        let most = quota.limit().get();
        let limit = &self.watched[index].limit;
        let is_window = quota.window().is_some() && limit.pacing() != Pacing::Bucket;
        let pacing = match self.random.below(3) {
            _ if !is_window => limit.pacing(),
            0 => Pacing::None,
            1 if most > 1 => Pacing::Burst(not_zero(self.random.between(1, most / 2))),
            _ => Pacing::Even,
        };
        let limit = Limit::new(limit.key().clone(), limit.dimension(), quota)
            .charged(limit.rule())
            .delay(limit.delay_bound())
            .paced(pacing);
        self.watched[index].limit = limit.clone();
        let now = self.operate();
        self.tally.changes += 1;
        let before = self.limiter.snapshot(now);
        self.limiter.replace(limit, now).map_err(|why| why.to_string())?;
        let after = self.limiter.snapshot(now);
        let (before, after) = (&before.limits[index], &after.limits[index]);
        // What a bucket has let through is reckoned from what is in it: that stays, or is cut.
        if pacing != Pacing::Bucket && is_less(before, after) {
            return Err(format!("{pacing:?} in its place made {before:?} {after:?}"));
        }
        // Nothing is free that was not, but for what a higher amount allows, or Flow that stood still.
        let raised = after.in_force.saturating_sub(before.in_force);
        let is_flow = self.watched[index].books.kind == Kind::Flow;
        if !is_flow && after.free > before.free.saturating_add(raised) {
            return Err(format!("{pacing:?} in its place freed {before:?} {after:?}"));
        }
        Ok(())
    }
}

/// Whether anything that was counted or held is not any more.
fn is_less(before: &LimitSnapshot, after: &LimitSnapshot) -> bool {
    after.used < before.used || after.held != before.held
}
