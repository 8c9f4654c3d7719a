//! Values held against each other. Pure: the machine is not asked.

use super::error::{ConfigError, ConfigErrors};
use super::kind::size;
use super::layers::Layers;
use super::object_storage::{bucket_rule, journal_rule, part_rule};
use super::table::Settings;
use crate::net::Address;

/// Checks what no single value can tell, except rules about keys that `errors` already names. Returns all violations.
pub(super) fn check(
    settings: &Settings,
    layers: &Layers,
    errors: &ConfigErrors,
) -> Result<(), ConfigError> {
    let mut found = ConfigErrors::default();
    for (keys, rule) in RULES {
        if !keys.iter().any(|key| errors.concern(key)) {
            let broken = rule(settings).map_or(Ok(()), Err);
            found.note(broken.map_err(|(key, right)| layers.misfit(key, right)));
        }
    }
    found.or(())
}

/// What holds values against each other. Where they do not fit: the key that is wrong, and what would be right.
type Rule = fn(&Settings) -> Option<Broken>;
type Broken = (&'static str, String);

/// The rules, each with every key that it looks at; a test holds it to them.
const RULES: [(&[&str], Rule); 18] = [
    (&["listen", "backend_listen"], sockets),
    (&["acme_domains", "tls_cert", "tls_key"], acme),
    (&["hsts", "acme_domains", "tls_cert", "tls_key"], hsts),
    (&["redirect_listen", "acme_domains", "tls_cert", "tls_key"], redirect),
    (&["redirect_listen", "listen", "backend_listen"], redirect_socket),
    (&["redirect_listen", "redirect_host", "listen"], redirect_port),
    (
        &[
            "listen",
            "backend_listen",
            "acme_domains",
            "tls_cert",
            "tls_key",
            "backend_tls_cert",
            "backend_tls_key",
            "backend_tls_client_ca",
        ],
        backend_tls,
    ),
    (
        &[
            "listen",
            "backend_listen",
            "backend_token",
            "backend_tls_client_ca",
            "backend_allow",
            "backend_open",
        ],
        backend_surface,
    ),
    (&["operator_token", "backend_token"], operator_token),
    (&["proxy_protocol", "listen", "trusted_proxies"], proxy_protocol),
    (
        &["backend_proxy_protocol", "backend_listen", "listen", "trusted_proxies"],
        backend_proxy_protocol,
    ),
    (&["chunk_size", "max_chunk_size"], chunks),
    (&["receive_memory", "max_connections"], receive_memory),
    (&["cors_origins"], origins),
    (&["signing_secrets"], signing),
    (&["store", "s3_bucket", "s3_access_key", "s3_secret_key", "ack"], bucket_rule),
    (&["s3_part_size", "part_memory"], part_rule),
    (&["journal", "store", "postgres_url"], journal_rule),
];

/// Whose token it is decides what a call may do.
fn operator_token(settings: &Settings) -> Option<Broken> {
    let operator = settings.operator_token.as_ref()?;
    let same = settings.backend_token.as_ref().is_some_and(|app| app.eq(operator));
    if same { broken("operator_token", "must differ from backend_token") } else { None }
}

/// Two rows for one URL: which of them signs would be chance.
fn signing(settings: &Settings) -> Option<Broken> {
    let mut urls: Vec<_> = settings.signing_secrets.iter().map(|it| it.prefix.as_str()).collect();
    urls.sort_unstable();
    let twice = urls.windows(2).find(|pair| pair[0] == pair[1])?;
    broken("signing_secrets", format!("must name {:?} once, with at most two secrets", twice[0]))
}

/// What is suggested must be allowed.
fn chunks(settings: &Settings) -> Option<Broken> {
    let most = settings.max_chunk_size.filter(|most| settings.chunk_size > *most)?;
    broken("chunk_size", format!("must be at most max_chunk_size, which is {}", size(most)))
}

/// Each connection needs some.
fn receive_memory(settings: &Settings) -> Option<Broken> {
    let least = Settings::least_receive_memory(settings.max_connections);
    if settings.receive_memory >= least {
        return None;
    }
    let right = format!(
        "must be at least {} for each of max_connections = {}, which is {}",
        size(Settings::least_receive_memory(1)),
        settings.max_connections,
        size(least)
    );
    broken("receive_memory", right)
}

/// All of them, or some.
fn origins(settings: &Settings) -> Option<Broken> {
    let origins = &settings.cors_origins;
    if origins.len() < 2 || !origins.iter().any(|origin| origin == "*") {
        return None;
    }
    broken("cors_origins", "must be * alone or a list of origins, since * allows them all")
}

/// Two listeners need two places, or exactly one.
fn sockets(settings: &Settings) -> Option<Broken> {
    let (public, backend) = (&settings.listen, &settings.backend_listen);
    if !public.collides(backend) {
        return None;
    }
    let right = format!(
        "takes the same port as listen = {public}; choose another port, or the same address to \
         share one socket"
    );
    broken("backend_listen", right)
}

/// A certificate comes from files or from an order, and an order needs who makes it.
fn acme(settings: &Settings) -> Option<Broken> {
    if settings.acme_domains.is_empty() {
        return None;
    }
    if !cfg!(feature = "acme") {
        return broken("acme_domains", "needs a program built with the feature acme");
    }
    if !settings.tls_cert.is_empty() {
        return broken("acme_domains", "excludes tls_cert: set only one of them");
    }
    None
}

/// HSTS needs an https listener.
fn hsts(settings: &Settings) -> Option<Broken> {
    if settings.hsts.is_none_or(|time| time.is_zero()) || settings.public_tls() {
        return None;
    }
    let right = "needs tls_cert; behind a proxy that terminates TLS, let the proxy send this \
                 header";
    broken("hsts", right)
}

/// A redirect needs one too.
fn redirect(settings: &Settings) -> Option<Broken> {
    if settings.redirect_listen.is_none() || settings.public_tls() {
        return None;
    }
    broken("redirect_listen", "needs tls_cert: without it there is no https to redirect to")
}

/// It has a place of its own.
fn redirect_socket(settings: &Settings) -> Option<Broken> {
    let from = settings.redirect_listen.as_ref()?;
    let others = [("listen", &settings.listen), ("backend_listen", &settings.backend_listen)];
    let (key, other) =
        others.into_iter().find(|(_, other)| from.collides(other) || from == *other)?;
    let right = format!("is the same address as {key} = {other}; choose another port");
    broken("redirect_listen", right)
}

/// And names a port, where that of the public listener is none.
fn redirect_port(settings: &Settings) -> Option<Broken> {
    settings.redirect_listen.as_ref()?;
    let told = settings.redirect_host.as_ref().and_then(|host| host.port).is_some();
    let listen = &settings.listen;
    if told || matches!(listen, Address::Tcp(_)) {
        return None;
    }
    let right = format!("needs redirect_host = HOST:PORT, since listen = {listen} has no port");
    broken("redirect_listen", right)
}

/// The shared socket has one certificate, and client certificates need TLS to travel in.
fn backend_tls(settings: &Settings) -> Option<Broken> {
    if settings.shared() && settings.backend_tls_cert.is_some() {
        let right = "is for a separate backend listener; on a shared socket tls_cert covers both";
        return broken("backend_tls_cert", right);
    }
    if settings.backend_tls_client_ca.is_none() || settings.backend_surface_tls() {
        return None;
    }
    let right = if settings.shared() {
        "needs tls_cert and tls_key on the shared socket"
    } else {
        "needs backend_tls_cert and backend_tls_key"
    };
    broken("backend_tls_client_ca", right)
}

/// Whoever reaches the backend API can learn all tickets and have any URL called. So where others
/// than this machine can reach it, the operator has to have chosen: a token, client certificates,
/// addresses, or openly nothing.
///
/// Only an explicit choice counts. An empty `backend_allow` is as good as none, `false` is no
/// choice, TLS without client certificates hides but does not protect, and the loopback fallback
/// of a shared socket ([`Settings::backend_allow_effective`]) is not set by the operator.
fn backend_surface(settings: &Settings) -> Option<Broken> {
    if settings.guards_backend() || settings.backend_listen.is_local() {
        return None;
    }
    let right = format!(
        "other machines can reach the backend API there; set one of {}, or listen on loopback or a \
         unix: socket",
        Settings::BACKEND_GUARDS
    );
    broken("backend_listen", right)
}

/// A listener that asks for PROXY headers needs somebody who may send them.
fn proxy_protocol(settings: &Settings) -> Option<Broken> {
    if settings.proxy_protocol && unheard(settings, &settings.listen) {
        return broken("proxy_protocol", NEEDS_PROXIES);
    }
    None
}

/// As does the backend's, but a shared one is asked once.
fn backend_proxy_protocol(settings: &Settings) -> Option<Broken> {
    if settings.backend_proxy_protocol && settings.shared() {
        let right =
            "is for a separate backend listener; on a shared socket proxy_protocol covers both";
        return broken("backend_proxy_protocol", right);
    }
    if settings.backend_proxy_protocol && unheard(settings, &settings.backend_listen) {
        return broken("backend_proxy_protocol", NEEDS_PROXIES);
    }
    None
}

const NEEDS_PROXIES: &str = "needs trusted_proxies, the addresses of the proxies that may connect";

/// Whether no peer may send headers to that listener.
fn unheard(settings: &Settings, address: &Address) -> bool {
    matches!(address, Address::Tcp(_)) && settings.trusted_proxies.is_empty()
}

fn broken(key: &'static str, right: impl Into<String>) -> Option<Broken> {
    Some((key, right.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::layers;

    fn verdict(file: &str) -> Result<(), String> {
        let layers = layers(file);
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
                let layers = layers(&format!("{others}\n{broken}"));
                let told = Settings::checked(&layers).unwrap_err().to_string();
                assert_eq!(told.lines().count(), 1, "{others}\n{broken}\n{told}");
                assert!(told.starts_with(key), "{others}\n{broken}\n{told}");
            }
        }
    }

    #[test]
    fn backend_surface_beyond_loopback_needs_a_choice() {
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
        const CHOICES: [&str; 4] = [
            "backend_token = 't'",
            "backend_allow = ['10.0.0.0/8']",
            "backend_open = true",
            "tls_cert = 'c'\ntls_key = 'k'\nbackend_tls_client_ca = 'ca'",
        ];
        const NO_CHOICES: [&str; 5] = [
            "",
            "backend_open = false",
            "backend_allow = []",
            "tls_cert = 'c'\ntls_key = 'k'",
            "trusted_proxies = ['127.0.0.1']\ncallback_allow = ['::1']",
        ];
        fn check(listeners: &str, choice: &str, starts: bool) {
            let shared = listeners.contains("4000") || listeners.contains("]:1");
            let choice = match choice.contains("client_ca") && !shared {
                true => choice
                    .replace("tls_cert", "backend_tls_cert")
                    .replace("tls_key", "backend_tls_key"),
                false => choice.to_owned(),
            };
            let file = format!("{listeners}\n{choice}");
            let verdict = verdict(&file);
            assert_eq!(verdict.is_ok(), starts, "{listeners} {choice}: {verdict:?}");
            if starts {
                breaks_alone(&file);
            }
            if let Err(line) = verdict {
                assert!(line.contains("backend_listen"), "{line}");
                assert!(line.contains("backend_open = true"), "{line}");
            }
        }
        for listeners in REACHABLE {
            CHOICES.iter().for_each(|choice| check(listeners, choice, true));
            NO_CHOICES.iter().for_each(|choice| check(listeners, choice, false));
        }
        for listeners in LOCAL {
            NO_CHOICES.iter().for_each(|choice| check(listeners, choice, true));
        }
    }

    #[test]
    fn values_fit_each_other() {
        fn check(file: &str, starts: bool, key: &str) {
            let verdict = verdict(file);
            assert_eq!(verdict.is_ok(), starts, "{file}: {verdict:?}");
            if starts {
                breaks_alone(file);
            }
            if let Err(line) = verdict {
                assert!(line.starts_with(&format!("{key} = ")), "{line}");
                assert!(line.contains("(file "), "{line}");
            }
        }
        check("chunk_size = '1MiB'\nmax_chunk_size = '1MiB'", true, "");
        check("chunk_size = '2MiB'\nmax_chunk_size = '1MiB'", false, "chunk_size");
        check("max_chunk_size = '1KiB'", true, "");
        check("receive_memory = '1GiB'", false, "receive_memory");
        check("receive_memory = '1GiB'\nmax_connections = 8000", true, "");
        check("cors_origins = ['*']", true, "");
        check("cors_origins = ['https://a', 'https://b']", true, "");
        check("cors_origins = ['https://a', '*']", false, "cors_origins");
        let proxied = "proxy_protocol = true\nbackend_proxy_protocol = true";
        let unix = "listen = 'unix:/a'\nbackend_listen = 'unix:/b'";
        check("proxy_protocol = true", false, "proxy_protocol");
        check("backend_proxy_protocol = true", false, "backend_proxy_protocol");
        check(&format!("{proxied}\ntrusted_proxies = '10.0.0.1'"), true, "");
        check(&format!("{proxied}\n{unix}"), true, "");
        let shared = "listen = 'unix:/a'\nbackend_listen = 'unix:/a'";
        check(&format!("{proxied}\n{shared}"), false, "backend_proxy_protocol");
        check(&format!("proxy_protocol = true\n{shared}"), true, "");
        check("listen = ':80'\nbackend_listen = '127.0.0.1:80'", false, "backend_listen");
        check("listen = '127.0.0.1:80'\nbackend_listen = ':80'", false, "backend_listen");
        let tls = "tls_cert = 'c'\ntls_key = 'k'";
        check("hsts = '1d'", false, "hsts");
        check("hsts = 0", true, "");
        check(&format!("hsts = '1d'\n{tls}"), true, "");
        check("redirect_listen = ':80'", false, "redirect_listen");
        check(&format!("redirect_listen = ':80'\n{tls}"), true, "");
        check(&format!("redirect_listen = ':4000'\n{tls}"), false, "redirect_listen");
        check(&format!("redirect_listen = ':4001'\n{tls}"), false, "redirect_listen");
        check(&format!("redirect_listen = '127.0.0.1:4000'\n{tls}"), false, "redirect_listen");
        let unix = format!("listen = 'unix:/s'\nredirect_listen = ':80'\n{tls}");
        check(&unix, false, "redirect_listen");
        check(&format!("{unix}\nredirect_host = 'a'"), false, "redirect_listen");
        check(&format!("{unix}\nredirect_host = 'a:443'"), true, "");
        let acme = "acme_domains = ['a.example']";
        let built = cfg!(feature = "acme");
        check(acme, built, "acme_domains");
        check(&format!("{acme}\nredirect_listen = ':80'\nhsts = '1d'"), built, "acme_domains");
        check(&format!("{acme}\n{tls}"), false, "acme_domains");
        check("acme_contact = 'a@b.example'\nacme_cache = '/c'", true, "");
        let ca = "backend_tls_client_ca = 'ca'";
        let shared = "listen = '127.0.0.1:1'\nbackend_listen = '127.0.0.1:1'";
        let own = "backend_tls_cert = 'c'\nbackend_tls_key = 'k'";
        let public = "tls_cert = 'c'\ntls_key = 'k'";
        check(ca, false, "backend_tls_client_ca");
        check(&format!("{ca}\n{public}"), false, "backend_tls_client_ca");
        check(&format!("{ca}\n{own}"), true, "");
        check(&format!("{ca}\n{shared}"), false, "backend_tls_client_ca");
        check(&format!("{ca}\n{shared}\n{public}"), true, "");
        check(&format!("{shared}\n{own}"), false, "backend_tls_cert");
    }

    #[test]
    fn sizes_are_told_as_they_are_written() {
        let check = |file: &str, shown: &str, right: &str| {
            let line = verdict(file).unwrap_err();
            assert!(line.starts_with(shown) && line.ends_with(right), "{line}");
        };
        check(
            "chunk_size = '16MiB'\nmax_chunk_size = 8388608",
            "chunk_size = \"16MiB\" (",
            "must be at most max_chunk_size, which is 8MiB",
        );
        check(
            "receive_memory = 1073741824",
            "receive_memory = 1073741824 (",
            "must be at least 128KiB for each of max_connections = 10000, which is 1250MiB",
        );
    }
}
