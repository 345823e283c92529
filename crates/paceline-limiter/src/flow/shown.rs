//! What a limit kept by Flow shows of itself.
//!
//! It decides nothing. Invariant: looking changes nothing but what time changes.

use paceline_core::Instant;

use super::Flow;
use super::flights::Flight;
use crate::snapshot::Binds;

impl Flow {
    /// What keeps one more unit from leaving.
    pub(crate) fn binds(&mut self, now: Instant) -> Option<Binds> {
        self.advance(now);
        let counted = self.settled.counted();
        let guard = self.raw(self.forecast.guard());
        if counted >= self.limit {
            Some(Binds::Counted)
        } else if counted.saturating_add(self.margin) >= self.limit {
            Some(Binds::Others)
        } else if self.credit.opens_at().is_some() {
            Some(Binds::Pace)
        } else if counted.saturating_add(self.margin).saturating_add(guard) >= self.limit {
            Some(Binds::Landing)
        } else {
            None
        }
    }

    /// What is left of the limit beside what is counted, by us and by others, and what may land
    /// before the next call is judged.
    pub(crate) fn left(&mut self, now: Instant) -> u64 {
        self.advance(now);
        let guard = self.raw(self.forecast.guard());
        self.limit
            .saturating_sub(self.settled.counted())
            .saturating_sub(self.margin)
            .saturating_sub(guard)
    }

    /// What has been settled in the last window, oldest first: when its slot ends, and how much.
    pub(crate) fn amounts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.settled.amounts()
    }

    /// What the server can look at of a call in flight; nothing where there is none.
    pub(crate) fn input(&self, flight: Flight) -> u64 {
        self.flights.get(flight).map_or(0, |call| self.raw(call.input))
    }
}
