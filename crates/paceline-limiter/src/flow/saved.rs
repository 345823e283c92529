//! What a restart needs, as plain data with times relative to the moment of saving.
//!
//! It keeps nothing open. Invariant: what is restored counts at least as long as what was saved
//! would have; what was in flight is taken to land as late as it can.

use std::time::Duration;

use paceline_core::{Instant, Tag};

use super::Flow;
use super::class::{Class, MOST_OUTPUT};
use super::curve::{begins, place};

/// What a limit that is charged by [`ChargeRule::Flow`](crate::ChargeRule::Flow) remembers over a
/// restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SavedFlow {
    /// How long ago something was settled, and how much.
    pub settled: Vec<(Duration, u64)>,
    /// In how long something may land that nobody will tell, and how much.
    pub coming: Vec<(Duration, u64)>,
    /// The credit in units, debt below zero.
    pub credit: i128,
    /// What calls came to, class by class.
    pub classes: Vec<SavedClass>,
}

/// What calls that are alike came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SavedClass {
    /// The tag of these calls.
    pub name: Option<Tag>,
    /// How long each of the latest calls took, within a bin, and its output.
    pub calls: Vec<(Duration, u64)>,
}

impl Flow {
    /// What a restart needs.
    pub(crate) fn save(&mut self, now: Instant) -> SavedFlow {
        let now = self.advance(now);
        let mut saved = SavedFlow { credit: self.credit.level(), ..SavedFlow::default() };
        for (end, amount) in self.settled.amounts() {
            if end > now {
                saved.coming.push((Duration::from_nanos(end - now), amount));
            } else {
                saved.settled.push((Duration::from_nanos(now - end), amount));
            }
        }
        for call in self.flights.iter() {
            let lands = call.sent.saturating_add(call.latest).saturating_sub(now);
            saved.coming.push((Duration::from_nanos(lands), call.charged));
        }
        saved.classes.extend(self.classes.iter().map(|class| self.saved_class(class)));
        saved.classes.extend(self.restored.iter().cloned());
        saved
    }

    fn saved_class(&self, class: &Class) -> SavedClass {
        let shift = self.grid.shift() - 11;
        let calls = class.remembered().map(|(bin, output)| {
            let age = Duration::from_nanos(begins(bin) << shift);
            (age, self.raw(u64::from(output)))
        });
        SavedClass { name: class.name.clone(), calls: calls.collect() }
    }

    /// Takes up what was saved so long ago, before the first call. What the time since then refills
    /// is given.
    pub(crate) fn restore(&mut self, saved: SavedFlow, ago: Duration, now: Instant) {
        let at = self.advance(now);
        self.go_on_with(saved.credit, super::nanos(ago), now);
        for (age, amount) in &saved.settled {
            let age = super::nanos(age.saturating_add(ago));
            if age >= self.grid.window() {
                continue;
            }
            // A clock that has not run that long knows no such moment: then it counts from now.
            self.count(*amount, at.saturating_sub(age));
        }
        for (ahead, amount) in &saved.coming {
            let Some(ahead) = ahead.checked_sub(ago) else {
                // It has landed meanwhile.
                let age = super::nanos(ago.saturating_sub(*ahead));
                if age < self.grid.window() {
                    self.count(*amount, at.saturating_sub(age));
                }
                continue;
            };
            self.count(*amount, at.saturating_add(super::nanos(ahead)));
        }
        self.restored = saved.classes;
        self.restored.truncate(super::classes::CLASSES);
    }

    /// What was saved of a class, when its first call comes.
    pub(super) fn recall(&mut self, index: usize) {
        let name = &self.classes[index].name;
        let Some(place_of) = self.restored.iter().position(|class| class.name == *name) else {
            return;
        };
        let saved = self.restored.remove(place_of);
        let calls: Vec<_> = saved
            .calls
            .iter()
            .map(|(age, output)| {
                let bin = place(self.sight.key(super::nanos(*age))).0;
                (bin, output.div_ceil(1 << self.scale).min(MOST_OUTPUT))
            })
            .collect();
        self.classes[index].recall(place_of, &calls, &self.sight.reach);
    }

    /// The latest class goes, as if its first call had never come.
    pub(super) fn forget_class(&mut self) {
        let Some(class) = self.classes.pop() else { return };
        if let Some(place) = class.recalled() {
            let saved = self.saved_class(&class);
            self.restored.insert(place.min(self.restored.len()), saved);
        }
        if self.classes.is_empty() {
            self.unbegin();
        }
    }
}
