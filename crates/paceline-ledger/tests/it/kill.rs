//! Processes that are killed while they record: nothing that was sent is lost or counted twice.
//!
//! The short version; `cargo xtask bench ledger` does the same a thousand times.

pub(crate) mod scene;

use std::path::PathBuf;
use std::process::Command;

use scene::{Scene, Seen, child};

use crate::support::Place;

/// Where the process that is to be killed finds its ledger.
const CHILD: &str = "PACELINE_LEDGER_TO_BE_KILLED";

/// Not a test of its own: this program starts itself with it, and what runs then is killed.
#[test]
fn the_process_that_is_killed() {
    if let Some(path) = std::env::var_os(CHILD) {
        child(&PathBuf::from(path));
    }
}

#[test]
fn twenty_kills_lose_nothing_that_was_sent_and_count_nothing_twice() {
    let place = Place::new();
    let path = place.ledger();
    let mut scene = Scene::new(path.clone(), 5);
    let mut seen = Seen::default();
    for _ in 0..20 {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["kill::the_process_that_is_killed", "--exact", "--nocapture"]);
        command.env(CHILD, &path);
        seen.add(&scene.kill(command));
    }
    assert!(seen.sent > 100, "they were killed under load: {seen:?}");
    assert!(seen.closed > 0 && seen.open > 0, "{seen:?}");
}
