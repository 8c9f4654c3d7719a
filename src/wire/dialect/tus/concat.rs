//! Files that come as several uploads, which a final one is made of. Source: tus 1.0, concatenation.

use super::{Tus, header};
use crate::core::command::FileFacts;
use crate::core::event::Notice;
use crate::core::id::TicketId;
use crate::core::upload::Role;
use crate::engine::join::Joinable;
use crate::engine::status::Status;
use crate::wire::create::Creating;
use crate::wire::problem::Problem;
use crate::wire::{Answer, upload_metadata};
use hyper::header::{HeaderMap, HeaderValue};

impl Tus<'_> {
    /// A creation of the file that partial uploads make: answered when it is published. Where exactly these were joined
    /// before, it is that upload, since an answer may be lost.
    pub(super) async fn create_final(
        &self,
        parts: &[TicketId],
        words: &str,
    ) -> Result<Answer, Problem> {
        let (engine, headers) = (&self.wire.engine, &self.exchange.head.headers);
        header::check_final(headers)?;
        let metadata = header::metadata(headers)?;
        let named = upload_metadata::read(metadata.unwrap_or_default())?;
        self.wire.check_creates(self.exchange)?;
        // A join may take minutes, and so may waiting for it. Of a part that there is not, the list is refused at once.
        let _call = match parts.first() {
            Some(first) => engine.small_call(*first).await.ok().transpose()?,
            None => None,
        };
        let id = match engine.check_parts(parts).await? {
            Joinable::Joined(id) => id,
            Joinable::New(length) => {
                self.check_size(Some(length))?;
                let creating = Creating {
                    dialect: "tus",
                    length: Some(length),
                    name: named.name.clone(),
                    media_type: named.media_type.clone(),
                    client_metadata: metadata.map(str::to_owned),
                    concat: Some(words.to_owned()),
                };
                let id = self.wire.create(self.exchange, &creating).await?;
                let facts = FileFacts {
                    length: None,
                    name: named.name,
                    media_type: named.media_type,
                    last_modified: None,
                    client_metadata: metadata.map(str::to_owned),
                };
                engine.bind(id, facts).await?;
                engine.join(id, parts, Notice::Due).await?
            }
        };
        Ok(self.created_answer(id))
    }

    /// What `HEAD` says of the part of an upload in a file.
    pub(super) fn add_concat(&self, status: &Status, headers: &mut HeaderMap) {
        let words = match &status.role {
            Role::Whole => return,
            Role::Partial { .. } => "partial".to_owned(),
            Role::Final { parts } => {
                let urls: Vec<_> = parts.iter().map(|id| self.url(*id)).collect();
                format!("final;{}", urls.join(" "))
            }
        };
        if let Ok(words) = HeaderValue::try_from(words) {
            headers.insert("upload-concat", words);
        }
    }
}

/// A partial upload is an upload by itself, so a ticket cannot be several.
pub(super) fn not_at_a_ticket() -> Problem {
    Problem::bad_request(
        "header Upload-Concat: each part is an upload of its own, so the endpoint must be one that creates uploads \
         (create_url, or a route of the web app that calls new_upload with uploadConcat), not the URL of a ticket; or \
         set parallelUploads to 1",
    )
}

/// Parts are sent before the file is made of them.
pub(super) fn no_body() -> Problem {
    Problem::bad_request("a final upload has the bytes of its partial uploads, and no body")
}
