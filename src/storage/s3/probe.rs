//! What a server finds out about its bucket at the start: that it may do there what it has to, and what the store does
//! with parts that a list leaves out.

use super::S3Bucket;
use super::request::Call;
use super::transport::SendError;
use crate::core::grid::PartNumber;
use crate::core::id::TicketId;
use crate::core::piece_event::{Etag, ObjectName, Purpose};
use crate::core::pieces::ObjectRange;
use crate::core::time::Timestamp;
use crate::storage::objects::{
    Key, Multipart, ObjectAnswer, ObjectError, ObjectRequest, Objects, OrphanRule,
};
use bytes::Bytes;
use std::fmt;

/// A bucket cannot be used as it is.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {fault}")]
pub struct ProbeError {
    /// What was tried.
    pub step: ProbedStep,
    /// What came of it.
    pub fault: ProbeFault,
}

/// The first step that did not do, or all that lack a right.
#[derive(Debug)]
pub struct ProbeErrors(pub Vec<ProbeError>);

impl fmt::Display for ProbeErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join("; "))
    }
}

impl ProbeErrors {
    /// Whether they stay so until a setting, a right or the store is changed.
    pub fn are_definite(&self) -> bool {
        self.0.iter().any(ProbeError::is_definite)
    }
}

/// What came of a request that did not do.
#[derive(Debug, thiserror::Error)]
pub enum ProbeFault {
    /// There is no answer.
    #[error("{0}")]
    Unreachable(SendError),
    /// The store does not do it, or not now.
    #[error("{error}{}", explained(error))]
    Refused {
        /// What it said.
        error: ObjectError,
    },
    /// The store does it, and not as it has to.
    #[error("the store's answer is not what S3 answers")]
    Unlike,
}

impl ProbeError {
    /// Whether it is about this step alone, as far as the store says.
    fn is_lack(&self) -> bool {
        matches!(&self.fault, ProbeFault::Refused { error }
            if known(error).is_some_and(|(about, _)| about == About::Step))
    }

    /// Clocks and credentials that have ended are set right by others.
    fn is_definite(&self) -> bool {
        match &self.fault {
            ProbeFault::Unreachable(_) => false,
            ProbeFault::Unlike => true,
            ProbeFault::Refused { error } => match error {
                ObjectError::Unusable(_) => {
                    known(error).is_none_or(|(about, _)| about != About::Moment)
                }
                // Of what was stored a moment ago.
                ObjectError::Gone | ObjectError::InvalidPart => true,
                ObjectError::Busy | ObjectError::Unsure | ObjectError::Full => false,
            },
        }
    }
}

/// What a store's answer is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// What was asked for: other requests may be answered otherwise.
    Step,
    /// All that may be asked for.
    All,
    /// All of it, for now.
    Moment,
}

/// What a store's code means to who runs the server. Source: Amazon S3 API reference, "List of error codes".
fn known(error: &ObjectError) -> Option<(About, &'static str)> {
    let ObjectError::Unusable(code) = error else { return None };
    Some(match code.as_str() {
        "NoSuchBucket" | "InvalidBucketName" => {
            (About::All, ": there is no such bucket; see s3_bucket")
        }
        "InvalidAccessKeyId" => (About::All, ": the store does not know the access key"),
        "SignatureDoesNotMatch" => (About::All, ": the secret key is not that of the access key"),
        "RequestTimeTooSkewed" => {
            (About::Moment, ": the clocks of this machine and of the store differ too much")
        }
        "ExpiredToken" | "InvalidToken" => (About::Moment, ": the credentials have ended"),
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" => {
            (About::All, ": the bucket is in another region; see s3_region and s3_endpoint")
        }
        "AccessDenied" | "AllAccessDisabled" | "status 403" => {
            (About::Step, ": the credentials lack the right, or the bucket is not theirs")
        }
        "NotImplemented" | "MethodNotAllowed" => {
            (About::Step, ": the store cannot do what is needed")
        }
        "no credentials" => {
            (About::All, ": set s3_access_key and s3_secret_key, or AWS's own variables")
        }
        _ => return None,
    })
}

fn explained(error: &ObjectError) -> &'static str {
    known(error).map_or("", |(_, says)| says)
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbedStep {
    /// A connection.
    Reach,
    /// `PutObject`.
    Put,
    /// `HeadObject`.
    Head,
    /// `GetObject` of a range.
    Get,
    /// `ListObjectsV2`.
    List,
    /// `CreateMultipartUpload`.
    Begin,
    /// `UploadPart`.
    Part,
    /// `ListParts`.
    ListParts,
    /// `ListMultipartUploads`.
    ListMultiparts,
    /// `CompleteMultipartUpload`.
    Complete,
    /// `AbortMultipartUpload`.
    Abort,
    /// `DeleteObject`.
    Delete,
}

