//! Configuration: flags over environment over file over defaults, checked once, before anything
//! starts. The result is [`Settings`]: plain values.
//!
//! The way of a value: a row of `table.rs` says its key and its kind; `layers.rs` finds where it is written; its kind
//! (`kind.rs`, `texts.rs`, `units.rs`) makes of that text what the server uses; `rules.rs` checks the values against each
//! other, and `app/preflight.rs` against the machine.
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
mod rules;
mod settings;
mod table;
mod texts;
mod types;
mod units;

pub use crate::net::{Address, AddressError};
pub use error::ConfigError;
pub use flags::Flags;
pub(crate) use kind::word_of;
pub use layers::Layers;
pub use settings::{LOCAL_BACKEND_GUARD, UntrustedNetworks};
pub use table::Settings;
pub(crate) use table::TABLE;
pub use texts::parse_filter;
pub use types::{
    Ack, CallbackRule, CreateSecret, ExposedPath, JournalKind, LogFormat, Secret, StoreKind,
};
pub use units::{parse_duration, parse_size};

impl Settings {
    /// Reads the values alone, without checking them against each other or the machine: for commands that only talk to a
    /// running server.
    ///
    /// # Errors
    /// The values that cannot be what their keys need, each with a line of its own.
    pub fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let (settings, found) = Self::values(layers);
        found.or(settings)
    }

    /// Reads the values and checks them against each other, as a reload does: a bad certificate or another problem of the
    /// machine must not keep a limit from changing.
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
        settings.derive_defaults(|key| layers.value(key).is_none());
        (settings, found)
    }

    /// Defaults that follow from other settings, so that only a value that someone wrote can be wrong beside them.
    fn derive_defaults(&mut self, unset: impl Fn(&str) -> bool) {
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
    use super::*;

    fn layers(file: &str) -> Layers {
        Layers::of_text(file).unwrap()
    }

    /// The rows of a table: what is before the arrow and what is behind it.
    fn rows(table: &str) -> impl Iterator<Item = (&str, &str)> {
        let rows = table.lines().map(str::trim).filter(|row| !row.is_empty());
        rows.map(|row| row.split_once("-> ").map(|(left, right)| (left.trim(), right)).unwrap())
    }

    #[test]
    fn nothing_written_is_the_default() {
        assert_eq!(Settings::read(&layers("")).unwrap(), Settings::default());
    }

    /// Values of each kind, as a file may have them, and as they are shown; which reads back to the same.
    const READ: &str = r#"
        listen = ':80'                                    -> "0.0.0.0:80"
        backend_listen = 'unix:/s'                        -> "unix:/s"
        tls_cert = 'c'                                    -> ["c"]
        tls_cert = ['c', 'd e']                           -> ["c", "d e"]
        tls_key = 'k,l'                                   -> ["k", "l"]
        redirect_host = 'A.example:8443'                  -> "a.example:8443"
        redirect_host = 'Upload.Example.org'              -> "upload.example.org"
        redirect_host = '10.0.0.1:443'                    -> "10.0.0.1:443"
        redirect_host = '[::1]'                           -> "[::1]"
        redirect_host = '[::1]:443'                       -> "[::1]:443"
        hsts = '180d'                                     -> "180d"
        hsts = 0                                          -> "0"
        hsts = 'none'                                     -> "none"
        acme_domains = 'App.Example.ORG.,localhost,web_1' -> ["app.example.org", "localhost", "web_1"]
        acme_contact = 'a@b.example,mailto:c@d.example'   -> ["a@b.example", "c@d.example"]
        acme_directory = 'https://a:14000/d/'             -> "https://a:14000/d/"
        backend_open = true                               -> true
        backend_open = 'true'                             -> true
        http2 = false                                     -> false
        backend_hosts = ['App.Internal.', 'b_2']          -> ["app.internal", "b_2"]
        backend_allow = ['::1', '10.0.0.0/8']             -> ["::1/128", "10.0.0.0/8"]
        trusted_proxies = '10.1.2.3, 10.1.2.3/8'          -> ["10.1.2.3/32", "10.0.0.0/8"]
        trusted_proxies = 'fd00::/8, ::/0'                -> ["fd00::/8", "::/0"]
        trusted_proxies = '::ffff:10.1.2.3'               -> ["10.1.2.3/32"]
        trusted_proxies = '::ffff:10.0.0.0/104'           -> ["10.0.0.0/8"]
        trusted_proxies = '::ffff:0:0/96'                 -> ["0.0.0.0/0"]
        callback_allow = 'App.Example.ORG., localhost'    -> ["app.example.org", "localhost"]
        callback_allow = 'web_1, 10.0.0.0/8, ::1'         -> ["web_1", "10.0.0.0/8", "::1/128"]
        storage_dir = 'a b'                               -> "a b"
        storage_dir = "quote\" back\\slash \u0007 ä"      -> "quote\" back\\slash \u0007 ä"
        storage_group = 33                                -> "33"
        storage_group = 'www-data'                        -> "www-data"
        storage_file_mode = '640'                         -> "0640"
        storage_file_mode = '0o640'                       -> "0640"
        storage_file_mode = '0777'                        -> "0777"
        ack = 'written'                                   -> "written"
        log_format = 'json'                               -> "json"
        chunk_size = 1000                                 -> "1000"
        max_chunk_size = '1GiB'                           -> "1GiB"
        max_chunk_size = 'none'                           -> "none"
        min_rate = 0                                      -> "0"
        min_rate = '1KB/s'                                -> "1000"
        min_rate = '1KiB'                                 -> "1KiB"
        min_free_space = 0                                -> "0"
        max_idle = '1h 30m 1s 5ms'                        -> "1h 30m 1s 5ms"
        retain_finished = 0                               -> "0"
        s3_presign = '7d'                                 -> "7d"
        workers = 3                                       -> 3
        send_ahead = '64'                                 -> 64
        resumable_versions = [6, 8]                       -> [6, 8]
        resumable_versions = '6, 8'                       -> [6, 8]
        resumable_versions = ['6', '8']                   -> [6, 8]
        resumable_versions = []                           -> []
        cors_origins = []                                 -> []
        cors_origins = '*'                                -> ["*"]
        cors_origins = 'HTTPS://App.Example.org:443'      -> ["https://app.example.org"]
        cors_origins = 'http://localhost:8080'            -> ["http://localhost:8080"]
        cors_origins = 'http://[::1]:80'                  -> ["http://[::1]"]
        cors_origins = 'capacitor://localhost'            -> ["capacitor://localhost"]
        frontend_url = 'https://a.b/c'                    -> "https://a.b/c"
        frontend_url = 'http://[::1]:4000/x/'             -> "http://[::1]:4000/x"
        create_url = 'http://127.0.0.1:8000/t?f=i'        -> "http://127.0.0.1:8000/t?f=i"
        create_forward_headers = 'X-User'                 -> ["x-user"]
        s3_endpoint = 'http://a:9000/'                    -> "http://a:9000"
        s3_bucket = 'a.b-c_1'                             -> "a.b-c_1"
        s3_prefix = 'a/b'                                 -> "a/b/"
        s3_prefix = 'a/b//'                               -> "a/b/"
        s3_path_style = false                             -> false
        log = 'WARN'                                      -> "WARN"
        log = 'off'                                       -> "off"
        log = 'info,incoming=debug'                       -> "info,incoming=debug"
        log = 'warn,incoming::wire=trace'                 -> "warn,incoming::wire=trace"
        log = 'info,[{upload=(}]=debug'                   -> "info,[{upload=(}]=debug"
    "#;

    #[test]
    fn reads_each_kind_of_value_and_what_it_shows() {
        for (file, shown) in rows(READ) {
            let settings = Settings::read(&layers(file)).unwrap();
            let (key, _) = file.split_once(" = ").unwrap();
            let toml = settings.to_toml();
            let line = toml.lines().find(|line| line.starts_with(&format!("{key} = ")));
            assert_eq!(line, Some(&*format!("{key} = {shown}")), "{file}");
            assert_eq!(Settings::read(&layers(&toml)).unwrap(), settings, "{toml}");
        }
    }

    #[test]
    fn defaults_follow_other_settings() {
        let settings = Settings::read(&layers("max_chunk_size = '1MiB'")).unwrap();
        assert_eq!((settings.max_chunk_size, settings.chunk_size), (Some(1 << 20), 1 << 20));
        let settings = Settings::read(&layers("max_connections = 100000")).unwrap();
        assert_eq!(settings.receive_memory, 150_000 * (128 << 10));
    }

    /// Values that a key cannot have, and what would be right.
    const WRONG: &str = r#"
        listen: 4000 | "" -> must be IP:PORT, [IPV6]:PORT, localhost:PORT, :PORT or unix:/path/to.sock
        redirect_host: "" | ":443" | "a:" | "a:0" | "a:70000" | "a:+1" | "a/b" -> must be HOST or HOST:PORT, without scheme and path
        redirect_host: "https://a" | "::1" | "u@a" | "a b" | "[a]" -> must be HOST or HOST:PORT, without scheme and path
        hsts: "x" -> must be a time with units, such as 500ms, 30s, 10m, 12h, 7d or "1h 30m", or a bare 0, or none
        acme_domains: "*.example.org" | "http://a" | "a:80" | "-a" | "a..b" -> must be a host name, such as upload.example.org, no wildcard and no address
        acme_domains: "10.0.0.1" | "1.2.3.256" | "::1" | "a b" -> must be a host name, such as upload.example.org, no wildcard and no address
        acme_contact: "ops" | "@a.org" | "ops@" | "a b@a.org" | "ops@a/b" | "a@b@c" -> must be a mail address, such as ops@example.org
        acme_directory: "" | "http://a/" | "https://" | "https://a b/" | "a.b" -> must be an https URL
        backend_allow: "10.0.0.0/33" | "host" | "10.0.0" | "*" -> must be an IP address or a CIDR, such as 10.0.0.0/8 or ::1
        backend_hosts: "*.a" | "http://a" | "a:80" | "1.2.3.4" | "::1" | "-a" -> must be a host name, without scheme, port or wildcard; addresses are always allowed
        callback_allow: "*.a" | "http://a" | "a:80" | "1.2.3.256" | "-a" | "a..b" | "a b" -> must be a host name, an IP address or a CIDR, without scheme, port or wildcard
        backend_token: "" | "two words" | "zwölf" | "line\n" | 12345 -> must be a string of visible ASCII characters, at least one, no spaces
        backend_open: "yes" | 1 | "True" | "" -> must be true or false
        storage_dir: "" | 1 -> must be a path (text, not empty)
        storage_group: "" -> must be a name or a number
        storage_file_mode: 640 | "0o" | "+640" | "648" | "1777" | "rw-r-----" | "0x1f" | "" -> must be a string of octal digits up to 0777, such as "0640"
        storage_file_mode: "0440" -> must give the server access: at least 0600
        storage_dir_mode: "0500" -> must give the server access: at least 0700
        ack: "Durable" | "maybe" | 1979-05-27 | "" -> must be one of durable, written
        log_format: "xml" -> must be one of text, json
        s3_bucket: "" | "ab" | "a/b" | "a b" -> must be the name of a bucket: letters, digits, - . and _, at least 3
        s3_endpoint: "" | "a:9000" | "http://a/b" | "http://" | "ftp://a" | "http://u:p@a" -> must be http://HOST:PORT or https://HOST:PORT, without a path
        s3_region: "" | "a b" -> must be visible ASCII characters, at least one, no spaces
        s3_prefix: "" | "/" | "/a" | "a b" | "ä" -> must be letters, digits, - . _ and /, not / first
        s3_presign: "7d 1s" | "1500ms" -> must be whole seconds, at most 7d, or none
        s3_presign: "0s" -> must be longer than 0, or none
        s3_part_size: 5242879 -> must be from 5MiB to 1GiB
        part_memory: "7MiB" -> must be at least 8MiB
        chunk_size: 0 -> must be at least 1 byte
        chunk_size: "9223372036854775808" | "99999999PiB" -> must be less than 8EiB
        chunk_size: "" | "MiB" | "8M" | "8 bananas" | "-1" | "+1" | "1.5GiB" | "0x10" | "8MiB/s" -> must be a whole number of bytes or one with a unit (B, KB, MB, GB, TB, PB = powers of 1000; KiB, MiB, GiB, TiB, PiB = of 1024), such as 8MiB
        max_upload_size: 0 -> must be at least 1 byte, or none
        min_rate: "x" -> must be a whole number of bytes or one with a unit (B, KB, MB, GB, TB, PB = powers of 1000; KiB, MiB, GiB, TiB, PiB = of 1024), such as 8MiB
        send_ahead: 0 | 65 | "x" | -1 | "1.0" | "" -> must be a whole number from 1 to 64
        max_connections: 0 -> must be a whole number from 1 to 1048576
        workers: 0 | 1025 | "two" | "" -> must be a whole number from 1 to 1024
        resumable_versions: 11 | "2" -> must be a whole number from 3 to 10
        max_idle: "" | "30" | "-1s" | "12 parsecs" | "none" -> must be a time with units, such as 500ms, 30s, 10m, 12h, 7d or "1h 30m"
        max_idle: 0 | "0s" -> must be longer than 0
        retain_finished: "9999y" -> must be at most a hundred years
        cors_origins: 1 | "a.org" | "https://" | "https://a/" | "https://a/b" | "https://*.a" -> must be * or an origin such as https://app.example.org, without a path
        cors_origins: "https://a:x" | "https://a:0" | "https://u@a" | "null" | "1a://b" | "http://[::g]" -> must be * or an origin such as https://app.example.org, without a path
        frontend_url: "" | "a.b" | "ftp://a/b" | "https://a/b?c" | "https://a/b#c" | "https://a b" | "https://a:0/" -> must be an http or https URL, such as https://upload.example.org/incoming/frontend
        create_url: "" | "http://u:p@a/" | "/tickets" | "http://" -> must be an http or https URL without user name and password
        create_forward_headers: "Host" | "content-length" | "Transfer-Encoding" | "a b" -> must be the name of a header that says who the client is
        log: "" | "verbose" | "info," | "incoming=loud" | "inof" | "Gg\u008dG\u008d[]:" | "[ü]=info" | ["info"] -> must be error, warn, info, debug, trace or off, or directives such as "info,incoming=debug"
    "#;

    #[test]
    fn names_key_value_and_what_is_right() {
        let told = |file: &str| Settings::read(&layers(file)).unwrap_err().to_string();
        for (wrong, right) in rows(WRONG) {
            let (key, values) = wrong.split_once(": ").unwrap();
            for value in values.split(" | ") {
                let file = format!("{key} = {value}");
                let shown = match key {
                    "backend_token" => "(not shown)".to_owned(),
                    _ => layers::shown(&toml::from_str::<toml::Table>(&file).unwrap()[key]),
                };
                let place = format!("file \"incoming.toml\" key {key}");
                assert_eq!(told(&file), format!("{key} = {shown} ({place}): {right}"));
            }
        }
        assert!(told("resumable_versions = [6, 11]").starts_with("resumable_versions = 11 (file "));
    }
}
