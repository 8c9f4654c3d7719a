//! The kinds of values that settings have: what each is called, how it is read and how it is shown. A kind is one
//! constant. Here are those of one word or number; `texts.rs` has hosts, networks, URLs, names and secrets, and
//! `units.rs` has sizes and durations.

use std::borrow::Cow;
use std::fmt::{Display, Write};
use std::slice;
use std::thread;

use clap::ValueEnum;
use toml::Value;

use super::types::{Ack, JournalKind, LogFormat, StoreKind};
use crate::core::name::is_hidden;
use crate::net::InterimTo;

/// A kind of value. Lists and options of it need no kind of their own ([`Field`]).
pub(super) struct Kind<T, E = &'static str> {
    /// What its values are called in help.
    pub(super) name: &'static str,
    pub(super) secret: bool,
    /// Whether the file may have numbers, `true` and `false` without quotes.
    pub(super) bare: bool,
    /// Whether `none` may be written for no value. The default of an option or a list may be `none` with any kind.
    pub(super) none: bool,
    /// From its text; the error says what would be right. No kind takes the empty text.
    pub(super) read: fn(&str) -> Result<T, E>,
    /// As TOML that reads back to the same; of a secret nothing.
    pub(super) show: fn(&T) -> String,
}

/// Which value, or item of a list, is wrong, and what would be right.
pub(super) type Wrong = (Value, String);

pub(super) const ACK: Kind<Ack, String> = word("ACK");
pub(super) const STORE: Kind<StoreKind, String> = word("STORE");
pub(super) const JOURNAL: Kind<JournalKind, String> = word("JOURNAL");
pub(super) const INTERIM_TO: Kind<InterimTo, String> = word("WHEN");
pub(super) const LOG_FORMAT: Kind<LogFormat, String> = word("FORMAT");

/// `true`, `false`, or the flag alone.
pub(super) const BOOL: Kind<bool> =
    bare("BOOL", bool::to_string, |text| text.parse().map_err(|_| "must be true or false"));

/// A number of threads; the words of the default are the cores that the process may use.
pub(super) const WORKERS: Kind<usize, String> =
    bare("COUNT", usize::to_string, |text| match text {
        "one per CPU core" => Ok(thread::available_parallelism().map_or(1, usize::from).min(1024)),
        number => (count::<usize, 1, 1024>().read)(number),
    });

/// A whole number within bounds.
pub(super) const fn count<N, const LEAST: u64, const MOST: u64>() -> Kind<N, String>
where
    N: TryFrom<u64> + Display,
{
    bare("COUNT", N::to_string, |text| {
        let number = text.parse::<u64>().ok().filter(|number| (LEAST..=MOST).contains(number));
        let number = number.and_then(|number| N::try_from(number).ok());
        number.ok_or_else(|| format!("must be a whole number from {LEAST} to {MOST}"))
    })
}

/// The server reads and writes its files.
pub(super) const FILE_MODE: Kind<u32, String> = mode::<0o600>();
/// It enters and lists their directory.
pub(super) const DIR_MODE: Kind<u32, String> = mode::<0o700>();

/// A file mode whose owner bits hold `OWNER`, without which the server itself could not work.
const fn mode<const OWNER: u32>() -> Kind<u32, String> {
    quotes("MODE", show_mode, |text| {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let octal = digits.bytes().all(|byte| byte.is_ascii_digit());
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if octal && mode <= 0o777 => match mode & OWNER == OWNER {
                true => Ok(mode),
                false => Err(format!("must give the server access: at least {OWNER:04o}")),
            },
            // A bare integer is none: 640 and 0o640 look alike and are not.
            _ => Err("must be a string of octal digits up to 0777, such as \"0640\"".into()),
        }
    })
}

fn show_mode(mode: &u32) -> String {
    quoted(format_args!("{mode:04o}"))
}

/// One of the words of a type.
const fn word<T: ValueEnum>(name: &'static str) -> Kind<T, String> {
    quotes(name, show_word, |text| {
        T::from_str(text, false).map_err(|_| {
            let words: Vec<String> = T::value_variants().iter().map(word_of).collect();
            format!("must be one of {}", words.join(", "))
        })
    })
}

