//! Started by a service manager: sockets that it passes and that outlive the server, and what it is told.

use crate::child::{Program, ended, of_program};
use crate::client::{Ask, Conn, Place};
use crate::server::Running;
use crate::until;
use rustix::process::Signal;
use serde_json::json;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::tempdir;

const FLAGS: &str = "serve --listen 127.0.0.1:0 --backend-listen 127.0.0.2:0 --min-free-space 0 \
                     --log-format json --storage-dir data";

/// A server to which these sockets are passed as descriptors 3 and 4. The shell between becomes the
/// server, so its own number is the one in `LISTEN_PID`.
fn passed(directory: &Path, names: &str, first: OwnedFd, second: OwnedFd) -> Command {
    let mut command = of_program("sh", directory);
    let script = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS=2; \
                  export LISTEN_PID LISTEN_FDS; exec \"$@\"";
    command
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_incoming")])
        .args(FLAGS.split_whitespace())
        .env("LISTEN_FDNAMES", names)
        .stdin(first)
        .stdout(second);
    command
}

#[tokio::test]
async fn the_sockets_outlive_the_server() {
    let directory = Arc::new(tempdir().unwrap());
    let public = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = directory.path().join("backend.sock");
    let backend = UnixListener::bind(&path).unwrap();
    let start = || {
        let (public, backend) = (public.try_clone().unwrap(), backend.try_clone().unwrap());
        let command = passed(directory.path(), "backend:public", backend.into(), public.into());
        Program::listening(command)
    };
    let mut program = start();
    let place = Place::Tcp(public.local_addr().unwrap());
    assert_eq!((&program.public, &program.backend), (&place, &Place::Unix(path.clone())));
    assert!(program.log().contains("inherited socket overrides the setting"), "{}", program.log());
    let server = Running::of(&program, &directory);
    let id = {
        let upload = server.lonely_ticket().await;
        upload.put(0, b"01234", 10).await.expect(200);
        upload.id.clone()
    };
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code().await, Some(0));
    assert!(path.exists(), "the file belongs to whoever bound the socket");
    // Nobody runs, and nobody is refused: what is sent now waits for the next one.
    let mut conn = Conn::try_open(&place).await.unwrap();
    let upload = server.upload(&id);
    let rest = upload.chunk(5, b"56789", Some(10));
    conn.send(&rest.head()).await.unwrap();
    conn.send(b"56789").await.unwrap();
    let _program = start();
    let status = conn.reply("PUT").await.unwrap().expect(200).json();
    assert_eq!(status["received"], json!([[0, 10]]));
}

#[tokio::test]
async fn sockets_for_another_process_are_left_alone() {
    let directory = Arc::new(tempdir().unwrap());
    let mut command = of_program(env!("CARGO_BIN_EXE_incoming"), directory.path());
    command.args(FLAGS.split_whitespace()).envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "2")]);
    let program = Program::listening(command);
    Running::of(&program, &directory).lonely_ticket().await;
}

#[test]
fn what_cannot_serve_is_named() {
    let directory = tempdir().unwrap();
    let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let open = || OwnedFd::from(TcpListener::bind("0.0.0.0:0").unwrap());
    let udp = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let connected = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        OwnedFd::from(std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap())
    };
    let check = |names: &str, first: OwnedFd, second: OwnedFd, part: &str| {
        let output = ended(passed(directory.path(), names, first, second));
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(line.contains(part) && line.lines().count() == 1, "{line}");
    };
    check(
        "public:backend",
        tcp(),
        udp,
        "descriptor 4 \"backend\": must be a listening TCP or unix stream",
    );
    check(
        "",
        connected(),
        tcp(),
        "descriptor 3 \"\": must be a listening TCP or unix stream socket",
    );
    check("public:metrics", tcp(), tcp(), "unexpected passed socket \"metrics\"");
    check("public:backend", tcp(), open(), "other machines can reach the backend API there");
}

