//! Which limits are in force, who says so, and what was learned of the server.

use serde_json::Value;

use crate::{Place, Sim, stderr};

fn shown(place: &Place, args: &[&str]) -> String {
    let output = place.run(args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn without_a_server_the_table_is_shown_and_nothing_is_sent() {
    let place = Place::new();
    // An alias shares the limits of the model that it stands for.
    let text = shown(&place, &["limits", "--model", "grok-4.3-latest"]);
    assert!(text.starts_with("grok-4.3 at api.x.ai\n"), "{text}");
    for says in ["requests per minute", "1,800", "10,000,000", "tier 0", "--probe", "nothing yet"] {
        assert!(text.contains(says), "{text:?} says {says:?}");
    }
    let elsewhere = shown(&place, &["limits", "--base-url", "https://example.com/v1"]);
    assert!(elsewhere.contains("no limits are known"), "{elsewhere}");
}

#[test]
fn one_call_asks_the_server_itself() {
    let place = Place::new();
    let sim = Sim::start(&place, &["--rpm", "96", "--tpm", "70000"]);
    let args = ["limits", "--base-url", &sim.1, "--probe", "--json"];
    let mut command = place.command(&args);
    let output = command.env("XAI_API_KEY", "any").output().expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let found: Value = serde_json::from_slice(&output.stdout).expect("an object");
    assert_eq!((&found["server"], &found["model"]), (&"127.0.0.1".into(), &"grok-4.3".into()));
    assert!(found["heard_at"].is_string());
    let limit = |dimension: &str, seconds: f64| {
        let all = found["limits"].as_array().expect("a list").iter();
        let mut of = all.filter(|limit| {
            limit["dimension"] == dimension && limit["window_s"].as_f64() == Some(seconds)
        });
        of.next().expect("there").clone()
    };
    assert_eq!(limit("requests", 60.0)["header"], 96);
    assert_eq!(limit("requests", 60.0)["in_force"], 96);
    assert_eq!(limit("total_tokens", 60.0)["in_force"], 70_000);
    assert_eq!(limit("total_tokens", 60.0)["table"], 10_000_000);
    // It asks with a key, and says so where there is none.
    place.refused(&args, &["XAI_API_KEY"]);
}

#[test]
fn what_a_run_has_heard_is_kept_and_shown() {
    let place = Place::new();
    place.prompts("in.txt", 5);
    let run = ["run", "in.txt", "--simulate", "--rpm", "120", "--ledger", "l.db"];
    let output = place.run(&run);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = shown(&place, &["limits", "l.db.sim.limits"]);
    for says in
        ["grok-4.3 at 127.0.0.1", "the headers say 120", "you allow 120", "heard of last at"]
    {
        assert!(text.contains(says), "{text:?} says {says:?}");
    }
    // Of another server nothing is known, and what is kept of several stays.
    let args = ["limits", "l.db.sim.limits", "--base-url", "https://api.x.ai/v1"];
    let other = shown(&place, &args);
    assert!(other.contains("at api.x.ai") && other.contains("nothing was heard"), "{other}");
}

#[test]
fn a_file_that_can_not_be_used_is_refused_by_name_and_left_alone() {
    let place = Place::new();
    place.prompts("in.txt", 2);
    let later = r#"{"format":"paceline limits","version":99,"servers":{}}"#;
    for (text, says) in [
        ("", "EOF"),
        ("dear diary", "line 1"),
        (later, "version 99"),
        (r#"{"format":"other","version":1,"servers":{}}"#, "other"),
    ] {
        place.write("in.sim.jsonl.limits", text);
        place.refused(&["limits", "in.sim.jsonl.limits"], &["in.sim.jsonl.limits", says]);
        place.refused(&["run", "in.txt", "--simulate"], &["in.sim.jsonl.limits", says]);
        let left = std::fs::read_to_string(place.path("in.sim.jsonl.limits")).expect("there");
        assert_eq!(left, text);
    }
}

#[test]
fn other_servers_are_listed_started_and_run_against() {
    let place = Place::new();
    let listed = place.run(&["sim", "--list"]);
    let text = String::from_utf8(listed.stdout).expect("text");
    assert_eq!((listed.status.code(), text.lines().count()), (Some(0), 13), "{text}");
    assert!(text.contains("sliding-completion") && text.contains("(xAI's)"), "{text}");
    place.write("slow.toml", "window = \"bucket\"\ncapacity = 3000\ntokens_per_minute = 60000\n");
    place.prompts("in.txt", 20);
    for rules in ["slow.toml", "aligned-arrival"] {
        let sim = Sim::start(&place, &["--rules", rules, "--rpm", "600"]);
        let out = format!("{rules}.out");
        let args = ["run", "in.txt", "--base-url", &sim.1, "--yes", "--quiet", "--out", &out];
        let output = place.command(&args).env("XAI_API_KEY", "any").output().expect("it starts");
        assert_eq!(output.status.code(), Some(0), "{rules}: {}", stderr(&output));
        assert_eq!(place.rows(&out).len(), 20);
    }
    place.write("bad.toml", "windows = 3\n");
    place.refused(&["sim", "--rules", "bad.toml"], &["unknown field `windows`", "the words are"]);
    place.refused(&["sim", "--rules", "no-such"], &["no-such is no name of rules", "--list"]);
}
