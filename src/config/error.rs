//! What is wrong with a configuration, in one line for each mistake.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use strsim::levenshtein;

use super::table::TABLE;
use super::table::setting::{flag, variable};

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// The command line.
    Flag,
    /// An environment variable.
    Environment,
    /// The configuration file at this path.
    File(PathBuf),
    /// Default value; no layer sets the key.
    Default,
}

impl Origin {
    /// How `key` is written at this place, for a line that a person can act on.
    fn place(&self, key: &str) -> String {
        match self {
            Self::Flag => format!("flag {}", flag(key)),
            Self::Environment => format!("environment {}", variable(key)),
            Self::File(path) => format!("file {:?} key {key}", path.display().to_string()),
            Self::Default => "default".to_owned(),
        }
    }
}

/// Why a configuration cannot be used: one line for each mistake, in the order in which they were found. A line names
/// the key, the value, where it was set and what would be right; a secret is not shown. The server does not start
/// (exit code 2).
#[derive(Debug, Default, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(|mistake| &*mistake.line).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(Vec<Mistake>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mistake {
    /// The setting that it is about; none: it may be about any.
    about: Option<&'static str>,
    line: String,
}

impl ConfigError {
    /// A known key with an invalid value. `right`: what would be right.
    pub(super) fn invalid(
        key: &'static str,
        origin: &Origin,
        value: &str,
        right: impl Display,
    ) -> Self {
        Self::of(Some(key), format!("{key} = {value} ({}): {right}", origin.place(key)))
    }

    /// The configuration file, named by a flag or the environment, cannot be read or is not TOML.
    pub(super) fn of_file(path: &Path, origin: &Origin, reason: impl Display) -> Self {
        let (shown, place) = (path.display().to_string(), origin.place("config"));
        Self::of(None, format!("config = {shown:?} ({place}): {reason}"))
    }

    /// A variable of the environment that is not Unicode.
    pub(super) fn of_variable(name: &str) -> Self {
        Self::of(None, format!("{name} (environment): the value must be Unicode"))
    }

    /// An unknown key of the file or variable of the environment, with the known one that is meant: mistyped, or named as
    /// in tusd.
    pub(super) fn unknown(written: &str, origin: &Origin) -> Self {
        let (place, spelt, config) = match origin {
            Origin::File(path) => {
                (format!("file {:?}", path.display().to_string()), str::to_owned as Spelling, None)
            }
            Origin::Flag | Origin::Environment | Origin::Default => {
                ("environment".to_owned(), variable as Spelling, Some("config"))
            }
        };
        let keys = TABLE.iter().map(|setting| setting.key).chain(config);
        let (about, hint) = if let Some(key) = of_tusd(written) {
            let ours = spelt(key);
            (Some(key), format!("what tusd calls so is {ours} here (docs/migrate-from-tusd.md)"))
        } else if let Some(key) = nearest(written, keys, spelt) {
            (Some(key), format!("the nearest known one is {}", spelt(key)))
        } else {
            (None, "incoming serve --help lists them all".to_owned())
        };
        let written = written.escape_debug();
        Self::of(about, format!("{written} ({place}): no such setting; {hint}"))
    }

    fn of(about: Option<&'static str>, line: String) -> Self {
        Self(vec![Mistake { about, line }])
    }

    /// All mistakes are reported at once.
    pub(crate) fn add(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// The value, or more mistakes.
    pub(crate) fn note<T>(&mut self, read: Result<T, Self>) -> Option<T> {
        read.map_err(|error| self.add(error)).ok()
    }

    /// Whether a mistake is about `key` or may be: its value is wrong, or it may be written under an unknown
    /// name. Further errors about it may then be duplicates, or wrong.
    pub(crate) fn concerns(&self, key: &str) -> bool {
        self.0.iter().any(|mistake| mistake.about.is_none_or(|about| about == key))
    }

    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// This, if nothing is wrong.
    pub(crate) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_none() { Ok(value) } else { Err(self) }
    }
}

/// The setting for what tusd calls so, spelt as a flag, a key or a variable. The page docs/migrate-from-tusd.md has more.
fn of_tusd(typed: &str) -> Option<&'static str> {
    let word = typed.to_ascii_lowercase().replace('_', "-");
    let word = word.strip_prefix("incoming-").unwrap_or(&word).trim_start_matches('-');
    TUSD.iter().find(|(theirs, _)| *theirs == word).map(|(_, ours)| *ours)
}

