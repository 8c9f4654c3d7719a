//! What comes of new files, and which certificate a client gets: handshakes in memory.

use super::*;
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm,
    date_time_ymd,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, ServerConnection};
use rustls::{Error, SignatureScheme};
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Files of several pairs in a directory that goes away with it.
struct Ground {
    dir: tempfile::TempDir,
    files: TlsFiles,
}

impl Ground {
    fn new(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pairs = (0..names.len()).map(|place| CertificateFiles {
            cert: dir.path().join(format!("{place}.pem")),
            key: dir.path().join(format!("{place}.key")),
        });
        let files = TlsFiles {
            pairs: pairs.collect(),
            client_ca: None,
            client_auth: ClientAuth::Required,
            challenges: None,
            alpn: Alpn::Http2,
        };
        let ground = Self { dir, files };
        for (place, name) in names.iter().enumerate() {
            ground.make(place, name);
        }
        ground
    }

    /// Makes a pair anew; answers its certificate.
    fn make(&self, place: usize, name: &str) -> CertificateDer<'static> {
        self.make_of(place, name, 2000..2100, &PKCS_ECDSA_P256_SHA256)
    }

    fn make_of(
        &self,
        place: usize,
        name: &str,
        years: Range<i32>,
        algorithm: &'static SignatureAlgorithm,
    ) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let made = params.self_signed(&key).unwrap();
        fs::write(self.cert(place), made.pem()).unwrap();
        fs::write(&self.files.pairs[place].key, key.serialize_pem()).unwrap();
        made.der().clone()
    }

    fn cert(&self, place: usize) -> &Path {
        &self.files.pairs[place].cert
    }

    fn load(&self) -> Arc<TlsReload> {
        Arc::new(TlsReload::load(self.files.clone()).unwrap())
    }
}

/// Takes any certificate that is signed in one of these ways.
#[derive(Debug)]
struct Anyone(Vec<SignatureScheme>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// The certificate that a client gets who asks for this name.
fn shown_to(tls: &TlsReload, name: &str, schemes: &[SignatureScheme]) -> CertificateDer<'static> {
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(schemes.to_vec())))
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(tls.current()).unwrap();
    while client.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &*bytes).unwrap();
        server.process_new_packets().unwrap();
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &*bytes).unwrap();
        client.process_new_packets().unwrap();
    }
    client.peer_certificates().unwrap()[0].clone().into_owned()
}

const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
const BOTH: &[SignatureScheme] =
    &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];

fn der(ground: &Ground, place: usize) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(ground.cert(place)).unwrap()
}

#[test]
fn each_name_gets_its_certificate() {
    let ground = Ground::new(&["first.example", "*.files.example", "a.files.example"]);
    let tls = ground.load();
    let check = |name: &str, place: usize| {
        assert_eq!(shown_to(&tls, name, ECDSA), der(&ground, place), "{name}");
    };
    check("first.example", 0);
    check("b.files.example", 1);
    check("A.Files.Example", 2);
    check("foreign.example", 0);
    // Whoever connects to an address names nothing.
    check("127.0.0.1", 0);
}

#[test]
fn of_two_for_a_name_the_client_gets_the_one_it_can_verify() {
    let ground = Ground::new(&["a.example", "a.example"]);
    ground.make_of(0, "a.example", 2000..2100, &PKCS_ED25519);
    let tls = ground.load();
    assert_eq!(shown_to(&tls, "a.example", BOTH), der(&ground, 0));
    assert_eq!(shown_to(&tls, "a.example", ECDSA), der(&ground, 1));
}

