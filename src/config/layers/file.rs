//! The configuration file, read strictly: an unknown key is an error, reported together with all others.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Layer;
use crate::config::error::{ConfigError, Origin};
use crate::config::table::setting_of;

/// The largest configuration file read, in bytes: a thousand times what all keys need, and a stop
/// for a path that names a device or somebody's upload.
const FILE_BYTES: u64 = 4 << 20;

/// The layer of the file. Adds its unknown keys to `found`.
pub(super) fn from_file(
    path: &Path,
    origin: &Origin,
    found: &mut ConfigError,
) -> Result<Layer, ConfigError> {
    let unreadable =
        |error: io::Error| ConfigError::of_file(path, origin, format!("cannot be read: {error}"));
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES {
        let reason = format!("has more than the {FILE_BYTES} bytes of a configuration");
        return Err(ConfigError::of_file(path, origin, reason));
    }
    from_text(&text, path, origin, found)
}

/// The layer of a file that holds this text.
pub(super) fn from_text(
    text: &str,
    path: &Path,
    origin: &Origin,
    found: &mut ConfigError,
) -> Result<Layer, ConfigError> {
    let malformed = |error: toml::de::Error| {
        let what = error.message().replace('\n', ", ");
        let Some(span) = error.span() else { return ConfigError::of_file(path, origin, what) };
        let line = text.get(..span.start).unwrap_or_default().matches('\n').count();
        let what = text.lines().nth(line).and_then(unquoted).unwrap_or(what);
        ConfigError::of_file(path, origin, format!("line {}: {what}", line + 1))
    };
    let table: toml::Table = toml::from_str(text).map_err(malformed)?;
    let mut layer = Layer::new();
    for (key, value) in table {
        if let Some(setting) = setting_of(&key) {
            layer.insert(setting.key, value);
        } else if value.is_table() {
            let key = key.escape_debug();
            let reason = format!("[{key}]: there are no tables, all settings are at the top level");
            found.add(ConfigError::of_file(path, origin, reason));
        } else {
            found.add(ConfigError::unknown(&key, &Origin::File(path.to_owned())));
        }
    }
    Ok(layer)
}

/// What to say of a line whose value is text without its quotes, which TOML calls many other things. The value is not
/// shown: it may be a secret.
fn unquoted(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.split('#').next()?.trim());
    let unclosed = value.starts_with('[') && !value.contains(']');
    let bare = !value.is_empty() && !value.contains(['"', '\'']) && !unclosed;
    let no_value = || toml::from_str::<toml::Table>(&format!("key = {value}")).is_err();
    (bare && setting_of(key).is_some() && no_value())
        .then(|| format!("text needs quotes: {key} = \"...\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, Layers, Secret, Settings};

    #[test]
    fn file_is_read_strictly() {
        fn check(text: &str, expected: &[&str]) {
            let config = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(config.path(), text).unwrap();
            let path = config.path().to_owned();
            let layers = Layers::gather(Flags::default(), Some(path.clone()), []);
            let error = layers.and_then(|layers| Settings::read(&layers)).unwrap_err();
            let line = error.to_string();
            assert!(line.contains(path.to_str().unwrap()), "{line}");
            assert!(!line.contains('\n'), "{line}");
            for part in expected {
                assert!(line.contains(part), "{line} lacks {part}");
            }
        }
        check("chunk_sise = 1", &["chunk_sise", "nearest known one is chunk_size"]);
        check("[storage]\ndir = \"x\"", &["[storage]", "there are no tables"]);
        check("listen = \":1\"\nlisten = \":2\"", &["line 2", "duplicate"]);
        check(&"#".repeat(5 << 20), &["more than the 4194304 bytes"]);
        check("\nbackend_token = 12345", &["backend_token", "must be a string"]);
        check("ack = durable", &["line 1: text needs quotes: ack = \"...\""]);
        check("# a\nchunk_size=16MiB # b", &["line 2: text needs quotes: chunk_size = \"...\""]);
        check("listen = [::]:4000", &["line 1: text needs quotes: listen = \"...\""]);
        check("cors_origins = [https://a]", &["text needs quotes: cors_origins = \"...\""]);
        check("backend_token = hush", &["text needs quotes: backend_token = \"...\""]);
        check("ack = ", &["line 1"]);
    }

    #[test]
    fn issue_13_a_byte_order_mark_before_the_first_key_is_passed_over() {
        let layers = Layers::of_text("\u{FEFF}backend_token = \"hush\"\n").unwrap();
        let token = Settings::read(&layers).unwrap().backend_token;
        assert_eq!(token, Some(Secret::new("hush")));
    }

    #[test]
    fn other_lines_that_are_no_toml_are_told_as_they_are() {
        for line in ["ack = 'durable", "ack =", "acks = x", "ack", "max_uploads = 5", "listen = ["]
        {
            assert_eq!(unquoted(line), None, "{line}");
        }
    }
}
