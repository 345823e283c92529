//! What somebody does wrong who has not used the program before: it says what is wrong and what to do,
//! sends nothing, and changes no file that is not its own.

use super::{Place, stderr};

/// Three prompts, the last without a line break.
const PROMPTS: &str = "one?\ntwo?\nthree?";

#[track_caller]
fn refused_and_kept(place: &Place, args: &[&str], says: &[&str], kept: &str) {
    let before = std::fs::read(place.path(kept)).expect("there");
    place.refused(args, says);
    assert_eq!(
        std::fs::read(place.path(kept)).expect("still there"),
        before,
        "{kept} is as it was"
    );
}

#[test]
fn one_file_for_two_things_is_refused_and_nothing_is_lost() {
    let place = Place::new();
    place.write("in.txt", PROMPTS);
    place.write("in.jsonl", "{\"id\":\"a\",\"prompt\":\"x\"}\n{\"id\":\"b\",\"prompt\":\"y\"}");
    let twice = |args: &[&str], kept: &str| {
        let all = [&["run"], args, &["--simulate"]].concat();
        refused_and_kept(&place, &all, &["named twice", "hint: give each"], kept);
    };
    twice(&["in.txt", "--out", "in.txt"], "in.txt");
    twice(&["in.jsonl", "--out", "./in.jsonl"], "in.jsonl");
    twice(&["in.txt", "--report", "in.txt"], "in.txt");
    twice(&["in.txt", "--ledger", "in.txt"], "in.txt");
    twice(&["in.txt", "--estimator", "in.txt"], "in.txt");
    // Also where the file is not there yet, and where one is made beside another.
    twice(&["in.txt", "--out", "o.jsonl", "--report", "./o.jsonl"], "in.txt");
    twice(&["in.txt", "--out", "o.jsonl", "--ledger", "o.jsonl"], "in.txt");
    twice(&["in.txt", "--out", "o.jsonl", "--report", "o.jsonl.journal"], "in.txt");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("in.txt", place.path("link.txt")).expect("linked");
        twice(&["in.txt", "--out", "link.txt"], "in.txt");
    }
    assert!(!place.path("o.jsonl").exists(), "nothing was started");
    // A device may be named twice.
    #[cfg(unix)]
    {
        let args = ["run", "in.txt", "--simulate", "--report", "/dev/null", "--estimator"];
        let output = place.run(&[&args[..], &["/dev/null", "--limit", "1"]].concat());
        assert!(!stderr(&output).contains("named twice"), "{}", stderr(&output));
    }
}

