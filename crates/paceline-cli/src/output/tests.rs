//! Files of answers: written, torn, resumed, refused.

use crate::input::InputOptions;

use super::*;

struct Place {
    folder: tempfile::TempDir,
    input: Input,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("in.jsonl");
        let rows = ["a", "b", "c"].map(|id| format!("{{\"id\":\"{id}\",\"prompt\":\"{id}\"}}\n"));
        std::fs::write(&path, rows.concat()).expect("written");
        let input = Input::open(&path, InputOptions::default(), |_| {}).expect("legal");
        Self { folder, input }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("out.jsonl")
    }

    fn open(&self, origin: Origin) -> Result<Output, UserError> {
        Output::open(&self.path(), &self.input, origin)
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).expect("written");
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).expect("readable")
    }
}

fn row<'a>(id: &'a str, result: RowResult<'a>) -> OutRow<'a> {
    let usage = Usage::new(10, 15).expect("consistent");
    OutRow {
        id,
        line: 1,
        model: "m",
        result,
        usage: Some(usage),
        cost: Some(Money::from_ticks(3_206_000)),
        attempts: 2,
        sent_at: Some(UnixMillis::new(0)),
        finished_at: Some(UnixMillis::new(1_500)),
    }
}

#[test]
fn a_row_says_all_that_is_known() {
    let place = Place::new();
    let mut output = place.open(Origin::Simulated).expect("new");
    output.append(&row("a", RowResult::Output(json!("hi"))), Origin::Simulated).expect("written");
    let error = RowResult::Error { kind: "rejected", message: "no".into(), status: Some(400) };
    output.append(&row("b", error), Origin::Simulated).expect("written");
    let text = place.text();
    let rows: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    assert_eq!(rows[0]["output"], "hi");
    assert_eq!(rows[0]["usage"]["total_tokens"], 15);
    assert!(text.contains("\"cost_usd\":0.0003206,"), "{text}");
    assert_eq!(rows[0]["finished_at"], "1970-01-01T00:00:01.500Z");
    assert_eq!(rows[0]["simulated"], true);
    assert!(rows[0].get("error").is_none());
    assert_eq!(rows[1]["error"], json!({"kind": "rejected", "message": "no", "status": 400}));
    assert!(rows[1].get("output").is_none());
}

#[test]
fn a_second_writer_is_kept_out() {
    let place = Place::new();
    let _first = place.open(Origin::Real).expect("new");
    let second = place.open(Origin::Real).expect_err("locked").to_string();
    assert!(second.contains("another run is writing") && second.contains("--out"), "{second}");
}

#[test]
fn what_a_kill_tore_off_is_cut_and_a_whole_row_is_ended() {
    let place = Place::new();
    let (a, b) = (r#"{"id":"a","output":"x"}"#, r#"{"id":"b","output":"y"}"#);
    for (text, mended, done) in [
        (format!("{a}\n{b}\n"), format!("{a}\n{b}\n"), 2),
        (format!("{a}\n{}", &b[..9]), format!("{a}\n"), 1),
        (format!("{a}\n{b}"), format!("{a}\n{b}\n"), 2),
        (a[..5].to_owned(), String::new(), 0),
        (String::new(), String::new(), 0),
        (format!("{a}\n{{\"id\":\"b\",\"output\":\"{}", "z".repeat(200_000)), format!("{a}\n"), 1),
    ] {
        place.write(&text);
        let output = place.open(Origin::Real).expect("mended");
        assert_eq!(output.counts(), (done, 0), "{:.40}", text);
        drop(output);
        assert_eq!(place.text(), mended);
    }
}

#[test]
fn failed_rows_stay_until_they_are_to_be_run_again() {
    let place = Place::new();
    let a = "{\"id\":\"a\",\"output\":\"x\"}\n";
    place.write(&format!("{a}{{\"id\":\"b\",\"error\":{{}}}}\n"));
    let mut output = place.open(Origin::Real).expect("legal");
    assert!(output.is_done("a") && output.has_failed("b") && !output.is_done("c"));
    output.forget_failed().expect("rewritten");
    assert!(!output.has_failed("b"));
    assert_eq!(place.text(), a);
    assert!(place.open(Origin::Real).is_err(), "the new file is locked, too");
    output.append(&row("b", RowResult::Output(json!("y"))), Origin::Real).expect("written");
    assert_eq!(place.text().lines().count(), 2);
}

#[test]
fn what_does_not_belong_is_refused_and_left_alone() {
    let place = Place::new();
    let refused = |text: &str, origin, says: &str| {
        place.write(text);
        let error = place.open(origin).expect_err("refused").to_string();
        assert!(error.contains(says) && error.contains("hint:"), "{error}");
        assert_eq!(place.text(), text, "it is left as it was");
    };
    refused("{\"id\":\"z\",\"output\":\"\"}\n", Origin::Real, "another input");
    refused(
        "{\"id\":\"a\",\"output\":\"\",\"simulated\":true}\n",
        Origin::Real,
        "simulated answers",
    );
    refused("{\"id\":\"a\",\"output\":\"\"}\n", Origin::Simulated, "real answers");
    refused("not json\n{\"id\":\"a\"}\n", Origin::Real, "line 1");
    let a = "{\"id\":\"a\",\"output\":null}\n";
    refused(&a.repeat(2), Origin::Real, "twice");
    // A file of something else, whose last line has no line break: prompts, notes, a list.
    refused("{\"id\":\"a\",\"prompt\":\"x\"}", Origin::Real, "neither an output");
    refused("{\"id\":\"a\",\"prompt\":\"x\"}\n{\"id\":\"b\"", Origin::Real, "neither an output");
    refused("my notes\nand their last line", Origin::Real, "line 1");
    refused(&format!("{a}and its last line"), Origin::Real, "line 2");
    // Of another run, and the last row is torn.
    refused("{\"id\":\"z\",\"output\":\"\"}\n{\"id\":\"y\"", Origin::Real, "another input");
    refused("{\"id\":\"z\",\"error\":{}}\n", Origin::Real, "holds no answer");
}

#[test]
fn a_folder_and_a_path_into_nowhere_are_named() {
    let place = Place::new();
    let open = |path: &Path| {
        Output::open(path, &place.input, Origin::Real).expect_err("refused").to_string()
    };
    assert!(open(place.folder.path()).contains("is a directory"));
    assert!(open(&place.folder.path().join("no/where.jsonl")).contains("can't write"));
}

#[test]
fn money_is_written_exactly() {
    assert_eq!(usd(Money::from_ticks(1)).to_string(), "0.0000000001");
    assert_eq!(usd(Money::from_ticks(-25_000_000_000)).to_string(), "-2.5");
    assert_eq!(usd(Money::from_ticks(-1)).to_string(), "-0.0000000001");
    assert_eq!(usd(Money::from_ticks(123_456_789_012_345)).to_string(), "12345.6789012345");
}
