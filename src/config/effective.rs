//! The settings in force, as TOML that the server would read back to the same settings. The token
//! is left out: a comment says that there is one.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::secret::Secret;
use super::settings::{CallbackRule, LogFormat, Settings};
use crate::core::name::is_hidden;

impl Settings {
    /// All keys and values as TOML, one line each, in the order of `--help`. Keys without a value
    /// are comments, as is the token.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        for (key, value) in self.rows() {
            match value {
                Shown::Value(value) => writeln!(out, "{key} = {value}"),
                Shown::None => writeln!(out, "# {key} is not set"),
                Shown::Hidden(_) => writeln!(out, "# {key} is set and not shown"),
            }
            .expect("a String takes any text");
        }
        out
    }

    /// The keys whose values differ, in the order of `--help`.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<&'static str> {
        let rows = self.rows().into_iter().zip(other.rows());
        rows.filter(|(mine, theirs)| mine.1 != theirs.1).map(|((key, _), _)| key).collect()
    }

    /// Every key with its value; a test holds the keys against those of the flags.
    fn rows(&self) -> Vec<(&'static str, Shown)> {
        use Shown::Value;
        let Self { listen, backend_listen, tls, backend_tls, .. } = self;
        let path = |path: Option<&Path>| optional(path, |path| path.display().to_string());
        let secret = |it: &Option<Secret>| it.clone().map_or(Shown::None, Shown::Hidden);
        let callback_allow = self.callback_allow.iter().map(|rule| match rule {
            CallbackRule::Host(host) => host.clone(),
            CallbackRule::Net(network) => network.to_string(),
        });
        let networks = |list: &[ipnet::IpNet]| strings(list.iter().map(ToString::to_string));
        let log_format = match self.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        vec![
            ("listen", string(listen.to_string())),
            ("backend_listen", string(backend_listen.to_string())),
            ("tls_cert", paths(&tls.iter().map(|tls| &*tls.cert).collect::<Vec<_>>())),
            ("tls_key", paths(&tls.iter().map(|tls| &*tls.key).collect::<Vec<_>>())),
            ("backend_tls_cert", path(backend_tls.as_ref().map(|tls| &*tls.cert))),
            ("backend_tls_key", path(backend_tls.as_ref().map(|tls| &*tls.key))),
            ("backend_tls_client_ca", path(self.backend_tls_client_ca.as_deref())),
            ("redirect_listen", optional(self.redirect_listen.as_ref(), ToString::to_string)),
            ("redirect_host", optional(self.redirect_host.as_ref(), ToString::to_string)),
            ("hsts", optional(self.hsts, duration)),
            ("acme_domains", strings(self.acme.domains.iter().cloned())),
            ("acme_contact", strings(self.acme.contact.iter().cloned())),
            ("acme_directory", string(&self.acme.directory)),
            ("acme_directory_ca", path(self.acme.directory_ca.as_deref())),
            ("acme_cache", path(Some(&self.acme.cache))),
            ("backend_allow", networks(&self.backend_allow)),
            ("backend_hosts", strings(self.backend_hosts.iter().cloned())),
            ("backend_open", Value(self.backend_open.to_string())),
            ("backend_token", secret(&self.backend_token)),
            ("storage_dir", path(Some(&self.storage_dir))),
            ("storage_must_exist", Value(self.storage_must_exist.to_string())),
            ("lock_wait", string(duration(self.lock_wait))),
            ("storage_group", optional(self.storage_group.as_ref(), Clone::clone)),
            ("storage_file_mode", string(format!("{:04o}", self.storage_file_mode))),
            ("storage_dir_mode", string(format!("{:04o}", self.storage_dir_mode))),
            ("ack", string(self.ack.word())),
            ("chunk_size", string(size(self.chunk_size))),
            ("max_chunk_size", limit(self.max_chunk_size)),
            ("send_ahead", Value(self.send_ahead.to_string())),
            ("max_upload_size", limit(self.max_upload_size)),
            ("max_uploads", Value(self.max_uploads.to_string())),
            ("max_connections", Value(self.max_connections.to_string())),
            ("receive_memory", string(size(self.receive_memory))),
            ("min_free_space", string(size(self.min_free_space))),
            ("max_idle", string(duration(self.max_idle))),
            ("retain_finished", string(duration(self.retain_finished))),
            ("failed_retention", string(duration(self.failed_retention))),
            ("handover_timeout", string(duration(self.handover_timeout))),
            ("handover_confirm_timeout", string(duration(self.handover_confirm_timeout))),
            ("handover_retry_for", string(duration(self.handover_retry_for))),
            ("callback_allow", strings(callback_allow)),
            ("cors_origins", strings(self.cors_origins.iter().cloned())),
            ("frontend_url", optional(self.frontend_url.as_ref(), Clone::clone)),
            ("create_url", optional(self.create_url.as_ref(), |url| url.as_str().to_owned())),
            ("create_timeout", string(duration(self.create_timeout))),
            ("create_forward_headers", strings(self.create_forward_headers.iter().cloned())),
            ("create_secret", secret(&self.create_secret)),
            ("trusted_proxies", networks(&self.trusted_proxies)),
            ("proxy_protocol", Value(self.proxy_protocol.to_string())),
            ("backend_proxy_protocol", Value(self.backend_proxy_protocol.to_string())),
            ("doctor", Value(self.doctor.to_string())),
            ("body_timeout", string(duration(self.body_timeout))),
            ("min_rate", string(size(self.min_rate))),
            ("shutdown_grace", string(duration(self.shutdown_grace))),
            ("log", string(&self.log)),
            ("log_format", string(log_format)),
            ("workers", Value(self.workers.to_string())),
        ]
    }
}

