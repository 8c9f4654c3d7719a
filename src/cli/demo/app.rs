//! The tiny web app: asks the server for tickets and takes files over.
//!
//! It knows the server by its backend API alone: `new_upload` over HTTP, and the handover call that comes back. A
//! handover may be done twice, since the server repeats one whose answer it did not get.
//!
//! One secret is the `backendSecret` of all tickets, and the name that a file is expected to have is the metadata, which
//! the server echoes: nothing need be kept for each ticket, and a restart forgets none.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{HeaderMap, StatusCode};
use serde::Deserialize;
use subtle::ConstantTimeEq;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{self, Answer};
use super::private_files;
use super::received::Received;
use crate::config::Secret;
use crate::core::digest::hex;
use crate::core::id::TicketId;
use crate::core::name;
use crate::handover::client::{Client, Options};
use crate::storage::clock::fill_random;

/// How long the server may take to answer: it is on this machine.
const DEADLINE: Duration = Duration::from_secs(10);
/// Files hashed at a time: a small one need not wait for a large one.
const HASHED_AT_ONCE: usize = 2;
/// Of the key file.
const KEY_BYTES: usize = 32;

/// What a page asks a ticket for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct TicketRequest {
    /// The file's name, used where the upload itself brings none.
    #[serde(default)]
    pub(super) name: Option<String>,
    /// Its length in bytes, if known.
    #[serde(default)]
    pub(super) size: Option<u64>,
}

/// Why there is no ticket.
#[derive(Debug)]
pub(super) enum NoTicket {
    /// Later there may be one.
    NotNow(String),
    /// Never for this request.
    Refused(String),
}

/// The web app.
pub(super) struct App {
    secret: Secret,
    received: Received,
    /// Files to be hashed.
    unhashed: mpsc::UnboundedSender<TicketId>,
    client: Client,
    backend: String,
    signal_finish_url: String,
}

impl App {
    /// The web app of this directory, beside a server of this storage directory whose backend API is on the one port
    /// of loopback, and reached by it on the other; and what is to be given to [`Self::hash_files`]. Blocking.
    pub(super) fn open(
        directory: &Path,
        storage: &Path,
        own_port: u16,
        backend_port: u16,
    ) -> io::Result<(Arc<Self>, mpsc::UnboundedReceiver<TicketId>)> {
        let (unhashed, to_hash) = mpsc::unbounded_channel();
        let app = Arc::new(Self {
            secret: open_secret(&directory.join("app-key"))?,
            received: Received::open(directory.join("received"), storage)?,
            unhashed,
            client: Client::new(Options { timeout: DEADLINE, allow: Vec::new() }),
            backend: format!("http://127.0.0.1:{backend_port}/incoming/backend"),
            signal_finish_url: format!("http://127.0.0.1:{own_port}/api/handover"),
        });
        Ok((app, to_hash))
    }

    /// The files received so far.
    pub(super) fn received(&self) -> &Received {
        &self.received
    }

    /// Hashes the files that come, until `stop`. Cancel: a file that is being hashed keeps no hash.
    pub(super) async fn hash_files(
        self: Arc<Self>,
        mut files: mpsc::UnboundedReceiver<TicketId>,
        stop: CancellationToken,
    ) {
        let (running, turns) = (TaskTracker::new(), Arc::new(Semaphore::new(HASHED_AT_ONCE)));
        let all = async {
            while let Some(id) = files.recv().await {
                let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
                let (app, stop) = (Arc::clone(&self), stop.clone());
                running.spawn_blocking(move || {
                    app.received.hash(id, &stop);
                    drop(turn);
                });
            }
        };
        stop.run_until_cancelled(all).await;
        running.close();
        running.wait().await;
    }

    /// A ticket for one upload.
    ///
    /// Cancel: there may be a ticket that nobody uses; it ends by itself.
    pub(super) async fn ticket(&self, request: &TicketRequest) -> Result<TicketId, NoTicket> {
        let name = request.name.as_deref().map(name::harmless).unwrap_or_default();
        let size = request.size.map(|size| size.to_string());
        let mut fields = vec![
            ("signalFinishURL", self.signal_finish_url.as_str()),
            ("removeFileWhenFinished", "false"),
            ("backendSecret", self.secret.expose()),
            ("metadata", &name),
        ];
        fields.extend(size.as_deref().map(|size| ("length", size)));
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let (url, call) = (format!("{}/new_upload", self.backend), "new_upload");
        let answered = self
            .client
            .post_idempotent(&url.into(), form, call, HeaderMap::new(), Arc::new(()))
            .await;
        let answer = answered.map_err(|error| NoTicket::NotNow(error.to_string()))?;
        let word = answer.word.map_err(|why| NoTicket::NotNow(why.to_string()))?;
        let status = answer.status;
        match (status, TicketId::parse(&word)) {
            (200, Ok(id)) => Ok(id),
            (400..=499, _) if status != 429 => {
                Err(NoTicket::Refused(format!("the upload server refused: {word}")))
            }
            _ => Err(NoTicket::NotNow(format!("the upload server answered {status}: {word}"))),
        }
    }

