//! `run --ledger` and `usage`: what was spent, by whichever run, also while it is written.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::{Place, Sim, stderr};

/// What `usage` prints as JSON.
fn usage(place: &Place, args: &[&str]) -> Value {
    let mut all = vec!["usage", "--ledger", "l.db", "--json"];
    all.extend(args);
    let output = place.run(&all);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).expect("an object")
}

fn stdout(place: &Place, args: &[&str]) -> String {
    let output = place.run(args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// How many calls the server has seen.
fn arrived(sim: &Sim) -> u64 {
    let address = sim.1.trim_start_matches("http://").trim_end_matches("/v1");
    let mut stream = TcpStream::connect(address).expect("it listens");
    let ask = format!("GET /stats HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let body = &answer[answer.find('{').expect("an object")..=answer.rfind('}').expect("whole")];
    let stats: Value = serde_json::from_str(body).expect("an object");
    stats["arrived"].as_u64().expect("a count")
}

#[test]
fn several_runs_share_a_ledger_and_usage_adds_them_up() {
    let place = Place::new();
    place.prompts("a.txt", 7);
    place.prompts("b.txt", 5);
    let (mut tokens, mut cost) = (0, 0.0);
    for (input, tag) in [("a.txt", "red"), ("b.txt", "blue")] {
        let args = ["run", input, "--simulate", "--quiet", "--ledger", "l.db", "--tag", tag];
        let output = place.command(&args).args(["--report", "r.json"]).output().expect("starts");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let report = place.report("r.json");
        cost += report["cost_usd"].as_f64().expect("a cost");
    }
    for name in ["a.sim.jsonl", "b.sim.jsonl"] {
        for row in place.rows(name) {
            tokens += row["usage"]["total_tokens"].as_u64().expect("tokens");
        }
    }
    let by_tag = usage(&place, &["--simulated", "--by", "tag"]);
    let rows: Vec<_> = by_tag["rows"].as_array().expect("rows").iter().collect();
    let counts: Vec<_> = rows.iter().map(|row| (&row["tag"], &row["answered"])).collect();
    assert_eq!(counts, [(&"blue".into(), &5.into()), (&"red".into(), &7.into())]);
    let total = &by_tag["total"];
    let sum = total["input_tokens"].as_u64().zip(total["output_tokens"].as_u64());
    assert_eq!(sum.map(|(input, output)| input + output), Some(tokens));
    let spent: f64 = total["spent_usd"].as_str().and_then(|usd| usd.parse().ok()).expect("money");
    assert!((spent - cost).abs() < 1e-9, "{spent} was reported as {cost}");
    // Money that is not real is not among what is.
    assert_eq!(usage(&place, &[])["total"]["attempts"], 0);
    // The same in the other forms.
    let shown = ["usage", "--ledger", "l.db", "--simulated", "--by", "model"];
    let table = stdout(&place, &shown);
    assert!(table.starts_with("model") && table.contains("grok-4.3"), "{table}");
    let csv = stdout(&place, &[&shown[..], &["--csv"]].concat());
    let mut lines = csv.lines();
    let head = lines.next().expect("a head").split(',').count();
    assert_eq!(lines.map(|line| line.split(',').count()).collect::<Vec<_>>(), [head]);
    assert_eq!(usage(&place, &["--simulated", "--since", "2h"])["total"], *total);
    assert_eq!(usage(&place, &["--simulated", "--since", "9000-01-01"])["total"]["attempts"], 0);
}

#[test]
fn a_killed_run_is_in_the_ledger_and_its_second_half_is_counted_once() {
    let place = Place::new();
    place.prompts("in.txt", 60);
    let sim = Sim::start(&place, &["--rps", "40", "--rpm", "4000"]);
    let run = ["run", "in.txt", "--base-url", &sim.1, "--yes", "--ledger", "l.db", "--rps", "40"];
    let mut first = place.command(&run).env("XAI_API_KEY", "k").spawn().expect("it starts");
    // It is read while it is written, until some rows are answered.
    let seen = loop {
        if let Some(status) = first.try_wait().expect("a child") {
            panic!("it ended too early: {status}");
        }
        let output = place.run(&["usage", "--ledger", "l.db", "--json"]);
        let total = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default();
        let answered = total["total"]["answered"].as_u64().unwrap_or(0);
        if answered >= 5 {
            break answered;
        }
    };
    first.kill().expect("killed");
    first.wait().expect("over");
    let after = usage(&place, &[]);
    assert!(after["total"]["answered"].as_u64() >= Some(seen));
    let second = place.command(&run).env("XAI_API_KEY", "k").output().expect("it starts");
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
    let total = &usage(&place, &[])["total"];
    // The server is the judge: what arrived has a row, and what has none never left.
    let count = |name: &str| total[name].as_u64().expect("a count");
    let (answered, open) = (count("answered"), count("open"));
    let arrived = arrived(&sim);
    assert_eq!(count("attempts"), answered + open, "{total}");
    assert!((answered..=answered + open).contains(&arrived), "{arrived} arrived: {total}");
    assert!(answered >= 60, "every row was answered: {total}");
    assert_eq!(place.rows("in.out.jsonl").len(), 60);
}

#[test]
fn what_is_no_ledger_is_refused_before_anything_is_sent() {
    let place = Place::new();
    place.prompts("in.txt", 1);
    place.write("notes.txt", "not a ledger at all, but somebody's notes\n");
    let run = ["run", "in.txt", "--simulate", "--ledger", "notes.txt"];
    place.refused(&run, &["notes.txt is no ledger", "another file"]);
    place.refused(&["usage", "--ledger", "notes.txt"], &["notes.txt is no ledger"]);
    place.refused(&["usage", "--ledger", "no.db"], &["there is no ledger no.db"]);
    place.refused(&["usage"], &["--ledger"]);
    place.refused(&["usage", "--ledger", "no.db", "--since", "soon"], &["2026-11-01"]);
    let kept = std::fs::read_to_string(place.path("notes.txt")).expect("still there");
    assert_eq!(kept, "not a ledger at all, but somebody's notes\n");
}
