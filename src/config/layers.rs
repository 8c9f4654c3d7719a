//! Flags over environment over file: for each key the value that wins, and where it is written.

mod file;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Value;

use super::error::{ConfigError, Origin};
use super::flags::Flags;
use super::table::setting::{Setting, variable};
use super::table::{TABLE, setting_of};

/// What the environment variables of settings begin with.
const PREFIX: &str = "INCOMING_";
/// The variable that names the file; not a setting itself.
const CONFIG: &str = "INCOMING_CONFIG";

/// The settings as written and not read yet: flags and variables are strings, or lists of them, and the file may have
/// other values too. `Debug` shows which keys are set.
#[derive(Default, Clone)]
pub struct Layers {
    /// The value that wins for a key, and where it stands.
    written: BTreeMap<&'static str, (Origin, Value)>,
    /// The configuration file, and whether there is a secret in it.
    file: Option<(PathBuf, bool)>,
    /// Unknown keys and variables, reported together with the other errors.
    pub(super) mistakes: ConfigError,
}

/// The values of one layer.
pub(super) type Layer = BTreeMap<&'static str, Value>;

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
        flags: Flags,
        config: Option<PathBuf>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Self::default();
        let (environment, named) = from_environment(variables, &mut layers.mistakes);
        let config = config.map(|path| (path, Origin::Flag));
        if let Some((path, origin)) =
            config.or_else(|| named.map(|path| (path, Origin::Environment)))
        {
            let read = file::from_file(&path, &origin, &mut layers.mistakes);
            // Without the file the combined settings cannot be validated.
            let Some(layer) = layers.mistakes.note(read) else { return Err(layers.mistakes) };
            layers.put_file(path, layer);
        }
        layers.put(&Origin::Environment, environment);
        layers.put(&Origin::Flag, flags.0.into_iter().map(|(key, typed)| (key, of_flag(typed))));
        Ok(layers)
    }

    /// A file that holds this text, alone.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn of_text(text: &str) -> Result<Self, ConfigError> {
        let (path, mut layers) = (PathBuf::from("incoming.toml"), Self::default());
        let layer = file::from_text(text, &path, &Origin::Flag, &mut layers.mistakes)?;
        layers.put_file(path, layer);
        Ok(layers)
    }

    fn put_file(&mut self, path: PathBuf, layer: Layer) {
        let holds_secret = layer.keys().any(|key| setting_of(key).is_some_and(|it| it.secret));
        self.put(&Origin::File(path.clone()), layer);
        self.file = Some((path, holds_secret));
    }

    /// A layer over those that are there.
    fn put(&mut self, origin: &Origin, layer: impl IntoIterator<Item = (&'static str, Value)>) {
        let layer = layer.into_iter().map(|(key, value)| (key, (origin.clone(), value)));
        self.written.extend(layer);
    }

    /// Whether any layer sets the address of the backend listener.
    #[must_use]
    pub fn name_backend(&self) -> bool {
        self.value("backend_listen").is_some()
    }

    /// The file that was read, and whether there is a secret in it.
    pub(crate) fn file(&self) -> Option<(&Path, bool)> {
        self.file.as_ref().map(|(path, holds_secret)| (&**path, *holds_secret))
    }

    /// The value of a key as written; none for the default.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.written.get(key).map(|(_, value)| value)
    }

    /// The error for a key: `value` is the wrong one, or the wrong item of a list; `right` what would be right.
    pub(crate) fn wrong(
        &self,
        key: &'static str,
        value: impl Into<Value>,
        right: impl fmt::Display,
    ) -> ConfigError {
        let origin = self.written.get(key).map_or(&Origin::Default, |(origin, _)| origin);
        let shown = match setting_of(key) {
            Some(Setting { secret: true, .. }) => "(not shown)".to_owned(),
            Some(_) | None => shown(&value.into()),
        };
        ConfigError::invalid(key, origin, &shown, right)
    }

    /// As [`Self::wrong`] for a value, written or default, that does not fit others.
    pub(super) fn misfit(&self, key: &'static str, right: impl fmt::Display) -> ConfigError {
        let default = || setting_of(key).map_or("", |setting| setting.default).into();
        self.wrong(key, self.value(key).cloned().unwrap_or_else(default), right)
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.written.keys()).finish()
    }
}

/// The value of a flag: a repeated one has several.
fn of_flag(typed: Vec<String>) -> Value {
    match <[String; 1]>::try_from(typed) {
        Ok([one]) => one.into(),
        Err(several) => several.into(),
    }
}

/// The environment's layer and the file that `INCOMING_CONFIG` names.
fn from_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    found: &mut ConfigError,
) -> (Layer, Option<PathBuf>) {
    // In order of name, so that errors have the same order each time.
    let mut ours: BTreeMap<String, OsString> = variables
        .into_iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    let config = ours.remove(CONFIG).map(PathBuf::from);
    let mut layer = Layer::new();
    for (name, value) in ours {
        let setting = TABLE.iter().find(|setting| variable(setting.key) == name);
        match (setting, value.into_string()) {
            (Some(setting), Ok(text)) => drop(layer.insert(setting.key, text.into())),
            (Some(_), Err(_)) => found.add(ConfigError::of_variable(&name)),
            (None, _) => found.add(ConfigError::unknown(&name, &Origin::Environment)),
        }
    }
    (layer, config)
}

