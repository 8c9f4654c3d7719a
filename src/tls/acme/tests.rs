//! The files of ordered certificates, and what becomes of orders; those at an authority are tried by `tests/tls acme`.

use super::*;
use crate::tls::{Alpn, ClientAuth, TlsFiles};
use std::os::unix::fs::PermissionsExt;
use std::task::{Context, Poll};

fn options(dir: &Path, domains: &[&str]) -> Options {
    Options {
        domains: domains.iter().map(|&name| name.to_owned()).collect(),
        contact: Vec::new(),
        directory: "https://acme.example/directory".into(),
        directory_ca: None,
        cache: dir.join("a/acme"),
    }
}

#[test]
fn until_something_came_a_placeholder_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let acme = Acme::new(options(dir.path(), &["a.example", "b.example"])).unwrap();
    let pair = acme.pair();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&pair.key), mode(pair.key.parent().unwrap())), (0o600, 0o700));
    let files = TlsFiles {
        pairs: vec![pair.clone()],
        client_ca: None,
        client_auth: ClientAuth::Required,
        challenges: Some(acme.challenges()),
        alpn: Alpn::Http2,
    };
    let tls = TlsReload::load(files).unwrap();
    assert_eq!(tls.certificates()[0].1.names, ["a.example", "b.example"]);
    assert!(tls.current().alpn_protocols.contains(&b"acme-tls/1".to_vec()));
    // A start keeps what is there; other names begin anew.
    let kept = fs::read(&pair.cert).unwrap();
    Acme::new(options(dir.path(), &["a.example", "b.example"])).unwrap();
    assert_eq!(fs::read(&pair.cert).unwrap(), kept);
    let other = Acme::new(options(dir.path(), &["a.example"])).unwrap();
    assert_ne!(other.pair(), pair);
}

/// Somebody else could choose the key, or read it.
#[test]
fn nothing_is_kept_where_others_write() {
    let dir = tempfile::tempdir().unwrap();
    let begin = || Acme::new(options(dir.path(), &["a.example"]));
    let check = |path: &Path, word: &str| {
        let told = begin().err().expect(word).to_string();
        assert!(told.starts_with(&path.display().to_string()) && told.contains(word), "{told}");
    };
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let pair = begin().unwrap().pair().cert;
    let cache = pair.parent().unwrap();
    open(cache, 0o777);
    check(cache, "every user of this machine");
    open(cache, 0o700);
    let account = cache.join("account.der");
    fs::write(&account, "key").unwrap();
    for file in [&pair, &account] {
        open(file, 0o666);
        check(file, "every user of this machine");
        open(file, 0o600);
        let aside = dir.path().join("aside");
        fs::rename(file, &aside).unwrap();
        std::os::unix::fs::symlink(&aside, file).unwrap();
        check(file, "symbolic link");
        fs::rename(&aside, file).unwrap();
    }
    let aside = dir.path().join("aside");
    fs::rename(cache, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, cache).unwrap();
    check(cache, "symbolic link");
    fs::remove_file(cache).unwrap();
    fs::rename(&aside, cache).unwrap();
    begin().unwrap();
}

/// Orders that tell what is given, and then that there is nothing more or nothing ever.
struct Orders(Vec<EventOk>, OrdersEnd);

impl Stream for Orders {
    type Item = Result<EventOk, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match (self.0.pop(), self.1) {
            (Some(event), _) => Poll::Ready(Some(Ok(event))),
            (None, OrdersEnd::Over) => Poll::Ready(None),
            (None, OrdersEnd::Stuck) => Poll::Pending,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn orders_that_end_or_hang_are_noticed() {
    let (_dir, tls, _) = served();
    for end in [OrdersEnd::Over, OrdersEnd::Stuck] {
        let told = Orders(vec![EventOk::CertCacheStore, EventOk::DeployedNewCert], end);
        assert_eq!(follow(told, &[], &tls).await, end);
    }
}

/// What was ordered lies on a disk that hangs.
#[tokio::test]
async fn a_file_that_hangs_does_not_keep_orders_from_their_end() {
    let (_dir, tls, file) = served();
    fs::remove_file(&file).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, mode).unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let following = tokio::spawn(async move {
        let told = Orders(vec![EventOk::CertCacheStore], OrdersEnd::Stuck);
        stopped.run_until_cancelled(follow(told, &[], &tls)).await
    });
    let pipe = loop {
        // Opens only once somebody reads.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        match OpenOptions::new().write(true).custom_flags(flags).open(&file) {
            Ok(pipe) => break pipe,
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    };
    stop.cancel();
    assert_eq!(following.await.unwrap(), None);
    // Ends the reading of the certificate, and that of the key finds nothing to wait for.
    fs::remove_file(&file).unwrap();
    drop(pipe);
}

/// A certificate as it is served, and its file.
fn served() -> (tempfile::TempDir, Arc<TlsReload>, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let acme = Acme::new(options(dir.path(), &["a.example"])).unwrap();
    let pair = acme.pair();
    let files = TlsFiles {
        pairs: vec![pair.clone()],
        client_ca: None,
        client_auth: ClientAuth::Required,
        challenges: Some(acme.challenges()),
        alpn: Alpn::Http2,
    };
    (dir, Arc::new(TlsReload::load(files).unwrap()), pair.cert)
}
