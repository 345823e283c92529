//! Who may not be admitted for a while, whatever the limits say.
//!
//! It knows no limits. Invariants: a pause is never shortened by a later one; a call that goes ahead
//! after one and is cancelled leaves no trace.

use std::time::Duration;

use paceline_core::{Demand, Dimension, Instant, LimitKey};

use crate::snapshot::PauseSnapshot;

/// The pauses in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pauses(Vec<Pause>);

#[derive(Clone, Debug)]
struct Pause {
    key: LimitKey,
    dimension: Option<Dimension>,
    until: Instant,
    /// Whether one call goes ahead alone when the pause is over.
    probes: bool,
    /// Whether anybody has paused it; until then it holds nobody.
    is_on: bool,
    /// The call that went ahead last, until when it was paused before that, and since.
    ahead: Option<(u64, Instant, Instant)>,
}

/// A pause, as it was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SavedPause {
    /// Whose calls it holds.
    pub key: LimitKey,
    /// Of which dimension, where it does not hold all.
    pub dimension: Option<Dimension>,
    /// How long from the moment of saving.
    pub left: Duration,
    /// Whether one call is to go ahead alone when it is over.
    pub probes: bool,
}

impl Pauses {
    /// Pauses what `key` counts.
    pub(crate) fn add(
        &mut self,
        key: &LimitKey,
        dimension: Option<Dimension>,
        until: Instant,
        now: Instant,
    ) {
        if let Some(pause) = self.find(key, dimension) {
            pause.probes &= pause.is_on || now < pause.until + NOTED;
            pause.until = if pause.is_on { pause.until.max(until) } else { until };
            pause.is_on = true;
            if let Some((_, before, _)) = &mut pause.ahead {
                // It holds whatever becomes of the call that went ahead.
                *before = until.max(*before);
            }
        } else if self.0.len() < MOST {
            self.0.push(Pause::new(key, dimension, until));
        } else if let Some(last) = self.0.last_mut() {
            // Too many to tell apart: everything is paused rather than nothing.
            last.key = LimitKey::All;
            last.dimension = None;
            last.until = last.until.max(until);
            last.is_on = true;
        }
    }

    /// When the pause of `key` that is on or follows is over, one call is to go ahead alone.
    pub(crate) fn probe(&mut self, key: &LimitKey, dimension: Option<Dimension>, now: Instant) {
        if let Some(pause) = self.find(key, dimension) {
            pause.probes = true;
            pause.until = if pause.is_on { pause.until } else { now };
        } else if self.0.len() < MOST {
            let pause = Pause::new(key, dimension, now);
            self.0.push(Pause { probes: true, is_on: false, ..pause });
        }
    }

    /// Ends a pause. `false` where there is none.
    pub(crate) fn end(&mut self, key: &LimitKey, dimension: Option<Dimension>) -> bool {
        let before = self.0.len();
        self.0.retain(|pause| pause.key != *key || pause.dimension != dimension);
        self.0.len() < before
    }

    /// What a restart needs. A pause until [`Instant::MAX`] says that this process is to admit
    /// nothing more, and is not for the next one.
    pub(crate) fn save(&self, now: Instant) -> Vec<SavedPause> {
        let matters = |pause: &&Pause| pause.matters(now) && pause.until < Instant::MAX;
        let saved = |pause: &Pause| SavedPause {
            key: pause.key.clone(),
            dimension: pause.dimension,
            left: pause.until.since(now),
            probes: pause.probes,
        };
        self.0.iter().filter(matters).map(saved).collect()
    }

    /// Pauses what was paused `elapsed` ago, for as long as was left.
    pub(crate) fn restore(&mut self, saved: &[SavedPause], elapsed: Duration, now: Instant) {
        for pause in saved {
            let left = pause.left.saturating_sub(elapsed);
            if !left.is_zero() || pause.probes {
                self.add(&pause.key, pause.dimension, now + left, now);
            }
            if pause.probes {
                self.probe(&pause.key, pause.dimension, now);
            }
        }
    }

    /// Whether none can matter any more.
    pub(crate) fn is_empty(&self, now: Instant) -> bool {
        self.0.iter().all(|pause| pause.is_over(now))
    }

    /// Whether none is kept: then no demand is paused, and no admission ends one.
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Until when a demand is paused, if it is.
    pub(crate) fn until(&self, demand: &Demand, now: Instant) -> Option<Instant> {
        let holds = |pause: &&Pause| pause.until > now && pause.applies(demand);
        self.0.iter().filter(holds).map(|pause| pause.until).max()
    }

    /// What there is to see of them.
    pub(crate) fn snapshot(&self, now: Instant) -> Vec<PauseSnapshot> {
        let seen = |pause: &Pause| PauseSnapshot {
            key: pause.key.clone(),
            dimension: pause.dimension,
            until: pause.until,
            probes: pause.probes,
        };
        self.0.iter().filter(|pause| pause.matters(now)).map(seen).collect()
    }

