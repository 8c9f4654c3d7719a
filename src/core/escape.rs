//! Text from elsewhere (a server, a file name, a journal) as part of a line for people: control characters (C0, DEL,
//! C1), those that turn the direction of a line or separate lines, and bytes that are not UTF-8 are escaped:
//! `\u{1b}`, `\xff`. So nothing in it is obeyed by a terminal, and a newline in it begins no line.

use std::path::Path;

use super::name::is_hidden;

/// Characters of a foreign text that are shown by [`excerpt`].
const EXCERPT_CHARS: usize = 300;

/// What becomes of the ends of lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LineEnds {
    /// They stay: the text is lines of our own.
    Kept,
    /// They are escaped: the text is part of one line.
    Escaped,
}

/// All of a text, as part of a line.
pub fn text(text: &str) -> String {
    bytes(text.as_bytes(), LineEnds::Escaped)
}

/// The first 300 characters of a text, as part of a line: a server may send whole pages.
pub fn excerpt(text: &str) -> String {
    let end = text.char_indices().nth(EXCERPT_CHARS).map_or(text.len(), |(end, _)| end);
    self::text(&text[..end])
}

/// A path, as part of a line; paths that differ in a hidden byte are shown differently.
pub fn path(path: &Path) -> String {
    bytes(path.as_os_str().as_encoded_bytes(), LineEnds::Escaped)
}

/// Bytes that should be text.
pub fn bytes(bytes: &[u8], ends: LineEnds) -> String {
    let mut out = String::with_capacity(bytes.len());
    for piece in bytes.utf8_chunks() {
        for c in piece.valid().chars() {
            match c {
                '\n' if ends == LineEnds::Kept => out.push(c),
                c if is_hidden(c) => out.extend(c.escape_default()),
                c => out.push(c),
            }
        }
        for byte in piece.invalid() {
            out.extend(std::ascii::escape_default(*byte).map(char::from));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn issue_13_what_a_terminal_would_obey_is_shown() {
        let check = |from: &str, expected: &str| assert_eq!(text(from), expected, "{from:?}");
        check("film.mp4", "film.mp4");
        check("Übung – 例 👍.pdf", "Übung – 例 👍.pdf");
        check("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}");
        check("\u{9b}31m", "\\u{9b}31m");
        check("a\r\n\tb\u{7f}", "a\\r\\n\\tb\\u{7f}");
        check("\u{202e}gpj.exe\u{2066}", "\\u{202e}gpj.exe\\u{2066}");
        check("\u{2028}\u{feff}\u{61c}", "\\u{2028}\\u{feff}\\u{61c}");
        for c in (0..=0x2fff_u32).filter_map(char::from_u32).filter(|c| is_hidden(*c)) {
            assert!(!text(&c.to_string()).contains(is_hidden), "{c:?}");
            assert_ne!(text(&c.to_string()), "", "{c:?} is not passed over");
        }
        let name = OsStr::from_bytes(b"\xff\xc2\x1b[2J\xe4");
        assert_eq!(path(Path::new(name)), "\\xff\\xc2\\u{1b}[2J\\xe4");
        assert_eq!(excerpt(&"ä".repeat(400)), "ä".repeat(300));
    }
}
