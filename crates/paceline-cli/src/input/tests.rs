//! Files of prompts, good and bad.

use std::io::Write;

use serde_json::json;

use super::*;

fn read(name: &str, content: impl AsRef<[u8]>) -> Result<(Input, Vec<Row>), UserError> {
    read_with(name, content, InputOptions::default())
}

fn read_with(
    name: &str,
    content: impl AsRef<[u8]>,
    options: InputOptions,
) -> Result<(Input, Vec<Row>), UserError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    File::create(&path).expect("a file").write_all(content.as_ref()).expect("written");
    let mut seen = Vec::new();
    let input = Input::open(&path, options, |row| seen.push(row.clone()))?;
    let again: Vec<Row> =
        input.read().expect("still there").map(|row| row.expect("checked")).collect();
    assert_eq!(seen, again, "both passes see the same rows");
    assert_eq!(input.rows(), seen.len() as u64);
    Ok((input, seen))
}

#[track_caller]
fn refused(name: &str, content: impl AsRef<[u8]>, parts: &[&str]) {
    let error = read(name, content).expect_err("it is refused").to_string();
    for part in parts {
        assert!(error.contains(part), "{error:?} says {part:?}");
    }
    assert!(error.contains("hint: "), "{error:?} says what to do");
}

fn prompt(row: &Row) -> &str {
    match &row.request {
        RowRequest::Messages(messages) => messages[0]["content"].as_str().expect("text"),
        other => panic!("{other:?} is no single prompt"),
    }
}

#[test]
fn every_known_field_holds_a_prompt() {
    for field in ["prompt", "question", "text", "input"] {
        let (_, rows) = read("a.jsonl", format!("{{\"{field}\": \"hi\"}}\n")).expect("legal");
        assert_eq!(prompt(&rows[0]), "hi", "{field}");
    }
    let turns = r#"{"id": 7, "turns": ["a", "b"]}"#;
    let (_, rows) = read("a.jsonl", turns).expect("legal");
    assert_eq!(rows[0].id, "7");
    assert_eq!(rows[0].request, RowRequest::Turns(vec!["a".into(), "b".into()]));
    let messages =
        r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}"#;
    let (_, rows) = read("a.jsonl", messages).expect("legal");
    assert!(matches!(&rows[0].request, RowRequest::Messages(list) if list.len() == 2));
}

#[test]
fn the_openai_batch_form_keeps_its_body_and_its_id() {
    let row = json!({"custom_id": "r-1", "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": "grok-4.3", "messages": [{"role": "user", "content": "x"}], "seed": 5}});
    let (_, rows) = read("a.jsonl", row.to_string()).expect("legal");
    assert_eq!(rows[0].id, "r-1");
    assert!(matches!(&rows[0].request, RowRequest::Body(body) if body["seed"] == 5));
    let mut other = row;
    other["url"] = json!("/v1/embeddings");
    refused("a.jsonl", other.to_string(), &["line 1", "/v1/embeddings"]);
}

#[test]
fn a_tsv_without_a_header_has_its_prompt_first_and_with_one_where_it_says() {
    let (_, rows) = read("a.tsv", "how many?\t3\nwhat \"is\" it?\t4\n").expect("legal");
    assert_eq!(rows.iter().map(prompt).collect::<Vec<_>>(), ["how many?", "what \"is\" it?"]);
    let (_, rows) = read("a.tsv", "id\tQuestion\tanswer\nq1\twhy?\t3\n").expect("legal");
    assert_eq!((prompt(&rows[0]), rows[0].id.as_str(), rows.len()), ("why?", "q1", 1));
    let options = InputOptions { field: Some("ask".into()), ..InputOptions::default() };
    let (_, rows) = read_with("a.tsv", "n\task\n1\twhat?\n", options).expect("legal");
    assert_eq!(prompt(&rows[0]), "what?");
}

#[test]
fn plain_lines_skip_blank_ones_and_tolerate_windows() {
    let (_, rows) = read("a.txt", "\u{feff}one\r\n\r\n  \r\ntwo").expect("legal");
    assert_eq!(rows.iter().map(prompt).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn an_id_is_made_of_the_line_and_the_effective_request() {
    let options = |model| InputOptions { settings: json!({"model": model}), field: None };
    let text = "same\nsame\nother\n";
    let (_, a) = read_with("a.txt", text, options("m")).expect("legal");
    let (_, b) = read_with("b.txt", text, options("m")).expect("legal");
    let (_, c) = read_with("c.txt", text, options("n")).expect("legal");
    assert_eq!(a, b);
    assert_ne!(a[0].id, c[0].id, "another model is another request");
    assert!(a[0].id.starts_with("L1-") && a[1].id.starts_with("L2-"));
    assert_eq!(a[0].id[3..], a[1].id[3..], "the hash is of the request alone");
    assert_eq!(a[0].id.len(), "L1-".len() + 16);
}

#[test]
fn faults_are_named_with_their_line_and_what_to_do() {
    refused("a.jsonl", "", &["has no rows"]);
    refused("a.jsonl", "\n \n", &["has no rows"]);
    refused("a.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \n", &["line 2", "column"]);
    refused("a.jsonl", "[{\"prompt\": \"a\"}]", &["line 1", "without a list"]);
    refused("a.jsonl", "{\"q\": 1, \"z\": 2}", &["line 1", "q, z", "--field"]);
    refused("a.jsonl", "{\"prompt\": 5}", &["line 1", "prompt", "a number"]);
    refused("a.jsonl", "{\"messages\": \"hi\"}", &["line 1", "messages", "a string"]);
    refused("a.jsonl", "{\"turns\": []}", &["line 1", "empty"]);
    refused("a.jsonl", "{\"id\": {}, \"prompt\": \"a\"}", &["line 1", "id", "an object"]);
    refused("a.txt", b"fine\nnot \xff\n", &["line 2", "UTF-8", "column 5"]);
    let same =
        "{\"id\": \"x\", \"text\": \"a\"}\n{\"text\": \"b\"}\n{\"id\": \"x\", \"text\": \"c\"}";
    refused("a.jsonl", same, &["lines 1 and 3", "\"x\""]);
    refused("a.tsv", "answer\tquestion\na\tb\nc", &["line 3", "1 columns", "column 2"]);
}

#[test]
fn a_missing_file_and_a_directory_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = Input::open(&folder.path().join("no.txt"), InputOptions::default(), |_| {});
    assert!(missing.expect_err("missing").to_string().contains("there is no file"));
    let directory = Input::open(folder.path(), InputOptions::default(), |_| {});
    assert!(directory.expect_err("a directory").to_string().contains("is a directory"));
}

#[test]
fn a_grown_file_still_begins_with_the_old_one() {
    let (old, _) = read("a.txt", "one\ntwo\n").expect("legal");
    let folder = tempfile::tempdir().expect("a folder");
    let check = |content: &str, expected: bool| {
        let path = folder.path().join("b.txt");
        std::fs::write(&path, content).expect("written");
        let new = Input::open(&path, InputOptions::default(), |_| {}).expect("legal");
        assert_eq!(new.begins_with(old.fingerprint()).expect("readable"), expected, "{content:?}");
    };
    check("one\ntwo\n", true);
    check("one\ntwo\nthree\n", true);
    check("one\ntwO\nthree\n", false);
    check("one\n", false);
}
