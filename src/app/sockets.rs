//! Listening sockets of a server, each with its certificates and the paths it serves: passed by the process that started
//! this one (socket activation), or bound as the settings say.
//!
//! The protocol of passed sockets is systemd's (sd_listen_fds(3)): `LISTEN_PID` is this process, `LISTEN_FDS` counts
//! descriptors from 3 on, `LISTEN_FDNAMES` may name them. A socket named `public`, `backend` or `redirect` serves that
//! listener; where no socket has such a name, they serve in this order. What clients sent while no process ran waits in
//! the sockets.

use super::StartError;
use super::acme::Orders;
use super::options::proxy_protocol;
use crate::config::Settings;
use crate::net::{Address, Listener};
use crate::tls::{Alpn, CertificateFiles, ClientAuth, TlsFiles, TlsReload};
use crate::wire::Surface;
use listenfd::ListenFd;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

/// A bound socket and what it serves.
pub struct Socket {
    /// The socket.
    pub listener: Listener,
    /// Its certificates; none: plain HTTP.
    pub tls: Option<Arc<TlsReload>>,
    /// The paths it serves.
    pub surface: Surface,
}

/// Binds the sockets that the settings name and that were not passed, and puts all to their certificates.
///
/// Errors: one line that names the setting.
pub(super) fn bind(
    settings: &Settings,
    passed: &mut Listeners,
    orders: Option<&Orders>,
) -> Result<Vec<Socket>, StartError> {
    let mut listener = |purpose: Purpose, key: &'static str, address: &Address| {
        if let Some(passed) = passed.take(purpose) {
            return Ok(passed);
        }
        Listener::bind(address).map_err(|source| StartError::Bind {
            key,
            address: address.clone(),
            source,
        })
    };
    let public = listener(Purpose::Public, "listen", &settings.listen)?;
    let backend = if settings.shared() {
        None
    } else {
        Some(listener(Purpose::Backend, "backend_listen", &settings.backend_listen)?)
    };
    // The settings were judged by the addresses they name; a passed socket may be elsewhere.
    check_backend_guard(settings, backend.as_ref().unwrap_or(&public).local_address())?;
    let listeners = [(Some(&public), Surface::Public), (backend.as_ref(), Surface::Backend)];
    for (listener, surface) in listeners {
        if let (Some(listener), Some(_)) = (listener, proxy_protocol(settings, surface)) {
            check_trusted_proxies(settings, listener.local_address())?;
        }
    }
    let socket = |listener: Listener,
                  tls: &[CertificateFiles],
                  surface: Surface|
     -> Result<Socket, StartError> {
        let client_ca = match surface {
            Surface::Public => None,
            Surface::Backend | Surface::Shared => settings.backend_tls_client_ca.clone(),
        };
        let mut pairs = tls.to_vec();
        let mut challenges = None;
        if surface != Surface::Backend
            && let Some(ordered) = orders
        {
            pairs.push(ordered.pair());
            challenges = Some(ordered.challenges());
        }
        let files = (!pairs.is_empty()).then(|| TlsFiles {
            pairs,
            client_ca,
            challenges,
            alpn: match surface {
                Surface::Public | Surface::Shared if !settings.http2 => Alpn::Http1,
                Surface::Public | Surface::Shared | Surface::Backend => Alpn::Http2,
            },
            // Browsers on a shared socket have no certificate; the wire asks backends for theirs.
            client_auth: if surface == Surface::Shared {
                ClientAuth::Optional
            } else {
                ClientAuth::Required
            },
        });
        let tls = files
            .map(TlsReload::load)
            .transpose()
            .map_err(|error| StartError::new("tls", error))?;
        Ok(Socket { listener, tls: tls.map(Arc::new), surface })
    };
    let Some(backend) = backend else {
        return Ok(vec![socket(public, &settings.tls(), Surface::Shared)?]);
    };
    Ok(vec![
        socket(public, &settings.tls(), Surface::Public)?,
        socket(backend, &settings.backend_tls(), Surface::Backend)?,
    ])
}

/// What the settings lack for a listener at this address.
#[derive(Debug, thiserror::Error)]
pub enum MissingGuard {
    /// Who may call the backend API.
    #[error("{0}: other machines can reach the backend API there; set one of {guards}", guards = Settings::BACKEND_GUARDS)]
    Backend(Address),
    /// Whose PROXY headers count.
    #[error(
        "{0}: a listener that asks for PROXY headers needs trusted_proxies, the addresses of the proxies that may connect; \
         all others are closed"
    )]
    TrustedProxies(Address),
}

