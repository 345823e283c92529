//! What a server has counted, judged by S1 window by window and call by call.
//!
//! It knows nothing of slots, stamps or holds. Every count is kept as long as a window may still
//! hold it; each window is added up from scratch.

use std::collections::VecDeque;
use std::time::Duration;

use paceline_core::Instant;
use paceline_sim::engine::Rolling;

/// One limit's counts, and the limit that each call was admitted under.
#[derive(Debug)]
pub(crate) struct Judge {
    window: u64,
    counts: VecDeque<Count>,
    /// The same, told to the simulator's log where nothing is edited.
    rolling: Option<Rolling>,
    fullest: u128,
    /// All overruns and foreign calls, and how often the clock leaped.
    allowance: u128,
    eras: u32,
}

/// One call, counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) at: u64,
    /// Which admission, by the number of the operation.
    pub(crate) number: u64,
    /// The limit in force when it was admitted; `None` for a call that was not admitted here.
    pub(crate) limit: Option<u64>,
    /// How often the clock had leaped by then.
    pub(crate) era: u32,
    /// What was counted within what was reserved, and above it.
    pub(crate) amount: u64,
    pub(crate) over: u64,
    /// The operation by which the limiter heard of what is above; `u64::MAX`: not yet.
    pub(crate) heard: u64,
}

impl Judge {
    pub(crate) fn new(window: u64, is_edited: bool) -> Self {
        let length = Duration::from_nanos(window);
        Self {
            window,
            counts: VecDeque::new(),
            rolling: (!is_edited).then(|| Rolling::new(length)),
            fullest: 0,
            allowance: 0,
            eras: 1,
        }
    }

    /// The server counts; later than everything before.
    pub(crate) fn count(&mut self, count: Count, most: u64) -> Result<(), String> {
        self.allowance += u128::from(count.over);
        if let Some(rolling) = &mut self.rolling {
            let at = Instant::from_nanos(count.at);
            rolling.add(at, count.amount + count.over).map_err(|late| late.to_string())?;
        }
        self.eras = self.eras.max(count.era + 1);
        self.counts.push_back(count);
        self.check(count.at)?;
        if let Some(rolling) = &self.rolling {
            let all = self.counts.iter().map(|c| u128::from(c.amount) + u128::from(c.over));
            self.fullest = self.fullest.max(all.sum());
            if rolling.worst() != self.fullest {
                return Err(format!("two logs differ: {} and {}", rolling.worst(), self.fullest));
            }
            if self.fullest > (u128::from(most) + self.allowance) * u128::from(self.eras) {
                return Err(format!("S1: {} in a window, {most} allowed", self.fullest));
            }
        }
        Ok(())
    }

    /// The server puts another amount in the place of what it counted.
    pub(crate) fn edit(
        &mut self,
        number: u64,
        amount: u64,
        over: u64,
        now: u64,
    ) -> Result<(), String> {
        self.allowance += u128::from(over);
        for count in self.counts.iter_mut().filter(|count| count.number == number) {
            (count.amount, count.over) = (amount, over);
        }
        self.check(now)
    }

    /// The limiter hears what a call came to.
    pub(crate) fn heard(&mut self, number: u64, operation: u64) {
        for count in self.counts.iter_mut().filter(|count| count.number == number) {
            count.heard = operation;
        }
    }

    /// S1: whatever the last admitted call in a window found there, together with that call, is no
    /// more than the limit it was admitted under. What was not known by then is no fault of its.
    fn check(&mut self, now: u64) -> Result<(), String> {
        while self.counts.front().is_some_and(|count| count.at + self.window <= now) {
            self.counts.pop_front();
        }
        let eras = self.counts.iter().map(|count| count.era);
        let (first, last) = (eras.clone().min().unwrap_or(0), eras.max().unwrap_or(0));
        for era in first..=last {
            let here = || self.counts.iter().filter(|count| count.era == era);
            let admitted = here().filter_map(|count| Some((count.number, count.limit?)));
            let Some((number, limit)) = admitted.max() else { continue };
            let known = here().map(|count| {
                let over = if count.heard < number { count.over } else { 0 };
                u128::from(count.amount) + u128::from(over)
            });
            let sum: u128 = known.sum();
            if sum > u128::from(limit) {
                return Err(format!(
                    "S1: {sum} in the window of {} ns up to {now}, {limit} in force at its last \
                     admission",
                    self.window
                ));
            }
        }
        Ok(())
    }
}

/// What settles under Flow: how far it runs ahead of L a window.
#[derive(Debug)]
pub(crate) struct Pace {
    window: u64,
    /// In units times nanoseconds.
    ahead: u128,
    at: u64,
    recent: VecDeque<(u64, u64)>,
    is_above: bool,
    pub(crate) above: u64,
    pub(crate) fullest: u128,
    pub(crate) beyond_stated: u64,
}

/// What S1f allows beyond L T/W.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    pub(crate) limit: u64,
    /// The largest call, and the most that was ever in flight at once.
    pub(crate) call: u64,
    pub(crate) in_flight: u64,
    /// The longest that a call was in flight.
    pub(crate) longest: u64,
    /// How often the clock leaped or everything began anew.
    pub(crate) again: u64,
}

impl Pace {
    pub(crate) const fn new(window: u64) -> Self {
        Self {
            window,
            ahead: 0,
            at: 0,
            recent: VecDeque::new(),
            is_above: false,
            above: 0,
            fullest: 0,
            beyond_stated: 0,
        }
    }

    /// So much settles. The most that any interval up to now is ahead of L T/W, against the bound.
    pub(crate) fn settle(&mut self, amount: u64, now: u64, allowed: Allowed) -> Result<(), String> {
        let window = u128::from(self.window);
        let limit = u128::from(allowed.limit);
        let leaked = limit * u128::from(now.saturating_sub(self.at));
        self.at = self.at.max(now);
        self.ahead = self.ahead.saturating_sub(leaked) + u128::from(amount) * window;
        self.recent.push_back((now, amount));
        while self.recent.front().is_some_and(|(at, _)| at + self.window <= now) {
            self.recent.pop_front();
        }
        let sum: u128 = self.recent.iter().map(|(_, amount)| u128::from(*amount)).sum();
        self.fullest = self.fullest.max(sum);
        self.above += u64::from(sum > limit && !self.is_above);
        self.is_above = sum > limit;
        let call = u128::from(allowed.call);
        let stated = (2 * limit * u128::from(1 + allowed.again) + call) * window;
        self.beyond_stated += u64::from(self.ahead > stated);
        let flying = u128::from(allowed.in_flight) * window + limit * u128::from(allowed.longest);
        if self.ahead > stated + flying {
            return Err(format!("S1f: {} ahead of L T/W, {allowed:?}", self.ahead / window));
        }
        Ok(())
    }
}
