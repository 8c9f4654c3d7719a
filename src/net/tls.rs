//! Certificates: loaded, and loaded again when they change.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;

/// Session tickets sent with each TLS 1.3 handshake. Two, rustls' own: a browser opens a second
/// connection at once and may spend each ticket only once.
const TICKETS: usize = 2;

/// The PEM files of one listener.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain, the server's own first.
    pub cert: PathBuf,
    /// The private key of that certificate.
    pub key: PathBuf,
    /// Certificates of those whom clients must be vouched for by; none: clients show nothing.
    pub client_ca: Option<PathBuf>,
    /// What happens to a client that shows no certificate where there is a `client_ca`.
    pub strangers: Strangers,
}

/// Clients without a certificate. One that is not vouched for never gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strangers {
    /// Refused by the handshake.
    Refused,
    /// Let in; the service sees [`super::Peer::client_certificate`] and decides.
    LetIn,
}

/// Why TLS cannot be set up; names the file.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    Read(PathBuf, pem::Error),
    /// A file holds no certificate.
    NoCertificate(PathBuf),
    /// The certificate and the key do not go together, or cannot be used.
    Pair(PathBuf, PathBuf, Box<rustls::Error>),
    /// The client CA's certificates cannot be used.
    ClientCa(PathBuf, String),
    /// The machine gives no randomness for ticket keys.
    Tickets(Box<rustls::Error>),
}

/// The TLS set-up in force, replaced as a whole when its files change.
///
/// Connections take what is in force when they are accepted and keep it. Each set-up has its own
/// ticket keys, so that no session outlives the client CA that vouched for it.
#[derive(Debug)]
pub struct TlsReload {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
}

impl TlsReload {
    /// Loads the files. Blocks on reading them.
    ///
    /// # Errors
    /// When a file is missing or wrong; the error names it.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let current = RwLock::new(Arc::new(config(&files)?));
        Ok(Self { files, current })
    }

    /// What is in force now.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().expect("nothing panics while it holds the set-up"))
    }

    /// Loads the files again. Blocks on reading them.
    ///
    /// # Errors
    /// As [`TlsReload::load`]; what was in force then stays in force.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = Arc::new(config(&self.files)?);
        *self.current.write().expect("nothing panics while it holds the set-up") = fresh;
        Ok(())
    }

    /// Looks at the files `every` so often and reloads when one was replaced or written, until `stop`.
    ///
    /// A set-up that cannot be loaded is logged once and tried again at the next change: tools that
    /// renew certificates write the chain and the key one after the other.
    ///
    /// Cancel: harmless; a reload under way still takes effect.
    pub async fn watch(self: Arc<Self>, every: Duration, stop: CancellationToken) {
        let mut seen = self.stamps();
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            let this = Arc::clone(&self);
            let before = seen.clone();
            let look = tokio::task::spawn_blocking(move || this.look(before));
            match look.await {
                Ok(stamps) => seen = stamps,
                Err(error) => tracing::error!(%error, "looking for new certificates failed"),
            }
        }
    }

    fn look(&self, before: Vec<Option<Stamp>>) -> Vec<Option<Stamp>> {
        // Taken before the load: what is written meanwhile counts as a change the next time.
        let now = self.stamps();
        if now == before {
            return before;
        }
        match self.reload() {
            Ok(()) => tracing::info!(cert = %self.files.cert.display(), "certificates reloaded"),
            Err(error) => tracing::error!(%error, "new certificates not taken, the old stay"),
        }
        now
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        let TlsFiles { cert, key, client_ca, strangers: _ } = &self.files;
        let files = [cert, key].into_iter().chain(client_ca);
        files.map(|file| Stamp::of(file).ok()).collect()
    }
}

/// What tells one version of a file from the next, also behind a symbolic link that was switched.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: SystemTime,
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: found.modified()?,
        })
    }
}

/// Builds a set-up from its files, every knob set by hand.
fn config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| TlsError::Read(files.key.clone(), error))?;
    let unusable =
        |error: rustls::Error| TlsError::Pair(files.cert.clone(), files.key.clone(), error.into());
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let wrong = |reason: String| TlsError::ClientCa(path.clone(), reason);
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            let verifier = match files.strangers {
                Strangers::Refused => verifier,
                Strangers::LetIn => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|error| wrong(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Sessions are resumed from what the client brings; nothing is stored here.
    config.ticketer = ring::Ticketer::new().map_err(|error| TlsError::Tickets(error.into()))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS;
    // Early data can be replayed by anyone who recorded it.
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    // The client knows whether its processor likes AES or ChaCha20 better.
    config.ignore_client_order = false;
    // Records as large as the protocol allows.
    config.max_fragment_size = None;
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |error| TlsError::Read(path.to_owned(), error);
    let found = CertificateDer::pem_file_iter(path).map_err(wrong)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if found.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(found) }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, pem::Error::Io(error)) => {
                write!(f, "cannot read {}: {error}", path.display())
            }
            Self::Read(path, error) => write!(
                f,
                "{} does not hold what it should as PEM, a key without a passphrase: {error}",
                path.display()
            ),
            Self::NoCertificate(path) => write!(f, "{} holds no certificate", path.display()),
            Self::Pair(cert, key, error) => write!(
                f,
                "certificate {} and key {} cannot be used: {error}",
                cert.display(),
                key.display()
            ),
            Self::ClientCa(path, reason) => {
                write!(f, "client CA {} cannot be used: {reason}", path.display())
            }
            Self::Tickets(error) => write!(f, "no randomness for session tickets: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}
