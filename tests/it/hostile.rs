//! Protects whoever types a command from what answers it: text of a server, a proxy or a file name is shown and never
//! obeyed by the terminal, and whatever a server says, memory, connections and requests stay bounded.

use crate::child::{command, ended};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Sets a title, erases, turns red by C1, turns the line around, begins lines and ends in no UTF-8.
const EVIL: &str =
    "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}txt\u{2066}\r\nincoming: all is well\u{7f}";
const ID: &str = "71272bb1-0102-4304-8506-0708090a0b0c";

type Answer = dyn Fn(&str) -> Vec<u8> + Send + Sync;

/// A server that answers each request by its first line.
struct Hostile {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    /// Connections at one time, now and at most.
    open: Arc<[AtomicUsize; 2]>,
}

impl Hostile {
    fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let open = Arc::<[AtomicUsize; 2]>::default();
        let (kept, counted, answer) = (Arc::clone(&requests), Arc::clone(&open), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (kept, open, answer) =
                    (Arc::clone(&kept), Arc::clone(&counted), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let now = open[0].fetch_add(1, Ordering::SeqCst) + 1;
                    open[1].fetch_max(now, Ordering::SeqCst);
                    // A client that goes away is the test's own doing.
                    let _ = serve(&stream, &kept, &*answer);
                    open[0].fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, requests, open }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn serve(stream: &TcpStream, kept: &Mutex<Vec<String>>, answer: &Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(bytes) = line.strip_prefix("content-length: ") {
                length = bytes.parse().unwrap();
            }
        }
        let first = first.trim().to_owned();
        let answer = answer(&first);
        kept.lock().unwrap().push(first);
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
        (&*stream).write_all(&answer)?;
    }
}

fn said(status: u16, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn status(more: &serde_json::Value) -> Vec<u8> {
    let mut status = serde_json::json!({
        "state": "uploading", "length": 9, "offset": 0, "received": [], "chunk_size": 4,
        "max_chunk_size": null, "send_ahead": 4, "reason": null, "id": ID, "name": EVIL,
    });
    status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    said(200, status.to_string())
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = command(directory);
    command.args(arguments).stdout(Stdio::piped());
    ended(command)
}

/// Neither output holds what a terminal would obey, nor bytes that are no text.
#[track_caller]
fn harmless(output: &Output, says: &str) -> String {
    let mut all = String::new();
    for bytes in [&output.stdout, &output.stderr] {
        let text = std::str::from_utf8(bytes).expect("what is printed is text");
        let obeyed = |c: char| {
            (c.is_control() && c != '\n')
                || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
                || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!text.contains(obeyed), "{says}: {text:?}");
        // What `health` prints is the server's text, line by line.
        let own = text.as_bytes() == output.stderr || !says.contains("health");
        let forged = text.contains("\nincoming: all is well");
        assert!(!(own && forged), "{says}: a line is forged: {text}");
        all += text;
    }
    all
}

#[test]
fn issue_13_uploads_and_health_show_what_a_server_says_and_obey_nothing() {
    let home = tempfile::tempdir().unwrap();
    let server = Hostile::start(|first| match first.split(' ').nth(1).unwrap() {
        "/healthz" => said(200, format!("{EVIL}\n\n")),
        "/readyz" => said(503, [EVIL.as_bytes(), b"\xff\x9b"].concat()),
        path if path.contains(&format!("uploads/{ID}")) => {
            status(&serde_json::json!({ EVIL: EVIL, "reason": EVIL, "state": [EVIL] }))
        }
        path if path.contains("uploads?") => {
            let upload = serde_json::json!({"id": EVIL, "state": EVIL, "name": EVIL});
            said(200, serde_json::json!({"uploads": [upload], "next": null}).to_string())
        }
        path if path.ends_with("cancel_upload") => {
            said(409, serde_json::json!({ "detail": EVIL }).to_string())
        }
        _ => said(500, format!("<title>{EVIL}</title>")),
    });
    let backend = ["--backend", &server.url()];
    for (arguments, shows) in [
        (&["health"][..], "\\u{1b}"),
        (&["health", "--ready"], "\\u{1b}"),
        (&["uploads", "list"], "\\u{9b}31m\\u{202e}txt"),
        (&["uploads", "list", "--json"], "\\u009b31m\\u202etxt"),
        (&["uploads", "show", ID], "\\u{9b}31m"),
        (&["uploads", "show", ID, "--json"], "\\u009b31m"),
        (&["uploads", "cancel", ID], "\\u{1b}"),
        (&["uploads", "retry", ID, "--json"], "\\u{1b}"),
    ] {
        let output = run(home.path(), &[arguments, &backend[..]].concat());
        let told = harmless(&output, &format!("{arguments:?}"));
        assert!(told.contains(shows), "{arguments:?}: {told}");
    }
    let output = run(home.path(), &[&["uploads", "show", ID, "--json"], &backend[..]].concat());
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read["name"], EVIL, "JSON says what the server said");
}

