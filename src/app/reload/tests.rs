//! Tests of what a reload changes, and of files that hang.

use super::*;
use crate::config::{Layers, Secret, TABLE};
use crate::tls::{Alpn, CertificateFiles, ClientAuth, TlsFiles};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};

fn at(backend: &Address) -> Bound {
    Bound { backend: Some(backend.clone()), proxied: Vec::new() }
}

/// Time is paused: it jumps to the next deadline.
#[tokio::test(start_paused = true)]
async fn a_file_that_hangs_is_not_waited_for_without_end() {
    let hangs = in_time(std::future::pending::<()>());
    let ended = timeout(Duration::from_secs(24 * 60 * 60), hangs).await.unwrap();
    assert!(ended.unwrap_err().to_string().contains("longer than 30s"));
    assert_eq!(in_time(async { 5 }).await, Ok(5));
}

/// One thread hangs then, however many signals are sent.
#[tokio::test(start_paused = true)]
async fn settings_are_not_read_while_an_earlier_reading_hangs() {
    let (release, released) = mpsc::channel::<()>();
    let (released, begun) = (Mutex::new(released), Arc::new(AtomicU64::new(0)));
    let times = Arc::clone(&begun);
    let reader = Reader::new(Arc::new(move || {
        times.fetch_add(1, Ordering::Relaxed);
        let _ = released.lock().unwrap().recv();
        Ok(Settings::default())
    }));
    assert!(reader.read().await.unwrap_err().to_string().contains("longer than 30s"));
    for _ in 0..3 {
        assert!(reader.read().await.unwrap_err().to_string().contains(
            "an earlier reload is still \
                reading its files"
        ));
    }
    tokio::time::resume();
    // From here on nothing hangs.
    drop(release);
    while reader.read().await.is_err_and(|error| error.to_string().contains("earlier")) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(begun.load(Ordering::Relaxed), 2);
    assert_eq!(reader.read().await.unwrap(), Settings::default());
}

/// The certificate is a pipe without a writer, like a file on a network disk that hangs.
#[tokio::test(start_paused = true)]
async fn certificates_that_are_late_are_said_to_be_taken_and_are() {
    let dir = tempfile::tempdir().unwrap();
    let [cert, key] = ["c", "k"].map(|name| dir.path().join(name));
    let make = || {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        made.cert.pem()
    };
    std::fs::write(&cert, make()).unwrap();
    let pairs = vec![CertificateFiles { cert: cert.clone(), key: key.clone() }];
    let client_auth = ClientAuth::Required;
    let files =
        TlsFiles { pairs, client_ca: None, client_auth, challenges: None, alpn: Alpn::Http2 };
    let tls = Arc::new(TlsReload::load(files).unwrap());
    let old = tls.current();
    std::fs::remove_file(&cert).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, &cert, mode).unwrap();
    let fresh = make();
    // Time stands still while a thread reads: it is moved on by hand.
    let passes = async {
        tokio::task::yield_now().await;
        tokio::time::advance(READ_DEADLINE + Duration::from_secs(1)).await;
    };
    let (said, ()) = tokio::join!(reload_certificates(&tls), passes);
    let said = said.unwrap_err().to_string();
    assert!(said.contains("longer than 30s; they take effect when it ends"), "{said}");
    assert!(Arc::ptr_eq(&old, &tls.current()));
    // Opens once somebody reads.
    tokio::task::spawn_blocking(move || std::fs::write(cert, fresh)).await.unwrap().unwrap();
    let begun = std::time::Instant::now();
    while Arc::ptr_eq(&old, &tls.current()) {
        assert!(begun.elapsed() < Duration::from_secs(20), "not taken");
        tokio::task::yield_now().await;
    }
}

/// As at a start: TCP needs a trusted proxy; on a unix socket the users that may open it are trusted.
#[test]
fn a_listener_that_asks_for_proxy_headers_hears_somebody() {
    let old = Settings {
        proxy_protocol: true,
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        ..Settings::default()
    };
    let fresh = Settings { trusted_proxies: Vec::new(), ..old.clone() };
    let (tcp, unix) = ("0.0.0.0:4000".parse().unwrap(), "unix:/s".parse().unwrap());
    let judged = |proxied: &Address| {
        let bound = Bound { backend: None, proxied: vec![proxied.clone()] };
        compare(&old, &fresh, &bound).map(|change| change.changed)
    };
    let line = judged(&tcp).unwrap_err().to_string();
    assert!(line.contains("0.0.0.0:4000") && line.contains("trusted_proxies"), "{line}");
    assert_eq!(judged(&unix).unwrap(), ["trusted_proxies"]);
}

#[test]
fn what_can_change_changes_and_the_rest_is_named() {
    let old = Settings::default();
    let fresh = Settings {
        chunk_size: 1 << 20,
        backend_token: Some(Secret::new("t")),
        workers: old.workers + 1,
        listen: ":80".parse().unwrap(),
        ..old.clone()
    };
    let change = compare(&old, &fresh, &at(&old.backend_listen)).unwrap();
    assert_eq!(change.changed, ["backend_token", "chunk_size"]);
    assert_eq!(change.fixed, ["listen", "workers"]);
    assert_eq!(change.settings.listen, old.listen);
    assert_eq!(change.settings.chunk_size, 1 << 20);
    let same = compare(&change.settings, &change.settings, &Bound::default()).unwrap();
    assert!(same.changed.is_empty() && same.fixed.is_empty());
}

#[test]
fn the_backend_is_never_left_open() {
    let everywhere: Address = "0.0.0.0:4001".parse().unwrap();
    let guarded = Settings {
        backend_listen: everywhere.clone(),
        backend_token: Some(Secret::new("t")),
        ..Settings::default()
    };
    // Good for a start; but this server's listener stays where it is.
    let fresh = Settings::default();
    let missing = compare(&guarded, &fresh, &at(&everywhere)).unwrap_err();
    let line = ReloadError::from(missing).to_string();
    assert!(line.starts_with("until a restart ") && line.contains("0.0.0.0:4001"), "{line}");
}

/// Of these, each setting takes the first that it can have and that is not its default.
const VALUES: [&str; 18] = [
    "true",
    "false",
    "9MiB",
    "2h",
    "6",
    "7",
    "0740",
    "written",
    "s3",
    "postgres",
    "never",
    "json",
    "debug",
    "::1",
    ":1",
    "https://a.example",
    "a@b.example",
    "http://a whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
];

#[test]
fn every_setting_changes_or_is_said_to_need_a_restart() {
    let old = Settings::default();
    for setting in TABLE {
        let key = setting.key;
        let fresh = VALUES.iter().find_map(|value| {
            let layers = Layers::of_text(&format!("{key} = '{value}'")).unwrap();
            Settings::read(&layers).ok().filter(|fresh| *fresh != old)
        });
        let fresh = fresh.unwrap_or_else(|| panic!("none of VALUES is one for {key}: add it"));
        let change = compare(&old, &fresh, &Bound::default()).unwrap();
        let (can, cannot) =
            if setting.reloadable { (vec![key], vec![]) } else { (vec![], vec![key]) };
        assert_eq!((change.changed, change.fixed), (can, cannot), "{key}");
        let expected = if setting.reloadable { &fresh } else { &old };
        assert_eq!(change.settings, *expected, "{key}");
    }
}
