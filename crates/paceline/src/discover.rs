//! Which limits are in force for a model: the user's ceilings, the server's word, the tier table.
//!
//! Pure. Invariant: what is in force is never above the user's ceiling nor above the lowest that
//! the server stated, and at least 1.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use paceline_budget::tiers::{self, Tier};
use paceline_core::{Dimension, LimitKey, ModelId, Observation, Quota, Refill};
use paceline_transport::error_body::RateReading;
use paceline_transport::headers::{RateHeaders, StatedLimit};

/// One limit of a model, by whoever speaks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownLimit {
    /// What is counted.
    pub dimension: Dimension,
    /// In which time.
    pub window: Duration,
    /// What the client keeps to: the share that was asked for of the lowest that binds; `None` where
    /// nobody limits it.
    pub in_force: Option<NonZeroU64>,
    /// What the table for the tier says, which holds until the server has spoken.
    pub table: Option<u64>,
    /// What the server's headers said last.
    pub header: Option<StatedLimit>,
    /// What a refusal said last.
    pub refusal: Option<u64>,
    /// What the user allows at most.
    pub ceiling: Option<NonZeroU64>,
}

/// Ceilings that the user gives, and where to start below them.
#[derive(Clone, Debug)]
pub(crate) struct Ceilings {
    pub(crate) rps: Option<NonZeroU64>,
    pub(crate) rpm: Option<NonZeroU64>,
    pub(crate) tpm: Option<NonZeroU64>,
    /// The part of every limit that is used, in thousandths.
    pub(crate) share: u32,
    /// The tier whose table holds until the server has spoken; `None` for other hosts.
    pub(crate) tier: Option<Tier>,
}

/// What is known per model.
#[derive(Debug)]
pub(crate) struct Discover {
    ceilings: Ceilings,
    models: BTreeMap<ModelId, Known>,
}

#[derive(Debug, Default)]
struct Known {
    rpm: Stated,
    rps: Stated,
    tpm: Stated,
    in_force: [Option<NonZeroU64>; 3],
    /// What else is stated, such as input tokens a minute or requests a day.
    others: Vec<Other>,
}

/// A limit that only the server speaks of.
#[derive(Debug)]
struct Other {
    dimension: Dimension,
    window: Duration,
    stated: Stated,
    in_force: Option<NonZeroU64>,
}

/// One limit by those who state it.
#[derive(Clone, Copy, Debug, Default)]
struct Stated {
    table: Option<u64>,
    header: Option<StatedLimit>,
    refusal: Option<u64>,
}

/// Limits of a model beside the usual three; further ones are not kept.
const MAX_OTHERS: usize = 8;

/// How many models are told apart; further ones go without limits of their own.
const MAX_MODELS: usize = 1_000;

impl Stated {
    /// The lowest that the server stated; else the table's word. `None`: not limited.
    fn in_force(&self) -> Option<u64> {
        let header = match self.header {
            Some(StatedLimit::Limit(limit)) => Some(Some(limit)),
            Some(StatedLimit::Unlimited) => Some(None),
            None => None,
        };
        match (header, self.refusal) {
            (Some(Some(limit)), Some(refusal)) => Some(limit.min(refusal)),
            (Some(Some(limit)), None) => Some(limit),
            (_, Some(refusal)) => Some(refusal),
            (Some(None), None) => None,
            (None, None) => self.table,
        }
    }
}

