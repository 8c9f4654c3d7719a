//! The settings as the server uses them: plain values, every one valid by itself.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::secret::Secret;
use crate::core::callback::CallbackUrl;
use crate::core::event::Durability;
use crate::core::host::HostPort;
use crate::net::{Address, MemoryBudget};
use crate::tls::CertificateFiles;

/// Every setting, read and checked. Sizes are bytes. `Settings::default()` is what a start without
/// any flag, variable or file uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Public listener. Default `0.0.0.0:4000`: browsers come from anywhere.
    pub listen: Address,
    /// Backend listener. Default `127.0.0.1:4001`: safe without any further setting.
    pub backend_listen: Address,
    /// Certificates of the public listener, or of the shared one; the first is for clients that name
    /// none of them. Default none: a proxy in front has TLS.
    pub tls: Vec<CertificateFiles>,
    /// TLS of an own backend listener. Default none; never set on a shared socket.
    pub backend_tls: Option<CertificateFiles>,
    /// CAs that backends' certificates must come from (PEM). Default none. Set only with TLS on
    /// the listener that serves the backend API.
    pub backend_tls_client_ca: Option<PathBuf>,
    /// Plain HTTP listener that redirects to https. Default none. Set only with `tls` and a public
    /// listener on TCP or a `redirect_host` with its port.
    pub redirect_listen: Option<Address>,
    /// Where it sends them. Default none: the host that the request names.
    pub redirect_host: Option<HostPort>,
    /// How long browsers are to stay on https, in whole seconds. Default none: it binds every
    /// port of the host, so the operator has to ask for it. Zero revokes an earlier value. Set only with `tls`.
    pub hsts: Option<Duration>,
    /// What the server orders its certificate with, instead of `tls`. Default none.
    pub acme: Acme,
    /// Addresses that may use the backend API, as set. Default none; read it through
    /// [`Self::backend_allow_effective`].
    pub backend_allow: Vec<IpNet>,
    /// Names, besides addresses, `localhost` and the machine's own, that the `Host` of backend calls may have: in lower case, without a
    /// final dot and without a port. Default none.
    pub backend_hosts: Vec<String>,
    /// Whether the operator declared the backend API open to all who reach it. Default false.
    pub backend_open: bool,
    /// Token of backend calls. Default none. Never empty, visible ASCII.
    pub backend_token: Option<Secret>,
    /// Home of uploads and finished files. Default `./incoming-data`, so that a first try leaves
    /// its traces in one visible place.
    pub storage_dir: PathBuf,
    /// Whether the storage directory has to be one already. Default false: the first start makes it.
    pub storage_must_exist: bool,
    /// How long a start waits for another server to leave the storage directory. Default 10 s: a server that stops
    /// idle takes less; zero waits for none.
    pub lock_wait: Duration,
    /// Group of finished files and their directory, as set. Default none: the server's own.
    pub storage_group: Option<String>,
    /// The number of `storage_group`; known once the machine was asked ([`Self::check`]).
    pub storage_gid: Option<u32>,
    /// What other users of the machine can read or replace; known once the machine was asked ([`Self::check`]).
    pub exposed_paths: Vec<ExposedPath>,
    /// Mode of finished files. Default 0600: only the server reads them unless the operator says otherwise.
    pub storage_file_mode: u32,
    /// Mode of the directory of finished files. Default 0700, as above.
    pub storage_dir_mode: u32,
    /// What an acknowledgement promises. Default durable: lost bytes cost more than a sync.
    pub ack: Ack,
    /// Suggested bytes per chunk. Default 8 MiB: few enough requests to hide the round trip, and
    /// little to send again when one breaks. At least 1 and at most `max_chunk_size`.
    pub chunk_size: u64,
    /// Largest chunk taken. Default none: chunks stream, so a large one costs no memory.
    pub max_chunk_size: Option<u64>,
    /// Suggested chunks in flight per upload, 1 to 64. Default 4: browsers open six HTTP/1.1
    /// connections, of which a page needs one for the long poll and one to cancel.
    pub send_ahead: u32,
    /// Largest file taken. Default none: the disk's reserve is the limit.
    pub max_upload_size: Option<u64>,
    /// Most uploads at a time that take disk or owe their backend a call. Default 100000: bounds memory and directory entries.
    pub max_uploads: u64,
    /// Most connections open at a time. Default 10000.
    pub max_connections: usize,
    /// Bytes that clients may send ahead of the disk, all connections together. Default 2 GiB; at least
    /// [`Self::least_receive_memory`].
    pub receive_memory: u64,
    /// Bytes of the disk that uploads leave free, 0 for none. Default 1 GiB: the machine and the
    /// journals must go on when uploads cannot.
    pub min_free_space: u64,
    /// An upload without a new byte for this long is cancelled. Default 12 h: a laptop closed over
    /// night goes on in the morning. Positive.
    pub max_idle: Duration,
    /// How long the status of an upload that is over can be read. Default 1 h; zero forgets it at
    /// once.
    pub retain_finished: Duration,
    /// How long the file of a failed handover is kept. Default 7 days: longer than a weekend; zero
    /// removes it at once.
    pub failed_retention: Duration,
    /// Deadline of one handover call. Default 55 s: below the usual 60 s of proxies. Positive.
    pub handover_timeout: Duration,
    /// How long a backend that answered `wait` has for `finish_upload`. Default 10 min. Positive.
    pub handover_confirm_timeout: Duration,
    /// How long after its first call a handover is repeated before it has failed. Default 24 h; zero calls once.
    pub handover_retry_for: Duration,
    /// The only places handovers call. Default none: the backend is trusted to name its own.
    pub callback_allow: Vec<CallbackRule>,
    /// Origins of pages that may upload: `*` alone, or origins in the form browsers send. Default
    /// `*`: the ticket is what protects an upload, and no cookie is ever used.
    pub cors_origins: Vec<String>,
    /// Where browsers reach `/incoming/frontend`, without a slash at its end. Default none: answers name paths.
    pub frontend_url: Option<String>,
    /// The web app's URL that is asked for a ticket when a client creates an upload. Default none: clients create none.
    pub create_url: Option<CallbackUrl>,
    /// Deadline of one such call. Default 10 s: somebody waits for the upload to begin. Positive.
    pub create_timeout: Duration,
    /// Headers of the client's request that such a call passes on, in lower case. Default those that say who a user is.
    pub create_forward_headers: Vec<String>,
    /// Sent with such a call, so that the web app knows who calls. Default none.
    pub create_secret: Option<Secret>,
    /// Proxies whose word about the client's address is taken: PROXY headers, `Forwarded`, `X-Forwarded-For`. Default
    /// none.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether every connection to the public or shared listener begins with a PROXY header of version 2. Default
    /// false. On TCP only with `trusted_proxies`.
    pub proxy_protocol: bool,
    /// The same of an own backend listener.
    pub backend_proxy_protocol: bool,
    /// Whether `/incoming/frontend/doctor` answers. Default true: it keeps nothing and is bounded.
    pub doctor: bool,
    /// A body that stands still this long ends. Default 30 s. Positive.
    pub body_timeout: Duration,
    /// A body slower than this ends, in bytes per second. Default 16: what each of 64 bodies gets of a line of 1 KiB/s.
    /// Slow lines are welcome, bodies that are meant never to end are not. 0: no limit.
    pub min_rate: u64,
    /// How long chunks may go on at shutdown. Default 30 s; zero ends them at once.
    pub shutdown_grace: Duration,
    /// What is logged, as an env-filter directive. Default `info`.
    pub log: String,
    /// How it is logged. Default text.
    pub log_format: LogFormat,
    /// Per-core runtimes, 1 to 1024. Default: one per core the process may use.
    pub workers: usize,
}

