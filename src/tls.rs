//! TLS of listeners and of clients: certificates are loaded, chosen by the name that a client asks for, and reloaded
//! when their files change.

#[cfg(feature = "acme")]
pub mod acme;
mod client_certificate;
mod client_config;
mod load;
mod reload;
mod sni;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use humantime::format_rfc3339_seconds as shown;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ResolvesServerCert, VerifierBuilderError,
    WebPkiClientVerifier,
};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

pub use client_certificate::ClientCertificate;
pub use client_config::{NoRoots, Trust, client_config, machine_roots};
use load::LoadedCertificate;
pub use load::{
    CertificateFiles, CertificateInfo, Content, LoadError, LoadReason, load_pair, load_roots,
};
use reload::LastRead;
use sni::ByName;

/// Session tickets sent with each TLS 1.3 handshake. Two, rustls' own: a browser opens a second
/// connection at once and may spend each ticket only once.
const TICKETS: usize = 2;

/// The PEM files of one listener.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Its certificates, at least one; the first is for clients that name no other.
    pub pairs: Vec<CertificateFiles>,
    /// CAs that sign clients' certificates; none: clients are not asked for one.
    pub client_ca: Option<PathBuf>,
    /// Whether clients have to show a certificate, where there is a `client_ca`.
    pub client_auth: ClientAuth,
    /// Certificates that answer the challenges of an ACME authority; none: challenges are not answered.
    pub challenges: Option<Challenges>,
    /// The protocols that are offered.
    pub alpn: Alpn,
}

/// Which protocols a listener offers by ALPN (RFC 7301). A client chooses none: then it speaks HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// `h2` before `http/1.1`.
    Http2,
    /// `http/1.1` alone.
    Http1,
}

/// The certificates that prove a name by TLS-ALPN-01 (RFC 8737), where an order is under way.
pub type Challenges = Arc<dyn ResolvesServerCert>;

/// Whether clients have to show a certificate. A certificate that does not verify is refused either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A handshake without one fails.
    Required,
    /// A client without one is let in; the service sees none in its peer and decides.
    Optional,
}

/// Why TLS cannot be set up; names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Files of one certificate cannot be used, or the file of the client CA.
    #[error("{}", joined(.0))]
    Load(Vec<LoadError>),
    /// A new certificate is outside its validity period, while the one in force is not.
    #[error(
        "certificate {} is valid from {} to {}, which is not now; the previous one is still valid",
        .0.display(), shown(.1.not_before), shown(.1.not_after)
    )]
    NotNow(PathBuf, CertificateInfo),
    /// The client CA's certificates cannot be used.
    #[error("client CA {} cannot be used: {}", .0.display(), .1)]
    ClientCa(PathBuf, #[source] VerifierBuilderError),
    /// The machine gives no randomness for ticket keys, or rustls refuses the settings.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// Reading the files ended by a panic.
    #[error("reading the certificates panicked")]
    Panicked,
    /// Several of these.
    #[error("{}", joined(.0))]
    Several(Vec<Self>),
}

fn joined<E: ToString>(errors: &[E]) -> String {
    errors.iter().map(E::to_string).collect::<Vec<_>>().join("; ")
}

/// The TLS configuration of a listener, replaced as a whole when its files change.
///
/// A connection keeps the configuration that was in force when it was accepted; a client's certificate is verified again
/// at each use ([`ClientCertificate`]). Where there is a client CA no session is resumed: it would outlive the client's
/// certificate.
#[derive(Debug)]
pub struct TlsReload {
    files: TlsFiles,
    /// The clock by which clients' certificates expire.
    time: Arc<dyn TimeProvider>,
    current: RwLock<Active>,
    /// Locked during a reload: one at a time, so that no older reading replaces a newer one.
    last_read: Arc<tokio::sync::Mutex<LastRead>>,
}

/// What was loaded, and the configuration made of it.
#[derive(Debug)]
struct Active {
    config: Arc<ServerConfig>,
    /// Verifies clients' certificates; none: clients are not asked for one.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    read: Loaded,
}

/// What the files held.
#[derive(Clone, Debug)]
struct Loaded {
    /// One for each pair of the files, in their order.
    pairs: Vec<LoadedCertificate>,
    client_ca: Option<Arc<RootCertStore>>,
}

