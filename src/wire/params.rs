//! Backend parameters, however they come: query string, form, multipart or JSON.

use super::body::{BodyMemory, collect};
use super::header::once;
use super::problem::Problem;
use super::reply::shown;
use super::unsupported;
use crate::core::limits::MAX_FILE_BYTES;
use crate::net::RequestBody;
use bytes::Bytes;
use http_body_util::{BodyDataStream, Full};
use hyper::http::request::Parts;
use percent_encoding::percent_decode;
use std::collections::HashMap;
use std::time::Duration;

/// The parameters of one call. What stands in the body wins over the query string.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Params(HashMap<String, String>);

impl Params {
    /// The parameters of a request that has no body.
    ///
    /// Errors: a value that is not UTF-8.
    pub fn of_query(head: &Parts) -> Result<Self, Problem> {
        let mut params = Self::default();
        params.add_form(head.uri.query().unwrap_or_default().as_bytes())?;
        Ok(params)
    }

    /// Reads all parameters of a request.
    ///
    /// Errors: a body that is not what its Content-Type says, or too large; a Content-Type that is
    /// not text, or comes twice; a text that is not UTF-8.
    pub async fn read(
        head: &Parts,
        body: RequestBody,
        memory: &BodyMemory,
    ) -> Result<Self, Problem> {
        let mut params = Self::of_query(head)?;
        let given = once(&head.headers, "Content-Type")?.unwrap_or_default();
        unsupported::check_charset(given)?;
        let body = collect(body, MAX_BODY_BYTES, memory).await?;
        params.add_body(given, body.bytes()).await?;
        Ok(params)
    }

    /// What stands in a body of the given Content-Type.
    pub(super) async fn add_body(&mut self, given: &str, bytes: Bytes) -> Result<(), Problem> {
        if bytes.is_empty() {
            return Ok(());
        }
        let media_type = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media_type.as_str() {
            "" | "application/x-www-form-urlencoded" => self.add_form(&bytes)?,
            "application/json" => self.add_json(&bytes)?,
            "multipart/form-data" => self.add_multipart(given, bytes).await?,
            _ => {
                return Err(Problem::bad_request(format!(
                    "header Content-Type {}: expected a form, multipart/form-data or application/json",
                    shown(given)
                )));
            }
        }
        Ok(())
    }

    /// Source: the URL standard's `application/x-www-form-urlencoded`, but that what is not UTF-8 is refused: a secret
    /// would be another one.
    fn add_form(&mut self, text: &[u8]) -> Result<(), Problem> {
        let is_text = |pair: &[u8]| percent_decode(pair).decode_utf8().is_ok();
        if let Some(pair) = text.split(|byte| *byte == b'&').find(|pair| !is_text(pair)) {
            let name =
                String::from_utf8_lossy(pair.split(|byte| *byte == b'=').next().unwrap_or(pair));
            return Err(Problem::bad_request(format!("parameter {} is not UTF-8", shown(&name))));
        }
        for (key, value) in form_urlencoded::parse(text) {
            self.0.insert(key.into_owned(), value.into_owned());
        }
        Ok(())
    }

    fn add_json(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes)
            .map_err(|error| {
                let why = shown(&error.to_string());
                Problem::bad_request(format!("the body is not a JSON object: {why}"))
            })?;
        for (key, value) in object {
            let text = match value {
                serde_json::Value::Null => continue,
                serde_json::Value::String(text) => text,
                serde_json::Value::Bool(_) | serde_json::Value::Number(_) => value.to_string(),
                serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
                    return Err(Problem::bad_request(format!(
                        "parameter {} must be a text, number or boolean",
                        shown(&key)
                    )));
                }
            };
            self.0.insert(key, text);
        }
        Ok(())
    }

    async fn add_multipart(&mut self, media_type: &str, bytes: Bytes) -> Result<(), Problem> {
        let bad =
            |error: multer::Error| Problem::bad_request(format!("the multipart body: {error}"));
        let boundary = multer::parse_boundary(media_type).map_err(bad)?;
        let mut multipart = multer::Multipart::new(BodyDataStream::new(Full::new(bytes)), boundary);
        while let Some(field) = multipart.next_field().await.map_err(bad)? {
            let Some(name) = field.name().map(str::to_owned) else { continue };
            self.0.insert(name.clone(), field_text(&name, field).await?);
        }
        Ok(())
    }

    /// Says in the log which parameters nobody will look at: a misspelt secret protects nothing.
    pub fn warn_of_unknown(&self, known: &[&str]) {
        for name in self.0.keys().filter(|name| !known.contains(&name.as_str())).take(MAX_WARNINGS)
        {
            tracing::warn!(name = shown(name), "unknown backend parameter ignored");
        }
    }

    /// Refuses parameters that nobody will look at, for a call that 2014 did not have.
    ///
    /// Errors: the first of them by name.
    pub fn refuse_unknown(&self, known: &[&str]) -> Result<(), Problem> {
        let unknown = self.0.keys().filter(|name| !known.contains(&name.as_str())).min();
        unknown.map_or(Ok(()), |name| {
            let (name, known) = (shown(name), known.join(", "));
            Err(Problem::bad_request(format!("parameter {name} is unknown, expected {known}")))
        })
    }

    /// A parameter that is given and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A parameter of `most` bytes at most; empty where it is not given.
    pub fn short(&self, name: &str, most: usize) -> Result<String, Problem> {
        let text = self.text(name).unwrap_or_default();
        if text.len() > most {
            return Err(Problem::bad_request(format!(
                "parameter {name}: it has {} bytes, at most {most} are allowed",
                text.len()
            )));
        }
        Ok(text.to_owned())
    }

    /// A parameter as Go's `strconv.ParseBool` reads it, as in 2014.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, Problem> {
        self.text(name)
            .map(|text| match text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
                _ => Err(Problem::bad_request(format!(
                    "parameter {name} {}: expected true or false",
                    shown(text)
                ))),
            })
            .transpose()
    }

    /// A parameter that is one of these words.
    pub fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let known = words.iter().find(|(word, _)| *word == text);
        known.map(|(_, value)| Some(*value)).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            let words = words.join(" or ");
            Problem::bad_request(format!("parameter {name} {}: expected {words}", shown(text)))
        })
    }

    /// A parameter as a duration as people write it, or a bare number of seconds: longer than nothing, `most` at most.
    pub fn duration(&self, name: &str, most: Duration) -> Result<Option<Duration>, Problem> {
        self.text(name)
            .map(|text| {
                let parsed = match text.parse::<u64>() {
                    Ok(seconds) => Some(Duration::from_secs(seconds)),
                    Err(_) => humantime::parse_duration(text).ok(),
                };
                parsed.filter(|time| !time.is_zero() && *time <= most).ok_or_else(|| {
                    Problem::bad_request(format!(
                        "parameter {name} {}: expected a duration like 12h, at most {}h",
                        shown(text),
                        most.as_secs() / 3600
                    ))
                })
            })
            .transpose()
    }

    /// A parameter as a number of bytes.
    pub fn bytes(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.text(name)
            .map(|text| {
                let digits = text.bytes().all(|b| b.is_ascii_digit());
                let value = text.parse().ok().filter(|value| digits && *value < MAX_FILE_BYTES);
                value.ok_or_else(|| {
                    Problem::bad_request(format!(
                        "parameter {name} {}: expected a number of bytes below 2^63 - 1",
                        shown(text)
                    ))
                })
            })
            .transpose()
    }
}

