//! One line of a file of prompts: what it asks, and what it is called.
//!
//! It reads no file. Invariant: the same line with the same settings has the same id.

use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{InputOptions, hex};
use crate::error::UserError;

/// The fields that hold a prompt, in the order in which they are looked for.
const KNOWN_FIELDS: [&str; 6] = ["messages", "turns", "prompt", "question", "text", "input"];

/// One row of the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// Its line, from 1.
    pub(crate) line: u64,
    /// Its `custom_id` or `id`, else its line and the hash of the effective request.
    pub(crate) id: String,
    /// What it asks.
    pub(crate) request: RowRequest,
}

/// What a row asks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RowRequest {
    /// One call with these messages.
    Messages(Vec<Value>),
    /// One call per turn, each carrying the answers before it.
    Turns(Vec<String>),
    /// One call with this body, as the OpenAI batch form has it.
    Body(Map<String, Value>),
}

/// How a file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JSON object on each line.
    JsonLines,
    /// Tab-separated values without quoting.
    Tsv,
    /// A prompt on each line.
    Lines,
}

impl Format {
    /// By the name of the file; where that says nothing, by its first line.
    pub(super) fn of(path: &Path, first: &str) -> Self {
        let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        match extension.as_deref() {
            Some("jsonl" | "ndjson" | "json") => Self::JsonLines,
            Some("tsv" | "tab") => Self::Tsv,
            Some("txt" | "md") => Self::Lines,
            _ if first.trim_start().starts_with('{') => Self::JsonLines,
            _ => Self::Lines,
        }
    }
}

/// Refuses by its name what would be sent line by line though its lines are no prompts.
///
/// # Errors
/// [`UserError`] that says how to make it what can be read.
pub(super) fn refuse_other_kinds(path: &Path) -> Result<(), UserError> {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    let (kind, hint) = match extension.as_deref() {
        Some("csv") => (
            "CSV",
            format!(
                "make it JSONL, for example with `python3 -c 'import csv,json,sys; \
                 [print(json.dumps(row)) for row in csv.DictReader(sys.stdin)]' < {} > {}`",
                path.display(),
                path.with_extension("jsonl").display()
            ),
        ),
        Some("xlsx" | "xls" | "ods" | "parquet") => {
            ("a table", "export it as tab-separated values (.tsv) or JSONL".to_owned())
        }
        Some("gz" | "zst" | "xz" | "bz2" | "zip") => ("packed", "unpack it first".to_owned()),
        _ => return Ok(()),
    };
    Err(UserError::usage(format!("{} is {kind}, which is not read", path.display()))
        .cause("prompts are JSONL, tab-separated values or plain lines")
        .hint(hint))
}

/// Turns lines into rows.
#[derive(Debug)]
pub(super) struct Parser {
    format: Format,
    field: Option<String>,
    settings: Value,
    /// The columns of a TSV file, known after its first row.
    columns: Option<Columns>,
}

#[derive(Clone, Copy, Debug)]
struct Columns {
    prompt: usize,
    id: Option<usize>,
}

impl Parser {
    pub(super) fn new(format: Format, options: &InputOptions) -> Self {
        let (field, settings) = (options.field.clone(), options.settings.clone());
        Self { format, field, settings, columns: None }
    }

    /// For a file that begins with this line.
    ///
    /// # Errors
    /// Where a field is asked for and lines have none.
    pub(super) fn of(path: &Path, first: &str, options: &InputOptions) -> Result<Self, UserError> {
        let format = Format::of(path, first);
        if let (Format::Lines, Some(field)) = (format, &options.field) {
            let what = format!("{} has no field {field:?}", path.display());
            return Err(UserError::usage(what)
                .cause("it is read as plain lines, each of them a prompt")
                .hint("leave --field out, or call the file .jsonl or .tsv if it is that"));
        }
        Ok(Self::new(format, options))
    }

    pub(super) const fn format(&self) -> Format {
        self.format
    }

    /// The row on a line; `None` for a header.
    pub(super) fn row(
        &mut self,
        path: &Path,
        line: u64,
        text: &str,
    ) -> Result<Option<Row>, UserError> {
        let place = Place { path, line };
        let (id, request) = match self.format {
            Format::Lines => (None, user(text)),
            Format::JsonLines => self.json(&place, text)?,
            Format::Tsv => match self.tsv(&place, text)? {
                Some(row) => row,
                None => return Ok(None),
            },
        };
        let id = id.unwrap_or_else(|| self.id_of(line, &request));
        Ok(Some(Row { line, id, request }))
    }