/// The same through systemd's own program, which waits for the first connection and then becomes the server.
#[tokio::test]
async fn systemd_passes_sockets() {
    const ACTIVATE: &str = "systemd-socket-activate";
    if Command::new(ACTIVATE).arg("--version").stdout(Stdio::null()).status().is_err() {
        return eprintln!("skipped: {ACTIVATE} is not here (Debian package systemd)");
    }
    let directory = Arc::new(tempdir().unwrap());
    let [public, backend] = ["public", "backend"].map(|name| directory.path().join(name));
    let mut command = of_program(ACTIVATE, directory.path());
    command
        .args(["--fdname", "backend:public", "--listen", backend.to_str().unwrap()])
        .args(["--listen", public.to_str().unwrap(), env!("CARGO_BIN_EXE_incoming")])
        .args(FLAGS.split_whitespace());
    let place = Place::Unix(public.clone());
    let asked = async {
        // The first one starts the server and is answered by it.
        let mut conn =
            until("the socket is there", async || Conn::try_open(&place).await.ok()).await;
        conn.send(&Ask::new("GET", "/incoming/frontend/incoming.js").head()).await.unwrap();
        conn.reply("GET").await.unwrap().expect(200);
    };
    let started = tokio::task::spawn_blocking(|| Program::listening(command));
    let (program, ()) = tokio::join!(started, asked);
    let program = program.unwrap();
    let server = Running::of(&program, &directory);
    assert_eq!((&server.public, &server.backend), (&Place::Unix(public), &Place::Unix(backend)));
    server.lonely_ticket().await.put_whole(b"whole").await.expect(200);
}

#[tokio::test]
async fn the_service_manager_is_told() {
    let directory = Arc::new(tempdir().unwrap());
    let manager = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(crate::DEADLINE)).unwrap();
    let told = || {
        let mut bytes = [0; 1024];
        let count = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    };
    // Signs of life come between.
    let next = || loop {
        match told() {
            sign if sign == "WATCHDOG=1" => {}
            other => return other,
        }
    };
    let mut command = of_program(env!("CARGO_BIN_EXE_incoming"), directory.path());
    command
        .args(FLAGS.split_whitespace())
        .env("NOTIFY_SOCKET", directory.path().join("notify"))
        .env("WATCHDOG_USEC", "100000");
    let mut program = Program::listening(command);
    let ready = next();
    let Place::Tcp(public) = program.public else { panic!() };
    assert!(ready.starts_with(&format!("READY=1\nSTATUS=serving uploads on {public}")), "{ready}");
    while told() != "WATCHDOG=1" {}
    program.signal(Signal::HUP);
    let reloading = next();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(next(), ready);
    program.signal(Signal::TERM);
    let stopping = next();
    assert!(stopping.starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC="), "{stopping}");
    assert_eq!(program.exit_code().await, Some(0));
}

/// What an image without curl asks.
#[tokio::test]
async fn a_health_check_without_curl() {
    let server = Running::start().await;
    let Place::Tcp(backend) = server.backend else { panic!() };
    let directory = tempdir().unwrap();
    let asked = async |flags: &'static [&'static str], listener: String| {
        let mut command = of_program(env!("CARGO_BIN_EXE_incoming"), directory.path());
        command.arg("health").args(flags).env("INCOMING_BACKEND_LISTEN", listener);
        command.stdout(Stdio::piped());
        let output = tokio::task::spawn_blocking(|| ended(command)).await.unwrap();
        let text = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
        (output.status.code(), text.concat())
    };
    assert_eq!(asked(&[], backend.to_string()).await, (Some(0), "ok\n".into()));
    assert_eq!(asked(&["--ready"], backend.to_string()).await, (Some(0), "ready\n".into()));
    std::fs::rename(server.storage(), server.directory.path().join("away")).unwrap();
    let (code, said) = asked(&["--ready"], backend.to_string()).await;
    assert!(code == Some(1) && said.contains("503"), "{code:?} {said}");
    let gone = format!("unix:{}", directory.path().join("nobody").display());
    let (code, said) = asked(&[], gone).await;
    assert!(code == Some(1) && said.contains("cannot connect"), "{code:?} {said}");
}
