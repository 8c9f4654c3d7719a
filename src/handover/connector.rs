//! From a callback's URL to a connection: the name look-up and the attempts to connect, each with a
//! deadline of its own, the rules on who may be called, and TLS.

use super::client::answer::CallError;
use crate::core::callback::CallbackTarget;
use crate::engine::deadline::within;
use crate::tls::{Trust, client_config, machine_roots};
use ipnet::{IpNet, Ipv6Net};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, oneshot};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The permit of a call: dropped when everything that the call started has ended; see `Client::post_idempotent`.
pub type Permit = Arc<dyn Send + Sync>;

/// A rule on who may be called. A call is allowed when any rule fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The host as it stands in the URL, in any case, whatever it resolves to.
    Host(String),
    /// The address really connected to; one that is mapped to IPv6 is the IPv4 one.
    Net(IpNet),
}

/// Makes connections to backends. Keeps none.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) resolver: Resolver,
    /// Empty: everybody may be called.
    allow: Vec<Rule>,
    /// Made by the first call over TLS.
    pub(super) tls: OnceCell<Arc<ClientConfig>>,
}

/// A connection to a backend.
pub(super) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Finds the addresses of a host; may block for as long as it likes.
pub(super) type LookUp = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Looks up names on threads of their own: the system's resolver blocks, for a minute and more where its
/// servers do not answer.
#[derive(Clone)]
pub(super) struct Resolver(Arc<LookUp>);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// The system's: files, DNS and whatever else it is set up to ask.
    pub(super) fn system() -> Self {
        Self::new(|host, port| (host, port).to_socket_addrs().map(Iterator::collect))
    }

    pub(super) fn new(
        look_up: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(look_up))
    }

    /// The addresses of a host, within [`LOOK_UP`]. `permit` is dropped when the look-up has ended, which
    /// may be long after its deadline: so there are no more threads than permits.
    ///
    /// Cancel: the look-up goes on, and keeps its permit, until it ends.
    async fn addresses(
        &self,
        host: &str,
        port: u16,
        permit: &Permit,
    ) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let (report, reported) = oneshot::channel();
        let (look_up, host, permit) = (Arc::clone(&self.0), host.to_owned(), Arc::clone(permit));
        let work = move || {
            let found = look_up(&host, port);
            drop(permit);
            // The caller may have given up.
            let _ = report.send(found);
        };
        thread::Builder::new()
            .name("incoming-lookup".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(work)?;
        match timeout(LOOK_UP, reported).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Err(io::Error::other("the look-up panicked")),
            Err(_) => {
                let why = format!("the name servers did not answer within {LOOK_UP:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            }
        }
    }
}

impl Connector {
    /// Which look-ups it makes, and who may be called.
    pub(super) fn new(resolver: Resolver, allow: Vec<Rule>) -> Self {
        Self { resolver, allow, tls: OnceCell::new() }
    }

    /// Connects to the first address that is allowed and answers, over TLS where the URL says so. Nothing is sent to an
    /// address before the rules have allowed it. `permit` is dropped when all that this started has ended.
    ///
    /// Cancel: the connection is dropped; a name look-up goes on.
    pub(super) async fn connect(
        &self,
        target: &CallbackTarget<'_>,
        permit: &Permit,
    ) -> Result<Connection, CallError> {
        let stream = self.reach(target, permit).await?;
        if !target.tls {
            return Ok(Connection::Plain(stream));
        }
        let failed = |error| CallError::Tls(target.shown(), error);
        let config = self.tls.get_or_try_init(tls_config).await.map_err(failed)?;
        let name = ServerName::try_from(target.host.to_owned())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let connecting = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        Ok(Connection::Tls(Box::new(connecting.await.map_err(failed)?)))
    }

    async fn reach(
        &self,
        target: &CallbackTarget<'_>,
        permit: &Permit,
    ) -> Result<TcpStream, CallError> {
        let addresses = self.addresses(target, permit).await?;
        let failed = |error| CallError::Connect(target.shown(), error);
        let stream = connect_to_one(&addresses).await.map_err(failed)?;
        // 0.0.0.0 leads to this machine's loopback, and a kernel may have more such ways: what was
        // reached has to be allowed as well as what was asked for.
        let reached = stream.peer_addr().map_err(failed)?;
        let reached = SocketAddr::new(reached.ip().to_canonical(), reached.port());
        if self.allowed(target, &[reached]).is_empty() {
            return Err(CallError::NotAllowed(target.shown(), vec![reached.ip()]));
        }
        Ok(stream)
    }

