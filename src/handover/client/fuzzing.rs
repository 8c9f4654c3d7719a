//! Fuzz targets of the calls to backends: the URL that is called, and the word that it answers.

use super::answer::{BODY_BYTES, Rest, WORD_CHARS, word};
use super::request;
use super::target::Target;

/// A URL as a call would use it: where it connects to, and how it is shown. `None` where it cannot
/// be called.
pub fn called(url: &str) -> Option<(String, u16, String)> {
    let target = match Target::parse(url) {
        Ok(target) => target,
        Err(error) => {
            assert!(!error.to_string().contains(|c: char| c.is_control()), "{error:?}");
            return None;
        }
    };
    assert!(target.port != 0 && target.path.starts_with('/') && !target.host.is_empty());
    assert!(!target.host.contains(['@', '/', '?', '#', ' ']), "{:?}", target.host);
    assert!(!target.shown.contains(['?', '#']), "{:?}", target.shown);
    let place = target.shown.split("://").nth(1).unwrap_or_default();
    let place = place.split('/').next().unwrap_or_default();
    assert!(!place.contains('@'), "credentials are shown: {:?}", target.shown);
    if request(&target, String::new(), "key", None).is_err() {
        return None;
    }
    Some((target.host, target.port, target.shown))
}

/// Any answer becomes a short word, and none that is not `done` becomes `done`.
pub fn answer(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let bare = text
        .trim_matches(|c: char| c == '\u{FEFF}' || c.is_ascii() && (c as u8).is_ascii_whitespace());
    let plain = bare.eq_ignore_ascii_case("done") || bare.eq_ignore_ascii_case("\"done\"");
    for rest in [Rest::None, Rest::Unread] {
        let Ok(found) = word(&data[..data.len().min(BODY_BYTES)], rest) else {
            assert!(!plain, "{data:?}");
            continue;
        };
        assert!(found.chars().count() <= WORD_CHARS, "{found:?}");
        let whole = matches!(rest, Rest::None);
        assert_eq!(found == "done", plain && whole, "{data:?}");
    }
}
