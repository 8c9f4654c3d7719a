//! Protects the service from what the machine refuses: a log that nobody reads, files that may not grow, a storage
//! directory that cannot do the last step, one that another server still holds.

use crate::child::{Program, command, ended};
use crate::client::{Ask, Conn, Place};
use crate::content::content;
use crate::server::Running;
use crate::until;
use rustix::process::Signal;
use serde_json::json;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

/// A pipe that takes no byte more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

/// A server on unix sockets whose standard error is a pipe that is full.
async fn unread(directory: &Arc<TempDir>) -> (Program, Running, PipeReader) {
    let (reader, writer) = full_pipe();
    let mut command = command(directory.path());
    command
        .args(["serve", "--listen", "unix:public", "--backend-listen", "unix:backend"])
        .args(["--min-free-space", "0", "--storage-dir", "data", "--log", "debug"])
        .stderr(writer);
    let [public, backend] = ["public", "backend"].map(|name| directory.path().join(name));
    let program =
        Program::silent(command, Place::Unix(public.clone()), Place::Unix(backend.clone()));
    for path in [public, backend] {
        until("a socket", async || path.exists().then_some(())).await;
    }
    let server = Running::of(&program, directory);
    (program, server, reader)
}

/// Sends requests until log lines have been dropped.
async fn fill_the_log(server: &Running) {
    let long = format!("/{}", "x".repeat(2000));
    let mut conn = Conn::open(&server.public).await;
    until("dropped lines", async || {
        for _ in 0..500 {
            conn.ask(&Ask::new("GET", &long)).await.unwrap();
        }
        let text = server.back(&Ask::new("GET", "/metrics")).await.expect(200).text();
        let line = text.lines().find(|line| line.starts_with("incoming_log_lines_dropped_total "));
        line.is_some_and(|line| !line.ends_with(" 0")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn issue_13_a_log_that_nobody_reads_holds_up_nothing() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let (mut program, server, _reader) = unread(&directory).await;
    fill_the_log(&server).await;
    for number in 0..20 {
        let upload = server.lonely_ticket().await;
        upload.put_whole(&content(number, 1000)).await.expect(200);
    }
    let health = |path: &str, json: bool| {
        let accept = if json { "application/json" } else { "text/plain" };
        Ask::new("GET", path).header("Accept", accept)
    };
    for (path, word) in [("/healthz", "ok"), ("/readyz", "ready")] {
        let told = server.back(&health(path, false)).await.expect(200).text();
        assert!(told.starts_with(&format!("{word}\nnote: standard error is not read")), "{told}");
        let told = server.back(&health(path, true)).await.expect(200).json();
        assert_eq!(told[word], true);
        assert!(told["notes"][0].as_str().unwrap().contains("dropped"), "{told}");
    }
    let stalled = server.lonely_ticket().await;
    let _conn = stalled.stalled(0, b"0123456789", 5, 10).await;
    stalled.in_flight(1).await;
    program.signal(Signal::TERM);
    until("the listener is closed", async || {
        Conn::try_open(&server.public).await.is_err().then_some(())
    })
    .await;
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code().await, Some(130));
}

#[tokio::test]
async fn issue_13_dropped_log_lines_are_told_of_once_somebody_reads() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let (mut program, server, mut reader) = unread(&directory).await;
    fill_the_log(&server).await;
    let log = std::thread::spawn(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).unwrap();
        log
    });
    until("healthy without a note", async || {
        let told = server.back(&Ask::new("GET", "/healthz")).await.expect(200).text();
        (told == "ok\n").then_some(())
    })
    .await;
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code().await, Some(0));
    let log = tokio::task::spawn_blocking(|| log.join().unwrap()).await.unwrap();
    assert!(log.contains("log lines dropped: standard error was blocked"));
    assert!(log.trim_end().ends_with("stopped"), "the end of the log");
}

/// A stop in time though nobody reads the last lines.
#[tokio::test]
async fn issue_13_a_stop_waits_for_no_reader_of_the_log() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let (mut program, _server, _reader) = unread(&directory).await;
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code().await, Some(0));
}

/// Starts the program with files of this size at most.
fn limited(directory: &Path, bytes: u64) -> Program {
    let mut limited = crate::child::of_program("prlimit", directory);
    limited
        .arg(format!("--fsize={bytes}"))
        .arg(env!("CARGO_BIN_EXE_incoming"))
        .args(["serve", "--listen", "127.0.0.1:0", "--backend-listen", "127.0.0.2:0"])
        .args(["--min-free-space", "0", "--log-format", "json", "--storage-dir", "data"]);
    Program::listening(limited)
}

