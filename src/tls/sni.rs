//! Several certificates on one listener: the server name that the client sends (SNI) selects one.
//!
//! A certificate with that very name goes before one with a wildcard for it, and that before the first
//! certificate of the listener, which serves clients that send no name or an unknown one. Where several
//! certificates have the same name (an ECDSA and an RSA one), the first that the client can verify is selected.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::load::LoadedCertificate;
use super::{CHALLENGE, Challenges};

/// The certificates of a listener by name.
#[derive(Debug)]
pub(super) struct ByName {
    all: Vec<Arc<CertifiedKey>>,
    /// Which of them have this name, in their order. Wildcards stand without their star: `.files.example`.
    names: HashMap<String, Vec<usize>>,
    challenges: Option<Challenges>,
}

impl ByName {
    /// These certificates, the first for clients that name none of them; `challenges` for an ACME authority that
    /// checks a name.
    pub(super) fn new<'a>(
        loaded: impl Iterator<Item = &'a LoadedCertificate>,
        challenges: Option<Challenges>,
    ) -> Self {
        let (mut all, mut names) = (Vec::new(), HashMap::<String, Vec<usize>>::new());
        for (place, loaded) in loaded.enumerate() {
            all.push(Arc::clone(&loaded.certified));
            for name in &loaded.info.names {
                let name = name.strip_prefix('*').unwrap_or(name);
                names.entry(name.to_owned()).or_default().push(place);
            }
        }
        Self { all, names, challenges }
    }

    /// The places of the certificates for this name, the best first; never none if there is any.
    fn places(&self, name: Option<&str>) -> &[usize] {
        let lower = name.map(str::to_ascii_lowercase);
        let found = lower.as_deref().and_then(|name| {
            // A star stands for exactly one label. Source: RFC 9525, section 6.3.
            let above = || name.find('.').and_then(|dot| self.names.get(&name[dot..]));
            self.names.get(name).or_else(above)
        });
        found.map_or(&FIRST, Vec::as_slice)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(challenges) = &self.challenges
            && hello.alpn().is_some_and(|offered| offered.eq([CHALLENGE]))
        {
            return challenges.resolve(hello);
        }
        let places = self.places(hello.server_name());
        let schemes = hello.signature_schemes();
        let fits = |place: &&usize| self.all[**place].key.choose_scheme(schemes).is_some();
        let chosen = places.iter().find(fits).or_else(|| places.first())?;
        self.all.get(*chosen).map(Arc::clone)
    }
}

/// The first certificate is the one for all that have none.
const FIRST: [usize; 1] = [0];

#[cfg(test)]
mod tests {
    use super::super::load::CertificateInfo;
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::crypto::ring;

    fn loaded(names: &[&str]) -> LoadedCertificate {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let info = CertificateInfo::of(made.der()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let certified =
            CertifiedKey::from_der(vec![made.der().clone()], key, &ring::default_provider());
        LoadedCertificate { certified: Arc::new(certified.unwrap()), info }
    }

    #[test]
    fn names_choose() {
        let all = [
            loaded(&["first.example"]),
            loaded(&["*.files.example", "Second.Example"]),
            loaded(&["a.files.example", "10.0.0.1"]),
            loaded(&["second.example", "*.a.files.example"]),
        ];
        let by_name = ByName::new(all.iter(), None);
        let check = |name: Option<&str>, expected: &[usize]| {
            assert_eq!(by_name.places(name), expected, "{name:?}");
        };
        check(None, &[0]);
        check(Some("first.example"), &[0]);
        check(Some("foreign.example"), &[0]);
        check(Some("example"), &[0]);
        check(Some(""), &[0]);
        check(Some("second.example"), &[1, 3]);
        check(Some("SECOND.example"), &[1, 3]);
        check(Some("b.files.example"), &[1]);
        check(Some("a.files.example"), &[2]);
        // The star is one label, not two and not none.
        check(Some("b.c.files.example"), &[0]);
        check(Some("files.example"), &[0]);
        check(Some("b.a.files.example"), &[3]);
    }
}