#[test]
fn answers_that_were_paid_for_are_not_written_over_by_a_report() {
    let place = Place::new();
    place.write("in.txt", PROMPTS);
    let first = place.run(&["run", "in.txt", "--simulate", "--out", "o.jsonl", "--quiet"]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let args = ["run", "in.txt", "--simulate", "--out", "o.jsonl", "--report", "o.jsonl"];
    refused_and_kept(&place, &args, &["o.jsonl", "--out", "--report"], "o.jsonl");
}

#[test]
fn a_file_of_something_else_as_the_output_keeps_its_last_line() {
    let place = Place::new();
    place.write("in.txt", PROMPTS);
    for (name, text) in [
        ("notes.md", "my notes\nand their last line"),
        ("other.jsonl", "{\"id\":\"a\",\"prompt\":\"x\"}"),
        ("table.csv", "id,prompt\n1,\"What, then?\""),
        ("list.json", "[{\"id\":\"a\"}]"),
    ] {
        place.write(name, text);
        let args = ["run", "in.txt", "--simulate", "--out", name];
        refused_and_kept(&place, &args, &[name, "no row of answers", "--out"], name);
    }
    std::fs::create_dir(place.path("folder")).expect("made");
    place
        .refused(&["run", "in.txt", "--simulate", "--out", "folder"], &["is a directory", "--out"]);
}

#[test]
fn a_report_that_has_no_place_is_said_before_anything_is_sent() {
    let place = Place::new();
    place.write("in.txt", PROMPTS);
    for (report, why) in [("no/where.json", "no such folder"), (".", "is a directory")] {
        let args = ["run", "in.txt", "--simulate", "--report", report];
        place.refused(&args, &["can't write the report", why, "--report"]);
    }
    assert!(!place.path("in.sim.jsonl").exists(), "nothing was started");
}

#[test]
fn files_that_are_no_prompts_are_refused_with_the_way_to_make_them_so() {
    let place = Place::new();
    let refused = |name: &str, bytes: &[u8], says: &[&str]| {
        place.write(name, bytes);
        refused_and_kept(&place, &["run", name, "--simulate"], says, name);
    };
    let csv = b"id,prompt\n1,\"What, then?\"\n2,\"a \"\"b\"\"\nc\"\n";
    refused("q.csv", csv, &["q.csv is CSV", "DictReader", "q.jsonl"]);
    refused("q.XLSX", b"PK\x03\x04\xff", &["a table", ".tsv"]);
    refused("q.jsonl.gz", b"\x1f\x8b\xff", &["packed", "unpack"]);
    let good = "{\"prompt\": \"a\"}\n".repeat(6);
    refused(
        "seven.jsonl",
        format!("{good}{{\"prompt\": \"a\"\n").as_bytes(),
        &["line 7", "column"],
    );
    refused("list.json", b"[\n {\"prompt\": \"a\"}\n]\n", &["line 1", "jq -c '.[]' list.json"]);
    refused("spread.json", b"{\n \"prompt\": \"a\"\n}\n", &["line 1", "one JSON object"]);
    refused("utf16.txt", b"\xff\xfeh\0i\0\n\0", &["line 1", "UTF-16", "iconv -f UTF-16"]);
    refused("zeros.txt", b"h\0i\0\n\0", &["line 1", "UTF-16", "iconv -f UTF-16"]);
    refused("latin.txt", b"fine\nna\xefve\n", &["line 2", "column 3", "iconv -f WINDOWS-1252"]);
    refused("mark.jsonl", b"\xef\xbb\xbf", &["has no rows"]);
    refused("twice.jsonl", b"{\"id\":1,\"text\":\"a\"}\n{\"id\":1,\"text\":\"b\"}", &["same id"]);
    refused("key.jsonl", b"{\"Prompt\": \"a\"}\n", &["line 1", "its fields are Prompt", "--field"]);
    assert!(!place.path("q.sim.jsonl").exists(), "nothing was started");
}

#[test]
fn a_field_that_is_not_there_is_named() {
    let place = Place::new();
    place.write("in.txt", PROMPTS);
    place.write("in.tsv", "id\task\n1\twhat?\n");
    place.write("in.jsonl", "{\"ask\": \"what?\"}\n");
    let refused = |name: &str, says: &[&str]| {
        place.refused(&["run", name, "--simulate", "--field", "nope"], says);
    };
    refused("in.txt", &["in.txt has no field \"nope\"", "plain lines", "leave --field out"]);
    refused("in.tsv", &["no column \"nope\"", "id, ask", "--field"]);
    refused("in.jsonl", &["no field \"nope\"", "its fields are ask", "--field"]);
}

#[test]
fn what_windows_writes_is_read() {
    let place = Place::new();
    let rows = "{\"id\":\"a\",\"prompt\":\"x\"}\r\n\r\n{\"id\":\"b\",\"prompt\":\"y\"}\r\n";
    place.write("in.jsonl", format!("\u{feff}{rows}"));
    place.write("in.tsv", "\u{feff}id\tquestion\r\na\tx\r\nb\ty\r\n");
    for name in ["in.jsonl", "in.tsv"] {
        let args = ["run", name, "--simulate", "--quiet", "--no-estimator", "--out"];
        let out = format!("{name}.out");
        let output = place.run(&[&args[..], &[&out]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let mut ids: Vec<String> =
            place.rows(&out).iter().map(|row| row["id"].to_string()).collect();
        ids.sort();
        assert_eq!(ids, ["\"a\"", "\"b\""], "{name}");
    }
}

#[test]
fn numbers_that_make_no_sense_are_refused_by_what_they_should_be() {
    let place = Place::new();
    place.write("in.txt", PROMPTS);
    let refused = |option: &str, value: &str, says: &str| {
        place.refused(&["run", "in.txt", "--simulate", option, value], &[option, says]);
    };
    for option in ["--limit", "--max-output-tokens", "--rps", "--max-in-flight"] {
        refused(option, "0", "above 0");
        refused(option, "-3", "above 0");
        refused(option, "ten", "above 0");
    }
    refused("--budget-usd", "-5", "more than 0");
    refused("--budget-usd", "five", "such as 0.50");
    refused("--budget-per-day", "-5", "more than 0");
    refused("--tokens-per-day", "-5", "above 0");
    refused("--quota-share", "-1", "above 0");
    assert!(!place.path("in.sim.jsonl").exists(), "nothing was started");
}

#[test]
fn a_key_where_its_variable_should_be_named_is_not_shown() {
    let place = Place::new();
    place.write("in.txt", PROMPTS);
    let output = place.run(&["run", "in.txt", "--api-key-env", "xai-Abc123"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("name of a variable") && text.contains("export XAI_API_KEY="), "{text}");
    assert!(!text.contains("Abc123"), "no secret: {text}");
    place.refused(&["run", "in.txt"], &["no key in XAI_API_KEY", "--simulate"]);
}

#[test]
fn after_a_wrong_name_of_a_model_it_is_said_how_to_go_on() {
    let place = Place::new();
    place.write("in.txt", PROMPTS);
    let wrong = place.run(&["run", "in.txt", "--simulate", "--model", "gork-4"]);
    let text = stderr(&wrong);
    assert_eq!(wrong.status.code(), Some(1), "{text}");
    assert!(text.contains("gork-4 does not exist") && text.contains("3 failed"), "{text}");
    let says = ["other settings", "holds no answer", "in.sim.jsonl.journal", "--out"];
    refused_and_kept(&place, &["run", "in.txt", "--simulate"], &says, "in.sim.jsonl");
    // As it is said.
    for name in ["in.sim.jsonl", "in.sim.jsonl.journal"] {
        std::fs::remove_file(place.path(name)).expect("there");
    }
    let right = place.run(&["run", "in.txt", "--simulate"]);
    assert_eq!(right.status.code(), Some(0), "{}", stderr(&right));
    assert_eq!(place.rows("in.sim.jsonl").len(), 3);
}

/// A run with other settings keeps the failed rows of the one before, as it does not begin.
#[test]
fn failed_rows_are_kept_where_a_run_is_refused() {
    let place = Place::new();
    place.write("in.jsonl", "{\"id\":\"a\",\"prompt\":\"x\"}\n");
    let wrong = place.run(&["run", "in.jsonl", "--simulate", "--model", "gork-4"]);
    assert_eq!(wrong.status.code(), Some(1), "{}", stderr(&wrong));
    let args = ["run", "in.jsonl", "--simulate", "--retry-failed"];
    refused_and_kept(&place, &args, &["other settings", "gork-4", "--out"], "in.sim.jsonl");
}

/// A kill may tear the last line off the journal and off the answers: both are mended, and the run goes on.
#[test]
fn torn_last_lines_of_answers_and_journal_are_mended() {
    let place = Place::new();
    place.write("in.txt", PROMPTS);
    let first = place.run(&["run", "in.txt", "--simulate", "--limit", "2"]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    for name in ["in.sim.jsonl", "in.sim.jsonl.journal"] {
        let whole = std::fs::read_to_string(place.path(name)).expect("there");
        place.write(name, &whole[..whole.len() - 9]);
    }
    let again = place.run(&["run", "in.txt", "--simulate"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(stderr(&again).contains("1 from before"), "the torn row is asked for again");
    assert_eq!(place.rows("in.sim.jsonl").len(), 3);
    place.rows("in.sim.jsonl.journal");
}
