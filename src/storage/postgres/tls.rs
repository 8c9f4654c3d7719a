//! TLS to the database over our own rustls. Channel binding is not offered: it would need the digest of the certificate.

use super::PostgresTls;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::client;

/// What becomes of a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// There is no TLS.
    None,
    /// It is not checked.
    Unchecked,
    /// It is checked, with its name.
    Checked,
}

impl Mode {
    /// The mode of a URL that asks for a checked certificate, and the URL as tokio-postgres reads it, which knows no such
    /// modes.
    pub(super) fn of_url(url: &str) -> (String, Option<Self>) {
        for name in ["sslmode=verify-full", "sslmode=verify-ca"] {
            if url.contains(name) {
                return (url.replace(name, "sslmode=require"), Some(Self::Checked));
            }
        }
        (url.to_owned(), None)
    }
}

#[derive(Clone)]
pub(super) struct Connector {
    config: Option<Arc<ClientConfig>>,
    host: Option<ServerName<'static>>,
}

impl Connector {
    pub(super) fn new(mode: Mode, tls: &PostgresTls) -> Self {
        let config = match mode {
            Mode::None => None,
            Mode::Unchecked => tls.unchecked.clone(),
            Mode::Checked => tls.checked.clone(),
        };
        Self { config, host: None }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> MakeTlsConnect<S> for Connector {
    type Stream = Stream<S>;
    type TlsConnect = Self;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Self> {
        // A unix socket has no name, and no TLS either.
        Ok(Self { config: self.config.clone(), host: ServerName::try_from(host.to_owned()).ok() })
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> TlsConnect<S> for Connector {
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let unusable = |what: &str| io::Error::new(io::ErrorKind::Unsupported, what.to_owned());
            let config = self.config.ok_or_else(|| unusable("no trusted root certificates"))?;
            let host = self.host.ok_or_else(|| unusable("the host cannot be on a certificate"))?;
            let connector = tokio_rustls::TlsConnector::from(config);
            connector.connect(host, stream).await.map(Stream)
        })
    }
}

/// A connection with TLS.
pub(super) struct Stream<S>(client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
