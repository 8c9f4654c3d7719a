//! The program itself as a child process: for what only a process can show, above all being killed.

use crate::client::Place;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// A running `incoming serve`. Killed when dropped.
pub struct Program {
    child: Child,
    log: Arc<Mutex<Vec<u8>>>,
    pub public: Place,
    pub backend: Place,
}

impl Program {
    /// Starts it with its storage in `directory/data` and these flags besides those every test
    /// needs.
    pub fn start(directory: &Path, flags: &[&str]) -> Self {
        let own = flags.contains(&"--backend-listen");
        let mut command = command(directory);
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(if own { &[][..] } else { &["--backend-listen", "127.0.0.2:0"] })
            .args(["--min-free-space", "0", "--log-format", "json", "--storage-dir", "data"])
            .args(flags);
        Self::listening(command)
    }

    /// Runs a command that ends in an `incoming serve` which logs JSON, and waits until it listens.
    pub fn listening(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (tell, told) = mpsc::channel();
        // Reads on to the end, so that the program never waits for its log.
        let log: Arc<Mutex<Vec<u8>>> = Arc::default();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                kept.lock().unwrap().extend(format!("{line}\n").bytes());
                let _ = tell.send(line);
            }
        });
        let (mut public, mut backend, mut seen) = (None, None, String::new());
        while public.is_none() || backend.is_none() {
            let line = told.recv_timeout(crate::DEADLINE);
            let Ok(line) = line else { panic!("the program does not listen:\n{seen}") };
            seen += &format!("{line}\n");
            let Ok(entry) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            if entry["message"] == "listening" {
                let address = entry["address"].as_str().unwrap();
                let place = match address.strip_prefix("unix:") {
                    Some(path) => Place::Unix(path.into()),
                    None => Place::Tcp(address.parse().unwrap()),
                };
                match entry["surface"].as_str().unwrap() {
                    "Public" => public = Some(place),
                    _ => backend = Some(place),
                }
            }
        }
        Self { child, log, public: public.unwrap(), backend: backend.unwrap() }
    }

    /// Starts a command that ends in an `incoming serve` of which nobody hears.
    pub fn silent(mut command: Command, public: Place, backend: Place) -> Self {
        Self { child: command.spawn().unwrap(), log: Arc::default(), public, backend }
    }

    /// Starts it on unix sockets in `directory`, with these variables, logging all as text, which is kept.
    pub async fn start_logging(directory: &Path, variables: &[(&str, &str)]) -> Self {
        let mut child = command(directory)
            .envs(variables.iter().copied())
            .args(["serve", "--listen", "unix:public", "--backend-listen", "unix:backend"])
            .args(["--min-free-space", "0", "--storage-dir", "data", "--log", "trace"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log: Arc<Mutex<Vec<u8>>> = Arc::default();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut bytes) {
                kept.lock().unwrap().extend(&bytes[..count]);
            }
        });
        let [public, backend] = ["public", "backend"].map(|name| directory.join(name));
        for path in [&public, &backend] {
            crate::until("a socket", async || path.exists().then_some(())).await;
        }
        Self { child, log, public: Place::Unix(public), backend: Place::Unix(backend) }
    }

    /// Starts `incoming demo` with these flags; its plain http port is the public place. What it says at its start is
    /// the log.
    pub fn start_demo(directory: &Path, flags: &[&str]) -> Self {
        let mut child = command(directory)
            .args(["demo", "--https-port", "0", "--http-port", "0", "--backend-port", "0"])
            .args(["--dir", "demo"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(directory.join("demo.log")).unwrap())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        for line in stdout.map_while(Result::ok) {
            said += &format!("{line}\n");
            if line.contains("Ctrl-C ends it") {
                break;
            }
        }
        let rest = said.split_once("http://localhost:").expect("the demo names its port").1;
        let port: u16 = rest.split('/').next().unwrap().parse().unwrap();
        let place = Place::Tcp(([127, 0, 0, 1], port).into());
        let log = Arc::new(Mutex::new(said.into_bytes()));
        Self { child, log, public: place.clone(), backend: place }
    }

    /// What it has logged so far, where it is kept.
    pub fn log(&self) -> String {
        String::from_utf8(self.log.lock().unwrap().clone()).unwrap()
    }

    /// The most memory that it has had, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many of its threads have names that begin so; the system cuts names to 15 characters.
    pub fn threads(&self, name: &str) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let names = tasks.filter_map(|task| {
            // One may end meanwhile.
            std::fs::read_to_string(task.unwrap().path().join("comm")).ok()
        });
        names.filter(|found| found.starts_with(name)).count()
    }

    /// SIGKILL: no last words.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn id(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.id(), signal).unwrap();
    }

    /// The exit code, once it has ended.
    pub async fn exit_code(&mut self) -> Option<i32> {
        crate::until("the program's end", async || self.child.try_wait().unwrap()).await.code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program to its end, which must come soon.
pub fn run(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = command(directory);
    command.args(arguments).envs(variables.iter().copied()).stdout(Stdio::piped());
    ended(command)
}

/// Runs a command to its end, which must come soon.
pub fn ended(mut command: Command) -> Output {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // Read meanwhile: a pipe holds 64 KiB, and who fills it waits.
    let stdout = child.stdout.take().map(to_end);
    let stderr = child.stderr.take().map(to_end);
    let began = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > crate::DEADLINE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the program did not end: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let read =
        |pipe: Option<JoinHandle<Vec<u8>>>| pipe.map_or_else(Vec::new, |pipe| pipe.join().unwrap());
    Output { status, stdout: read(stdout), stderr: read(stderr) }
}

fn to_end(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// The program, not started yet; what it remembers lies in `directory/state`.
pub fn command(directory: &Path) -> Command {
    of_program(env!("CARGO_BIN_EXE_incoming"), directory)
}

/// A command that knows nothing of the tester's own settings.
pub fn of_program(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).stdin(Stdio::null());
    command.env("XDG_STATE_HOME", directory.join("state"));
    // The tester's own settings are no business of a test.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("INCOMING_") {
            command.env_remove(name);
        }
    }
    command
}