#[tokio::test]
async fn issue_13_a_limit_of_file_sizes_is_no_end() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let program = limited(directory.path(), 16 << 10);
    let server = Running::of(&program, &directory);
    let upload = server.lonely_ticket().await;
    let file = content(90, 20_000);
    upload.put(0, &file[..10_000], 20_000).await.expect(200);
    upload.put(10_000, &file[10_000..], 20_000).await.problem(413, "too-large", 11);
    assert_eq!(upload.received().await, json!([[0, 10_000]]));
    // A journal that reaches the limit refuses, and is whole.
    let many = server.lonely_ticket().await;
    let mut known = 0;
    for at in 0..600 {
        let reply = many.put(2 * at, b"x", 100_000).await;
        match reply.status {
            200 => known = at + 1,
            507 => break,
            other => panic!("{other}: {}", reply.text()),
        }
    }
    assert!(known > 50, "{known}");
    server.back(&Ask::new("GET", "/healthz")).await.expect(200);
    server.lonely_ticket().await.put_whole(b"another one").await.expect(200);
    let id = many.id.clone();
    drop(program);
    let program = Program::start(directory.path(), &[]);
    let server = Running::of(&program, &directory);
    let ranges = server.upload(&id).received().await;
    assert_eq!(u64::try_from(ranges.as_array().unwrap().len()).unwrap(), known);
}

#[tokio::test]
async fn issue_13_a_start_waits_for_a_server_that_is_leaving() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let mut first = Program::start(directory.path(), &[]);
    let id = Running::of(&first, &directory).lonely_ticket().await.id.clone();
    let home = Arc::clone(&directory);
    let second = std::thread::spawn(move || Program::start(home.path(), &["--lock-wait", "1m"]));
    // Whichever comes first: it waits for the one that is told to leave.
    first.signal(Signal::TERM);
    assert_eq!(first.exit_code().await, Some(0));
    let second = tokio::task::spawn_blocking(|| second.join().unwrap()).await.unwrap();
    Running::of(&second, &directory).upload(&id).status().await;
    // One that waits is told to stop.
    let mut waiting = command(directory.path());
    waiting
        .args(["serve", "--listen", "127.0.0.1:0", "--backend-listen", "127.0.0.2:0"])
        .args(["--storage-dir", "data", "--lock-wait", "1h"])
        .stderr(Stdio::piped());
    let mut waiting = waiting.spawn().unwrap();
    let mut stderr = std::io::BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    assert!(line.contains("waiting for another server") && line.contains("process"), "{line}");
    rustix::process::kill_process(rustix::process::Pid::from_child(&waiting), Signal::TERM)
        .unwrap();
    let code = until("the end", async || waiting.try_wait().unwrap()).await.code();
    assert_eq!(code, Some(0));
}

/// A command as a user whom a limit of processes binds, as it does not bind root.
fn bound(directory: &Path, program: &str) -> Command {
    if !rustix::process::geteuid().is_root() {
        return crate::child::of_program(program, directory);
    }
    let mut command = crate::child::of_program("setpriv", directory);
    command.args(["--reuid", OTHER, "--regid", OTHER, "--clear-groups", program]);
    command
}

/// A user who runs nothing else.
const OTHER: &str = "54013";

