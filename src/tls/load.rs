//! One certificate chain and its key, from two PEM files: read, held against each other, and what the
//! certificate says of itself.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{TlsError, certificates};

/// The PEM files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate chain, the server's own first.
    pub cert: PathBuf,
    /// The private key of that certificate.
    pub key: PathBuf,
}

/// A pair that can be served.
#[derive(Clone, Debug)]
pub(super) struct LoadedCertificate {
    /// What rustls signs with.
    pub(super) certified: Arc<CertifiedKey>,
    /// What the certificate says.
    pub(super) info: CertificateInfo,
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Its DNS names in lower case, wildcards as they stand (`*.example.org`), and its IP addresses.
    pub names: Vec<String>,
    /// It is good from here,
    pub not_before: SystemTime,
    /// to here.
    pub not_after: SystemTime,
}

impl CertificateInfo {
    /// Reads the certificate.
    ///
    /// # Errors
    /// What is no certificate, in words.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, found) =
            X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let alternatives = found.subject_alternative_name().map_err(|error| error.to_string())?;
        let names = alternatives.map_or_else(Vec::new, |extension| {
            extension.value.general_names.iter().filter_map(name).collect()
        });
        let moment = |seconds: i64| match u64::try_from(seconds) {
            Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds),
            // Long past either way.
            Err(_) => UNIX_EPOCH,
        };
        let validity = found.validity();
        Ok(Self {
            names,
            not_before: moment(validity.not_before.timestamp()),
            not_after: moment(validity.not_after.timestamp()),
        })
    }

    /// Whether it is good at this moment.
    pub(super) fn is_good(&self, now: SystemTime) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

/// Reads the files and holds them against each other. Blocks on reading them.
///
/// # Errors
/// When a file is missing or wrong, or both do not belong together; the error names it.
pub(super) fn load_pair(
    pair: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<LoadedCertificate, TlsError> {
    let chain = certificates(&pair.cert)?;
    let key = PrivateKeyDer::from_pem_file(&pair.key)
        .map_err(|error| TlsError::Read(pair.key.clone(), error))?;
    let unusable =
        |error: rustls::Error| TlsError::Pair(pair.cert.clone(), pair.key.clone(), error.into());
    let info = CertificateInfo::of(&chain[0])
        .map_err(|reason| TlsError::Certificate(pair.cert.clone(), reason))?;
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(unusable)?;
    Ok(LoadedCertificate { certified: Arc::new(certified), info })
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
