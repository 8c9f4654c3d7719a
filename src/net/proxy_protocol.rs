//! The PROXY protocol, version 2: before anything else, a proxy says on a connection who is at its other end.
//!
//! Promise: on a listener that asks for it, it is decided whose word counts before a byte is read, a header is read
//! to its last byte and not one further, within a deadline and a size, and no address is made up: a header that
//! says none, or of a family unknown here, leaves the client unknown; one that breaks the format ends the
//! connection. Absent: version 1, the line of text, and the TLVs, which are skipped.
//!
//! Source: proxy-protocol.txt of HAProxy, section 2.2.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::sync::CancellationToken;

use super::PeerAddress;
use super::stats::{HeaderFailure, Stats};
use crate::engine::deadline::within;

#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
#[cfg(test)]
mod tests;

/// What every header of version 2 begins with; no request of HTTP and no TLS does.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The bytes that say how long the rest is.
const FIXED_BYTES: usize = 16;
/// Most bytes after them. Addresses take up to 216; HAProxy with every option on adds some hundred, clouds less.
const MOST_BYTES: usize = 2048;

/// Who has to speak the protocol on a listener: everybody. On TCP only these are listened to, and others are closed;
/// on a unix socket whoever may open it.
#[derive(Debug, Default)]
pub struct ProxyProtocol {
    trusted: RwLock<Vec<IpNet>>,
    /// The first untrusted peer is worth a warning: most often the list is wrong.
    warned: AtomicBool,
}

impl ProxyProtocol {
    /// Proxies whose word counts.
    #[must_use]
    pub fn new(trusted: Vec<IpNet>) -> Self {
        Self { trusted: RwLock::new(trusted), warned: AtomicBool::new(false) }
    }

    /// From now on the word of these counts instead. Connections whose word counted keep what it said.
    pub fn trust(&self, proxies: Vec<IpNet>) {
        *self.trusted.write().expect("no holder of this lock panics") = proxies;
        self.warned.store(false, Ordering::Relaxed);
    }

    fn trusts(&self, peer: PeerAddress) -> bool {
        match peer {
            PeerAddress::Ip(address) => {
                let trusted = self.trusted.read().expect("no holder of this lock panics");
                trusted.iter().any(|net| net.contains(&address.ip()))
            }
            PeerAddress::Unix => true,
            PeerAddress::Unknown => false,
        }
    }
}

/// How a header is waited for, and where those that do not come are counted.
pub(super) struct HeaderWait<'a> {
    /// All of it must be there after so long.
    pub(super) within: Duration,
    pub(super) stats: &'a Stats,
    /// Cancelled to shut down: then nobody is waited for.
    pub(super) drain: &'a CancellationToken,
}

/// Who is at the other end of a connection from `peer`: on a listener without the protocol the peer itself, else
/// whom its header names. `None` ends the connection, which was counted and noted then.
///
/// Cancel: what was read is gone, and the connection with it.
pub(super) async fn client<IO: AsyncRead + Unpin>(
    io: &mut IO,
    peer: PeerAddress,
    protocol: Option<&ProxyProtocol>,
    wait: &HeaderWait<'_>,
) -> Option<PeerAddress> {
    let Some(protocol) = protocol else { return Some(peer) };
    if !protocol.trusts(peer) {
        wait.stats.header_failures(HeaderFailure::UntrustedPeer).inc();
        if protocol.warned.swap(true, Ordering::Relaxed) {
            tracing::debug!(address = ?peer, "connection closed: peer is not in trusted_proxies");
        } else {
            tracing::warn!(address = ?peer, "connection closed: peer is not in trusted_proxies, and the listener has proxy_protocol; further ones are logged at debug");
        }
        return None;
    }
    let read = within(wait.within, read(io));
    match wait.drain.run_until_cancelled(read).await? {
        Ok(Ok(source)) => return Some(source.applied_to(peer)),
        // Whoever connects to see whether it can, and goes away.
        Ok(Err(ReadError::Silent)) => {
            wait.stats.header_failures(HeaderFailure::Silent).inc();
            tracing::debug!(address = ?peer, "connection closed without a PROXY header");
        }
        Ok(Err(error @ (ReadError::Io(_) | ReadError::Header(_)))) => {
            wait.stats.header_failures(HeaderFailure::Malformed).inc();
            tracing::warn!(address = ?peer, %error, "invalid PROXY header");
        }
        Err(_) => {
            wait.stats.overdue.inc();
            tracing::warn!(address = ?peer, "PROXY header timed out");
        }
    }
    None
}

/// What a header says of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeaderSource {
    /// The proxy speaks for itself, to see whether the server lives.
    Local,
    /// This address.
    Address(SocketAddr),
    /// There is a client, and its address is not given.
    Unknown,
}

impl HeaderSource {
    fn applied_to(self, peer: PeerAddress) -> PeerAddress {
        match self {
            Self::Local => peer,
            Self::Address(address) => PeerAddress::Ip(address),
            Self::Unknown => PeerAddress::Unknown,
        }
    }
}

