//! Names that came from outside, made safe to print.

use std::fmt::{self, Write};

/// Writes `text` with control characters escaped, so that a name can't forge a log line.
pub(crate) fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        if c.is_control() {
            write!(f, "{}", c.escape_default())?;
        } else {
            f.write_char(c)?;
        }
    }
    Ok(())
}
