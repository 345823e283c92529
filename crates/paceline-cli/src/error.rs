//! Errors for people: what happened, why, and what to do; printed in one shape.
//!
//! It holds no secret and shows control characters escaped.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};

/// Every row is done.
pub(crate) const EXIT_DONE: u8 = 0;
/// The run finished, and some rows failed.
pub(crate) const EXIT_FAILED_ROWS: u8 = 1;
/// Something is wrong with how the program was called, or with its files.
pub(crate) const EXIT_USAGE: u8 = 2;
/// The budget is reached.
pub(crate) const EXIT_BUDGET: u8 = 3;
/// The server says stop, or is gone for too long, or a file can't be written any more.
pub(crate) const EXIT_STOPPED: u8 = 4;
/// Interrupted.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// An error that ends the program.
#[derive(Debug)]
pub(crate) struct UserError {
    exit: u8,
    what: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl UserError {
    /// Something wrong with how the program was called or with its files: exit 2.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self { exit: EXIT_USAGE, what: what.into(), causes: Vec::new(), hint: None }
    }

    /// With one more cause.
    #[must_use]
    pub(crate) fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// With what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) const fn exit_code(&self) -> u8 {
        self.exit
    }

    /// Prints it on stderr, in colour where that is a terminal and `NO_COLOR` is not set.
    pub(crate) fn print(&self) {
        let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        // Nobody is left to tell where stderr is closed.
        let _ = io::stderr().write_all(self.render(colour).as_bytes());
    }

    /// What happened, why, and what to do, for a place in a sentence.
    pub(crate) fn in_one_line(&self) -> String {
        let parts = std::iter::once(&self.what).chain(&self.causes);
        let text = parts.map(String::as_str).collect::<Vec<_>>().join(": ");
        self.hint.iter().fold(text, |text, hint| format!("{text}; {hint}"))
    }

    fn render(&self, colour: bool) -> String {
        let (red, cyan, end) =
            if colour { ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m") } else { ("", "", "") };
        let mut text = format!("{red}error{end}: {}\n", escaped(&self.what));
        for cause in &self.causes {
            let _ = writeln!(text, "  Caused by: {}", escaped(cause));
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "{cyan}hint{end}: {}", escaped(hint));
        }
        text
    }
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

/// Prints a warning on stderr.
pub(crate) fn warn(what: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "warning: {}", escaped(&what.to_string()));
}

/// Text with control characters escaped; line breaks stay.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_why_and_what_to_do() {
        let error = UserError::usage("can't read \"a\u{1b}[2J.jsonl\"")
            .cause("permission denied")
            .hint("make it readable");
        assert_eq!(
            error.render(false),
            "error: can't read \"a\\u{1b}[2J.jsonl\"\n  Caused by: permission denied\nhint: make it readable\n"
        );
        assert!(error.render(true).starts_with("\x1b[1;31merror\x1b[0m: "));
    }
}
