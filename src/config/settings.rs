//! The settings as the server uses them: shown, compared, and what follows from several of them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::table::setting::Setting;
use super::table::{Settings, TABLE};
use super::types::{JournalKind, Secret};
use crate::net::{Address, MemoryBudget};
use crate::tls::CertificateFiles;

/// `trusted_proxies` includes networks that are not private.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UntrustedNetworks {
    /// The networks that are too wide, separated by commas.
    pub networks: String,
    /// The headers that a client in them can forge.
    pub believed: &'static str,
}

/// What guards a backend listener on TCP against other users of the machine.
pub const LOCAL_BACKEND_GUARD: &str =
    "backend_listen = \"unix:/PATH\", or backend_token; backend_open = true accepts it";

impl Settings {
    /// All keys and values as TOML, one line each, in groups, in the order of `--help`. Keys without a value
    /// are comments, as are secrets.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let (mut out, mut group) = (String::new(), "");
        for setting in TABLE {
            if setting.group != group {
                let gap = if group.is_empty() { "" } else { "\n" };
                group = setting.group;
                out += &format!("{gap}# {group}\n");
            }
            let key = setting.key;
            out += &match (setting.show)(self) {
                Some(_) if setting.secret => format!("# {key} is set and not shown\n"),
                Some(value) => format!("{key} = {value}\n"),
                None => format!("# {key} is not set\n"),
            };
        }
        out
    }

    /// The settings whose values differ, in the order of `--help`.
    pub(crate) fn differing(&self, other: &Self) -> impl Iterator<Item = &'static Setting> {
        TABLE.iter().filter(move |setting| (setting.differs)(self, other))
    }

    /// These, with the values of `fresh` where a running server can change them.
    #[must_use]
    pub fn reloaded(&self, fresh: &Self) -> Self {
        let mut merged = self.clone();
        TABLE.iter().filter(|it| it.reloadable).for_each(|it| (it.copy)(&mut merged, fresh));
        merged
    }

    /// Part of `receive_memory` for batches that wait for a slow disk: one in eight bytes.
    pub fn batch_memory(&self) -> u64 {
        self.receive_memory / 8
    }

    /// The rest of `receive_memory`, for what connections have read, or let their peers send ahead.
    pub fn connection_memory(&self) -> u64 {
        self.receive_memory - self.batch_memory()
    }

    /// The least `receive_memory` for so many connections, in bytes: 128 KiB for each.
    pub fn least_receive_memory(connections: usize) -> u64 {
        MemoryBudget::least(connections).div_ceil(7) * 8
    }

    /// Whether the server keeps anything in its storage directory; where a database has the logs it does not.
    pub fn uses_directory(&self) -> bool {
        self.journal == JournalKind::File
    }

    /// Whether one socket serves both the public and the backend API.
    #[must_use]
    pub fn shared(&self) -> bool {
        self.listen == self.backend_listen
    }

    /// A token of fewer characters can be guessed.
    pub const TOKEN_CHARS: usize = 16;

    /// What [`Self::guards_backend`] looks for.
    pub const BACKEND_GUARDS: &str =
        "backend_token, backend_tls_client_ca, backend_allow or backend_open = true";

    /// Whether the operator chose who may use the backend API where other machines can reach it.
    #[must_use]
    pub fn guards_backend(&self) -> bool {
        self.backend_token.is_some()
            || self.backend_tls_client_ca.is_some()
            || !self.backend_allow.is_empty()
            || self.backend_open
    }

    /// Whether other machines can reach the backend API at this address, and the operator did not choose who may use it.
    #[must_use]
    pub fn leaves_backend_open(&self, address: &Address) -> bool {
        !address.is_local() && !self.guards_backend()
    }

    /// Whether no proxy may connect to a listener at this address, if it asks for PROXY headers.
    #[must_use]
    pub fn lacks_proxies(&self, address: &Address) -> bool {
        matches!(address, Address::Tcp(_)) && self.trusted_proxies.is_empty()
    }

    /// Certificates of the public listener, or of the shared one; the first is for clients that name none of them.
    #[must_use]
    pub fn tls(&self) -> Vec<CertificateFiles> {
        pairs(&self.tls_cert, &self.tls_key)
    }

    /// The same of an own backend listener; at most one.
    #[must_use]
    pub fn backend_tls(&self) -> Vec<CertificateFiles> {
        pairs(self.backend_tls_cert.as_slice(), self.backend_tls_key.as_slice())
    }

    /// Whether the public listener, or the shared one, speaks TLS.
    #[must_use]
    pub fn public_tls(&self) -> bool {
        !self.tls_cert.is_empty() || !self.acme_domains.is_empty()
    }

    /// Whether the listener that serves the backend API speaks TLS, shared or own.
    #[must_use]
    pub fn backend_surface_tls(&self) -> bool {
        if self.shared() { self.public_tls() } else { self.backend_tls_cert.is_some() }
    }

    /// Who may use the backend API by address; `None` is everyone. Compare the resolved client
    /// address in its canonical form (`IpAddr::to_canonical`): IPv4-mapped addresses are not listed.
    ///
    /// A `backend_allow` that is set always applies, besides token and certificate. Unset, an own
    /// backend listener asks no address. A shared one then falls back to loopback, unless the
    /// operator chose another protection (token, client certificates) or declared it open: on a
    /// shared socket the fallback is there for the layout where a proxy on the same machine hides
    /// `/incoming/backend/` and nothing else was set, so that a gap in the proxy's rules exposes
    /// nothing. Where a token guards the calls, backends on other machines are meant to come, and
    /// the fallback would lock out exactly them.
    ///
    /// The fallback does not count as one of the protections that a listener beyond loopback needs
    /// (see `rules.rs`): it would start a server that refuses every backend the operator opened
    /// the address for, and say nothing. So on such a listener it is never what decides.
    #[must_use]
    pub fn backend_allow_effective(&self) -> Option<Vec<IpNet>> {
        if !self.backend_allow.is_empty() {
            return Some(self.backend_allow.clone());
        }
        self.loopback_fallback().then(loopback)
    }

    /// Whether loopback alone may use the backend API because nothing was chosen for a shared socket.
    #[must_use]
    pub fn loopback_fallback(&self) -> bool {
        self.shared() && !self.guards_backend()
    }

    /// Whether a backend listener at `address` is on TCP and neither token, client certificate nor rule guards it, so that
    /// every user of the machine can call it.
    #[must_use]
    pub fn opens_backend_to_local_users(&self, address: &Address) -> bool {
        matches!(address, Address::Tcp(_)) && !self.guards_backend()
    }

    /// The tokens that are so short that they can be guessed.
    #[must_use]
    pub fn short_tokens(&self) -> Vec<&'static str> {
        let tokens =
            [("backend_token", &self.backend_token), ("operator_token", &self.operator_token)];
        let is_short = |token: &Secret| token.expose().chars().count() < Self::TOKEN_CHARS;
        let short = tokens.into_iter().filter(|(_, token)| token.as_ref().is_some_and(is_short));
        short.map(|(key, _)| key).collect()
    }

    /// Whether `trusted_proxies` has a network that is wider than any private one, so that untrusted peers are in it.
    #[must_use]
    pub fn untrusted_networks(&self) -> Option<UntrustedNetworks> {
        let wide = self.trusted_proxies.iter().filter(|net| is_wide(net));
        let networks: Vec<String> = wide.map(ToString::to_string).collect();
        let believed = if self.proxy_protocol || self.backend_proxy_protocol {
            "PROXY headers, Forwarded and X-Forwarded-For"
        } else {
            "Forwarded and X-Forwarded-For"
        };
        let networks = networks.join(", ");
        (!networks.is_empty()).then_some(UntrustedNetworks { networks, believed })
    }
}

