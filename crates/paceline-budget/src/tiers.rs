//! What xAI allows per model and tier, before the server has said so itself: dated data.
//!
//! Source: docs.x.ai/developers/rate-limits, August to October 2026. Requests per minute are
//! those that the documented requests per second imply (RPS × 48, as measured headers fit).

use paceline_core::{LimitKey, ModelId};

/// What a team has spent since 2026-01-01: the higher, the more it may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// From $0.
    #[default]
    T0,
    /// From $50.
    T1,
    /// From $250.
    T2,
    /// From $1,000.
    T3,
    /// From $5,000.
    T4,
}

/// The limits of one model in one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierRow {
    /// Requests per second.
    pub rps: u64,
    /// Requests per minute.
    pub rpm: u64,
    /// Tokens per minute, input and output together.
    pub tpm: u64,
}

struct Models {
    names: &'static [&'static str],
    rps: [u64; 5],
    rpm: [u64; 5],
    /// In hundred thousands.
    tpm: [u64; 5],
}

const TABLE: [Models; 3] = [
    Models {
        names: &["grok-4.7", "grok-4.6", "grok-4.5"],
        rps: [150, 172, 208, 312, 500],
        rpm: [7_200, 8_256, 10_000, 15_000, 24_000],
        tpm: [500, 530, 600, 740, 1_000],
    },
    Models {
        names: &[
            "grok-4.3",
            "grok-4.20-0309-reasoning",
            "grok-4.20-0309-non-reasoning",
            "grok-build-0.1",
        ],
        rps: [37, 50, 75, 125, 208],
        rpm: [1_800, 2_400, 3_600, 6_000, 10_000],
        tpm: [100, 150, 250, 450, 850],
    },
    LOWEST,
];

/// The lowest row, for models that the table does not know.
const LOWEST: Models = Models {
    names: &["grok-4.20-multi-agent-0309"],
    rps: [9, 12, 18, 31, 56],
    rpm: [450, 600, 900, 1_500, 2_700],
    tpm: [25, 37, 62, 110, 210],
};

/// Names that are not in [`TABLE`] but known: models of the past.
const PAST: [&str; 16] = [
    "grok-beta",
    "grok-vision-beta",
    "grok-2-1212",
    "grok-2-vision-1212",
    "grok-2-vision",
    "grok-2",
    "grok-3",
    "grok-3-mini",
    "grok-4",
    "grok-4-0709",
    "grok-4-fast",
    "grok-4-fast-reasoning",
    "grok-4-fast-non-reasoning",
    "grok-4-1-fast",
    "grok-4-1-fast-reasoning",
    "grok-4-1-fast-non-reasoning",
];

impl Models {
    fn row(&self, tier: Tier) -> TierRow {
        let place = tier as usize;
        TierRow { rps: self.rps[place], rpm: self.rpm[place], tpm: self.tpm[place] * 100_000 }
    }
}

/// The limits of a model in a tier; `None` where the table does not know it.
pub fn row(model: &ModelId, tier: Tier) -> Option<TierRow> {
    let name = canonical_name(model.as_str());
    TABLE.iter().find(|models| models.names.contains(&name)).map(|models| models.row(tier))
}

/// The lowest limits of a tier, for models that the table does not know.
pub fn lowest(tier: Tier) -> TierRow {
    LOWEST.row(tier)
}

/// The model that an alias stands for; aliases share its limits.
pub fn canonical(model: &ModelId) -> ModelId {
    match canonical_name(model.as_str()) {
        name if name == model.as_str() => model.clone(),
        name => ModelId::from(name),
    }
}

/// A scope with its model by its own name, where it is that of an alias.
pub fn canonical_key(key: LimitKey) -> LimitKey {
    match key {
        LimitKey::Model(model) => LimitKey::Model(canonical(&model)),
        other => other,
    }
}

/// Requests per second that go with so many per minute: ⌊RPM/48⌋, at least 2.
pub const fn rps_of_rpm(rpm: u64) -> u64 {
    let rps = rpm / 48;
    if rps > 2 { rps } else { 2 }
}

/// The longest known name that the given one begins with, followed by nothing, `-latest` or a
/// date.
pub(crate) fn canonical_name(name: &str) -> &str {
    // No known name is an alias of another; most calls are to one of them.
    if known_names().any(|known| known == name) {
        return name;
    }
    let stands_for = |known: &&'static str| match name.strip_prefix(*known) {
        Some("") | Some("-latest") => true,
        Some(rest) => rest.strip_prefix('-').is_some_and(|date| {
            date.len() >= 4 && date.bytes().all(|b| b.is_ascii_digit() || b == b'-')
        }),
        None => false,
    };
    known_names().filter(stands_for).max_by_key(|known| known.len()).unwrap_or(name)
}

/// Every name that is known, without aliases.
pub(crate) fn known_names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().flat_map(|models| models.names.iter().copied()).chain(PAST)
}

#[cfg(test)]
mod tests {
    use super::row as row_of;
    use super::*;

    #[test]
    fn rows_are_found_by_name_and_alias() {
        let row = |model: &str, tier| row_of(&model.into(), tier);
        let expected = TierRow { rps: 37, rpm: 1_800, tpm: 10_000_000 };
        assert_eq!(row("grok-4.3", Tier::T0), Some(expected));
        assert_eq!(row("grok-4.3-latest", Tier::T0), Some(expected));
        assert_eq!(row("grok-4.7", Tier::T4).map(|row| row.tpm), Some(100_000_000));
        assert_eq!(row("something-else", Tier::T0), None);
        assert_eq!(lowest(Tier::T0), TierRow { rps: 9, rpm: 450, tpm: 2_500_000 });
    }

    #[test]
    fn aliases_share_a_model_and_strangers_stay_themselves() {
        assert_eq!(canonical(&"grok-4.3-latest".into()), "grok-4.3".into());
        assert_eq!(canonical(&"grok-4.3-2026-05-01".into()), "grok-4.3".into());
        assert_eq!(canonical(&"grok-4.30".into()), "grok-4.30".into());
        assert_eq!(canonical(&"grok-3-mini-latest".into()), "grok-3-mini".into());
        for name in known_names() {
            let longer = known_names().filter(|other| name.starts_with(other));
            assert_eq!(longer.max_by_key(|other| other.len()), Some(name), "{name} is no alias");
        }
    }

    #[test]
    fn requests_per_second_follow_from_requests_per_minute() {
        assert_eq!([1_800, 480, 95, 1].map(rps_of_rpm), [37, 10, 2, 2]);
    }
}
