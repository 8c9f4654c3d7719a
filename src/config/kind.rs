//! The kinds of values that settings have: what each is called, how it is read and how it is shown.

use std::borrow::Cow;
use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};
use std::slice;
use std::time::Duration;

use clap::ValueEnum;
use ipnet::IpNet;
use toml::Value;

use super::parse;
use super::types::{Ack, CallbackRule, CreateSecret, JournalKind, LogFormat, Secret, StoreKind};
use super::units::{self, MOST_BYTES};
use crate::core::callback::CallbackUrl;
use crate::core::host::HostPort;
use crate::core::name::is_hidden;
use crate::core::signing::UrlSecrets;
use crate::net::{Address, InterimTo};

/// A kind of value. Lists and options of it need no kind of their own ([`Field`]).
pub(super) struct Kind<T> {
    /// What its values are called in help.
    pub(super) name: &'static str,
    pub(super) secret: bool,
    /// Whether the file may have numbers, `true` and `false` without quotes.
    bare: bool,
    /// Whether `none` says that there is no value.
    none: bool,
    /// From its text; the error says what would be right. No kind takes the empty text.
    read: fn(&str) -> Result<T, String>,
    /// As TOML that reads back to the same; of a secret nothing.
    show: fn(&T) -> String,
}

/// Which value, or item of a list, is wrong, and what would be right.
pub(super) type Wrong = (Value, String);

pub(super) const ADDRESS: Kind<Address> = text("ADDRESS", parse::address);
pub(super) const HOST: Kind<HostPort> = text("HOST", parse::host_port);
pub(super) const HTTPS_URL: Kind<String> = text("URL", parse::https_url);
pub(super) const HTTP_URL: Kind<String> = text("URL", parse::http_url);
pub(super) const ENDPOINT: Kind<String> = text("URL", parse::endpoint);
pub(super) const CALLBACK_URL: Kind<CallbackUrl> =
    quotes("URL", parse::callback_url, |url| quoted(url.as_str()));
pub(super) const DOMAIN: Kind<String> = text("NAME", parse::domain);
pub(super) const HOST_NAME: Kind<String> = text("NAME", parse::host_name);
pub(super) const HEADER: Kind<String> = text("NAME", parse::forward_header);
pub(super) const MAIL: Kind<String> = text("MAIL", parse::mail);
pub(super) const NETWORK: Kind<IpNet> = text("CIDR", parse::network);
pub(super) const CALLBACK_RULE: Kind<CallbackRule> = text("HOST", parse::callback_rule);
pub(super) const ORIGIN: Kind<String> = text("ORIGIN", parse::origin);
pub(super) const BUCKET: Kind<String> = text("NAME", parse::bucket);
pub(super) const VISIBLE: Kind<String> = text("NAME", parse::visible);
pub(super) const PREFIX: Kind<String> = text("PREFIX", parse::prefix);
pub(super) const FILTER: Kind<String> = text("FILTER", parse::log_filter);
pub(super) const PATH: Kind<PathBuf> =
    quotes("PATH", parse::path, |path| quoted(Path::display(path)));
/// A name or a number.
pub(super) const GROUP: Kind<String> = Kind { bare: true, ..text("GROUP", parse::group) };

pub(super) const ACK: Kind<Ack> = word("ACK");
pub(super) const STORE: Kind<StoreKind> = word("STORE");
pub(super) const JOURNAL: Kind<JournalKind> = word("JOURNAL");
pub(super) const INTERIM_TO: Kind<InterimTo> = word("WHEN");
pub(super) const FORMAT: Kind<LogFormat> = word("FORMAT");

/// `true`, `false`, or the flag alone.
pub(super) const BOOL: Kind<bool> = bare("BOOL", parse::flag, bool::to_string);
pub(super) const WORKERS: Kind<usize> = bare("COUNT", parse::workers, usize::to_string);
pub(super) const SIZE: Kind<u64> = size::<0, MOST_BYTES>();
pub(super) const POSITIVE_SIZE: Kind<u64> = size::<1, MOST_BYTES>();
/// A size from 1, or `none`.
pub(super) const LIMIT: Kind<u64> = Kind { none: true, ..POSITIVE_SIZE };
/// Bytes per second.
pub(super) const RATE: Kind<u64> = bare("SIZE", units::rate, show_size);
pub(super) const TIME: Kind<Duration> = bare("TIME", units::duration_text, show_time);
pub(super) const POSITIVE_TIME: Kind<Duration> = bare("TIME", units::positive_duration, show_time);
/// Whole seconds up to a bound, or `none`.
pub(super) const fn seconds_up_to<const MOST: u64>() -> Kind<Duration> {
    Kind { none: true, ..bare("TIME", units::seconds_up_to::<MOST>, show_time) }
}
/// A time, zero too, or `none`.
pub(super) const OPTIONAL_TIME: Kind<Duration> = Kind { none: true, ..TIME };
/// The server reads and writes its files.
pub(super) const FILE_MODE: Kind<u32> = quotes("MODE", parse::mode::<0o600>, show_mode);
/// It enters and lists their directory.
pub(super) const DIR_MODE: Kind<u32> = quotes("MODE", parse::mode::<0o700>, show_mode);

