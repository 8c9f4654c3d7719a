//! Certificates that the server orders by itself (ACME, RFC 8555). It proves its names by TLS-ALPN-01
//! (RFC 8737) on its own listener.
//!
//! A certificate is written to a PEM file with its key, readable by this user alone, and is served from there like
//! any other: selection by name, reload, metrics and the log are those of [`super::TlsReload`]. Until
//! the first one arrives, a self-signed placeholder is served.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_core::Stream;
use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_acme::{
    AccountCache, AcmeConfig, AcmeState, CertCache, EventOk, ResolvesServerCertAcme,
};
use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    CertificateFiles, Challenges, TlsReload, Trust, client_config, load_roots, machine_roots,
};
use crate::core::digest::hex;
use crate::storage::local::private_dir;

/// What is ordered, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The names of the certificate, at least one.
    pub domains: Vec<String>,
    /// Contacts of the operator: `mailto:` URLs.
    pub contact: Vec<String>,
    /// The URL of the authority's directory.
    pub directory: String,
    /// CAs (PEM) that the directory's own certificate comes from; none: those the machine trusts.
    pub directory_ca: Option<PathBuf>,
    /// Where the certificate and the account's key are kept. Made if absent.
    pub cache: PathBuf,
}

/// The orders of a server, for as long as it runs.
pub struct Acme {
    options: Options,
    client: Arc<ClientConfig>,
    state: AcmeState<io::Error>,
    challenges: Arc<ChallengeResolver>,
}

/// Proves names for the order under way.
#[derive(Debug)]
struct ChallengeResolver(RwLock<Arc<ResolvesServerCertAcme>>);

impl Acme {
    /// Prepares the files and the client of the directory. Sends nothing. Blocks on files.
    ///
    /// # Errors
    /// What cannot be read or written, with its path.
    pub fn new(options: Options) -> io::Result<Self> {
        private_dir::make_directory(&options.cache, DirBuilder::new().recursive(true).mode(0o700))
            .map_err(|error| named(&options.cache, &error))?;
        let pair = options.pair();
        // It is read when the first order begins; what is wrong with it is to be known now.
        content(&options.account())?;
        if content(&pair.cert)?.is_none() {
            write(&pair.cert, placeholder(&options.domains)?.as_bytes())?;
        }
        let client = client(options.directory_ca.as_deref())?;
        let state = options.state(&client);
        let challenges = Arc::new(ChallengeResolver(RwLock::new(state.resolver())));
        Ok(Self { options, client, state, challenges })
    }

    /// The file that the certificate and its key are served from.
    #[must_use]
    pub fn pair(&self) -> CertificateFiles {
        self.options.pair()
    }

    /// The certificates that answer the authority's challenges.
    #[must_use]
    pub fn challenges(&self) -> Challenges {
        Arc::clone(&self.challenges) as Challenges
    }

    /// Orders, renews after two thirds of a certificate's lifetime, and activates each new certificate, until `stop`.
    /// Failures are logged and retried with growing pauses, up to a day.
    ///
    /// Cancel: a running order is dropped; the next start orders again.
    pub async fn run(mut self, reload: Arc<TlsReload>, stop: CancellationToken) {
        let domains = self.options.domains.clone();
        let orders = async {
            loop {
                let end = follow(&mut self.state, &domains, &reload).await;
                if end == OrdersEnd::Over {
                    let pause = OVER_PAUSE;
                    tracing::error!(?domains, ?pause, "ACME client ended; restarting it");
                    sleep(pause).await;
                }
                self.restart();
            }
        };
        // Files and authorities that hang must not keep the server from stopping.
        stop.run_until_cancelled(orders).await;
    }

    fn restart(&mut self) {
        self.state = self.options.state(&self.client);
        *self.challenges.0.write().expect(WHOLE) = self.state.resolver();
    }
}

/// Why orders have to be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrdersEnd {
    /// The directory has not answered for very long; what was ordered is kept.
    Stuck,
    /// The stream of events has ended, which its crate does not exclude.
    Over,
}

/// Activates the certificates that orders yield, and logs both these and failures.
async fn follow<E: fmt::Display>(
    mut orders: impl Stream<Item = Result<EventOk, E>> + Unpin,
    domains: &[String],
    reload: &Arc<TlsReload>,
) -> OrdersEnd {
    loop {
        let next = poll_fn(|cx| Pin::new(&mut orders).poll_next(cx));
        match timeout(STUCK, next).await {
            Ok(Some(Ok(EventOk::CertCacheStore))) => match reload.reload().await {
                Ok(_) => tracing::info!(?domains, "ACME certificate in force"),
                Err(error) => tracing::error!(%error, "ACME certificate rejected"),
            },
            Ok(Some(Ok(step))) => tracing::debug!(?step, "ACME step done"),
            Ok(Some(Err(error))) => {
                let error = error.to_string();
                tracing::error!(
                    error = short(&error),
                    ?domains,
                    "ACME order failed; trying again later"
                );
            }
            Ok(None) => return OrdersEnd::Over,
            Err(_) => return OrdersEnd::Stuck,
        }
    }
}

