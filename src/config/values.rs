//! Each key from its winning layer into its place in [`Settings`]. No key is held against another
//! here (`rules.rs` does that), and the machine is not asked (`machine.rs`).

use std::path::PathBuf;

use super::error::{ConfigError, ConfigErrors};
use super::layers::{Layers, Setting, setting};
use super::parse;
use super::raw::Raw;
use super::settings::{Acme, Settings};
use crate::net::{Address, AddressError};
use crate::tls::CertificateFiles;

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

    /// The values, a wrong one as if it were not written, and what is wrong.
    pub(super) fn values(layers: &Layers) -> (Self, ConfigErrors) {
        let (mut settings, mut found) = (Self::default(), layers.mistakes.clone());
        listeners(&mut settings, layers, &mut found);
        creation(&mut settings, layers, &mut found);
        storage(&mut settings, layers, &mut found);
        limits(&mut settings, layers, &mut found);
        times(&mut settings, layers, &mut found);
        rest(&mut settings, layers, &mut found);
        (settings, found)
    }
}

fn listeners(settings: &mut Settings, layers: &Layers, found: &mut ConfigErrors) {
    found.note(setting!(layers, listen).into(&mut settings.listen, address));
    found.note(setting!(layers, backend_listen).into(&mut settings.backend_listen, address));
    settings.tls = pairs(setting!(layers, tls_cert), setting!(layers, tls_key), found);
    let backend = (setting!(layers, backend_tls_cert), setting!(layers, backend_tls_key));
    settings.backend_tls = tls(&backend.0, &backend.1, found);
    let ca = &mut settings.backend_tls_client_ca;
    found.note(setting!(layers, backend_tls_client_ca).into(ca, |raw| parse::path(raw).map(Some)));
    found.note(
        setting!(layers, redirect_listen)
            .into(&mut settings.redirect_listen, |raw| address(raw).map(Some)),
    );
    found.note(
        setting!(layers, redirect_host)
            .into(&mut settings.redirect_host, |raw| parse::host_port(raw).map(Some)),
    );
    found.note(setting!(layers, hsts).into(&mut settings.hsts, parse::optional_duration));
    acme(&mut settings.acme, layers, found);
    found.note(
        setting!(layers, backend_allow).into_list(&mut settings.backend_allow, parse::network),
    );
    found.note(
        setting!(layers, backend_hosts).into_list(&mut settings.backend_hosts, parse::host_name),
    );
    found.note(setting!(layers, backend_open).into(&mut settings.backend_open, parse::flag));
    found.note(setting!(layers, backend_token).into_secret(&mut settings.backend_token));
    found.note(
        setting!(layers, trusted_proxies).into_list(&mut settings.trusted_proxies, parse::network),
    );
    found.note(setting!(layers, proxy_protocol).into(&mut settings.proxy_protocol, parse::flag));
    found.note(
        setting!(layers, backend_proxy_protocol)
            .into(&mut settings.backend_proxy_protocol, parse::flag),
    );
    found.note(setting!(layers, cors_origins).into_list(&mut settings.cors_origins, parse::origin));
    found.note(
        setting!(layers, callback_allow)
            .into_list(&mut settings.callback_allow, parse::callback_rule),
    );
}

fn creation(settings: &mut Settings, layers: &Layers, found: &mut ConfigErrors) {
    let url = &mut settings.frontend_url;
    found.note(setting!(layers, frontend_url).into(url, |raw| parse::http_url(raw).map(Some)));
    let url = &mut settings.create_url;
    found.note(setting!(layers, create_url).into(url, |raw| parse::callback_url(raw).map(Some)));
    let timeout = &mut settings.create_timeout;
    found.note(setting!(layers, create_timeout).into(timeout, parse::positive_duration));
    let headers = &mut settings.create_forward_headers;
    found.note(setting!(layers, create_forward_headers).into_list(headers, parse::forward_header));
    found.note(setting!(layers, create_secret).into_secret(&mut settings.create_secret));
}

fn acme(acme: &mut Acme, layers: &Layers, found: &mut ConfigErrors) {
    found.note(setting!(layers, acme_domains).into_list(&mut acme.domains, parse::domain));
    found.note(setting!(layers, acme_contact).into_list(&mut acme.contact, parse::mail));
    found.note(setting!(layers, acme_directory).into(&mut acme.directory, parse::https_url));
    let ca = &mut acme.directory_ca;
    found.note(setting!(layers, acme_directory_ca).into(ca, |raw| parse::path(raw).map(Some)));
    found.note(setting!(layers, acme_cache).into(&mut acme.cache, parse::path));
}