    fn json(&self, place: &Place<'_>, text: &str) -> Result<Named, UserError> {
        let row: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
            let shown = place.path.display();
            let hint = if text.trim_start().starts_with('[') {
                format!(
                    "put one JSON object on each line, without a list around them, for example \
                     with `jq -c '.[]' {shown}`"
                )
            } else {
                "each line must be one JSON object, such as {\"prompt\": \"...\"}".to_owned()
            };
            let cause = format!("{} at column {}", message(&error), error.column());
            place.error("is not a JSON object").cause(cause).hint(hint)
        })?;
        let id = match row.get("custom_id").or_else(|| row.get("id")) {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(Value::Number(id)) => Some(id.to_string()),
            Some(other) => {
                let cause = format!("it is {}", kind(other));
                return Err(place
                    .error("has an id that is no string or number")
                    .cause(cause)
                    .hint("make it a string"));
            }
        };
        Ok((id, self.request(place, &row)?))
    }

    fn request(
        &self,
        place: &Place<'_>,
        row: &Map<String, Value>,
    ) -> Result<RowRequest, UserError> {
        if let Some(field) = &self.field {
            let value = row.get(field).ok_or_else(|| place.no_field(row, Some(field)))?;
            return place.prompt(field, value);
        }
        if let Some(Value::Object(body)) = row.get("body") {
            return place.batch(row, body);
        }
        let known = KNOWN_FIELDS.iter().find_map(|field| Some((*field, row.get(*field)?)));
        let (field, value) = known.ok_or_else(|| place.no_field(row, None))?;
        place.prompt(field, value)
    }

    fn tsv(&mut self, place: &Place<'_>, text: &str) -> Result<Option<Named>, UserError> {
        let cells: Vec<&str> = text.split('\t').collect();
        let columns = match self.columns {
            Some(columns) => columns,
            None => {
                let (columns, is_header) = self.columns_of(place, &cells)?;
                self.columns = Some(columns);
                if is_header {
                    return Ok(None);
                }
                columns
            }
        };
        let Some(prompt) = cells.get(columns.prompt) else {
            let what = format!("has {} columns", cells.len());
            let cause = format!("the prompt is in column {}", columns.prompt + 1);
            return Err(place.error(&what).cause(cause).hint("separate columns by one tab"));
        };
        let id = columns.id.and_then(|column| cells.get(column)).map(ToString::to_string);
        Ok(Some((id, user(prompt))))
    }

    /// The columns, and whether this first row is a header.
    fn columns_of(&self, place: &Place<'_>, cells: &[&str]) -> Result<(Columns, bool), UserError> {
        let find = |name: &str| cells.iter().position(|cell| cell.eq_ignore_ascii_case(name));
        let named = match &self.field {
            Some(field) => Some(find(field).ok_or_else(|| {
                place
                    .error(&format!("names no column {field:?}"))
                    .cause(format!("its cells are {}", cells.join(", ")))
                    .hint("name a column of the first row with --field")
            })?),
            None => KNOWN_FIELDS.iter().find_map(|field| find(field)),
        };
        let id = named.and_then(|_| find("custom_id").or_else(|| find("id")));
        Ok((Columns { prompt: named.unwrap_or(0), id }, named.is_some()))
    }

    fn id_of(&self, line: u64, request: &RowRequest) -> String {
        let request = match request {
            RowRequest::Messages(messages) => json!({ "messages": messages }),
            RowRequest::Turns(turns) => json!({ "turns": turns }),
            RowRequest::Body(body) => json!({ "body": body }),
        };
        let effective = json!([self.settings, request]).to_string();
        format!("L{line}-{}", &hex(&Sha256::digest(effective))[..16])
    }
}

/// A row's own id, where it has one, and what it asks.
type Named = (Option<String>, RowRequest);

/// Where a row stands, for errors.
struct Place<'a> {
    path: &'a Path,
    line: u64,
}

impl Place<'_> {
    fn error(&self, what: &str) -> UserError {
        UserError::usage(format!("line {} of {} {what}", self.line, self.path.display()))
    }

    fn no_field(&self, row: &Map<String, Value>, field: Option<&str>) -> UserError {
        let what = match field {
            Some(field) => format!("has no field {field:?}"),
            None => "has no field that holds a prompt".to_owned(),
        };
        let present: Vec<&str> = row.keys().take(12).map(String::as_str).collect();
        let cause = format!("its fields are {}", present.join(", "));
        let known = KNOWN_FIELDS.join(", ");
        self.error(&what).cause(cause).hint(format!(
            "name the field with --field, or use one of {known}, or custom_id and body"
        ))
    }

    fn wrong_type(&self, field: &str, value: &Value, wanted: &str) -> UserError {
        self.error(&format!("has a {field:?} that is {}", kind(value)))
            .hint(format!("make it {wanted}"))
    }

    /// What a prompt field says: text, a list of messages, or a list of turns.
    fn prompt(&self, field: &str, value: &Value) -> Result<RowRequest, UserError> {
        match value {
            Value::String(text) if field != "messages" => Ok(user(text)),
            Value::Array(items) if items.is_empty() => {
                Err(self.error(&format!("has an empty {field:?}")).hint("put a prompt there"))
            }
            Value::Array(items) if items.iter().all(Value::is_string) && field != "messages" => {
                let turns = items.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                Ok(RowRequest::Turns(turns))
            }
            Value::Array(items) if items.iter().all(is_message) => {
                Ok(RowRequest::Messages(items.clone()))
            }
            other if field == "messages" => {
                let wanted = "a list of objects with role and content";
                Err(self.wrong_type(field, other, wanted))
            }
            other => Err(self.wrong_type(field, other, "a string, or a list of strings for turns")),
        }
    }

    fn batch(
        &self,
        row: &Map<String, Value>,
        body: &Map<String, Value>,
    ) -> Result<RowRequest, UserError> {
        let url = row.get("url").and_then(Value::as_str).unwrap_or("/v1/chat/completions");
        if !url.ends_with("/chat/completions") {
            return Err(self
                .error(&format!("is for {url:?}"))
                .hint("only rows for /v1/chat/completions can be run"));
        }
        match body.get("messages") {
            Some(Value::Array(items)) if !items.is_empty() && items.iter().all(is_message) => {
                Ok(RowRequest::Body(body.clone()))
            }
            _ => Err(self
                .error("has a body without messages")
                .hint("give its body a list of messages with role and content")),
        }
    }
}

/// A single message from the user.
fn user(text: &str) -> RowRequest {
    RowRequest::Messages(vec![json!({ "role": "user", "content": text })])
}

fn is_message(value: &Value) -> bool {
    let role = value.get("role").is_some_and(Value::is_string);
    role && (value.get("content").is_some() || value.get("tool_calls").is_some())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What is wrong with JSON, without the line number, which is always 1 here.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}
