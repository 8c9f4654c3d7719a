//! What is wrong with a configuration, in one line for each mistake.

use std::fmt;
use std::path::PathBuf;

use strsim::levenshtein;

use super::setting::{flag, variable};
use super::table::TABLE;

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
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

/// Why a configuration cannot be used. Shown as one line for each mistake, which names the key, the value, where it
/// was set and what would be right. The server does not start (exit code 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// A known key with a value that cannot be.
    Impossible {
        /// The key, as in the file.
        key: &'static str,
        /// Where the value came from.
        origin: Origin,
        /// The value, quoted; a secret is not shown.
        value: String,
        /// What would be right.
        right: String,
    },
    /// An unknown key in the file or variable in the environment.
    Unknown {
        /// The unknown key, as written.
        key: String,
        /// The file, or the environment.
        origin: Origin,
        /// The known key or variable that may be meant, if one may.
        hint: Option<Hint>,
    },
    /// The configuration file cannot be read or is not TOML.
    File {
        /// Path of the configuration file.
        path: PathBuf,
        /// Whether a flag or the environment named it.
        origin: Origin,
        /// What is wrong and, where known, in which line.
        reason: String,
    },
    /// Several of these, at least two, in the order in which they were found.
    Several(Vec<Self>),
}

/// What an unknown key or variable may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// The known one that looks most like it.
    Nearest(String),
    /// The one for what tusd calls so.
    OfTusd(String),
}

impl Hint {
    fn name(&self) -> &str {
        match self {
            Self::Nearest(name) | Self::OfTusd(name) => name,
        }
    }
}

impl ConfigError {
    /// The error for an unknown key or variable, with the one of the known ones that is meant: by who comes from tusd, or
    /// mistyped it.
    pub(super) fn unknown(
        key: String,
        origin: Origin,
        known: impl Iterator<Item = String>,
    ) -> Self {
        let known: Vec<String> = known.collect();
        let of_tusd = of_tusd(&key).and_then(|ours| {
            let variable = variable(ours);
            known.iter().find(|known| **known == ours || **known == variable)
        });
        let near = || nearest(&key, known.iter().map(String::as_str));
        let hint = match of_tusd {
            Some(ours) => Some(Hint::OfTusd(ours.clone())),
            None => near().map(|near| Hint::Nearest(near.to_owned())),
        };
        Self::Unknown { key, origin, hint }
    }
}