fn storage(settings: &mut Settings, layers: &Layers, found: &mut ConfigErrors) {
    found.note(setting!(layers, storage_dir).into(&mut settings.storage_dir, parse::path));
    let must_exist = &mut settings.storage_must_exist;
    found.note(setting!(layers, storage_must_exist).into(must_exist, parse::flag));
    found.note(setting!(layers, lock_wait).into(&mut settings.lock_wait, parse::duration));
    found.note(setting!(layers, storage_group).into(&mut settings.storage_group, parse::name));
    // The server reads and writes its files, and enters and lists their directory.
    let (file, dir) = (parse::mode(0o600), parse::mode(0o700));
    found.note(setting!(layers, storage_file_mode).into(&mut settings.storage_file_mode, file));
    found.note(setting!(layers, storage_dir_mode).into(&mut settings.storage_dir_mode, dir));
    found.note(setting!(layers, ack).into(&mut settings.ack, parse::ack));
    found.note(setting!(layers, min_free_space).into(&mut settings.min_free_space, parse::size));
}

fn limits(settings: &mut Settings, layers: &Layers, found: &mut ConfigErrors) {
    /// Beyond any file table; bounds what is allocated for the count alone.
    const MOST_CONNECTIONS: u64 = 1 << 20;
    found.note(setting!(layers, max_chunk_size).into(&mut settings.max_chunk_size, parse::limit));
    // The default gives way to a lower limit; only a size that was asked for can be too large.
    if let Some(most) = settings.max_chunk_size {
        settings.chunk_size = settings.chunk_size.min(most);
    }
    found.note(setting!(layers, chunk_size).into(&mut settings.chunk_size, parse::positive_size));
    found.note(setting!(layers, send_ahead).into(&mut settings.send_ahead, parse::count(1, 64)));
    found.note(setting!(layers, max_upload_size).into(&mut settings.max_upload_size, parse::limit));
    let uploads = parse::count(1, i64::MAX.cast_unsigned());
    found.note(setting!(layers, max_uploads).into(&mut settings.max_uploads, uploads));
    let connections = parse::count(1, MOST_CONNECTIONS);
    found.note(setting!(layers, max_connections).into(&mut settings.max_connections, connections));
    // The default follows the connections; only a size that was asked for can be too small.
    let needed = Settings::least_receive_memory(settings.max_connections);
    settings.receive_memory = settings.receive_memory.max(needed / 2 * 3);
    found.note(
        setting!(layers, receive_memory).into(&mut settings.receive_memory, parse::positive_size),
    );
    found.note(setting!(layers, min_rate).into(&mut settings.min_rate, parse::rate));
    found.note(setting!(layers, workers).into(&mut settings.workers, parse::count(1, 1024)));
}

fn times(settings: &mut Settings, layers: &Layers, found: &mut ConfigErrors) {
    use parse::{duration, positive_duration};
    found.note(setting!(layers, max_idle).into(&mut settings.max_idle, positive_duration));
    found.note(setting!(layers, retain_finished).into(&mut settings.retain_finished, duration));
    found.note(setting!(layers, failed_retention).into(&mut settings.failed_retention, duration));
    found.note(
        setting!(layers, handover_timeout).into(&mut settings.handover_timeout, positive_duration),
    );
    let confirm = &mut settings.handover_confirm_timeout;
    found.note(setting!(layers, handover_confirm_timeout).into(confirm, positive_duration));
    found.note(
        setting!(layers, handover_retry_for).into(&mut settings.handover_retry_for, duration),
    );
    found.note(setting!(layers, body_timeout).into(&mut settings.body_timeout, positive_duration));
    found.note(setting!(layers, shutdown_grace).into(&mut settings.shutdown_grace, duration));
}

fn rest(settings: &mut Settings, layers: &Layers, found: &mut ConfigErrors) {
    found.note(setting!(layers, doctor).into(&mut settings.doctor, parse::flag));
    found.note(setting!(layers, log).into(&mut settings.log, parse::log_filter));
    found.note(setting!(layers, log_format).into(&mut settings.log_format, parse::log_format));
}

fn address(raw: &Raw) -> Result<Address, String> {
    let text = parse::text(raw).map_err(|_| AddressError::Malformed.to_string())?;
    text.parse().map_err(|error: AddressError| error.to_string())
}

