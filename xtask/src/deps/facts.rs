//! What cargo says about the workspace, as plain data.
//!
//! It judges nothing. Invariant: every dependency of every member is there, optional ones and
//! those of other platforms too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use cargo_metadata::semver::Version;
use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use crate::shell::{Failure, Outcome, Workspace};

/// The workspace and what it is locked to.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The crates of the workspace.
    pub(super) members: Vec<Member>,
    /// Every other package of the lock file that any feature uses.
    pub(super) locked: Vec<Locked>,
}

/// One crate of the workspace.
#[derive(Debug, Default)]
pub(super) struct Member {
    /// Its name.
    pub(super) name: String,
    /// The lowest Rust that it states.
    pub(super) rust_version: Option<Version>,
    /// Its licence, as an SPDX expression.
    pub(super) license: Option<String>,
    /// What it says of itself.
    pub(super) description: Option<String>,
    /// What its manifest depends on.
    pub(super) dependencies: Vec<Dependency>,
    /// Every package that it builds with, directly or not, and the lowest Rust which that states.
    pub(super) needs: Vec<(String, Version)>,
}

/// One line of a manifest's dependencies.
#[derive(Debug)]
pub(super) struct Dependency {
    /// The package, by its own name.
    pub(super) name: String,
    /// What it is for.
    pub(super) role: Role,
    /// Under which features it is there.
    pub(super) when: When,
    /// Where it comes from.
    pub(super) origin: Origin,
}

/// What a dependency is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The crate or its build script needs it.
    Build,
    /// Only tests, examples and benches.
    Test,
}

/// Under which features a dependency is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Under all.
    Always,
    /// Under the default features.
    ByDefault,
    /// Only under a feature that is off by default.
    OnRequest,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::ByDefault => "by default",
            Self::OnRequest => "behind a feature",
        })
    }
}

/// Where a dependency comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A folder of this workspace.
    Workspace,
    /// Cargo's ordinary registry.
    Registry,
    /// Anything else: a repository, a folder outside, another registry.
    Elsewhere(String),
}

/// A package of the lock file that is not of this workspace.
#[derive(Debug)]
pub(super) struct Locked {
    /// Its name.
    pub(super) name: String,
    /// Whether it comes from cargo's ordinary registry.
    pub(super) ordinary: bool,
}

/// Asks cargo, with all features and held to the lock file.
pub(super) fn gather(workspace: &Workspace) -> Outcome<Facts> {
    let metadata = MetadataCommand::new()
        .cargo_path(workspace.cargo_path())
        .current_dir(workspace.root())
        .features(CargoOpt::AllFeatures)
        .other_options(vec!["--locked".to_owned()])
        .exec()
        .map_err(|why| Failure::check(format!("cargo metadata failed: {why}")))?;
    Ok(from_metadata(&metadata))
}

fn from_metadata(metadata: &Metadata) -> Facts {
    let root = metadata.workspace_root.as_std_path();
    let is_member = |package: &Package| metadata.workspace_members.contains(&package.id);
    let members = metadata.packages.iter().filter(|package| is_member(package));
    let others = metadata.packages.iter().filter(|package| !is_member(package));
    Facts {
        members: members.map(|package| member(package, root, metadata)).collect(),
        locked: others
            .map(|package| Locked {
                name: package.name.to_string(),
                ordinary: package.source.as_ref().is_some_and(|source| source.is_crates_io()),
            })
            .collect(),
    }
}

/// Whether a dependency is there only where loom explores.
fn is_for_loom(target: Option<&impl ToString>) -> bool {
    target.is_some_and(|target| target.to_string() == "cfg(loom)")
}

fn member(package: &Package, root: &Path, metadata: &Metadata) -> Member {
    let by_default = activated_by_default(&package.features);
    let dependencies = package.dependencies.iter().map(|found| {
        let called = found.rename.as_ref().unwrap_or(&found.name);
        Dependency {
            name: found.name.clone(),
            role: match found.kind {
                DependencyKind::Development => Role::Test,
                // Nobody is given what is built to be explored.
                _ if is_for_loom(found.target.as_ref()) => Role::Test,
                _ => Role::Build,
            },
            when: match (found.optional, by_default.contains(called.as_str())) {
                (false, _) => When::Always,
                (true, true) => When::ByDefault,
                (true, false) => When::OnRequest,
            },
            origin: match (&found.path, &found.source) {
                (Some(path), _) if path.as_std_path().starts_with(root) => Origin::Workspace,
                (Some(_), _) => Origin::Elsewhere("a folder".to_owned()),
                (None, Some(source)) if source.is_crates_io() => Origin::Registry,
                (None, Some(source)) => Origin::Elsewhere(source.to_string()),
                (None, None) => Origin::Elsewhere("nowhere that cargo names".to_owned()),
            },
        }
    });
    Member {
        name: package.name.to_string(),
        rust_version: package.rust_version.clone(),
        license: package.license.clone(),
        description: package.description.clone(),
        dependencies: dependencies.collect(),
        needs: needs(&package.id, metadata),
    }
}

