//! The browser's file name made harmless: one component, no control or direction characters.
//!
//! Old backends join this name to a folder without looking, so the promise is made here.

use unicode_segmentation::UnicodeSegmentation as _;

/// Longest name in bytes; the usual limit of a file system for one component.
pub const MAX_NAME_BYTES: usize = 255;

/// Longest ending in bytes, its dot counted, that is taken for an extension.
const MAX_EXTENSION_BYTES: usize = 32;

/// What a file is called when nothing usable is left of its name.
pub const UNNAMED: &str = "unnamed";

/// One harmless file name from whatever a browser sent: the last component after any `/` or `\`,
/// control and bidi characters removed, at most [`MAX_NAME_BYTES`] bytes, never empty, `.` or `..`.
///
/// A longer name loses the end of its stem, at a boundary between two characters as people see them, and keeps
/// its extension.
pub fn harmless(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last.chars().filter(|c| !is_hidden(*c)).collect();
    match kept.as_str() {
        "" | "." | ".." => UNNAMED.into(),
        _ if kept.len() <= MAX_NAME_BYTES => kept,
        _ => {
            let extension = extension(&kept);
            let stem = &kept[..kept.len() - extension.len()];
            format!("{}{extension}", front(stem, MAX_NAME_BYTES - extension.len()))
        }
    }
}

/// What follows the stem of a long name: from its last dot on, and with a `.tar` before that, if it is short enough
/// to be an extension and has no space in it; else nothing.
fn extension(name: &str) -> &str {
    let from_dot = |name: &str| {
        let start = name.rfind('.').filter(|start| *start > 0)?;
        let text = &name[start + 1..];
        let good =
            (1..MAX_EXTENSION_BYTES).contains(&text.len()) && !text.contains(char::is_whitespace);
        good.then_some(start)
    };
    let Some(start) = from_dot(name) else { return "" };
    let stem = &name[..start];
    let archive = from_dot(stem).filter(|start| stem[*start..].eq_ignore_ascii_case(".tar"));
    &name[archive.unwrap_or(start)..]
}

/// As many whole grapheme clusters as fit into `most` bytes, or, where not one fits, as many characters.
fn front(text: &str, most: usize) -> &str {
    let ends = text.grapheme_indices(true).map(|(start, cluster)| start + cluster.len());
    match ends.take_while(|end| *end <= most).last() {
        Some(end) => &text[..end],
        None => &text[..text.floor_char_boundary(most)],
    }
}

/// Whether a character controls the display instead of being text: control and bidi characters.
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

    #[test]
    fn issue_13_long_names_keep_their_extension_and_end_between_characters() {
        let check = |from: &str, expected: &str| {
            assert!(expected.len() <= MAX_NAME_BYTES, "{expected:?}");
            assert_eq!(harmless(from), expected, "{from:?}");
            assert_eq!(harmless(expected), expected);
        };
        let kanji = "漢".repeat(100);
        check(&format!("{kanji}.pdf"), &format!("{}.pdf", "漢".repeat(83)));
        check(&format!("C:\\dir\\{kanji}.tar.gz"), &format!("{}.tar.gz", "漢".repeat(82)));
        check(&format!("{kanji}.TAR.zst"), &format!("{}.TAR.zst", "漢".repeat(82)));
        check(&format!("{kanji}.v2.gz"), &format!("{}.gz", "漢".repeat(84)));
        // It fits: nothing is cut.
        let fits = format!("{}.pdf", "x".repeat(251));
        check(&fits, &fits);
        check(&format!("x{fits}"), &fits);
        // A base with its combining marks, and a family joined by ZWJ (25 bytes), stay whole or go.
        let marked = "e\u{301}\u{323}";
        check(&format!("{}.txt", marked.repeat(60)), &format!("{}.txt", marked.repeat(50)));
        let family = "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}\u{200D}\u{1F466}";
        check(&format!("{}.png", family.repeat(11)), &format!("{}.png", family.repeat(10)));
        let flag = "\u{1F1EF}\u{1F1F5}";
        check(&format!("a{}.png", flag.repeat(40)), &format!("a{}.png", flag.repeat(31)));
        // One character of more bytes than there is room for: something has to stay of it.
        let heap = format!("e{}", "\u{301}".repeat(200));
        check(&format!("{heap}.txt"), &format!("e{}.txt", "\u{301}".repeat(125)));
        // No extension: none at all, too long, of words, nothing behind the dot, nothing before it.
        check(&kanji, &"漢".repeat(85));
        check(&format!("a.{}", "b".repeat(300)), &format!("a.{}", "b".repeat(253)));
        check(&format!(".{}", "b".repeat(300)), &format!(".{}", "b".repeat(254)));
        check(&format!("{kanji}. And more"), &"漢".repeat(85));
        check(&format!("{kanji}."), &"漢".repeat(85));
        check(
            &format!("{kanji}.{}", "e".repeat(31)),
            &format!("{}.{}", "漢".repeat(74), "e".repeat(31)),
        );
        check(&format!("{kanji}.{}", "e".repeat(32)), &"漢".repeat(85));
        // Hidden characters go before the name is measured.
        check(&format!("{}\u{202E}{fits}", "\u{200F}".repeat(200)), &fits);
        // A dot file with an extension, and dots alone.
        check(&format!(".{}.conf", "b".repeat(300)), &format!(".{}.conf", "b".repeat(249)));
        check(&".".repeat(300), &".".repeat(255));
    }
}