/// Certificates and their keys, one key for each.
fn pairs(
    cert: Setting<'_, Vec<Raw>>,
    key: Setting<'_, Vec<Raw>>,
    found: &mut ConfigErrors,
) -> Vec<CertificateFiles> {
    let reported = found.concern(cert.key) || found.concern(key.key);
    let (mut certs, mut keys) = (Vec::new(), Vec::new());
    let path = |text: &str| Ok(PathBuf::from(text));
    let read = (cert.read_list(&mut certs, path), key.read_list(&mut keys, path));
    let (Some(cert), Some(key)) = (found.note(read.0), found.note(read.1)) else {
        return Vec::new();
    };
    let count = |paths: &[PathBuf]| match paths {
        [path] => format!("{:?}", path.display().to_string()),
        paths => format!("{} files", paths.len()),
    };
    let wrong = match (certs.len(), keys.len()) {
        (certs, keys) if certs == keys => None,
        // The other one may be what the unknown key was to be.
        _ if reported => return Vec::new(),
        (1.., 0) => Some(cert.wrong(&count(&certs), format!("needs {} as well", key.key))),
        (0, 1..) => Some(key.wrong(&count(&keys), format!("needs {} as well", cert.key))),
        (most, _) => {
            let right = format!("must be one key for each of the {most} in {}", cert.key);
            Some(key.wrong(&count(&keys), right))
        }
    };
    if let Some(wrong) = wrong {
        found.note::<()>(Err(wrong));
        return Vec::new();
    }
    certs.into_iter().zip(keys).map(|(cert, key)| CertificateFiles { cert, key }).collect()
}

/// A certificate and a key, both or neither.
fn tls(
    cert: &Setting<'_, Raw>,
    key: &Setting<'_, Raw>,
    found: &mut ConfigErrors,
) -> Option<CertificateFiles> {
    let reported = found.concern(cert.key) || found.concern(key.key);
    let path = |given: &Setting<'_, Raw>| -> Result<Option<PathBuf>, ConfigError> {
        let Some(raw) = given.value else { return Ok(None) };
        parse::path(raw).map(Some).map_err(|right| given.wrong(raw, right))
    };
    let paths = (found.note(path(cert)), found.note(path(key)));
    let (set, path, missing) = match (paths.0?, paths.1?) {
        (Some(cert), Some(key)) => return Some(CertificateFiles { cert, key }),
        (None, None) => return None,
        (Some(path), None) => (cert, path, key),
        (None, Some(path)) => (key, path, cert),
    };
    if !reported {
        let shown = format!("{:?}", path.display().to_string());
        found.note::<()>(Err(set.wrong(&shown, format!("needs {} as well", missing.key))));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::tests::layers;
    use crate::config::{Ack, LogFormat};

    #[test]
    fn nothing_written_is_the_default() {
        assert_eq!(Settings::read(&layers("")).unwrap(), Settings::default());
    }

    #[test]
    fn reads_each_kind_of_value() {
        fn check(file: &str, expected: fn(&mut Settings)) {
            let mut settings = Settings::default();
            expected(&mut settings);
            assert_eq!(Settings::read(&layers(file)).unwrap(), settings, "{file}");
        }
        check("listen = ':80'", |s| s.listen = "0.0.0.0:80".parse().unwrap());
        check("backend_listen = 'unix:/s'", |s| s.backend_listen = "unix:/s".parse().unwrap());
        check("tls_cert = 'c'\ntls_key = 'k'", |s| {
            s.tls = vec![CertificateFiles { cert: "c".into(), key: "k".into() }];
        });
        check("tls_cert = ['c', 'd']\ntls_key = 'k,l'", |s| {
            let pair = |c: &str, k: &str| CertificateFiles { cert: c.into(), key: k.into() };
            s.tls = vec![pair("c", "k"), pair("d", "l")];
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
            s.acme.domains = vec!["a.example".into(), "b.example".into()];
            s.acme.contact = vec!["ops@a.example".into()];
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
    }

    #[test]
    fn names_key_value_and_what_is_right() {
        fn check(file: &str, value: &str, right: &str) {
            let line = Settings::read(&layers(file)).unwrap_err().to_string();
            let key = file.split(' ').next().unwrap();
            assert!(line.starts_with(&format!("{key} = {value} (file ")), "{line}");
            assert!(line.ends_with(&format!("): {right}")), "{line}");
        }
        check("tls_cert = 'c'", "\"c\"", "needs tls_key as well");
        check(
            "tls_key = ['k']\ntls_cert = ['c', 'd']",
            "\"k\"",
            "must be one key for each of the 2 in tls_cert",
        );
        check("tls_cert = ['c', 'd']", "2 files", "needs tls_key as well");
        check("backend_tls_key = 'k'", "\"k\"", "needs backend_tls_cert as well");
        check("send_ahead = 65", "65", "must be a whole number from 1 to 64");
        check("max_connections = 0", "0", "must be a whole number from 1 to 1048576");
        check("max_idle = 0", "0", "must be longer than 0");
        check("handover_timeout = '0s'", "\"0s\"", "must be longer than 0");
        check("max_upload_size = 0", "0", "must be at least 1 byte; for no limit write none");
        check("chunk_size = 0", "0", "must be at least 1 byte");
        check("ack = 'maybe'", "\"maybe\"", "must be durable or written");
        check("cors_origins = [1]", "1", "must be a list of strings");
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
