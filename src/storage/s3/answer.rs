//! What an answer of a store says: whether it is one of a success, and what it holds.

use super::keys::key_of;
use super::xml::{self, bare};
use crate::core::grid::PartNumber;
use crate::core::id::TicketId;
use crate::core::piece_event::{Etag, Orphan, Purpose};
use crate::core::pieces::ObjectRange;
use crate::storage::objects::judge::{Call as Kind, Outcome, judge};
use crate::storage::objects::{Description, Key, Multipart, ObjectAnswer, ObjectError};
use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderName};
use std::time::Duration;

/// How the answer to a request is read.
#[derive(Debug)]
pub(super) enum Reading {
    Stored,
    Bytes(ObjectRange),
    Size,
    Description,
    Removed,
    Begun(Key),
    Part,
    CopiedPart,
    Completed,
    Parts,
    Objects { id: TicketId, purpose: Purpose },
    Multiparts(TicketId),
    AllObjects,
    AllMultiparts,
}

/// An object or multipart upload, of any maker.
#[derive(Debug)]
pub(super) struct Found {
    /// The whole key.
    pub(super) key: String,
    /// The name of a multipart upload.
    pub(super) multipart: Option<String>,
    /// By the store's clock.
    pub(super) age: Duration,
}

/// An answer, or one page of it and where the next one begins.
#[derive(Debug)]
pub(super) enum Page {
    Whole(ObjectAnswer),
    Parts(Vec<Orphan>, Option<u32>),
    Objects(Vec<Key>, Option<String>),
    Multiparts(Vec<Multipart>, Option<(String, String)>),
    Found(Vec<Found>, Option<(String, String)>),
}

impl Reading {
    /// The longest answer that is read.
    pub(super) fn most_bytes(&self) -> usize {
        match self {
            // A store may leave the range out of account.
            Self::Bytes(range) => {
                usize::try_from(range.bytes).map_or(XML_BYTES, |bytes| bytes.max(XML_BYTES))
            }
            Self::Stored
            | Self::Size
            | Self::Description
            | Self::Removed
            | Self::Begun(_)
            | Self::Part
            | Self::CopiedPart
            | Self::Completed
            | Self::Parts
            | Self::Objects { .. }
            | Self::Multiparts(_)
            | Self::AllObjects
            | Self::AllMultiparts => XML_BYTES,
        }
    }

    /// # Errors
    /// What `judge` says of it.
    pub(super) fn read(self, kind: Kind, response: &Response<Bytes>) -> Result<Page, ObjectError> {
        let status = response.status().as_u16();
        let refusal: Option<xml::Refusal> = xml::read("Error", response.body());
        if let Some(refusal) = &refusal {
            let xml::Refusal { code, message } = refusal;
            tracing::debug!(status, code, message, ?kind, "object store refused a request");
        }
        let code = refusal.as_ref().map(|refusal| refusal.code.as_str());
        let wanted = match &self {
            Self::Bytes(range) => Some(range.bytes),
            _ => None,
        };
        let page = (200..300).contains(&status).then(|| self.page(response)).flatten();
        judge(kind, Outcome::Answer { status, code, is_result: page.is_some() })?;
        match page {
            // The object ends before the range does.
            Some(Page::Whole(ObjectAnswer::Bytes(bytes))) if wanted != Some(bytes.len() as u64) => {
                Err(ObjectError::Gone)
            }
            Some(page) => Ok(page),
            // Removing what is not there.
            None => Ok(Page::Whole(ObjectAnswer::Done)),
        }
    }

