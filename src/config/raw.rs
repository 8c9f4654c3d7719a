//! One value as it was written, before anything is made of it.
//!
//! Flags and environment give text; the file may also give integers and booleans. Judging is left
//! to the reader of the key, who can then name the key, the place and what would be right.

use std::fmt;
use std::path::Path;
use std::slice;

use super::types::Secret;

/// A value as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raw {
    /// Text: every flag, every environment variable, a TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML boolean.
    Boolean(bool),
    /// A TOML list, or a flag that is repeated.
    List(Vec<Self>),
    /// The text of a key whose value is never shown.
    Secret(Secret),
    /// Something else from TOML, which no key takes; the word names its kind.
    Other(&'static str),
}

impl Raw {
    /// The items of a list; a lone value is a list of one.
    pub(super) fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            lone => slice::from_ref(lone),
        }
    }

    /// Whether it holds the text of a secret.
    pub(super) fn holds_secret(&self) -> bool {
        self.items().iter().any(|item| matches!(item, Self::Secret(_)))
    }

    /// The same as the value of a secret: what is no text may be one without its quotes, so nothing of it is kept.
    pub(super) fn concealed(self) -> Self {
        match self {
            Self::Text(text) => Self::Secret(Secret::new(text)),
            Self::List(items) => Self::List(items.into_iter().map(Self::concealed).collect()),
            _ => Self::Other("(not shown)"),
        }
    }
}

impl From<String> for Raw {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&Path> for Raw {
    fn from(path: &Path) -> Self {
        Self::Text(path.display().to_string())
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
            toml::Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            toml::Value::Table(_) => Self::Other("a table"),
        }
    }
}

impl fmt::Display for Raw {
    /// On one line whatever the text holds, and cut where it is long.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Enough to recognise any value by, little enough for one line.
        const SHOWN_CHARS: usize = 120;
        const SHOWN_ITEMS: usize = 3;
        match self {
            Self::Text(text) => match text.char_indices().nth(SHOWN_CHARS) {
                Some((end, _)) => write!(out, "{:?}...", &text[..end]),
                None => write!(out, "{text:?}"),
            },
            Self::Integer(number) => number.fmt(out),
            Self::Boolean(flag) => flag.fmt(out),
            Self::List(items) => {
                for (place, item) in items.iter().take(SHOWN_ITEMS).enumerate() {
                    write!(out, "{}{item}", if place > 0 { ", " } else { "[" })?;
                }
                out.write_str(match items.len() {
                    0 => "[]",
                    1..=SHOWN_ITEMS => "]",
                    _ => ", ...]",
                })
            }
            Self::Secret(_) => out.write_str("(not shown)"),
            Self::Other(kind) => out.write_str(kind),
        }
    }
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
        check(&Raw::Text("hush".into()).concealed(), "(not shown)");
        check(&Raw::Integer(5).concealed(), "(not shown)");
        let list = |count| Raw::List(vec![Raw::Integer(1); count]);
        check(&list(0), "[]");
        check(&list(3), "[1, 1, 1]");
        check(&list(4), "[1, 1, 1, ...]");
    }
}
