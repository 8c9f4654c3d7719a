//! Fuzz targets of the configuration: single values, and whole files.

use std::time::Duration;

use toml::Value;

use super::ConfigError;
use super::layers::{self, Layers};
use super::table::{Settings, TABLE};
use super::types::CallbackRule;
use super::{parse, units};

/// One value, as each kind of key would read it.
pub fn value(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    if let Ok(bytes) = units::size_text(text) {
        assert!(bytes <= units::MOST_BYTES, "{text:?}");
        assert_eq!(units::size_text(&units::size(bytes)), Ok(bytes), "{text:?}");
        assert_eq!(units::rate(text), Ok(bytes), "{text:?}");
    }
    if let Ok(time) = units::duration_text(text) {
        assert!(time <= Duration::from_secs(100 * 366 * 24 * 60 * 60), "{text:?}");
        assert_eq!(units::duration_text(&units::duration(time)), Ok(time), "{text:?}");
        assert_eq!(units::positive_duration(text).is_ok(), !time.is_zero(), "{text:?}");
    }
    if let Ok(mode) = parse::mode::<0o600>(text) {
        assert!(mode <= 0o777 && mode & 0o600 == 0o600, "{text:?}");
    }
    if let Ok(count) = parse::count::<u32, 1, 64>(text) {
        assert!((1..=64).contains(&count), "{text:?}");
    }
    if let Ok(host) = parse::host_port(text) {
        assert_eq!(parse::host_port(&host.to_string()), Ok(host), "{text:?}");
    }
    if let Ok(network) = parse::network(text) {
        assert_eq!(parse::network(&network.to_string()), Ok(network), "{text:?}");
        assert_eq!(network, network.trunc(), "{text:?}");
    }
    match parse::callback_rule(text) {
        Ok(CallbackRule::Net(network)) => assert_eq!(parse::network(text), Ok(network)),
        Ok(CallbackRule::Host(host)) => {
            let again = parse::callback_rule(&host);
            assert_eq!(again, Ok(CallbackRule::Host(host.clone())), "{text:?}");
            assert!(!host.contains(['/', ':', '@', '*', ' ']), "{text:?}");
        }
        Err(_) => {}
    }
    if let Ok(origin) = parse::origin(text) {
        assert_eq!(parse::origin(&origin), Ok(origin.clone()), "{text:?}");
        assert!(origin == "*" || !origin.bytes().any(|b| b.is_ascii_uppercase()), "{text:?}");
    }
    if let Ok(address) = parse::address(text) {
        assert_eq!(parse::address(&address.to_string()), Ok(address), "{text:?}");
    }
    // Every other kind, as a setting reads it.
    for setting in TABLE {
        let value = Value::from(text);
        if let Err((_, right)) = (setting.read)(&mut Settings::default(), &value) {
            assert!(!right.is_empty(), "{}", setting.key);
        }
    }
    let shown = layers::shown(&Value::from(text));
    assert!(!shown.contains(|c: char| c.is_control()) && shown.len() < 2_000, "{shown:?}");
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
    // Secrets are not shown.
    let expected = Settings {
        backend_token: None,
        operator_token: None,
        create_secret: None,
        signing_secrets: Vec::new(),
        s3_secret_key: None,
        postgres_url: None,
        ..settings
    };
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