#[tokio::test]
async fn issue_13_a_limit_of_processes_slows_down_and_breaks_nothing() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let own = env!("CARGO_BIN_EXE_incoming");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(directory.path(), OTHER.parse().ok(), None).unwrap();
    }
    if !bound(directory.path(), own).arg("--version").status().is_ok_and(|status| status.success())
    {
        eprintln!("skipped: another user does not reach the program");
        return;
    }
    let mut command = bound(directory.path(), own);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--backend-listen", "127.0.0.2:0"])
        .args(["--min-free-space", "0", "--log-format", "json", "--storage-dir", "data"])
        .args(["--workers", "2"]);
    let program = Program::listening(command);
    let server = Running::of(&program, &directory);
    let process = program.id().as_raw_nonzero().to_string();
    let limit = |most: u64| {
        let mut command = bound(directory.path(), "prlimit");
        let status = command.args(["--pid", &process, &format!("--nproc={most}:")]).status();
        assert!(status.unwrap().success());
    };
    server.back(&Ask::new("GET", "/readyz")).await.expect(200);
    limit(1);
    // What was found holds for some seconds.
    let ready = async |status| {
        let reply = server.back(&Ask::new("GET", "/readyz")).await;
        (reply.status == status).then(|| reply.text())
    };
    let told = until("no thread", async || ready(503).await).await;
    assert!(told.contains("cannot start a thread") && told.contains("TasksMax"), "{told}");
    for round in 0..4 {
        let upload = server.lonely_ticket().await;
        let file = content(round, 80_000);
        let chunk = |at: usize| upload.put(at as u64, &file[at..at + 10_000], 80_000);
        let all = tokio::join!(
            chunk(0),
            chunk(10_000),
            chunk(20_000),
            chunk(30_000),
            chunk(40_000),
            chunk(50_000),
            chunk(60_000),
        );
        for reply in [all.0, all.1, all.2, all.3, all.4, all.5, all.6] {
            reply.expect(200);
        }
        chunk(70_000).await.expect(200);
        assert_eq!(std::fs::read(upload.file()).unwrap(), file);
    }
    server.back(&Ask::new("GET", "/healthz")).await.expect(200);
    limit(1000);
    until("threads", async || ready(200).await).await;
    assert!(!program.log().contains("panicked"), "{}", program.log());
}

/// As a snapshot or a migration of the machine does. What it waits for is the stopped time itself.
#[tokio::test]
async fn issue_13_bytes_that_came_while_the_process_was_stopped_count() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let program = Program::start(directory.path(), &["--body-timeout", "1s"]);
    let server = Running::of(&program, &directory);
    let file = content(91, 100_000);
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let upload = server.lonely_ticket().await;
        stalled.push((upload.stalled(0, &file, 40_000, 100_000).await, upload));
    }
    stalled[0].1.in_flight(8).await;
    program.signal(Signal::STOP);
    for (number, (conn, _)) in stalled.iter_mut().enumerate() {
        // Some of it comes when the process goes on.
        let end = if number % 2 == 0 { 100_000 } else { 70_000 };
        conn.send(&file[40_000..end]).await.unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    program.signal(Signal::CONT);
    for (number, (conn, upload)) in stalled.iter_mut().enumerate() {
        if number % 2 == 1 {
            conn.send(&file[70_000..]).await.unwrap();
        }
        conn.reply("PUT").await.unwrap().expect(200);
        assert_eq!(upload.received().await, json!([[0, 100_000]]));
    }
    // One that really stands still is found.
    let upload = server.lonely_ticket().await;
    let mut conn = upload.stalled(0, &file, 40_000, 100_000).await;
    conn.reply("PUT").await.unwrap().expect(408);
}

/// What a start on `directory/data` says.
fn refused(mut command: Command) -> String {
    let output = ended({
        command.stdout(Stdio::null());
        command
    });
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    told
}

#[tokio::test]
async fn issue_13_an_empty_mount_point_is_no_storage_directory() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let serve = |program: &str| {
        let mut command = command(directory.path());
        command.args([program, "--listen", "127.0.0.1:0", "--backend-listen", "127.0.0.2:0"]);
        command.args(["--storage-dir", "data", "--storage-must-exist"]);
        command
    };
    let absent = refused(serve("serve"));
    assert!(absent.contains("storage_must_exist") && absent.contains("does not exist"), "{absent}");
    assert!(!directory.path().join("data").exists());
    std::fs::create_dir(directory.path().join("data")).unwrap();
    for program in ["serve", "check-config"] {
        let empty = refused(serve(program));
        assert!(empty.contains("incoming-storage") && empty.contains("mount"), "{empty}");
    }
    drop(Program::start(directory.path(), &[]));
    assert!(directory.path().join("data/incoming-storage").exists());
    drop(Program::start(directory.path(), &["--storage-must-exist"]));
    // A version that put no marker there has left journals.
    let program = Program::start(directory.path(), &[]);
    Running::of(&program, &directory).lonely_ticket().await;
    drop(program);
    std::fs::remove_file(directory.path().join("data/incoming-storage")).unwrap();
    drop(Program::start(directory.path(), &["--storage-must-exist"]));
    assert!(directory.path().join("data/incoming-storage").exists());
}

