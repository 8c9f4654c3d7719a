//! The way to the terminal: what a server, a file name, a journal or a backend says is shown there and never obeyed.
//!
//! Escaped are control characters (C0, DEL, C1), those that turn the direction of a line or separate lines, and bytes
//! that are no UTF-8: `\u{1b}`, `\xff`. [`stdout`] and [`stderr`] do so with all that is written to them but the ends
//! of lines, so that no command can forget it (`tests/structure.rs` sees to it that there is no other way out). Text from
//! elsewhere goes through [`text`] or [`short`] before it becomes part of a line: a newline in it begins no line then.
//! [`json`] and [`json_lines`] write the same characters as JSON escapes, which mean what they meant.

use std::io::{self, IsTerminal, Stderr, Stdout, Write};

use serde::Serialize;

pub(super) use crate::core::escape::{excerpt as short, path, text};

use crate::core::escape::{self, LineEnds};
use crate::core::name::is_hidden;

/// Lines of a command, as [`stderr`] would write them, for who writes them elsewhere.
pub(super) fn lines(text: &str) -> String {
    escape::bytes(text.as_bytes(), LineEnds::Kept)
}

/// Standard output.
pub(super) fn stdout() -> Screen<Stdout> {
    Screen(io::stdout())
}

/// Standard error.
pub(super) fn stderr() -> Screen<Stderr> {
    Screen(io::stderr())
}

/// Whether people watch standard error.
pub(super) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Bytes of our own to standard output, as they are: a script, a page of the manual.
pub(super) fn data(bytes: &[u8]) -> io::Result<()> {
    io::stdout().write_all(bytes)
}

/// Writes a line over the one before, for people who watch.
pub(super) fn over(line: &str) {
    // Standard error may be gone.
    let _ = write!(io::stderr(), "\r{}\x1b[K", text(line));
}

/// One line of JSON.
pub(super) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(|text| json_escaped(&text))
}

/// JSON for people, of several lines.
pub(super) fn json_lines(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|text| json_escaped(&text))
}

/// What is written to it is escaped, but for the ends of lines.
pub(super) struct Screen<W>(W);

impl<W: Write> Write for Screen<W> {
    /// Takes all of it: a character must not come in two pieces.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(escape::bytes(bytes, LineEnds::Kept).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// JSON in which what a terminal would obey is escaped: outside of strings there is none of it but the ends of lines.
fn json_escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_hidden(c) && c != '\n' {
            // None of them is beyond the basic plane, so that one escape says it.
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issue_13_whatever_is_written_to_the_screen_is_escaped() {
        let mut out = Screen(Vec::new());
        let lines = ["a\u{1b}[31m", "\u{202e}b"];
        lines.iter().for_each(|line| writeln!(out, "{line}").unwrap());
        out.write_all(b"\xff\x9b\n").unwrap();
        assert_eq!(out.0, b"a\\u{1b}[31m\n\\u{202e}b\n\\xff\\x9b\n");
    }

    #[test]
    fn issue_13_json_keeps_its_meaning_without_what_a_terminal_would_obey() {
        let value = serde_json::json!({"a\u{9b}": "\u{1b}\u{7f}\u{85}\u{202e}\n\"ü", "b": [1]});
        for text in [json(&value).unwrap(), json_lines(&value).unwrap()] {
            assert!(!text.contains(|c| is_hidden(c) && c != '\n'), "{text:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        }
        assert_eq!(json(&value).unwrap().lines().count(), 1);
    }
}
