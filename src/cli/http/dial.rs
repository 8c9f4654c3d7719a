//! The way to a listener, before HTTP is spoken on it: TCP or a unix socket, and TLS where it is to be.
//! What it means that there is none is said by who asks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::cli::endpoint::{Endpoint, Place};

/// What a certificate on a unix socket has to name.
const LOCAL: &str = "localhost";

/// A connection on which nothing was asked yet.
pub(in crate::cli) struct Dialed {
    pub(in crate::cli) stream: Box<dyn Stream>,
    /// Whether both ends have agreed on HTTP/2, in TLS.
    pub(in crate::cli) http2: bool,
    /// The near end, where it is TCP.
    pub(in crate::cli) own: Option<SocketAddr>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(in crate::cli) enum NotDialed {
    Socket(io::Error),
    /// The host cannot be the name on a certificate.
    Name(InvalidDnsNameError),
    Tls(io::Error),
}

/// TCP, a unix socket, or TLS over either.
pub(in crate::cli) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects. The caller sets the deadline.
///
/// Cancel: the connection is dropped.
pub(in crate::cli) async fn dial(
    endpoint: &Endpoint,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Dialed, NotDialed> {
    match &endpoint.place {
        Place::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(NotDialed::Socket)?;
            secure(stream, LOCAL, tls, None).await
        }
        Place::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await;
            let stream = stream.map_err(NotDialed::Socket)?;
            stream.set_nodelay(true).map_err(NotDialed::Socket)?;
            let own = stream.local_addr().map_err(NotDialed::Socket)?;
            secure(stream, host, tls, Some(own)).await
        }
    }
}

async fn secure(
    stream: impl Stream + 'static,
    host: &str,
    tls: Option<&Arc<ClientConfig>>,
    own: Option<SocketAddr>,
) -> Result<Dialed, NotDialed> {
    let Some(config) = tls else {
        return Ok(Dialed { stream: Box::new(stream), http2: false, own });
    };
    let name = ServerName::try_from(host.to_owned()).map_err(NotDialed::Name)?;
    let connector = TlsConnector::from(Arc::clone(config));
    let stream = connector.connect(name, stream).await.map_err(NotDialed::Tls)?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Dialed { stream: Box::new(stream), http2, own })
}
