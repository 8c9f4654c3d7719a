//! A bucket in memory, for tests, with the differences of real stores and with ghosts: requests that were given up, and
//! have their effect when nobody waits for them any more.

use crate::core::grid::PartNumber;
use crate::core::id::TicketId;
use crate::core::piece_event::{Etag, Orphan};
use crate::core::pieces::ObjectRange;
use crate::storage::objects::{
    Key, Multipart, ObjectAnswer, ObjectError, ObjectRequest, OrphanRule,
};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;

/// How this store differs from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketRules {
    /// What becomes of parts that a list leaves out.
    pub orphans: OrphanRule,
    /// What a part's content is called.
    pub etags: Etags,
    /// No part but the last of a list may have fewer bytes.
    pub min_part_bytes: u64,
    /// Which sizes a list may have besides.
    pub sizes: PartSizes,
}

/// What a store calls the content of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Etags {
    /// By its bytes, as an MD5.
    OfContent,
    /// By the request that wrote it, as with keys of a KMS.
    OfRequest,
}

/// Which sizes the parts of one list may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartSizes {
    /// Any.
    Any,
    /// One size for all but the last, which is not larger. Source: Cloudflare R2, limits.
    Equal,
}

/// Objects and multipart uploads.
pub struct MemoryBucket {
    rules: BucketRules,
    objects: BTreeMap<Key, Bytes>,
    multiparts: BTreeMap<Multipart, BTreeMap<PartNumber, HeldPart>>,
    ghosts: Vec<ObjectRequest>,
    requests: u64,
}

#[derive(Clone, Debug)]
struct HeldPart {
    bytes: Bytes,
    etag: Etag,
}

impl MemoryBucket {
    /// An empty bucket.
    pub fn new(rules: BucketRules) -> Self {
        Self {
            rules,
            objects: BTreeMap::new(),
            multiparts: BTreeMap::new(),
            ghosts: Vec::new(),
            requests: 0,
        }
    }

    /// How it differs from others.
    pub fn rules(&self) -> BucketRules {
        self.rules
    }

    /// Has a request have its effect some time later, when it is taken by [`Self::take_ghost`].
    pub fn leave_ghost(&mut self, request: ObjectRequest) {
        self.ghosts.push(request);
    }

    /// Requests that may still have their effect.
    pub fn ghosts(&self) -> usize {
        self.ghosts.len()
    }

    /// One of them, to have its effect now by [`Self::act`]; nobody hears of it.
    pub fn take_ghost(&mut self, which: usize) -> ObjectRequest {
        self.ghosts.swap_remove(which)
    }

    /// A request has its effect now.
    ///
    /// # Errors
    /// As a store of this kind answers.
    pub fn act(&mut self, request: &ObjectRequest) -> Result<ObjectAnswer, ObjectError> {
        self.requests += 1;
        match request {
            ObjectRequest::Put(key, bytes) => {
                self.objects.insert(*key, bytes.clone());
                Ok(ObjectAnswer::Done)
            }
            ObjectRequest::Get(id, range) => self.range(*id, *range).map(ObjectAnswer::Bytes),
            ObjectRequest::Head(key) => {
                let object = self.objects.get(key).ok_or(ObjectError::Gone)?;
                Ok(ObjectAnswer::Size(object.len() as u64))
            }
            ObjectRequest::Delete(key) => {
                self.objects.remove(key);
                Ok(ObjectAnswer::Done)
            }
            ObjectRequest::Begin(key) => {
                let multipart = Multipart { key: *key, name: format!("m{}", self.requests) };
                self.multiparts.insert(multipart.clone(), BTreeMap::new());
                Ok(ObjectAnswer::Begun(multipart))
            }
            ObjectRequest::Part(multipart, number, bytes) => {
                self.part(multipart, *number, bytes.clone())
            }
            ObjectRequest::CopyPart(multipart, number, range) => {
                let bytes = self.range(multipart.key.id, *range)?;
                self.part(multipart, *number, bytes)
            }
            ObjectRequest::Complete(multipart, list) => self.complete(multipart, list),
            ObjectRequest::Abort(multipart) => {
                self.multiparts.remove(multipart);
                Ok(ObjectAnswer::Done)
            }
            ObjectRequest::ListParts(multipart) => {
                let parts = self.multiparts.get(multipart).ok_or(ObjectError::Gone)?;
                let part = |(number, part): (&PartNumber, &HeldPart)| Orphan {
                    number: *number,
                    bytes: part.bytes.len() as u64,
                    etag: part.etag.clone(),
                };
                Ok(ObjectAnswer::Parts(parts.iter().map(part).collect()))
            }
            ObjectRequest::List(id) => {
                let keys = self.objects.keys().filter(|key| key.id == *id);
                Ok(ObjectAnswer::Objects(keys.copied().collect()))
            }
            ObjectRequest::ListMultiparts(id) => {
                let all = self.multiparts.keys().filter(|multipart| multipart.key.id == *id);
                Ok(ObjectAnswer::Multiparts(all.cloned().collect()))
            }
        }
    }

