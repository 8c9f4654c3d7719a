//! What every bucket must do; each runs this suite, those in memory and those of real servers.

use super::{Key, Multipart, ObjectAnswer, ObjectError, ObjectRequest, Objects, OrphanRule};
use crate::core::grid::{MAX_PARTS, MIN_PART_BYTES, PartNumber};
use crate::core::id::TicketId;
use crate::core::piece_event::{Etag, ObjectName, Orphan, Purpose};
use crate::core::pieces::ObjectRange;
use bytes::Bytes;

/// Runs the suite. `seed` sets its names apart from those of other runs on the same bucket.
pub(crate) async fn check(bucket: &impl Objects, seed: u8) {
    let suite = Suite { bucket, id: TicketId::from_random([seed; 16]) };
    suite.objects_are_whole_and_read_in_ranges().await;
    suite.missing_things_are_gone().await;
    suite.parts_become_an_object_in_the_order_of_their_numbers().await;
    suite.a_list_that_does_not_fit_is_refused().await;
    suite.the_bytes_of_a_part_are_those_of_its_etag().await;
    suite.nothing_joins_what_is_completed_or_aborted().await;
    suite.names_tell_lists_apart().await;
    suite.orphans_are_as_the_store_says().await;
    suite.parts_are_copied_from_objects().await;
    suite.lists_are_of_one_upload().await;
    suite.sweep().await;
}

struct Suite<'a, B> {
    bucket: &'a B,
    id: TicketId,
}

fn part_of(byte: u8) -> Bytes {
    Bytes::from(vec![byte; usize::try_from(MIN_PART_BYTES).unwrap()])
}

fn number(number: u32) -> PartNumber {
    PartNumber::new(number).unwrap()
}

