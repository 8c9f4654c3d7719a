//! Rules between settings: which values do not fit each other, one row for each. Pure: the machine is not asked.

use super::error::ConfigError;
use super::layers::Layers;
use super::table::Settings;
use super::types::{Ack, JournalKind, StoreKind};
use super::units::size;
use crate::net::Address;

/// Adds an error for each broken rule, except of rules about keys that `found` already names: a consequence of a wrong
/// value is not reported besides it.
pub(super) fn check(settings: &Settings, layers: &Layers, found: &mut ConfigError) {
    let asked = RULES.iter().filter(|(keys, _)| !keys.iter().any(|key| found.concerns(key)));
    let wrong = asked.filter_map(|(keys, rule)| Some(layers.misfit(keys[0], rule(settings)?)));
    wrong.collect::<Vec<_>>().into_iter().for_each(|error| found.add(error));
}

/// Every key that the rule reads, the one that is wrong first (`breaks_alone` finds missing ones); and, if the
/// values do not fit, what would be right.
type Rule = (&'static [&'static str], fn(&Settings) -> Option<String>);

/// Makes [`RULES`] of rows: the keys, a condition under which the values do not fit, and what would be right. Where that text
/// depends on the values, one expression gives it as an `Option`.
macro_rules! rules {
    ($([$($key:ident),+] |$settings:ident| $broken:expr $(=> $right:expr)?;)+) => {
        const RULES: &[Rule] = &[$(
            (&[$(stringify!($key)),+], |$settings| $broken $(.then(|| $right.to_owned()))?),
        )+];
    };
}

