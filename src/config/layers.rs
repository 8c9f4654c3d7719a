//! Flags over environment over file: who wins for each key, and who said it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::{ConfigError, ConfigErrors, Origin, nearest, variable};
use super::file::from_file;
use super::raw::Raw;
use super::raw_settings::{RawSettings, keys};
use super::secret::Secret;

/// What the environment variables of settings begin with.
const PREFIX: &str = "INCOMING_";
/// The variable that names the file; not a setting itself.
const CONFIG: &str = "INCOMING_CONFIG";

/// `setting!(layers, chunk_size)`: the winning value of a key. A macro, so that the compiler checks
/// that key and field are the same word.
macro_rules! setting {
    ($layers:expr, $key:ident) => {
        $layers.pick(stringify!($key), |layer| layer.$key.as_ref())
    };
}
pub(super) use setting;

/// The three layers of settings, parsed but not validated.
#[derive(Debug, Default, Clone)]
pub struct Layers {
    flags: RawSettings,
    environment: RawSettings,
    file: Option<(PathBuf, RawSettings)>,
    /// Unknown keys and variables, reported together with the other errors.
    pub(super) mistakes: ConfigErrors,
}

impl Layers {
    /// Puts the layers together: `flags` and `--config` as parsed, the environment as given (tests
    /// give their own), and the file that `--config` or else `INCOMING_CONFIG` names. Without
    /// either no file is read.
    ///
    /// Unknown `INCOMING_` variables and file keys, and variables that are not Unicode, are mistakes
    /// that reading the values tells, beside what is wrong with those.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML, and then what was wrong before it: each with a line
    /// of its own.
    pub fn gather(
        flags: RawSettings,
        config: Option<PathBuf>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut found = ConfigErrors::default();
        let (environment, named) = from_environment(variables, &mut found);
        let config = match (config, named) {
            (Some(path), _) => Some((path, Origin::Flag)),
            (None, Some(path)) => Some((path, Origin::Environment)),
            (None, None) => None,
        };
        let file = match config {
            Some((path, origin)) => match from_file(&path, &origin) {
                Ok((layer, mistakes)) => {
                    found.note(mistakes.or(()));
                    Some((path, layer))
                }
                // Without the file the combined settings cannot be validated.
                Err(error) => {
                    found.note::<()>(Err(error));
                    return found.or(Self::default());
                }
            },
            None => None,
        };
        Ok(Self { flags, environment, file, mistakes: found })
    }

    /// Whether any layer sets the address of the backend listener.
    #[must_use]
    pub fn name_backend(&self) -> bool {
        setting!(self, backend_listen).value.is_some()
    }

    /// A file that holds this text, alone.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn of_text(text: &str) -> Result<Self, ConfigError> {
        let path = PathBuf::from("incoming.toml");
        let (layer, mistakes) = super::file::from_text(text, &path, &Origin::Flag)?;
        Ok(Self { file: Some((path, layer)), mistakes, ..Self::default() })
    }

    /// The file that was read, and whether there is a secret in it.
    pub(super) fn written(&self) -> Option<(&Path, bool)> {
        let (path, layer) = self.file.as_ref()?;
        Some((path, layer.backend_token.is_some() || layer.create_secret.is_some()))
    }

    /// The winning value of one key and its origin. Called through `given!`.
    pub(super) fn pick<T>(
        &self,
        key: &'static str,
        of: impl Fn(&RawSettings) -> Option<&T>,
    ) -> Setting<'_, T> {
        let file = self.file.as_ref();
        let (origin, value) = if let Some(value) = of(&self.flags) {
            (Origin::Flag, Some(value))
        } else if let Some(value) = of(&self.environment) {
            (Origin::Environment, Some(value))
        } else if let Some((value, path)) = file.and_then(|(path, layer)| Some((of(layer)?, path)))
        {
            (Origin::File(path.clone()), Some(value))
        } else {
            (Origin::Default, None)
        };
        Setting { key, origin, value }
    }
}

/// The effective value of one key, if any layer sets it.
pub(super) struct Setting<'a, T> {
    /// The key, as in the file.
    pub(super) key: &'static str,
    /// Layer that the value comes from.
    pub(super) origin: Origin,
    /// The value as written; `None` for the default.
    pub(super) value: Option<&'a T>,
}

