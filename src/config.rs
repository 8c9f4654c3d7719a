//! Configuration: flags over environment over file over defaults, checked once, before anything
//! starts. The result is [`Settings`]: plain values.
//!
//! The way of a value: a row of `table.rs` says its key and its kind; `layers.rs` finds where it is written; its kind
//! (`kind.rs`, `parse.rs`) makes of that text what the server uses; `rules.rs` holds the values against each other and
//! `app/preflight.rs` against the machine.
//!
//! Not here: what a reload changes (`app/reload.rs` asks for settings anew and decides), an
//! implicit configuration file (one is read when `--config` or `INCOMING_CONFIG` names it), and
//! paths relative to the file (all are relative to the working directory, wherever written).

mod error;
mod flags;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod kind;
mod layers;
mod parse;
mod rules;
mod settings;
mod table;
mod types;
mod units;

pub use crate::net::{Address, AddressError};
pub use error::ConfigError;
pub use flags::Flags;
pub use layers::Layers;
pub use parse::filter_of;
pub(crate) use parse::word_of;
pub use settings::{BACKEND_GUARD, UntrustedNetworks};
pub use table::Settings;
pub(crate) use table::TABLE;
pub use types::{
    Ack, CallbackRule, CreateSecret, ExposedPath, JournalKind, LogFormat, Secret, StoreKind,
};
pub use units::{duration_text, size_text};

