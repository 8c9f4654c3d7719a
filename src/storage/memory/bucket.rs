//! A bucket in memory, for tests, with the differences of real stores and with ghosts: requests that were given up, and
//! have their effect when nobody waits for them any more.

use crate::core::grid::PartNumber;
use crate::core::id::TicketId;
use crate::core::piece_event::{Etag, Orphan, Purpose};
use crate::core::pieces::ObjectRange;
use crate::storage::objects::{
    Description, Key, Multipart, ObjectAnswer, ObjectError, ObjectRequest, OrphanRule,
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
    /// What is said to a list for a multipart upload that is not there.
    pub unknown: Unknown,
    /// What a request that breaks off in its body does to the part that has its number.
    pub broken: BrokenPart,
}

/// What a request that breaks off in its body does to the part that has its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenPart {
    /// Nothing.
    Nothing,
    /// Its bytes are gone, and nothing says so: it is listed and completed as before. Source: Ceph 16, as measured.
    Destroys,
}

/// What a store says to a list for a multipart upload that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// That it is not there.
    Gone,
    /// Nothing that is clear. Source: Ceph 16, "This multipart completion is already in progress".
    Unclear,
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
    objects: BTreeMap<Key, HeldPart>,
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
                let etag = self.etag(&bytes.joined());
                self.objects.insert(*key, HeldPart { bytes: bytes.joined(), etag });
                Ok(ObjectAnswer::Done)
            }
            ObjectRequest::Get(id, range) => self.range(*id, *range).map(ObjectAnswer::Bytes),
            ObjectRequest::Head(key) => {
                let object = self.objects.get(key).ok_or(ObjectError::Gone)?;
                Ok(ObjectAnswer::Size(object.bytes.len() as u64))
            }
            ObjectRequest::Describe(key) => {
                let object = self.objects.get(key).ok_or(ObjectError::Gone)?;
                let (bytes, etag) = (object.bytes.len() as u64, object.etag.0.clone());
                Ok(ObjectAnswer::Described(Description { bytes, etag, version: String::new() }))
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
                self.part(multipart, *number, bytes.joined())
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
                let of = |key: Key| key.id == *id && key.name.purpose == Purpose::File;
                let all = self.multiparts.keys().filter(|multipart| of(multipart.key));
                Ok(ObjectAnswer::Multiparts(all.cloned().collect()))
            }
        }
    }

    /// The body of a request broke off, so that it is not done, and is not answered.
    pub fn break_off(&mut self, request: &ObjectRequest) {
        let ObjectRequest::Part(multipart, number, _) = request else { return };
        let part = self.multiparts.get_mut(multipart).and_then(|parts| parts.get_mut(number));
        if let Some(part) = part.filter(|_| self.rules.broken == BrokenPart::Destroys) {
            part.bytes = part.bytes.iter().map(|byte| !byte).collect();
        }
    }

    /// The content of an object.
    pub fn object(&self, key: Key) -> Option<&Bytes> {
        self.objects.get(&key).map(|object| &object.bytes)
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
        if end > object.bytes.len() {
            return Err(ObjectError::Gone);
        }
        Ok(object.bytes.slice(start..end))
    }

    /// What an object is called that is made of parts with these names, by a store that names content.
    pub fn etag_of(parts: &[&Etag]) -> Etag {
        let all: Vec<&str> = parts.iter().map(|Etag(part)| part.as_str()).collect();
        Etag(format!("{:08x}-{}", crc32c::crc32c(all.concat().as_bytes()), parts.len()))
    }

    fn etag(&self, bytes: &Bytes) -> Etag {
        match self.rules.etags {
            Etags::OfContent => Etag(format!("{:08x}-{}", crc32c::crc32c(bytes), bytes.len())),
            Etags::OfRequest => Etag(format!("r{}", self.requests)),
        }
    }

    fn part(
        &mut self,
        multipart: &Multipart,
        number: PartNumber,
        bytes: Bytes,
    ) -> Result<ObjectAnswer, ObjectError> {
        let etag = self.etag(&bytes);
        let parts = self.multiparts.get_mut(multipart).ok_or(ObjectError::Gone)?;
        parts.insert(number, HeldPart { bytes, etag: etag.clone() });
        Ok(ObjectAnswer::Part(etag))
    }

    fn complete(
        &mut self,
        multipart: &Multipart,
        list: &[(PartNumber, Etag)],
    ) -> Result<ObjectAnswer, ObjectError> {
        let missing = match self.rules.unknown {
            Unknown::Gone => ObjectError::Gone,
            Unknown::Unclear => ObjectError::Unsure,
        };
        let parts = self.multiparts.get(multipart).ok_or(missing)?;
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
        let bytes = object.freeze();
        let etag = match self.rules.etags {
            Etags::OfContent => {
                Self::etag_of(&list.iter().map(|(_, etag)| etag).collect::<Vec<_>>())
            }
            Etags::OfRequest => self.etag(&bytes),
        };
        self.objects.insert(multipart.key, HeldPart { bytes, etag: etag.clone() });
        self.multiparts.remove(multipart);
        Ok(ObjectAnswer::Completed(Some(etag)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::piece_event::{ObjectName, Purpose};

    fn key() -> Key {
        let name = ObjectName { purpose: Purpose::File, random: [1; 16] };
        Key { id: TicketId::from_random([2; 16]), name }
    }

    fn rules(orphans: OrphanRule) -> BucketRules {
        let (etags, sizes, unknown) = (Etags::OfContent, PartSizes::Any, Unknown::Gone);
        let broken = BrokenPart::Destroys;
        BucketRules { orphans, etags, min_part_bytes: 5, sizes, unknown, broken }
    }

    /// A bucket with one multipart upload that has these parts; answers them as a list too.
    fn with_parts(
        rules: BucketRules,
        parts: &[(u32, &'static [u8])],
    ) -> (MemoryBucket, Multipart, Vec<(PartNumber, Etag)>) {
        let mut bucket = MemoryBucket::new(rules);
        let Ok(ObjectAnswer::Begun(multipart)) = bucket.act(&ObjectRequest::Begin(key())) else {
            panic!("not begun");
        };
        let mut list = Vec::new();
        for (number, bytes) in parts {
            let number = PartNumber::new(*number).unwrap();
            let part = {
                let bytes = Bytes::from_static(bytes).into();
                ObjectRequest::Part(multipart.clone(), number, bytes)
            };
            let Ok(ObjectAnswer::Part(etag)) = bucket.act(&part) else { panic!("no part") };
            list.push((number, etag));
        }
        (bucket, multipart, list)
    }

    #[test]
    fn orphans_are_dropped_or_refused() {
        let parts: [(u32, &[u8]); 3] = [(1, b"aaaaa"), (4, b"bbbbb"), (6, b"c")];
        for rule in [OrphanRule::Dropped, OrphanRule::Refused] {
            let (mut bucket, multipart, mut list) = with_parts(rules(rule), &parts);
            let all = list.clone();
            list.remove(1);
            let completed = bucket.act(&ObjectRequest::Complete(multipart.clone(), list));
            match rule {
                OrphanRule::Dropped => assert!(completed.is_ok(), "{completed:?}"),
                OrphanRule::Refused => {
                    assert_eq!(completed, Err(ObjectError::InvalidPart));
                    let completed = bucket.act(&ObjectRequest::Complete(multipart.clone(), all));
                    assert!(completed.is_ok(), "{completed:?}");
                }
            }
            let late = ObjectRequest::Part(
                multipart.clone(),
                PartNumber::new(2).unwrap(),
                Bytes::new().into(),
            );
            assert_eq!(bucket.act(&late), Err(ObjectError::Gone), "nothing joins an object");
        }
    }

    /// Why only cells of full size are sent directly: see `Grid::direct_cell`.
    #[test]
    fn a_short_orphan_in_the_middle_is_there_for_ever() {
        let parts: [(u32, &[u8]); 3] = [(1, b"aaaaa"), (3, b"b"), (4, b"b")];
        let (mut bucket, multipart, list) = with_parts(rules(OrphanRule::Refused), &parts);
        for left_out in 0..3 {
            let mut list = list.clone();
            list.remove(left_out);
            let completed = bucket.act(&ObjectRequest::Complete(multipart.clone(), list));
            assert_eq!(completed, Err(ObjectError::InvalidPart));
        }
        let completed = bucket.act(&ObjectRequest::Complete(multipart, list));
        assert_eq!(completed, Err(ObjectError::Unusable("EntityTooSmall".into())));
    }

    #[test]
    fn content_has_a_name_by_its_bytes_or_by_its_request() {
        for etags in [Etags::OfContent, Etags::OfRequest] {
            let of = BucketRules { etags, ..rules(OrphanRule::Dropped) };
            let (mut bucket, multipart, list) = with_parts(of, &[(2, b"aaaaa"), (2, b"aaaaa")]);
            let first = vec![list[0].clone()];
            let completed = bucket.act(&ObjectRequest::Complete(multipart, first));
            match etags {
                Etags::OfContent => {
                    let etag = MemoryBucket::etag_of(&[&list[0].1]);
                    assert_eq!(completed, Ok(ObjectAnswer::Completed(Some(etag))));
                }
                Etags::OfRequest => assert_eq!(completed, Err(ObjectError::InvalidPart)),
            }
        }
    }

    /// Why no number is ever sent twice, with the same bytes either.
    #[test]
    fn a_second_request_that_breaks_off_destroys_an_acknowledged_part() {
        let (mut bucket, multipart, list) = with_parts(rules(OrphanRule::Refused), &[(2, b"a")]);
        bucket.break_off(&ObjectRequest::Part(multipart.clone(), list[0].0, Bytes::new().into()));
        let completed = bucket.act(&ObjectRequest::Complete(multipart.clone(), list));
        assert!(completed.is_ok(), "{completed:?}");
        assert_eq!(bucket.act(&ObjectRequest::Head(key())), Ok(ObjectAnswer::Size(1)));
        assert_ne!(bucket.object(key()), Some(&Bytes::from_static(b"a")));
    }

    #[test]
    fn one_size_for_all_but_the_last() {
        let check = |parts: &[(u32, &'static [u8])], fits: bool| {
            let of = BucketRules { sizes: PartSizes::Equal, ..rules(OrphanRule::Dropped) };
            let (mut bucket, multipart, list) = with_parts(of, parts);
            assert_eq!(bucket.act(&ObjectRequest::Complete(multipart, list)).is_ok(), fits);
        };
        check(&[(1, b"aaaaaa"), (3, b"aaaaaa"), (6, b"a")], true);
        check(&[(1, b"aaaaaa"), (3, b"aaaaa"), (6, b"a")], false);
        check(&[(1, b"aaaaaa"), (4, b"aaaaaaa")], false);
        check(&[(2, b"a")], true);
    }
}