/// What is shown of a value.
#[derive(PartialEq, Eq)]
enum Shown {
    /// A TOML value.
    Value(String),
    /// There is none.
    None,
    /// There is one, and it is secret.
    Hidden(Secret),
}

/// A TOML basic string.
fn string(text: impl AsRef<str>) -> Shown {
    Shown::Value(quoted(text.as_ref()))
}

fn optional<T>(value: Option<T>, shown: impl Fn(T) -> String) -> Shown {
    value.map_or(Shown::None, |value| string(shown(value)))
}

/// No path, one, or a list.
fn paths(paths: &[&Path]) -> Shown {
    let shown = |path: &&Path| path.display().to_string();
    match paths {
        [] => Shown::None,
        [path] => string(shown(path)),
        paths => strings(paths.iter().map(shown)),
    }
}

fn limit(bytes: Option<u64>) -> Shown {
    string(bytes.map_or_else(|| "none".into(), size))
}

fn strings(items: impl Iterator<Item = String>) -> Shown {
    let items: Vec<String> = items.map(|item| quoted(&item)).collect();
    Shown::Value(format!("[{}]", items.join(", ")))
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
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
/// lengths nobody remembers.
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
    use crate::config::raw_settings::{RawSettings, keys};
    use crate::config::tests::layers;

    #[test]
    fn shows_every_key() {
        let shown: Vec<_> = Settings::default().rows().into_iter().map(|(key, _)| key).collect();
        assert_eq!(shown, keys());
    }

    #[test]
    fn reads_back_what_it_shows() {
        fn check(file: &str) {
            let settings = Settings::read(&layers(file)).unwrap();
            let toml = settings.to_toml();
            assert_eq!(Settings::read(&layers(&toml)).unwrap(), settings, "{toml}");
        }
        check("");
        check("max_chunk_size = 1\nmax_upload_size = '5TiB'\nmin_free_space = 1000");
        check("max_idle = '1h 30m 1s 5ms'\nshutdown_grace = 0\nretain_finished = '1000d'");
        check("storage_dir = \"quote\\\" back\\\\slash \\u0007 ä\"\nlisten = 'unix:/a b'");
        check("backend_allow = ['10.0.0.0/8', '::1']\ncallback_allow = ['a.b', '10.0.0.1']");
        check("backend_hosts = ['a.b', 'c']");
        check("storage_group = 'www-data'\nstorage_file_mode = '640'\nack = 'written'");
        check("tls_cert = 'a'\ntls_key = 'b'\nbackend_tls_cert = 'c'\nbackend_tls_key = 'd'");
        check("tls_cert = ['a', 'b']\ntls_key = ['c', 'd']");
        check("redirect_listen = ':80'\nredirect_host = '[::1]:443'\nhsts = '180d'");
        check("acme_domains = ['a.b', 'c.d']\nacme_contact = 'a@b.c'\nacme_cache = '/x'");
        check("acme_directory = 'https://a:1/d'\nacme_directory_ca = '/y'");
        check("redirect_host = 'A.example'\nhsts = 0");
        check("frontend_url = 'https://a:1/x/'\ncreate_url = 'http://b/c?d=e'");
        check("create_timeout = '3s'\ncreate_forward_headers = ['X-User']");
        check("log_format = 'json'\nbackend_open = true\ncors_origins = ['https://a:8443']");
    }

    #[test]
    fn does_not_show_the_token() {
        for key in ["backend_token", "create_secret"] {
            let toml = Settings::read(&layers(&format!("{key} = 'hunter2'"))).unwrap().to_toml();
            assert!(toml.contains(&format!("# {key} is set and not shown\n")), "{toml}");
            assert!(!toml.contains("hunter2"), "{toml}");
        }
    }

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

    #[test]
    fn help_names_the_defaults() {
        fn check(key: &str, help: &str, value: &str) {
            let named = help.split("[default: ").nth(1).and_then(|rest| rest.split(']').next());
            let named = named.unwrap_or_else(|| panic!("{key} names no default: {help}"));
            let shown = value.replace(['"', '[', ']'], "");
            let shown = if shown.is_empty() { "none" } else { &shown };
            assert!(
                named == shown || named.starts_with(&format!("{shown}, ")) || key == "workers",
                "{key}: help says {named}, the default is {shown}"
            );
        }
        let flags = <RawSettings as clap::Args>::augment_args(clap::Command::new("x"));
        let rows = Settings::default().rows();
        for (flag, (key, value)) in flags.get_arguments().zip(rows) {
            let help = flag.get_long_help().or_else(|| flag.get_help()).unwrap().to_string();
            let value = match &value {
                Shown::Value(value) => value.as_str(),
                Shown::None | Shown::Hidden(_) => "none",
            };
            // "none; ..." goes on to say what stands in for it.
            check(key, &help.replace("none;", "none,").replace('\n', " "), value);
        }
    }
}
