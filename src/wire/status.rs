//! The status object of an upload, as JSON and as headers.

use super::Options;
use crate::core::event::DigestRequest;
use crate::core::state::StateName;
use crate::engine::status::Status;
use hyper::header::{CACHE_CONTROL, HeaderMap, HeaderValue};
use serde::Serialize;

/// The status object.
#[derive(Debug, Serialize)]
pub struct StatusBody {
    state: &'static str,
    length: Option<u64>,
    offset: u64,
    received: Vec<[u64; 2]>,
    chunk_size: u64,
    max_chunk_size: Option<u64>,
    send_ahead: u32,
    name: Option<String>,
    digest: Option<&'static str>,
    reason: Option<String>,
    #[serde(skip)]
    complete: bool,
}

impl StatusBody {
    /// The status object as the holder of the id may see it: what the web app answered, and where
    /// it is, stays between the server and the web app.
    pub fn public(mut status: Status, options: &Options, max_chunk_size: Option<u64>) -> Self {
        let neutral = match status.state {
            StateName::HandingOver => {
                Some("the web app has not taken the file yet; it is called again")
            }
            StateName::Failed => Some("the web app did not take the file"),
            StateName::New | StateName::Uploading | StateName::Finished | StateName::Cancelled => {
                None
            }
        };
        if let (Some(reason), Some(neutral)) = (&mut status.reason, neutral) {
            neutral.clone_into(reason);
        }
        Self::new(status, options, max_chunk_size)
    }

    /// The status object of an upload, as the backend may see it.
    pub fn new(status: Status, options: &Options, max_chunk_size: Option<u64>) -> Self {
        Self {
            state: status.state.word(),
            length: status.length,
            offset: status.offset(),
            received: status.received.as_slice().iter().map(|e| [e.start(), e.end()]).collect(),
            chunk_size: options.chunk_size,
            max_chunk_size,
            send_ahead: options.send_ahead,
            complete: status.is_complete(),
            name: status.name,
            digest: match status.digest {
                DigestRequest::None => None,
                DigestRequest::Sha256 => Some("sha-256"),
            },
            reason: status.reason,
        }
    }

    /// Adds the headers that come with every status object.
    pub fn add_headers(&self, headers: &mut HeaderMap) {
        headers.insert("upload-offset", HeaderValue::from(self.offset));
        if let Some(length) = self.length {
            headers.insert("upload-length", HeaderValue::from(length));
        }
        let complete = if self.complete { "?1" } else { "?0" };
        headers.insert("upload-complete", HeaderValue::from_static(complete));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