/// Why a header was not read.
#[derive(Debug)]
enum ReadError {
    /// The connection ended without a byte, or was reset.
    Silent,
    /// The connection ended inside a header.
    Io(std::io::Error),
    /// The format was broken.
    Header(HeaderError),
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeaderError {
    /// It does not begin as one.
    NoSignature,
    /// Neither LOCAL nor PROXY of version 2.
    VersionAndCommand(u8),
    /// A family and protocol that the version does not have.
    Family(u8),
    /// Longer than is taken.
    TooLong(usize),
    /// Its addresses do not fit into it.
    TooShort(usize),
}

async fn read<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<HeaderSource, ReadError> {
    let mut fixed = [0; FIXED_BYTES];
    let mut filled = 0;
    while filled < FIXED_BYTES {
        let count = match io.read(&mut fixed[filled..]).await {
            Ok(count) if count > 0 => count,
            // Health checks go away so, some with a FIN and some with a RST.
            Ok(_) | Err(_) if filled == 0 => return Err(ReadError::Silent),
            Ok(_) => return Err(ReadError::Io(std::io::ErrorKind::UnexpectedEof.into())),
            Err(error) => return Err(ReadError::Io(error)),
        };
        filled += count;
        // Another protocol is recognised by its first bytes, which may be fewer than a header has.
        let compared = filled.min(SIGNATURE.len());
        if fixed[..compared] != SIGNATURE[..compared] {
            return Err(ReadError::Header(HeaderError::NoSignature));
        }
    }
    let head = Head::parse(&fixed).map_err(ReadError::Header)?;
    let mut rest = [0; MOST_BYTES];
    let rest = &mut rest[..head.rest];
    io.read_exact(rest).await.map_err(ReadError::Io)?;
    head.source(rest).map_err(ReadError::Header)
}

/// The fixed part of a header, checked.
#[derive(Clone, Copy, Debug)]
struct Head {
    command: Command,
    family: u8,
    /// Bytes that follow.
    rest: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Local,
    Proxy,
}

impl Head {
    fn parse(fixed: &[u8; FIXED_BYTES]) -> Result<Self, HeaderError> {
        if fixed[..SIGNATURE.len()] != SIGNATURE {
            return Err(HeaderError::NoSignature);
        }
        let [command, family, high, low] = [fixed[12], fixed[13], fixed[14], fixed[15]];
        let command = match command {
            0x20 => Command::Local,
            0x21 => Command::Proxy,
            other => return Err(HeaderError::VersionAndCommand(other)),
        };
        let rest = usize::from(u16::from_be_bytes([high, low]));
        if rest > MOST_BYTES {
            return Err(HeaderError::TooLong(rest));
        }
        Ok(Self { command, family, rest })
    }

    /// What it says, `rest` being all that follows.
    fn source(&self, rest: &[u8]) -> Result<HeaderSource, HeaderError> {
        if self.command == Command::Local {
            // The family of LOCAL means nothing, nor do addresses.
            return Ok(HeaderSource::Local);
        }
        let short = HeaderError::TooShort(rest.len());
        let address: SocketAddr = match self.family {
            // TCP and UDP alike: over which the client speaks to the proxy is the proxy's affair (HTTP/3).
            0x11 | 0x12 => {
                let [ip, _, port] = pieces::<4>(rest).ok_or(short)?;
                (Ipv4Addr::from(array::<4>(ip)), u16::from_be_bytes(array(port))).into()
            }
            0x21 | 0x22 => {
                let [ip, _, port] = pieces::<16>(rest).ok_or(short)?;
                (Ipv6Addr::from(array::<16>(ip)), u16::from_be_bytes(array(port))).into()
            }
            // Not given, or a socket of the proxy's own machine, which has no address to judge by.
            0x00 | 0x31 | 0x32 => return Ok(HeaderSource::Unknown),
            other => return Err(HeaderError::Family(other)),
        };
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        // Nobody comes from there: some fill a field with it that they have nothing for.
        Ok(if address.ip().is_unspecified() {
            HeaderSource::Unknown
        } else {
            HeaderSource::Address(address)
        })
    }
}

/// Source, destination and the source's port, of addresses that take so many bytes.
fn pieces<const BYTES: usize>(rest: &[u8]) -> Option<[&[u8]; 3]> {
    let (source, rest) = rest.split_at_checked(BYTES)?;
    let (destination, rest) = rest.split_at_checked(BYTES)?;
    let (ports, _) = rest.split_at_checked(4)?;
    Some([source, destination, &ports[..2]])
}

fn array<const BYTES: usize>(bytes: &[u8]) -> [u8; BYTES] {
    bytes.try_into().expect("cut to this length")
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("the connection ended"),
            Self::Io(error) => error.fmt(f),
            Self::Header(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSignature => {
                f.write_str("the connection does not begin with a PROXY header of version 2")
            }
            Self::VersionAndCommand(byte) => {
                write!(f, "PROXY header: version and command {byte:#04x} are unknown")
            }
            Self::Family(byte) => write!(f, "PROXY header: family {byte:#04x} is unknown"),
            Self::TooLong(bytes) => {
                write!(f, "PROXY header: {bytes} bytes are more than {MOST_BYTES}")
            }
            Self::TooShort(bytes) => {
                write!(f, "PROXY header: {bytes} bytes are too few for its addresses")
            }
        }
    }
}
