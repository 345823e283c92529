//! The structured fields `RateLimit` and `RateLimit-Policy` of the IETF's drafts.
//!
//! Source: draft-ietf-httpapi-ratelimit-headers, the form of -08 and later (a list of named items)
//! and the older ones where they can be told apart: a dictionary (-07), integers with parameters
//! (-03 to -06). What this file keeps: a field that does not parse is ignored whole, as the draft has it.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use paceline_core::Dimension;
use sfv::{BareItem, Dictionary, Item, List, ListEntry, Parser};

use super::rate::{StatedLimit, StatedRate};
use super::{MAX_REPEATS, Note};

/// One policy: so much of something in a window.
struct Policy {
    /// Empty in the older forms.
    name: String,
    quota: u64,
    /// `None` for a unit that is not known.
    dimension: Option<Dimension>,
    window: Option<Duration>,
}

/// Where one policy stands.
struct Standing {
    name: String,
    limit: Option<u64>,
    remaining: Option<u64>,
    reset_after: Option<Duration>,
}

/// Every limit that the two fields state, and the policies of nobody's standing.
pub(super) fn read(headers: &HeaderMap, note: &mut Note) -> Vec<StatedRate> {
    let policies = field(headers, &POLICY, note, policies);
    let standings = field(headers, &RATE, note, standings);
    let mut rates = Vec::new();
    for standing in &standings {
        let policy = policies.iter().find(|policy| policy.is_of(standing));
        // Of a unit that is not known nothing can be said; without a policy it is requests.
        let dimension = policy.map_or(Some(Dimension::Requests), |policy| policy.dimension);
        let limit = policy.map(|policy| policy.quota).or(standing.limit);
        let remaining = standing.remaining;
        if dimension.is_none() || remaining.zip(limit).is_some_and(|(left, limit)| left > limit) {
            note.ignored(&RATE);
            continue;
        }
        rates.push(StatedRate {
            dimension,
            window: policy.and_then(|policy| policy.window),
            limit: limit.filter(|limit| *limit > 0).map(StatedLimit::Limit),
            remaining,
            reset_after: standing.reset_after,
        });
    }
    for policy in policies {
        let is_told = standings.iter().any(|standing| policy.is_of(standing));
        if policy.dimension.is_none() {
            note.ignored(&POLICY);
        } else if !is_told && policy.quota > 0 {
            rates.push(StatedRate {
                dimension: policy.dimension,
                window: policy.window,
                limit: Some(StatedLimit::Limit(policy.quota)),
                remaining: None,
                reset_after: None,
            });
        }
    }
    rates
}

impl Policy {
    fn is_of(&self, standing: &Standing) -> bool {
        match standing.limit {
            // The older forms name no policy; it is the one of the same quota.
            Some(limit) => self.name.is_empty() && self.quota == limit,
            None => self.name == standing.name,
        }
    }
}

/// What the lines of one field say together; nothing where they are not understood.
fn field<T>(
    headers: &HeaderMap,
    name: &HeaderName,
    note: &mut Note,
    read: impl FnOnce(&str) -> Option<Vec<T>>,
) -> Vec<T> {
    let mut lines = headers.get_all(name).iter().take(MAX_REPEATS).peekable();
    if lines.peek().is_none() {
        return Vec::new();
    }
    let text: Option<Vec<&str>> = lines.map(|line| line.to_str().ok()).collect();
    let text = text.map(|lines| lines.join(", ")).filter(|text| text.len() <= MAX_LENGTH);
    text.and_then(|text| read(&text)).unwrap_or_else(|| {
        note.ignored(name);
        Vec::new()
    })
}

/// `"burst";q=100;w=60, "daily";q=1000;w=86400`, or `100;w=60`.
fn policies(text: &str) -> Option<Vec<Policy>> {
    items(text)?.iter().map(policy).collect()
}

fn policy(item: &Item) -> Option<Policy> {
    let window = match item.params.get("w") {
        Some(seconds) => Some(Duration::from_secs(count(seconds).filter(|w| *w > 0)?)),
        None => None,
    };
    if let Some(quota) = count(&item.bare_item) {
        let dimension = Some(Dimension::Requests);
        return Some(Policy { name: String::new(), quota, dimension, window });
    }
    let dimension = match item.params.get("qu") {
        None => Some(Dimension::Requests),
        Some(unit) => unit_of(unit.as_string()?.as_str()),
    };
    let quota = count(item.params.get("q")?)?;
    Some(Policy { name: name(item)?, quota, dimension, window })
}

/// `"default";r=50;t=30`, or `limit=100, remaining=50, reset=30`.
fn standings(text: &str) -> Option<Vec<Standing>> {
    if let Some(items) = items(text) {
        return items.iter().map(standing).collect();
    }
    let fields: Dictionary = Parser::new(text).parse().ok()?;
    let figure = |key: &str| match fields.get(key) {
        Some(ListEntry::Item(item)) => count(&item.bare_item).map(Some),
        Some(ListEntry::InnerList(_)) => None,
        None => Some(None),
    };
    let (limit, remaining, reset) = (figure("limit")?, figure("remaining")?, figure("reset")?);
    remaining?;
    let reset_after = reset.map(Duration::from_secs);
    Some(vec![Standing { name: String::new(), limit, remaining, reset_after }])
}

fn standing(item: &Item) -> Option<Standing> {
    let remaining = Some(count(item.params.get("r")?)?);
    let reset_after = match item.params.get("t") {
        Some(seconds) => Some(Duration::from_secs(count(seconds)?)),
        None => None,
    };
    Some(Standing { name: name(item)?, limit: None, remaining, reset_after })
}

/// The items of a list without inner lists.
fn items(text: &str) -> Option<Vec<Item>> {
    let list: List = Parser::new(text).parse().ok()?;
    let items = list.into_iter().map(|entry| match entry {
        ListEntry::Item(item) => Some(item),
        ListEntry::InnerList(_) => None,
    });
    items.collect::<Option<Vec<_>>>().filter(|items| !items.is_empty())
}

/// The name of a policy: a string, or a token in some drafts.
fn name(item: &Item) -> Option<String> {
    match &item.bare_item {
        BareItem::String(name) => Some(name.as_str().to_owned()),
        BareItem::Token(name) => Some(name.as_str().to_owned()),
        _ => None,
    }
}

/// A whole number that is not negative.
fn count(item: &BareItem) -> Option<u64> {
    u64::try_from(i64::from(item.as_integer()?)).ok()
}

/// Units that are registered, and those that servers of language models have made of them.
fn unit_of(name: &str) -> Option<Dimension> {
    match name {
        "requests" => Some(Dimension::Requests),
        "concurrent-requests" => Some(Dimension::InFlight),
        "tokens" => Some(Dimension::TotalTokens),
        "input-tokens" => Some(Dimension::InputTokens),
        "output-tokens" => Some(Dimension::OutputTokens),
        _ => None,
    }
}

const RATE: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Longer fields are ignored: a policy takes some thirty characters.
const MAX_LENGTH: usize = 4_096;