    fn page(self, response: &Response<Bytes>) -> Option<Page> {
        let body = response.body();
        let answer = match self {
            Self::Stored | Self::Removed => ObjectAnswer::Done,
            Self::Bytes(range) => ObjectAnswer::Bytes(bytes_of(range, response)?),
            Self::Size => ObjectAnswer::Size(header(response, CONTENT_LENGTH)?.parse().ok()?),
            Self::Description => ObjectAnswer::Described(Description {
                bytes: header(response, CONTENT_LENGTH)?.parse().ok()?,
                etag: header(response, ETAG).map(bare).unwrap_or_default().to_owned(),
                version: header(response, VERSION).unwrap_or_default().to_owned(),
            }),
            Self::Begun(key) => {
                let begun: xml::Begun = xml::read("InitiateMultipartUploadResult", body)?;
                ObjectAnswer::Begun(Multipart { key, name: begun.upload })
            }
            Self::Part => ObjectAnswer::Part(etag(header(response, ETAG)?)?),
            Self::CopiedPart => {
                let copied: xml::Copied = xml::read("CopyPartResult", body)?;
                ObjectAnswer::Part(etag(&copied.etag)?)
            }
            Self::Completed => {
                let completed: xml::Completed = xml::read("CompleteMultipartUploadResult", body)?;
                ObjectAnswer::Completed(etag(&completed.etag))
            }
            Self::Parts => {
                let parts: xml::Parts = xml::read("ListPartsResult", body)?;
                let next = parts.next_part_number_marker.filter(|_| parts.is_truncated);
                if parts.is_truncated && next.is_none() {
                    return None;
                }
                let all: Option<Vec<Orphan>> = parts.parts.iter().map(orphan).collect();
                return Some(Page::Parts(all?, next));
            }
            Self::Objects { id, purpose } => {
                let list: xml::Objects = xml::read("ListBucketResult", body)?;
                let next = list.next_continuation_token.filter(|_| list.is_truncated);
                if list.is_truncated && next.is_none() {
                    return None;
                }
                let keys = list.contents.iter().filter_map(|it| key_of(&it.key, id, purpose));
                return Some(Page::Objects(keys.collect(), next));
            }
            Self::AllObjects => {
                let list: xml::Objects = xml::read("ListBucketResult", body)?;
                let next = list.next_continuation_token.filter(|_| list.is_truncated);
                if list.is_truncated && next.is_none() {
                    return None;
                }
                let found = list.contents.into_iter().map(|it| {
                    let age = age(&it.last_modified, response)?;
                    Some(Found { key: it.key, multipart: None, age })
                });
                return Some(Page::Found(
                    found.collect::<Option<_>>()?,
                    next.map(|it| (it, String::new())),
                ));
            }
            Self::AllMultiparts => {
                let list: xml::Multiparts = xml::read("ListMultipartUploadsResult", body)?;
                let next = list.next()?;
                let found = list.uploads.into_iter().map(|it| {
                    let age = age(&it.initiated, response)?;
                    Some(Found { key: it.key, multipart: Some(it.upload_id), age })
                });
                return Some(Page::Found(found.collect::<Option<_>>()?, next));
            }
            Self::Multiparts(id) => {
                let list: xml::Multiparts = xml::read("ListMultipartUploadsResult", body)?;
                let next = list.next()?;
                let all = list.uploads.into_iter().filter_map(|it| {
                    let key = key_of(&it.key, id, Purpose::File)?;
                    Some(Multipart { key, name: it.upload_id })
                });
                return Some(Page::Multiparts(all.collect(), next));
            }
        };
        Some(Page::Whole(answer))
    }
}

/// How old what was made then is, by the clock of the store that answers.
fn age(made: &str, response: &Response<Bytes>) -> Option<Duration> {
    let now = httpdate::parse_http_date(header(response, DATE)?).ok()?;
    let made = humantime::parse_rfc3339(made).ok()?;
    Some(now.duration_since(made).unwrap_or_default())
}

/// The bytes of `range`, or what there is of them; `None` where the answer is another one.
fn bytes_of(range: ObjectRange, response: &Response<Bytes>) -> Option<Bytes> {
    let (body, wanted) = (response.body(), usize::try_from(range.bytes).ok()?);
    if response.status().as_u16() == 206 {
        let first = header(response, CONTENT_RANGE)?.strip_prefix("bytes ")?.split('-').next()?;
        let fits = first.parse() == Ok(range.offset) && body.len() <= wanted;
        return fits.then(|| body.clone());
    }
    // All of the object.
    let start = usize::try_from(range.offset).ok()?;
    let end = start.checked_add(wanted)?.min(body.len());
    (start <= end).then(|| body.slice(start..end))
}

fn orphan(part: &xml::Part) -> Option<Orphan> {
    let number = PartNumber::new(part.part_number)?;
    Some(Orphan { number, bytes: part.size, etag: etag(&part.etag)? })
}

fn etag(text: &str) -> Option<Etag> {
    Some(bare(text)).filter(|etag| !etag.is_empty()).map(|etag| Etag(etag.to_owned()))
}

fn header(response: &Response<Bytes>, name: hyper::header::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// Amazon S3 API reference, "HeadObject".
const VERSION: HeaderName = HeaderName::from_static("x-amz-version-id");
/// The longest answer but an object: a page of 1000 entries has some 500 KB.
const XML_BYTES: usize = 4 << 20;