impl fmt::Display for ProbedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reach => "cannot reach the store",
            Self::Put => "cannot store an object (s3:PutObject)",
            Self::Head => "cannot ask for an object's size (s3:GetObject)",
            Self::Get => "cannot read a range of an object (s3:GetObject)",
            Self::List => "cannot list objects (s3:ListBucket)",
            Self::Begin => "cannot begin a multipart upload (s3:PutObject)",
            Self::Part => "cannot store a part (s3:PutObject)",
            Self::ListParts => "cannot list parts (s3:ListMultipartUploadParts)",
            Self::ListMultiparts => "cannot list multipart uploads (s3:ListBucketMultipartUploads)",
            Self::Complete => "cannot complete a multipart upload (s3:PutObject)",
            Self::Abort => "cannot abort a multipart upload (s3:AbortMultipartUpload)",
            Self::Delete => "cannot remove an object (s3:DeleteObject)",
        })
    }
}

impl S3Bucket {
    /// Tries what will be needed, under the name of an upload that is none, and learns what the store does with orphans
    /// ([`S3Bucket::with_orphan_rule`]). Leaves nothing behind where it ends well; what others left, of which their names
    /// say that it is old at the time `now`, is removed.
    ///
    /// # Errors
    /// The first step that did not do; where that was refused for the lack of a right, all such steps.
    pub async fn probe(&self, now: Timestamp, random: [u8; 16]) -> Result<OrphanRule, ProbeErrors> {
        let mut trial = Trial { bucket: self, lacks: Vec::new() };
        let done = trial.run(now, random).await;
        match (done, trial.lacks.is_empty()) {
            (Ok(Some(rule)), true) => Ok(rule),
            (Err(error), true) => Err(ProbeErrors(vec![error])),
            (Ok(_) | Err(_), _) => Err(ProbeErrors(trial.lacks)),
        }
    }

    /// Whether there is any answer: what is not one is told as it is.
    async fn reach(&self, id: TicketId) -> Result<(), ProbeError> {
        let step = ProbedStep::Reach;
        let failed = |error| ProbeError { step, fault: ProbeFault::Refused { error } };
        let call = Call::list(id, Purpose::File, None).build(&self.options);
        let (request, reading) = call.map_err(failed)?;
        let request = self.signer.sign(request).await.map_err(failed)?;
        match self.transport.send(request, reading.most_bytes()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(ProbeError { step, fault: ProbeFault::Unreachable(error) }),
        }
    }
}

/// All steps, one after the other, for as long as it is only rights that are missing.
struct Trial<'a> {
    bucket: &'a S3Bucket,
    lacks: Vec<ProbeError>,
}