/// Needs the right to mount; without it there is nothing to see.
#[test]
fn issue_13_finished_files_on_another_mount_are_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("data/files")).unwrap();
    let script = "mount -t tmpfs none data/files || exit 77; exec \"$@\"";
    let mut own = crate::child::of_program("unshare", directory.path());
    own.args(["--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_incoming"), "serve"]);
    own.args([
        "--listen",
        "127.0.0.1:0",
        "--backend-listen",
        "127.0.0.2:0",
        "--storage-dir",
        "data",
    ]);
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let told = refused(own);
    assert!(
        told.contains("storage_dir") && told.contains("another file system or mount"),
        "{told}"
    );
}

/// A command that is traced, with system calls that end as `inject` says; none without strace.
fn injected(directory: &Path, inject: &str) -> Option<Command> {
    let strace = || {
        let mut command = crate::child::of_program("strace", directory);
        // The tracer is the grandchild: what is started is the program itself.
        command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={inject}")]);
        command
    };
    if !strace().arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: no strace, or not allowed to trace");
        return None;
    }
    Some(strace())
}

/// As some network file systems do.
#[test]
fn issue_13_a_step_that_the_storage_refuses_is_named_at_the_start() {
    let check = |inject: &str, said: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("data")).unwrap();
        let Some(mut command) = injected(directory.path(), inject) else { return };
        command.args([env!("CARGO_BIN_EXE_incoming"), "serve", "--listen", "127.0.0.1:0"]);
        command.args(["--backend-listen", "127.0.0.2:0", "--storage-dir", "data"]);
        command.args(["--storage-file-mode", "0640"]);
        let told = refused(command);
        for words in ["storage_dir"].iter().chain(said) {
            assert!(told.contains(words), "{inject}: no {words:?} in {told}");
        }
    };
    check("fchmod:error=EPERM", &["cannot set the mode", "storage_file_mode"]);
    check("rename:error=EXDEV", &["another file system or mount"]);
    check("rename:error=EPERM", &["cannot move a file"]);
    check("fsync:error=EINVAL", &["cannot sync", "Invalid argument"]);
    check("flock:error=ENOLCK", &["cannot lock the directory"]);
}

#[tokio::test]
async fn issue_13_a_file_system_that_counts_no_blocks_is_not_full() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    // Its kind, blocks of 4 KiB, and of them none in all, none free and none to be had.
    let counted = format!("53ef0000000000000010000000000000{}", "0".repeat(48));
    let inject = format!("fstatfs:poke_exit=@arg2={counted}");
    let Some(mut command) = injected(directory.path(), &inject) else { return };
    command.args([env!("CARGO_BIN_EXE_incoming"), "serve", "--listen", "127.0.0.1:0"]).args([
        "--backend-listen",
        "127.0.0.2:0",
        "--log-format",
        "json",
        "--storage-dir",
        "data",
    ]);
    let program = Program::listening(command);
    let server = Running::of(&program, &directory);
    server.back(&Ask::new("GET", "/readyz")).await.expect(200);
    server.lonely_ticket().await.put_whole(&content(92, 100_000)).await.expect(200);
    let metrics = server.back(&Ask::new("GET", "/metrics")).await.expect(200).text();
    assert!(!metrics.contains("incoming_free_bytes "), "{metrics}");
}

/// Standard error of a command is a pipe that nobody reads, or a terminal that was told to wait.
#[tokio::test]
async fn issue_13_a_second_signal_ends_an_upload_that_cannot_write() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), content(93, 1000)).unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = silent.local_addr().unwrap();
    let url =
        format!("http://{place}/incoming/frontend/uploads/0b5a9e5c-4e0c-4f5b-8a55-1f0a7f6a3c11");
    let (_reader, writer) = full_pipe();
    let mut command = command(directory.path());
    command.args(["upload", "file", "--url", &url]).stdout(Stdio::null()).stderr(writer);
    let mut upload = command.spawn().unwrap();
    let _conn = crate::in_time("a connection", silent.accept()).await.unwrap();
    let id = rustix::process::Pid::from_child(&upload);
    rustix::process::kill_process(id, Signal::INT).unwrap();
    // Two that come at once are one.
    let code = until("the end", async || {
        let ended = upload.try_wait().unwrap();
        if ended.is_none() {
            rustix::process::kill_process(id, Signal::INT).unwrap();
        }
        ended
    })
    .await;
    assert_eq!(code.code(), Some(130));
}
