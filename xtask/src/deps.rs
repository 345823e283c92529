//! `cargo xtask deps`: who may depend on whom, checked against what cargo says.
//!
//! The rules are in `rules`, what cargo says is made plain data in `facts`; here the one is held
//! against the other, as a pure function. It looks at manifests and the lock file, not at sources.
//! Invariant: a crate of the workspace without a rule, and a rule without a crate, are problems,
//! so that nothing is left unchecked by forgetting it.

mod facts;
mod rules;

use crate::shell::{Failure, Outcome, Workspace, say};
use facts::{Dependency, Facts, Member, Origin, Role, When};
use rules::{LATER, RULES, Rule};

/// Checks the workspace.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let facts = facts::gather(workspace)?;
    let problems = problems(RULES, &facts);
    if problems.is_empty() {
        let members = facts.members.len();
        say(format!("deps: {members} crates of ours and {} of others: ok", facts.locked.len()));
        return Ok(());
    }
    let count = problems.len();
    Err(Failure::check(format!("{count} dependency problems:\n{}", problems.join("\n"))))
}

/// Everything about `facts` that `rules` forbid, a line each.
fn problems(rules: &[Rule], facts: &Facts) -> Vec<String> {
    let mut problems = Vec::new();
    for rule in rules {
        if !facts.members.iter().any(|member| member.name == rule.name) {
            problems.push(format!("{}: there is a rule and no such crate", rule.name));
        }
    }
    for member in &facts.members {
        problems.extend(of_manifest(member));
        let Some(rule) = rules.iter().find(|rule| rule.name == member.name) else {
            problems.push(format!("{}: there is no rule for it in xtask", member.name));
            continue;
        };
        for dependency in &member.dependencies {
            problems.extend(of_dependency(rule, dependency, facts));
        }
    }
    for locked in &facts.locked {
        if !locked.ordinary {
            problems.push(format!("{}: locked to an unusual source", locked.name));
        }
        if facts.members.iter().any(|member| member.name == locked.name) {
            problems.push(format!("{}: locked a second time, from elsewhere", locked.name));
        }
    }
    problems
}

fn of_manifest(member: &Member) -> Vec<String> {
    let name = &member.name;
    let mut problems = Vec::new();
    for (what, stated) in [
        ("rust-version", member.rust_version.is_some()),
        ("license", member.license.is_some()),
        ("description", member.description.is_some()),
    ] {
        if !stated {
            problems.push(format!("{name}: its manifest states no {what}"));
        }
    }
    if let Some(own) = &member.rust_version {
        for (other, needs) in &member.needs {
            let direct = member.dependencies.iter().find(|dependency| dependency.name == *other);
            let is_asked_for = direct.is_none_or(|direct| direct.when == When::OnRequest);
            if needs > own && !(is_asked_for && LATER.contains(&other.as_str())) {
                problems.push(format!("{name}: states Rust {own}, but {other} needs {needs}"));
            }
        }
    }
    problems
}

fn of_dependency(rule: &Rule, dependency: &Dependency, facts: &Facts) -> Option<String> {
    let (from, to) = (rule.name, dependency.name.as_str());
    let ours = facts.members.iter().any(|member| member.name == to);
    match (&dependency.origin, ours) {
        (Origin::Elsewhere(what), _) => {
            return Some(format!("{from} -> {to}: from {what}, outside the workspace"));
        }
        (Origin::Registry, true) => {
            return Some(format!("{from} -> {to}: one of ours, but not by its path"));
        }
        (Origin::Workspace, true) | (Origin::Registry, false) => {}
        (Origin::Workspace, false) => {
            return Some(format!("{from} -> {to}: no member of the workspace"));
        }
    }
    match (ours, dependency.role) {
        (true, Role::Build) => {
            (!rule.ours.contains(&to)).then(|| format!("{from} -> {to}: forbidden arrow"))
        }
        (true, Role::Test) => (!rule.ours.contains(&to) && !rule.ours_in_tests.contains(&to))
            .then(|| format!("{from} -> {to}: forbidden arrow in tests")),
        (false, Role::Build) => (!rule.allows(to, dependency.when)).then(|| {
            format!("{from} -> {to}: not on the list of what it may use {}", dependency.when)
        }),
        // What only tests use is nobody else's business.
        (false, Role::Test) => None,
    }
}

#[cfg(test)]
mod tests;