impl Trial<'_> {
    async fn run(
        &mut self,
        now: Timestamp,
        random: [u8; 16],
    ) -> Result<Option<OrphanRule>, ProbeError> {
        let (id, random) = (TicketId::from_random(PROBES), named(now, random));
        self.bucket.reach(id).await?;
        let object = Key { id, name: ObjectName { purpose: Purpose::Fragment, random } };
        let key = Key { id, name: ObjectName { purpose: Purpose::File, random } };
        let bytes = Bytes::from_static(b"incoming");
        let put = ObjectRequest::Put(object, bytes.clone().into());
        // Of an object that is not there a store may say that it may not be read.
        let is_stored = self.step(ProbedStep::Put, put).await?.is_some();
        if is_stored {
            let size = self.step(ProbedStep::Head, ObjectRequest::Head(object)).await?;
            expect(ProbedStep::Head, size.as_ref(), |size| *size == ObjectAnswer::Size(8))?;
            let range = ObjectRange { object: object.name, offset: 2, bytes: 3 };
            let read = self.step(ProbedStep::Get, ObjectRequest::Get(id, range)).await?;
            let part = ObjectAnswer::Bytes(bytes.slice(2..5));
            expect(ProbedStep::Get, read.as_ref(), |read| *read == part)?;
        }
        let listed = self.step(ProbedStep::List, ObjectRequest::List(id)).await?;
        let mut old = Vec::new();
        expect(ProbedStep::List, listed.as_ref(), |listed| {
            let ObjectAnswer::Objects(objects) = listed else { return false };
            old.extend(objects.iter().filter(|it| is_old(it.name, now)).copied());
            !is_stored || objects.contains(&object)
        })?;
        let rule = match self.step(ProbedStep::Begin, ObjectRequest::Begin(key)).await? {
            Some(ObjectAnswer::Begun(multipart)) => {
                self.orphans_of(&multipart, &bytes, now).await?
            }
            Some(_) => return Err(unlike(ProbedStep::Begin)),
            None => {
                self.step(ProbedStep::ListMultiparts, ObjectRequest::ListMultiparts(id)).await?;
                None
            }
        };
        for done in [key, object].into_iter().chain(old) {
            self.step(ProbedStep::Delete, ObjectRequest::Delete(done)).await?;
        }
        Ok(rule)
    }

    async fn orphans_of(
        &mut self,
        multipart: &Multipart,
        bytes: &Bytes,
        now: Timestamp,
    ) -> Result<Option<OrphanRule>, ProbeError> {
        let mut list: Vec<(PartNumber, Etag)> = Vec::new();
        // With a gap: each cell has two numbers, and uses one.
        for number in [1, 4].into_iter().filter_map(PartNumber::new) {
            let part = ObjectRequest::Part(multipart.clone(), number, bytes.clone().into());
            match self.step(ProbedStep::Part, part).await? {
                Some(ObjectAnswer::Part(etag)) => list.push((number, etag)),
                Some(_) => return Err(unlike(ProbedStep::Part)),
                None => {}
            }
        }
        let parts = ObjectRequest::ListParts(multipart.clone());
        let parts = self.step(ProbedStep::ListParts, parts).await?;
        expect(ProbedStep::ListParts, parts.as_ref(), |parts| {
            let ObjectAnswer::Parts(parts) = parts else { return false };
            parts.iter().map(|it| (it.number, &it.etag)).eq(list.iter().map(|it| (it.0, &it.1)))
        })?;
        let all = ObjectRequest::ListMultiparts(multipart.key.id);
        let all = self.step(ProbedStep::ListMultiparts, all).await?;
        let mut ended = vec![multipart.clone()];
        expect(ProbedStep::ListMultiparts, all.as_ref(), |all| {
            let ObjectAnswer::Multiparts(all) = all else { return false };
            ended.extend(all.iter().filter(|it| is_old(it.key.name, now)).cloned());
            all.contains(multipart)
        })?;
        let mut rule = None;
        if let [_, last] = &list[..] {
            let complete = ObjectRequest::Complete(multipart.clone(), vec![last.clone()]);
            rule = match self.bucket.ask(complete).await {
                Ok(_) => Some(OrphanRule::Dropped),
                Err(ObjectError::InvalidPart) => Some(OrphanRule::Refused),
                Err(error) => {
                    self.refused(ProbedStep::Complete, error)?;
                    None
                }
            };
        }
        for ended in ended {
            self.step(ProbedStep::Abort, ObjectRequest::Abort(ended)).await?;
        }
        Ok(rule)
    }

    /// `None` where a right is missing, or what it is for cannot be done by this store.
    async fn step(
        &mut self,
        step: ProbedStep,
        request: ObjectRequest,
    ) -> Result<Option<ObjectAnswer>, ProbeError> {
        match self.bucket.ask(request).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => self.refused(step, error).map(|()| None),
        }
    }

    fn refused(&mut self, step: ProbedStep, error: ObjectError) -> Result<(), ProbeError> {
        let error = ProbeError { step, fault: ProbeFault::Refused { error } };
        if !error.is_lack() {
            return Err(error);
        }
        if self.lacks.iter().all(|known| known.step != step) {
            self.lacks.push(error);
        }
        Ok(())
    }
}

/// A name that says when it was made.
fn named(now: Timestamp, mut random: [u8; 16]) -> [u8; 16] {
    random[..8].copy_from_slice(&now.0.to_be_bytes());
    random
}

/// Whether what has this name was left by a server that ended meanwhile.
fn is_old(name: ObjectName, now: Timestamp) -> bool {
    let [a, b, c, d, e, f, g, h, ..] = name.random;
    u64::from_be_bytes([a, b, c, d, e, f, g, h]).saturating_add(OLD_MS) < now.0
}

/// What is tried is tried in seconds; clocks of servers and stores differ by 15 min at most.
const OLD_MS: u64 = 30 * 60 * 1000;
/// Of the upload that is none: no random number.
const PROBES: [u8; 16] = [0; 16];

/// What was answered, if anything was, is what it has to be.
fn expect(
    step: ProbedStep,
    answer: Option<&ObjectAnswer>,
    fits: impl FnOnce(&ObjectAnswer) -> bool,
) -> Result<(), ProbeError> {
    if answer.is_none_or(fits) { Ok(()) } else { Err(unlike(step)) }
}

fn unlike(step: ProbedStep) -> ProbeError {
    ProbeError { step, fault: ProbeFault::Unlike }
}