rules! {
    // Certificates and their keys.
    [tls_cert, tls_key] |s| !s.tls_cert.is_empty() && s.tls_key.is_empty() => "needs tls_key as well";
    [tls_key, tls_cert] |s| s.tls_cert.is_empty() && !s.tls_key.is_empty() => "needs tls_cert as well";
    [tls_key, tls_cert] |s| {
        let (certs, keys) = (s.tls_cert.len(), s.tls_key.len());
        let unpaired = certs != keys && certs > 0 && keys > 0;
        unpaired.then(|| format!("must be one key for each of the {certs} in tls_cert"))
    };
    [backend_tls_cert, backend_tls_key] |s| s.backend_tls_cert.is_some() && s.backend_tls_key.is_none()
        => "needs backend_tls_key as well";
    [backend_tls_key, backend_tls_cert] |s| s.backend_tls_key.is_some() && s.backend_tls_cert.is_none()
        => "needs backend_tls_cert as well";
    [acme_domains] |s| !s.acme_domains.is_empty() && !cfg!(feature = "acme")
        => "needs a program built with the feature acme";
    [acme_domains, tls_cert] |s| !s.acme_domains.is_empty() && !s.tls_cert.is_empty()
        => "excludes tls_cert: set only one of them";

    // What needs https.
    [hsts, acme_domains, tls_cert] |s| s.hsts.is_some_and(|time| !time.is_zero()) && !s.public_tls()
        => "needs tls_cert; behind a proxy that terminates TLS, let the proxy send this header";
    [redirect_listen, acme_domains, tls_cert] |s| s.redirect_listen.is_some() && !s.public_tls()
        => "needs tls_cert: without it there is no https to redirect to";
    [redirect_listen, redirect_host, listen] |s| {
        let port = s.redirect_host.as_ref().and_then(|host| host.port);
        s.redirect_listen.is_some() && port.is_none() && matches!(s.listen, Address::Unix(_))
    } => "needs redirect_host = HOST:PORT, since listen is a unix socket without a port";

    // Each listener has an address of its own; the public one and that of the backend may share one.
    [backend_listen, listen] |s| s.listen.collides(&s.backend_listen).then(|| format!(
        "takes the same port as listen = {}; choose another port, or the same address to share one socket", s.listen
    ));
    [redirect_listen, listen, backend_listen] |s| {
        let from = s.redirect_listen.as_ref()?;
        let taken = [("listen", &s.listen), ("backend_listen", &s.backend_listen)];
        let (key, other) = taken.into_iter().find(|(_, it)| from.collides(it) || from == *it)?;
        Some(format!("is the same address as {key} = {other}; choose another port"))
    };

    // A shared socket has one certificate, and client certificates need TLS to travel in.
    [backend_tls_cert, listen, backend_listen] |s| s.shared() && s.backend_tls_cert.is_some()
        => "is for a separate backend listener; on a shared socket tls_cert covers both";
    [backend_tls_client_ca, listen, backend_listen, acme_domains, tls_cert] |s|
        s.backend_tls_client_ca.is_some() && s.shared() && !s.public_tls()
        => "needs tls_cert and tls_key on the shared socket";
    [backend_tls_client_ca, listen, backend_listen, backend_tls_cert] |s|
        s.backend_tls_client_ca.is_some() && !s.shared() && s.backend_tls_cert.is_none()
        => "needs backend_tls_cert and backend_tls_key";

    // A caller of the backend API can learn all tickets and have any URL called. Where others than this machine can
    // reach it, the operator has to have chosen: a token, client certificates, addresses, or openly nothing. Only an
    // explicit choice counts: an empty `backend_allow` is as good as none, `false` is no choice, TLS without client
    // certificates hides but does not protect, and the loopback fallback of a shared socket
    // ([`Settings::backend_allow_effective`]) is not set by the operator.
    [backend_listen, backend_token, backend_tls_client_ca, backend_allow, backend_open] |s|
        s.leaves_backend_open(&s.backend_listen).then(|| format!(
            "other machines can reach the backend API there; set one of {}, or listen on loopback or a unix: socket",
            Settings::BACKEND_GUARDS
        ));
    // Whose token it is decides what a call may do.
    [operator_token, backend_token] |s| {
        let both = s.operator_token.as_ref().zip(s.backend_token.as_ref());
        both.is_some_and(|(operator, backend)| operator.ct_eq(backend))
    } => "must differ from backend_token";
    // With two secrets for one URL it would be chance which one signs.
    [signing_secrets] |s| {
        let mut urls: Vec<_> = s.signing_secrets.iter().map(|it| it.prefix.as_str()).collect();
        urls.sort_unstable();
        let twice = urls.windows(2).find(|pair| pair[0] == pair[1])?;
        Some(format!("must name {:?} once, with at most two secrets", twice[0]))
    };

    // A listener that asks for PROXY headers needs a proxy that may send them.
    [proxy_protocol, listen, trusted_proxies] |s| s.proxy_protocol && s.lacks_proxies(&s.listen) => NEEDS_PROXIES;
    [backend_proxy_protocol, listen, backend_listen] |s| s.backend_proxy_protocol && s.shared()
        => "is for a separate backend listener; on a shared socket proxy_protocol covers both";
    [backend_proxy_protocol, backend_listen, listen, trusted_proxies] |s|
        s.backend_proxy_protocol && !s.shared() && s.lacks_proxies(&s.backend_listen) => NEEDS_PROXIES;

    // What is suggested must be allowed.
    [chunk_size, max_chunk_size] |s| {
        let most = s.max_chunk_size.filter(|most| s.chunk_size > *most)?;
        Some(format!("must be at most max_chunk_size, which is {}", size(most)))
    };
    [receive_memory, max_connections] |s| {
        let (each, least) = (Settings::least_receive_memory(1), Settings::least_receive_memory(s.max_connections));
        (s.receive_memory < least).then(|| format!(
            "must be at least {} for each of max_connections = {}, which is {}",
            size(each), s.max_connections, size(least)
        ))
    };
    [cors_origins] |s| s.cors_origins.len() > 1 && s.cors_origins.iter().any(|origin| origin == "*")
        => "must be * alone or a list of origins, since * allows them all";

    // Object storage and the shared log.
    [store] |s| s.store == StoreKind::S3 && !cfg!(feature = "cluster")
        => "needs a program built with the feature cluster";
    [store, s3_bucket] |s| s.store == StoreKind::S3 && s.s3_bucket.is_none() => "needs s3_bucket";
    [s3_presign, store] |s| s.s3_presign.is_some() && s.store == StoreKind::File => "needs store = s3";
    [s3_access_key, s3_secret_key] |s| s.s3_access_key.is_some() && s.s3_secret_key.is_none()
        => "needs s3_secret_key as well";
    [s3_secret_key, s3_access_key] |s| s.s3_secret_key.is_some() && s.s3_access_key.is_none()
        => "needs s3_access_key as well";
    [ack, store] |s| s.store == StoreKind::S3 && s.ack == Ack::Written
        => "must be durable: what is in a bucket is";
    [journal, store] |s| s.journal == JournalKind::Postgres && s.store == StoreKind::File
        => "needs store = s3: two servers that write into one file cannot be told apart";
    [journal, postgres_url] |s| s.journal == JournalKind::Postgres && s.postgres_url.is_none()
        => "needs postgres_url";
}

