//! A bucket in a store that speaks S3: AWS, Ceph RGW, SeaweedFS, MinIO, Garage, R2 and others.
//!
//! What is used is what they all do alike: objects and multipart uploads with equal parts and a known length, ranges, and
//! lists. Nothing is conditional, nothing is sent in trailers. What an answer proves is [`super::objects::judge`]; this
//! adds how requests and answers look. Keys are `{prefix}files/{upload}/{object}` and `{prefix}parts/{upload}/{object}`,
//! where `upload` is half of the SHA-256 of its id: who may list the bucket learns no id, which is a capability.
//!
//! Integrity: over TLS that is TLS. Over plain HTTP each body has its MD5 before it, the one digest that all stores check
//! before they keep anything: SeaweedFS does not look at the SHA-256 of a signature, Ceph 16 not at checksum headers, and
//! AWS wants those of parts again in the list of `Complete`.

mod answer;
mod keys;
mod probe;
mod request;
mod sign;
mod sweep;
pub mod transport;
mod xml;

pub use probe::{ProbeError, ProbeErrors, ProbeFault, ProbedStep};
pub use sign::Credentials;
pub use sweep::{LogName, Sweep, Swept};

use super::objects::judge::{Outcome, judge};
use super::objects::{
    Key, Multipart, ObjectAnswer, ObjectError, ObjectRequest, Objects, OrphanRule,
};
use crate::core::id::TicketId;
use crate::core::piece_event::{Etag, Orphan, Purpose};
use answer::Page;
use hyper::http::uri::Authority;
use md5::{Digest, Md5};
use request::Call;
use sign::Signer;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use transport::{SendError, Transport};

/// Which bucket, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// Whether the endpoint has TLS.
    pub tls: bool,
    /// Host and port of the endpoint, without the bucket.
    pub authority: Authority,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// How the bucket is named in a request.
    pub naming: Naming,
    /// Before all keys; empty, or with a slash at its end.
    pub prefix: String,
    /// Requests at once, at least 1.
    pub requests: usize,
    /// Entries of one page of a list, 1 to 1000.
    pub page: u32,
}

/// How a bucket is named in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// As the first part of the path.
    Path,
    /// As the first part of the host.
    Host,
}

/// A bucket.
#[derive(Debug)]
pub struct S3Bucket {
    options: S3Options,
    transport: Arc<dyn Transport>,
    signer: Signer,
    /// Leave to be under way.
    turns: Semaphore,
    orphans: OrphanRule,
}

impl S3Options {
    /// The bucket and the key of an object.
    pub fn address(&self, key: Key) -> (String, String) {
        (self.bucket.clone(), keys::key_text(&self.prefix, key))
    }
}

impl S3Bucket {
    /// A bucket that nothing was asked of yet. Until it is probed it is taken to refuse orphans, which is right for those
    /// that drop them as well, and costs a request more for each file.
    pub fn new(
        options: S3Options,
        credentials: Credentials,
        transport: Arc<dyn Transport>,
    ) -> Self {
        let signer = Signer::new(&options, credentials, &transport);
        let turns = Semaphore::new(options.requests.max(1));
        Self { options, transport, signer, turns, orphans: OrphanRule::Refused }
    }

    /// As a bucket of the same store that was probed.
    #[must_use]
    pub fn with_orphan_rule(self, orphans: OrphanRule) -> Self {
        Self { orphans, ..self }
    }

    /// A URL that reads the object with this key for so long, or as long as the credentials last.
    ///
    /// # Errors
    /// There are no credentials.
    pub async fn link(&self, key: Key, lasts: Duration) -> Result<String, ObjectError> {
        let (request, _) = Call::read(key).build(&self.options)?;
        Ok(self.signer.link(request, lasts).await?.to_string())
    }