impl<T> Setting<'_, T> {
    /// The error for this key: `value` as shown to people, `right` what would be right.
    pub(super) fn wrong(&self, value: &dyn fmt::Display, right: impl Into<String>) -> ConfigError {
        ConfigError::Impossible {
            key: self.key,
            origin: self.origin.clone(),
            value: value.to_string(),
            right: right.into(),
        }
    }
}

impl Setting<'_, Raw> {
    /// Reads the value, if there is one, into `place`, which holds the default.
    pub(super) fn into<V>(
        self,
        place: &mut V,
        read: impl Fn(&Raw) -> Result<V, String>,
    ) -> Result<(), ConfigError> {
        if let Some(raw) = self.value {
            *place = read(raw).map_err(|right| self.wrong(raw, right))?;
        }
        Ok(())
    }
}

impl Setting<'_, Vec<Raw>> {
    /// Reads a list, each item of which may be several separated by commas, into `place`.
    pub(super) fn into_list<V>(
        self,
        place: &mut Vec<V>,
        read: impl Fn(&str) -> Result<V, String>,
    ) -> Result<(), ConfigError> {
        self.read_list(place, read).map(drop)
    }

    /// As [`Self::into_list`], for who has more to say of the value.
    pub(super) fn read_list<V>(
        self,
        place: &mut Vec<V>,
        read: impl Fn(&str) -> Result<V, String>,
    ) -> Result<Self, ConfigError> {
        let Some(items) = self.value else { return Ok(self) };
        let mut values = Vec::new();
        for item in items {
            let Raw::Text(text) = item else {
                return Err(self.wrong(item, "must be a list of strings"));
            };
            for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                let value = read(part);
                values.push(value.map_err(|right| self.wrong(&Raw::Text(part.into()), right))?);
            }
        }
        *place = values;
        Ok(self)
    }
}

impl Setting<'_, Secret> {
    /// Takes the secret. It has to travel in an `Authorization` header, so it must be visible
    /// ASCII; an empty one would protect nothing and most likely is a variable left unset.
    pub(super) fn into_secret(self, place: &mut Option<Secret>) -> Result<(), ConfigError> {
        if let Some(secret) = self.value {
            let text = secret.expose();
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                let right = "must be visible ASCII characters, at least one, no spaces";
                return Err(self.wrong(&"(not shown)", right));
            }
            *place = Some(secret.clone());
        }
        Ok(())
    }
}

