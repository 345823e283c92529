//! Which limits count a demand, found by the scopes it names.
//!
//! It knows limits only by their places. Invariant: what is found is sorted by scope, all calls
//! first, and within a scope by when the limit was added.

use std::collections::BTreeMap;

use paceline_core::{Caller, Demand, LimitKey, ModelId, Tag};

/// The places of the limits of every scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scopes {
    all: Vec<u32>,
    models: BTreeMap<ModelId, Vec<u32>>,
    tags: BTreeMap<Tag, Vec<u32>>,
    callers: BTreeMap<Caller, Vec<u32>>,
    /// Whether any limit is not of all calls.
    any_named: bool,
}

impl Scopes {
    pub(crate) fn add(&mut self, key: &LimitKey, limit: u32) {
        fn push<K: Clone + Ord>(scope: &mut BTreeMap<K, Vec<u32>>, key: &K, limit: u32) {
            // Most have one limit, and there may be thousands of them.
            scope.entry(key.clone()).or_insert_with(|| Vec::with_capacity(1)).push(limit);
        }
        self.any_named |= *key != LimitKey::All;
        match key {
            LimitKey::Model(model) => push(&mut self.models, model, limit),
            LimitKey::Tag(tag) => push(&mut self.tags, tag, limit),
            LimitKey::Caller(caller) => push(&mut self.callers, caller, limit),
            _ => self.all.push(limit),
        }
    }

    pub(crate) fn remove(&mut self, key: &LimitKey, limit: u32) {
        fn cut<K: Ord>(scope: &mut BTreeMap<K, Vec<u32>>, key: &K, limit: u32) {
            if let Some(limits) = scope.get_mut(key) {
                limits.retain(|other| *other != limit);
                if limits.is_empty() {
                    scope.remove(key);
                }
            }
        }
        match key {
            LimitKey::Model(model) => cut(&mut self.models, model, limit),
            LimitKey::Tag(tag) => cut(&mut self.tags, tag, limit),
            LimitKey::Caller(caller) => cut(&mut self.callers, caller, limit),
            _ => self.all.retain(|other| *other != limit),
        }
        let is_none = self.models.is_empty() && self.tags.is_empty() && self.callers.is_empty();
        self.any_named = !is_none;
    }

    /// The limits of one scope.
    pub(crate) fn of(&self, key: &LimitKey) -> &[u32] {
        let limits = match key {
            LimitKey::Model(model) => self.models.get(model),
            LimitKey::Tag(tag) => self.tags.get(tag),
            LimitKey::Caller(caller) => self.callers.get(caller),
            _ => Some(&self.all),
        };
        limits.map_or(&[], Vec::as_slice)
    }

    /// The limits of all calls.
    #[inline]
    pub(crate) fn all(&self) -> &[u32] {
        &self.all
    }

    /// Whether there are no others.
    #[inline]
    pub(crate) fn only_all(&self) -> bool {
        !self.any_named
    }

    /// The limits of every scope that a demand is in.
    pub(crate) fn counting(&self, demand: &Demand) -> [&[u32]; 4] {
        let [models, tags, callers] = self.named(demand);
        [&self.all, models, tags, callers]
    }

    /// The limits of every scope that a demand names.
    #[inline]
    pub(crate) fn named(&self, demand: &Demand) -> [&[u32]; 3] {
        fn find<'a, K: Ord>(scope: &'a BTreeMap<K, Vec<u32>>, key: Option<&K>) -> &'a [u32] {
            match key {
                Some(key) if !scope.is_empty() => scope.get(key).map_or(&[], Vec::as_slice),
                _ => &[],
            }
        }
        [
            find(&self.models, demand.model_id()),
            find(&self.tags, demand.tag_name()),
            find(&self.callers, demand.caller_name()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_finds_the_limits_of_what_it_names() {
        let mut scopes = Scopes::default();
        let model = LimitKey::Model("m".into());
        let caller = LimitKey::Caller("m".into());
        for (limit, key) in [&LimitKey::All, &model, &caller, &model].into_iter().enumerate() {
            scopes.add(key, limit as u32);
        }
        let found = |demand: &Demand| scopes.counting(demand).concat();
        assert_eq!(found(&Demand::new()), [0]);
        assert_eq!(found(&Demand::new().model("m")), [0, 1, 3]);
        assert_eq!(found(&Demand::new().model("n").caller("m").tag("m")), [0, 2]);
        let tag = LimitKey::Tag("m".into());
        assert!(scopes.of(&tag).is_empty());
        let mut scopes = scopes.clone();
        scopes.add(&tag, 4);
        assert_eq!(
            (scopes.of(&tag), scopes.of(&caller), scopes.all()),
            (&[4][..], &[2][..], &[0][..])
        );
        scopes.remove(&tag, 4);
        assert!(scopes.of(&tag).is_empty() && scopes.tags.is_empty());
        scopes.remove(&model, 1);
        assert_eq!(scopes.of(&model), [3]);
        scopes.remove(&model, 3);
        assert!(scopes.of(&model).is_empty() && scopes.models.is_empty());
        assert!(!scopes.only_all());
        scopes.remove(&caller, 2);
        assert!(scopes.only_all());
        scopes.add(&LimitKey::All, 5);
        assert!(scopes.only_all());
        scopes.add(&tag, 6);
        assert!(!scopes.only_all());
    }
}