    /// Asks, and reads the answer, which is one page where it is a list.
    ///
    /// Cancel: the request may have its effect.
    async fn call(&self, call: Call) -> Result<Page, ObjectError> {
        let Ok(_turn) = self.turns.acquire().await else { return Err(ObjectError::Busy) };
        let kind = call.kind;
        let (request, reading) = call.build(&self.options)?;
        let request = self.signer.sign(request).await?;
        match self.transport.send(request, reading.most_bytes()).await {
            Ok(response) => reading.read(kind, &response),
            Err(SendError::NotSent(why)) => {
                tracing::debug!(error = why, "no connection to object store");
                judge(kind, Outcome::NotSent).and(Err(ObjectError::Busy))
            }
            Err(SendError::Broken(why)) => {
                tracing::debug!(error = why, ?kind, "request to object store broke off");
                judge(kind, Outcome::Broken).and(Err(ObjectError::Unsure))
            }
        }
    }

    async fn one(&self, call: Call) -> Result<ObjectAnswer, ObjectError> {
        match self.call(call).await? {
            Page::Whole(answer) => Ok(answer),
            Page::Parts(..) | Page::Objects(..) | Page::Multiparts(..) | Page::Found(..) => {
                Err(ObjectError::Unsure)
            }
        }
    }

    async fn parts(&self, multipart: Multipart) -> Result<Vec<Orphan>, ObjectError> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let page = self.call(Call::list_parts(&multipart, after)).await?;
            let Page::Parts(parts, next) = page else { return Err(ObjectError::Unsure) };
            all.extend(parts);
            match next {
                None => {
                    all.sort_by_key(|part: &Orphan| part.number);
                    return Ok(all);
                }
                Some(next) if next > after => after = next,
                // A page that leads nowhere.
                Some(_) => return Err(ObjectError::Unsure),
            }
        }
    }

    async fn objects(&self, id: TicketId) -> Result<Vec<Key>, ObjectError> {
        let mut all = Vec::new();
        for purpose in [Purpose::File, Purpose::Fragment] {
            let mut after: Option<String> = None;
            loop {
                let page = self.call(Call::list(id, purpose, after.as_deref())).await?;
                let Page::Objects(keys, next) = page else { return Err(ObjectError::Unsure) };
                all.extend(keys);
                match next {
                    None => break,
                    Some(next) if Some(&next) != after.as_ref() => after = Some(next),
                    Some(_) => return Err(ObjectError::Unsure),
                }
            }
        }
        Ok(all)
    }

    async fn multiparts(&self, id: TicketId) -> Result<Vec<Multipart>, ObjectError> {
        let (mut all, mut markers) = (Vec::new(), None);
        loop {
            let page = self.call(Call::list_multiparts(id, markers.as_ref())).await?;
            let Page::Multiparts(multiparts, next) = page else { return Err(ObjectError::Unsure) };
            all.extend(multiparts);
            match next {
                None => return Ok(all),
                next if next != markers => markers = next,
                Some(_) => return Err(ObjectError::Unsure),
            }
        }
    }
}

impl Objects for S3Bucket {
    async fn ask(&self, request: ObjectRequest) -> Result<ObjectAnswer, ObjectError> {
        match request {
            ObjectRequest::List(id) => self.objects(id).await.map(ObjectAnswer::Objects),
            ObjectRequest::ListParts(multipart) => {
                self.parts(multipart).await.map(ObjectAnswer::Parts)
            }
            ObjectRequest::ListMultiparts(id) => {
                self.multiparts(id).await.map(ObjectAnswer::Multiparts)
            }
            ObjectRequest::Put(..)
            | ObjectRequest::Get(..)
            | ObjectRequest::Head(..)
            | ObjectRequest::Describe(..)
            | ObjectRequest::Delete(..)
            | ObjectRequest::Begin(..)
            | ObjectRequest::Part(..)
            | ObjectRequest::CopyPart(..)
            | ObjectRequest::Complete(..)
            | ObjectRequest::Abort(..) => self.one(Call::of(request)?).await,
        }
    }

    fn orphan_rule(&self) -> OrphanRule {
        self.orphans
    }

    /// The MD5 of the MD5s of the parts, and how many they are.
    fn etag_of(&self, parts: &[&Etag]) -> Option<Etag> {
        let mut digest = Md5::new();
        for Etag(part) in parts {
            let is_md5 = part.len() == 32 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            let part = u128::from_str_radix(part, 16).ok().filter(|_| is_md5)?;
            digest.update(part.to_be_bytes());
        }
        let digest = u128::from_be_bytes(digest.finalize().into());
        Some(Etag(format!("{digest:032x}-{}", parts.len())))
    }
}