    /// Takes a file over, or hears that an upload was cancelled. The fields are the server's form.
    ///
    /// Cancel: the file is taken all the same; the server asks again.
    pub(super) async fn handover(self: &Arc<Self>, form: &Bytes) -> Answer {
        let mut fields: HashMap<String, String> =
            form_urlencoded::parse(form).into_owned().collect();
        let mut field = |name| fields.remove(name).unwrap_or_default();
        let (id, metadata, secret) = (field("id"), field("metadata"), field("backendSecret"));
        // Takes the same time wherever they differ.
        if !bool::from(self.secret.expose().as_bytes().ct_eq(secret.as_bytes())) {
            return answer::text(StatusCode::FORBIDDEN, "wrong backendSecret\n");
        }
        let Ok(id) = TicketId::parse(&id) else {
            return answer::text(StatusCode::BAD_REQUEST, "id is not an upload id\n");
        };
        if field("cancelled") == "yes" {
            return answer::text(StatusCode::OK, "done");
        }
        let (from, name) = (field("filename"), field("filenameFromBrowser"));
        let name = file_name(&name, &metadata);
        let app = Arc::clone(self);
        let take = move || app.received.take(id, Path::new(&from), name);
        let taken = tokio::task::spawn_blocking(take).await.map_err(io::Error::other);
        match taken.and_then(|taken| taken) {
            Ok(fresh) => {
                if fresh {
                    // Without its reader the demo is stopping.
                    let _ = self.unhashed.send(id);
                }
                answer::text(StatusCode::OK, "done")
            }
            Err(error) => {
                tracing::error!(upload = %id.short(), %error, "could not take over received file");
                answer::text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "could not take the file; call \
                    again\n",
                )
            }
        }
    }
}

/// The secret that the key in this file stands for; the file is made at the first start.
fn open_secret(path: &Path) -> io::Result<Secret> {
    let key = match private_files::read(path)? {
        Some(key) if key.len() == KEY_BYTES => key,
        Some(_) | None => {
            let mut key = vec![0; KEY_BYTES];
            fill_random(&mut key)?;
            private_files::put(path, &key)?;
            key
        }
    };
    Ok(Secret::new(hex(&key)))
}

/// What the file is to be called: as the client called it, else as the ticket expected.
fn file_name(from_browser: &str, expected: &str) -> String {
    let unnamed = from_browser.is_empty() || from_browser == name::UNNAMED;
    name::harmless(if unnamed { expected } else { from_browser })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn handover(app: &Arc<App>, fields: &[(&str, &str)]) -> (u16, String) {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let answer = app.handover(&form.into()).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn takes_files_from_who_knows_the_secret_only() {
        let dir = tempfile::tempdir().unwrap();
        let storage = dir.path().canonicalize().unwrap().join("storage");
        std::fs::create_dir_all(storage.join("files")).unwrap();
        let (app, mut unhashed) = App::open(dir.path(), &storage, 1, 1).unwrap();
        let id = TicketId::from_random([3; 16]);
        let id_text = id.to_string();
        let published = storage.join("files").join(&id_text);
        std::fs::write(&published, "abc").unwrap();
        let fields = |secret| {
            let path = published.to_str().unwrap();
            [
                ("id", id_text.as_str()),
                ("filename", path),
                ("filenameFromBrowser", "unnamed"),
                ("metadata", "film.mp4"),
                ("backendSecret", secret),
                ("cancelled", "no"),
            ]
        };
        let secret = app.secret.expose();
        assert_eq!(handover(&app, &fields("guess")).await.0, 403);
        assert_eq!(handover(&app, &[]).await.0, 403);
        let mut wrong = fields(secret);
        wrong[0].1 = "../../etc";
        assert_eq!(handover(&app, &wrong).await.0, 400);
        assert!(published.exists());
        let mut cancelled = fields(secret);
        cancelled[5].1 = "yes";
        // A file that is none of the server's stays where it is, also for who knows the secret.
        let key = dir.path().join("key");
        std::fs::write(&key, "secret").unwrap();
        let mut stolen = fields(secret);
        stolen[1].1 = key.to_str().unwrap();
        assert_eq!(handover(&app, &stolen).await.0, 500);
        assert!(key.exists() && published.exists());
        assert_eq!(handover(&app, &cancelled).await, (200, "done".into()));
        assert!(published.exists());
        for _ in 0..2 {
            assert_eq!(handover(&app, &fields(secret)).await, (200, "done".into()));
        }
        assert_eq!(app.received.open_file(id).unwrap().unwrap().2, "film.mp4");
        assert_eq!((unhashed.try_recv(), unhashed.try_recv().is_err()), (Ok(id), true));
    }

    #[test]
    fn the_secret_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| open_secret(&dir.path().join(name)).unwrap().expose().to_owned();
        let secret = open("app-key");
        assert_eq!((secret.len(), open("app-key")), (2 * KEY_BYTES, secret.clone()));
        assert_ne!(open("other"), secret);
    }

    #[test]
    fn names() {
        let check = |from: &str, asked: &str, expected: &str| {
            assert_eq!(file_name(from, asked), expected, "{from:?} {asked:?}");
        };
        check("film.mp4", "other", "film.mp4");
        check("unnamed", "film:1.mp4", "film:1.mp4");
        check("", "", "unnamed");
        check("unnamed", "", "unnamed");
        check("../../x\0<script>", "", "x<script>");
    }
}
