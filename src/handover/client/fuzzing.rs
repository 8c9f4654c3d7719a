//! Fuzz targets of the calls to backends: the URL that is called, and the word that it answers.

use super::answer::{BODY_BYTES, Rest, WORD_CHARS, word};
use super::request;
use crate::core::callback::CallbackUrl;
use hyper::header::HeaderMap;

/// Whatever is given as a URL, a call of it is refused before anything is sent, or its parts are what they should be; it
/// is shown without its secrets.
pub fn called(url: &CallbackUrl) {
    let shown = url.shown();
    assert!(!shown.contains(['?', '#']), "{shown:?}");
    let Ok(target) = url.target() else { return };
    let place = shown.split("://").nth(1).and_then(|rest| rest.split('/').next());
    assert!(place.is_some_and(|place| !place.contains('@')), "credentials are shown: {shown:?}");
    assert!(target.port != 0 && target.path().starts_with('/') && !target.host.is_empty());
    assert!(!target.host.contains(['@', '/', '?', '#', ' ']), "{:?}", target.host);
    assert_eq!(url.destination().parts().1, target.port);
    let made =
        request(&target, String::new(), HeaderMap::new()).expect("a valid URL can be called");
    assert_eq!(made.uri().path_and_query().map(|path| path.as_str()), Some(&*target.path()));
}

/// Any answer becomes a short word, and none that is not `done` becomes `done`.
pub fn answer(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let bare = text
        .trim_matches(|c: char| c == '\u{FEFF}' || c.is_ascii() && (c as u8).is_ascii_whitespace());
    let json = serde_json::from_str::<serde_json::Value>(bare).ok();
    let json = json.as_ref().and_then(|it| it.as_object()?.get("answer")?.as_str());
    let plain = json.is_some_and(|it| it.to_lowercase() == "done")
        || bare.eq_ignore_ascii_case("done")
        || bare.eq_ignore_ascii_case("\"done\"");
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