/// How certificates are ordered from an authority (RFC 8555).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The names of the certificate, in lower case. Default none: nothing is ordered.
    pub domains: Vec<String>,
    /// Mail addresses of the operator. Default none.
    pub contact: Vec<String>,
    /// The URL of the authority's directory. Default Let's Encrypt, which asks for no account made by hand.
    pub directory: String,
    /// CAs of the directory's own certificate (PEM). Default none: those that the machine trusts.
    pub directory_ca: Option<PathBuf>,
    /// Home of certificates and the account's key. Default `./incoming-acme`.
    pub cache: PathBuf,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            contact: Vec::new(),
            directory: "https://acme-v02.api.letsencrypt.org/directory".into(),
            directory_ca: None,
            cache: PathBuf::from("./incoming-acme"),
        }
    }
}

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// Data and record are synced: a power cut takes nothing back.
    Durable,
    /// Data and record are with the kernel: a crash of the process takes nothing back.
    Written,
}

impl Ack {
    /// The word of the setting.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Written => "written",
        }
    }
}

impl From<Ack> for Durability {
    fn from(ack: Ack) -> Self {
        match ack {
            Ack::Durable => Self::Durable,
            Ack::Written => Self::Written,
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// One place that handovers may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallbackRule {
    /// Exactly this host name, in lower case and without a final dot.
    Host(String),
    /// The addresses of this network, compared with the address of the connection.
    Net(IpNet),
}

impl Settings {
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

    /// Whether one socket serves both the public and the backend API.
    #[must_use]
    pub fn shared(&self) -> bool {
        self.listen == self.backend_listen
    }

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

    /// Whether the public listener, or the shared one, speaks TLS.
    #[must_use]
    pub fn public_tls(&self) -> bool {
        !self.tls.is_empty() || !self.acme.domains.is_empty()
    }

    /// Whether the listener that serves the backend API speaks TLS, shared or own.
    #[must_use]
    pub fn backend_surface_tls(&self) -> bool {
        if self.shared() { self.public_tls() } else { self.backend_tls.is_some() }
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
}

impl Default for Settings {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        Self {
            listen: Address::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 4000))),
            backend_listen: Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 4001))),
            tls: Vec::new(),
            backend_tls: None,
            backend_tls_client_ca: None,
            redirect_listen: None,
            redirect_host: None,
            hsts: None,
            acme: Acme::default(),
            backend_allow: Vec::new(),
            backend_hosts: Vec::new(),
            backend_open: false,
            backend_token: None,
            storage_dir: PathBuf::from("./incoming-data"),
            storage_must_exist: false,
            lock_wait: Duration::from_secs(10),
            storage_group: None,
            storage_gid: None,
            exposed_paths: Vec::new(),
            storage_file_mode: 0o600,
            storage_dir_mode: 0o700,
            ack: Ack::Durable,
            chunk_size: 8 << 20,
            max_chunk_size: None,
            send_ahead: 4,
            max_upload_size: None,
            max_uploads: 100_000,
            max_connections: 10_000,
            receive_memory: 2 << 30,
            min_free_space: 1 << 30,
            max_idle: 12 * HOUR,
            retain_finished: HOUR,
            failed_retention: 7 * 24 * HOUR,
            handover_timeout: Duration::from_secs(55),
            handover_confirm_timeout: Duration::from_secs(10 * 60),
            handover_retry_for: 24 * HOUR,
            callback_allow: Vec::new(),
            cors_origins: vec!["*".into()],
            frontend_url: None,
            create_url: None,
            create_timeout: Duration::from_secs(10),
            create_forward_headers: vec!["authorization".into(), "cookie".into()],
            create_secret: None,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            backend_proxy_protocol: false,
            doctor: true,
            body_timeout: Duration::from_secs(30),
            min_rate: 16,
            shutdown_grace: Duration::from_secs(30),
            log: "info".into(),
            log_format: LogFormat::Text,
            workers: std::thread::available_parallelism().map_or(1, usize::from).min(1024),
        }
    }
}

