//! Texts: the public prompts, and what this machine holds at the time, said where it is not there.
//!
//! It only reads. Invariant: whatever could not be found is in [`Texts::missing`].

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A text and what it came from: texts of one origin stand on the same side.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) origin: String,
    /// The messages of a chat; a single one elsewhere.
    pub(super) messages: Vec<String>,
}

/// Texts of one kind, and what was looked for in vain.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) texts: Vec<Text>,
    pub(super) missing: Vec<String>,
}

impl Texts {
    fn push(&mut self, origin: &str, messages: Vec<String>) {
        self.texts.push(Text { origin: origin.to_owned(), messages });
    }

    /// Adds what another source holds.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.texts.extend(other.texts);
        self.missing.extend(other.missing);
        self
    }
}

/// The fields of a JSON-lines file; a field may be a text or a list of them.
pub(super) fn json_lines(path: &Path, origin: &str, fields: &[&str]) -> Result<Texts, String> {
    let mut found = Texts::default();
    for (number, line) in read(path)?.lines().enumerate() {
        let row: Value = serde_json::from_str(line)
            .map_err(|why| format!("{}:{}: {why}", path.display(), number + 1))?;
        let of_field = |field: &&str| match &row[*field] {
            Value::String(text) => vec![text.clone()],
            Value::Array(items) => {
                items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        found.push(&format!("{origin}/{number}"), fields.iter().flat_map(of_field).collect());
    }
    Ok(found)
}

/// The first column of a file of tab-separated values.
pub(super) fn first_column(path: &Path, origin: &str) -> Result<Texts, String> {
    let mut found = Texts::default();
    for line in read(path)?.lines() {
        let text = line.split('\t').next().unwrap_or_default();
        found.push(origin, vec![text.to_owned()]);
    }
    Ok(found)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|why| format!("can't read {}: {why}", path.display()))
}

/// Interface texts of a language, a text being some of one program's, as long as `lengths` says.
pub(super) fn interface_texts(locale: &str, lengths: &mut dyn FnMut() -> usize) -> Texts {
    let folder = Path::new("/usr/share/locale").join(locale).join("LC_MESSAGES");
    let mut found = Texts::default();
    for path in files(&folder, &["mo"], 1, 4_000) {
        let origin = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let messages = fs::read(&path).ok().and_then(|bytes| catalogue(&bytes)).unwrap_or_default();
        let (mut text, mut length) = (String::new(), lengths());
        for message in messages {
            text.push_str(&message);
            if text.len() >= length {
                found.push(&origin, vec![std::mem::take(&mut text)]);
                length = lengths();
            } else {
                text.push('\n');
            }
        }
    }
    if found.texts.is_empty() {
        found.missing.push(format!("interface texts of {locale}: none in {}", folder.display()));
    }
    found
}

/// The translations of a compiled catalogue of GNU gettext; none where they are not UTF-8.
fn catalogue(bytes: &[u8]) -> Option<Vec<String>> {
    let word = |at: usize| {
        let four = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(four.try_into().ok()?) as usize)
    };
    if word(0)? != 0x9504_12de {
        return None;
    }
    let (count, table) = (word(8)?, word(16)?);
    let mut messages = Vec::new();
    for number in 0..count.min(1 << 16) {
        let (length, at) = (word(table + 8 * number)?, word(table + 8 * number + 4)?);
        let text = std::str::from_utf8(bytes.get(at..at.checked_add(length)?)?).ok()?;
        // The first is the header.
        if number > 0 && length >= 24 {
            messages.push(text.split('\0').next().unwrap_or_default().to_owned());
        }
    }
    Some(messages)
}

/// Prose of packages: paragraphs of their README files.
pub(super) fn readme_prose(lengths: &mut dyn FnMut() -> usize) -> Texts {
    let mut found = Texts::default();
    for (package, folder) in packages() {
        for path in files(&folder, &["md"], 1, 12) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            for piece in pieces(&text, "\n\n", lengths) {
                found.push(&package, vec![piece]);
            }
        }
    }
    found.note("README files of packages");
    found
}

/// Code and JSON of packages.
pub(super) fn code(lengths: &mut dyn FnMut() -> usize) -> Texts {
    let mut found = Texts::default();
    for (package, folder) in packages() {
        for path in files(&folder, &["rs", "json", "py", "toml", "c", "js"], 4, 12) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            for piece in pieces(&text, "\n", lengths).into_iter().take(3) {
                found.push(&package, vec![piece]);
            }
        }
    }
    found.note("code of packages");
    found
}

impl Texts {
    fn note(&mut self, what: &str) {
        if self.texts.is_empty() {
            self.missing.push(format!("{what}: no package sources under cargo's home"));
        }
    }
}

/// A text in pieces of about the lengths asked for, cut at a separator; what is left is dropped.
fn pieces(text: &str, separator: &str, lengths: &mut dyn FnMut() -> usize) -> Vec<String> {
    let (mut found, mut piece, mut length) = (Vec::new(), String::new(), lengths());
    for part in text.split(separator) {
        piece.push_str(part);
        if piece.len() >= length {
            found.push(std::mem::take(&mut piece));
            length = lengths();
        } else {
            piece.push_str(separator);
        }
    }
    found.retain(|piece| piece.len() < 16_000);
    found
}

/// The unpacked sources of packages that cargo holds on this machine, by name and in order.
fn packages() -> Vec<(String, PathBuf)> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let Some(home) = home else { return Vec::new() };
    let mut found = Vec::new();
    for registry in folders(&home.join("registry").join("src")) {
        for folder in folders(&registry) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            // Without the version, so that two of them stand on the same side.
            let name = name.rsplit_once('-').map_or(name.as_ref(), |(name, _)| name).to_owned();
            found.push((name, folder));
        }
    }
    found.sort();
    found
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

/// Files with one of these endings, to a depth, the first so many in the order of their names.
fn files(folder: &Path, endings: &[&str], depth: u32, most: usize) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let ending = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && depth > 1 {
            found.extend(files(&path, endings, depth - 1, most));
        } else if endings.contains(&ending.as_str()) {
            found.push(path);
        }
        if found.len() >= most {
            found.truncate(most);
            break;
        }
    }
    found
}