impl Stated {
    fn known(
        self,
        dimension: Dimension,
        window: Duration,
        in_force: Option<NonZeroU64>,
        ceiling: Option<NonZeroU64>,
    ) -> KnownLimit {
        let Self { table, header, refusal } = self;
        KnownLimit { dimension, window, in_force, table, header, refusal, ceiling }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

impl Discover {
    pub(crate) fn new(ceilings: Ceilings) -> Self {
        Self { ceilings, models: BTreeMap::new() }
    }

    /// The limits of a model that is called for the first time; nothing for a known one.
    pub(crate) fn first_call(&mut self, model: &ModelId) -> Vec<Observation> {
        if self.models.contains_key(model) || self.models.len() >= MAX_MODELS {
            return Vec::new();
        }
        let row = self
            .ceilings
            .tier
            .map(|tier| tiers::row(model, tier).unwrap_or_else(|| tiers::lowest(tier)));
        let table = |limit: Option<u64>| Stated { table: limit, ..Stated::default() };
        let known = Known {
            rpm: table(row.map(|row| row.rpm)),
            rps: table(row.map(|row| row.rps)),
            tpm: table(row.map(|row| row.tpm)),
            ..Known::default()
        };
        self.models.insert(model.clone(), known);
        self.changes(model)
    }

    /// Takes in what an answer's headers state.
    pub(crate) fn headers(&mut self, model: &ModelId, headers: &RateHeaders) -> Vec<Observation> {
        let Some(known) = self.models.get_mut(model) else { return Vec::new() };
        if let Some(stated) = headers.limit_requests() {
            known.rpm.header = Some(stated);
            // The header is per minute; the server's own limit per second follows from it.
            known.rps.header = Some(match stated {
                StatedLimit::Limit(rpm) => StatedLimit::Limit(tiers::rps_of_rpm(rpm)),
                StatedLimit::Unlimited => StatedLimit::Unlimited,
            });
        }
        if let Some(stated) = headers.limit_tokens() {
            known.tpm.header = Some(stated);
        }
        for rate in headers.rates() {
            let (Some(dimension), Some(window)) = (rate.dimension(), rate.window()) else {
                continue;
            };
            // Those of a minute are read above: of several the lowest.
            let is_usual = matches!(dimension, Dimension::Requests | Dimension::TotalTokens);
            if rate.limit().is_none() || (is_usual && window == MINUTE) {
                continue;
            }
            if let Some(stated) = known.stated(dimension, window) {
                stated.header = rate.limit();
            }
        }
        self.changes(model)
    }

    /// Takes in what a refusal states as `(actual/limit)`.
    pub(crate) fn refusal(&mut self, model: &ModelId, rates: &[RateReading]) -> Vec<Observation> {
        let Some(known) = self.models.get_mut(model) else { return Vec::new() };
        for rate in rates.iter().filter(|rate| rate.limit > 0) {
            if let Some(stated) = known.stated(rate.dimension, rate.window) {
                stated.refusal = Some(rate.limit);
            }
        }
        self.changes(model)
    }

    /// Every limit of a model that somebody speaks of.
    pub(crate) fn known(&self, model: &ModelId) -> Vec<KnownLimit> {
        let Some(known) = self.models.get(model) else { return Vec::new() };
        let usual = self.usual(known).into_iter().zip(known.in_force);
        let usual = usual.map(|((dimension, window, stated, ceiling), in_force)| {
            stated.known(dimension, window, in_force, ceiling)
        });
        let others = known
            .others
            .iter()
            .map(|other| other.stated.known(other.dimension, other.window, other.in_force, None));
        let speaks = |limit: &KnownLimit| {
            let stated = limit.table.is_some() || limit.header.is_some() || limit.refusal.is_some();
            stated || limit.ceiling.is_some()
        };
        usual.chain(others).filter(speaks).collect()
    }

    /// The usual limits of a model, with the user's ceilings.
    fn usual(&self, known: &Known) -> [(Dimension, Duration, Stated, Option<NonZeroU64>); 3] {
        let ceilings = &self.ceilings;
        let rps_ceiling = ceilings
            .rps
            .or_else(|| ceilings.rpm.and_then(|rpm| NonZeroU64::new(tiers::rps_of_rpm(rpm.get()))));
        [
            (Dimension::Requests, MINUTE, known.rpm, ceilings.rpm),
            (Dimension::Requests, SECOND, known.rps, rps_ceiling),
            (Dimension::TotalTokens, MINUTE, known.tpm, ceilings.tpm),
        ]
    }

    /// What has to be told to the admission since it was told last.
    fn changes(&mut self, model: &ModelId) -> Vec<Observation> {
        let Some(known) = self.models.get(model) else { return Vec::new() };
        let limits = self.usual(known);
        let share = self.ceilings.share;
        let Some(known) = self.models.get_mut(model) else { return Vec::new() };
        let mut changes = Vec::new();
        let mut tell = |dimension, window, before: &mut Option<NonZeroU64>, lowest: Option<u64>| {
            let limit = lowest.map(|limit| part_of(limit, share));
            if limit == std::mem::replace(before, limit) {
                return;
            }
            let key = LimitKey::Model(model.clone());
            let refill = Refill::Rolling(window);
            match limit.map(|limit| Quota::per(limit, window)) {
                Some(Ok(quota)) => changes.push(Observation::Stated { key, dimension, quota }),
                Some(Err(_)) => {}
                None => changes.push(Observation::Unlimited { key, dimension, refill }),
            }
        };
        for (before, (dimension, window, stated, ceiling)) in known.in_force.iter_mut().zip(limits)
        {
            let limits = [stated.in_force(), ceiling.map(NonZeroU64::get)];
            tell(dimension, window, before, limits.into_iter().flatten().min());
        }
        for other in &mut known.others {
            let limit = other.stated.in_force();
            tell(other.dimension, other.window, &mut other.in_force, limit);
        }
        changes
    }
}

impl Known {
    /// Who states so much in a window; `None` for what calls ask nothing of, and for too many.
    fn stated(&mut self, dimension: Dimension, window: Duration) -> Option<&mut Stated> {
        match (dimension, window) {
            (Dimension::Requests, SECOND) => return Some(&mut self.rps),
            (Dimension::Requests, MINUTE) => return Some(&mut self.rpm),
            (Dimension::TotalTokens, MINUTE) => return Some(&mut self.tpm),
            (
                Dimension::Requests
                | Dimension::InputTokens
                | Dimension::OutputTokens
                | Dimension::TotalTokens,
                _,
            ) => {}
            _ => return None,
        }
        let is_it = |other: &Other| (other.dimension, other.window) == (dimension, window);
        let place = self.others.iter().position(is_it).unwrap_or(self.others.len());
        if place == self.others.len() {
            if place == MAX_OTHERS || Quota::per(NonZeroU64::MIN, window).is_err() {
                return None;
            }
            let stated = Stated::default();
            self.others.push(Other { dimension, window, stated, in_force: None });
        }
        Some(&mut self.others[place].stated)
    }
}

/// So many thousandths of a limit, rounded down, at least 1.
fn part_of(limit: u64, share: u32) -> NonZeroU64 {
    let part = u128::from(limit) * u128::from(share) / 1_000;
    NonZeroU64::new(u64::try_from(part).unwrap_or(u64::MAX)).unwrap_or(NonZeroU64::MIN)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use paceline_core::UnixMillis;

    use super::*;

    fn discover(rpm: Option<u64>, tpm: Option<u64>, share: u32) -> Discover {
        let (rpm, tpm) = (rpm.and_then(NonZeroU64::new), tpm.and_then(NonZeroU64::new));
        Discover::new(Ceilings { rps: None, rpm, tpm, share, tier: Some(Tier::T0) })
    }

    fn headers(requests: &str, tokens: &str) -> RateHeaders {
        let mut map = HeaderMap::new();
        map.insert("x-ratelimit-limit-requests", requests.parse().expect("legal"));
        map.insert("x-ratelimit-limit-tokens", tokens.parse().expect("legal"));
        RateHeaders::parse(&map, UnixMillis::new(0))
    }

    /// The limits told, as (per minute, per second, tokens per minute); 0 where lifted.
    fn told(changes: &[Observation]) -> [Option<u64>; 3] {
        let mut told = [None; 3];
        for change in changes {
            let (dimension, window, limit) = match change {
                Observation::Stated { dimension, quota, .. } => {
                    (dimension, quota.window(), quota.limit().get())
                }
                Observation::Unlimited { dimension, refill: Refill::Rolling(window), .. } => {
                    (dimension, Some(*window), 0)
                }
                other => panic!("{other:?}"),
            };
            let place = match (dimension, window) {
                (Dimension::TotalTokens, _) => 2,
                (_, Some(SECOND)) => 1,
                _ => 0,
            };
            told[place] = Some(limit);
        }
        told
    }

    #[test]
    fn a_model_starts_at_its_tier_and_a_stranger_at_the_lowest_row() {
        let mut known = discover(None, None, 1_000);
        let first = known.first_call(&"grok-4.3".into());
        assert_eq!(told(&first), [Some(1_800), Some(37), Some(10_000_000)]);
        assert_eq!(known.first_call(&"grok-4.3".into()), []);
        let stranger = known.first_call(&"grok-99".into());
        assert_eq!(told(&stranger), [Some(450), Some(9), Some(2_500_000)]);
    }

    #[test]
    fn the_users_limit_is_a_ceiling_and_a_lower_one_of_the_server_wins() {
        let model = "grok-4.3".into();
        let mut known = discover(Some(480), Some(60_000), 1_000);
        assert_eq!(told(&known.first_call(&model)), [Some(480), Some(10), Some(60_000)]);
        assert_eq!(known.headers(&model, &headers("1800", "10000000")), []);
        let lower = known.headers(&model, &headers("96", "30000"));
        assert_eq!(told(&lower), [Some(96), Some(2), Some(30_000)]);
        let higher = known.headers(&model, &headers("1800", "18446744073709551615"));
        assert_eq!(told(&higher), [Some(480), Some(10), Some(60_000)]);
    }

    #[test]
    fn the_server_overrules_the_table_both_ways() {
        let model = "grok-4.3".into();
        let mut known = discover(None, None, 500);
        assert_eq!(told(&known.first_call(&model)), [Some(900), Some(18), Some(5_000_000)]);
        let raised = known.headers(&model, &headers("9600", "9223372036854775807"));
        assert_eq!(told(&raised), [Some(4_800), Some(100), Some(0)]);
        let reading = RateReading::new(Dimension::TotalTokens, MINUTE, 65_605, 16_000);
        assert_eq!(told(&known.refusal(&model, &[reading])), [None, None, Some(8_000)]);
    }

    #[test]
    fn who_speaks_of_a_limit_can_be_seen() {
        let model = "grok-4.3".into();
        let mut known = discover(Some(480), None, 500);
        assert_eq!(known.known(&model), []);
        known.first_call(&model);
        known.headers(&model, &headers("96", "18446744073709551615"));
        known.refusal(&model, &[RateReading::new(Dimension::Requests, SECOND, 9, 2)]);
        let [rpm, rps, tpm] = known.known(&model).try_into().expect("three");
        let number = |limit| NonZeroU64::new(limit);
        assert_eq!((rpm.in_force, rpm.ceiling), (number(48), number(480)));
        assert_eq!((rpm.table, rpm.header), (Some(1_800), Some(StatedLimit::Limit(96))));
        assert_eq!((rps.in_force, rps.refusal, rps.window), (number(1), Some(2), SECOND));
        assert_eq!((tpm.in_force, tpm.header), (None, Some(StatedLimit::Unlimited)));
    }

    #[test]
    fn limits_of_other_kinds_and_windows_are_taken_over_too_and_few_of_them() {
        let model = "grok-4.3".into();
        let mut known = discover(None, None, 500);
        known.first_call(&model);
        let mut map = HeaderMap::new();
        map.insert("anthropic-ratelimit-input-tokens-limit", "50000".parse().expect("legal"));
        map.insert("x-ratelimit-limit-requests-day", "1000".parse().expect("legal"));
        map.insert("x-ratelimit-limit", "7".parse().expect("legal"));
        let read = RateHeaders::parse(&map, UnixMillis::new(0));
        let stated = |dimension, limit, window| Observation::Stated {
            key: LimitKey::Model("grok-4.3".into()),
            dimension,
            quota: Quota::per(NonZeroU64::new(limit).expect("not zero"), window).expect("legal"),
        };
        let day = Duration::from_secs(86_400);
        assert_eq!(
            known.headers(&model, &read),
            [stated(Dimension::InputTokens, 25_000, MINUTE), stated(Dimension::Requests, 500, day),]
        );
        assert_eq!(known.headers(&model, &read), []);
        let reading = RateReading::new(Dimension::OutputTokens, MINUTE, 9, 8);
        let refused = known.refusal(&model, &[reading]);
        assert_eq!(refused, [stated(Dimension::OutputTokens, 4, MINUTE)]);
        for seconds in 100..200 {
            let window = Duration::from_secs(seconds);
            known.refusal(&model, &[RateReading::new(Dimension::Requests, window, 9, 8)]);
        }
        assert_eq!(known.models[&model].others.len(), MAX_OTHERS);
    }
}
