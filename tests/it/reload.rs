//! A hang-up signal: what can change in a running server changes, all of it or nothing.

use crate::child::{Program, of_program};
use crate::client::Ask;
use crate::server::Running;
use rustix::process::Signal;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use tempfile::{TempDir, tempdir};

const FLAGS: &str = "serve --listen 127.0.0.1:0 --backend-listen 127.0.0.2:0 --storage-dir data \
                     --log-format json --config incoming.toml --max-uploads 50";

/// A server with a file of settings, and the service manager that sees when a reload is over.
struct House {
    directory: Arc<TempDir>,
    manager: UnixDatagram,
    program: Program,
}

impl House {
    fn open(settings: &str) -> Self {
        let directory = Arc::new(tempdir().unwrap());
        fs::write(directory.path().join("incoming.toml"), settings).unwrap();
        let manager = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        manager.set_read_timeout(Some(crate::DEADLINE)).unwrap();
        let mut command = of_program(env!("CARGO_BIN_EXE_incoming"), directory.path());
        command
            .args(FLAGS.split_whitespace())
            .env("NOTIFY_SOCKET", directory.path().join("notify"));
        let program = Program::listening(command);
        let house = Self { directory, manager, program };
        assert!(house.told().starts_with("READY=1"));
        house
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

    async fn log_has(&self, part: &str) {
        crate::until(part, async || self.program.log().contains(part).then_some(())).await;
    }
}

#[tokio::test]
async fn settings_change_together_or_not_at_all() {
    let house =
        House::open("chunk_size = '1MiB'\nmin_free_space = 0\nworkers = 1\nmax_idle = '1h'\n");
    let server = Running::of(&house.program, &house.directory);
    let upload = server.lonely_ticket().await;
    assert_eq!(upload.status().await["chunk_size"], 1 << 20);
    // The reserve is larger than any disk; flags stand over the file, also now.
    let fresh = "chunk_size = '2MiB'\nmin_free_space = '1000PiB'\nworkers = 2\nmax_idle = '1h'\n\
                 max_uploads = 1\nlog = 'debug'\n";
    let said = house.reload(fresh);
    assert!(said.starts_with("READY=1") && !said.contains("not reloaded"), "{said}");
    assert_eq!(upload.status().await["chunk_size"], 2 << 20);
    upload.put(0, b"01234", 10).await.problem(507, "no-space", 15);
    house.log_has("\"changed\":\"chunk_size, min_free_space, log\"").await;
    house.log_has("\"settings\":\"workers\"").await;
    // Of requests nothing is said above debug.
    house.log_has("\"message\":\"request\"").await;
    // One wrong value, and the good ones beside it are not taken either.
    let said = house.reload("chunk_size = '3MiB'\nmin_free_space = 0\nsend_ahead = 0\n");
    assert!(said.starts_with("READY=1") && said.contains("not reloaded: send_ahead = 0"), "{said}");
    house.log_has("settings not reloaded, the old ones stay").await;
    assert_eq!(upload.status().await["chunk_size"], 2 << 20);
    upload.put(0, b"01234", 10).await.problem(507, "no-space", 15);
    let said = house
        .reload("min_free_space = 0\nbackend_token = 'geheim'\ncors_origins = ['https://a']\n");
    assert!(!said.contains("not reloaded"), "{said}");
    upload.put(0, b"01234", 10).await.expect(200);
    let ask = Ask::new("GET", "/incoming/backend/uploads");
    server.back(&ask).await.expect(401);
    server.back(&ask.header("Authorization", "Bearer geheim")).await.expect(200);
    let other = Ask::new("GET", &upload.url).header("Origin", "https://b");
    let reply = server.front(&other).await.expect(200);
    assert_eq!(reply.header("access-control-allow-origin"), None);
    assert!(!house.program.log().contains("geheim"), "a secret in the log");
}

#[tokio::test]
async fn uploads_expire_by_the_new_time() {
    let house = House::open("max_idle = '12h'\nretain_finished = '12h'\nmin_free_space = 0\n");
    let server = Running::of(&house.program, &house.directory);
    let upload = server.lonely_ticket().await;
    upload.put(0, b"01234", 10).await.expect(200);
    house.reload("max_idle = '1s'\nretain_finished = '12h'\nmin_free_space = 0\n");
    upload.reaches("cancelled").await;
}

/// A settings file that hangs (here a pipe that nobody writes to, elsewhere a dead network disk).
#[tokio::test]
async fn a_reload_that_hangs_does_not_keep_the_server_from_stopping() {
    let mut house = House::open("min_free_space = 0\n");
    let file = house.directory.path().join("incoming.toml");
    fs::remove_file(&file).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    house.program.signal(Signal::HUP);
    assert!(house.told().starts_with("RELOADING=1"));
    house.program.signal(Signal::TERM);
    assert_eq!(house.program.exit_code().await, Some(0));
}
