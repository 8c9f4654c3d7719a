//! A hang-up signal: what can change in a running server changes, all of it or nothing, and certificates each for
//! itself.

use crate::backend::{Backend, Script};
use crate::child::{Program, of_program};
use crate::client::Ask;
use crate::content::content;
use crate::proxied::{named, status};
use crate::server::Running;
use crate::tls::Authority;
use crate::until;
use rustix::process::Signal;
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::{TempDir, tempdir};

const FLAGS: &str = "serve --listen 127.0.0.1:0 --backend-listen 127.0.0.2:0 --storage-dir data \
                     --log-format json --config incoming.toml";

/// A server with a file of settings, and the service manager that sees when a reload is over.
struct Fixture {
    directory: Arc<TempDir>,
    manager: UnixDatagram,
    program: Program,
}

impl Fixture {
    fn open(settings: &str) -> Self {
        Self::open_with(Arc::new(tempdir().unwrap()), settings, &[])
    }

    /// One whose backend listener has a certificate, and who can make others.
    fn certified(settings: &str) -> (Self, Authority) {
        let (directory, authority) = (Arc::new(tempdir().unwrap()), Authority::new());
        authority.issue(directory.path(), "server");
        let settings = format!("{CERTIFIED}{settings}");
        (Self::open_with(directory, &settings, &[]), authority)
    }

    fn open_with(directory: Arc<TempDir>, settings: &str, flags: &[&str]) -> Self {
        fs::write(directory.path().join("incoming.toml"), settings).unwrap();
        let manager = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        manager.set_read_timeout(Some(crate::DEADLINE)).unwrap();
        let mut command = of_program(env!("CARGO_BIN_EXE_incoming"), directory.path());
        command
            .args(FLAGS.split_whitespace())
            .args(flags)
            .env("NOTIFY_SOCKET", directory.path().join("notify"));
        let program = Program::listening(command);
        let fixture = Self { directory, manager, program };
        assert!(fixture.told().starts_with("READY=1"));
        fixture
    }

