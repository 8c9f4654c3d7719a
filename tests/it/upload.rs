//! Protects `incoming upload`: what was broken off goes on where it was, no two files are ever mixed,
//! and every file of a folder arrives.

mod again;

use crate::backend::Backend;
use crate::child::{command, ended};
use crate::client::{Ask, Place};
use crate::content::{content, sha256};
use crate::server::Running;
use crate::tls::{Authority, certify, files};
use crate::until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// A way to the server on which so many bytes go up, and then none until it is opened.
struct Gate {
    address: SocketAddr,
    bytes: Arc<Semaphore>,
    lines: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Gate {
    async fn before(place: &Place, bytes: usize) -> Self {
        let Place::Tcp(server) = place.clone() else { panic!("the gate is on TCP") };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bytes = Arc::new(Semaphore::new(bytes));
        let (shared, lines) = (Arc::clone(&bytes), Arc::<Mutex<Vec<_>>>::default());
        let kept = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let Ok(to) = TcpStream::connect(server).await else { continue };
                let line = tokio::spawn(relay(from, to, Arc::clone(&shared)));
                kept.lock().unwrap().push(line);
            }
        });
        Self { address, bytes, lines }
    }

    /// Whatever is still on its way is lost.
    fn cut(&self) {
        self.lines.lock().unwrap().drain(..).for_each(|line| line.abort());
    }

    /// Nothing is held back any more.
    fn open(&self) {
        self.bytes.add_permits(1 << 40);
    }
}