    /// The content of an object.
    pub fn object(&self, key: Key) -> Option<&Bytes> {
        self.objects.get(&key)
    }

    /// What the part with this number is called, and its content.
    pub fn held_part(&self, multipart: &Multipart, number: PartNumber) -> Option<(&Etag, &Bytes)> {
        let part = self.multiparts.get(multipart)?.get(&number)?;
        Some((&part.etag, &part.bytes))
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<Key> {
        self.objects.keys().copied().collect()
    }

    /// All multipart uploads.
    pub fn multiparts(&self) -> Vec<Multipart> {
        self.multiparts.keys().cloned().collect()
    }

    /// Whether a multipart upload is neither completed nor aborted.
    pub fn has(&self, multipart: &Multipart) -> bool {
        self.multiparts.contains_key(multipart)
    }

    fn range(&self, id: TicketId, range: ObjectRange) -> Result<Bytes, ObjectError> {
        let object = self.objects.get(&Key { id, name: range.object }).ok_or(ObjectError::Gone)?;
        let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let (start, end) = (place(range.offset), place(range.offset + range.bytes));
        if end > object.len() {
            return Err(ObjectError::Gone);
        }
        Ok(object.slice(start..end))
    }

    fn part(
        &mut self,
        multipart: &Multipart,
        number: PartNumber,
        bytes: Bytes,
    ) -> Result<ObjectAnswer, ObjectError> {
        let etag = match self.rules.etags {
            Etags::OfContent => Etag(format!("{:08x}-{}", crc32c::crc32c(&bytes), bytes.len())),
            Etags::OfRequest => Etag(format!("r{}", self.requests)),
        };
        let parts = self.multiparts.get_mut(multipart).ok_or(ObjectError::Gone)?;
        parts.insert(number, HeldPart { bytes, etag: etag.clone() });
        Ok(ObjectAnswer::Part(etag))
    }

    fn complete(
        &mut self,
        multipart: &Multipart,
        list: &[(PartNumber, Etag)],
    ) -> Result<ObjectAnswer, ObjectError> {
        let parts = self.multiparts.get(multipart).ok_or(ObjectError::Gone)?;
        let mut object = BytesMut::new();
        let ascending = list.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if list.is_empty() || !ascending {
            return Err(ObjectError::Unusable("MalformedXML".into()));
        }
        let mut sizes = Vec::with_capacity(list.len());
        for (number, etag) in list {
            let part = parts.get(number).filter(|part| part.etag == *etag);
            let part = part.ok_or(ObjectError::InvalidPart)?;
            sizes.push(part.bytes.len() as u64);
            object.extend_from_slice(&part.bytes);
        }
        if self.rules.orphans == OrphanRule::Refused && parts.len() != list.len() {
            return Err(ObjectError::InvalidPart);
        }
        let last = sizes.pop().unwrap_or_default();
        let too_small = sizes.iter().any(|size| *size < self.rules.min_part_bytes);
        let unequal = sizes.iter().any(|size| *size != sizes[0]) || sizes.first() < Some(&last);
        if too_small {
            return Err(ObjectError::Unusable("EntityTooSmall".into()));
        }
        if self.rules.sizes == PartSizes::Equal && !sizes.is_empty() && unequal {
            return Err(ObjectError::Unusable("parts are not of one size".into()));
        }
        self.objects.insert(multipart.key, object.freeze());
        self.multiparts.remove(multipart);
        Ok(ObjectAnswer::Done)
    }
}