    fn told(&self) -> String {
        let mut bytes = [0; 2048];
        let count = self.manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    /// Other settings in the file, and a signal; what is said when that is done.
    fn reload(&self, settings: &str) -> String {
        fs::write(self.directory.path().join("incoming.toml"), settings).unwrap();
        self.program.signal(Signal::HUP);
        assert!(self.told().starts_with("RELOADING=1"));
        self.told()
    }

    /// A reload by which everything in the file can be taken.
    fn takes(&self, settings: &str) {
        let said = self.reload(settings);
        assert!(said.starts_with("READY=1") && !said.contains("not reloaded"), "{said}");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn log_has(&self, part: &str) {
        crate::until(part, async || self.program.log().contains(part).then_some(())).await;
    }
}

const CERTIFIED: &str = "backend_tls_cert = 'server.pem'\nbackend_tls_key = 'server.key'\n";

/// A pipe in the place of a file: whoever reads it waits, as on a dead network disk.
fn hangs(file: &Path) {
    fs::remove_file(file).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, file, mode).unwrap();
}

/// Waits until somebody reads such a file. Whoever reads goes on waiting as long as this is kept.
async fn is_read(file: &Path) -> File {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let open = || OpenOptions::new().write(true).custom_flags(flags).open(file).ok();
    until("somebody reads", async || open()).await
}

#[tokio::test]
async fn settings_change_together_or_not_at_all() {
    let settings = "chunk_size = '1MiB'\nmin_free_space = 0\nworkers = 1\nmax_idle = '1h'\n";
    let fixture =
        Fixture::open_with(Arc::new(tempdir().unwrap()), settings, &["--max-uploads", "50"]);
    let server = Running::of(&fixture.program, &fixture.directory);
    let upload = server.lonely_ticket().await;
    assert_eq!(upload.status().await["chunk_size"], 1 << 20);
    // The reserve is larger than any disk; flags stand over the file, also now.
    let fresh = "chunk_size = '2MiB'\nmin_free_space = '1000PiB'\nworkers = 2\nmax_idle = '1h'\n\
                 max_uploads = 1\nlog = 'debug'\n";
    let said = fixture.reload(fresh);
    assert!(said.starts_with("READY=1") && !said.contains("not reloaded"), "{said}");
    assert_eq!(upload.status().await["chunk_size"], 2 << 20);
    upload.put(0, b"01234", 10).await.problem(507, "no-space", 15);
    fixture.log_has("\"changed\":\"chunk_size, min_free_space, log\"").await;
    fixture.log_has("\"settings\":\"workers\"").await;
    // Of requests nothing is said above debug.
    fixture.log_has("\"message\":\"request\"").await;
    // One wrong value, and the good ones beside it are not taken either.
    let said = fixture.reload("chunk_size = '3MiB'\nmin_free_space = 0\nsend_ahead = 0\n");
    assert!(said.starts_with("READY=1") && said.contains("not reloaded: send_ahead = 0"), "{said}");
    fixture.log_has("settings not reloaded; the previous ones stay in force").await;
    assert_eq!(upload.status().await["chunk_size"], 2 << 20);
    upload.put(0, b"01234", 10).await.problem(507, "no-space", 15);
    let said = fixture
        .reload("min_free_space = 0\nbackend_token = 'geheim'\ncors_origins = ['https://a']\n");
    assert!(!said.contains("not reloaded"), "{said}");
    upload.put(0, b"01234", 10).await.expect(200);
    let ask = Ask::new("GET", "/incoming/backend/uploads");
    server.back(&ask).await.expect(401);
    server.back(&ask.header("Authorization", "Bearer geheim")).await.expect(200);
    let other = Ask::new("GET", &upload.url).header("Origin", "https://b");
    let reply = server.front(&other).await.expect(200);
    assert_eq!(reply.header("access-control-allow-origin"), None);
    assert!(!fixture.program.log().contains("geheim"), "a secret in the log");
}

#[tokio::test]
async fn uploads_expire_by_the_new_time() {
    let fixture = Fixture::open("max_idle = '12h'\nretain_finished = '12h'\nmin_free_space = 0\n");
    let server = Running::of(&fixture.program, &fixture.directory);
    let upload = server.lonely_ticket().await;
    upload.put(0, b"01234", 10).await.expect(200);
    fixture.reload("max_idle = '1s'\nretain_finished = '12h'\nmin_free_space = 0\n");
    upload.reaches("cancelled").await;
}

/// A settings file that hangs (here a pipe without a writer, elsewhere a dead network disk).
#[tokio::test]
async fn a_reload_that_hangs_does_not_keep_the_server_from_stopping() {
    let mut fixture = Fixture::open("min_free_space = 0\n");
    let file = fixture.file("incoming.toml");
    hangs(&file);
    fixture.program.signal(Signal::HUP);
    assert!(fixture.told().starts_with("RELOADING=1"));
    let _kept = is_read(&file).await;
    fixture.program.signal(Signal::TERM);
    assert_eq!(fixture.program.exit_code().await, Some(0));
}

/// Nobody sends a signal: the file is looked at because it is another one.
#[tokio::test]
async fn a_certificate_that_hangs_does_not_keep_the_server_from_stopping() {
    let (mut fixture, _) = Fixture::certified("");
    let file = fixture.file("server.pem");
    hangs(&file);
    let _kept = is_read(&file).await;
    fixture.program.signal(Signal::TERM);
    assert_eq!(fixture.program.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_certificate_that_hangs_at_a_reload_keeps_no_setting_from_changing() {
    let (mut fixture, _) = Fixture::certified("");
    let file = fixture.file("server.key");
    hangs(&file);
    fs::write(fixture.file("incoming.toml"), format!("{CERTIFIED}send_ahead = 7\n")).unwrap();
    fixture.program.signal(Signal::HUP);
    fixture.log_has("\"changed\":\"send_ahead\"").await;
    let _kept = is_read(&file).await;
    fixture.program.signal(Signal::TERM);
    assert_eq!(fixture.program.exit_code().await, Some(0));
}

#[tokio::test]
async fn settings_and_certificates_are_taken_each_for_itself() {
    let (fixture, authority) = Fixture::certified("");
    let key = fs::read(fixture.file("server.key")).unwrap();
    fs::write(fixture.file("server.key"), "no key").unwrap();
    let said = fixture.reload(&format!("{CERTIFIED}send_ahead = 7\n"));
    assert!(said.contains("not reloaded") && said.contains("server.key"), "{said}");
    fixture.log_has("certificates not reloaded; the previous ones stay in force").await;
    fixture.log_has("\"changed\":\"send_ahead\"").await;
    // All as it was: nothing is new, and nothing is said to be.
    fs::write(fixture.file("server.key"), key).unwrap();
    fixture.takes(&format!("{CERTIFIED}send_ahead = 7\n"));
    fixture.log_has("settings reread; no reloadable setting has changed").await;
    fixture.log_has("certificates reread; none has changed").await;
    let log = fixture.program.log();
    assert!(!log.contains("\"changed\":\"\"") && !log.contains("certificates reloaded"), "{log}");
    // Wrong settings, and a new certificate.
    authority.issue_until(fixture.directory.path(), "server", 2099);
    let said = fixture.reload(&format!("{CERTIFIED}send_ahead = 0\n"));
    assert!(said.contains("not reloaded: send_ahead = 0") && !said.contains("server"), "{said}");
    fixture.log_has("\"cert\":\"server.pem\",\"ends\":\"2099-01-01T00:00:00Z\"").await;
}

#[tokio::test]
async fn limits_change() {
    let fixture = Fixture::open("min_free_space = 0\n");
    let server = Running::of(&fixture.program, &fixture.directory);
    let upload = server.lonely_ticket().await;
    fixture.takes(
        "min_free_space = 0\nsend_ahead = 7\nmax_chunk_size = 1000\nmax_upload_size = 5000\n\
         max_uploads = 1\ndoctor = false\nbody_timeout = '300ms'\n",
    );
    let status = upload.status().await;
    assert_eq!((&status["send_ahead"], &status["max_chunk_size"]), (&json!(7), &json!(1000)));
    let file = content(9, 1001);
    upload.put(0, &file, 5000).await.problem(413, "too-large", 11);
    upload.put(0, &file[..10], 5001).await.problem(413, "too-large", 11);
    let another = [("signalFinishURL", "http://127.0.0.1:9/")];
    assert_eq!(server.call("new_upload", &another).await.status, 429);
    server.front(&Ask::new("POST", "/incoming/frontend/doctor")).await.expect(404);
    let mut conn = upload.stalled(0, &file[..1000], 400, 5000).await;
    conn.reply("PUT").await.unwrap().expect(408);
}

#[tokio::test]
async fn proxies_change() {
    const ALLOW: &str = "backend_allow = ['192.0.2.0/24']\n";
    let fixture = Fixture::open(ALLOW);
    let server = Running::of(&fixture.program, &fixture.directory);
    let list = Ask::new("GET", "/incoming/backend/uploads");
    let told = Ask::new("GET", &list.target).header("X-Forwarded-For", "192.0.2.7");
    server.back(&told).await.expect(403);
    fixture.takes(&format!("{ALLOW}trusted_proxies = ['127.0.0.0/8']\n"));
    server.back(&told).await.expect(200);
    fixture.takes(ALLOW);
    server.back(&told).await.expect(403);
    fixture.takes("backend_allow = ['127.0.0.0/8']\n");
    server.back(&list).await.expect(200);
}

#[tokio::test]
async fn who_sends_proxy_headers_changes() {
    const ASKED: &str = "proxy_protocol = true\n";
    let fixture = Fixture::open(&format!("{ASKED}trusted_proxies = ['10.0.0.0/8']\n"));
    let script = Ask::new("GET", "/incoming/frontend/incoming.js");
    let header = named([192, 0, 2, 7]);
    let public = &fixture.program.public;
    assert_eq!(status(public, &header, &script).await, None);
    fixture.takes(&format!("{ASKED}trusted_proxies = ['127.0.0.0/8']\n"));
    assert_eq!(status(public, &header, &script).await, Some(200));
    // The file alone would do for a start without PROXY headers, which this server asks for.
    let said = fixture.reload("proxy_protocol = false\n");
    assert!(said.contains("not reloaded: until a restart"), "{said}");
    assert_eq!(status(public, &header, &script).await, Some(200));
}

#[tokio::test]
async fn calls_to_backends_change() {
    let backend = Backend::start().await;
    let fixture = Fixture::open("min_free_space = 0\ncallback_allow = ['10.0.0.0/8']\n");
    let server = Running::of(&fixture.program, &fixture.directory);
    let refused = server.ticket(&backend).await;
    refused.put_whole(b"x").await.expect(200);
    until("a call that was not allowed", async || {
        let shown = refused.shown().await;
        shown["reason"].as_str().is_some_and(|why| why.contains("not allowed")).then_some(())
    })
    .await;
    fixture.takes("min_free_space = 0\nhandover_timeout = '300ms'\n");
    server.call("retry_handover", &[("id", &refused.id)]).await.expect(200);
    refused.reaches("finished").await;
    let unheard = server.ticket(&backend).await;
    backend.answer_for(&unheard.id, [Script::Silence]);
    unheard.put_whole(b"x").await.expect(200);
    backend.calls_for(&unheard.id, 2).await;
    // On a busy machine an answer may take longer than that, and this one is given once.
    fixture.takes("min_free_space = 0\n");
    let waiting = server.ticket(&backend).await;
    backend.answer_for(&waiting.id, [Script::Answer(200, "wait")]);
    waiting.put_whole(b"x").await.expect(200);
    fixture.log_has("backend answered wait").await;
    fixture.takes("min_free_space = 0\nhandover_confirm_timeout = '1s'\nhandover_retry_for = 0\n");
    backend.calls_for(&waiting.id, 2).await;
    let failed = server.ticket(&backend).await;
    backend.answer_for(&failed.id, [Script::Answer(500, "")]);
    failed.put_whole(b"x").await.expect(200);
    failed.reaches("failed").await;
    fixture.takes("min_free_space = 0\nretain_finished = 0\nfailed_retention = 0\n");
    for over in [&waiting, &failed] {
        until("it is forgotten", async || (over.ask("GET").await.status == 404).then_some(()))
            .await;
    }
    assert!(!failed.file().exists());
}

#[tokio::test]
async fn the_end_comes_when_new_settings_say() {
    let mut fixture = Fixture::open("min_free_space = 0\nshutdown_grace = '1h'\n");
    let server = Running::of(&fixture.program, &fixture.directory);
    let upload = server.lonely_ticket().await;
    let _conn = upload.stalled(0, b"0123456789", 5, 10).await;
    upload.in_flight(1).await;
    fixture.takes("min_free_space = 0\nshutdown_grace = '100ms'\n");
    fixture.program.signal(Signal::TERM);
    assert_eq!(fixture.program.exit_code().await, Some(0));
}
