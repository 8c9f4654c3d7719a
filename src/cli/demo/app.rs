//! The tiny web app: asks the server for tickets, takes files over, tells when it is done with them.
//!
//! It knows the server by its backend API alone: `new_upload` and `finish_upload` over HTTP, and the
//! handover call that comes back. Everything here may be done twice, since the server repeats a
//! handover whose answer it did not get.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use tokio::sync::Notify;

use super::received::{Received, Record, now_ms};
use super::ticket::{self, AppKey};
use super::{answer, answer::Answer};
use crate::core::id::TicketId;
use crate::handover::client::{Client, Options};

/// How long the server may take to answer: it is on this machine.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a page asks a ticket for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wish {
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
    /// Never for this wish.
    Refused(String),
}

/// The web app.
pub(super) struct App {
    key: AppKey,
    received: Received,
    arrived: Notify,
    client: Client,
    backend: String,
    signal_finish_url: String,
}

impl App {
    /// The web app of this directory, beside a server of this storage directory whose backend API is on the one port
    /// of loopback, and reached by it on the other. Blocking.
    pub(super) fn open(
        directory: &Path,
        storage: &Path,
        own_port: u16,
        backend_port: u16,
    ) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            key: AppKey::open(&directory.join("app-key"))?,
            received: Received::open(directory.join("received"), storage)?,
            arrived: Notify::new(),
            client: Client::new(Options { timeout: DEADLINE, allow: Vec::new() }),
            backend: format!("http://127.0.0.1:{backend_port}/incoming/backend"),
            signal_finish_url: format!("http://127.0.0.1:{own_port}/api/handover"),
        }))
    }

    /// The files received so far.
    pub(super) fn received(&self) -> &Received {
        &self.received
    }

    /// Waits until a file has arrived since the last call.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// A ticket for one upload.
    ///
    /// Cancel: there may be a ticket that nobody uses; it ends by itself.
    pub(super) async fn ticket(&self, wish: &Wish) -> Result<TicketId, NoTicket> {
        let pledge = self.key.pledge(wish.name.as_deref());
        let pledge = pledge.map_err(|error| NoTicket::NotNow(error.to_string()))?;
        let size = wish.size.map(|size| size.to_string());
        let mut fields = vec![
            ("signalFinishURL", self.signal_finish_url.as_str()),
            ("removeFileWhenFinished", "false"),
            ("backendSecret", pledge.secret.expose()),
            ("metadata", &pledge.metadata),
        ];
        fields.extend(size.as_deref().map(|size| ("length", size)));
        let (status, word) = self.post("new_upload", &fields).await.map_err(NoTicket::NotNow)?;
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
        if !self.key.vouches(&metadata, &secret) {
            return answer::text(StatusCode::FORBIDDEN, "wrong backendSecret\n");
        }
        let Ok(id) = TicketId::parse(&id) else {
            return answer::text(StatusCode::BAD_REQUEST, "id is not an upload id\n");
        };
        if field("cancelled") == "yes" {
            return answer::text(StatusCode::OK, "done");
        }
        let (from, name) = (field("filename"), field("filenameFromBrowser"));
        let record = Record {
            name: ticket::file_name(&name, &metadata),
            size: 0,
            received_ms: now_ms(),
            metadata,
            sha256: None,
        };
        let app = Arc::clone(self);
        let take = move || app.received.take(id, Path::new(&from), record);
        let taken = tokio::task::spawn_blocking(take).await.map_err(io::Error::other);
        match taken.and_then(|taken| taken) {
            Ok(Record { sha256: Some(_), .. }) => answer::text(StatusCode::OK, "done"),
            Ok(_) => {
                self.arrived.notify_one();
                answer::text(StatusCode::OK, "wait")
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

    /// Tells the server that its part in an upload is over.
    ///
    /// Errors: what to log; the call is to be repeated.
    pub(super) async fn finish(&self, id: TicketId, metadata: &str) -> Result<(), String> {
        let secret = self.key.secret(metadata);
        let fields = [("id", &*id.to_string()), ("backendSecret", secret.expose())];
        let (status, word) = self.post("finish_upload", &fields).await?;
        match status {
            // An upload that is over, or forgotten by now, needs no finish.
            200 | 400 | 404 | 412 => Ok(()),
            _ => Err(format!("status {status}: {word}")),
        }
    }

    async fn post(&self, call: &str, fields: &[(&str, &str)]) -> Result<(u16, String), String> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let url = format!("{}/{call}", self.backend);
        let answered = self.client.post_form(&url, form, call, None, Arc::new(())).await;
        let answer = answered.map_err(|error| error.to_string())?;
        Ok((answer.status, answer.word.map_err(|why| why.to_string())?))
    }
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
        let app = App::open(dir.path(), &storage, 1, 1).unwrap();
        let pledge = app.key.pledge(Some("film.mp4")).unwrap();
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
                ("metadata", pledge.metadata.as_str()),
                ("backendSecret", secret),
                ("cancelled", "no"),
            ]
        };
        let secret = pledge.secret.expose();
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
        assert_eq!(handover(&app, &fields(secret)).await, (200, "wait".into()));
        assert_eq!(handover(&app, &fields(secret)).await, (200, "wait".into()));
        assert_eq!(app.received.record(id).unwrap().name, "film.mp4");
        app.received.hash(id, &tokio_util::sync::CancellationToken::new()).unwrap();
        assert_eq!(handover(&app, &fields(secret)).await, (200, "done".into()));
    }
}