/// The environment's layer and the file that `INCOMING_CONFIG` names.
fn from_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    found: &mut ConfigErrors,
) -> (RawSettings, Option<PathBuf>) {
    let keys = keys();
    let mut table = toml::Table::new();
    let mut config = None;
    let mut ours: Vec<(String, OsString)> = variables
        .into_iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    // In order of name, so that of several errors the same one is shown each time.
    ours.sort();
    for (name, value) in ours {
        if name == CONFIG {
            config = Some(PathBuf::from(value));
            continue;
        }
        let Some(key) = keys.iter().find(|key| variable(key) == name) else {
            let known: Vec<String> = keys.iter().map(|key| variable(key)).collect();
            let known = known.iter().map(String::as_str).chain([CONFIG]);
            let nearest = nearest(&name, known).map(str::to_owned);
            let origin = Origin::Environment;
            found.note::<()>(Err(ConfigError::Unknown { key: name, origin, nearest }));
            continue;
        };
        let Some(value) = value.to_str() else {
            found.note::<()>(Err(ConfigError::File {
                path: PathBuf::from(name),
                origin: Origin::Environment,
                reason: "the value of this variable must be Unicode".into(),
            }));
            continue;
        };
        table.insert(key.clone(), toml::Value::String(value.to_owned()));
    }
    let layer = RawSettings::deserialize(table).expect("known keys take any text");
    (layer, config)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn written(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        fn check(flag: Option<&str>, env: Option<&str>, file: Option<&str>, wins: Option<&str>) {
            let line = file.map(|value| format!("listen = \"{value}\"")).unwrap_or_default();
            let config = written(&line);
            let flags = RawSettings {
                listen: flag.map(|it| Raw::Text(it.into())),
                ..RawSettings::default()
            };
            let env: Vec<_> = env.map(|it| ("INCOMING_LISTEN", it)).into_iter().collect();
            let path = Some(config.path().to_owned());
            let layers = Layers::gather(flags, path, variables(&env)).unwrap();
            let wins = wins.map(|it| Raw::Text(it.into()));
            assert_eq!(setting!(layers, listen).value, wins.as_ref());
        }
        check(Some("a"), Some("b"), Some("c"), Some("a"));
        check(None, Some("b"), Some("c"), Some("b"));
        check(None, None, Some("c"), Some("c"));
        check(None, None, None, None);
        check(Some("a"), None, Some("c"), Some("a"));
    }

    fn wrong(variables: Vec<(OsString, OsString)>) -> String {
        let layers = Layers::gather(RawSettings::default(), None, variables);
        layers.and_then(|layers| layers.mistakes.or(())).unwrap_err().to_string()
    }

    #[test]
    fn environment_is_read_strictly() {
        fn check(pairs: &[(&str, &str)], line: &str) {
            assert_eq!(wrong(variables(pairs)), line);
        }
        check(
            &[("INCOMING_CHUNKSIZE", "1")],
            "INCOMING_CHUNKSIZE (environment): no such setting; \
             the nearest known one is INCOMING_CHUNK_SIZE",
        );
        check(
            &[("INCOMING_listen", "1")],
            "INCOMING_listen (environment): no such setting; \
             the nearest known one is INCOMING_LISTEN",
        );
        check(
            &[("INCOMING_CONFIG", "/nowhere/x.toml")],
            "config = \"/nowhere/x.toml\" (environment INCOMING_CONFIG): \
             cannot be read: No such file or directory (os error 2)",
        );
        let fine = variables(&[("INCOMING_ACK", "written"), ("INCOMINGS", "x"), ("PATH", "y")]);
        assert!(Layers::gather(RawSettings::default(), None, fine).unwrap().mistakes.is_none());
        let odd = vec![("INCOMING_ACK".into(), OsString::from_vec(vec![0xff]))];
        let error = wrong(odd);
        assert!(error.contains("INCOMING_ACK"), "{error}");
    }

    #[test]
    fn the_flag_names_the_file_before_the_environment() {
        let config = written("");
        let elsewhere = variables(&[("INCOMING_CONFIG", "/nowhere")]);
        let path = Some(config.path().to_owned());
        assert!(Layers::gather(RawSettings::default(), path, elsewhere).is_ok());
        let error =
            Layers::gather(RawSettings::default(), Some("/nowhere".into()), []).unwrap_err();
        assert!(error.to_string().contains("(flag --config)"), "{error}");
    }

    #[test]
    fn lists_are_split_and_replaced() {
        fn check(raw: &[&str], expected: &[&str]) {
            let items = raw.iter().map(|item| Raw::Text((*item).into())).collect();
            let flags = RawSettings { cors_origins: Some(items), ..RawSettings::default() };
            let layers = Layers::gather(flags, None, []).unwrap();
            let mut place = vec!["old".to_owned()];
            setting!(layers, cors_origins).into_list(&mut place, |it| Ok(it.to_owned())).unwrap();
            assert_eq!(place, expected);
        }
        check(&["a"], &["a"]);
        check(&["a,b", " c , "], &["a", "b", "c"]);
        check(&[""], &[]);
        check(&[], &[]);
    }

    #[test]
    fn secrets_fit_a_header_and_are_not_shown() {
        fn check(text: &str, fits: bool) {
            let flags =
                RawSettings { backend_token: Some(Secret::new(text)), ..RawSettings::default() };
            let layers = Layers::gather(flags, None, []).unwrap();
            let mut place = None;
            let taken = setting!(layers, backend_token).into_secret(&mut place);
            assert_eq!(taken.is_ok(), fits, "{text:?}");
            assert_eq!(place.is_some(), fits, "{text:?}");
            if let Err(error) = taken {
                assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
            }
        }
        check("s3cr3t~!", true);
        check("", false);
        check("two words", false);
        check("zwölf", false);
        check("line\n", false);
    }
}