pub(super) const TOKEN: Kind<Secret> = secret("TOKEN", parse::secret);
pub(super) const SECRET: Kind<Secret> = secret("SECRET", parse::secret);
pub(super) const CREATE_SECRET: Kind<CreateSecret> = secret("SECRET", parse::create_secret);
pub(super) const URL_SECRETS: Kind<UrlSecrets> = secret("URL SECRET", parse::url_secrets);

/// A whole number within bounds.
pub(super) const fn count<N, const LEAST: u64, const MOST: u64>() -> Kind<N>
where
    N: TryFrom<u64> + Display,
{
    bare("COUNT", parse::count::<N, LEAST, MOST>, N::to_string)
}

/// A size within bounds.
pub(super) const fn size<const LEAST: u64, const MOST: u64>() -> Kind<u64> {
    bare("SIZE", units::size_within::<LEAST, MOST>, show_size)
}

const fn text<T: Display>(name: &'static str, read: fn(&str) -> Result<T, String>) -> Kind<T> {
    quotes(name, read, |value| quoted(value))
}

/// One of the words of a type.
const fn word<T: ValueEnum>(name: &'static str) -> Kind<T> {
    quotes(name, parse::word, |value| quoted(parse::word_of(value)))
}

const fn secret<T>(name: &'static str, read: fn(&str) -> Result<T, String>) -> Kind<T> {
    Kind { secret: true, ..quotes(name, read, |_| String::new()) }
}

const fn bare<T>(
    name: &'static str,
    read: fn(&str) -> Result<T, String>,
    show: fn(&T) -> String,
) -> Kind<T> {
    Kind { bare: true, ..quotes(name, read, show) }
}

const fn quotes<T>(
    name: &'static str,
    read: fn(&str) -> Result<T, String>,
    show: fn(&T) -> String,
) -> Kind<T> {
    Kind { name, secret: false, bare: false, none: false, read, show }
}

impl<T> Kind<T> {
    /// Reads one value.
    fn read(&self, value: &Value) -> Result<T, Wrong> {
        let text = match value {
            Value::String(text) => Cow::Borrowed(&**text),
            Value::Integer(number) if self.bare => number.to_string().into(),
            Value::Boolean(flag) if self.bare => flag.to_string().into(),
            // What would be right is the same as for no text at all.
            _ => "".into(),
        };
        (self.read)(&text).map_err(|mut right| {
            if self.none {
                right.push_str(", or none");
            }
            (value.clone(), right)
        })
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
    fn read(kind: &Kind<T>, value: &Value) -> Result<Self, Wrong>;
    fn show(&self, kind: &Kind<T>) -> Option<String>;
}

impl<T> Field<T> for T {
    fn read(kind: &Kind<T>, value: &Value) -> Result<Self, Wrong> {
        kind.read(value)
    }

    fn show(&self, kind: &Kind<T>) -> Option<String> {
        Some((kind.show)(self))
    }
}

impl<T> Field<T> for Option<T> {
    fn absent(default: &str) -> Option<Self> {
        (default == "none").then_some(None)
    }

    fn read(kind: &Kind<T>, value: &Value) -> Result<Self, Wrong> {
        match value.as_str() {
            Some("none") if kind.none => Ok(None),
            Some(_) | None => kind.read(value).map(Some),
        }
    }

    fn show(&self, kind: &Kind<T>) -> Option<String> {
        let none = || kind.none.then(|| quoted("none"));
        self.as_ref().map(kind.show).or_else(none)
    }
}

impl<T> Field<T> for Vec<T> {
    const LIST: bool = true;

    fn absent(default: &str) -> Option<Self> {
        (default == "none").then(Self::new)
    }

    fn read(kind: &Kind<T>, value: &Value) -> Result<Self, Wrong> {
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

    fn show(&self, kind: &Kind<T>) -> Option<String> {
        let items: Vec<String> = self.iter().map(kind.show).collect();
        let none = kind.secret && items.is_empty();
        (!none).then(|| format!("[{}]", items.join(", ")))
    }
}

fn show_size(bytes: &u64) -> String {
    quoted(units::size(*bytes))
}

fn show_time(time: &Duration) -> String {
    quoted(units::duration(*time))
}

fn show_mode(mode: &u32) -> String {
    quoted(format_args!("{mode:04o}"))
}

/// A TOML basic string.
fn quoted(value: impl Display) -> String {
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
