//! The JSON of the native dialect: the status object of an upload, also as headers, and what a page says of its file.

use crate::core::command::FileFacts;
use crate::core::event::DigestRequest;
use crate::core::limits::MAX_FILE_BYTES;
use crate::core::name;
use crate::core::state::StateName;
use crate::engine::status::Status;
use crate::wire::Options;
use crate::wire::problem::Problem;
use crate::wire::reply::shown;
use hyper::header::{CACHE_CONTROL, HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value};

/// The status object.
#[derive(Debug, Serialize)]
pub(in crate::wire) struct StatusBody {
    state: &'static str,
    length: Option<u64>,
    offset: u64,
    received: Vec<[u64; 2]>,
    chunk_size: u64,
    max_chunk_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    align: Option<u64>,
    send_ahead: u32,
    name: Option<String>,
    digest: Option<&'static str>,
    reason: Option<String>,
    #[serde(skip)]
    complete: bool,
}

impl StatusBody {
    /// The status object as the holder of the id may see it: what the web app answered, and where
    /// it is, stays between the server and the web app.
    pub(in crate::wire) fn public(
        mut status: Status,
        options: &Options,
        max_chunk_size: Option<u64>,
    ) -> Self {
        let neutral = match status.state {
            StateName::HandingOver => {
                Some("the web app has not taken the file yet; it is called again")
            }
            StateName::Failed => Some("the web app did not take the file"),
            StateName::New | StateName::Uploading | StateName::Finished | StateName::Cancelled => {
                None
            }
        };
        if let (Some(reason), Some(neutral)) = (&mut status.reason, neutral) {
            neutral.clone_into(reason);
        }
        Self::new(status, options, max_chunk_size)
    }

    /// The status object of an upload, as the backend may see it.
    pub(in crate::wire) fn new(
        status: Status,
        options: &Options,
        max_chunk_size: Option<u64>,
    ) -> Self {
        Self {
            state: status.state.word(),
            length: status.length,
            offset: status.offset(),
            received: status.received.as_slice().iter().map(|e| [e.start(), e.end()]).collect(),
            chunk_size: options.chunk_size,
            max_chunk_size,
            align: status.align,
            send_ahead: options.send_ahead,
            complete: status.is_complete(),
            name: status.name,
            digest: match status.digest {
                DigestRequest::None => None,
                DigestRequest::Sha256 => Some("sha-256"),
            },
            reason: status.reason,
        }
    }

    /// Adds the headers that come with every status object.
    pub(in crate::wire) fn add_headers(&self, headers: &mut HeaderMap) {
        headers.insert("upload-offset", HeaderValue::from(self.offset));
        if let Some(length) = self.length {
            headers.insert("upload-length", HeaderValue::from(length));
        }
        let complete = if self.complete { "?1" } else { "?0" };
        headers.insert("upload-complete", HeaderValue::from_static(complete));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// The facts in a bind's body; an empty body states none.
///
/// Errors: a body that is no JSON object, or a field that is not what it should be; unknown fields
/// are left to later versions.
pub(in crate::wire) fn facts(body: &[u8]) -> Result<FileFacts, Problem> {
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
        media_type: text("type")?.map(short_type),
        last_modified: modified.transpose()?,
        client_metadata: None,
    })
}

/// A media type, cut to a length that none has.
pub(in crate::wire) fn short_type(text: &str) -> String {
    text.chars().take(MAX_TYPE_CHARS).collect()
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
            client_metadata: None,
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