async fn relay(from: TcpStream, to: TcpStream, bytes: Arc<Semaphore>) {
    let (mut client, mut client_out) = from.into_split();
    let (mut server, mut server_out) = to.into_split();
    let up = async {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = client.read(&mut buffer).await {
            bytes.acquire_many(u32::try_from(count).unwrap()).await.unwrap().forget();
            if server_out.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
    };
    let down = async { _ = tokio::io::copy(&mut server, &mut client_out).await };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

/// A server behind a gate, a backend, and a file.
struct Stage {
    server: Running,
    backend: Backend,
    gate: Gate,
    home: Arc<TempDir>,
    content: Vec<u8>,
}

const SIZE: usize = 3 << 20;

impl Stage {
    async fn set(bytes: usize) -> Self {
        let server = Running::start().await;
        let gate = Gate::before(&server.public, bytes).await;
        let home = Arc::new(tempfile::tempdir().unwrap());
        let content = content(31, SIZE);
        std::fs::write(home.path().join("film.mp4"), &content).unwrap();
        Self { server, backend: Backend::start().await, gate, home, content }
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = command(self.home.path());
        command
            .args(["upload", "film.mp4", "--chunk-size", "64KiB", "--parallel", "2"])
            .args(self.places())
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Where to.
    fn places(&self) -> [String; 6] {
        let Place::Tcp(backend) = &self.server.backend else { panic!("not on TCP") };
        let public = format!("http://{}", self.gate.address);
        let [backend, finish] = [format!("http://{backend}"), self.backend.url()];
        let flags = ["--backend", "--public", "--signal-finish-url"].map(str::to_owned);
        let [a, b, c] = flags;
        [a, backend, b, public, c, finish]
    }

    /// Runs it to its end.
    async fn upload(&self, flags: &[&str]) -> Output {
        finished(self.command(flags)).await
    }

    /// Starts it and waits until it stands still with something acknowledged.
    async fn stalled(&self) -> (Child, Value) {
        let child = self.command(&[]).spawn().unwrap();
        let at_least = json!(512 << 10);
        let shown = until("acknowledged bytes", async || {
            let all = self.uploads().await;
            let shown = all.last()?.clone();
            let shut = self.gate.bytes.available_permits() == 0;
            (shut && shown["offset"].as_u64() >= at_least.as_u64()).then_some(shown)
        })
        .await;
        (child, shown)
    }

    /// Kills it while it stands still; what was on its way then is lost.
    async fn killed(&self) -> Value {
        let (mut child, upload) = self.stalled().await;
        child.kill().unwrap();
        child.wait().unwrap();
        self.gate.cut();
        self.server.upload(id(&upload)).in_flight(0).await;
        upload
    }

    async fn uploads(&self) -> Vec<Value> {
        let list = self.server.back(&Ask::new("GET", "/incoming/backend/uploads")).await;
        list.expect(200).json()["uploads"].as_array().unwrap().clone()
    }

    async fn received_bytes(&self) -> u64 {
        let text = self.server.back(&Ask::new("GET", "/metrics")).await.expect(200).text();
        let line = text.lines().find(|line| line.starts_with("incoming_received_bytes_total "));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn change(&self, content: &[u8], time: Option<SystemTime>) {
        // In place: at no moment is it another file, or shorter than before and after.
        let path = self.home.path().join("film.mp4");
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(content, 0).unwrap();
        file.set_len(content.len() as u64).unwrap();
        if let Some(time) = time {
            file.set_modified(time).unwrap();
        }
    }

    /// How many uploads are remembered.
    fn remembered(&self) -> usize {
        let folder = self.home.path().join("state/incoming/uploads");
        // Beside them lie the locks of programs that run, or were killed.
        let memory = |name: &std::ffi::OsStr| name.as_encoded_bytes().ends_with(b".json");
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
        names.filter(|entry| memory(&entry.file_name())).count()
    }

    /// The backend got exactly this file, once.
    async fn arrived(&self, id: &str, content: &[u8]) {
        let calls = self.backend.calls_for(id, 1).await;
        assert_eq!(calls[0].sha256.as_deref(), Some(&*sha256(content)));
        assert_eq!(calls[0].field("filenameFromBrowser"), "film.mp4");
    }
}

async fn finished(command: Command) -> Output {
    tokio::task::spawn_blocking(move || ended(command)).await.unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn id(upload: &Value) -> &str {
    upload["id"].as_str().unwrap()
}

/// The events of `--json`.
fn events(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn event<'a>(events: &'a [Value], name: &str) -> &'a Value {
    let found = events.iter().find(|event| event["event"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {events:?}"))
}

#[tokio::test]
async fn what_was_killed_goes_on_where_it_was() {
    let stage = Stage::set(1 << 20).await;
    let upload = stage.killed().await;
    assert_eq!(stage.remembered(), 1);
    stage.gate.open();
    let output = stage.upload(&["--json"]).await;
    assert!(output.status.success(), "{}", error(&output));
    stage.arrived(id(&upload), &stage.content).await;
    assert_eq!(stage.uploads().await.len(), 1, "no second ticket");
    let events = events(&output);
    let before = event(&events, "resumed")["acknowledged"].as_u64().unwrap();
    assert!(before >= 512 << 10 && before < SIZE as u64, "{before}");
    let sent = SIZE as u64 - before;
    assert_eq!(event(&events, "finished")["sent"].as_u64(), Some(sent));
    assert_eq!(event(&events, "summary")["sent"].as_u64(), Some(sent));
    for progress in events.iter().filter(|event| event["event"] == "progress") {
        let field = |key: &str| progress[key].as_u64().unwrap();
        assert_eq!(field("sent"), field("acknowledged") - before, "{progress}");
        assert!(field("acknowledged") + field("under_way") <= SIZE as u64, "{progress}");
    }
    // What was on its way when it was killed may come twice, nothing else.
    let all = stage.received_bytes().await;
    assert!(all <= (SIZE + (256 << 10)) as u64, "{all} bytes were sent of {SIZE}");
    assert_eq!(stage.remembered(), 0);
    assert_eq!(event(&events, "summary")["finished"], 1);
}

#[tokio::test]
async fn a_signal_leaves_it_resumable_and_says_so() {
    let stage = Stage::set(1 << 20).await;
    let (child, upload) = stage.stalled().await;
    // One file is not sent by two at a time.
    let second = stage.upload(&[]).await;
    assert_eq!(second.status.code(), Some(1));
    assert!(error(&second).contains("is being uploaded by another program"), "{second:?}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", error(&output));
    let line = error(&output);
    let last = line.lines().last().unwrap();
    assert!(last.starts_with("incoming: film.mp4: stopped at "), "{line}");
    assert!(last.ends_with(" %; run the same command to resume"), "{line}");
    stage.gate.open();
    let output = stage.upload(&[]).await;
    assert!(output.status.success(), "{}", error(&output));
    stage.arrived(id(&upload), &stage.content).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("film.mp4: finished, 3 MiB: "), "{said}");
    assert!(said.contains(" sent now in ") && said.ends_with(" before\n"), "{said}");
}

/// Who opens a pipe waits for somebody at its other end, for ever.
#[tokio::test]
async fn what_is_no_file_is_refused_at_once() {
    let stage = Stage::set(1 << 40).await;
    let pipe = stage.home.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink("pipe", stage.home.path().join("link")).unwrap();
    let mut go = command(stage.home.path());
    go.args(["upload", "-"]).args(stage.places());
    let output = finished(go).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("standard input cannot be uploaded"), "{output:?}");
    for (path, what) in [("pipe", "a pipe"), ("link", "a pipe"), ("/dev/null", "a device")] {
        for flags in [&[][..], &["--cancel"]] {
            let mut go = command(stage.home.path());
            go.args(["upload", path]).args(stage.places()).args(flags);
            let output = finished(go).await;
            let line = error(&output);
            assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
            assert!(line.contains(&format!("{path}: is {what}, not a regular file")), "{line}");
        }
    }
    assert!(stage.uploads().await.is_empty(), "no ticket is taken for it");
}

#[tokio::test]
async fn a_broken_line_costs_nothing_but_what_was_on_it() {
    let stage = Stage::set(1 << 20).await;
    let (child, upload) = stage.stalled().await;
    stage.gate.open();
    stage.gate.cut();
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", error(&output));
    stage.arrived(id(&upload), &stage.content).await;
    assert!(error(&output).contains("trying again"), "{}", error(&output));
    let all = stage.received_bytes().await;
    assert!(all <= (SIZE + (256 << 10)) as u64, "{all} bytes were sent of {SIZE}");
}

#[tokio::test]
async fn a_changed_file_is_never_mixed_in() {
    let stage = Stage::set(1 << 20).await;
    let upload = stage.killed().await;
    stage.gate.open();
    let refused = async |flags: &[&str], word: &str| {
        let before = stage.received_bytes().await;
        let output = stage.upload(flags).await;
        let line = error(&output);
        assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
        assert!(line.contains("changed since its upload began") && line.contains(word), "{line}");
        assert_eq!(stage.received_bytes().await, before, "{word}: nothing is sent");
        assert_eq!(stage.uploads().await.len(), 1, "{word}");
        assert_eq!(stage.remembered(), 1, "{word}");
    };
    let now = SystemTime::now();
    let changed = |at: usize| {
        let mut changed = stage.content.clone();
        changed[at] ^= 1;
        changed
    };
    stage.change(&stage.content[1..], None);
    refused(&[], "its size differs").await;
    stage.change(&changed(5), None);
    refused(&[], "its first or last bytes differ").await;
    // Only a comparison of everything finds this one.
    stage.change(&changed(300_000), Some(now + Duration::from_secs(5)));
    refused(&[], "the server has other bytes").await;
    // Touched, and the same: goes on.
    stage.change(&stage.content, Some(now + Duration::from_secs(9)));
    let output = stage.upload(&["--json"]).await;
    assert!(output.status.success(), "{}", error(&output));
    let events = events(&output);
    assert!(event(&events, "comparing")["bytes"].as_u64() >= Some(512 << 10));
    stage.arrived(id(&upload), &stage.content).await;
}

#[tokio::test]
async fn a_changed_file_begins_anew_where_that_is_asked_for() {
    let stage = Stage::set(1 << 20).await;
    let upload = stage.killed().await;
    stage.gate.open();
    let other = content(32, SIZE + 5);
    stage.change(&other, None);
    let output = stage.upload(&["--restart-changed"]).await;
    assert!(output.status.success(), "{}", error(&output));
    assert!(error(&output).contains("starting over"), "{}", error(&output));
    let all = stage.uploads().await;
    let old = all.iter().find(|other| other["id"] == upload["id"]).unwrap();
    assert_eq!(
        (&old["state"], &old["reason"]),
        (&json!("cancelled"), &json!("the file has changed"))
    );
    let new = all.iter().find(|other| other["id"] != upload["id"]).unwrap();
    stage.arrived(id(new), &other).await;
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_is_not_completed() {
    let stage = Stage::set(1 << 20).await;
    let (child, upload) = stage.stalled().await;
    let mut changed = stage.content.clone();
    changed[SIZE - 1] ^= 1;
    stage.change(&changed, Some(SystemTime::now() + Duration::from_secs(5)));
    stage.gate.open();
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("changed while it was uploaded"), "{}", error(&output));
    let shown = stage.server.upload(id(&upload)).shown().await;
    assert_eq!(shown["state"], "uploading");
    assert!(stage.backend.calls().is_empty());
}

/// Bytes of another program, of which nothing is known here.
#[tokio::test]
async fn what_others_have_sent_is_compared() {
    let stage = Stage::set(1 << 40).await;
    let url =
        |upload: &crate::server::Upload<'_>| format!("http://{}{}", stage.gate.address, upload.url);
    let ours = stage.server.ticket(&stage.backend).await;
    ours.put(70_000, &stage.content[70_000..200_000], SIZE as u64).await.expect(200);
    let theirs = stage.server.ticket(&stage.backend).await;
    theirs.put(0, &content(5, 100_000), SIZE as u64).await.expect(200);
    let mut go = command(stage.home.path());
    go.args(["upload", "film.mp4", "--url", &url(&ours)]).stdout(Stdio::piped());
    let output = finished(go).await;
    assert!(output.status.success(), "{}", error(&output));
    stage.arrived(&ours.id, &stage.content).await;
    let mut go = command(stage.home.path());
    go.args(["upload", "film.mp4", "--url", &url(&theirs)]).stdout(Stdio::piped());
    let output = finished(go).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("the server has other bytes"), "{}", error(&output));
    assert_eq!(theirs.received().await, json!([[0, 100_000]]));
}

#[tokio::test]
async fn cancels_what_is_remembered() {
    let stage = Stage::set(1 << 20).await;
    let cancel = || {
        let mut cancel = command(stage.home.path());
        cancel.args(["upload", "--cancel", "film.mp4"]).args(stage.places());
        cancel.stdout(Stdio::piped());
        cancel
    };
    let output = finished(cancel()).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("no unfinished upload of it to the same server"), "{output:?}");
    let upload = stage.killed().await;
    stage.gate.open();
    let output = finished(cancel()).await;
    assert!(output.status.success(), "{}", error(&output));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "film.mp4: cancelled\n");
    stage.server.upload(id(&upload)).reaches("cancelled").await;
    assert_eq!(stage.remembered(), 0);
}

#[tokio::test]
async fn a_folder_arrives_whole_with_its_places() {
    let stage = Stage::set(1 << 40).await;
    let home = stage.home.path();
    std::fs::create_dir_all(home.join("photos/2026")).unwrap();
    for (name, text) in
        [("photos/a.jpg", "one"), ("photos/2026/a.jpg", "two"), ("photos/empty", "")]
    {
        std::fs::write(home.join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("a.jpg", home.join("photos/link")).unwrap();
    let mut go = command(home);
    go.args(["upload", "photos", "film.mp4", "absent", "--json"]).args(stage.places());
    go.stdout(Stdio::piped());
    let output = finished(go).await;
    assert_eq!(output.status.code(), Some(1), "one of them is not there");
    assert!(error(&output).contains("absent: No such file"), "{}", error(&output));
    let calls = stage.backend.calls();
    let mut found: Vec<_> = calls
        .iter()
        .map(|call| ["metadata", "filenameFromBrowser", "length"].map(|field| call.field(field)))
        .collect();
    found.sort_unstable();
    let size = SIZE.to_string();
    let expected = [
        ["", "film.mp4", &size],
        ["photos/2026/a.jpg", "a.jpg", "3"],
        ["photos/a.jpg", "a.jpg", "3"],
        ["photos/empty", "empty", "0"],
    ];
    assert_eq!(found, expected);
    let summary = events(&output).pop().unwrap();
    for (key, value) in [("files", 5), ("finished", 4), ("failed", 1), ("skipped", 1)] {
        assert_eq!(summary[key], value, "{summary}");
    }
}

#[tokio::test]
async fn speaks_http2_over_tls_and_trusts_whom_it_is_told_to() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.issue(folder.path(), "server");
    authority.write(&folder.path().join("ca.pem"));
    let tls = files(folder.path());
    let server = Running::start_with(|settings| certify(settings, tls)).await;
    let backend = Backend::start().await;
    let content = content(33, 700_001);
    std::fs::write(folder.path().join("film.mp4"), &content).unwrap();
    let Place::Tcp(address) = &server.public else { panic!("not on TCP") };
    let go = async |flags: &str, upload: &str| {
        let mut go = command(folder.path());
        let url = format!("https://{address}{upload}");
        go.args(["upload", "film.mp4", "--json", "--chunk-size", "100KB", "--url", &url]);
        go.args(flags.split_whitespace()).stdout(Stdio::piped());
        finished(go).await
    };
    for flags in ["--http2 --ca ca.pem", "--ca ca.pem", "--http2 --insecure"] {
        let upload = server.ticket(&backend).await;
        let output = go(flags, &upload.url).await;
        assert!(output.status.success(), "{flags}: {}", error(&output));
        let calls = backend.calls_for(&upload.id, 1).await;
        assert_eq!(calls[0].sha256.as_deref(), Some(&*sha256(&content)), "{flags}");
    }
    let upload = server.lonely_ticket().await;
    Authority::new().write(&folder.path().join("other.pem"));
    let output = go("--http2 --ca other.pem", &upload.url).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("has an untrusted certificate"), "{}", error(&output));
    let missing = go("--ca absent.pem", &upload.url).await;
    assert_eq!(missing.status.code(), Some(2), "{}", error(&missing));
    assert!(error(&missing).contains("--ca absent.pem"), "{}", error(&missing));
}
