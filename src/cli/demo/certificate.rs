//! The demo's certificate: made at the first start, kept so that a browser's exception lasts.
//!
//! Made anew when it is about to end, when a name asked for is not in it, or when its files are
//! damaged. Addresses that come and go with the network do not count: browsers warn of a self-signed
//! certificate anyway.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::private_files;
use crate::core::host::is_dns_name;
use crate::tls::{Alpn, CertificateFiles, ClientAuth, TlsFiles, TlsReload};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a certificate is good: browsers take none of more than 398 days.
const VALID: Duration = DAY.saturating_mul(365);
/// It starts a day early, for machines whose clock is behind.
const EARLY: Duration = DAY;
/// It is replaced this long before its end, so that it does not end while the demo runs.
const RENEW_BEFORE: Duration = DAY.saturating_mul(14);

/// What is always in the certificate.
const ALWAYS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Where to ask which of our addresses leads out. Both are set aside for documentation (RFC 5737,
/// RFC 3849); connecting a UDP socket sends nothing.
const FAR: [(&str, &str); 2] = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];

/// The names and addresses that this machine is reached by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// Named on the command line: must be in the certificate.
    asked: BTreeSet<String>,
    /// Found out: should be in it.
    found: BTreeSet<String>,
}

/// A `--host` that cannot stand in a certificate.
#[derive(Debug, thiserror::Error)]
#[error("--host = {0:?}: must be a host name or an IP address, without a port")]
pub(super) struct InvalidHost(String);

impl Names {
    /// The names asked for, and those the machine knows itself by.
    ///
    /// Errors: a name that cannot stand in a certificate.
    pub(super) fn of_this_machine(asked: &[String]) -> Result<Self, InvalidHost> {
        let asked = asked.iter().map(|text| name(text).ok_or_else(|| InvalidHost(text.to_owned())));
        let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let mut found: BTreeSet<String> = name(&own).into_iter().collect();
        for (from, to) in FAR {
            let address = UdpSocket::bind(from).and_then(|socket| {
                socket.connect(to)?;
                socket.local_addr()
            });
            // No way out is no error.
            if let Ok(address) = address
                && !address.ip().is_loopback()
                && !address.ip().is_unspecified()
            {
                found.insert(address.ip().to_string());
            }
        }
        Ok(Self { asked: asked.collect::<Result<_, _>>()?, found })
    }

    /// What others can reach this machine by: the names asked for, else those found.
    pub(super) fn for_others(&self) -> impl Iterator<Item = &str> {
        let names = if self.asked.is_empty() { &self.found } else { &self.asked };
        names.iter().map(String::as_str)
    }

    /// Whether a request may name this host: one of ours, or an address, which no name service can
    /// point here.
    pub(super) fn includes(&self, host: &str) -> bool {
        let Some(host) = name(host) else { return false };
        host.parse::<IpAddr>().is_ok()
            || host == "localhost"
            || host.ends_with(".localhost")
            || self.asked.contains(&host)
            || self.found.contains(&host)
    }

    fn all(&self) -> BTreeSet<String> {
        let always = ALWAYS.map(str::to_owned);
        self.asked.iter().chain(&self.found).cloned().chain(always).collect()
    }
}

/// The certificate's files in this directory, made as needed. Blocking.
pub(super) fn files(directory: &Path, names: &Names) -> io::Result<TlsFiles> {
    private_files::make_directory(directory)?;
    let pair =
        CertificateFiles { cert: directory.join("cert.pem"), key: directory.join("key.pem") };
    let files = TlsFiles {
        pairs: vec![pair.clone()],
        client_ca: None,
        client_auth: ClientAuth::Required,
        challenges: None,
        alpn: Alpn::Http2,
    };
    let now = SystemTime::now();
    // A key or certificate that another user put there is an error.
    let kept =
        private_files::read(&pair.key)?.is_some() & private_files::read(&pair.cert)?.is_some();
    let kept = kept.then(|| TlsReload::load(files.clone()).ok()).flatten();
    let kept = kept.and_then(|kept| kept.certificates().pop()).map(|(_, certificate)| certificate);
    let had: BTreeSet<String> = kept.iter().flat_map(|kept| kept.names.iter().cloned()).collect();
    if kept.is_some_and(|kept| kept.not_after > now + RENEW_BEFORE) && had.is_superset(&names.asked)
    {
        return Ok(files);
    }
    // Names asked for earlier stay good.
    let (cert, key) = make(names.all().into_iter().chain(had).collect(), now)?;
    private_files::put(&pair.key, key.as_bytes())?;
    private_files::put(&pair.cert, cert.as_bytes())?;
    Ok(files)
}

/// A certificate and its key as PEM.
fn make(names: BTreeSet<String>, now: SystemTime) -> io::Result<(String, String)> {
    let names: Vec<String> = names.into_iter().collect();
    let mut params = CertificateParams::new(names).map_err(other)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Incoming!! demo");
    params.not_before = (now - EARLY).into();
    params.not_after = (now + VALID).into();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(other)?;
    let certificate = params.self_signed(&key).map_err(other)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// A host name or address in one spelling; none for what is neither.
fn name(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    is_dns_name(&text).then_some(text)
}

fn other(error: impl Display) -> io::Error {
    io::Error::other(format!("cannot make a certificate: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn names(asked: &[&str]) -> Names {
        let asked: Vec<String> = asked.iter().map(|&host| host.to_owned()).collect();
        Names::of_this_machine(&asked).unwrap()
    }

    #[test]
    fn a_certificate_lasts_until_it_lacks_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let tls = dir.path().join("tls");
        let start =
            |asked: &[&str]| fs::read(&files(&tls, &names(asked)).unwrap().pairs[0].cert).unwrap();
        let first = start(&[]);
        assert_eq!(start(&[]), first);
        let second = start(&["Demo.Example"]);
        assert_ne!(second, first);
        assert_eq!(start(&["demo.example."]), second);
        assert_eq!(start(&[]), second);
        let third = start(&["10.1.2.3"]);
        assert_eq!(start(&["demo.example", "10.1.2.3"]), third);
        let mode = fs::metadata(tls.join("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        // A file is damaged, or it ends soon.
        fs::write(tls.join("key.pem"), "").unwrap();
        let fourth = start(&["demo.example"]);
        assert_ne!(fourth, third);
        let ending = SystemTime::now() - VALID + RENEW_BEFORE;
        let (cert, key) = make(names(&[]).all(), ending).unwrap();
        fs::write(tls.join("key.pem"), key).unwrap();
        fs::write(tls.join("cert.pem"), &cert).unwrap();
        assert_ne!(start(&[]), cert.as_bytes());
    }

    #[test]
    fn hosts() {
        let names = names(&["Demo.Example"]);
        let check = |host: &str, expected| assert_eq!(names.includes(host), expected, "{host}");
        check("localhost", true);
        check("app.localhost", true);
        check("LOCALHOST.", true);
        check("127.0.0.1", true);
        check("192.168.1.7", true);
        check("::1", true);
        check("demo.example", true);
        check("evil.example", false);
        check("notlocalhost", false);
        check("", false);
        check("a b", false);
        for wrong in ["a:1", "http://a", "", "a/b", "ä", "a..b"] {
            assert!(Names::of_this_machine(&[wrong.into()]).is_err(), "{wrong}");
        }
    }
}