fn pairs(certs: &[PathBuf], keys: &[PathBuf]) -> Vec<CertificateFiles> {
    let pair = |(cert, key): (&PathBuf, &PathBuf)| CertificateFiles {
        cert: cert.clone(),
        key: key.clone(),
    };
    // Where they do not pair, that is the mistake (`rules.rs`), and no file is one.
    let paired = certs.len() == keys.len();
    certs.iter().zip(keys).filter(|_| paired).map(pair).collect()
}

/// The networks of this machine's loopback.
fn loopback() -> Vec<IpNet> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    let v6 = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);
    vec![IpNet::V4(v4), IpNet::V6(v6)]
}

/// Wider than 10.0.0.0/8 and fc00::/7, the widest private networks.
fn is_wide(net: &IpNet) -> bool {
    let private = match net {
        IpNet::V4(_) => 8,
        IpNet::V6(_) => 7,
    };
    net.prefix_len() < private
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    /// The rate is that of one body: 64 of them on a slow line were all ended.
    #[test]
    fn issue_13_a_slow_line_carries_as_many_bodies_as_are_sent_ahead() {
        assert!(Settings::default().min_rate * 64 <= 1024);
    }

    #[test]
    fn certificates_without_a_key_each_are_no_pairs() {
        let of = |certs: &[&str], keys: &[&str]| {
            let paths = |it: &[&str]| -> Vec<PathBuf> { it.iter().map(PathBuf::from).collect() };
            let (tls_cert, tls_key) = (paths(certs), paths(keys));
            Settings { tls_cert, tls_key, ..Settings::default() }.tls().len()
        };
        assert_eq!(
            [of(&["a", "b"], &["k", "l"]), of(&["a", "b"], &["k"]), of(&[], &["k"])],
            [2, 0, 0]
        );
    }

    #[test]
    fn who_may_call_the_backend_by_address() {
        const SHARED: &str = "backend_listen = '0.0.0.0:4000'\n";
        let check = |file: &str, expected: &str| {
            let settings = Settings::read(&Layers::of_text(file).unwrap()).unwrap();
            let allowed = settings.backend_allow_effective();
            let shown = allowed.map(|networks| format!("{networks:?}"));
            assert_eq!(shown.as_deref().unwrap_or("everyone"), expected, "{file}");
        };
        let shared = |file: &str, expected: &str| check(&format!("{SHARED}{file}"), expected);
        let ten = "backend_allow = '10.0.0.0/8'";
        check("", "everyone");
        shared("", "[127.0.0.0/8, ::1/128]");
        check(ten, "[10.0.0.0/8]");
        shared(ten, "[10.0.0.0/8]");
        check("backend_token = 't'", "everyone");
        shared("backend_token = 't'", "everyone");
        shared("backend_tls_client_ca = 'ca.pem'", "everyone");
        shared("backend_open = true", "everyone");
        shared(&format!("backend_open = true\nbackend_token = 't'\n{ten}"), "[10.0.0.0/8]");
    }

    #[test]
    fn wide_networks_are_reported() {
        let check = |nets: &str, proxy_protocol: bool, networks: &str, word: &str| {
            let trusted_proxies =
                nets.split_terminator(' ').map(|it| it.parse().unwrap()).collect();
            let settings = Settings { trusted_proxies, proxy_protocol, ..Settings::default() };
            let found = settings.untrusted_networks();
            let found = found.map_or_else(Default::default, |it| (it.networks, it.believed));
            assert_eq!(found.0, networks, "{nets}");
            assert!(found.1.starts_with(word), "{nets}: {}", found.1);
        };
        check("", true, "", "");
        check("10.0.0.0/8 fc00::/7 127.0.0.1/32 192.0.2.0/24", true, "", "");
        check("0.0.0.0/0", false, "0.0.0.0/0", "Forwarded");
        check("10.0.0.0/8 ::/0", true, "::/0", "PROXY");
        check("0.0.0.0/1 128.0.0.0/1", false, "0.0.0.0/1, 128.0.0.0/1", "Forwarded");
        check("2000::/3", false, "2000::/3", "Forwarded");
    }

    #[test]
    fn short_tokens_are_reported() {
        let check = |backend: Option<&str>, operator: Option<&str>, expected: &[&str]| {
            let (backend_token, operator_token) =
                (backend.map(Secret::new), operator.map(Secret::new));
            let settings = Settings { backend_token, operator_token, ..Settings::default() };
            assert_eq!(settings.short_tokens(), expected, "{backend:?} {operator:?}");
        };
        let long = Some("0123456789abcdef");
        check(None, None, &[]);
        check(long, long, &[]);
        check(Some("0123456789abcde"), Some("op"), &["backend_token", "operator_token"]);
        check(long, Some("op"), &["operator_token"]);
    }

    #[test]
    fn does_not_show_secrets() {
        let of_text = |text: &str| Layers::of_text(text).unwrap();
        for setting in TABLE.iter().filter(|setting| setting.secret && !setting.list) {
            let key = setting.key;
            let toml = Settings::read(&of_text(&format!("{key} = 's3cr3t~!'"))).unwrap().to_toml();
            assert!(toml.contains(&format!("# {key} is set and not shown\n")), "{toml}");
            assert!(!toml.contains("s3cr3t~!"), "{toml}");
        }
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let file = format!("signing_secrets = ['http://a {secret} {secret}', 'http://b {secret}']");
        let settings = Settings::read(&of_text(&file)).unwrap();
        assert_eq!(settings.signing_secrets.len(), 2);
        for shown in [settings.to_toml(), format!("{settings:?}")] {
            assert!(!shown.contains("MfKQ9"), "{shown}");
        }
        assert!(settings.to_toml().contains("# signing_secrets is set and not shown\n"));
        assert!(Settings::default().to_toml().contains("# signing_secrets is not set\n"));
        for wrong in [
            format!("signing_secrets = ['http://a {secret}', 'http://a {secret}']"),
            format!("signing_secrets = ['http://a {secret}x']"),
            format!("signing_secrets = 'http://a?{secret} {secret}'"),
            format!("create_secret = '{secret} {secret} {secret}'"),
        ] {
            let error = Settings::checked(&of_text(&wrong)).unwrap_err().to_string();
            assert!(error.contains("(not shown)") && !error.contains("MfKQ9"), "{error}");
        }
    }
}
