//! The program as a black box: what it prints, writes and exits with.

mod budgets;
#[cfg(target_os = "linux")]
mod full_disk;
mod learned;
mod ledger;
mod limits;
mod mistakes;

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A folder of its own for one test.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_paceline"));
        command.current_dir(self.0.path()).args(args).stdin(Stdio::null());
        command.env_remove("XAI_API_KEY").env_remove("RUST_BACKTRACE");
        command.env_remove("PACELINE_LEDGER");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("it starts")
    }

    /// Fails with exit 2, says all of this and what to do, and prints nothing on stdout.
    #[track_caller]
    fn refused(&self, args: &[&str], says: &[&str]) {
        let output = self.run(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("error:") && output.stdout.is_empty(), "{text}");
        for part in says {
            assert!(text.contains(part), "{text:?} says {part:?}");
        }
        assert!(text.contains("hint:") || text.contains("--help"), "{text}");
    }

    fn rows(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(name)).expect("it was written");
        text.lines().map(|line| serde_json::from_str(line).expect("a row of JSON")).collect()
    }

    /// The report that a run wrote to `r.json`, or to another file.
    fn report(&self, name: &str) -> Value {
        let bytes = std::fs::read(self.path(name)).expect("it was written");
        serde_json::from_slice(&bytes).expect("an object")
    }

    fn prompts(&self, name: &str, n: usize) {
        self.write(name, (0..n).map(|i| format!("What is {i} and one?\n")).collect::<String>());
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A simulated server in a process of its own.
struct Sim(Child, String);

impl Sim {
    fn start(place: &Place, args: &[&str]) -> Self {
        let mut all = vec!["sim", "--port", "0"];
        all.extend(args);
        let mut child = place.command(&all).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("its address");
        let url = line.trim().strip_prefix("listening on ").expect("its address").to_owned();
        Self(child, url)
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_simulated_run_answers_every_row_once_and_reports() {
    let place = Place::new();
    place.prompts("in.txt", 12);
    let output = place.run(&["run", "in.txt", "--simulate", "--report", "r.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stdout.is_empty(), "only data on stdout");
    let rows = place.rows("in.sim.jsonl");
    let ids: HashSet<&str> = rows.iter().map(|row| row["id"].as_str().expect("an id")).collect();
    assert_eq!((rows.len(), ids.len()), (12, 12));
    for row in &rows {
        assert_eq!(row["simulated"], true);
        assert!(row["output"].is_string() && row["usage"]["total_tokens"].is_u64());
        assert!(row["sent_at"].as_str().is_some_and(|at| at.len() == 24 && at.ends_with('Z')));
    }
    let report = place.report("r.json");
    assert_eq!(report["rows"]["done"], 12);
    assert_eq!(report["http"]["status_429"], 0);
    assert!(report["cost_usd"].as_f64().is_some_and(|cost| cost > 0.0));
    // Again: everything is there already.
    let again = place.run(&["run", "in.txt", "--simulate"]);
    assert!(stderr(&again).contains("12 from before"), "{}", stderr(&again));
    assert_eq!(place.rows("in.sim.jsonl").len(), 12);
}

#[test]
fn turns_carry_the_answers_before_them_and_come_out_as_a_list() {
    let place = Place::new();
    place.write("in.jsonl", "{\"id\": \"t\", \"turns\": [\"One?\", \"Two?\"]}\n");
    let output = place.run(&["run", "in.jsonl", "--simulate", "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
    let row = &place.rows("in.sim.jsonl")[0];
    assert_eq!(row["output"].as_array().map(Vec::len), Some(2));
    assert_eq!(row["attempts"], 2);
}

#[test]
fn bad_files_are_refused_before_anything_is_sent() {
    let place = Place::new();
    let run = |name: &'static str| ["run", name, "--simulate"];
    place.refused(&run("no.txt"), &["there is no file no.txt"]);
    place.refused(&["run", ".", "--simulate", "--out", "o"], &["is a directory"]);
    place.write("empty.jsonl", "");
    place.refused(&run("empty.jsonl"), &["has no rows"]);
    place.write("bytes.txt", b"fine\nno\xff\n");
    place.refused(&run("bytes.txt"), &["line 2", "UTF-8"]);
    place.write("json.jsonl", "{\"prompt\": \"a\"}\n{oops\n");
    place.refused(&run("json.jsonl"), &["line 2", "JSON"]);
    place.write("field.jsonl", "{\"q\": \"a\"}\n");
    place.refused(&run("field.jsonl"), &["line 1", "--field"]);
    place.write("same.jsonl", "{\"id\":1,\"text\":\"a\"}\n{\"id\":1,\"text\":\"b\"}\n");
    place.refused(&run("same.jsonl"), &["lines 1 and 2", "same id"]);
    assert!(!place.path("same.sim.jsonl").exists(), "nothing was started");
}

#[test]
fn bad_settings_are_refused_with_what_to_do() {
    let place = Place::new();
    place.prompts("in.txt", 1);
    place.refused(&["run", "in.txt"], &["XAI_API_KEY", "--simulate"]);
    place.refused(&["run", "in.txt", "--simulate", "--rpm", "0"], &["--rpm", "above 0"]);
    place.refused(&["run", "in.txt", "--simulate", "--tpm=-5"], &["--tpm", "above 0"]);
    place.refused(&["run", "in.txt", "--simulate", "--quota-share", "2"], &["--quota-share"]);
    place.refused(&["run", "in.txt", "--simulate", "--budget-usd", "0"], &["more than 0"]);
    place.refused(&["run", "in.txt", "--simulate", "--out", "no/where"], &["can't write"]);
    let unpriced = ["run", "in.txt", "--simulate", "--model", "grok-99", "--budget-usd", "1"];
    place.refused(&unpriced, &["grok-99", "--price"]);
    let real = |args: &[&str], says: &[&str]| {
        let output = place.command(args).env("XAI_API_KEY", "k-123").output().expect("it starts");
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        says.iter().for_each(|part| assert!(text.contains(part), "{text:?} says {part:?}"));
        assert!(!text.contains("k-123"), "no secret: {text}");
    };
    real(&["run", "in.txt"], &["no terminal", "--yes", "1 rows", "tokens", "cost"]);
    real(&["run", "in.txt", "--base-url", "http://api.x.ai/v1"], &["error:", "hint:"]);
}

#[test]
fn files_of_another_run_are_refused_and_left_alone() {
    let place = Place::new();
    place.prompts("a.txt", 2);
    place.prompts("b.txt", 3);
    let first = place.run(&["run", "a.txt", "--simulate", "--out", "o.jsonl"]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let before = std::fs::read(place.path("o.jsonl")).expect("written");
    place.write("c.txt", "Something else?\n");
    place.refused(&["run", "c.txt", "--simulate", "--out", "o.jsonl"], &["another input"]);
    place.refused(
        &["run", "a.txt", "--simulate", "--out", "o.jsonl", "--model", "grok-4.5"],
        &["o.jsonl"],
    );
    let real = place
        .command(&[
            "run",
            "a.txt",
            "--out",
            "o.jsonl",
            "--yes",
            "--base-url",
            "http://127.0.0.1:9/v1",
        ])
        .env("XAI_API_KEY", "k")
        .output()
        .expect("it starts");
    assert!(stderr(&real).contains("simulated answers"), "{}", stderr(&real));
    assert_eq!(std::fs::read(place.path("o.jsonl")).expect("there"), before);
    // A file that has only grown goes on.
    let grown = place.run(&["run", "b.txt", "--simulate", "--out", "o.jsonl"]);
    assert_eq!(grown.status.code(), Some(0), "{}", stderr(&grown));
    assert_eq!(place.rows("o.jsonl").len(), 3);
}

#[test]
fn a_second_run_into_the_same_file_is_kept_out_and_a_torn_line_is_mended() {
    let place = Place::new();
    place.prompts("in.txt", 3);
    let torn = "{\"id\":\"x\",\"outp";
    place.write("o.jsonl", torn);
    let held = std::fs::OpenOptions::new().append(true).open(place.path("o.jsonl")).expect("there");
    held.lock().expect("free");
    let args = ["run", "in.txt", "--simulate", "--out", "o.jsonl"];
    place.refused(&args, &["another run is writing o.jsonl", "--out"]);
    drop(held);
    let output = place.run(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(place.rows("o.jsonl").len(), 3);
}

/// A server that answers everything the same, for as long as the test runs.
fn answering(status: &str, body: &str) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("bound"));
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // One read holds a whole small request; what it says does not matter.
            let _ = stream.read(&mut [0; 65_536]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn a_bad_key_no_credits_and_no_entitlement_stop_the_run_resumable() {
    let bodies = [
        (
            "400 Bad Request",
            r#"{"code":"invalid-argument","error":"Incorrect API key provided: x."}"#,
        ),
        (
            "403 Forbidden",
            r#"{"error":"Your team t has either used all available credits or reached its monthly spending limit."}"#,
        ),
        (
            "429 Too Many Requests",
            r#"{"code":"resource-exhausted","error":"Requests per Minute (actual/limit): 0/0."}"#,
        ),
    ];
    for (status, body) in bodies {
        let place = Place::new();
        place.prompts("in.txt", 5);
        let url = answering(status, body);
        let args = ["run", "in.txt", "--base-url", &url, "--max-in-flight", "1"];
        let output = place.command(&args).env("XAI_API_KEY", "k-456").output().expect("it starts");
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(4), "{text}");
        assert!(text.contains("5 left") && !text.contains("k-456"), "{text}");
        assert!(place.rows("in.out.jsonl").is_empty(), "nothing failed for good");
    }
}

#[test]
fn failed_rows_stay_failed_until_they_are_to_be_run_again() {
    let place = Place::new();
    place.prompts("in.txt", 3);
    let url = answering("400 Bad Request", r#"{"code":"invalid-argument","error":"No."}"#);
    let run =
        |args: &[&str]| place.command(args).env("XAI_API_KEY", "k").output().expect("it starts");
    let first = run(&["run", "in.txt", "--base-url", &url]);
    assert_eq!(first.status.code(), Some(1), "{}", stderr(&first));
    let sim = Sim::start(&place, &[]);
    let kept = run(&["run", "in.txt", "--base-url", &sim.1]);
    assert_eq!(kept.status.code(), Some(1), "{}", stderr(&kept));
    let again = run(&["run", "in.txt", "--base-url", &sim.1, "--retry-failed"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let rows = place.rows("in.out.jsonl");
    assert!(rows.len() == 3 && rows.iter().all(|row| row.get("error").is_none()));
}

#[test]
fn a_port_in_use_is_named() {
    let place = Place::new();
    let sim = Sim::start(&place, &[]);
    let port = sim.1.rsplit(':').next().and_then(|rest| rest.split('/').next()).expect("a port");
    place.refused(&["sim", "--port", port], &["in use", "--port 0"]);
}

#[test]
fn a_killed_run_goes_on_and_a_row_too_large_fails_alone() {
    let place = Place::new();
    let sim = Sim::start(&place, &["--rpm", "480", "--tpm", "100000"]);
    let large = "word ".repeat(120_000);
    let mut text: String = (0..12).map(|i| format!("What is {i}?\n")).collect();
    text.push_str(&large);
    place.write("in.txt", text);
    let args = ["run", "in.txt", "--base-url", &sim.1, "--rpm", "480", "--tpm", "100000"];
    let mut first = place
        .command(&args)
        .env("XAI_API_KEY", "k")
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    // Killed as soon as the first answers are there.
    let out = place.path("in.out.jsonl");
    while std::fs::metadata(&out).map_or(0, |file| file.len()) == 0 {
        assert!(first.try_wait().expect("running").is_none(), "it has not ended yet");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    first.kill().expect("killed");
    first.wait().expect("gone");
    let second = place.command(&args).env("XAI_API_KEY", "k").output().expect("it starts");
    assert_eq!(second.status.code(), Some(1), "one row failed: {}", stderr(&second));
    let rows = place.rows("in.out.jsonl");
    let ids: HashSet<String> = rows.iter().map(|row| row["id"].to_string()).collect();
    assert_eq!((rows.len(), ids.len()), (13, 13));
    let failed: Vec<&Value> = rows.iter().filter(|row| row.get("error").is_some()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(
        (&failed[0]["line"], &failed[0]["error"]["kind"]),
        (&13.into(), &"too_large".into())
    );
    assert!(stderr(&second).contains("0 answered 429"), "{}", stderr(&second));
    assert!(stderr(&second).contains("--retry-failed"), "{}", stderr(&second));
}

#[cfg(unix)]
#[test]
fn an_interrupt_lets_what_is_in_flight_finish_and_the_run_goes_on_later() {
    let place = Place::new();
    let sim = Sim::start(&place, &["--rpm", "240"]);
    place.prompts("in.txt", 30);
    let args = ["run", "in.txt", "--base-url", &sim.1, "--rpm", "240"];
    let first = place.command(&args).env("XAI_API_KEY", "k").stderr(Stdio::piped()).spawn();
    let mut first = first.expect("it starts");
    let out = place.path("in.out.jsonl");
    while std::fs::metadata(&out).map_or(0, |file| file.len()) == 0 {
        assert!(first.try_wait().expect("running").is_none(), "it has not ended yet");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let killed = Command::new("kill").args(["-INT", &first.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    let output = first.wait_with_output().expect("it ends");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("goes on where this one stopped"), "{text}");
    let before = place.rows("in.out.jsonl").len();
    assert!(before > 0 && before < 30, "{before}");
    // Every call that was sent has its answer: none was cut off.
    assert!(text.contains(&format!("{before} sent")), "{before}: {text}");
    let second = place.command(&args).env("XAI_API_KEY", "k").output().expect("it starts");
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
    let ids: HashSet<String> =
        place.rows("in.out.jsonl").iter().map(|row| row["id"].to_string()).collect();
    assert_eq!((ids.len(), place.rows("in.out.jsonl").len()), (30, 30));
}

#[test]
fn a_budget_ends_the_run_with_exit_3_and_is_kept_over_runs() {
    let place = Place::new();
    place.prompts("in.txt", 40);
    let args = ["run", "in.txt", "--simulate", "--budget-usd", "0.02", "--max-in-flight", "2"];
    for _ in 0..2 {
        let output = place.run(&args);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stderr(&output).contains("--budget-usd"), "{}", stderr(&output));
    }
    let rows = place.rows("in.sim.jsonl");
    let cost: f64 = rows.iter().map(|row| row["cost_usd"].as_f64().expect("a cost")).sum();
    assert!(!rows.is_empty() && rows.len() < 40 && cost <= 0.02, "{} rows, ${cost}", rows.len());
}

#[test]
fn the_first_rows_failing_alike_stop_the_run_with_exit_4() {
    let place = Place::new();
    place.prompts("in.txt", 60);
    let args =
        ["run", "in.txt", "--simulate", "--model", "grok-99", "--rps", "1000", "--rpm", "10000"];
    let output = place.run(&args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("failed alike") && text.contains("does not exist"), "{text}");
    assert!(text.contains("warning: model grok-99"), "{text}");
}

#[test]
fn an_outage_is_waited_out_no_longer_than_told() {
    let place = Place::new();
    place.prompts("in.txt", 3);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let url = format!("http://127.0.0.1:{port}/v1");
    let args = ["run", "in.txt", "--base-url", &url, "--max-outage", "1s"];
    let output = place.command(&args).env("XAI_API_KEY", "k").output().expect("it starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("no good answer") && text.contains("3 left"), "{text}");
    assert!(Path::new(&place.path("in.out.jsonl")).exists());
}
