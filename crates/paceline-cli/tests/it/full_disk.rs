//! Disks that are full: the system refuses to let any file of the program grow past a size.
//!
//! Which file reaches it first depends on what the run writes most of.

use std::process::Output;

use serde_json::{Value, json};

use super::{Place, stderr};

/// Runs where no file may grow past so many KiB, with what is temporary in this folder.
fn run_in(place: &Place, kib: u32, temporary: &str, args: &str) -> Output {
    let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" {args}");
    std::process::Command::new("bash")
        .args(["-c", &script, env!("CARGO_BIN_EXE_paceline")])
        .current_dir(place.path(""))
        .env("TMPDIR", place.path(temporary))
        .env_remove("XAI_API_KEY")
        .env_remove("PACELINE_LEDGER")
        .output()
        .expect("it starts")
}

const FAST: &str = "--simulate --rps 1000 --rpm 60000 --tpm 100000000";

/// Rows of a text of JSON lines, each of them whole.
fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a whole row")).collect()
}

#[test]
fn a_ledger_without_room_stops_the_run_and_what_was_answered_is_delivered() {
    let place = Place::new();
    place.prompts("in.txt", 150);
    let args = format!("run in.txt {FAST} --ledger l.db --report r.json");
    let output = run_in(&place, 200, "", &args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("ledger") && text.contains("l.db"), "{text}");
    let rows = place.rows("in.sim.jsonl");
    assert!(!rows.is_empty() && rows.len() < 150, "{} rows", rows.len());
    assert!(rows.iter().all(|row| row["output"].is_string()), "each is a whole answer");
    let report = place.report("r.json");
    assert_eq!(report["rows"]["done"].as_u64(), Some(rows.len() as u64), "none is lost");
    // With room again the same command goes on.
    let again = place.run(&["run", "in.txt", "--simulate", "--ledger", "l.db", "--quiet"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(place.rows("in.sim.jsonl").len(), 150);
}

/// Each request was answered once: so many rows have to be somewhere.
#[test]
fn answers_that_their_file_has_no_room_for_are_put_where_it_is_said() {
    let place = Place::new();
    place.prompts("in.txt", 150);
    std::fs::create_dir(place.path("tmp")).expect("made");
    let args = format!("run in.txt {FAST} --max-in-flight 8 --report r.json");
    let output = run_in(&place, 30, "tmp", &args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("can't write in.sim.jsonl") && text.contains("make room"), "{text}");
    let kept = place.path("tmp").join("in.sim.jsonl.rescued-0");
    assert!(text.contains(&kept.display().to_string()), "{text}");
    let rescued = std::fs::read_to_string(&kept).expect("rescued");
    let (delivered, aside) = (place.rows("in.sim.jsonl").len(), rows(&rescued).len());
    assert!(delivered > 0 && aside > 0, "{delivered} and {aside}: {text}");
    let report = place.report("r.json");
    assert_eq!(report["rows"]["done"], json!(delivered), "{text}");
    let answered = report["http"]["requests"].as_u64();
    assert_eq!(answered, Some((delivered + aside) as u64), "every answer is somewhere: {report}");
    // As it is said: they are added, and the same command does the rest, and no row twice.
    let all = std::fs::read_to_string(place.path("in.sim.jsonl")).expect("readable") + &rescued;
    place.write("in.sim.jsonl", all);
    let again = place.run(&["run", "in.txt", "--simulate", "--report", "r2.json"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(place.rows("in.sim.jsonl").len(), 150);
    let report = place.report("r2.json");
    assert_eq!(report["rows"]["done"], json!(150 - delivered - aside));
}

#[test]
fn where_no_file_has_room_answers_are_on_standard_output() {
    let place = Place::new();
    place.prompts("in.txt", 150);
    let args = format!("run in.txt {FAST} --max-in-flight 8");
    let output = run_in(&place, 30, "there-is-no-such-folder", &args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("standard output"), "{text}");
    let aside = rows(std::str::from_utf8(&output.stdout).expect("text"));
    assert!(!aside.is_empty() && aside.iter().all(|row| row["output"].is_string()), "{text}");
}

/// A row of many turns writes more to the journal than to the answers.
#[test]
fn a_journal_without_room_stops_the_run_and_can_be_gone_on_with() {
    let place = Place::new();
    let row =
        |n: usize| format!("{}\n", json!({ "id": n.to_string(), "turns": vec!["Go on."; 8] }));
    place.write("in.jsonl", (0..40).map(row).collect::<String>());
    let args = format!("run in.jsonl {FAST} --max-output-tokens 1");
    let output = run_in(&place, 30, "", &args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("in.sim.jsonl.journal") && text.contains("make room"), "{text}");
    // Nothing torn is left in the middle of it: the same command goes on.
    let again = place.run(&["run", "in.jsonl", "--simulate", "--max-output-tokens", "1"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(place.rows("in.sim.jsonl").len(), 40);
}
