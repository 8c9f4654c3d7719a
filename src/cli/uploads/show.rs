//! Uploads as people read them. Names and reasons come from strangers, so nothing in them reaches
//! the terminal as a command or turns the direction of the line.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// The head of the list.
pub(super) fn head(out: &mut impl Write) -> io::Result<()> {
    let (id, state, got, of) = ("ID", "STATE", "RECEIVED", "LENGTH");
    let (created, active) = ("CREATED", "LAST ACTIVE");
    writeln!(out, "{id:36}  {state:12}  {got:>15}  {of:>15}  {created:20}  {active:20}  NAME")
}

/// One upload in the list.
pub(super) fn row(upload: &Value, out: &mut impl Write) -> io::Result<()> {
    let cell = |key| cell(key, upload.get(key));
    let (id, state, of) = (cell("id"), cell("state"), cell("length"));
    let got = received(upload).map_or_else(|| cell("offset"), |bytes| bytes.to_string());
    let (created, active, name) = (cell("created"), cell("last_active"), cell("name"));
    writeln!(out, "{id:36}  {state:12}  {got:>15}  {of:>15}  {created:20}  {active:20}  {name}")
}

/// Acknowledged bytes, wherever they lie.
fn received(upload: &Value) -> Option<u64> {
    let ranges = upload.get("received")?.as_array()?.iter();
    ranges.map(|range| range.get(1)?.as_u64()?.checked_sub(range.get(0)?.as_u64()?)).sum()
}

/// One upload, a line for each thing known.
pub(super) fn upload(upload: &Value, out: &mut impl Write) -> io::Result<()> {
    let Some(fields) = upload.as_object() else { return writeln!(out, "{upload}") };
    let width = fields.keys().map(|key| key.chars().count()).max().unwrap_or(0);
    for (key, value) in fields {
        writeln!(out, "{:width$}  {}", harmless(key), cell(key, Some(value)))?;
    }
    Ok(())
}

/// One value on one line; times as dates.
fn cell(key: &str, value: Option<&Value>) -> String {
    let time = matches!(key, "created" | "last_active" | "expires");
    match value {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => harmless(text),
        Some(Value::Number(number)) => match number.as_u64().filter(|_| time) {
            Some(seconds) => date(seconds).unwrap_or_else(|| number.to_string()),
            None => number.to_string(),
        },
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(other @ (Value::Array(_) | Value::Object(_))) => harmless(&other.to_string()),
    }
}

/// Seconds since 1970 as a date, up to the year 9999.
fn date(seconds: u64) -> Option<String> {
    const YEAR_10000: u64 = 253_402_300_800;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    (seconds < YEAR_10000).then(|| humantime::format_rfc3339_seconds(time).to_string())
}

/// The text without what a terminal would obey: control characters and marks of direction.
pub(super) fn harmless(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if obeyed(c) { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_short_and_harmless() {
        fn check(key: &str, value: &Value, expected: &str) {
            assert_eq!(cell(key, Some(value)), expected);
        }
        check("name", &json!("film.mp4"), "film.mp4");
        check("name", &json!("a\u{1b}[31m\n\u{202e}b"), "a?[31m??b");
        check("length", &json!(null), "-");
        check("length", &json!(1_000_000), "1000000");
        check("created", &json!(0), "1970-01-01T00:00:00Z");
        check("created", &json!("2026-01-01T00:00:00Z"), "2026-01-01T00:00:00Z");
        check("created", &json!(u64::MAX), "18446744073709551615");
        check("received", &json!([[0, 5], [7, 9]]), "[[0,5],[7,9]]");
        assert_eq!(cell("name", None), "-");
    }
}
