//! What a page says of its file: the JSON body of a bind, each field checked by name.

use super::problem::Problem;
use super::reply::shown;
use crate::core::command::FileFacts;
use crate::core::limits::MAX_FILE_BYTES;
use crate::core::name;
use serde_json::{Map, Value};

/// The facts in a bind's body; an empty body states none.
///
/// Errors: a body that is no JSON object, or a field that is not what it should be; unknown fields
/// are left to later versions.
pub(super) fn facts(body: &[u8]) -> Result<FileFacts, Problem> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(FileFacts::default());
    }
    let fields: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
        let text = String::from_utf8_lossy(body);
        Problem::bad_request(format!("the body {} is not a JSON object: {error}", shown(&text)))
    })?;
    let field = |key: &str| fields.get(key).filter(|value| !value.is_null());
    let bad = |key: &str, value: &Value, wanted: &str| {
        Problem::bad_request(format!(
            "field {key} {}: expected {wanted}",
            shown(&value.to_string())
        ))
    };
    let text = |key: &str| {
        field(key).map(|value| value.as_str().ok_or_else(|| bad(key, value, "a text"))).transpose()
    };
    let length = field("length").map(|value| {
        let length = value.as_u64().filter(|length| *length < MAX_FILE_BYTES);
        length.ok_or_else(|| bad("length", value, "a whole number of bytes below 2^63 - 1"))
    });
    let modified = field("last_modified").map(|value| {
        value
            .as_f64()
            .map(whole_ms)
            .ok_or_else(|| bad("last_modified", value, "milliseconds since 1970"))
    });
    Ok(FileFacts {
        length: length.transpose()?,
        name: text("name")?.map(name::harmless),
        media_type: text("type")?.map(|text| text.chars().take(MAX_TYPE_CHARS).collect()),
        last_modified: modified.transpose()?,
    })
}

/// Milliseconds from a browser, which may have a fraction or lie before 1970.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // The cast saturates.
fn whole_ms(ms: f64) -> u64 {
    ms.max(0.0) as u64
}

/// Media types are short; this one is kept, not understood.
const MAX_TYPE_CHARS: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_facts() {
        let all = facts(
            br#"{"name":"a/b.txt","length":7,"type":"text/plain","last_modified":1.9,"new":[]}"#,
        );
        let expected = FileFacts {
            length: Some(7),
            name: Some("b.txt".into()),
            media_type: Some("text/plain".into()),
            last_modified: Some(1),
        };
        assert_eq!(all.ok(), Some(expected));
        for none in ["", " \n", "{}", r#"{"name":null,"length":null}"#] {
            assert_eq!(facts(none.as_bytes()).ok(), Some(FileFacts::default()), "{none:?}");
        }
    }

    #[test]
    fn bad_facts_are_refused() {
        for bad in [
            "[]",
            "7",
            "{",
            r#"{"length":-1}"#,
            r#"{"length":1.5}"#,
            r#"{"length":"7"}"#,
            r#"{"length":9223372036854775807}"#,
            r#"{"name":7}"#,
            r#"{"type":{}}"#,
            r#"{"last_modified":"yesterday"}"#,
        ] {
            assert!(facts(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
