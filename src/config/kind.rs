//! The kinds of values that settings have: what each is called, how it is read and how it is shown.

use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::object_values;
use super::parse;
use super::raw::Raw;
use super::types::{Ack, CallbackRule, CreateSecret, JournalKind, LogFormat, Secret, StoreKind};
use crate::core::callback::CallbackUrl;
use crate::core::host::HostPort;
use crate::core::name::is_hidden;
use crate::core::signing::UrlSecrets;
use crate::net::{Address, InterimTo};
use ipnet::IpNet;

/// A kind of value. Lists and options of it need no kind of their own ([`Field`]).
pub(super) struct Kind<T> {
    /// What its values are called in help.
    pub(super) name: &'static str,
    pub(super) secret: bool,
    read: Read<T>,
    /// As TOML that reads back to the same; `None` where it is no value.
    show: fn(&T) -> Option<String>,
}

/// Which value, or item of a list, is wrong, and what would be right.
pub(super) type Wrong = (Raw, String);

/// The error says what would be right.
enum Read<T> {
    /// From text alone.
    Text(fn(&str) -> Result<T, String>),
    /// From integers, booleans or secrets too.
    Any(fn(&Raw) -> Result<T, String>),
}

impl<T> Kind<T> {
    const fn text(name: &'static str, read: fn(&str) -> Result<T, String>) -> Self
    where
        T: Display,
    {
        Self { name, secret: false, read: Read::Text(read), show: |value| Some(quoted(value)) }
    }

    const fn any(
        name: &'static str,
        read: fn(&Raw) -> Result<T, String>,
        show: fn(&T) -> Option<String>,
    ) -> Self {
        Self { name, secret: false, read: Read::Any(read), show }
    }

    /// Reads one value.
    fn read(&self, raw: &Raw) -> Result<T, Wrong> {
        let read = match (&self.read, raw) {
            (Read::Any(read), raw) => read(raw),
            (Read::Text(read), Raw::Text(text)) => read(text),
            // What would be right is the same as for the empty text.
            (Read::Text(read), _) => read("").and(Err("must be a string".into())),
        };
        read.map_err(|right| (raw.clone(), right))
    }
}

pub(super) const ADDRESS: Kind<Address> = Kind::text("ADDRESS", parse::address);
pub(super) const HOST: Kind<HostPort> = Kind::text("HOST", parse::host_port);
pub(super) const HTTPS_URL: Kind<String> = Kind::text("URL", parse::https_url);
pub(super) const HTTP_URL: Kind<String> = Kind::text("URL", parse::http_url);
pub(super) const CALLBACK_URL: Kind<CallbackUrl> = Kind {
    name: "URL",
    secret: false,
    read: Read::Text(parse::callback_url),
    show: |url| Some(quoted(url.as_str())),
};
pub(super) const DOMAIN: Kind<String> = Kind::text("NAME", parse::domain);
pub(super) const HOST_NAME: Kind<String> = Kind::text("NAME", parse::host_name);
pub(super) const HEADER: Kind<String> = Kind::text("NAME", parse::forward_header);
pub(super) const MAIL: Kind<String> = Kind::text("MAIL", parse::mail);
pub(super) const NETWORK: Kind<IpNet> = Kind::text("CIDR", parse::network);
pub(super) const CALLBACK_RULE: Kind<CallbackRule> = Kind::text("HOST", parse::callback_rule);
pub(super) const ORIGIN: Kind<String> = Kind::text("ORIGIN", parse::origin);
pub(super) const ACK: Kind<Ack> = Kind::text("ACK", parse::ack);
pub(super) const STORE: Kind<StoreKind> = Kind::text("STORE", object_values::store);
pub(super) const JOURNAL: Kind<JournalKind> = Kind::text("JOURNAL", object_values::journal);
pub(super) const BUCKET: Kind<String> = Kind::text("NAME", object_values::bucket);
pub(super) const WORD: Kind<String> = Kind::text("NAME", object_values::word);
pub(super) const PREFIX: Kind<String> = Kind::text("PREFIX", object_values::prefix);
pub(super) const ENDPOINT: Kind<String> = Kind::text("URL", object_values::endpoint);
pub(super) const INTERIM_TO: Kind<InterimTo> = Kind::text("WHEN", parse::interim_to);
pub(super) const FILTER: Kind<String> = Kind::text("FILTER", parse::log_filter);
pub(super) const FORMAT: Kind<LogFormat> = Kind::text("FORMAT", parse::log_format);
pub(super) const PATH: Kind<PathBuf> = Kind {
    name: "PATH",
    secret: false,
    read: Read::Text(parse::path),
    show: |path| Some(quoted(Path::display(path))),
};
pub(super) const GROUP: Kind<String> = Kind::any("GROUP", parse::name, |name| Some(quoted(name)));
/// `true`, `false`, or the flag alone.
pub(super) const BOOL: Kind<bool> = Kind::any("BOOL", parse::flag, plain);
pub(super) const SIZE: Kind<u64> = Kind::any("SIZE", parse::size, show_size);
pub(super) const POSITIVE_SIZE: Kind<u64> = Kind::any("SIZE", parse::positive_size, show_size);
/// Bytes per second.
pub(super) const RATE: Kind<u64> = Kind::any("SIZE", parse::rate, show_size);
/// A size from 1, or `none`.
pub(super) const LIMIT: Kind<Option<u64>> = Kind::any("SIZE", parse::limit, |most| {
    most.map_or_else(|| Some(quoted("none")), |most| show_size(&most))
});
pub(super) const TIME: Kind<Duration> = Kind::any("TIME", parse::duration, show_time);
pub(super) const POSITIVE_TIME: Kind<Duration> =
    Kind::any("TIME", parse::positive_duration, show_time);
/// A time, zero too, or `none`.
pub(super) const OPTIONAL_TIME: Kind<Option<Duration>> =
    Kind::any("TIME", parse::optional_duration, |time| time.as_ref().and_then(show_time));
/// The server reads and writes its files.
pub(super) const FILE_MODE: Kind<u32> = Kind::any("MODE", parse::mode::<0o600>, show_mode);
/// It enters and lists their directory.
pub(super) const DIR_MODE: Kind<u32> = Kind::any("MODE", parse::mode::<0o700>, show_mode);
pub(super) const WORKERS: Kind<usize> = Kind::any("COUNT", parse::workers, plain);
pub(super) const TOKEN: Kind<Secret> = secret("TOKEN");
pub(super) const SECRET: Kind<Secret> = secret("SECRET");
pub(super) const CREATE_SECRET: Kind<CreateSecret> = Kind {
    name: "SECRET",
    secret: true,
    read: Read::Any(parse::create_secret),
    show: |_| Some(String::new()),
};
pub(super) const URL_SECRETS: Kind<UrlSecrets> = Kind {
    name: "URL SECRET",
    secret: true,
    read: Read::Any(parse::url_secrets),
    show: |_| Some(String::new()),
};

/// A whole number within bounds.
pub(super) const fn count<N, const LEAST: u64, const MOST: u64>() -> Kind<N>
where
    N: TryFrom<u64> + Display,
{
    Kind::any("COUNT", parse::count::<N, LEAST, MOST>, plain)
}

const fn secret(name: &'static str) -> Kind<Secret> {
    Kind { name, secret: true, read: Read::Any(parse::secret), show: |_| Some(String::new()) }
}

/// A field of the settings: a value, a list or an option of a kind.
pub(super) trait Field<T>: Sized {
    /// Whether values are separated by commas or repeated.
    const LIST: bool = false;
    /// The field without a value, where that is its default.
    fn absent(_: &str) -> Option<Self> {
        None
    }
    fn read(kind: &Kind<T>, raw: &Raw) -> Result<Self, Wrong>;
    fn show(&self, kind: &Kind<T>) -> Option<String>;
}

impl<T> Field<T> for T {
    fn read(kind: &Kind<T>, raw: &Raw) -> Result<Self, Wrong> {
        kind.read(raw)
    }

