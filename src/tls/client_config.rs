//! What every TLS client of this program has in common: calls to backends, commands, orders by ACME.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Which servers' certificates are accepted.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those that one of these CAs has signed, for the name asked for.
    Roots(Arc<RootCertStore>),
    /// All: the connection is encrypted, but the server is not known.
    Any,
}

/// The machine has no trusted roots.
#[derive(Debug, thiserror::Error)]
#[error(
    "the machine has no trusted root certificates (install ca-certificates or set SSL_CERT_FILE)"
)]
pub struct NoRoots;

/// The machine's trusted roots: from where the system keeps them, or from `SSL_CERT_FILE` and `SSL_CERT_DIR`. Blocks on
/// reading them.
///
/// # Errors
/// When there is none.
pub fn machine_roots() -> Result<Arc<RootCertStore>, NoRoots> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "could not read some trusted root certificates");
    }
    let mut roots = RootCertStore::empty();
    let (added, _unusable) = roots.add_parsable_certificates(found.certs);
    if added == 0 { Err(NoRoots) } else { Ok(Arc::new(roots)) }
}

/// A client's settings, every one set by hand: for one protocol (its ALPN name), which shows `identity` where a server
/// asks for a certificate, and remembers this many sessions.
///
/// # Errors
/// When rustls refuses the settings.
pub fn client_config(
    trust: Trust,
    identity: Option<CertifiedKey>,
    protocol: &[u8],
    sessions: usize,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = match trust {
        Trust::Roots(roots) => builder.with_root_certificates(roots),
        Trust::Any => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptsAny(provider)))
        }
    };
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::in_memory_sessions(sessions);
    // A request must not be replayable.
    config.enable_early_data = false;
    config.enable_sni = true;
    Ok(Arc::new(config))
}

/// Accepts every certificate; that the server holds its key is still checked.
#[derive(Debug)]
struct AcceptsAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptsAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