fn show_word<T: ValueEnum>(word: &T) -> String {
    quoted(word_of(word))
}

/// The word for a value.
pub(crate) fn word_of<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().map(|word| word.get_name().to_owned()).unwrap_or_default()
}

/// A kind that the file may have without quotes.
pub(super) const fn bare<T, E>(
    name: &'static str,
    show: fn(&T) -> String,
    read: fn(&str) -> Result<T, E>,
) -> Kind<T, E> {
    Kind { bare: true, ..quotes(name, show, read) }
}

/// A kind that the file has in quotes.
pub(super) const fn quotes<T, E>(
    name: &'static str,
    show: fn(&T) -> String,
    read: fn(&str) -> Result<T, E>,
) -> Kind<T, E> {
    Kind { name, secret: false, bare: false, none: false, read, show }
}

impl<T, E: Display> Kind<T, E> {
    /// Reads one value.
    fn read(&self, value: &Value) -> Result<T, Wrong> {
        let text = match value {
            Value::String(text) => Cow::Borrowed(&**text),
            Value::Integer(number) if self.bare => number.to_string().into(),
            Value::Boolean(flag) if self.bare => flag.to_string().into(),
            // What would be right is the same as for no text at all.
            _ => "".into(),
        };
        let none = if self.none { ", or none" } else { "" };
        (self.read)(&text).map_err(|right| (value.clone(), format!("{right}{none}")))
    }
}

/// A field of the settings: a value, a list or an option of a kind.
pub(super) trait Field<T>: Sized {
    /// Whether values are separated by commas or repeated.
    const LIST: bool = false;
    /// The field without a value, where that is its default.
    fn absent(_: &str) -> Option<Self> {
        None
    }
    fn read<E: Display>(kind: &Kind<T, E>, value: &Value) -> Result<Self, Wrong>;
    fn show<E>(&self, kind: &Kind<T, E>) -> Option<String>;
}

impl<T> Field<T> for T {
    fn read<E: Display>(kind: &Kind<T, E>, value: &Value) -> Result<Self, Wrong> {
        kind.read(value)
    }

    fn show<E>(&self, kind: &Kind<T, E>) -> Option<String> {
        Some((kind.show)(self))
    }
}

impl<T> Field<T> for Option<T> {
    fn absent(default: &str) -> Option<Self> {
        (default == "none").then_some(None)
    }

    fn read<E: Display>(kind: &Kind<T, E>, value: &Value) -> Result<Self, Wrong> {
        match value.as_str() {
            Some("none") if kind.none => Ok(None),
            Some(_) | None => kind.read(value).map(Some),
        }
    }

    fn show<E>(&self, kind: &Kind<T, E>) -> Option<String> {
        let none = || kind.none.then(|| quoted("none"));
        self.as_ref().map(kind.show).or_else(none)
    }
}

impl<T> Field<T> for Vec<T> {
    const LIST: bool = true;

    fn absent(default: &str) -> Option<Self> {
        (default == "none").then(Self::new)
    }

    fn read<E: Display>(kind: &Kind<T, E>, value: &Value) -> Result<Self, Wrong> {
        let mut values = Self::new();
        for item in value.as_array().map_or_else(|| slice::from_ref(value), Vec::as_slice) {
            match item {
                Value::String(text) => {
                    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                    for part in parts {
                        values.push(kind.read(&part.into())?);
                    }
                }
                item => values.push(kind.read(item)?),
            }
        }
        Ok(values)
    }

    fn show<E>(&self, kind: &Kind<T, E>) -> Option<String> {
        let items: Vec<String> = self.iter().map(kind.show).collect();
        let none = kind.secret && items.is_empty();
        (!none).then(|| format!("[{}]", items.join(", ")))
    }
}

/// A TOML basic string.
pub(super) fn quoted(value: impl Display) -> String {
    let mut out = String::from('"');
    for letter in value.to_string().chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if is_hidden(letter) => {
                write!(out, "\\u{:04x}", u32::from(letter)).expect("a String takes any text");
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}