    /// A demand was admitted as the call of this number: where it is the first one after a pause,
    /// the others wait for what becomes of it.
    pub(crate) fn admitted(&mut self, demand: &Demand, call: u64, now: Instant) {
        let probes = |pause: &&mut Pause| pause.probes && pause.is_on && pause.applies(demand);
        for pause in self.0.iter_mut().filter(probes) {
            let until = now + AFTER_PROBE;
            pause.ahead = Some((call, pause.until, until));
            pause.probes = false;
            pause.until = until;
        }
        self.0.retain(|pause| !pause.is_over(now));
    }

    /// The call of this number never left: where it went ahead after a pause, another one does.
    pub(crate) fn cancelled(&mut self, call: u64) {
        for pause in &mut self.0 {
            let Some((ahead, before, since)) = pause.ahead else { continue };
            if ahead == call {
                pause.ahead = None;
                pause.probes = true;
                if pause.until == since {
                    pause.until = before;
                }
            }
        }
    }

    fn find(&mut self, key: &LimitKey, dimension: Option<Dimension>) -> Option<&mut Pause> {
        self.0.iter_mut().find(|pause| pause.key == *key && pause.dimension == dimension)
    }
}

impl Pause {
    fn new(key: &LimitKey, dimension: Option<Dimension>, until: Instant) -> Self {
        Self { key: key.clone(), dimension, until, probes: false, is_on: true, ahead: None }
    }

    /// Whether it holds anybody, or will when one call has gone ahead.
    fn matters(&self, now: Instant) -> bool {
        self.is_on && (self.until > now || self.probes)
    }

    /// Whether it can be forgotten: it does not matter, and no pause will follow a refusal.
    fn is_over(&self, now: Instant) -> bool {
        !self.matters(now) && (self.is_on || now >= self.until + NOTED)
    }

    fn applies(&self, demand: &Demand) -> bool {
        demand.is_counted_by(&self.key)
            && self.dimension.is_none_or(|dimension| demand.amount(dimension).is_some())
    }
}

/// How many pauses there may be; as many as limits.
const MOST: usize = super::Limits::MOST;

/// How long the others wait for the first one after a pause, as measured best: long enough for a
/// refusal to come back.
const AFTER_PROBE: Duration = Duration::from_millis(250);

/// How long after a refusal its pause may follow: whoever hears of it pauses at once.
const NOTED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn one_call_goes_ahead_when_a_pause_is_over() {
        let mut pauses = Pauses::default();
        let (key, demand) = (LimitKey::All, Demand::new());
        pauses.add(&key, None, at(1_000), at(0));
        pauses.probe(&key, None, at(0));
        assert_eq!(pauses.until(&demand, at(999)), Some(at(1_000)));
        assert_eq!(pauses.until(&demand, at(1_100)), None);
        pauses.admitted(&demand, 1, at(1_100));
        assert_eq!(pauses.until(&demand, at(1_100)), Some(at(1_350)));
        pauses.admitted(&demand, 2, at(1_350));
        assert_eq!(pauses.until(&demand, at(1_350)), None);
        assert!(pauses.0.is_empty());
    }

    #[test]
    fn what_nobody_paused_holds_nobody_and_too_many_pauses_hold_everybody() {
        let mut pauses = Pauses::default();
        let demand = Demand::new();
        pauses.probe(&LimitKey::All, None, at(0));
        pauses.admitted(&demand, 1, at(0));
        assert_eq!(pauses.until(&demand, at(0)), None);
        for caller in 0..=MOST {
            let key = LimitKey::Caller(caller.to_string().as_str().into());
            pauses.add(&key, None, at(1_000), at(0));
        }
        assert_eq!((pauses.0.len(), pauses.until(&demand, at(0))), (MOST, Some(at(1_000))));
    }

    #[test]
    fn a_refusal_is_remembered_for_a_second_until_it_is_paused_for() {
        for (millis, probes) in [(999, true), (1_000, false)] {
            let mut pauses = Pauses::default();
            pauses.probe(&LimitKey::All, None, at(0));
            pauses.admitted(&Demand::new(), 1, at(500));
            pauses.add(&LimitKey::All, None, at(2_000), at(millis));
            assert_eq!(pauses.snapshot(at(1_000))[0].probes, probes, "after {millis} ms");
        }
    }

    /// Found by the oracle's hundred million steps, in 4 of 57,000 worlds.
    #[test]
    fn a_pause_outlives_the_call_that_went_ahead_before_it_and_never_left() {
        let mut pauses = Pauses::default();
        let demand = Demand::new();
        pauses.add(&LimitKey::All, None, at(1_000), at(0));
        pauses.probe(&LimitKey::All, None, at(0));
        pauses.admitted(&demand, 1, at(1_100));
        pauses.add(&LimitKey::All, None, at(1_200), at(1_150));
        pauses.cancelled(1);
        assert_eq!(pauses.until(&demand, at(1_150)), Some(at(1_200)));
        assert_eq!(pauses.until(&demand, at(1_200)), None);
    }

    #[test]
    fn a_pause_can_be_ended() {
        let mut pauses = Pauses::default();
        pauses.add(&LimitKey::All, Some(Dimension::Money), at(9), at(0));
        assert!(!pauses.end(&LimitKey::All, None));
        assert!(pauses.end(&LimitKey::All, Some(Dimension::Money)));
        assert!(pauses.0.is_empty());
    }
}