#[tokio::test]
async fn one_bad_pair_does_not_keep_the_others_old() {
    let ground = Ground::new(&["a.example", "b.example"]);
    let tls = ground.load();
    let old = der(&ground, 0);
    fs::write(ground.cert(0), "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
    let new = ground.make(1, "b.example");
    let error = tls.reload().await.unwrap_err().to_string();
    assert!(error.contains("0.pem") && !error.contains("1.pem"), "{error}");
    assert_eq!(shown_to(&tls, "a.example", ECDSA), old);
    assert_eq!(shown_to(&tls, "b.example", ECDSA), new);
    fs::remove_file(ground.cert(1)).unwrap();
    let error = tls.reload().await.unwrap_err().to_string();
    assert!(error.contains("0.pem") && error.contains("1.pem"), "{error}");
    assert_eq!(shown_to(&tls, "b.example", ECDSA), new);
}

/// Tools write one file after the other: between them the pair does not match.
#[test]
fn a_half_written_pair_is_waited_for() {
    let ground = Ground::new(&["a.example"]);
    let tls = ground.load();
    let old = der(&ground, 0);
    let mut last = tls.last_read.try_lock().unwrap();
    let fresh = Ground::new(&["a.example"]);
    let whole = fs::read(fresh.cert(0)).unwrap();
    fs::write(ground.cert(0), &whole[..whole.len() / 2]).unwrap();
    tls.check_files(&mut last);
    assert!(last.error.as_ref().unwrap().contains("0.pem"), "{last:?}");
    fs::write(ground.cert(0), &whole).unwrap();
    tls.check_files(&mut last);
    assert!(last.error.as_ref().unwrap().contains("0.key"), "{last:?}");
    assert_eq!(shown_to(&tls, "a.example", ECDSA), old);
    // As bad as before: sessions go on.
    let before = tls.current();
    tls.check_files(&mut last);
    assert!(Arc::ptr_eq(&before, &tls.current()));
    fs::copy(&fresh.files.pairs[0].key, &ground.files.pairs[0].key).unwrap();
    tls.check_files(&mut last);
    assert_eq!(last.error, None);
    assert_eq!(shown_to(&tls, "a.example", ECDSA), der(&fresh, 0));
    let before = tls.current();
    tls.check_files(&mut last);
    assert!(Arc::ptr_eq(&before, &tls.current()));
}

#[tokio::test]
async fn a_new_certificate_that_is_not_good_now_waits_while_the_old_one_is() {
    let ground = Ground::new(&["a.example"]);
    let tls = ground.load();
    let ends = tls.ends().unwrap();
    for years in [2000..2001, 2098..2099] {
        ground.make_of(0, "a.example", years.clone(), &PKCS_ECDSA_P256_SHA256);
        let error = tls.reload().await.unwrap_err().to_string();
        assert!(error.contains("0.pem") && error.contains(&years.start.to_string()), "{error}");
        assert_eq!(tls.ends(), Some(ends));
    }
    // Where the one in force has ended, the new one cannot be worse; nor at a start.
    for years in [2000..2001, 2001..2002] {
        ground.make_of(0, "a.example", years, &PKCS_ECDSA_P256_SHA256);
    }
    let tls = ground.load();
    let new = ground.make_of(0, "a.example", 2002..2003, &PKCS_ECDSA_P256_SHA256);
    tls.reload().await.unwrap();
    assert_eq!(shown_to(&tls, "a.example", ECDSA), new);
    assert!(tls.ends().unwrap() < SystemTime::now());
}

#[test]
fn the_first_end_of_all_certificates_is_known() {
    let ground = Ground::new(&["a.example", "b.example"]);
    ground.make_of(1, "b.example", 2000..2060, &PKCS_ECDSA_P256_SHA256);
    let tls = ground.load();
    let info = tls.certificates();
    let [(first, a), (_, b)] = &info[..] else { panic!("{info:?}") };
    assert_eq!((&**first, &*a.names), (ground.cert(0), &["a.example".to_owned()][..]));
    assert_eq!(tls.ends(), Some(b.not_after));
    assert!(b.not_after < a.not_after);
}

#[tokio::test]
async fn a_bad_new_client_ca_leaves_the_old_one() {
    let ground = Ground::new(&["a.example"]);
    let ca = ground.dir.path().join("ca.pem");
    fs::copy(ground.cert(0), &ca).unwrap();
    let tls = TlsReload::load(TlsFiles { client_ca: Some(ca.clone()), ..ground.files.clone() });
    let tls = Arc::new(tls.unwrap());
    let old = tls.current();
    fs::write(&ca, "nobody").unwrap();
    let new = ground.make(0, "a.example");
    let error = tls.reload().await.unwrap_err().to_string();
    assert!(error.contains("ca.pem"), "{error}");
    // The certificate is a new one all the same; whom clients are vouched for by did not change.
    assert!(!Arc::ptr_eq(&old, &tls.current()));
    assert_eq!(tls.read().pairs[0].certified.cert[0], new);
    assert!(tls.read().client_ca.is_some());
    fs::remove_file(ground.cert(0)).unwrap();
    let before = tls.current();
    assert!(tls.reload().await.is_err());
    assert!(Arc::ptr_eq(&before, &tls.current()));
}

/// Whoever reads them: else the watch would tell each time it looks of what a reload has told of already.
#[test]
fn what_keeps_certificates_out_of_force_is_remembered() {
    let ground = Ground::new(&["a.example"]);
    let ca = ground.dir.path().join("ca.pem");
    fs::copy(ground.cert(0), &ca).unwrap();
    let tls = TlsReload::load(TlsFiles { client_ca: Some(ca.clone()), ..ground.files.clone() });
    let tls = Arc::new(tls.unwrap());
    // Nobody to vouch for clients: no set-up can be made of this one and the new certificate.
    tls.current.write().unwrap().read.client_ca = Some(Arc::new(RootCertStore::empty()));
    fs::write(&ca, "nobody").unwrap();
    ground.make(0, "a.example");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told = runtime.block_on(tls.reload()).unwrap_err().to_string();
    assert!(told.contains("anchors"), "{told}");
    let mut last = tls.last_read.try_lock().unwrap();
    assert_eq!(last.error.as_deref(), Some(&*told));
    tls.check_files(&mut last);
    assert_eq!(last.error.as_deref(), Some(&*told));
}

/// A set-up has its own ticket keys: a new one would end all sessions.
#[tokio::test]
async fn where_nothing_has_changed_nothing_is_replaced() {
    let ground = Ground::new(&["a.example", "b.example"]);
    let ca = ground.dir.path().join("ca.pem");
    fs::copy(ground.cert(0), &ca).unwrap();
    let tls = TlsReload::load(TlsFiles { client_ca: Some(ca.clone()), ..ground.files.clone() });
    let tls = Arc::new(tls.unwrap());
    let old = tls.current();
    assert_eq!(tls.reload().await.unwrap(), 0);
    // Written again, with the same bytes.
    let bytes = fs::read(ground.cert(1)).unwrap();
    fs::remove_file(ground.cert(1)).unwrap();
    fs::write(ground.cert(1), bytes).unwrap();
    tls.check_files(&mut *tls.last_read.lock().await);
    assert!(Arc::ptr_eq(&old, &tls.current()));
    ground.make(1, "b.example");
    assert_eq!(tls.reload().await.unwrap(), 1);
    assert!(!Arc::ptr_eq(&old, &tls.current()));
    let old = tls.current();
    fs::copy(ground.cert(1), &ca).unwrap();
    assert_eq!(tls.reload().await.unwrap(), 1);
    assert!(!Arc::ptr_eq(&old, &tls.current()));
    // What was read when asked to is no news to the watch.
    let old = tls.current();
    tls.check_files(&mut *tls.last_read.lock().await);
    assert!(Arc::ptr_eq(&old, &tls.current()));
}

/// The first reading hangs in a pipe, as on a dead network disk, with an older certificate in its hands. What
/// is asked for meanwhile waits, so that the older reading is not the last to take effect.
#[tokio::test]
async fn readings_take_turns() {
    let ground = Ground::new(&["a.example", "b.example"]);
    let tls = ground.load();
    let in_force = || tls.read().pairs[0].certified.cert[0].clone();
    let old = in_force();
    let again = || {
        let tls = Arc::clone(&tls);
        tokio::spawn(async move { tls.reload().await })
    };
    ground.make(0, "a.example");
    let kept = fs::read(ground.cert(1)).unwrap();
    fs::remove_file(ground.cert(1)).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, ground.cert(1), mode).unwrap();
    let first = again();
    let mut pipe = loop {
        // Opens only once somebody reads.
        let mut open = fs::OpenOptions::new();
        open.write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        match open.open(ground.cert(1)) {
            Ok(pipe) => break pipe,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    fs::remove_file(ground.cert(1)).unwrap();
    fs::write(ground.cert(1), &kept).unwrap();
    let newest = ground.make(0, "a.example");
    let stop = CancellationToken::new();
    let watch = tokio::spawn(Arc::clone(&tls).watch(Duration::from_millis(1), stop.clone()));
    let mut second = again();
    // Time enough to overtake, for whoever can.
    let overtaken = tokio::time::timeout(Duration::from_millis(200), &mut second);
    assert!(overtaken.await.is_err());
    assert_eq!(in_force(), old);
    // Nor does what hangs keep the watch from its end.
    stop.cancel();
    watch.await.unwrap();
    pipe.write_all(&kept).unwrap();
    drop(pipe);
    assert_eq!(first.await.unwrap().unwrap(), 1);
    assert_eq!(second.await.unwrap().unwrap(), 1);
    assert_eq!(in_force(), newest);
}
