//! Files that come as several uploads, which a final one is made of. Source: tus 1.0, concatenation.

use super::super::url;
use super::{Tus, header};
use crate::core::command::FileFacts;
use crate::core::event::Notice;
use crate::core::id::TicketId;
use crate::core::upload::Role;
use crate::engine::join::Joinable;
use crate::engine::status::Status;
use crate::net::RequestBody;
use crate::wire::problem::Problem;
use crate::wire::{Answer, upload_concat};
use hyper::body::Body as _;
use hyper::header::{HeaderMap, HeaderValue};

impl Tus<'_> {
    /// A creation of the file that partial uploads make: answered when it is published. Where exactly these were joined
    /// before, it is that upload, since an answer may be lost.
    pub(super) async fn create_final(
        &self,
        parts: &[TicketId],
        words: &str,
        body: RequestBody,
    ) -> Result<Answer, Problem> {
        let (engine, headers) = (&self.wire.engine, &self.exchange.head.headers);
        if !body.is_end_stream() {
            let detail = "a final upload has the bytes of its partial uploads, and no body";
            return Err(Problem::bad_request(detail));
        }
        header::check_final(headers)?;
        let file = header::file(headers)?;
        self.wire.check_creates(self.exchange)?;
        // A join may take minutes, and so may waiting for it. Of a part that there is not, the list is refused at once.
        let _call = match parts.first() {
            Some(first) => engine.small_call(*first).await.ok().transpose()?,
            None => None,
        };
        let id = match engine.check_parts(parts).await? {
            Joinable::Joined(id) => id,
            Joinable::New(length) => {
                let facts = FileFacts { length: Some(length), ..file };
                let id = self.wire.create(self.exchange, &facts, Some(words)).await?;
                engine.bind(id, FileFacts { length: None, ..facts }).await?;
                engine.join(id, parts, Notice::Due).await?
            }
        };
        Ok(self.created_answer(id))
    }

    /// Errors: `Upload-Concat` where it cannot be.
    pub(super) fn check_concat(&self, id: Option<TicketId>) -> Result<(), Problem> {
        match (id, self.wire.engine.joins()) {
            (Some(_), _) => Err(not_at_a_ticket()),
            (None, false) => Err(upload_concat::unsupported()),
            (None, true) => Ok(()),
        }
    }

    /// What `HEAD` says of the part of an upload in a file.
    pub(super) fn add_concat(&self, status: &Status, headers: &mut HeaderMap) {
        let words = match &status.role {
            Role::Whole => return,
            Role::Partial { .. } => "partial".to_owned(),
            Role::Final { parts } => {
                let urls: Vec<_> = parts.iter().map(|id| url(self.exchange, *id)).collect();
                format!("final;{}", urls.join(" "))
            }
        };
        if let Ok(words) = HeaderValue::try_from(words) {
            headers.insert("upload-concat", words);
        }
    }
}

/// A partial upload is an upload by itself, so a ticket cannot be several.
fn not_at_a_ticket() -> Problem {
    Problem::bad_request(
        "header Upload-Concat: each part is an upload of its own, so the endpoint must be one that creates uploads \
         (create_url, or a route of the web app that calls new_upload with uploadConcat), not the URL of a ticket; or \
         set parallelUploads to 1",
    )
}
