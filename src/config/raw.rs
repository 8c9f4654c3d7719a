//! One value as it was written, before anything is made of it.
//!
//! Flags and environment give text; the file may also give integers and booleans. Judging is left
//! to the reader of the key, who can then name the key, the place and what would be right.

use std::fmt;

use serde::de::{Deserialize, Deserializer};

/// A value as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raw {
    /// Text: every flag, every environment variable, a TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML boolean.
    Boolean(bool),
    /// Something else from TOML, which no key takes; the word names its kind.
    Other(&'static str),
}

impl From<String> for Raw {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<toml::Value> for Raw {
    fn from(value: toml::Value) -> Self {
        match value {
            toml::Value::String(text) => Self::Text(text),
            toml::Value::Integer(number) => Self::Integer(number),
            toml::Value::Boolean(flag) => Self::Boolean(flag),
            toml::Value::Float(_) => Self::Other("a fraction"),
            toml::Value::Datetime(_) => Self::Other("a date"),
            toml::Value::Array(_) => Self::Other("a list"),
            toml::Value::Table(_) => Self::Other("a table"),
        }
    }
}

impl fmt::Display for Raw {
    /// On one line whatever the text holds, and cut where it is long.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Enough to recognise any value by, little enough for one line.
        const SHOWN_CHARS: usize = 120;
        match self {
            Self::Text(text) => match text.char_indices().nth(SHOWN_CHARS) {
                Some((end, _)) => write!(out, "{:?}...", &text[..end]),
                None => write!(out, "{text:?}"),
            },
            Self::Integer(number) => number.fmt(out),
            Self::Boolean(flag) => flag.fmt(out),
            Self::Other(kind) => out.write_str(kind),
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        toml::Value::deserialize(from).map(Self::from)
    }
}

/// Reads a list key of the file: an array, or a lone value for a list of one.
pub(super) fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Raw>>, D::Error> {
    Ok(Some(match toml::Value::deserialize(from)? {
        toml::Value::Array(items) => items.into_iter().map(Raw::from).collect(),
        lone => vec![Raw::from(lone)],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_on_one_line() {
        fn check(raw: &Raw, shown: &str) {
            assert_eq!(raw.to_string(), shown);
        }
        check(&Raw::Text("8MiB".into()), "\"8MiB\"");
        check(&Raw::Text("a\nb".into()), "\"a\\nb\"");
        check(&Raw::Text("ä".repeat(200)), &format!("\"{}\"...", "ä".repeat(120)));
        check(&Raw::Integer(-3), "-3");
        check(&Raw::Boolean(true), "true");
        check(&Raw::Other("a table"), "a table");
    }
}
