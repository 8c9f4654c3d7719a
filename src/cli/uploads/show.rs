//! Uploads as people read them. Names and reasons come from outside, so nothing in them reaches
//! the terminal as a command, turns the direction of the line or begins another one.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::cli::terminal;
use crate::core::units;

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
    let ranges = upload.get("received")?.as_array()?;
    ranges.iter().try_fold(0_u64, |bytes, range| {
        let length = range.get(1)?.as_u64()?.checked_sub(range.get(0)?.as_u64()?)?;
        bytes.checked_add(length)
    })
}

/// One upload, a line for each thing known.
pub(super) fn upload(upload: &Value, out: &mut impl Write) -> io::Result<()> {
    let Some(fields) = upload.as_object() else {
        return writeln!(out, "{}", cell("", Some(upload)));
    };
    let width = fields.keys().map(|key| key.chars().count()).max().unwrap_or(0);
    for (key, value) in fields {
        let shown = match &**key {
            "received" => ranges(upload),
            "length" | "offset" | "chunk_size" | "max_chunk_size" => {
                value.as_u64().map(units::size_and_bytes)
            }
            _ => None,
        };
        let shown = shown.unwrap_or_else(|| cell(key, Some(value)));
        writeln!(out, "{:width$}  {shown}", terminal::text(key))?;
    }
    Ok(())
}

/// What of the file is there, in short: with many holes the ranges themselves fill pages.
fn ranges(upload: &Value) -> Option<String> {
    let (bytes, count) = (received(upload)?, upload.get("received")?.as_array()?.len());
    let ranges = if count == 1 { "range" } else { "ranges" };
    Some(format!("{} in {count} {ranges}", units::size_and_bytes(bytes)))
}

/// One value on one line; times as dates.
fn cell(key: &str, value: Option<&Value>) -> String {
    let time = matches!(key, "created" | "last_active" | "expires");
    match value {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => terminal::text(text),
        Some(Value::Number(number)) => match number.as_u64().filter(|_| time) {
            Some(seconds) => date(seconds).unwrap_or_else(|| number.to_string()),
            None => number.to_string(),
        },
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(other @ (Value::Array(_) | Value::Object(_))) => terminal::text(&other.to_string()),
    }
}

/// Seconds since 1970 as a date, up to the year 9999.
fn date(seconds: u64) -> Option<String> {
    const YEAR_10000: u64 = 253_402_300_800;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    (seconds < YEAR_10000).then(|| humantime::format_rfc3339_seconds(time).to_string())
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
        check("name", &json!("a\u{1b}[31m\n\u{202e}b"), "a\\u{1b}[31m\\n\\u{202e}b");
        check("length", &json!(null), "-");
        check("length", &json!(1_000_000), "1000000");
        check("created", &json!(0), "1970-01-01T00:00:00Z");
        check("created", &json!("2026-01-01T00:00:00Z"), "2026-01-01T00:00:00Z");
        check("created", &json!(u64::MAX), "18446744073709551615");
        check("received", &json!([[0, 5], [7, 9]]), "[[0,5],[7,9]]");
        assert_eq!(cell("name", None), "-");
    }

    #[test]
    fn one_upload_is_shown_in_units() {
        let check = |shown: &Value, expected: &str| {
            let mut out = Vec::new();
            upload(shown, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        let few = json!({"length": 9, "max_chunk_size": null, "received": [[0, 5]]});
        check(&few, "length          9\nmax_chunk_size  -\nreceived        5 in 1 range\n");
        let many =
            json!({"length": 10_485_760, "received": [[0, 1_048_576], [2_097_152, 4_194_304]]});
        let text = "length    10485760 (10 MiB)\nreceived  3145728 (3 MiB) in 2 ranges\n";
        check(&many, text);
        check(&json!({"received": []}), "received  0 in 0 ranges\n");
        check(&json!({"received": [["x"]]}), "received  [[\"x\"]]\n");
        let most = u64::MAX;
        let all = format!("received  [[0,{most}],[0,{most}]]\n");
        check(&json!({"received": [[0, most], [0, most]]}), &all);
        check(&json!({"a\u{1b}": "\n"}), "a\\u{1b}  \\n\n");
        check(&json!("\u{9b}"), "\\u{9b}\n");
    }
}