#[test]
fn issue_13_upload_shows_what_a_server_and_a_file_name_say_and_obeys_nothing() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("film.mp4"), "123456789").unwrap();
    let checks: [(&str, Arc<Answer>); 6] = [
        ("failed", Arc::new(|_| status(&serde_json::json!({"state": "failed", "reason": EVIL})))),
        (
            "cancelled",
            Arc::new(|_| status(&serde_json::json!({"state": "cancelled", "reason": EVIL}))),
        ),
        ("400", Arc::new(|_| said(400, [b"\xff\x9b".as_slice(), EVIL.as_bytes()].concat()))),
        ("404", Arc::new(|_| said(404, serde_json::json!({ "title": EVIL }).to_string()))),
        ("other JSON", Arc::new(|_| said(200, serde_json::json!({ EVIL: EVIL }).to_string()))),
        (
            "redirect",
            Arc::new(|_| {
                b"HTTP/1.1 301 X\r\nLocation: http://a/\xc2\x9b31m\xe2\x80\xae\r\nContent-Length: 0\r\n\r\n".to_vec()
            }),
        ),
    ];
    for (name, answer) in checks {
        let server = Hostile::start(move |first| answer(first));
        let url = format!("{}/u", server.url());
        for json in [None, Some("--json")] {
            let arguments: Vec<_> =
                ["upload", "film.mp4", "--url", &url].into_iter().chain(json).collect();
            let output = run(home.path(), &arguments);
            harmless(&output, name);
            assert_eq!(output.status.code(), Some(1), "{name}");
        }
    }
    // Files that somebody gave to this user: names, a link, a folder without files and one that cannot be read.
    let folder = home.path().join("photos");
    let evil = [b"\x1b]0;owned\x07\xc2\x9b31m\n\xff".as_slice(), "\u{202e}gpj.exe".as_bytes()];
    let evil = evil.concat();
    let name = OsStr::from_bytes(&evil);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join(name), "x").unwrap();
    std::fs::create_dir(home.path().join(name)).unwrap();
    let link = [evil.as_slice(), b"-link"].concat();
    std::os::unix::fs::symlink("nowhere", folder.join(OsStr::from_bytes(&link))).unwrap();
    let server = Hostile::start(|first| match first.contains("new_upload") {
        true => said(400, EVIL),
        false => said(200, EVIL),
    });
    for json in [None, Some("--json")] {
        let mut go = command(home.path());
        go.args(["upload", "photos"]).arg(name).args(["--backend", &server.url()]);
        go.args(["--public", &server.url(), "--signal-finish-url", "http://a/"]).args(json);
        let output = ended({
            go.stdout(Stdio::piped());
            go
        });
        let told = harmless(&output, "folder");
        for shows in ["skipped, a link", "holds no files", "\\xff", "400 Bad Request"] {
            assert!(told.contains(shows), "{shows}: {told}");
        }
    }
}