impl ResolvesServerCert for ChallengeResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().expect(WHOLE).resolve(hello)
    }
}

impl Options {
    /// The file of these names at this directory; other names have another one.
    fn pair(&self) -> CertificateFiles {
        let mut digest = Sha256::new();
        for word in self.domains.iter().chain([&self.directory]) {
            digest.update(word);
            digest.update([0]);
        }
        let tag = hex(&digest.finalize()[..8]);
        let file = self.cache.join(format!("certificate-{tag}.pem"));
        CertificateFiles { cert: file.clone(), key: file }
    }

    fn account(&self) -> PathBuf {
        self.cache.join("account.der")
    }

    fn state(&self, client: &Arc<ClientConfig>) -> AcmeState<io::Error> {
        AcmeConfig::new_with_client_config(&self.domains, Arc::clone(client))
            .contact(&self.contact)
            .directory(&self.directory)
            .cache(FileCache(self.clone()))
            .state()
    }
}

/// The files, as rustls-acme asks for them.
struct FileCache(Options);

#[async_trait]
impl CertCache for FileCache {
    type EC = io::Error;

    async fn load_cert(&self, _: &[String], _: &str) -> io::Result<Option<Vec<u8>>> {
        read(self.0.pair().cert).await
    }

    async fn store_cert(&self, _: &[String], _: &str, pem: &[u8]) -> io::Result<()> {
        store(self.0.pair().cert, pem).await
    }
}

#[async_trait]
impl AccountCache for FileCache {
    type EA = io::Error;

    async fn load_account(&self, _: &[String], _: &str) -> io::Result<Option<Vec<u8>>> {
        read(self.0.account()).await
    }

    async fn store_account(&self, _: &[String], _: &str, key: &[u8]) -> io::Result<()> {
        store(self.0.account(), key).await
    }
}

async fn read(path: PathBuf) -> io::Result<Option<Vec<u8>>> {
    tokio::task::spawn_blocking(move || content(&path)).await.map_err(io::Error::other)?
}

/// What is in a file, where there is one. Whoever else could write to it would choose our key.
fn content(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        private_dir::open(path, OpenOptions::new().read(true))?.read_to_end(&mut content)?;
        Ok(content)
    };
    match read() {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, &error)),
    }
}

async fn store(path: PathBuf, content: &[u8]) -> io::Result<()> {
    let content = content.to_owned();
    let stored = tokio::task::spawn_blocking(move || write(&path, &content));
    stored.await.map_err(io::Error::other)?
}

/// Writes a file for this user alone, whole or not at all.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let written = || {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(|error| named(path, &error))
}

/// A certificate of nobody's for these names, with its key. It is about to end: what ends soon is renewed.
fn placeholder(domains: &[String]) -> io::Result<String> {
    let now = SystemTime::now();
    let mut params = CertificateParams::new(domains.to_owned()).map_err(io::Error::other)?;
    params.not_before = (now - PLACEHOLDER_AGE).into();
    params.not_after = (now + PLACEHOLDER_REST).into();
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let made = params.self_signed(&key).map_err(io::Error::other)?;
    Ok(format!("{}\n{}", key.serialize_pem(), made.pem()))
}

/// How the directory is called.
fn client(directory_ca: Option<&Path>) -> io::Result<Arc<ClientConfig>> {
    let roots = match directory_ca {
        Some(path) => load_roots(path).map_err(io::Error::other)?,
        None => machine_roots().map_err(io::Error::other)?,
    };
    client_config(Trust::Roots(roots), None, b"http/1.1", SESSIONS).map_err(io::Error::other)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The beginning of what the authority says: it may send whole pages.
fn short(text: &str) -> &str {
    text.char_indices().nth(SHOWN_CHARS).map_or(text, |(end, _)| &text[..end])
}

/// Why a lock is never found broken.
const WHOLE: &str = "nothing panics while it holds the resolver";
/// Nothing is heard of an order for this long: it is begun anew. The longest pause between two tries is 18 h.
const STUCK: Duration = Duration::from_secs(24 * 60 * 60);
/// Between the end of orders and new ones: a minute is nothing to a certificate and much to an authority.
const OVER_PAUSE: Duration = Duration::from_secs(60);
/// A placeholder looks this old and lasts this long, so that it is renewed at once; a day is enough to find
/// out why nothing comes.
const PLACEHOLDER_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const PLACEHOLDER_REST: Duration = Duration::from_secs(24 * 60 * 60);
/// TLS sessions remembered: of one directory.
const SESSIONS: usize = 8;
/// Characters of an error that are logged.
const SHOWN_CHARS: usize = 500;

#[cfg(test)]
mod tests;