const NEEDS_PROXIES: &str = "needs trusted_proxies, the addresses of the proxies that may connect";

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(file: &str) -> Result<(), String> {
        let layers = Layers::of_text(file).unwrap();
        Settings::read(&layers).unwrap();
        Settings::checked(&layers).map(drop).map_err(|error| error.to_string())
    }

    /// One broken value in a valid file is reported once: no rule adds an error about its consequences.
    fn breaks_alone(file: &str) {
        for line in file.lines().filter(|line| !line.is_empty()) {
            let key = line.split(' ').next().unwrap();
            let others = file.lines().filter(|other| *other != line);
            let others = others.collect::<Vec<_>>().join("\n");
            for broken in [format!("{key} = 1.5"), format!("{key}z = 'x'")] {
                let layers = Layers::of_text(&format!("{others}\n{broken}")).unwrap();
                let told = Settings::checked(&layers).unwrap_err().to_string();
                assert_eq!(told.lines().count(), 1, "{others}\n{broken}\n{told}");
                assert!(told.starts_with(key), "{others}\n{broken}\n{told}");
            }
        }
    }

    #[test]
    fn a_backend_listener_beyond_loopback_needs_a_choice() {
        const LOCAL: [&str; 6] = [
            "",
            "backend_listen = '[::1]:4001'",
            "backend_listen = 'unix:/run/b.sock'",
            "listen = '127.0.0.1:4000'\nbackend_listen = 'localhost:4000'",
            "listen = 'unix:/run/i.sock'\nbackend_listen = 'unix:/run/i.sock'",
            "listen = '[::ffff:127.0.0.1]:1'\nbackend_listen = '[::ffff:127.0.0.1]:1'",
        ];
        const REACHABLE: [&str; 5] = [
            "backend_listen = '0.0.0.0:4001'",
            "backend_listen = '[::]:4001'",
            "backend_listen = '10.0.0.1:4001'",
            "backend_listen = ':4000'",
            "listen = '10.0.0.1:4000'\nbackend_listen = '10.0.0.1:4000'",
        ];
        const CHOICES: [&str; 3] =
            ["backend_token = 't'", "backend_allow = ['10.0.0.0/8']", "backend_open = true"];
        const NO_CHOICES: [&str; 5] = [
            "",
            "backend_open = false",
            "backend_allow = []",
            "tls_cert = 'c'\ntls_key = 'k'",
            "trusted_proxies = ['127.0.0.1']\ncallback_allow = ['::1']",
        ];
        for listeners in REACHABLE {
            CHOICES.iter().for_each(|choice| check(&format!("{listeners}\n{choice}"), FIT));
            for choice in NO_CHOICES {
                let file = format!("{listeners}\n{choice}");
                check(&file, "backend_listen");
                assert!(verdict(&file).unwrap_err().contains("backend_open = true"), "{file}");
            }
        }
        for listeners in LOCAL {
            NO_CHOICES.iter().for_each(|choice| check(&format!("{listeners}\n{choice}"), FIT));
        }
    }

    const FIT: &str = "they fit";

    /// Whether the values of a file fit each other, or which key is wrong.
    fn check(file: &str, expected: &str) {
        let expected = match file {
            file if file.contains("acme_domains") && !cfg!(feature = "acme") => "acme_domains",
            file if file.contains("'s3'") && !cfg!(feature = "cluster") => "store",
            _ => expected,
        };
        match verdict(file) {
            Ok(()) => {
                assert_eq!(FIT, expected, "{file}");
                breaks_alone(file);
            }
            Err(line) => assert!(line.starts_with(&format!("{expected} = ")), "{file}: {line}"),
        }
    }

    #[test]
    fn values_fit_each_other() {
        // The settings of a file, and the key that is wrong.
        const FILES: &str = "
            chunk_size = '1MiB'; max_chunk_size = '1MiB' -> they fit
            chunk_size = '2MiB'; max_chunk_size = '1MiB' -> chunk_size
            max_chunk_size = '1KiB' -> they fit
            receive_memory = '1GiB' -> receive_memory
            receive_memory = '1GiB'; max_connections = 8000 -> they fit
            cors_origins = ['*'] -> they fit
            cors_origins = ['https://a', 'https://b'] -> they fit
            cors_origins = ['https://a', '*'] -> cors_origins

            proxy_protocol = true -> proxy_protocol
            backend_proxy_protocol = true -> backend_proxy_protocol
            proxy_protocol = true; backend_proxy_protocol = true; trusted_proxies = '10.0.0.1' -> they fit
            proxy_protocol = true; backend_proxy_protocol = true; LISTEN_UNIX; backend_listen = 'unix:/b' -> they fit
            backend_proxy_protocol = true; LISTEN_UNIX; backend_listen = 'unix:/a' -> backend_proxy_protocol
            proxy_protocol = true; LISTEN_UNIX; backend_listen = 'unix:/a' -> they fit

            listen = ':80'; backend_listen = '127.0.0.1:80' -> backend_listen
            listen = '127.0.0.1:80'; backend_listen = ':80' -> backend_listen
            hsts = '1d' -> hsts
            hsts = 0 -> they fit
            hsts = '1d'; TLS -> they fit
            redirect_listen = ':80' -> redirect_listen
            redirect_listen = ':80'; TLS -> they fit
            redirect_listen = ':4000'; TLS -> redirect_listen
            redirect_listen = ':4001'; TLS -> redirect_listen
            redirect_listen = '127.0.0.1:4000'; TLS -> redirect_listen
            redirect_listen = ':80'; TLS; LISTEN_UNIX -> redirect_listen
            redirect_listen = ':80'; TLS; LISTEN_UNIX; redirect_host = 'a' -> redirect_listen
            redirect_listen = ':80'; TLS; LISTEN_UNIX; redirect_host = 'a:443' -> they fit

            acme_domains = 'a.example' -> they fit
            acme_domains = 'a.example'; redirect_listen = ':80'; hsts = '1d' -> they fit
            acme_domains = 'a.example'; TLS -> acme_domains
            acme_contact = 'a@b.example'; acme_cache = '/c' -> they fit
            tls_cert = 'c' -> tls_cert
            tls_key = 'k' -> tls_key
            tls_cert = ['c', 'd']; tls_key = ['k'] -> tls_key
            backend_tls_cert = 'c' -> backend_tls_cert
            backend_tls_key = 'k' -> backend_tls_key
            SHARED; OWN_TLS -> backend_tls_cert
            backend_tls_client_ca = 'ca' -> backend_tls_client_ca
            backend_tls_client_ca = 'ca'; TLS -> backend_tls_client_ca
            backend_tls_client_ca = 'ca'; OWN_TLS -> they fit
            backend_tls_client_ca = 'ca'; OWN_TLS; backend_listen = ':4001' -> they fit
            backend_tls_client_ca = 'ca'; SHARED -> backend_tls_client_ca
            backend_tls_client_ca = 'ca'; SHARED; TLS -> they fit
            backend_tls_client_ca = 'ca'; TLS; backend_listen = ':4000' -> they fit
            operator_token = 't'; backend_token = 't' -> operator_token
            operator_token = 't'; backend_token = 'u' -> they fit

            store = 's3' -> store
            S3 -> they fit
            S3; ack = 'written' -> ack
            S3; s3_presign = '7d' -> they fit
            s3_presign = '1h' -> s3_presign
            s3_access_key = 'a' -> s3_access_key
            s3_secret_key = 'a' -> s3_secret_key
            s3_access_key = 'a'; s3_secret_key = 'b' -> they fit
            journal = 'postgres'; postgres_url = 'postgres://h/d' -> journal
            S3; journal = 'postgres' -> journal
            S3; journal = 'postgres'; postgres_url = 'postgres://h/d' -> they fit
        ";
        for row in FILES.lines().map(str::trim).filter(|row| !row.is_empty()) {
            let (file, expected) = row.split_once(" -> ").unwrap();
            let file = file
                .replace("OWN_TLS", "backend_tls_cert = 'c'; backend_tls_key = 'k'")
                .replace("TLS", "tls_cert = 'c'; tls_key = 'k'")
                .replace("LISTEN_UNIX", "listen = 'unix:/a'")
                .replace("SHARED", "listen = '127.0.0.1:1'; backend_listen = '127.0.0.1:1'")
                .replace("S3", "store = 's3'; s3_bucket = 'uploads'");
            check(&file.replace("; ", "\n"), expected);
        }
    }

    #[test]
    fn sizes_are_told_as_they_are_written() {
        let line = verdict("chunk_size = '16MiB'\nmax_chunk_size = 8388608").unwrap_err();
        assert!(line.starts_with("chunk_size = \"16MiB\" ("), "{line}");
        assert!(line.ends_with("must be at most max_chunk_size, which is 8MiB"), "{line}");
        let line = verdict("receive_memory = 1073741824").unwrap_err();
        let right = "at least 128KiB for each of max_connections = 10000, which is 1250MiB";
        assert!(line.starts_with("receive_memory = 1073741824 ("), "{line}");
        assert!(line.ends_with(right), "{line}");
    }
}