/// The networks of this machine's loopback.
fn loopback() -> Vec<IpNet> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    let v6 = Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128);
    vec![IpNet::V4(v4), IpNet::V6(v6)]
}

/// One thing that another user of this machine can do, and what ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedPath {
    /// The key that names the path; `config` for the settings file.
    pub setting: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What is so, and what comes of it.
    pub problem: String,
    /// The command that fixes it.
    pub fix: String,
}

impl fmt::Display for ExposedPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, path, problem, fix } = self;
        write!(out, "{setting} = {:?}: {problem}: {fix}", path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate is that of one body: 64 of them on a slow line were all ended.
    #[test]
    fn issue_13_a_slow_line_carries_as_many_bodies_as_are_sent_ahead() {
        assert!(Settings::default().min_rate * 64 <= 1024);
    }

    #[test]
    fn who_may_call_the_backend_by_address() {
        fn check(change: fn(&mut Settings), shared: bool, expected: Option<&[&str]>) {
            let mut settings = Settings::default();
            if shared {
                settings.backend_listen = settings.listen.clone();
            }
            change(&mut settings);
            let effective = settings.backend_allow_effective();
            let shown = effective.map(|nets| nets.iter().map(ToString::to_string).collect());
            let expected = expected.map(|nets| nets.iter().map(ToString::to_string).collect());
            assert_eq!(shown, expected as Option<Vec<String>>, "shared: {shared}, {settings:?}");
        }
        const LOOPBACK: Option<&[&str]> = Some(&["127.0.0.0/8", "::1/128"]);
        const TEN: Option<&[&str]> = Some(&["10.0.0.0/8"]);
        let ten: fn(&mut Settings) = |s| s.backend_allow = vec!["10.0.0.0/8".parse().unwrap()];
        check(|_| {}, false, None);
        check(|_| {}, true, LOOPBACK);
        check(ten, false, TEN);
        check(ten, true, TEN);
        let token: fn(&mut Settings) = |s| s.backend_token = Some(Secret::new("t"));
        check(token, false, None);
        check(token, true, None);
        check(|s| s.backend_tls_client_ca = Some("ca.pem".into()), true, None);
        check(|s| s.backend_open = true, true, None);
        let both: fn(&mut Settings) = |s| {
            s.backend_open = true;
            s.backend_token = Some(Secret::new("t"));
            s.backend_allow = vec!["10.0.0.0/8".parse().unwrap()];
        };
        check(both, true, TEN);
    }
}
