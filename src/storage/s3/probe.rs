//! What a server finds out about its bucket at the start: that it may do there what it has to, and what the store does
//! with parts that a list leaves out.

use super::S3Bucket;
use super::request::Call;
use crate::core::grid::PartNumber;
use crate::core::id::TicketId;
use crate::core::piece_event::{Etag, ObjectName, Purpose};
use crate::core::pieces::ObjectRange;
use crate::storage::objects::{
    Key, Multipart, ObjectAnswer, ObjectError, ObjectRequest, Objects, OrphanRule,
};
use bytes::Bytes;
use std::fmt;

/// A bucket cannot be used as it is.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {error}")]
pub struct ProbeError {
    /// What was tried.
    pub step: ProbedStep,
    /// What the store said.
    pub error: ObjectError,
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
    /// Tries what will be needed, under the name of the upload `id`, which is no upload's, and learns what the store does
    /// with orphans. Leaves nothing behind where it ends well.
    ///
    /// # Errors
    /// The first step that did not do.
    pub async fn probe(
        &mut self,
        id: TicketId,
        random: [u8; 16],
    ) -> Result<OrphanRule, ProbeError> {
        self.reach(id).await?;
        let object = Key { id, name: ObjectName { purpose: Purpose::Fragment, random } };
        let key = Key { id, name: ObjectName { purpose: Purpose::File, random } };
        let bytes = Bytes::from_static(b"incoming");
        self.step(ProbedStep::Put, ObjectRequest::Put(object, bytes.clone())).await?;
        let size = self.step(ProbedStep::Head, ObjectRequest::Head(object)).await?;
        expect(ProbedStep::Head, size == ObjectAnswer::Size(8))?;
        let range = ObjectRange { object: object.name, offset: 2, bytes: 3 };
        let read = self.step(ProbedStep::Get, ObjectRequest::Get(id, range)).await?;
        expect(ProbedStep::Get, read == ObjectAnswer::Bytes(bytes.slice(2..5)))?;
        let list = self.step(ProbedStep::List, ObjectRequest::List(id)).await?;
        expect(ProbedStep::List, list == ObjectAnswer::Objects(vec![object]))?;
        let begun = self.step(ProbedStep::Begin, ObjectRequest::Begin(key)).await?;
        let ObjectAnswer::Begun(multipart) = begun else {
            return Err(unclear(ProbedStep::Begin));
        };
        let rule = self.orphans_of(&multipart, &bytes).await?;
        self.orphans = rule;
        self.step(ProbedStep::Delete, ObjectRequest::Delete(key)).await?;
        self.step(ProbedStep::Delete, ObjectRequest::Delete(object)).await?;
        Ok(rule)
    }

    /// Whether there is any answer: what is not one is told as it is.
    async fn reach(&self, id: TicketId) -> Result<(), ProbeError> {
        let step = ProbedStep::Reach;
        let failed = |error| ProbeError { step, error };
        let call = Call::list(id, Purpose::File, None).build(&self.options);
        let (request, reading) = call.map_err(failed)?;
        let request = self.signer.sign(request).await.map_err(failed)?;
        match self.transport.send(request, reading.most_bytes()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(failed(ObjectError::Unusable(error.to_string()))),
        }
    }

    async fn orphans_of(
        &self,
        multipart: &Multipart,
        bytes: &Bytes,
    ) -> Result<OrphanRule, ProbeError> {
        let mut list: Vec<(PartNumber, Etag)> = Vec::new();
        // With a gap: each cell has two numbers, and uses one.
        for number in [1, 4].into_iter().filter_map(PartNumber::new) {
            let part = ObjectRequest::Part(multipart.clone(), number, bytes.clone());
            match self.step(ProbedStep::Part, part).await? {
                ObjectAnswer::Part(etag) => list.push((number, etag)),
                _ => return Err(unclear(ProbedStep::Part)),
            }
        }
        let parts = ObjectRequest::ListParts(multipart.clone());
        let ObjectAnswer::Parts(parts) = self.step(ProbedStep::ListParts, parts).await? else {
            return Err(unclear(ProbedStep::ListParts));
        };
        let listed: Vec<_> = parts.into_iter().map(|part| (part.number, part.etag)).collect();
        expect(ProbedStep::ListParts, listed == list)?;
        let all = ObjectRequest::ListMultiparts(multipart.key.id);
        let all = self.step(ProbedStep::ListMultiparts, all).await?;
        expect(
            ProbedStep::ListMultiparts,
            all == ObjectAnswer::Multiparts(vec![multipart.clone()]),
        )?;
        let complete = ObjectRequest::Complete(multipart.clone(), list.split_off(1));
        let rule = match self.ask(complete).await {
            Ok(_) => OrphanRule::Dropped,
            Err(ObjectError::InvalidPart) => OrphanRule::Refused,
            Err(error) => return Err(ProbeError { step: ProbedStep::Complete, error }),
        };
        self.step(ProbedStep::Abort, ObjectRequest::Abort(multipart.clone())).await?;
        Ok(rule)
    }

    async fn step(
        &self,
        step: ProbedStep,
        request: ObjectRequest,
    ) -> Result<ObjectAnswer, ProbeError> {
        self.ask(request).await.map_err(|error| ProbeError { step, error })
    }
}

fn expect(step: ProbedStep, fits: bool) -> Result<(), ProbeError> {
    if fits { Ok(()) } else { Err(unclear(step)) }
}

fn unclear(step: ProbedStep) -> ProbeError {
    ProbeError { step, error: ObjectError::Unsure }
}
