//! The server under test, in this process, on ports of the system's choosing; and its uploads as a
//! browser and a backend see them.

use crate::backend::Backend;
use crate::child::Program;
use crate::client::{Ask, Conn, Place, Reply, ask};
use crate::until;
use incoming::app::Server;
use incoming::config::{Address, Settings};
use incoming::wire::Surface;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running server with a storage directory of its own.
pub struct Running {
    pub public: Place,
    pub backend: Place,
    pub directory: Arc<TempDir>,
    settings: Settings,
    stop: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

/// Settings that fit a test: loopback, one worker, no reserve of space.
pub fn settings(directory: &Path) -> Settings {
    Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        // Two equal addresses would mean one shared socket.
        backend_listen: "127.0.0.2:0".parse().unwrap(),
        storage_dir: directory.join("data"),
        min_free_space: 0,
        workers: 1,
        shutdown_grace: Duration::from_secs(5),
        ..Settings::default()
    }
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A server whose settings were changed.
    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let mut settings = settings(directory.path());
        change(&mut settings);
        Self::start_in(directory, settings).await
    }

    /// A server on a directory that may hold something.
    pub async fn start_in(directory: Arc<TempDir>, settings: Settings) -> Self {
        // The predecessor gives up its lock with its last thread.
        let server = until("the storage directory is free", async || {
            match Server::start(settings.clone()) {
                Ok(server) => Some(server),
                Err(error) if error.to_string().contains("another server") => None,
                Err(error) => panic!("{error}"),
            }
        })
        .await;
        let place = |wanted: Surface| {
            let addresses = server.addresses();
            let found =
                addresses.iter().find(|(s, _)| *s == wanted || *s == Surface::Shared).unwrap();
            match &found.1 {
                Address::Tcp(address) => Place::Tcp(*address),
                Address::Unix(path) => Place::Unix(path.clone()),
            }
        };
        let (public, backend) = (place(Surface::Public), place(Surface::Backend));
        let stop = CancellationToken::new();
        let serving = Some(tokio::spawn(server.run(stop.clone(), Vec::new())));
        Self { public, backend, directory, settings, stop, serving }
    }

    /// A server that runs as a process of its own, with its storage in `directory/data`.
    pub fn of(program: &Program, directory: &Arc<TempDir>) -> Self {
        Self {
            public: program.public.clone(),
            backend: program.backend.clone(),
            directory: Arc::clone(directory),
            settings: settings(directory.path()),
            stop: CancellationToken::new(),
            serving: None,
        }
    }

    /// The port of the backend's listener, which is on TCP.
    pub fn backend_port(&self) -> u16 {
        let Place::Tcp(address) = self.backend else { panic!("a unix socket has no port") };
        address.port()
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Asks the server to stop; does not wait.
    pub fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Stops the server and waits for its end.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        crate::in_time("the server's end", self.serving.take().unwrap()).await.unwrap();
    }

    /// Stops it and starts another one on the same directory.
    pub async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    pub async fn restart_with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        self.stop().await;
        let mut settings = self.settings.clone();
        change(&mut settings);
        Self::start_in(Arc::clone(&self.directory), settings).await
    }

    pub fn storage(&self) -> PathBuf {
        self.settings.storage_dir.canonicalize().unwrap()
    }

    pub async fn front(&self, request: &Ask) -> Reply {
        ask(&self.public, request).await
    }

    pub async fn back(&self, request: &Ask) -> Reply {
        ask(&self.backend, request).await
    }

    /// A backend call with its parameters in the query string.
    pub async fn call(&self, name: &str, params: &[(&str, &str)]) -> Reply {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
        self.back(&Ask::new("POST", &format!("/incoming/backend/{name}?{query}"))).await
    }

    /// A fresh ticket for this backend.
    pub async fn ticket(&self, backend: &Backend) -> Upload<'_> {
        self.ticket_with(&backend.url(), &[]).await
    }

    pub async fn ticket_with(&self, url: &str, params: &[(&str, &str)]) -> Upload<'_> {
        let mut all = vec![("signalFinishURL", url)];
        all.extend_from_slice(params);
        let id = self.call("new_upload", &all).await.expect(200).text();
        self.upload(&id)
    }

    /// A ticket whose handover never gets anywhere, for tests that end before it.
    pub async fn lonely_ticket(&self) -> Upload<'_> {
        self.ticket_with("http://127.0.0.1:9/", &[]).await
    }

    /// An upload by its id.
    pub fn upload(&self, id: &str) -> Upload<'_> {
        let url = format!("/incoming/frontend/uploads/{id}");
        Upload { server: self, id: id.to_owned(), url }
    }

    /// The entries of the storage directory whose names begin with `id`, and that of `files/`.
    pub fn traces(&self, id: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (folder, shown) in [(self.storage(), ""), (self.storage().join("files"), "files/")] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if name.starts_with(id) {
                    found.push(format!("{shown}{}", name.replace(id, "ID")));
                }
            }
        }
        found.sort();
        found
    }
}

