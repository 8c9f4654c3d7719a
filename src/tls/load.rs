//! The only reader of PEM files: certificate chains, private keys and CAs, and what a certificate says of itself.
//!
//! No error repeats what a file holds, which may be a key.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{InconsistentKeys, RootCertStore};
use x509_parser::error::X509Error;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The PEM files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate chain, the owner's own certificate first.
    pub cert: PathBuf,
    /// The private key of that certificate, without a passphrase.
    pub key: PathBuf,
}

/// What a PEM file has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// At least one certificate.
    Certificates,
    /// A private key.
    Key,
}

/// A PEM file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// What it should hold.
    pub content: Content,
    /// What is wrong with it.
    pub reason: LoadReason,
}

/// What is wrong with a PEM file: what it must be.
#[derive(Debug, thiserror::Error)]
pub enum LoadReason {
    /// It cannot be read.
    #[error("must be a PEM file with {0}: {1}")]
    Io(Content, #[source] io::Error),
    /// It holds nothing of the kind.
    #[error("must be a PEM file with {0}; the file has none")]
    Missing(Content),
    /// It is not PEM.
    #[error("must be a PEM file with {0}; the file is malformed")]
    Malformed(Content),
    /// The key is of another kind.
    #[error("must be an RSA, ECDSA or Ed25519 key")]
    Key,
    /// The key is that of another certificate than the one in this file.
    #[error("must belong to the certificate {}", .0.display())]
    Mismatch(PathBuf),
    /// The certificate is malformed.
    #[error("must be a certificate that TLS can use: {0}")]
    Certificate(String),
    /// A CA's certificate is malformed.
    #[error("must hold CA certificates: {0}")]
    Authority(#[source] rustls::Error),
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Its DNS names in lower case, wildcards as they stand (`*.example.org`), and its IP addresses.
    pub names: Vec<String>,
    /// The beginning of its validity.
    pub not_before: SystemTime,
    /// The end of its validity.
    pub not_after: SystemTime,
}

/// A certificate with its key, ready to be served.
#[derive(Clone, Debug)]
pub(super) struct LoadedCertificate {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) info: CertificateInfo,
}

/// Reads a certificate chain and its key, and checks that they belong together. Blocks on reading the files.
///
/// # Errors
/// All that is wrong, at least one: both files may be.
pub fn load_pair(files: &CertificateFiles) -> Result<CertifiedKey, Vec<LoadError>> {
    let (chain, key) = match (load_chain(&files.cert), load_key(&files.key)) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
    };
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let reason = LoadReason::Mismatch(files.cert.clone());
            Err(vec![LoadError { path: files.key.clone(), content: Content::Key, reason }])
        }
        Err(error) => Err(vec![unusable(&files.cert, &error)]),
    }
}

/// Reads all certificates of a file as CAs. Blocks on reading it.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub fn load_roots(path: &Path) -> Result<Arc<RootCertStore>, LoadError> {
    let mut roots = RootCertStore::empty();
    for certificate in load_chain(path)? {
        roots.add(certificate).map_err(|error| LoadError {
            path: path.to_owned(),
            content: Content::Certificates,
            reason: LoadReason::Authority(error),
        })?;
    }
    Ok(Arc::new(roots))
}

impl LoadedCertificate {
    /// As [`load_pair`], with what the certificate says of itself.
    pub(super) fn load(files: &CertificateFiles) -> Result<Self, Vec<LoadError>> {
        let certified = load_pair(files)?;
        let info = CertificateInfo::of(&certified.cert[0]);
        let info = info.map_err(|error| vec![unusable(&files.cert, &error)])?;
        Ok(Self { certified: Arc::new(certified), info })
    }
}

impl CertificateInfo {
    /// Reads the certificate.
    ///
    /// # Errors
    /// When it is no X.509 certificate.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, X509Error> {
        let (_, found) = X509Certificate::from_der(certificate)?;
        let names = found.subject_alternative_name()?.map_or_else(Vec::new, |extension| {
            extension.value.general_names.iter().filter_map(name).collect()
        });
        // A time before 1970 is long past either way.
        let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or(0));
        let validity = found.validity();
        Ok(Self {
            names,
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
        })
    }

    /// Whether it is valid at this time.
    pub(super) fn is_good(&self, now: SystemTime) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

/// All certificates of a file, at least one.
fn load_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = match read {
        Ok(chain) if chain.is_empty() => Err(pem::Error::NoItemsFound),
        read => read,
    };
    chain.map_err(|error| unreadable(path, Content::Certificates, error))
}

fn load_key(path: &Path) -> Result<Arc<dyn SigningKey>, LoadError> {
    let key = PrivateKeyDer::from_pem_file(path)
        .map_err(|error| unreadable(path, Content::Key, error))?;
    ring::default_provider().key_provider.load_private_key(key).map_err(|_| LoadError {
        path: path.to_owned(),
        content: Content::Key,
        reason: LoadReason::Key,
    })
}

fn unreadable(path: &Path, content: Content, error: pem::Error) -> LoadError {
    let reason = match error {
        pem::Error::Io(error) => LoadReason::Io(content, error),
        pem::Error::NoItemsFound => LoadReason::Missing(content),
        // The other errors quote the file.
        _ => LoadReason::Malformed(content),
    };
    LoadError { path: path.to_owned(), content, reason }
}

fn unusable(path: &Path, error: &dyn fmt::Display) -> LoadError {
    let reason = LoadReason::Certificate(error.to_string());
    LoadError { path: path.to_owned(), content: Content::Certificates, reason }
}

/// A name that a client may ask for; `None` for what is no name of a host.
fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|four| Ipv4Addr::from(four).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|all| Ipv6Addr::from(all).to_string()),
        },
        _ => None,
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificates => "certificates",
            Self::Key => "a private key",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    #[test]
    fn reads_names_and_times() {
        let names = ["Upload.Example", "*.files.example", "10.1.2.3", "::1"];
        let mut params = CertificateParams::new(names.map(str::to_owned)).unwrap();
        params.not_before = date_time_ymd(2001, 9, 9);
        // After 2049 a certificate tells its times in another form.
        params.not_after = date_time_ymd(2051, 1, 1);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let info = CertificateInfo::of(made.der()).unwrap();
        assert_eq!(info.names, ["upload.example", "*.files.example", "10.1.2.3", "::1"]);
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!((info.not_before, info.not_after), (at(999_993_600), at(2_556_144_000)));
        assert!(!info.is_good(at(999_993_599)) && info.is_good(at(999_993_600)));
        assert!(info.is_good(at(2_556_143_999)) && !info.is_good(at(2_556_144_000)));
        assert!(CertificateInfo::of(&CertificateDer::from(&b"junk"[..])).is_err());
    }
}