/// The optional dependencies that the default features switch on.
fn activated_by_default(features: &BTreeMap<String, Vec<String>>) -> BTreeSet<&str> {
    let mut on = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = vec!["default"];
    while let Some(feature) = open.pop() {
        if !seen.insert(feature) {
            continue;
        }
        for value in features.get(feature).into_iter().flatten() {
            match (value.strip_prefix("dep:"), value.split_once('/')) {
                (Some(dependency), _) => {
                    on.insert(dependency);
                }
                // `name?/feature` switches nothing on.
                (None, Some((dependency, _))) if !dependency.ends_with('?') => {
                    on.insert(dependency);
                }
                (None, Some(_)) => {}
                (None, None) => open.push(value),
            }
        }
    }
    on
}

/// Everything that a package builds with, and the lowest Rust which that states.
fn needs(of: &PackageId, metadata: &Metadata) -> Vec<(String, Version)> {
    let Some(resolve) = &metadata.resolve else { return Vec::new() };
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut seen = BTreeSet::new();
    let mut open = vec![of];
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let edges = nodes.get(id).into_iter().flat_map(|node| &node.deps);
        let built = edges.filter(|edge| {
            edge.dep_kinds.iter().any(|how| how.kind != DependencyKind::Development)
        });
        open.extend(built.map(|edge| &edge.pkg));
    }
    let packages = metadata.packages.iter().filter(|package| seen.contains(&package.id));
    packages
        .filter_map(|package| Some((package.name.to_string(), package.rust_version.clone()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_features_are_followed_to_the_dependencies_they_switch_on() {
        let features = [
            ("default", vec!["net", "alloc"]),
            ("net", vec!["dep:hyper", "tls?/ring", "http/std"]),
            ("alloc", vec![]),
            ("tls", vec!["dep:tls"]),
        ];
        let features = features
            .map(|(name, on)| (name.to_owned(), on.into_iter().map(str::to_owned).collect()));
        let features = BTreeMap::from(features);
        let on = activated_by_default(&features);
        assert_eq!(on, BTreeSet::from(["hyper", "http"]));
    }

    #[test]
    fn this_workspace_is_read_with_its_optional_dependencies() {
        let facts = gather(&Workspace::find()).unwrap();
        let member = |name: &str| facts.members.iter().find(|member| member.name == name).unwrap();
        let find = |from: &str, to: &str| {
            let mut all = member(from).dependencies.iter();
            all.find(|found| found.name == to && found.role == Role::Build).unwrap()
        };
        assert_eq!(find("paceline-limiter", "paceline-core").origin, Origin::Workspace);
        assert_eq!(find("paceline-limiter", "tokio").when, When::OnRequest);
        let loom = member("paceline-limiter").dependencies.iter().find(|d| d.name == "loom");
        assert_eq!(loom.map(|loom| loom.role), Some(Role::Test));
        assert_eq!(find("paceline-transport", "reqwest").when, When::ByDefault);
        assert_eq!(find("paceline-transport", "http").when, When::Always);
        assert_eq!(find("xtask", "clap").origin, Origin::Registry);
        assert!(facts.locked.iter().any(|locked| locked.name == "tokio" && locked.ordinary));
        assert!(member("paceline-limiter").needs.iter().any(|(name, _)| name == "tokio"));
    }

    #[test]
    fn nobody_has_sqlite_in_the_tree_but_the_ledger_and_who_asks_for_it() {
        let facts = gather(&Workspace::find()).unwrap();
        let with = facts.members.iter().filter(|member| {
            member.needs.iter().any(|(name, _)| name == "rusqlite" || name == "libsqlite3-sys")
        });
        let mut with: Vec<_> = with.map(|member| member.name.as_str()).collect();
        with.sort_unstable();
        assert_eq!(with, ["paceline-bench", "paceline-cli", "paceline-ledger"]);
    }
}