impl Settings {
    /// Reads the values alone, without holding them against each other or the machine: what a
    /// command needs that only talks to a running server.
    ///
    /// # Errors
    /// The values that cannot be what their keys need, each with a line of its own.
    pub fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let (settings, found) = Self::values(layers);
        found.or(settings)
    }

    /// Reads the values and holds them against each other. What a reload does: it changes nothing that only the machine
    /// can tell, and a bad certificate must keep no limit from changing.
    ///
    /// # Errors
    /// What is wrong. Rules about a wrong value or an unknown key are skipped, so that nothing is reported twice.
    pub fn checked(layers: &Layers) -> Result<Self, ConfigError> {
        let (settings, found) = Self::ruled(layers);
        found.or(settings)
    }

    /// As [`Self::checked`]: the settings, wrong ones as if they were not written, and what is wrong.
    pub(crate) fn ruled(layers: &Layers) -> (Self, ConfigError) {
        let (settings, mut found) = Self::values(layers);
        rules::check(&settings, layers, &mut found);
        (settings, found)
    }

    /// The values, a wrong one as if it were not written, and what is wrong.
    fn values(layers: &Layers) -> (Self, ConfigError) {
        let (mut settings, mut found) = (Self::default(), layers.mistakes.clone());
        for setting in TABLE {
            if let Some(value) = layers.value(setting.key) {
                let read = (setting.read)(&mut settings, value);
                found.note(read.map_err(|(part, right)| layers.wrong(setting.key, part, right)));
            }
        }
        settings.follow(|key| layers.value(key).is_none());
        (settings, found)
    }

    /// Defaults that follow other settings; only a value that was asked for can be wrong beside them.
    fn follow(&mut self, unset: impl Fn(&str) -> bool) {
        if let Some(most) = self.max_chunk_size
            && unset("chunk_size")
        {
            self.chunk_size = self.chunk_size.min(most);
        }
        if unset("receive_memory") {
            let needed = Self::least_receive_memory(self.max_connections);
            self.receive_memory = self.receive_memory.max(needed / 2 * 3);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn layers(file: &str) -> Layers {
        Layers::of_text(file).unwrap()
    }

    #[test]
    fn nothing_written_is_the_default() {
        assert_eq!(Settings::read(&layers("")).unwrap(), Settings::default());
    }

    #[test]
    fn reads_each_kind_of_value_and_what_it_shows() {
        fn check(file: &str, expected: fn(&mut Settings)) {
            let mut settings = Settings::default();
            expected(&mut settings);
            assert_eq!(Settings::read(&layers(file)).unwrap(), settings, "{file}");
            let toml = settings.to_toml();
            assert_eq!(Settings::read(&layers(&toml)).unwrap(), settings, "{toml}");
        }
        check("listen = ':80'", |s| s.listen = "0.0.0.0:80".parse().unwrap());
        check("backend_listen = 'unix:/s'", |s| s.backend_listen = "unix:/s".parse().unwrap());
        check("tls_cert = 'c'\ntls_key = 'k'", |s| {
            (s.tls_cert, s.tls_key) = (vec!["c".into()], vec!["k".into()]);
        });
        check("tls_cert = ['c', 'd']\ntls_key = 'k,l'", |s| {
            s.tls_cert = vec!["c".into(), "d".into()];
            s.tls_key = vec!["k".into(), "l".into()];
        });
        check("redirect_listen = ':80'\nredirect_host = 'A.example:8443'", |s| {
            s.redirect_listen = Some("0.0.0.0:80".parse().unwrap());
            let (host, port) = ("a.example".into(), Some(8443));
            s.redirect_host = Some(crate::core::host::HostPort { host, port });
        });
        check("hsts = '180d'", |s| s.hsts = Some(Duration::from_secs(180 * 24 * 3600)));
        check("hsts = 0", |s| s.hsts = Some(Duration::ZERO));
        check("hsts = 'none'", |_| {});
        check("acme_domains = 'A.example,b.example'\nacme_contact = 'ops@a.example'", |s| {
            s.acme_domains = vec!["a.example".into(), "b.example".into()];
            s.acme_contact = vec!["ops@a.example".into()];
        });
        check("backend_open = true", |s| s.backend_open = true);
        check("backend_hosts = ['App.Internal.', 'b_2']", |s| {
            s.backend_hosts = vec!["app.internal".into(), "b_2".into()];
        });
        check("backend_allow = ['::1', '10.0.0.0/8']", |s| {
            s.backend_allow = vec!["::1/128".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        });
        check("trusted_proxies = '10.0.0.1'", |s| {
            s.trusted_proxies = vec!["10.0.0.1/32".parse().unwrap()];
        });
        check("storage_group = 33", |s| s.storage_group = Some("33".into()));
        check("storage_file_mode = '640'", |s| s.storage_file_mode = 0o640);
        check("ack = 'written'", |s| s.ack = Ack::Written);
        check("chunk_size = 1000", |s| s.chunk_size = 1000);
        check("max_chunk_size = '1GiB'", |s| s.max_chunk_size = Some(1 << 30));
        check("max_chunk_size = 'none'", |_| {});
        check("max_chunk_size = '1MiB'", |s| {
            s.max_chunk_size = Some(1 << 20);
            s.chunk_size = 1 << 20;
        });
        check("min_rate = '1KB/s'", |s| s.min_rate = 1000);
        check("min_free_space = 0", |s| s.min_free_space = 0);
        check("max_idle = '1h'", |s| s.max_idle = Duration::from_secs(3600));
        check("retain_finished = 0", |s| s.retain_finished = Duration::ZERO);
        check("cors_origins = []", |s| s.cors_origins = vec![]);
        check("log = 'debug'\nlog_format = 'json'", |s| {
            s.log = "debug".into();
            s.log_format = LogFormat::Json;
        });
        check("receive_memory = '3GiB'", |s| s.receive_memory = 3 << 30);
        check("max_connections = 100000", |s| {
            s.max_connections = 100_000;
            s.receive_memory = 150_000 * (128 << 10);
        });
        check("workers = 3", |s| s.workers = 3);
        for six_and_eight in ["[6, 8]", "'6, 8'", "['6', '8']"] {
            let file = format!("resumable_versions = {six_and_eight}");
            check(&file, |s| s.resumable_versions = vec![6, 8]);
        }
        check("http2 = false", |s| s.http2 = false);
        check("max_idle = '1h 30m 1s 5ms'", |s| s.max_idle = Duration::from_millis(5_401_005));
        check("storage_dir = \"quote\\\" back\\\\slash \\u0007 ä\"", |s| {
            s.storage_dir = "quote\" back\\slash \u{7} ä".into();
        });
        check("resumable_versions = []", |s| s.resumable_versions = vec![]);
        check("s3_prefix = 'p'\ns3_path_style = false", |s| {
            (s.s3_prefix, s.s3_path_style) = (Some("p/".into()), Some(false));
        });
    }

    #[test]
    fn names_key_value_and_what_is_right() {
        fn check(file: &str, value: &str, right: &str) {
            let line = Settings::read(&layers(file)).unwrap_err().to_string();
            let key = file.split(' ').next().unwrap();
            assert!(line.starts_with(&format!("{key} = {value} (file ")), "{line}");
            assert!(line.ends_with(right), "{line}");
        }
        check("send_ahead = 65", "65", "must be a whole number from 1 to 64");
        check("max_connections = 0", "0", "must be a whole number from 1 to 1048576");
        check("max_idle = 0", "0", "must be longer than 0");
        check("handover_timeout = '0s'", "\"0s\"", "must be longer than 0");
        check("max_upload_size = 0", "0", "must be at least 1 byte, or none");
        check("chunk_size = 0", "0", "must be at least 1 byte");
        check("ack = 'maybe'", "\"maybe\"", "must be one of durable, written");
        check("cors_origins = [1]", "1", "such as https://app.example.org, without a path");
        check("storage_file_mode = 640", "640", "up to 0777, such as \"0640\"");
        check("s3_part_size = 5242879", "5242879", "must be from 5MiB to 1GiB");
        check("part_memory = '7MiB'", "\"7MiB\"", "must be at least 8MiB");
        check("ack = 1979-05-27", "1979-05-27", "must be one of durable, written");
        check("listen = 4000", "4000", ":PORT or unix:/path/to.sock");
        check("log = ['info']", "[\"info\"]", "\"info,incoming=debug\"");
        check("resumable_versions = [6, 11]", "11", "must be a whole number from 3 to 10");
        check("resumable_versions = '2'", "\"2\"", "must be a whole number from 3 to 10");
        check(
            "backend_allow = ['::1', 'x']",
            "\"x\"",
            "must be an IP address or a CIDR, such as 10.0.0.0/8 or ::1",
        );
        check(
            "storage_dir_mode = '0500'",
            "\"0500\"",
            "must give the server access: at least 0700",
        );
    }
}
