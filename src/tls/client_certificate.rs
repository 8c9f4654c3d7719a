//! The certificate that a client authenticated with, for the life of its connection.
//!
//! Promise: a certificate counts while a handshake with it would succeed. It ends when it expires, and when a reload takes its
//! CA away, also on a connection that began before. Absent: revocation lists; see docs/security.md.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use super::TlsReload;

/// A certificate that the client of a connection authenticated with.
#[derive(Clone)]
pub struct ClientCertificate(Arc<Inner>);

struct Inner {
    /// The client's own certificate first; never empty.
    chain: Vec<CertificateDer<'static>>,
    tls: Arc<TlsReload>,
    ended: CancellationToken,
}

impl ClientCertificate {
    /// That of a handshake which has verified it; `None` where the client showed none.
    pub(crate) fn of(tls: &Arc<TlsReload>, chain: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let chain = chain.filter(|chain| !chain.is_empty())?;
        let chain = chain.iter().map(|part| part.clone().into_owned()).collect();
        let (tls, ended) = (Arc::clone(tls), CancellationToken::new());
        Some(Self(Arc::new(Inner { chain, tls, ended })))
    }

    /// Whether it is good at this moment, by the client CAs in force. Verifies the chain again, some hundred microseconds.
    /// Once it is not, the connection is asked to end, so that the client begins another one.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let Inner { chain, tls, ended } = &*self.0;
        let good = tls.verifies(chain);
        if !good && !ended.is_cancelled() {
            tracing::info!("client certificate of an open connection is no longer valid");
            ended.cancel();
        }
        good
    }

    /// Waits until [`Self::is_good`] was asked and answered no.
    pub(crate) async fn ended(&self) {
        self.0.ended.cancelled().await;
    }
}

/// Without the chain, which may hold names of people.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Alpn, CertificateFiles, ClientAuth, TlsFiles};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
    use rustls::crypto::ring;
    use rustls::pki_types::{PrivateKeyDer, ServerName, UnixTime};
    use rustls::time_provider::TimeProvider;
    use rustls::version::{TLS12, TLS13};
    use rustls::{
        ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection,
        SupportedProtocolVersion,
    };
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    /// The server's time: seconds since 1970.
    #[derive(Debug, Default)]
    struct Time(AtomicU64);

    impl Time {
        fn set(&self, year: u64) {
            self.0.store((year - 1970) * 365 * 24 * 3600 + 60 * 24 * 3600, Ordering::Relaxed);
        }
    }

    impl TimeProvider for Time {
        fn current_time(&self) -> Option<UnixTime> {
            let seconds = Duration::from_secs(self.0.load(Ordering::Relaxed));
            Some(UnixTime::since_unix_epoch(seconds))
        }
    }

    struct Authority(Issuer<'static, KeyPair>, String, CertificateDer<'static>);

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            let cert = params.self_signed(&key).unwrap();
            let (pem, der) = (cert.pem(), cert.der().clone());
            Self(Issuer::new(params, key), pem, der)
        }

        fn issue(&self, until: i32) -> (rcgen::Certificate, KeyPair) {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(until, 1, 1);
            (params.signed_by(&key, &self.0).unwrap(), key)
        }
    }

    /// A listener that wants certificates of `authority`, in a time of its own.
    fn listener(folder: &Path, authority: &Authority) -> (Arc<TlsReload>, Arc<Time>) {
        let (cert, key) = authority.issue(4000);
        let pair = CertificateFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
        std::fs::write(&pair.cert, cert.pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        std::fs::write(folder.join("ca.pem"), &authority.1).unwrap();
        let files = TlsFiles {
            pairs: vec![pair],
            client_ca: Some(folder.join("ca.pem")),
            client_auth: ClientAuth::Optional,
            challenges: None,
            alpn: Alpn::Http2,
        };
        let time = Arc::new(Time::default());
        time.set(2020);
        let tls = TlsReload::load_by(files, Arc::clone(&time) as _).unwrap();
        (Arc::new(tls), time)
    }

    /// A client that remembers its sessions.
    fn client(
        authority: &Authority,
        until: i32,
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ClientConfig> {
        let (cert, key) = authority.issue(until);
        let mut roots = RootCertStore::empty();
        roots.add(authority.2.clone()).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![cert.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }

    /// A handshake, with all that the server sends behind it; what it was, and the client's certificate.
    fn handshake(
        tls: &Arc<TlsReload>,
        client: &Arc<ClientConfig>,
    ) -> Result<(HandshakeKind, ClientCertificate), rustls::Error> {
        let name = ServerName::try_from("a.example").unwrap();
        let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
        let mut server = ServerConnection::new(tls.current()).unwrap();
        while client.wants_write() || server.wants_write() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let mut rest = &*bytes;
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
            }
            server.process_new_packets()?;
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            let mut rest = &*bytes;
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
            }
            client.process_new_packets()?;
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        let shown = ClientCertificate::of(tls, server.peer_certificates());
        Ok((server.handshake_kind().unwrap(), shown.unwrap()))
    }

    #[test]
    fn issue_13_no_session_outlives_the_certificate_it_began_with() {
        for version in [&TLS13, &TLS12] {
            let folder = tempfile::tempdir().unwrap();
            let authority = Authority::new();
            let (tls, time) = listener(folder.path(), &authority);
            let client = client(&authority, 2030, version);
            for _ in 0..2 {
                let (kind, certificate) = handshake(&tls, &client).unwrap();
                assert_ne!(kind, HandshakeKind::Resumed, "{version:?}");
                assert!(certificate.is_good());
            }
            let (_, open) = handshake(&tls, &client).unwrap();
            time.set(2031);
            assert!(handshake(&tls, &client).is_err(), "{version:?}");
            assert!(!open.is_good(), "an open connection goes on");
        }
    }

    /// Where clients show nothing, sessions save a round trip and cost nobody anything.
    #[test]
    fn sessions_go_on_where_clients_show_no_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let (tls, _) = listener(folder.path(), &authority);
        let files = TlsFiles { client_ca: None, ..tls.files.clone() };
        let plain = TlsReload::load(files).unwrap();
        assert!(plain.current().ticketer.enabled());
        assert!(!tls.current().ticketer.enabled());
        assert_eq!(tls.current().send_tls13_tickets, 0);
    }

    #[tokio::test]
    async fn issue_13_an_authority_that_is_taken_away_ends_open_connections() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (Authority::new(), Authority::new());
        let (tls, _) = listener(folder.path(), &old);
        let client = client(&old, 2030, &TLS13);
        let (_, open) = handshake(&tls, &client).unwrap();
        let mut ended = std::pin::pin!(open.ended());
        // One more authority takes nothing from the one there is.
        std::fs::write(folder.path().join("ca.pem"), format!("{}{}", old.1, new.1)).unwrap();
        assert_eq!(tls.reload().await.unwrap(), 1);
        assert!(open.is_good());
        assert!(futures_now(ended.as_mut()).await.is_none());
        std::fs::write(folder.path().join("ca.pem"), &new.1).unwrap();
        assert_eq!(tls.reload().await.unwrap(), 1);
        assert!(!open.is_good());
        assert!(futures_now(ended.as_mut()).await.is_some());
        assert!(handshake(&tls, &client).is_err());
    }

    /// What a future has at once.
    async fn futures_now<F: std::future::Future>(future: F) -> Option<F::Output> {
        tokio::select! { biased; found = future => Some(found), () = std::future::ready(()) => None }
    }
}
