//! The examples, run: each judges itself and fails where a limit was passed.
#![cfg_attr(
    all(feature = "clock", feature = "tokio"),
    expect(clippy::duplicate_mod, reason = "each example brings its judge along")
)]

#[cfg(feature = "clock")]
#[path = "../../examples/database_units.rs"]
mod database_units;
#[cfg(feature = "tokio")]
#[path = "../../examples/fair_pool.rs"]
mod fair_pool;
#[cfg(feature = "tokio")]
#[path = "../../examples/job_runner.rs"]
mod job_runner;

#[cfg(feature = "tokio")]
#[test]
fn the_job_runner_passes_neither_of_its_limits() {
    job_runner::main().expect("it judges itself");
}

#[cfg(feature = "clock")]
#[test]
fn the_database_is_never_asked_for_more_units_than_it_has() {
    database_units::main().expect("it judges itself");
}

#[cfg(feature = "tokio")]
#[test]
fn the_pool_serves_three_to_one() {
    fair_pool::main().expect("it judges itself");
}

#[test]
fn an_example_fits_on_a_screen() {
    for source in [
        include_str!("../../examples/job_runner.rs"),
        include_str!("../../examples/database_units.rs"),
        include_str!("../../examples/fair_pool.rs"),
    ] {
        let lines = source.lines().count();
        assert!(lines < 40, "{lines} lines: {}", source.lines().next().unwrap_or_default());
    }
}
