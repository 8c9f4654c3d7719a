//! The demo's certificate: made at the first start, kept so that a browser's exception lasts.
//!
//! Made anew when it is about to end, when a name asked for is not in it, or when its files are
//! gone. Addresses that come and go with the network do not count: a self-signed certificate is
//! warned of anyway.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};

use super::disk;
use crate::tls::{CertificateFiles, TlsFiles};

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

/// What a kept certificate is good for.
#[derive(Serialize, Deserialize)]
struct Facts {
    names: BTreeSet<String>,
    /// Seconds since 1970.
    not_after: u64,
}

impl Names {
    /// The names asked for, and those the machine knows itself by.
    ///
    /// Errors: a name that cannot stand in a certificate.
    pub(super) fn of_this_machine(asked: &[String]) -> Result<Self, String> {
        let asked = asked.iter().map(|text| {
            name(text).ok_or_else(|| {
                format!("--host = {text:?}: must be a host name or an IP address, without a port")
            })
        });
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
    disk::private_directory(directory)?;
    let pair =
        CertificateFiles { cert: directory.join("cert.pem"), key: directory.join("key.pem") };
    let files = TlsFiles {
        pairs: vec![pair.clone()],
        client_ca: None,
        client_auth: crate::tls::ClientAuth::Required,
        challenges: None,
    };
    let facts = directory.join("names.json");
    let kept: Option<Facts> =
        disk::read(&facts)?.and_then(|content| serde_json::from_slice(&content).ok());
    let now = SystemTime::now();
    let until = now.duration_since(UNIX_EPOCH).unwrap_or_default() + RENEW_BEFORE;
    let good = kept.as_ref().is_some_and(|kept| {
        kept.names.is_superset(&names.asked) && kept.not_after > until.as_secs()
    });
    // A key that another user put there is refused.
    let private = disk::read(&pair.key)?.is_some() & disk::read(&pair.cert)?.is_some();
    if good && private && crate::tls::TlsReload::load(files.clone()).is_ok() {
        return Ok(files);
    }
    // Names asked for earlier stay good.
    let mut all = names.all();
    all.extend(kept.into_iter().flat_map(|kept| kept.names));
    let (cert, key) = make(&all, now)?;
    let not_after = (now + VALID).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // The facts come last: until they are there, the certificate does not count.
    disk::put(&facts, b"{}")?;
    disk::put(&pair.key, key.as_bytes())?;
    disk::put(&pair.cert, cert.as_bytes())?;
    disk::put(&facts, &serde_json::to_vec(&Facts { names: all, not_after })?)?;
    Ok(files)
}

/// A certificate and its key as PEM.
fn make(names: &BTreeSet<String>, now: SystemTime) -> io::Result<(String, String)> {
    let names: Vec<String> = names.iter().cloned().collect();
    let mut params = CertificateParams::new(names).map_err(other)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Incoming!! demo");
    let [from, to] = [date(now - EARLY)?, date(now + VALID)?];
    params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
    params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(other)?;
    let certificate = params.self_signed(&key).map_err(other)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Year, month and day of a moment; a certificate's times are counted in whole days here.
fn date(at: SystemTime) -> io::Result<(i32, u8, u8)> {
    let text = humantime::format_rfc3339_seconds(at).to_string();
    let mut parts = text.split(['-', 'T']);
    let mut number = || parts.next().and_then(|part| part.parse::<u16>().ok());
    let (year, month, day) = (number(), number(), number());
    let small = |number: Option<u16>| number.and_then(|number| u8::try_from(number).ok());
    match (year, small(month), small(day)) {
        (Some(year), Some(month), Some(day)) => Ok((i32::from(year), month, day)),
        _ => Err(io::Error::other(format!("the clock says {text}"))),
    }
}

/// A host name or address in one spelling; none for what is neither.
fn name(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    (text.len() <= 253 && text.split('.').all(label)).then_some(text)
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

        // It ends soon, or a file is damaged.
        let facts = fs::read_to_string(tls.join("names.json")).unwrap();
        let end = facts.rsplit_once(':').unwrap().0;
        fs::write(tls.join("names.json"), format!("{end}:1000}}")).unwrap();
        let fourth = start(&[]);
        assert_ne!(fourth, third);
        fs::write(tls.join("key.pem"), "").unwrap();
        assert_ne!(start(&["demo.example"]), fourth);
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