/// One upload of a server.
pub struct Upload<'a> {
    server: &'a Running,
    pub id: String,
    pub url: String,
}

impl Upload<'_> {
    pub async fn ask(&self, method: &str) -> Reply {
        self.server.front(&Ask::new(method, &self.url)).await
    }

    /// The request for a chunk at `start` of a file of `length`.
    pub fn chunk(&self, start: u64, bytes: &[u8], length: Option<u64>) -> Ask {
        let last = start + bytes.len() as u64 - 1;
        let length = length.map_or_else(|| "*".to_owned(), |length| length.to_string());
        Ask::new("PUT", &self.url)
            .header("Content-Range", &format!("bytes {start}-{last}/{length}"))
            .body(bytes)
    }

    pub async fn put(&self, start: u64, bytes: &[u8], length: u64) -> Reply {
        self.server.front(&self.chunk(start, bytes, Some(length))).await
    }

    /// The whole file in one request.
    pub async fn put_whole(&self, bytes: &[u8]) -> Reply {
        self.server.front(&Ask::new("PUT", &self.url).body(bytes)).await
    }

    pub async fn bind(&self, json: &str) -> Reply {
        let ask = Ask::new("POST", &self.url).header("Content-Type", "application/json");
        self.server.front(&ask.body(json)).await
    }

    pub async fn status(&self) -> serde_json::Value {
        self.ask("GET").await.expect(200).json()
    }

    pub async fn received(&self) -> serde_json::Value {
        self.status().await["received"].clone()
    }

    /// The status, once the upload is in this state.
    pub async fn reaches(&self, state: &str) -> serde_json::Value {
        self.comes_to("state", serde_json::json!(state)).await
    }

    /// The status, once these bytes are acknowledged.
    pub async fn receives(&self, ranges: serde_json::Value) -> serde_json::Value {
        self.comes_to("received", ranges).await
    }

    async fn comes_to(&self, field: &str, value: serde_json::Value) -> serde_json::Value {
        let began = std::time::Instant::now();
        loop {
            let status = self.status().await;
            if status[field] == value {
                return status;
            }
            assert!(began.elapsed() < crate::DEADLINE, "no {field} {value} in {status}");
            tokio::time::sleep(crate::POLL).await;
        }
    }

    /// What the backend sees of it.
    pub async fn shown(&self) -> serde_json::Value {
        let target = format!("/incoming/backend/uploads/{}", self.id);
        self.server.back(&Ask::new("GET", &target)).await.expect(200).json()
    }

    /// A connection on which the head of a chunk and the beginning of its body have been sent.
    pub async fn stalled(&self, start: u64, bytes: &[u8], sent: usize, length: u64) -> Conn {
        let ask = self.chunk(start, bytes, Some(length));
        let mut conn = Conn::open(&self.server.public).await;
        conn.send(&ask.head()).await.unwrap();
        conn.send(&bytes[..sent]).await.unwrap();
        conn
    }

    /// Waits until `count` chunks are being received.
    pub async fn in_flight(&self, count: usize) {
        self.metric(&format!("incoming_chunks_in_flight {count}")).await;
    }

    /// Waits until the server has read so many bytes of chunks, of all its uploads.
    pub async fn bytes_read(&self, count: u64) {
        self.metric(&format!("incoming_received_bytes_total {count}")).await;
    }

    async fn metric(&self, line: &str) {
        until(line, async || {
            let metrics = self.server.back(&Ask::new("GET", "/metrics")).await.expect(200).text();
            metrics.lines().any(|found| found == line).then_some(())
        })
        .await;
    }

    pub fn file(&self) -> PathBuf {
        self.server.storage().join("files").join(&self.id)
    }
}
