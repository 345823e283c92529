//! What was learned of servers and their limits, kept between runs in a file beside what the estimator
//! has learned.
//!
//! It holds rules and numbers, by server and model, and no key. Invariant: a file that can't be used is
//! never written over.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use paceline::transport::headers::StatedLimit;
use paceline::{Client, KnownLimit, ServerRule};
use paceline_core::{Dimension, ModelId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::error::{UserError, warn};
use crate::learned;

/// All servers of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Servers {
    format: String,
    version: u32,
    servers: BTreeMap<String, Server>,
}

/// One server, as it was known when a run ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Server {
    /// Milliseconds since 1970.
    at: i64,
    models: BTreeMap<ModelId, Model>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Model {
    pub(crate) rule: ServerRule,
    pub(crate) limits: Vec<Limit>,
}

/// One limit and who speaks of it; as [`KnownLimit`], as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limit {
    pub(crate) dimension: Dimension,
    /// Milliseconds.
    window_ms: u64,
    pub(crate) in_force: Option<u64>,
    pub(crate) table: Option<u64>,
    pub(crate) header: Option<Said>,
    pub(crate) refusal: Option<u64>,
    pub(crate) ceiling: Option<u64>,
}

/// What a header said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Said {
    Limit(u64),
    Word(Word),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    Unlimited,
}

const FORMAT: &str = "paceline limits";
const VERSION: u32 = 1;
/// Servers of a file; of more, those that were not asked for longest are forgotten.
const MOST: usize = 16;
const MOST_BYTES: u64 = 1 << 20;

impl Servers {
    pub(crate) fn new() -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, servers: BTreeMap::new() }
    }

    /// What earlier runs have learned; nothing where there is no file.
    ///
    /// # Errors
    /// Where the file can't be read, is something else, of a later version or damaged. It is left as it is.
    pub(crate) fn load(path: &Path) -> Result<Self, UserError> {
        let unusable = |why: &dyn std::fmt::Display| {
            let what = format!("{} does not hold what was learned of servers", path.display());
            UserError::usage(what)
                .cause(why)
                .hint("it was left as it is: move it away to start anew")
        };
        let read = learned::read(path, MOST_BYTES).map_err(|error| {
            UserError::usage(format!("can't read what was learned of servers, {}", path.display()))
                .cause(error)
                .hint("make it readable, or move it away to start anew")
        })?;
        let Some(bytes) = read else { return Ok(Self::new()) };
        if bytes.len() as u64 > MOST_BYTES {
            return Err(unusable(&"it is larger than any that was saved"));
        }
        let found: Self = serde_json::from_slice(&bytes).map_err(|error| unusable(&error))?;
        if found.format != FORMAT {
            return Err(unusable(&format!("its format is {:?}", found.format)));
        }
        if found.version != VERSION {
            return Err(unusable(&format!(
                "it is of version {}, and this program knows {VERSION}",
                found.version
            )));
        }
        Ok(found)
    }

    /// One of them, by its host.
    pub(crate) fn of(&self, host: &str) -> Option<&Server> {
        self.servers.get(host)
    }

    /// The name of the server, where there is one alone.
    pub(crate) fn only(&self) -> Option<&str> {
        let mut names = self.servers.keys();
        let first = names.next()?;
        names.next().is_none().then_some(first)
    }

    /// Takes in what a client knows of the server that it asked.
    pub(crate) fn know(&mut self, host: &str, client: &Client, model: &ModelId, now: UnixMillis) {
        let server = self.servers.entry(host.to_owned()).or_default();
        server.at = now.as_millis();
        let rules = client.learned();
        let canonical = paceline::budget::tiers::canonical(model);
        for name in rules.keys().chain([&canonical]) {
            let kept = server.models.entry(name.clone()).or_default();
            kept.rule = rules.get(name).copied().unwrap_or(kept.rule);
            kept.limits = client.known_limits(name).iter().map(Limit::from).collect();
        }
        while self.servers.len() > MOST {
            let oldest = self.servers.iter().min_by_key(|(_, server)| server.at);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { return };
            self.servers.remove(&oldest);
        }
    }

    /// Keeps it. Where that fails it is said, as the answers are there all the same.
    pub(crate) fn save(&self, path: &Path) {
        let bytes = serde_json::to_vec(self).map_err(std::io::Error::from);
        if let Err(error) = bytes.and_then(|bytes| learned::write(path, &bytes)) {
            let path = path.display();
            warn(format!("can't keep what was learned of the server in {path}: {error}"));
        }
    }
}

impl Server {
    /// When it was asked last.
    pub(crate) const fn at(&self) -> UnixMillis {
        UnixMillis::new(self.at)
    }

    pub(crate) fn model(&self, name: &ModelId) -> Option<&Model> {
        self.models.get(name)
    }

    /// What is known of its rule for each model.
    pub(crate) fn rules(&self) -> BTreeMap<ModelId, ServerRule> {
        self.models.iter().map(|(name, model)| (name.clone(), model.rule)).collect()
    }
}

impl Limit {
    pub(crate) const fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms)
    }
}

impl From<&KnownLimit> for Limit {
    fn from(limit: &KnownLimit) -> Self {
        Self {
            dimension: limit.dimension,
            window_ms: u64::try_from(limit.window.as_millis()).unwrap_or(u64::MAX),
            in_force: limit.in_force.map(NonZeroU64::get),
            table: limit.table,
            header: limit.header.map(|said| match said {
                StatedLimit::Limit(limit) => Said::Limit(limit),
                StatedLimit::Unlimited => Said::Word(Word::Unlimited),
            }),
            refusal: limit.refusal,
            ceiling: limit.ceiling.map(NonZeroU64::get),
        }
    }
}

/// Where it is kept: beside what the estimator has learned.
pub(crate) fn path(estimator: &Path) -> PathBuf {
    match estimator.extension() {
        Some(ending) if ending == "estimator" => estimator.with_extension("limits"),
        _ => learned::beside(estimator, ".limits"),
    }
}

/// What a server is called: its host, without its port, which changes from one simulated run to the next.
pub(crate) fn host(base_url: &str) -> String {
    let base = paceline::transport::BaseUrl::parse(base_url);
    base.map_or_else(|_| base_url.to_owned(), |base| base.host().to_owned())
}