    /// The addresses of the target that may be called, at least one.
    async fn addresses(
        &self,
        target: &CallbackTarget<'_>,
        permit: &Permit,
    ) -> Result<Vec<SocketAddr>, CallError> {
        let failed = |error| CallError::Resolve(target.shown(), error);
        let found = self.resolver.addresses(target.host, target.port, permit).await;
        let found: Vec<SocketAddr> = found
            .map_err(failed)?
            .into_iter()
            .map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
            .collect();
        if found.is_empty() {
            return Err(failed(io::Error::new(io::ErrorKind::NotFound, "no address")));
        }
        let allowed = self.allowed(target, &found);
        if allowed.is_empty() {
            let addresses = found.iter().map(SocketAddr::ip).collect();
            return Err(CallError::NotAllowed(target.shown(), addresses));
        }
        Ok(allowed)
    }

    pub(super) fn allowed(
        &self,
        target: &CallbackTarget<'_>,
        found: &[SocketAddr],
    ) -> Vec<SocketAddr> {
        let fits = |address: &&SocketAddr| {
            self.allow.is_empty()
                || self.allow.iter().any(|rule| match rule {
                    Rule::Host(host) => target.is_host(host),
                    Rule::Net(net) => holds(net, address.ip()),
                })
        };
        found.iter().filter(fits).copied().collect()
    }
}

/// What backends are trusted by: the machine's roots.
async fn tls_config() -> io::Result<Arc<ClientConfig>> {
    let roots = tokio::task::spawn_blocking(machine_roots).await?;
    let roots = roots.map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
    tls_config_of(roots)
}

pub(super) fn tls_config_of(roots: Arc<RootCertStore>) -> io::Result<Arc<ClientConfig>> {
    client_config(Trust::Roots(roots), None, b"http/1.1", SESSIONS).map_err(io::Error::other)
}

/// Tries one address after another, within [`CONNECT`] in all. Each has an equal share of what is left of that, so
/// that a dead one does not use up the time of the others.
pub(super) async fn connect_to_one(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let deadline = Instant::now() + CONNECT;
    let addresses = &addresses[..addresses.len().min(MOST_ADDRESSES)];
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left.div_f64((addresses.len() - tried) as f64);
        let outcome = within(share, connect_to(*address)).await.unwrap_or_else(|_| {
            let why = format!("no connection within {:.1} s", share.as_secs_f64());
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        });
        match outcome {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                tracing::debug!(%address, %error, "could not connect to backend address");
                last = io::Error::new(error.kind(), format!("{address}: {error}"));
            }
        }
    }
    Err(last)
}

/// Whether a network holds the address. One behind NAT64 is the IPv4 address that it leads to, so that
/// a rule for all of IPv6 does not open this machine's neighbours; or a rule names the prefix itself.
/// Source: RFC 6052, section 2.1.
fn holds(net: &IpNet, address: IpAddr) -> bool {
    const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
    match address {
        IpAddr::V6(v6) if NAT64.contains(&v6) => {
            let [.., a, b, c, d] = v6.octets();
            let explicit = IpNet::V6(NAT64).contains(net) && net.contains(&address);
            explicit || net.contains(&IpAddr::from([a, b, c, d]))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => net.contains(&address),
    }
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // The request is one small write that is waited for.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// How long a name look-up may take: two tries of 5 s, as resolvers make them.
const LOOK_UP: Duration = Duration::from_secs(10);
/// How long connecting may take: three retransmissions of a lost first packet.
const CONNECT: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried, so that each has a second at least.
const MOST_ADDRESSES: usize = 8;
/// The stack of a thread that looks up a name; modules of the system's resolver may need some.
const STACK_BYTES: usize = 512 * 1024;
/// TLS sessions remembered, each for a backend that will be called again.
const SESSIONS: usize = 64;
