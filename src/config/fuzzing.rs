//! Fuzz targets of the configuration: single values, and whole files.

use std::time::Duration;

use toml::Value;

use super::ConfigError;
use super::layers::{self, Layers};
use super::table::{Settings, TABLE};
use super::types::CallbackRule;
use super::units::MOST_BYTES;

/// One value, as each setting reads it: refused with what would be right, or read to a value that reads back as it is
/// shown.
pub fn value(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    for setting in TABLE {
        let (key, mut settings) = (setting.key, Settings::default());
        if let Err((_, right)) = (setting.read)(&mut settings, &Value::from(text)) {
            assert!(!right.is_empty(), "{key}");
            continue;
        }
        holds_bounds(&settings);
        if let Some(shown) = (setting.show)(&settings).filter(|_| !setting.secret) {
            let table: toml::Table = toml::from_str(&format!("{key} = {shown}")).expect("TOML");
            let mut again = Settings::default();
            let read = (setting.read)(&mut again, &table[key]);
            assert_eq!((read, again), (Ok(()), settings), "{key} = {shown}");
        }
    }
    let shown = layers::shown(&Value::from(text));
    assert!(!shown.contains(|c: char| c.is_control()) && shown.len() < 2_000, "{shown:?}");
}

/// What the server relies on, whatever was written.
fn holds_bounds(settings: &Settings) {
    assert!(settings.min_free_space <= MOST_BYTES && (1..=64).contains(&settings.send_ahead));
    assert!(settings.retain_finished <= Duration::from_secs(100 * 366 * 24 * 60 * 60));
    assert!(!settings.max_idle.is_zero());
    let mode = settings.storage_file_mode;
    assert!(mode <= 0o777 && mode & 0o600 == 0o600, "{mode:o}");
    assert!(settings.trusted_proxies.iter().all(|network| *network == network.trunc()));
    for rule in &settings.callback_allow {
        let name = match rule {
            CallbackRule::Host(host) => &**host,
            CallbackRule::Net(_) => "",
        };
        assert!(!name.contains(['/', ':', '@', '*', ' ']), "{name:?}");
    }
    for origin in &settings.cors_origins {
        assert!(!origin.bytes().any(|byte| byte.is_ascii_uppercase()), "{origin:?}");
    }
}

/// A whole file: refused in a line for each mistake, or read to settings that read back as they are shown.
pub fn file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some(layers) = told(Layers::of_text(&text)) else { return };
    let Some(settings) = told(Settings::read(&layers)) else { return };
    told(Settings::checked(&layers));
    let shown = settings.to_toml();
    let again = Layers::of_text(&shown).and_then(|layers| Settings::read(&layers));
    let again = again.unwrap_or_else(|error| panic!("{error}\n{shown}"));
    let mut expected = settings;
    for secret in TABLE.iter().filter(|setting| setting.secret) {
        // It is not shown.
        (secret.copy)(&mut expected, &Settings::default());
    }
    assert_eq!(again, expected, "{shown}");
}

/// An error is lines without commands to the terminal that shows it.
fn told<T>(read: Result<T, ConfigError>) -> Option<T> {
    read.map_err(|error| {
        for line in error.to_string().split('\n') {
            assert!(!line.is_empty() && !line.contains(|c: char| c.is_control()), "{line:?}");
        }
    })
    .ok()
}