#[test]
fn issue_13_doctor_and_bench_show_what_a_server_says_and_obey_nothing() {
    let home = tempfile::tempdir().unwrap();
    let arrived = serde_json::json!({
        "doctor": 1, "probe": 1, "serial": 7, "method": EVIL, "version": EVIL, "client": EVIL,
        "headers": { EVIL: EVIL }, "sent": { EVIL: EVIL }, "naming": "untrusted",
    });
    let server = Hostile::start(move |first| match first {
        first if first.contains("doctor") => said(200, arrived.to_string()),
        _ => said(500, EVIL),
    });
    let quick = ["--idle", "0", "--largest", "1KiB", "--http1"];
    for json in [None, Some("--json")] {
        let url = server.url();
        let arguments = [&["doctor", &url], &quick[..], json.as_slice()].concat();
        let output = run(home.path(), &arguments);
        let told = harmless(&output, "doctor");
        assert!(told.contains("owned") && told.contains("answer-header-lost"), "{told}");
    }
    let redirect = Hostile::start(|_| {
        b"HTTP/1.1 302 X\r\nLocation: http://a/\xc2\x9b31m\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    harmless(&run(home.path(), &["doctor", &redirect.url()]), "doctor, redirected");
    let url = server.url();
    let bench = ["bench", "--url", &url, "--backend", &url, "--total", "1MiB", "--uploads", "1"];
    let told = harmless(&run(home.path(), &bench), "bench");
    assert!(told.contains("500") && told.contains("\\u{1b}"), "{told}");
}

#[test]
fn issue_13_verify_shows_names_and_obeys_nothing() {
    let home = tempfile::tempdir().unwrap();
    let name = OsStr::from_bytes(b"\x1b]0;owned\x07\xc2\x9b31m\xff");
    for json in [None, Some("--json")] {
        let mut go = command(home.path());
        go.args(["verify", "--storage-dir"]).arg(name).args(json).stdout(Stdio::piped());
        assert!(harmless(&ended(go), "absent").contains("\\xff"));
    }
    let storage = home.path().join(name);
    std::fs::create_dir_all(storage.join("files")).unwrap();
    std::fs::write(storage.join(format!("{ID}.journal")), [EVIL.as_bytes(), b"\xff"].concat())
        .unwrap();
    for json in [None, Some("--json")] {
        let mut go = command(home.path());
        go.args(["verify", "--storage-dir"]).arg(name).args(json).stdout(Stdio::piped());
        let output = ended(go);
        assert_eq!(output.status.code(), Some(1));
        assert!(harmless(&output, "verify").contains("journal-unreadable"));
    }
}

/// Runs a command for so long; it goes on for ever by itself.
fn for_a_while(directory: &Path, arguments: &[&str], time: Duration) -> Output {
    let mut go = command(directory);
    let mut child =
        go.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = std::time::Instant::now();
    while began.elapsed() < time && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
    // It may have ended.
    let _ = child.kill();
    child.wait_with_output().unwrap()
}

/// A server that suggests as many chunks in flight as a number can say gets 64 connections.
#[test]
fn issue_13_send_ahead_of_a_server_is_clamped() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("film.mp4"), vec![7; 1 << 20]).unwrap();
    let server = Hostile::start(|first| {
        if first.starts_with("PUT") {
            // Nothing is answered while the others come.
            std::thread::sleep(Duration::from_secs(30));
        }
        status(&serde_json::json!({"send_ahead": u64::MAX, "chunk_size": 1, "max_chunk_size": 0}))
    });
    let url = format!("{}/u", server.url());
    for_a_while(home.path(), &["upload", "film.mp4", "--url", &url], Duration::from_secs(4));
    let most = server.open[1].load(Ordering::SeqCst);
    assert!((60..=66).contains(&most), "{most} connections");
    let sizes = server.requests.lock().unwrap().iter().filter(|it| it.starts_with("PUT")).count();
    assert!(sizes <= 65, "{sizes} chunks");
}

/// A server that takes chunks and counts nothing, or that never waits, is not asked without end.
#[test]
fn issue_13_a_server_that_gets_nowhere_is_asked_with_pauses() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("film.mp4"), "123456789").unwrap();
    let never = Hostile::start(|_| status(&serde_json::json!({"length": 9})));
    let url = format!("{}/u", never.url());
    let time = Duration::from_secs(4);
    let output = for_a_while(home.path(), &["upload", "film.mp4", "--url", &url], time);
    let requests = never.requests.lock().unwrap().len();
    assert!(requests < 30, "{requests} requests in {time:?}");
    let told = harmless(&output, "nothing is counted");
    assert!(told.contains("does not count a chunk"), "{told}");

    let waits = Hostile::start(|_| {
        status(&serde_json::json!({"state": "handing_over", "received": [[0, 9]]}))
    });
    let url = format!("{}/u", waits.url());
    for_a_while(home.path(), &["upload", "film.mp4", "--url", &url], time);
    let requests = waits.requests.lock().unwrap().len();
    assert!(requests < 12, "{requests} requests in {time:?}");
}

/// Endless bodies and lists that lead nowhere end with an error.
#[test]
fn issue_13_what_a_server_sends_without_end_is_cut() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("film.mp4"), "123456789").unwrap();
    let long = Hostile::start(|_| {
        let head = b"HTTP/1.1 200 X\r\nContent-Length: 99999999999\r\n\r\n".to_vec();
        [head, vec![b'['; 20 << 20]].concat()
    });
    for arguments in [
        &["upload", "film.mp4", "--url", &format!("{}/u", long.url())][..],
        &["uploads", "list", "--backend", &long.url()],
        &["health", "--backend", &long.url()],
    ] {
        let output = run(home.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let told = harmless(&output, "long");
        assert!(told.contains("the answer is larger than"), "{arguments:?}: {told}");
    }
    let circle = Hostile::start(|first| {
        let next = if first.contains("after=b") { "a" } else { "b" };
        let upload = serde_json::json!({ "id": ID });
        said(200, serde_json::json!({"uploads": [upload], "next": next}).to_string())
    });
    let output = run(home.path(), &["uploads", "list", "--backend", &circle.url()]);
    assert!(harmless(&output, "circle").contains("does not advance"));
    assert_eq!(circle.requests.lock().unwrap().len(), 2);
}