/// Whether a backend surface at this address is guarded.
pub(super) fn check_backend_guard(
    settings: &Settings,
    address: &Address,
) -> Result<(), MissingGuard> {
    let open = settings.leaves_backend_open(address);
    if open { Err(MissingGuard::Backend(address.clone())) } else { Ok(()) }
}

/// Whether some proxy may connect to a listener at this address that asks for PROXY headers.
pub(super) fn check_trusted_proxies(
    settings: &Settings,
    address: &Address,
) -> Result<(), MissingGuard> {
    let lacks = settings.lacks_proxies(address);
    if lacks { Err(MissingGuard::TrustedProxies(address.clone())) } else { Ok(()) }
}

/// Every connection and every running upload holds a descriptor or two; take what the system
/// gives, and say how many that is.
pub(super) fn raise_file_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "could not raise the limit of open files");
    }
    let most = getrlimit(Resource::Nofile).current;
    most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
}

/// Sockets passed to this process, each with the name it was given.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(String, Passed)>,
}

/// Why a passed socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PassedSocketError {
    /// `LISTEN_FDS` is no number, or too large.
    #[error("LISTEN_FDS = {0:?}: must be a whole number from 0 to {MOST}")]
    Count(String),
    /// A descriptor that was announced is not there.
    #[error("LISTEN_FDS: descriptor {descriptor} {name:?}: was not passed")]
    Absent {
        /// Its number.
        descriptor: usize,
        /// Its name of `LISTEN_FDNAMES`.
        name: String,
    },
    /// A descriptor is no listening stream socket.
    #[error(
        "LISTEN_FDS: descriptor {descriptor} {name:?}: must be a listening TCP or unix stream socket (Accept=no)"
    )]
    NotListening {
        /// Its number.
        descriptor: usize,
        /// Its name of `LISTEN_FDNAMES`.
        name: String,
        /// What the system says, if anything.
        source: Option<io::Error>,
    },
    /// More sockets than listeners.
    #[error("unexpected passed socket {0:?}: there is one each for public, backend and redirect")]
    Unexpected(String),
    /// A second socket for one listener.
    #[error("two passed sockets {0:?} for one listener: one on [::] accepts IPv4 too")]
    Twice(String),
    /// A socket for the backend, which shares the public one.
    #[error(
        "a socket was passed for the backend, but backend_listen is the same as listen: pass the shared socket as public"
    )]
    SharedBackend,
    /// A socket for the redirect, which is not configured.
    #[error("a socket was passed for redirect_listen, which is not set")]
    NoRedirect,
}

/// What a socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// `listen`; both surfaces where they share a socket.
    Public,
    /// `backend_listen`, where it has a socket of its own.
    Backend,
    /// `redirect_listen`.
    Redirect,
}

/// Passed sockets that have not been taken yet.
pub(super) struct Listeners(Vec<(Purpose, Listener)>);

#[derive(Debug)]
enum Passed {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Inherited {
    /// Takes over what was passed, once: a second call finds nothing. They are closed when this process
    /// starts others. It changes the environment, so it comes before any other thread.
    ///
    /// Errors: one line that names the descriptor or the variable.
    pub fn take() -> Result<Self, PassedSocketError> {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        // Meant for another process, which forgot to clear them.
        if variable("LISTEN_PID") != std::process::id().to_string() {
            return Ok(Self::default());
        }
        let count = variable("LISTEN_FDS");
        let count = count.parse().ok().filter(|count| *count <= MOST);
        let count = count.ok_or_else(|| PassedSocketError::Count(variable("LISTEN_FDS")))?;
        let names = variable("LISTEN_FDNAMES");
        let mut names = names.split(':').map(str::to_owned);
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(count);
        for index in 0..count {
            let name = names.next().unwrap_or_default();
            let socket = Passed::take(&mut passed, index, &name)?;
            sockets.push((name, socket));
        }
        Ok(Self { sockets })
    }