/// On one line whatever the value holds, and cut where it is long.
pub(super) fn shown(value: &Value) -> String {
    /// Enough to recognise any value by, little enough for one line.
    const SHOWN_CHARS: usize = 120;
    const SHOWN_ITEMS: usize = 3;
    match value {
        Value::String(text) => match text.char_indices().nth(SHOWN_CHARS) {
            Some((end, _)) => format!("{:?}...", &text[..end]),
            None => format!("{text:?}"),
        },
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Table(_) => "a table".to_owned(),
        Value::Array(items) => {
            let first: Vec<_> = items.iter().take(SHOWN_ITEMS).map(shown).collect();
            let more = if items.len() > SHOWN_ITEMS { ", ..." } else { "" };
            format!("[{}{more}]", first.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::config::Settings;

    fn flags(key: &'static str, typed: &[&str]) -> Flags {
        Flags([(key, typed.iter().map(|it| (*it).to_owned()).collect())].into())
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
            let config = file.map(|value| format!("listen = '{value}'")).unwrap_or_default();
            let config = written(&config);
            let flags = flag.map(|it| flags("listen", &[it])).unwrap_or_default();
            let env: Vec<_> = env.map(|it| ("INCOMING_LISTEN", it)).into_iter().collect();
            let path = Some(config.path().to_owned());
            let layers = Layers::gather(flags, path, variables(&env)).unwrap();
            assert_eq!(layers.value("listen").and_then(Value::as_str), wins);
        }
        check(Some("a"), Some("b"), Some("c"), Some("a"));
        check(None, Some("b"), Some("c"), Some("b"));
        check(None, None, Some("c"), Some("c"));
        check(None, None, None, None);
        check(Some("a"), None, Some("c"), Some("a"));
    }

    #[test]
    fn environment_is_read_strictly() {
        let mistakes = |variables| {
            let layers = Layers::gather(Flags::default(), None, variables);
            layers.and_then(|layers| layers.mistakes.or(())).err().map(|error| error.to_string())
        };
        let fine = variables(&[("INCOMING_ACK", "written"), ("INCOMINGS", "x"), ("PATH", "y")]);
        assert_eq!(mistakes(fine), None);
        let told = mistakes(variables(&[("INCOMING_X", "1"), ("INCOMING_LISTENS", "1")])).unwrap();
        let keys: Vec<_> = told.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(keys, ["INCOMING_LISTENS", "INCOMING_X"]);
        let odd = vec![("INCOMING_ACK".into(), OsString::from_vec(vec![0xff]))];
        let told = mistakes(odd).unwrap();
        assert_eq!(told, "INCOMING_ACK (environment): the value must be Unicode");
    }

    #[test]
    fn the_flag_names_the_file_before_the_environment() {
        let config = written("");
        let nowhere = || variables(&[("INCOMING_CONFIG", "/nowhere")]);
        let path = Some(config.path().to_owned());
        assert!(Layers::gather(Flags::default(), path, nowhere()).is_ok());
        let check = |path, variables, place| {
            let error = Layers::gather(Flags::default(), path, variables).unwrap_err().to_string();
            let line = "cannot be read: No such file or directory (os error 2)";
            assert_eq!(error, format!("config = \"/nowhere\" ({place}): {line}"));
        };
        check(None, nowhere(), "environment INCOMING_CONFIG");
        check(Some("/nowhere".into()), Vec::new(), "flag --config");
    }

    #[test]
    fn lists_are_split_and_replaced() {
        fn check(typed: &[&str], expected: &[&str]) {
            let flags = flags("create_forward_headers", typed);
            let layers = Layers::gather(flags, None, []).unwrap();
            assert_eq!(Settings::read(&layers).unwrap().create_forward_headers, expected);
        }
        check(&["a"], &["a"]);
        check(&["a,b", " c , "], &["a", "b", "c"]);
        check(&[""], &[]);
        check(&[], &[]);
    }

    #[test]
    fn shows_on_one_line_and_no_secret() {
        let check = |value: Value, expected: &str| assert_eq!(shown(&value), expected);
        check("8MiB".into(), "\"8MiB\"");
        check("a\nb".into(), "\"a\\nb\"");
        check("ä".repeat(200).into(), &format!("\"{}\"...", "ä".repeat(120)));
        check(Value::from(-3), "-3");
        check(Value::from(1.5), "1.5");
        check(Value::from(vec![1; 0]), "[]");
        check(Value::from(vec![1; 3]), "[1, 1, 1]");
        check(Value::from(vec![1; 4]), "[1, 1, 1, ...]");
        let layers = Layers::of_text("backend_token = 'two words'").unwrap();
        let error = Settings::read(&layers).unwrap_err();
        for told in [error.to_string(), format!("{layers:?} {:?}", flags("listen", &["words"]))] {
            assert!(!told.contains("words"), "{told}");
        }
        assert!(error.to_string().contains("backend_token = (not shown) (file "), "{error}");
    }
}
