//! The pages of the guide name tests: each of them is there.

const PROMISES: &str = include_str!("../../docs/promises.md");

/// What holds the promises, where it is: tests of this binary, and those beside the code.
const TESTS: [&str; 16] = [
    include_str!("deadlines.rs"),
    include_str!("laws.rs"),
    include_str!("oracle.rs"),
    include_str!("permits.rs"),
    include_str!("profiles.rs"),
    include_str!("promises.rs"),
    include_str!("restart.rs"),
    include_str!("saved.rs"),
    include_str!("table.rs"),
    include_str!("waiting.rs"),
    include_str!("wakeups.rs"),
    include_str!("../../src/limiter/calls.rs"),
    include_str!("../../src/pacer.rs"),
    include_str!("../../src/queue/tests/fairness.rs"),
    include_str!("../../src/queue/tests/oracle.rs"),
    include_str!("../../src/window.rs"),
];

#[test]
fn every_test_that_a_promise_names_is_there() {
    // Names of tests are sentences: what stands in backticks and holds two underscores or more.
    let is_name = |quoted: &&str| {
        quoted.matches('_').count() > 1
            && quoted.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let names: Vec<_> = PROMISES.split('`').skip(1).step_by(2).filter(is_name).collect();
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        let head = format!("fn {name}(");
        assert!(TESTS.iter().any(|file| file.contains(&head)), "no test {name}");
    }
}