    fn show(&self, kind: &Kind<T>) -> Option<String> {
        (kind.show)(self)
    }
}

impl<T> Field<T> for Option<T> {
    fn absent(default: &str) -> Option<Self> {
        (default == "none").then_some(None)
    }

    fn read(kind: &Kind<T>, raw: &Raw) -> Result<Self, Wrong> {
        kind.read(raw).map(Some)
    }

    fn show(&self, kind: &Kind<T>) -> Option<String> {
        self.as_ref().and_then(|value| (kind.show)(value))
    }
}

impl<T> Field<T> for Vec<T> {
    const LIST: bool = true;

    fn absent(default: &str) -> Option<Self> {
        (default == "none").then(Self::new)
    }

    fn read(kind: &Kind<T>, raw: &Raw) -> Result<Self, Wrong> {
        let mut values = Self::new();
        for item in raw.items() {
            let (text, part_of): (&str, fn(String) -> Raw) = match (item, &kind.read) {
                (Raw::Text(text), _) => (text, Raw::Text),
                (Raw::Secret(text), _) => (text.expose(), |text| Raw::Text(text).concealed()),
                (Raw::Integer(_), Read::Any(_)) => {
                    values.push(kind.read(item)?);
                    continue;
                }
                _ => return Err((item.clone(), "must be a list of strings".into())),
            };
            for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                values.push(kind.read(&part_of(part.into()))?);
            }
        }
        Ok(values)
    }

    fn show(&self, kind: &Kind<T>) -> Option<String> {
        let items: Vec<String> = self.iter().filter_map(kind.show).collect();
        if kind.secret && items.is_empty() {
            return None;
        }
        Some(format!("[{}]", items.join(", ")))
    }
}

fn plain<T: Display>(value: &T) -> Option<String> {
    Some(value.to_string())
}

fn show_size(bytes: &u64) -> Option<String> {
    Some(quoted(size(*bytes)))
}

fn show_time(time: &Duration) -> Option<String> {
    Some(quoted(duration(*time)))
}

fn show_mode(mode: &u32) -> Option<String> {
    Some(quoted(format_args!("{mode:04o}")))
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
/// A size in the largest unit that holds it whole.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 5] =
        [("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// A duration in whole days, hours, minutes and so on, without humantime's months and years, whose
/// lengths vary.
pub(super) fn duration(duration: Duration) -> String {
    const UNITS: [(&str, u128); 6] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("ns", 1),
    ];
    let mut rest = duration.as_nanos();
    // 24h is said as the hours it was written in; only several days are said as days.
    let days = rest >= 2 * UNITS[0].1;
    let mut parts = Vec::new();
    for (name, unit) in UNITS.iter().skip(usize::from(!days)) {
        if rest >= *unit {
            parts.push(format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if parts.is_empty() { "0".into() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_sizes_and_durations_briefly() {
        fn check(shown: &str, expected: &str) {
            assert_eq!(shown, expected);
        }
        check(&size(8 << 20), "8MiB");
        check(&size(1000), "1000");
        check(&size(0), "0");
        check(&duration(Duration::from_secs(12 * 3600)), "12h");
        check(&duration(Duration::from_secs(24 * 3600)), "24h");
        check(&duration(Duration::from_secs(7 * 24 * 3600)), "7d");
        check(&duration(Duration::from_millis(90_500)), "1m 30s 500ms");
        check(&duration(Duration::ZERO), "0");
    }
}
