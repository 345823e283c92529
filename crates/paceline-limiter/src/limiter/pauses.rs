//! Who may not be admitted for a while, whatever the limits say.
//!
//! It knows no limits. Invariant: a pause is never shortened by a later one.

use std::time::Duration;

use paceline_core::{Demand, Dimension, Instant, LimitKey};

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
    pub(crate) fn add(&mut self, key: &LimitKey, dimension: Option<Dimension>, until: Instant) {
        if let Some(pause) = self.find(key, dimension) {
            pause.until = pause.until.max(until);
            pause.is_on = true;
        } else if self.0.len() < MOST {
            self.0.push(Pause { key: key.clone(), dimension, until, probes: false, is_on: true });
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
        } else if self.0.len() < MOST {
            let key = key.clone();
            self.0.push(Pause { key, dimension, until: now, probes: true, is_on: false });
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
        let matters = |pause: &&Pause| {
            pause.is_on && (pause.until > now || pause.probes) && pause.until < Instant::MAX
        };
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
                self.add(&pause.key, pause.dimension, now + left);
            }
            if pause.probes {
                self.probe(&pause.key, pause.dimension, now);
            }
        }
    }

    /// Whether none is in force.
    pub(crate) fn is_empty(&self, now: Instant) -> bool {
        self.0.iter().all(|pause| pause.until <= now)
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

    /// A demand was admitted: where it is the first one after a pause, the others wait for what
    /// becomes of it.
    pub(crate) fn admitted(&mut self, demand: &Demand, now: Instant) {
        let probes = |pause: &&mut Pause| pause.probes && pause.is_on && pause.applies(demand);
        for pause in self.0.iter_mut().filter(probes) {
            pause.probes = false;
            pause.until = now + AFTER_PROBE;
        }
        self.0.retain(|pause| pause.until > now || (pause.probes && pause.is_on));
    }

    fn find(&mut self, key: &LimitKey, dimension: Option<Dimension>) -> Option<&mut Pause> {
        self.0.iter_mut().find(|pause| pause.key == *key && pause.dimension == dimension)
    }
}

impl Pause {
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
        pauses.add(&key, None, at(1_000));
        pauses.probe(&key, None, at(0));
        assert_eq!(pauses.until(&demand, at(999)), Some(at(1_000)));
        assert_eq!(pauses.until(&demand, at(1_100)), None);
        pauses.admitted(&demand, at(1_100));
        assert_eq!(pauses.until(&demand, at(1_100)), Some(at(1_350)));
        pauses.admitted(&demand, at(1_350));
        assert_eq!(pauses.until(&demand, at(1_350)), None);
        assert!(pauses.0.is_empty());
    }

    #[test]
    fn what_nobody_paused_holds_nobody_and_too_many_pauses_hold_everybody() {
        let mut pauses = Pauses::default();
        let demand = Demand::new();
        pauses.probe(&LimitKey::All, None, at(0));
        pauses.admitted(&demand, at(0));
        assert_eq!(pauses.until(&demand, at(0)), None);
        for caller in 0..=MOST {
            let key = LimitKey::Caller(caller.to_string().as_str().into());
            pauses.add(&key, None, at(1_000));
        }
        assert_eq!((pauses.0.len(), pauses.until(&demand, at(0))), (MOST, Some(at(1_000))));
    }

    #[test]
    fn a_pause_can_be_ended() {
        let mut pauses = Pauses::default();
        pauses.add(&LimitKey::All, Some(Dimension::Money), at(9));
        assert!(!pauses.end(&LimitKey::All, None));
        assert!(pauses.end(&LimitKey::All, Some(Dimension::Money)));
        assert!(pauses.0.is_empty());
    }
}
