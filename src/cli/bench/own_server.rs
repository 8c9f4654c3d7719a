//! A server of one's own: this program as a process beside the measurement, so that its CPU time is
//! its own, with a folder that goes away with it.

use std::fs::{self, DirBuilder};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;

use super::BenchError;
use crate::cli::terminal;
use crate::client::{Endpoint, Transport};

/// How long it may take to listen.
const START: Duration = Duration::from_secs(15);
/// Lines of its log that are shown when it does not.
const LINES: usize = 20;

/// The process and its folder; both gone when dropped.
pub(super) struct OwnServer {
    child: Child,
    /// Goes after the child.
    _folder: Folder,
    pub(super) public: Endpoint,
    pub(super) backend: Endpoint,
}

/// A folder that is removed with its value.
struct Folder(PathBuf);

impl Folder {
    /// Others have nothing to do with its key and its socket, and it is made anew: none of theirs is used.
    fn make(path: PathBuf) -> Result<Self, BenchError> {
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(BenchError::at(&path))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            let _ = writeln!(
                terminal::stderr(),
                "incoming: cannot remove {}: {error}",
                terminal::path(&self.0)
            );
        }
    }
}

#[derive(Deserialize)]
struct LogLine {
    message: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    surface: String,
}

impl OwnServer {
    /// Starts it. Blocks until it listens.
    pub(super) fn start(
        tls: bool,
        ack: &str,
        dir: &std::path::Path,
        flags: &[String],
    ) -> Result<Self, BenchError> {
        let folder = dir.join(format!("incoming-bench-{}", std::process::id()));
        let folder = Folder::make(folder)?;
        let program = std::env::current_exe().map_err(BenchError::io("cannot start a server"))?;
        let mut command = Command::new(program);
        // The settings of the machine's real server are no business of this one.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("INCOMING_") {
                command.env_remove(name);
            }
        }
        let socket = folder.0.join("backend.sock");
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--ack", ack])
            .args(["--backend-listen", &format!("unix:{}", socket.display())])
            .arg("--storage-dir")
            .arg(folder.0.join("data"));
        if tls {
            let (cert, key) = certificate(&folder)?;
            command.arg("--tls-cert").arg(cert).arg("--tls-key").arg(key);
        }
        command.args(flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(BenchError::io("cannot start a server"))?;
        let listening = public(&mut child);
        let transport = listening.inspect_err(|_| end(&mut child))?;
        Ok(Self {
            child,
            _folder: folder,
            public: Endpoint { tls, transport },
            backend: Endpoint { tls: false, transport: Transport::Unix(socket) },
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Nothing that it holds is worth a clean stop.
fn end(child: &mut Child) {
    // It may have ended already.
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads the log until it says where the public listener is. It is read on to its end elsewhere, so
/// that the server never waits for its log.
fn public(child: &mut Child) -> Result<Transport, BenchError> {
    let stderr = child.stderr.take().ok_or(BenchError::NotListening)?;
    let (tell, told) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let listening = serde_json::from_str::<LogLine>(&line).ok();
            let listening = listening.filter(|line| line.message == "listening");
            if let Some(line) = listening.filter(|line| line.surface == "Public") {
                let _ = tell.try_send(Ok(line.address));
            } else if seen.len() < LINES {
                seen.push(line);
            }
        }
        let _ = tell.try_send(Err(seen.join("\n")));
    });
    let address = match told.recv_timeout(START) {
        Ok(Ok(address)) => address,
        Ok(Err(log)) => return Err(BenchError::NotStarted(log)),
        Err(_) => return Err(BenchError::NotListening),
    };
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let port = port.ok_or(BenchError::NotListening)?;
    Ok(Transport::Tcp { host: "127.0.0.1".into(), port })
}

fn certificate(folder: &Folder) -> Result<(PathBuf, PathBuf), BenchError> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)?;
    let (cert, key) = (folder.0.join("cert.pem"), folder.0.join("key.pem"));
    let write = |path: &PathBuf, text: String| fs::write(path, text).map_err(BenchError::at(path));
    write(&cert, made.cert.pem())?;
    write(&key, made.signing_key.serialize_pem())?;
    Ok((cert, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn issue_13_its_folder_is_private_and_made_anew() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("bench");
        let folder = Folder::make(path.clone()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(Folder::make(path.clone()).is_err(), "there before");
        drop(folder);
        assert!(!path.exists());
        std::os::unix::fs::symlink(home.path(), &path).unwrap();
        assert!(Folder::make(path).is_err(), "a link of somebody's");
    }
}
