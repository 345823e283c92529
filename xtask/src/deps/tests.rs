//! The rules catch what they forbid: made-up workspaces, each with one thing wrong.

use cargo_metadata::semver::Version;

use super::facts::{Locked, When};
use super::*;

const TWO: &[Rule] = &[
    Rule {
        name: "core",
        ours: &[],
        ours_in_tests: &[],
        always: &[],
        by_default: &[],
        on_request: &["serde"],
    },
    Rule {
        name: "limiter",
        ours: &["core"],
        ours_in_tests: &["sim"],
        always: &["thiserror"],
        by_default: &["bytes"],
        on_request: &["tokio"],
    },
    Rule {
        name: "sim",
        ours: &["core"],
        ours_in_tests: &[],
        always: &[],
        by_default: &[],
        on_request: &[],
    },
];

fn member(name: &str, dependencies: Vec<Dependency>) -> Member {
    Member {
        name: name.into(),
        rust_version: Some(Version::new(1, 85, 0)),
        license: Some("MIT".into()),
        description: Some("A crate.".into()),
        dependencies,
        needs: Vec::new(),
    }
}

fn ours(name: &str, role: Role) -> Dependency {
    Dependency { name: name.into(), role, when: When::Always, origin: Origin::Workspace }
}

fn other(name: &str, when: When) -> Dependency {
    Dependency { name: name.into(), role: Role::Build, when, origin: Origin::Registry }
}

/// A workspace in order, but for what `spoil` does to it.
fn spoilt(spoil: impl FnOnce(&mut Facts)) -> Vec<String> {
    let mut facts = Facts {
        members: vec![
            member("core", vec![other("serde", When::OnRequest)]),
            member(
                "limiter",
                vec![
                    ours("core", Role::Build),
                    ours("sim", Role::Test),
                    other("thiserror", When::Always),
                    other("bytes", When::ByDefault),
                    other("tokio", When::OnRequest),
                ],
            ),
            member("sim", vec![ours("core", Role::Build)]),
        ],
        locked: vec![Locked { name: "tokio".into(), ordinary: true }],
    };
    spoil(&mut facts);
    problems(TWO, &facts)
}

fn with(member: usize, dependency: Dependency) -> Vec<String> {
    spoilt(|facts| facts.members[member].dependencies.push(dependency))
}

#[test]
fn a_workspace_in_order_has_no_problem() {
    assert_eq!(spoilt(|_| ()), [""; 0]);
}

#[test]
fn a_forbidden_arrow_is_caught() {
    assert_eq!(with(0, ours("limiter", Role::Build)), ["core -> limiter: forbidden arrow"]);
    assert_eq!(with(1, ours("sim", Role::Build)), ["limiter -> sim: forbidden arrow"]);
}

#[test]
fn a_forbidden_arrow_in_tests_is_caught() {
    assert_eq!(with(2, ours("limiter", Role::Test)), ["sim -> limiter: forbidden arrow in tests"]);
}

#[test]
fn a_crate_of_others_that_is_not_listed_is_caught() {
    assert_eq!(
        with(0, other("libc", When::Always)),
        ["core -> libc: not on the list of what it may use always"]
    );
}

#[test]
fn a_crate_listed_for_a_feature_is_caught_where_it_is_there_without_it() {
    let caught = |when| with(1, other("tokio", when));
    assert_eq!(
        caught(When::Always),
        ["limiter -> tokio: not on the list of what it may use always"]
    );
    assert_eq!(
        caught(When::ByDefault),
        ["limiter -> tokio: not on the list of what it may use by default"]
    );
    assert_eq!(
        with(1, other("bytes", When::Always)),
        ["limiter -> bytes: not on the list of what it may use always"]
    );
}

#[test]
fn what_only_tests_use_of_others_is_free() {
    let proptest = Dependency { role: Role::Test, ..other("proptest", When::Always) };
    assert_eq!(with(0, proptest), [""; 0]);
}

#[test]
fn a_repository_or_a_folder_outside_is_caught_in_tests_too() {
    let elsewhere = |role| Dependency {
        origin: Origin::Elsewhere("git+https://example.org/x".into()),
        ..ours("core", role)
    };
    for role in [Role::Build, Role::Test] {
        let caught = with(1, elsewhere(role));
        assert_eq!(
            caught,
            ["limiter -> core: from git+https://example.org/x, outside the workspace"]
        );
    }
}

#[test]
fn a_second_copy_of_our_own_is_caught() {
    let published = Dependency { origin: Origin::Registry, ..ours("core", Role::Build) };
    assert_eq!(with(1, published), ["limiter -> core: one of ours, but not by its path"]);
    let locked = Locked { name: "core".into(), ordinary: true };
    assert_eq!(
        spoilt(|facts| facts.locked.push(locked)),
        ["core: locked a second time, from elsewhere"]
    );
}

#[test]
fn a_lock_to_an_unusual_source_is_caught() {
    let locked = Locked { name: "tokio".into(), ordinary: false };
    assert_eq!(spoilt(|facts| facts.locked.push(locked)), ["tokio: locked to an unusual source"]);
}

#[test]
fn a_manifest_that_leaves_something_out_is_caught() {
    assert_eq!(
        spoilt(|facts| facts.members[0].rust_version = None),
        ["core: its manifest states no rust-version"]
    );
    assert_eq!(
        spoilt(|facts| facts.members[1].license = None),
        ["limiter: its manifest states no license"]
    );
    assert_eq!(
        spoilt(|facts| facts.members[2].description = None),
        ["sim: its manifest states no description"]
    );
}

#[test]
fn a_dependency_that_needs_a_newer_rust_than_stated_is_caught() {
    let newer = ("tokio".to_owned(), Version::new(1, 86, 0));
    assert_eq!(
        spoilt(|facts| facts.members[1].needs.push(newer)),
        ["limiter: states Rust 1.85.0, but tokio needs 1.86.0"]
    );
}

#[test]
fn what_only_a_feature_brings_may_need_a_newer_rust_where_that_is_said() {
    let problems = |when| {
        let newer = (LATER[0].to_owned(), Version::new(1, 92, 0));
        let problems = spoilt(|facts| {
            facts.members[1].needs.push(newer);
            facts.members[1].dependencies.push(other(LATER[0], when));
        });
        problems.iter().filter(|problem| problem.contains("states Rust")).count()
    };
    assert_eq!(problems(When::OnRequest), 0);
    assert_eq!((problems(When::Always), problems(When::ByDefault)), (1, 1));
}

#[test]
fn a_crate_without_a_rule_and_a_rule_without_a_crate_are_caught() {
    assert_eq!(
        spoilt(|facts| facts.members.push(member("ledger", Vec::new()))),
        ["ledger: there is no rule for it in xtask"]
    );
    assert_eq!(
        spoilt(|facts| {
            facts.members.pop();
        }),
        ["sim: there is a rule and no such crate", "limiter -> sim: no member of the workspace"]
    );
}

#[test]
fn the_real_rules_forbid_the_arrows_that_matter() {
    let rule = |name: &str| RULES.iter().find(|rule| rule.name == name).unwrap();
    assert!(rule("paceline-core").ours.is_empty());
    for pure in ["paceline-limiter", "paceline-budget", "paceline-transport", "paceline-sim"] {
        assert_eq!(rule(pure).ours, ["paceline-core"], "{pure}");
    }
    assert!(rule("paceline-sim").ours_in_tests.is_empty());
    assert!(!rule("paceline").ours.contains(&"paceline-sim"));
    assert!(rule("paceline-core").always.is_empty() && rule("paceline-limiter").always.is_empty());
}
