//! Fuzz targets of the configuration: single values, and whole files.

use super::ConfigError;
use super::kind;
use super::layers::Layers;
use super::parse;
use super::raw::Raw;
use super::table::Settings;
use super::types::CallbackRule;
use crate::core::fuzzing::Source;
use crate::net::Address;
use std::time::Duration;

/// One value, as each kind of key would read it.
pub fn value(data: &[u8]) {
    let mut source = Source::new(data);
    let raw = match source.below(8) {
        0 => Raw::Integer(source.number().cast_signed()),
        1 => Raw::Boolean(source.flip()),
        _ => Raw::Text(String::from_utf8_lossy(source.rest()).into_owned()),
    };
    if let Ok(bytes) = parse::size(&raw) {
        assert!(i64::try_from(bytes).is_ok(), "{raw:?}");
        assert_eq!(parse::size(&Raw::Text(kind::size(bytes))), Ok(bytes), "{raw:?}");
        assert_eq!(parse::rate(&raw), Ok(bytes), "{raw:?}");
        assert_eq!(parse::limit(&raw).ok().flatten(), (bytes > 0).then_some(bytes), "{raw:?}");
    }
    let _ = parse::rate(&raw);
    if let Ok(time) = parse::duration(&raw) {
        assert!(time <= Duration::from_secs(100 * 366 * 24 * 60 * 60), "{raw:?}");
        let shown = kind::duration(time);
        assert_eq!(parse::duration(&Raw::Text(shown)), Ok(time), "{raw:?}");
        assert_eq!(parse::positive_duration(&raw).is_ok(), !time.is_zero(), "{raw:?}");
    }
    if let Ok(mode) = parse::mode::<0o600>(&raw) {
        assert!(mode <= 0o777 && mode & 0o600 == 0o600, "{raw:?}");
    }
    if let Ok(count) = parse::count::<u32, 1, 64>(&raw) {
        assert!((1..=64).contains(&count), "{raw:?}");
    }
    let _ = (parse::flag(&raw), parse::name(&raw), parse::workers(&raw), parse::secret(&raw));
    if let Raw::Text(text) = &raw {
        text_value(text);
    }
    let shown = raw.to_string();
    assert!(!shown.contains(|c: char| c.is_control()) && shown.len() < 2_000, "{shown:?}");
}

/// One text, as the keys read it whose values have a form of their own.
fn text_value(text: &str) {
    let _ = (parse::ack(text), parse::log_format(text), parse::log_filter(text));
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
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse::<Address>(), Ok(address), "{text:?}");
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