/// Flags of tusd 2 whose names do not tell those of ours.
const TUSD: [(&str, &str); 22] = [
    ("base-path", "frontend_url"),
    ("behind-proxy", "trusted_proxies"),
    ("cors-allow-origin", "cors_origins"),
    ("dir", "storage_dir"),
    ("dir-perms", "storage_dir_mode"),
    ("file-perms", "storage_file_mode"),
    ("hooks-http", "create_url"),
    ("hooks-http-forward-headers", "create_forward_headers"),
    ("hooks-http-timeout", "create_timeout"),
    ("host", "listen"),
    ("max-size", "max_upload_size"),
    ("network-timeout", "body_timeout"),
    ("port", "listen"),
    ("request-completion-timeout", "shutdown_grace"),
    ("shutdown-timeout", "shutdown_grace"),
    ("tls-certificate", "tls_cert"),
    ("tls-key", "tls_key"),
    ("unix-sock", "listen"),
    ("upload-dir", "storage_dir"),
    ("verbose", "log"),
    ("expose-metrics", "backend_listen"),
    ("metrics-path", "backend_listen"),
];

/// How a key is written in a layer.
type Spelling = fn(&str) -> String;

/// The key whose spelling is nearest to a mistyped one, by edit distance, the first of several; `None` where
/// most of its letters would have to change.
fn nearest<'a>(
    typed: &str,
    keys: impl Iterator<Item = &'a str>,
    spelt: Spelling,
) -> Option<&'a str> {
    let distances = keys.map(|key| (levenshtein(typed, &spelt(key)), key));
    let (distance, key) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance * 2 < spelt(key).chars().count()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Origin {
        Origin::File("a.toml".into())
    }

    #[test]
    fn speaks_in_one_line() {
        let check = |origin: &Origin, place: &str| {
            let error = ConfigError::invalid("send_ahead", origin, "99", "must be less");
            assert_eq!(error.to_string(), format!("send_ahead = 99 ({place}): must be less"));
        };
        check(&Origin::Flag, "flag --send-ahead");
        check(&Origin::Environment, "environment INCOMING_SEND_AHEAD");
        check(&file(), "file \"a.toml\" key send_ahead");
        check(&Origin::Default, "default");
    }

    #[test]
    fn names_the_known_key_that_is_meant() {
        let check = |origin: &Origin, typed: &str, hint: &str| {
            let told = ConfigError::unknown(typed, origin).to_string();
            let from = if *origin == file() { "file \"a.toml\"" } else { "environment" };
            let expected = format!("{} ({from}): no such setting; {hint}", typed.escape_debug());
            assert_eq!(told, expected);
        };
        let nearest = |origin: &Origin, typed: &str, key: &str| {
            check(origin, typed, &format!("the nearest known one is {key}"));
        };
        nearest(&file(), "chunksize", "chunk_size");
        nearest(&file(), "a\nk", "ack");
        nearest(&file(), "max_chunks_size", "max_chunk_size");
        nearest(&Origin::Environment, "INCOMING_CHUNKSIZE", "INCOMING_CHUNK_SIZE");
        nearest(&Origin::Environment, "INCOMING_listen", "INCOMING_LISTEN");
        nearest(&Origin::Environment, "INCOMING_CONFI", "INCOMING_CONFIG");
        check(&file(), "confi", "incoming serve --help lists them all");
        check(&Origin::Environment, "INCOMING_QQQQQQQQQQ", "incoming serve --help lists them all");
        let tusd = |origin: &Origin, typed: &str, key: &str| {
            let page = "(docs/migrate-from-tusd.md)";
            check(origin, typed, &format!("what tusd calls so is {key} here {page}"));
        };
        let is_key = |key: &str| TABLE.iter().any(|setting| setting.key == key);
        for (theirs, ours) in TUSD {
            let key = theirs.replace('-', "_");
            assert!(is_key(ours) && (key == ours || !is_key(&key)), "{theirs}");
            tusd(&file(), theirs, ours);
        }
        tusd(&Origin::Environment, "INCOMING_UPLOAD_DIR", "INCOMING_STORAGE_DIR");
    }
}