impl<B: Objects> Suite<'_, B> {
    fn key(&self, purpose: Purpose, name: u8) -> Key {
        Key { id: self.id, name: ObjectName { purpose, random: [name; 16] } }
    }

    async fn ask(&self, request: ObjectRequest) -> Result<ObjectAnswer, ObjectError> {
        // A store may be busy at any time, and says so.
        for _ in 0..20 {
            match self.bucket.ask(request.clone()).await {
                Err(ObjectError::Busy) => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
        Err(ObjectError::Busy)
    }

    async fn begin(&self, name: u8) -> Multipart {
        let begun = self.ask(ObjectRequest::Begin(self.key(Purpose::File, name))).await;
        let Ok(ObjectAnswer::Begun(multipart)) = begun else { panic!("{begun:?}") };
        multipart
    }

    async fn part(&self, multipart: &Multipart, number: PartNumber, bytes: Bytes) -> Etag {
        let part = self.ask(ObjectRequest::Part(multipart.clone(), number, bytes.into())).await;
        let Ok(ObjectAnswer::Part(etag)) = part else { panic!("{part:?}") };
        etag
    }

    async fn complete(
        &self,
        multipart: &Multipart,
        list: &[(PartNumber, Etag)],
    ) -> Result<ObjectAnswer, ObjectError> {
        match self.ask(ObjectRequest::Complete(multipart.clone(), list.to_vec())).await? {
            ObjectAnswer::Completed(_) => Ok(ObjectAnswer::Done),
            other => panic!("{other:?}"),
        }
    }

    async fn read(&self, key: Key, offset: u64, bytes: u64) -> Result<Bytes, ObjectError> {
        let range = ObjectRange { object: key.name, offset, bytes };
        match self.ask(ObjectRequest::Get(self.id, range)).await? {
            ObjectAnswer::Bytes(bytes) => Ok(bytes),
            other => panic!("{other:?}"),
        }
    }

    async fn objects_are_whole_and_read_in_ranges(&self) {
        let key = self.key(Purpose::Fragment, 1);
        let bytes = Bytes::from((0..=255).collect::<Vec<u8>>());
        let cut = [bytes.slice(..7), bytes.slice(7..200), bytes.slice(200..)];
        let put = ObjectRequest::Put(key, cut.into_iter().collect());
        assert_eq!(self.ask(put).await, Ok(ObjectAnswer::Done));
        assert_eq!(self.ask(ObjectRequest::Head(key)).await, Ok(ObjectAnswer::Size(256)));
        for (offset, count) in [(0, 256), (0, 1), (100, 56), (255, 1)] {
            let start = usize::try_from(offset).unwrap();
            let expected = bytes.slice(start..start + usize::try_from(count).unwrap());
            assert_eq!(self.read(key, offset, count).await, Ok(expected));
        }
        // Bytes that are not there are no shorter answer.
        for (offset, count) in [(0, 257), (255, 2), (256, 1), (1000, 1)] {
            assert_eq!(self.read(key, offset, count).await, Err(ObjectError::Gone), "{offset}");
        }
        let empty = self.key(Purpose::File, 2);
        let put = ObjectRequest::Put(empty, Bytes::new().into());
        assert_eq!(self.ask(put).await, Ok(ObjectAnswer::Done));
        assert_eq!(self.ask(ObjectRequest::Head(empty)).await, Ok(ObjectAnswer::Size(0)));
        for key in [key, empty, key] {
            assert_eq!(self.ask(ObjectRequest::Delete(key)).await, Ok(ObjectAnswer::Done));
            assert_eq!(self.ask(ObjectRequest::Head(key)).await, Err(ObjectError::Gone));
        }
    }

    async fn missing_things_are_gone(&self) {
        let key = self.key(Purpose::File, 3);
        assert_eq!(self.ask(ObjectRequest::Head(key)).await, Err(ObjectError::Gone));
        assert_eq!(self.read(key, 0, 1).await, Err(ObjectError::Gone));
        let multipart = self.begin(3).await;
        let aborted = ObjectRequest::Abort(multipart.clone());
        assert_eq!(self.ask(aborted.clone()).await, Ok(ObjectAnswer::Done));
        assert_eq!(self.ask(aborted).await, Ok(ObjectAnswer::Done));
        let listed = self.ask(ObjectRequest::ListParts(multipart.clone())).await;
        assert_eq!(listed, Err(ObjectError::Gone));
        let copy = ObjectRange { object: key.name, offset: 0, bytes: 1 };
        let copied = ObjectRequest::CopyPart(multipart, number(1), copy);
        assert_eq!(self.ask(copied).await, Err(ObjectError::Gone));
    }

    async fn parts_become_an_object_in_the_order_of_their_numbers(&self) {
        let multipart = self.begin(4).await;
        let last = Bytes::from_static(b"the end");
        // The last one first; numbers with gaps.
        let end = self.part(&multipart, number(MAX_PARTS), last.clone()).await;
        let middle = self.part(&multipart, number(4001), part_of(2)).await;
        let first = self.part(&multipart, number(2), part_of(1)).await;
        let orphan = |number, bytes, etag: &Etag| Orphan { number, bytes, etag: etag.clone() };
        let expected = vec![
            orphan(number(2), MIN_PART_BYTES, &first),
            orphan(number(4001), MIN_PART_BYTES, &middle),
            orphan(number(MAX_PARTS), 7, &end),
        ];
        let listed = self.ask(ObjectRequest::ListParts(multipart.clone())).await;
        assert_eq!(listed, Ok(ObjectAnswer::Parts(expected)));
        assert_eq!(self.ask(ObjectRequest::Head(multipart.key)).await, Err(ObjectError::Gone));
        let list = [(number(2), first), (number(4001), middle), (number(MAX_PARTS), end)];
        assert_eq!(self.complete(&multipart, &list).await, Ok(ObjectAnswer::Done));
        let size = 2 * MIN_PART_BYTES + 7;
        let head = self.ask(ObjectRequest::Head(multipart.key)).await;
        assert_eq!(head, Ok(ObjectAnswer::Size(size)));
        let across = self.read(multipart.key, MIN_PART_BYTES - 1, 2).await;
        assert_eq!(across, Ok(Bytes::from_static(&[1, 2])));
        assert_eq!(self.read(multipart.key, size - 7, 7).await, Ok(last));
    }

    async fn a_list_that_does_not_fit_is_refused(&self) {
        let multipart = self.begin(5).await;
        let first = (number(1), self.part(&multipart, number(1), part_of(5)).await);
        let last = (number(3), self.part(&multipart, number(3), Bytes::from_static(b"last")).await);
        let other = (number(3), Etag("00000000000000000000000000000000".into()));
        let refused = self.complete(&multipart, &[first.clone(), other]).await;
        assert_eq!(refused, Err(ObjectError::InvalidPart));
        let missing = (number(5), last.1.clone());
        let refused = self.complete(&multipart, &[first.clone(), missing]).await;
        assert_eq!(refused, Err(ObjectError::InvalidPart));
        // No part but the last may be shorter; no request of ours asks for it.
        let short =
            (number(2), self.part(&multipart, number(2), Bytes::from_static(b"short")).await);
        let refused = self.complete(&multipart, &[first, short, last]).await;
        assert!(matches!(refused, Err(ObjectError::Unusable(_))), "{refused:?}");
        assert_eq!(self.ask(ObjectRequest::Head(multipart.key)).await, Err(ObjectError::Gone));
        assert_eq!(self.ask(ObjectRequest::Abort(multipart)).await, Ok(ObjectAnswer::Done));
    }

    /// A number that is used twice: what is listed is what the object holds, or the list is refused.
    async fn the_bytes_of_a_part_are_those_of_its_etag(&self) {
        for listed in [0, 1] {
            let multipart = self.begin(6).await;
            let bytes = [Bytes::from_static(b"before"), Bytes::from_static(b"after.")];
            let before = self.part(&multipart, number(1), bytes[0].clone()).await;
            let after = self.part(&multipart, number(1), bytes[1].clone()).await;
            assert_ne!(before, after, "other bytes have another name");
            let list = [(number(1), [before, after][listed].clone())];
            match self.complete(&multipart, &list).await {
                // SeaweedFS keeps both.
                Ok(_) => {
                    let read = self.read(multipart.key, 0, 6).await;
                    assert_eq!(read, Ok(bytes[listed].clone()));
                    let head = self.ask(ObjectRequest::Head(multipart.key)).await;
                    assert_eq!(head, Ok(ObjectAnswer::Size(6)));
                }
                Err(error) => {
                    assert_eq!(
                        (listed, error),
                        (0, ObjectError::InvalidPart),
                        "the later one fits"
                    );
                    let aborted = self.ask(ObjectRequest::Abort(multipart)).await;
                    assert_eq!(aborted, Ok(ObjectAnswer::Done));
                }
            }
        }
    }

    async fn nothing_joins_what_is_completed_or_aborted(&self) {
        let completed = self.begin(7).await;
        let etag = self.part(&completed, number(1), Bytes::from_static(b"whole")).await;
        let list = [(number(1), etag)];
        assert_eq!(self.complete(&completed, &list).await, Ok(ObjectAnswer::Done));
        let aborted = self.begin(8).await;
        assert_eq!(self.ask(ObjectRequest::Abort(aborted.clone())).await, Ok(ObjectAnswer::Done));
        for multipart in [&completed, &aborted] {
            let late = Bytes::from_static(b"late").into();
            let late = ObjectRequest::Part(multipart.clone(), number(2), late);
            assert_eq!(self.ask(late).await, Err(ObjectError::Gone));
        }
        // A second time it is done already, or not known any more; the object is as it was.
        let again = self.complete(&completed, &list).await;
        let said = [Ok(ObjectAnswer::Done), Err(ObjectError::Gone), Err(ObjectError::Unsure)];
        assert!(said.contains(&again), "{again:?}");
        let unknown = self.complete(&aborted, &list).await;
        // Ceph 16 says that it is being completed.
        assert!(said[1..].contains(&unknown), "{unknown:?}");
        assert_eq!(self.ask(ObjectRequest::Abort(completed.clone())).await, Ok(ObjectAnswer::Done));
        assert_eq!(self.read(completed.key, 0, 5).await, Ok(Bytes::from_static(b"whole")));
        assert_eq!(self.ask(ObjectRequest::Head(aborted.key)).await, Err(ObjectError::Gone));
    }

    /// What a store that names content calls an object says which list it was made of, also where it is asked for another
    /// list of as many bytes.
    async fn names_tell_lists_apart(&self) {
        let (completed, other) = (self.begin(30).await, self.begin(31).await);
        let etag = self.part(&completed, number(1), part_of(5)).await;
        let again = self.part(&other, number(1), part_of(5)).await;
        let unlike = self.part(&other, number(2), part_of(6)).await;
        let expected = self.bucket.etag_of(&[&etag]);
        let names_content = again == etag;
        let complete =
            |etag: Etag| ObjectRequest::Complete(completed.clone(), vec![(number(1), etag)]);
        let answer = self.ask(complete(etag)).await;
        let Ok(ObjectAnswer::Completed(named)) = answer else { panic!("{answer:?}") };
        let answer = self.ask(ObjectRequest::Describe(completed.key)).await;
        let Ok(ObjectAnswer::Described(described)) = answer else { panic!("{answer:?}") };
        assert_eq!(described.bytes, MIN_PART_BYTES);
        if names_content {
            assert_eq!(Some(Etag(described.etag)), expected);
            assert!(named.is_none() || named == expected, "{named:?}");
        }
        let expected = self.bucket.etag_of(&[&unlike]);
        if let Ok(ObjectAnswer::Completed(named)) = self.ask(complete(unlike)).await {
            assert_ne!(named, expected);
        }
        assert_eq!(self.ask(ObjectRequest::Abort(other)).await, Ok(ObjectAnswer::Done));
    }

    async fn orphans_are_as_the_store_says(&self) {
        let multipart = self.begin(9).await;
        let mut list = Vec::new();
        for at in [1, 4, 5] {
            list.push((number(at), self.part(&multipart, number(at), part_of(3)).await));
        }
        let without = [list[0].clone(), list[2].clone()];
        let completed = self.complete(&multipart, &without).await;
        match self.bucket.orphan_rule() {
            OrphanRule::Dropped => assert_eq!(completed, Ok(ObjectAnswer::Done)),
            OrphanRule::Refused => {
                assert_eq!(completed, Err(ObjectError::InvalidPart));
                assert_eq!(self.complete(&multipart, &list).await, Ok(ObjectAnswer::Done));
            }
        }
        let parts = match self.bucket.orphan_rule() {
            OrphanRule::Dropped => 2,
            OrphanRule::Refused => 3,
        };
        let head = self.ask(ObjectRequest::Head(multipart.key)).await;
        assert_eq!(head, Ok(ObjectAnswer::Size(parts * MIN_PART_BYTES)));
    }

    async fn parts_are_copied_from_objects(&self) {
        let source = self.key(Purpose::Fragment, 10);
        let mut bytes = part_of(4).to_vec();
        bytes.extend_from_slice(b"tail");
        assert!(self.ask(ObjectRequest::Put(source, Bytes::from(bytes).into())).await.is_ok());
        let multipart = self.begin(11).await;
        let range = |offset, bytes| ObjectRange { object: source.name, offset, bytes };
        let mut list = Vec::new();
        for (at, range) in [(2, range(0, MIN_PART_BYTES)), (4, range(MIN_PART_BYTES, 4))] {
            let copy = ObjectRequest::CopyPart(multipart.clone(), number(at), range);
            let copied = self.ask(copy).await;
            let Ok(ObjectAnswer::Part(etag)) = copied else { panic!("{copied:?}") };
            list.push((number(at), etag));
        }
        assert_eq!(self.complete(&multipart, &list).await, Ok(ObjectAnswer::Done));
        let tail = self.read(multipart.key, MIN_PART_BYTES - 1, 5).await;
        assert_eq!(tail, Ok(Bytes::from_static(b"\x04tail")));
    }

    async fn lists_are_of_one_upload(&self) {
        self.sweep().await;
        let other = TicketId::from_random([self.id.as_bytes()[0].wrapping_add(1); 16]);
        let neighbour = Key { id: other, ..self.key(Purpose::File, 12) };
        assert!(self.ask(ObjectRequest::Put(neighbour, Bytes::new().into())).await.is_ok());
        let mut expected = Vec::new();
        for purpose in [Purpose::File, Purpose::Fragment] {
            for name in 1..=5 {
                let key = self.key(purpose, name);
                assert!(self.ask(ObjectRequest::Put(key, Bytes::new().into())).await.is_ok());
                expected.push(key);
            }
        }
        let mut begun = Vec::new();
        for name in 20..25 {
            begun.push(self.begin(name).await);
        }
        // Two of one key.
        begun.push(self.begin(20).await);
        // No file is made so of anything else, and none is looked for.
        let other = ObjectRequest::Begin(self.key(Purpose::Fragment, 20));
        let Ok(ObjectAnswer::Begun(other)) = self.ask(other).await else { panic!("not begun") };
        begun.sort();
        assert_eq!(self.listed().await, (expected, begun));
        assert!(self.ask(ObjectRequest::Abort(other)).await.is_ok());
        assert!(self.ask(ObjectRequest::Delete(neighbour)).await.is_ok());
    }

    async fn listed(&self) -> (Vec<Key>, Vec<Multipart>) {
        let objects = self.ask(ObjectRequest::List(self.id)).await;
        let Ok(ObjectAnswer::Objects(mut objects)) = objects else { panic!("{objects:?}") };
        let multiparts = self.ask(ObjectRequest::ListMultiparts(self.id)).await;
        let Ok(ObjectAnswer::Multiparts(mut multiparts)) = multiparts else {
            panic!("{multiparts:?}")
        };
        objects.sort();
        multiparts.sort();
        (objects, multiparts)
    }

    async fn sweep(&self) {
        let (objects, multiparts) = self.listed().await;
        for key in objects {
            assert_eq!(self.ask(ObjectRequest::Delete(key)).await, Ok(ObjectAnswer::Done));
        }
        for multipart in multiparts {
            assert_eq!(self.ask(ObjectRequest::Abort(multipart)).await, Ok(ObjectAnswer::Done));
        }
        assert_eq!(self.listed().await, (vec![], vec![]));
    }
}

mod memory {
    use super::*;
    use crate::storage::memory::bucket::{
        BrokenPart, BucketRules, Etags, MemoryBucket, PartSizes, Unknown,
    };
    use std::sync::Mutex;

    struct Shared(Mutex<MemoryBucket>);

    impl Objects for Shared {
        async fn ask(&self, request: ObjectRequest) -> Result<ObjectAnswer, ObjectError> {
            self.0.lock().unwrap().act(&request)
        }

        fn orphan_rule(&self) -> OrphanRule {
            self.0.lock().unwrap().rules().orphans
        }

        fn etag_of(&self, parts: &[&Etag]) -> Option<Etag> {
            Some(MemoryBucket::etag_of(parts))
        }
    }

    #[tokio::test]
    async fn bucket_in_memory() {
        let rules = [(OrphanRule::Dropped, Unknown::Gone), (OrphanRule::Refused, Unknown::Unclear)];
        for (orphans, unknown) in rules {
            for etags in [Etags::OfContent, Etags::OfRequest] {
                let (min_part_bytes, sizes) = (MIN_PART_BYTES, PartSizes::Any);
                let rules = BucketRules {
                    orphans,
                    etags,
                    min_part_bytes,
                    sizes,
                    unknown,
                    broken: BrokenPart::Nothing,
                };
                check(&Shared(Mutex::new(MemoryBucket::new(rules))), 1).await;
            }
        }
    }
}
