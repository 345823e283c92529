//! What the estimator has learned, kept between runs.

use serde_json::Value;

use crate::{Place, stderr};

/// How wide the range of a job's tokens was before anything was sent.
fn width(report: &Value) -> f64 {
    let end = |end: &str| report["planned"]["tokens"][end].as_f64().expect("a number");
    end("high") / end("low")
}

#[test]
fn a_second_run_starts_with_what_the_first_has_learned() {
    let place = Place::new();
    place.prompts("a.txt", 30);
    place.prompts("b.txt", 30);
    let run = |input: &str, more: &[&str]| {
        let args = ["run", input, "--simulate", "--ledger", "l.db", "--report", "r.json"];
        let output = place.run(&[&args[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        place.report("r.json")
    };
    let first = width(&run("a.txt", &[]));
    assert!(place.path("l.db.sim.estimator").exists());
    assert!(!place.path("l.db.estimator").exists(), "what is real is learned elsewhere");
    let second = run("b.txt", &[]);
    assert!(width(&second) < first / 2.0, "{} after {first}", width(&second));
    let error = second["estimate"]["input_error"].as_f64().expect("a share");
    assert!(error < 0.02, "the estimator is warm: {error}");
    // Without it the next one is as cold as the first, and nothing is written.
    let before = std::fs::read(place.path("l.db.sim.estimator")).expect("there");
    let cold = width(&run("b.txt", &["--out", "cold.jsonl", "--no-estimator"]));
    assert!((cold / first - 1.0).abs() < 0.05, "{cold} and {first}");
    assert_eq!(std::fs::read(place.path("l.db.sim.estimator")).expect("there"), before);
    // One that is named is made, and nothing is left beside it.
    run("b.txt", &["--out", "named.jsonl", "--estimator", "named.json"]);
    let state: Value =
        serde_json::from_slice(&std::fs::read(place.path("named.json")).expect("there"))
            .expect("an object");
    assert_eq!(state["format"], "paceline estimator");
    let names = std::fs::read_dir(place.path("")).expect("a folder");
    let names = names.map(|file| file.expect("a file").file_name().into_string().expect("text"));
    assert!(names.into_iter().all(|name| !name.ends_with(".new")));
}

#[cfg(unix)]
#[test]
fn only_its_owner_can_read_what_was_learned() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.prompts("in.txt", 2);
    let output = place.run(&["run", "in.txt", "--simulate"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let file = std::fs::metadata(place.path("in.sim.jsonl.estimator")).expect("beside the output");
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_can_not_be_used_is_refused_by_name_and_left_alone() {
    let place = Place::new();
    place.prompts("in.txt", 2);
    let args = ["run", "in.txt", "--simulate", "--estimator", "e.json"];
    let later = r#"{"format":"paceline estimator","version":99,"models":[]}"#;
    let foreign = r#"{"format":"something else","version":1,"models":[]}"#;
    for (text, says) in [
        ("", "EOF"),
        ("dear diary", "line 1"),
        ("[1, 2", "line 1"),
        (later, "version 99"),
        (foreign, "other features"),
    ] {
        place.write("e.json", text);
        place.refused(&args, &["e.json", says, "--no-estimator", "--estimator"]);
        assert_eq!(std::fs::read_to_string(place.path("e.json")).expect("there"), text);
        assert!(!place.path("in.sim.jsonl").exists(), "nothing was started");
    }
    std::fs::create_dir(place.path("folder")).expect("made");
    let folder = ["run", "in.txt", "--simulate", "--estimator", "folder"];
    place.refused(&folder, &["folder", "--no-estimator"]);
    // One that can't be written is said to be, and the answers are there.
    let nowhere = ["run", "in.txt", "--simulate", "--estimator", "no/such/e.json"];
    let output = place.run(&nowhere);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("can't keep what was learned in no/such/e.json"));
    assert_eq!(place.rows("in.sim.jsonl").len(), 2);
}

#[test]
fn a_run_that_is_killed_has_not_learned_in_vain() {
    let place = Place::new();
    place.prompts("in.txt", 400);
    let args = ["run", "in.txt", "--simulate", "--rpm", "240"];
    let mut run = place.command(&args);
    let mut run = run.stderr(std::process::Stdio::null()).spawn().expect("it starts");
    let kept = place.path("in.sim.jsonl.estimator");
    while !kept.exists() {
        assert!(run.try_wait().expect("running").is_none(), "it ended before it kept anything");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    run.kill().expect("killed");
    run.wait().expect("gone");
    let state: Value =
        serde_json::from_slice(&std::fs::read(&kept).expect("there")).expect("whole");
    assert_eq!(state["format"], "paceline estimator");
    // And the next run can use it.
    let next = place.run(&["run", "in.txt", "--simulate", "--limit", "1"]);
    assert_eq!(next.status.code(), Some(0), "{}", stderr(&next));
}
