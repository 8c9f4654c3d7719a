//! Which TLS certificates are taken, and which one is shown.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::endpoint::Endpoint;

/// TLS sessions remembered: one server, a few connections.
const SESSIONS: usize = 8;

/// Whom a command trusts, and who it is, as flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Credentials {
    /// Accept any TLS certificate
    #[arg(long, global = true)]
    pub insecure: bool,
    /// CAs (PEM) whose TLS certificates are accepted [default: the machine's trusted roots]
    #[arg(long, value_name = "PATH", global = true, conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,
    /// Client certificate (PEM), for servers that require one
    #[arg(long, value_name = "PATH", global = true, requires = "key")]
    pub cert: Option<PathBuf>,
    /// Private key (PEM) that belongs to --cert
    #[arg(long, value_name = "PATH", global = true, requires = "cert")]
    pub key: Option<PathBuf>,
}

/// Whose word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// The machine's trusted roots, from where the system keeps them or from `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR`.
    Roots,
    /// Anybody's: encrypted, but to whom is not known.
    Anybody,
}

impl Credentials {
    /// An error where certificates are named and none of these listeners speaks TLS: whoever names one believes that it
    /// protects what is sent.
    pub(super) fn of_use<'a>(
        &self,
        endpoints: impl IntoIterator<Item = &'a Endpoint>,
    ) -> Result<(), String> {
        let flag = match (&self.ca, &self.cert) {
            (Some(path), _) => format!("--ca {}", path.display()),
            (None, Some(path)) => format!("--cert {}", path.display()),
            (None, None) => return Ok(()),
        };
        let mut plain = Vec::new();
        for endpoint in endpoints {
            if endpoint.tls {
                return Ok(());
            }
            plain.push(endpoint.to_string());
        }
        Err(format!(
            "{flag} has no effect: {} does not use TLS; did you mean https://?",
            plain.join(" and ")
        ))
    }

    /// The TLS set-up for one protocol. Blocks on reading certificates; the error names the flag.
    pub(super) fn config(&self, protocol: &[u8]) -> Result<Arc<ClientConfig>, String> {
        let verifier = builder().map_err(|error| error.to_string())?;
        let builder = match (&self.ca, self.insecure) {
            (Some(path), _) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path).map_err(|why| format!("--ca {why}"))? {
                    roots
                        .add(certificate)
                        .map_err(|error| format!("--ca {}: {error}", path.display()))?;
                }
                verifier.with_root_certificates(roots)
            }
            (None, true) => verifier.dangerous().with_custom_certificate_verifier(Arc::new(
                TakesAny(Arc::new(ring::default_provider())),
            )),
            (None, false) => {
                verifier.with_root_certificates(roots().map_err(|error| error.to_string())?)
            }
        };
        let config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert).map_err(|why| format!("--cert {why}"))?;
                let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                    format!(
                        "--key {}: must be a PEM file with a private key: {}",
                        key.display(),
                        pem(&error)
                    )
                })?;
                let paired = builder.with_client_auth_cert(chain, private);
                paired.map_err(|error| format!("--cert {}: {error}", cert.display()))?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(tuned(config, protocol))
    }
}

/// The TLS set-up for one protocol (as ALPN names it), every knob set by hand. Blocks on reading the
/// roots.
pub(super) fn config(trust: Trust, protocol: &[u8]) -> io::Result<Arc<ClientConfig>> {
    let credentials = Credentials { insecure: trust == Trust::Anybody, ..Credentials::default() };
    credentials.config(protocol).map_err(io::Error::other)
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
}

fn tuned(mut config: ClientConfig, protocol: &[u8]) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    config.enable_early_data = false;
    config.enable_sni = true;
    Arc::new(config)
}

/// All certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read =
        CertificateDer::pem_file_iter(path).and_then(|all| all.collect::<Result<Vec<_>, _>>());
    let why = match read {
        Ok(all) if !all.is_empty() => return Ok(all),
        Ok(_) => "the file has none".to_owned(),
        Err(error) => pem(&error),
    };
    Err(format!("{}: must be a PEM file with certificates: {why}", path.display()))
}

/// Without the words that would quote the file, which may be a key.
fn pem(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "the file has none".into(),
        _ => "the file is malformed".into(),
    }
}

fn roots() -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let (taken, _unusable) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if taken == 0 {
        let why = "the machine has no trusted root certificates (install ca-certificates, set \
                   SSL_CERT_FILE, or accept any certificate with --insecure)";
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    Ok(roots)
}

/// Takes every certificate; that the server holds its key is still checked.
#[derive(Debug)]
struct TakesAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAny {
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