impl TlsReload {
    /// Loads the files. Blocks on reading them.
    ///
    /// A certificate outside its validity period is loaded with a warning: the server starts.
    ///
    /// # Errors
    /// When a file is missing or wrong; the error names it.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        Self::load_by(files, Arc::new(DefaultTimeProvider))
    }

    /// As [`Self::load`], with another clock for the certificates of clients.
    fn load_by(files: TlsFiles, time: Arc<dyn TimeProvider>) -> Result<Self, TlsError> {
        // Taken before the load: what is written meanwhile counts as a change later.
        let last = LastRead::of(&files);
        let pairs = files.pairs.iter().map(LoadedCertificate::load);
        let pairs = pairs.collect::<Result<Vec<_>, _>>().map_err(TlsError::Load)?;
        let client_ca = files.client_ca.as_deref().map(load_roots).transpose();
        let client_ca = client_ca.map_err(|error| TlsError::Load(vec![error]))?;
        let read = Loaded { pairs, client_ca };
        let active = build(&files, &time, read)?;
        let last_read = Arc::new(tokio::sync::Mutex::new(last));
        let this = Self { files, time, current: RwLock::new(active), last_read };
        this.warn_of_times();
        Ok(this)
    }

    /// What is in force now.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().expect(WHOLE).config)
    }

    /// Each certificate in force: its file, and what it says of itself.
    #[must_use]
    pub fn certificates(&self) -> Vec<(PathBuf, CertificateInfo)> {
        let read = self.read();
        let files = self.files.pairs.iter().map(|pair| pair.cert.clone());
        files.zip(read.pairs.into_iter().map(|loaded| loaded.info)).collect()
    }

    /// When the first of the certificates in force expires.
    #[must_use]
    pub fn ends(&self) -> Option<SystemTime> {
        self.read().pairs.iter().map(|loaded| loaded.info.not_after).min()
    }

    /// Whether a handshake would accept a client with this chain now.
    fn verifies(&self, chain: &[CertificateDer<'static>]) -> bool {
        let verifier = self.current.read().expect(WHOLE).verifier.clone();
        let (Some(verifier), Some(now)) = (verifier, self.time.current_time()) else {
            return false;
        };
        let Some((own, intermediates)) = chain.split_first() else { return false };
        verifier.verify_client_cert(own, intermediates, now).is_ok()
    }

    fn read(&self) -> Loaded {
        self.current.read().expect(WHOLE).read.clone()
    }

    fn warn_of_times(&self) {
        let now = SystemTime::now();
        for (cert, info) in self.certificates().iter().filter(|(_, info)| !info.is_good(now)) {
            let (begins, ends) = (shown(info.not_before), shown(info.not_after));
            let cert = cert.display();
            tracing::warn!(%cert, %begins, %ends, "certificate is outside its validity period");
        }
    }
}

/// Makes a configuration, every setting set by hand.
fn build(files: &TlsFiles, time: &Arc<dyn TimeProvider>, read: Loaded) -> Result<Active, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::clone(time))
        .with_protocol_versions(&[&TLS13, &TLS12])?;
    let verifier = match (&files.client_ca, &read.client_ca) {
        (Some(path), Some(roots)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider);
            let verifier = match files.client_auth {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            Some(verifier.build().map_err(|error| TlsError::ClientCa(path.clone(), error))?)
        }
        _ => None,
    };
    let builder = match &verifier {
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        None => builder.with_no_client_auth(),
    };
    let by_name = ByName::new(read.pairs.iter(), files.challenges.clone());
    let mut config = builder.with_cert_resolver(Arc::new(by_name));
    config.alpn_protocols = match files.alpn {
        Alpn::Http2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Alpn::Http1 => vec![b"http/1.1".to_vec()],
    };
    if files.challenges.is_some() {
        config.alpn_protocols.push(CHALLENGE.to_vec());
    }
    // Sessions are resumed from what the client brings; nothing is stored here. A resumed one shows no certificate again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if verifier.is_none() {
        config.ticketer = ring::Ticketer::new()?;
        config.send_tls13_tickets = TICKETS;
    } else {
        config.ticketer = Arc::new(NoTickets);
        config.send_tls13_tickets = 0;
    }
    // Early data can be replayed by anyone who recorded it.
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    // The client knows whether its processor likes AES or ChaCha20 better.
    config.ignore_client_order = false;
    // Records as large as the protocol allows.
    config.max_fragment_size = None;
    Ok(Active { config: Arc::new(config), verifier, read })
}

/// Makes no session tickets and takes none.
#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// The protocol of a connection that only looks at our proof. Source: RFC 8737, section 3.
pub(crate) const CHALLENGE: &[u8] = b"acme-tls/1";

/// Why a lock is never found broken.
const WHOLE: &str = "nothing panics while it holds the set-up";
