//! The browser's file name made harmless: one component, no control or direction characters.
//!
//! Old backends join this name to a folder without looking, so the promise is made here.

/// Longest name in bytes; the usual limit of a file system for one component.
pub const MAX_NAME_BYTES: usize = 255;

/// What a file is called when nothing usable is left of its name.
pub const UNNAMED: &str = "unnamed";

/// One harmless file name from whatever a browser sent: the last component after any `/` or `\`,
/// control and bidi characters removed, at most [`MAX_NAME_BYTES`] bytes, never empty, `.` or `..`.
pub fn harmless(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut kept = String::with_capacity(last.len().min(MAX_NAME_BYTES));
    for character in last.chars().filter(|c| !is_hidden(*c)) {
        if kept.len() + character.len_utf8() > MAX_NAME_BYTES {
            break;
        }
        kept.push(character);
    }
    match kept.as_str() {
        "" | "." | ".." => UNNAMED.into(),
        _ => kept,
    }
}

/// Whether a character is no text but a command to whatever shows it: control and bidi characters.
pub fn is_hidden(c: char) -> bool {
    c.is_control() || is_directional(c)
}

/// Characters that turn the direction of the text around them, or separate lines: they make
/// `exe.fdp` read as `pdf.exe`. Source: Unicode Bidirectional Algorithm (UAX #9), section 2.
fn is_directional(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_harmless() {
        let check = |from: &str, expected: &str| assert_eq!(harmless(from), expected, "{from:?}");
        check("film.mp4", "film.mp4");
        check("../../x\0<script>", "x<script>");
        check("C:\\Users\\me\\film.mp4", "film.mp4");
        check("a/b\\c", "c");
        check("", UNNAMED);
        check("..", UNNAMED);
        check("x/..", UNNAMED);
        check("dir/", UNNAMED);
        check(".\u{0}.", UNNAMED);
        check("\u{202E}gpj.exe", "gpj.exe");
        check("line\r\nbreak", "linebreak");
        check("Übung – 例.pdf", "Übung – 例.pdf");
        check(&"ä".repeat(200), &"ä".repeat(127));
    }
}