/// What is wrong so far: who has made several mistakes learns of all of them at once.
#[derive(Debug, Default, Clone)]
pub(super) struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The value, or one mistake more.
    pub(super) fn note<T>(&mut self, read: Result<T, ConfigError>) -> Option<T> {
        match read {
            Ok(value) => return Some(value),
            Err(ConfigError::Several(errors)) => self.0.extend(errors),
            Err(error) => self.0.push(error),
        }
        None
    }

    /// Whether one of them is about `key` or may be: its value is wrong, or it may be written under an unknown
    /// name. Further errors about it may then be duplicates, or wrong.
    pub(super) fn concern(&self, key: &str) -> bool {
        self.0.iter().any(|error| match error {
            ConfigError::Impossible { key: wrong, .. } => *wrong == key,
            ConfigError::Unknown { hint: Some(hint), .. } => {
                hint.name() == key || hint.name() == variable(key)
            }
            ConfigError::Unknown { hint: None, .. } | ConfigError::File { .. } => true,
            ConfigError::Several(errors) => Self(errors.clone()).concern(key),
        })
    }

    /// Puts errors about values in the order of the table, after all others.
    pub(super) fn sort(&mut self) {
        let position = |key| TABLE.iter().position(|setting| setting.key == key);
        self.0.sort_by_key(|error| match error {
            ConfigError::Impossible { key, .. } => position(*key),
            ConfigError::Unknown { .. } | ConfigError::File { .. } | ConfigError::Several(_) => {
                None
            }
        });
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// This, if nothing is wrong.
    pub(super) fn or<T>(mut self, value: T) -> Result<T, ConfigError> {
        match self.0.len() {
            0 => Ok(value),
            1 => Err(self.0.remove(0)),
            _ => Err(ConfigError::Several(self.0)),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Impossible { key, origin, value, right } => {
                write!(out, "{key} = {value} ({}): {right}", origin.place(key))
            }
            Self::Unknown { key, origin, hint } => {
                let place = match origin {
                    Origin::File(path) => format!("file {:?}", path.display().to_string()),
                    Origin::Flag | Origin::Environment | Origin::Default => "environment".into(),
                };
                write!(out, "{} ({place}): ", key.escape_debug())?;
                match hint {
                    Some(Hint::Nearest(nearest)) => {
                        write!(out, "no such setting; the nearest known one is {nearest}")
                    }
                    Some(Hint::OfTusd(ours)) => write!(
                        out,
                        "no such setting; what tusd calls so is {ours} here (docs/migrate-from-tusd.md)"
                    ),
                    None => out.write_str("no such setting; incoming serve --help lists them all"),
                }
            }
            Self::File { path, origin, reason } => {
                let place = origin.place("config");
                write!(out, "config = {:?} ({place}): {reason}", path.display().to_string())
            }
            Self::Several(errors) => {
                for (place, error) in errors.iter().enumerate() {
                    write!(out, "{}{error}", if place > 0 { "\n" } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {}

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

/// The known word nearest to a mistyped one, by edit distance, the first of several; `None` where
/// most of its letters would have to change.
fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let nearest = known.into_iter().min_by_key(|word| levenshtein(typed, word))?;
    (levenshtein(typed, nearest) * 2 < nearest.chars().count()).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest() {
        let known = ["listen", "backend_listen", "chunk_size", "max_chunk_size"];
        fn check(typed: &str, known: &[&str], expected: Option<&str>) {
            assert_eq!(nearest(typed, known.iter().copied()), expected, "{typed}");
        }
        check("chunksize", &known, Some("chunk_size"));
        check("listn", &known, Some("listen"));
        check("max_chunks_size", &known, Some("max_chunk_size"));
        check("bogus", &known, None);
        check("x", &[], None);
    }

    #[test]
    fn speaks_in_one_line() {
        fn check(error: &ConfigError, line: &str) {
            assert_eq!(error.to_string(), line);
        }
        let impossible = |origin| ConfigError::Impossible {
            key: "send_ahead",
            origin,
            value: "99".into(),
            right: "must be from 1 to 64".into(),
        };
        check(
            &impossible(Origin::Flag),
            "send_ahead = 99 (flag --send-ahead): must be from 1 to 64",
        );
        check(
            &impossible(Origin::Environment),
            "send_ahead = 99 (environment INCOMING_SEND_AHEAD): must be from 1 to 64",
        );
        check(
            &impossible(Origin::File("a.toml".into())),
            "send_ahead = 99 (file \"a.toml\" key send_ahead): must be from 1 to 64",
        );
        check(&impossible(Origin::Default), "send_ahead = 99 (default): must be from 1 to 64");
        let unknown = ConfigError::Unknown {
            key: "a\nb".into(),
            origin: Origin::File("a.toml".into()),
            hint: Some(Hint::Nearest("ack".into())),
        };
        check(&unknown, "a\\nb (file \"a.toml\"): no such setting; the nearest known one is ack");
    }

    #[test]
    fn knows_what_tusd_calls_so() {
        let keys = || TABLE.iter().map(|setting| setting.key.to_owned());
        for (theirs, ours) in TUSD {
            assert!(keys().any(|key| key == ours), "{ours}");
            assert!(!keys().any(|key| key == theirs.replace('-', "_") && key != ours), "{theirs}");
            let file = Origin::File("a.toml".into());
            let error = ConfigError::unknown(theirs.into(), file, keys());
            let said = format!("so is {ours} here");
            assert!(error.to_string().contains(&said), "{error}");
        }
        let variables = TABLE.iter().map(|setting| variable(setting.key));
        let typed = "INCOMING_UPLOAD_DIR".to_owned();
        let error = ConfigError::unknown(typed, Origin::Environment, variables).to_string();
        assert!(error.contains("so is INCOMING_STORAGE_DIR here"), "{error}");
        let typo = ConfigError::unknown("max_upload_siz".into(), Origin::Environment, keys());
        assert!(typo.to_string().contains("nearest known one is max_upload_size"), "{typo}");
    }
}
