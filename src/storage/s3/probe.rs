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
use std::collections::VecDeque;
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
        matches!(&self.fault, ProbeFault::Refused { error: ObjectError::Unusable(code) } if is_lack(code))
    }

    /// Whether it stays so until a setting, a right or the store is changed. Clocks and credentials that have ended are set
    /// right by others.
    pub fn is_definite(&self) -> bool {
        match &self.fault {
            ProbeFault::Unreachable(_) => false,
            ProbeFault::Unlike => true,
            ProbeFault::Refused { error: ObjectError::Unusable(code) } => {
                !matches!(code.as_str(), "RequestTimeTooSkewed" | "ExpiredToken" | "InvalidToken")
            }
            // Of what was stored a moment ago.
            ProbeFault::Refused { error: ObjectError::Gone | ObjectError::InvalidPart } => true,
            ProbeFault::Refused {
                error: ObjectError::Busy | ObjectError::Unsure | ObjectError::Full,
            } => false,
        }
    }
}

/// Whether a code is about what was asked for, and not about all that may be.
fn is_lack(code: &str) -> bool {
    matches!(
        code,
        "AccessDenied" | "AllAccessDisabled" | "status 403" | "NotImplemented" | "MethodNotAllowed"
    )
}

/// What a store's code means to who runs the server. Source: Amazon S3 API reference, "List of error codes".
fn explained(error: &ObjectError) -> &'static str {
    let ObjectError::Unusable(code) = error else { return "" };
    match code.as_str() {
        "NoSuchBucket" | "InvalidBucketName" => ": there is no such bucket; see s3_bucket",
        "InvalidAccessKeyId" => ": the store does not know the access key",
        "SignatureDoesNotMatch" => ": the secret key is not that of the access key",
        "RequestTimeTooSkewed" => ": the clocks of this machine and of the store differ too much",
        "ExpiredToken" | "InvalidToken" => ": the credentials have ended",
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" => {
            ": the bucket is in another region; see s3_region and s3_endpoint"
        }
        "AccessDenied" | "AllAccessDisabled" | "status 403" => {
            ": the credentials lack the right, or the bucket is not theirs"
        }
        "NotImplemented" | "MethodNotAllowed" => ": the store cannot do what is needed",
        "no credentials" => ": set s3_access_key and s3_secret_key, or AWS's own variables",
        _ => "",
    }
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
    /// The first step that did not do.
    pub async fn probe(&self, now: Timestamp, random: [u8; 16]) -> Result<OrphanRule, ProbeError> {
        let (id, random) = (TicketId::from_random(PROBES), named(now, random));
        self.reach(id).await?;
        let object = Key { id, name: ObjectName { purpose: Purpose::Fragment, random } };
        let key = Key { id, name: ObjectName { purpose: Purpose::File, random } };
        let bytes = Bytes::from_static(b"incoming");
        self.step(ProbedStep::Put, ObjectRequest::Put(object, bytes.clone().into())).await?;
        let size = self.step(ProbedStep::Head, ObjectRequest::Head(object)).await?;
        expect(ProbedStep::Head, size == ObjectAnswer::Size(8))?;
        let range = ObjectRange { object: object.name, offset: 2, bytes: 3 };
        let read = self.step(ProbedStep::Get, ObjectRequest::Get(id, range)).await?;
        expect(ProbedStep::Get, read == ObjectAnswer::Bytes(bytes.slice(2..5)))?;
        let list = self.step(ProbedStep::List, ObjectRequest::List(id)).await?;
        let ObjectAnswer::Objects(objects) = list else { return Err(unlike(ProbedStep::List)) };
        expect(ProbedStep::List, objects.contains(&object))?;
        let begun = self.step(ProbedStep::Begin, ObjectRequest::Begin(key)).await?;
        let ObjectAnswer::Begun(multipart) = begun else {
            return Err(unlike(ProbedStep::Begin));
        };
        let rule = self.orphans_of(&multipart, &bytes, now).await?;
        self.step(ProbedStep::Delete, ObjectRequest::Delete(key)).await?;
        self.step(ProbedStep::Delete, ObjectRequest::Delete(object)).await?;
        for old in objects.into_iter().filter(|object| is_old(object.name, now)) {
            self.step(ProbedStep::Delete, ObjectRequest::Delete(old)).await?;
        }
        Ok(rule)
    }

    /// What else may not be done there, where `first` was refused for the lack of a right: each right is tried by itself.
    pub async fn other_lacks(&self, first: &ProbeError, random: [u8; 16]) -> Vec<ProbeError> {
        if !first.is_lack() {
            return Vec::new();
        }
        let id = TicketId::from_random(PROBES);
        let object = Key { id, name: ObjectName { purpose: Purpose::Fragment, random } };
        let key = Key { id, name: ObjectName { purpose: Purpose::File, random } };
        let range = ObjectRange { object: object.name, offset: 2, bytes: 3 };
        let bytes = Bytes::from_static(b"incoming");
        let mut steps = VecDeque::from([
            (ProbedStep::Put, ObjectRequest::Put(object, bytes.into())),
            (ProbedStep::Get, ObjectRequest::Get(id, range)),
            (ProbedStep::List, ObjectRequest::List(id)),
            (ProbedStep::Begin, ObjectRequest::Begin(key)),
            (ProbedStep::ListMultiparts, ObjectRequest::ListMultiparts(id)),
            (ProbedStep::Delete, ObjectRequest::Delete(object)),
        ]);
        let mut lacks = Vec::new();
        while let Some((step, request)) = steps.pop_front() {
            let error = match self.step(step, request).await {
                Ok(ObjectAnswer::Begun(multipart)) => {
                    let parts = ObjectRequest::ListParts(multipart.clone());
                    steps.push_back((ProbedStep::ListParts, parts));
                    steps.push_back((ProbedStep::Abort, ObjectRequest::Abort(multipart)));
                    continue;
                }
                Ok(_) => continue,
                Err(error) => error,
            };
            if step == ProbedStep::Put {
                // Of an object that is not there a store may say the same.
                steps.retain(|(step, _)| *step != ProbedStep::Get);
            }
            if error.is_lack() && step != first.step {
                lacks.push(error);
            }
        }
        lacks
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

    async fn orphans_of(
        &self,
        multipart: &Multipart,
        bytes: &Bytes,
        now: Timestamp,
    ) -> Result<OrphanRule, ProbeError> {
        let mut list: Vec<(PartNumber, Etag)> = Vec::new();
        // With a gap: each cell has two numbers, and uses one.
        for number in [1, 4].into_iter().filter_map(PartNumber::new) {
            let part = ObjectRequest::Part(multipart.clone(), number, bytes.clone().into());
            match self.step(ProbedStep::Part, part).await? {
                ObjectAnswer::Part(etag) => list.push((number, etag)),
                _ => return Err(unlike(ProbedStep::Part)),
            }
        }
        let parts = ObjectRequest::ListParts(multipart.clone());
        let ObjectAnswer::Parts(parts) = self.step(ProbedStep::ListParts, parts).await? else {
            return Err(unlike(ProbedStep::ListParts));
        };
        let listed: Vec<_> = parts.into_iter().map(|part| (part.number, part.etag)).collect();
        expect(ProbedStep::ListParts, listed == list)?;
        let all = ObjectRequest::ListMultiparts(multipart.key.id);
        let all = self.step(ProbedStep::ListMultiparts, all).await?;
        let ObjectAnswer::Multiparts(all) = all else {
            return Err(unlike(ProbedStep::ListMultiparts));
        };
        expect(ProbedStep::ListMultiparts, all.contains(multipart))?;
        let complete = ObjectRequest::Complete(multipart.clone(), list.split_off(1));
        let rule = match self.ask(complete).await {
            Ok(_) => OrphanRule::Dropped,
            Err(ObjectError::InvalidPart) => OrphanRule::Refused,
            Err(error) => {
                let fault = ProbeFault::Refused { error };
                return Err(ProbeError { step: ProbedStep::Complete, fault });
            }
        };
        let old = all.into_iter().filter(|it| is_old(it.key.name, now));
        for ended in old.chain([multipart.clone()]) {
            self.step(ProbedStep::Abort, ObjectRequest::Abort(ended)).await?;
        }
        Ok(rule)
    }

    async fn step(
        &self,
        step: ProbedStep,
        request: ObjectRequest,
    ) -> Result<ObjectAnswer, ProbeError> {
        let refused = |error| ProbeError { step, fault: ProbeFault::Refused { error } };
        self.ask(request).await.map_err(refused)
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

fn expect(step: ProbedStep, fits: bool) -> Result<(), ProbeError> {
    if fits { Ok(()) } else { Err(unlike(step)) }
}

fn unlike(step: ProbedStep) -> ProbeError {
    ProbeError { step, fault: ProbeFault::Unlike }
}
