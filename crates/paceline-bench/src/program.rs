//! What the programs of the measurements have in common: they say what they do, write their rows, end.
//!
//! It measures nothing. Invariant: what could not be written is a failure that names the file.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Says a line to whoever looks on.
#[expect(clippy::print_stdout, reason = "what the programs say goes through here")]
pub fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "what the programs complain of goes through here")]
fn complain(why: &str) {
    eprintln!("error: {why}");
}

/// How a program ends: 2 where something failed, which is said.
pub fn end(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            complain(&why);
            ExitCode::from(2)
        }
    }
}

/// Says what there is to measure.
pub fn list<'a>(items: impl Iterator<Item = (&'a str, &'a str)>) -> ExitCode {
    items.for_each(|(name, about)| say(&format!("{name:9} {about}")));
    ExitCode::SUCCESS
}

/// Writes what was measured to a file, in a folder that is made where there is none; says it where
/// no file is named.
///
/// # Errors
/// A text for people where it can't be written.
pub fn keep(rows: &str, out: Option<&Path>) -> Result<(), String> {
    let Some(out) = out else {
        say(rows);
        return Ok(());
    };
    let folder = out.parent().map_or(Ok(()), fs::create_dir_all);
    folder
        .and_then(|()| fs::write(out, rows))
        .map_err(|why| format!("can't write {}: {why}", out.display()))
}