    /// The listeners, each with what it serves. Must be called within the runtime that is to accept.
    ///
    /// Errors: one line that names the socket.
    pub(super) fn listeners(self, shared: bool) -> Result<Listeners, StartError> {
        let names: Vec<&str> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
        let purposes = purposes(&names, shared)?;
        let mut listeners = Vec::with_capacity(purposes.len());
        for ((name, socket), purpose) in self.sockets.into_iter().zip(purposes) {
            let listener = match socket {
                Passed::Tcp(listener) => Listener::inherited_tcp(listener),
                Passed::Unix(listener) => Listener::inherited_unix(listener),
            };
            let failed = |error| StartError::new(format!("the passed socket {name:?}"), error);
            listeners.push((purpose, listener.map_err(failed)?));
        }
        Ok(Listeners(listeners))
    }
}

impl Listeners {
    /// The one that serves this, if it was passed.
    pub(super) fn take(&mut self, purpose: Purpose) -> Option<Listener> {
        let at = self.0.iter().position(|(found, _)| *found == purpose)?;
        Some(self.0.swap_remove(at).1)
    }
}

impl Passed {
    fn take(passed: &mut ListenFd, index: usize, name: &str) -> Result<Self, PassedSocketError> {
        let (descriptor, name) = (index + FIRST, name.to_owned());
        let listens = |socket: &dyn AsFd| {
            rustix::net::sockopt::socket_acceptconn(socket.as_fd()).unwrap_or(false)
        };
        let socket = match passed.take_tcp_listener(index) {
            Ok(Some(listener)) => Self::Tcp(listener),
            Ok(None) => return Err(PassedSocketError::Absent { descriptor, name }),
            Err(_) => match passed.take_unix_listener(index) {
                Ok(Some(listener)) => Self::Unix(listener),
                Ok(None) => return Err(PassedSocketError::Absent { descriptor, name }),
                Err(error) => {
                    let source = Some(error);
                    return Err(PassedSocketError::NotListening { descriptor, name, source });
                }
            },
        };
        let good = match &socket {
            Self::Tcp(listener) => listens(listener),
            Self::Unix(listener) => listens(listener),
        };
        let not = || PassedSocketError::NotListening { descriptor, name, source: None };
        good.then_some(socket).ok_or_else(not)
    }
}

/// What each socket serves: by name where any name is one of ours, else by order.
fn purposes(names: &[&str], shared: bool) -> Result<Vec<Purpose>, PassedSocketError> {
    let named = |name: &str| match name {
        "public" => Some(Purpose::Public),
        "backend" => Some(Purpose::Backend),
        "redirect" => Some(Purpose::Redirect),
        _ => None,
    };
    let found: Vec<Option<Purpose>> = if names.iter().any(|name| named(name).is_some()) {
        names.iter().map(|name| named(name)).collect()
    } else {
        let order = [Purpose::Public, Purpose::Backend, Purpose::Redirect].map(Some).into_iter();
        order.chain(std::iter::repeat(None)).take(names.len()).collect()
    };
    let mut purposes = Vec::with_capacity(found.len());
    for (name, purpose) in names.iter().zip(found) {
        let name = || (*name).to_owned();
        let purpose = purpose.ok_or_else(|| PassedSocketError::Unexpected(name()))?;
        if purposes.contains(&purpose) {
            return Err(PassedSocketError::Twice(name()));
        }
        if shared && purpose == Purpose::Backend {
            return Err(PassedSocketError::SharedBackend);
        }
        purposes.push(purpose);
    }
    Ok(purposes)
}

/// The number of the first descriptor that is passed.
const FIRST: usize = 3;
/// More sockets than there will be listeners, and few enough to say which one is too many.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_else_by_order() {
        use Purpose::{Backend, Public, Redirect};
        fn check(names: &[&str], shared: bool, expected: Result<&[Purpose], &str>) {
            match (purposes(names, shared), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{names:?}"),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (found, _) => panic!("{names:?}: {found:?}"),
            }
        }
        check(&[], false, Ok(&[]));
        check(&["incoming.socket"], false, Ok(&[Public]));
        check(&["incoming.socket", "incoming.socket"], false, Ok(&[Public, Backend]));
        check(&["", ""], false, Ok(&[Public, Backend]));
        check(&["backend", "public"], false, Ok(&[Backend, Public]));
        check(&["backend"], false, Ok(&[Backend]));
        check(&["public"], true, Ok(&[Public]));
        check(&["unknown"], true, Ok(&[Public]));
        check(&["unknown", "public"], false, Err("unexpected passed socket \"unknown\""));
        check(&["a", "b", "c"], false, Ok(&[Public, Backend, Redirect]));
        check(&["public", "redirect"], true, Ok(&[Public, Redirect]));
        check(&["a", "b", "c", "d"], false, Err("unexpected passed socket \"d\""));
        check(&["public", "public"], false, Err("two passed sockets \"public\""));
        check(&["a", "a"], true, Err("backend_listen is the same as listen"));
        check(&["backend"], true, Err("backend_listen is the same as listen"));
    }
}
