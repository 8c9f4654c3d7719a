//! Flags over environment over file: who wins for each key, and who said it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Origin};
use super::file::from_file;
use super::raw::Raw;
use super::raw_settings::RawSettings;
use super::setting::variable;
use super::table::{TABLE, setting_of};

/// What the environment variables of settings begin with.
const PREFIX: &str = "INCOMING_";
/// The variable that names the file; not a setting itself.
const CONFIG: &str = "INCOMING_CONFIG";
/// The three layers of settings, parsed but not validated.
#[derive(Debug, Default, Clone)]
pub struct Layers {
    flags: RawSettings,
    environment: RawSettings,
    file: Option<(PathBuf, RawSettings)>,
    /// Unknown keys and variables, reported together with the other errors.
    pub(super) mistakes: ConfigError,
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
        let mut found = ConfigError::default();
        let (environment, named) = from_environment(variables, &mut found);
        let config = match (config, named) {
            (Some(path), _) => Some((path, Origin::Flag)),
            (None, Some(path)) => Some((path, Origin::Environment)),
            (None, None) => None,
        };
        let file = match config {
            Some((path, origin)) => match from_file(&path, &origin) {
                Ok((layer, mistakes)) => {
                    found.add(mistakes);
                    Some((path, layer))
                }
                // Without the file the combined settings cannot be validated.
                Err(error) => {
                    found.add(error);
                    return Err(found);
                }
            },
            None => None,
        };
        Ok(Self { flags, environment, file, mistakes: found })
    }

    /// Whether any layer sets the address of the backend listener.
    #[must_use]
    pub fn name_backend(&self) -> bool {
        self.pick("backend_listen").1.is_some()
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
        Some((path, layer.0.values().any(Raw::holds_secret)))
    }

    /// Where the value of a key comes from, and the value as written; none for the default.
    pub(super) fn pick(&self, key: &str) -> (Origin, Option<&Raw>) {
        let file = self.file.as_ref();
        if let Some(raw) = self.flags.0.get(key) {
            (Origin::Flag, Some(raw))
        } else if let Some(raw) = self.environment.0.get(key) {
            (Origin::Environment, Some(raw))
        } else if let Some((path, raw)) = file.and_then(|(path, it)| Some((path, it.0.get(key)?))) {
            (Origin::File(path.clone()), Some(raw))
        } else {
            (Origin::Default, None)
        }
    }

    /// The error for a key: `value` is the wrong one, `right` what would be right.
    pub(super) fn wrong(
        &self,
        key: &'static str,
        value: impl Into<Raw>,
        right: impl Into<String>,
    ) -> ConfigError {
        ConfigError::impossible(key, &self.pick(key).0, &value.into(), &right.into())
    }

    /// As [`Self::wrong`] for a value, written or default, that does not fit others.
    pub(super) fn misfit(&self, key: &'static str, right: impl Into<String>) -> ConfigError {
        let default = || setting_of(key).map_or("", |setting| setting.default);
        let raw = self.pick(key).1.cloned().unwrap_or_else(|| Raw::Text(default().into()));
        self.wrong(key, raw, right)
    }
}

/// The environment's layer and the file that `INCOMING_CONFIG` names.
fn from_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    found: &mut ConfigError,
) -> (RawSettings, Option<PathBuf>) {
    let (mut layer, mut config) = (RawSettings::default(), None);
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
        } else if let Some(setting) = TABLE.iter().find(|setting| variable(setting.key) == name) {
            match value.into_string() {
                Ok(text) => layer.set(setting, Raw::Text(text)),
                Err(_) => found.add(ConfigError::of_variable(&name)),
            }
        } else {
            found.add(ConfigError::unknown(&name, &Origin::Environment));
        }
    }
    (layer, config)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::config::Settings;

    fn flags(key: &str, raw: Raw) -> RawSettings {
        let mut flags = RawSettings::default();
        flags.set(setting_of(key).unwrap(), raw);
        flags
    }

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
            let flags = flag.map(|it| flags("listen", Raw::Text(it.into()))).unwrap_or_default();
            let env: Vec<_> = env.map(|it| ("INCOMING_LISTEN", it)).into_iter().collect();
            let path = Some(config.path().to_owned());
            let layers = Layers::gather(flags, path, variables(&env)).unwrap();
            let wins = wins.map(|it| Raw::Text(it.into()));
            assert_eq!(layers.pick("listen").1, wins.as_ref());
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
            let flags = flags("create_forward_headers", Raw::List(items));
            let layers = Layers::gather(flags, None, []).unwrap();
            assert_eq!(Settings::read(&layers).unwrap().create_forward_headers, expected);
        }
        check(&["a"], &["a"]);
        check(&["a,b", " c , "], &["a", "b", "c"]);
        check(&[""], &[]);
        check(&[], &[]);
    }

    #[test]
    fn secrets_fit_a_header_and_are_not_shown() {
        fn check(text: &str, fits: bool) {
            let flags = flags("backend_token", Raw::Text(text.into()));
            let read = Settings::read(&Layers::gather(flags, None, []).unwrap());
            assert_eq!(read.is_ok(), fits, "{text:?}");
            match read {
                Ok(settings) => assert_eq!(settings.backend_token.unwrap().expose(), text),
                Err(error) => {
                    let told = error.to_string();
                    assert!(told.contains("(not shown)"), "{told}");
                    assert!(text.is_empty() || !told.contains(text), "{told}");
                }
            }
        }
        check("s3cr3t~!", true);
        check("", false);
        check("two words", false);
        check("zwölf", false);
        check("line\n", false);
    }
}