/// The value of a field: in the charset that it names, else UTF-8. Source: RFC 7578, section 4.7, for the encoding
/// that nobody should use any more.
async fn field_text(name: &str, field: multer::Field<'_>) -> Result<String, Problem> {
    let bad = |error: multer::Error| Problem::bad_request(format!("the multipart body: {error}"));
    let coding = field.headers().get("content-transfer-encoding");
    let coding = coding.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    if let Some(coding) = coding.filter(|coding| !PLAIN.contains(&coding.trim())) {
        return Err(unsupported::encoded(format!(
            "parameter {}: Content-Transfer-Encoding {}, only binary",
            shown(name),
            shown(&coding)
        )));
    }
    let charset = field.content_type().and_then(|kind| kind.get_param("charset"));
    if charset.is_some_and(|charset| charset != "utf-8") {
        return field.text().await.map_err(bad);
    }
    let bytes = field.bytes().await.map_err(bad)?;
    String::from_utf8(bytes.into())
        .map_err(|_| Problem::bad_request(format!("parameter {} is not UTF-8", shown(name))))
}

/// Transfer encodings of a field that leave its bytes as they are.
const PLAIN: [&str; 3] = ["7bit", "8bit", "binary"];
/// Unknown parameters of one call that the log names.
const MAX_WARNINGS: usize = 4;
/// A backend call is a handful of short texts.
const MAX_BODY_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_as_in_2014() {
        let check = |text: &str, expected: Option<bool>| {
            let params = Params(HashMap::from([("x".to_owned(), text.to_owned())]));
            assert_eq!(params.boolean("x").ok(), expected.map(Some), "{text}");
        };
        for yes in ["1", "t", "T", "true", "TRUE", "True"] {
            check(yes, Some(true));
        }
        for no in ["0", "f", "F", "false", "FALSE", "False"] {
            check(no, Some(false));
        }
        check("yes", None);
        assert_eq!(Params::default().boolean("x").ok(), Some(None));
    }

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<u64>| {
            let params = Params(HashMap::from([("x".to_owned(), text.to_owned())]));
            let read = params.duration("x", Duration::from_secs(7200)).ok();
            assert_eq!(read, expected.map(|seconds| Some(Duration::from_secs(seconds))), "{text}");
        };
        check("1", Some(1));
        check("15m", Some(900));
        check("1h 30m", Some(5400));
        check("2h", Some(7200));
        for wrong in ["0", "0s", "7201", "3h", "-1", "soon", "18446744073709551615", "1e3"] {
            check(wrong, None);
        }
        assert_eq!(Params::default().duration("x", Duration::MAX).ok(), Some(None));
    }

    #[test]
    fn json_and_form_values() {
        let mut params = Params::default();
        params.add_form(b"a=1&b=two+words&c=%C3%BC").unwrap();
        params.add_json(br#"{"a": 2, "d": true, "e": null}"#).unwrap();
        assert_eq!(params.bytes("a").ok(), Some(Some(2)));
        assert_eq!(params.text("b"), Some("two words"));
        assert_eq!(params.text("c"), Some("ü"));
        assert_eq!(params.text("d"), Some("true"));
        assert_eq!(params.text("e"), None);
        assert!(params.bytes("b").is_err());
        assert!(params.add_json(br#"{"a": []}"#).is_err());
        assert!(params.add_json(b"[1]").is_err());
        for latin in [&b"id=1&secret=%FC&x=2"[..], b"secret=\xFC"] {
            let problem = params.add_form(latin).unwrap_err();
            assert!(problem.detail().contains("parameter \"secret\" is not UTF-8"), "{problem:?}");
        }
    }
}
