//! What servers have left in a bucket whose logs are lost: fragments and multipart uploads of uploads that are not known.
//!
//! Only what lies below the prefix and has a name of this program's making is looked at, and no file. Two servers with logs of
//! their own may share a prefix; neither knows the uploads of the other. So each leaves its name there first, and where
//! there is another name nothing is removed.

use super::S3Bucket;
use super::answer::{Found, Page};
use super::keys::{root, upload_text};
use super::request::Call;
use crate::core::id::TicketId;
use crate::core::piece_event::{ObjectName, Purpose};
use crate::storage::objects::{Key, ObjectAnswer, ObjectError, ObjectRequest, Objects};
use bytes::Bytes;
use std::collections::HashSet;
use std::time::Duration;

/// The name of those who share a log, in a bucket: random, and kept with the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogName(pub [u8; 16]);

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// It was swept.
    Done(Swept),
    /// Others have logs for the prefix. These are the keys of their names.
    Shared(Vec<String>),
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Fragments.
    pub objects: u64,
    /// Multipart uploads.
    pub multiparts: u64,
}

impl S3Bucket {
    /// Leaves the name of the log below the prefix. Answers the keys of the names of others.
    ///
    /// # Errors
    /// Of the bucket; the name may be there.
    pub async fn name_log(&self, log: LogName) -> Result<Vec<String>, ObjectError> {
        let own =
            Key { id: logs(), name: ObjectName { purpose: Purpose::Fragment, random: log.0 } };
        let ObjectAnswer::Objects(mut all) = self.ask(ObjectRequest::List(logs())).await? else {
            return Err(ObjectError::Unsure);
        };
        if !all.contains(&own) {
            self.ask(ObjectRequest::Put(own, Bytes::from_static(TEXT).into())).await?;
        }
        all.retain(|key| *key != own);
        Ok(all.into_iter().map(|key| self.options.address(key).1).collect())
    }

    /// Removes what is older than `age`, by the store's clock, and belongs to no upload of `known`: all those that have a
    /// log. They are to be read before this is called. Where `log` is not the only name below the prefix nothing is removed.
    ///
    /// # Errors
    /// Of the bucket. Cancel: the rest stays.
    pub async fn sweep(
        &self,
        log: LogName,
        known: &[TicketId],
        age: Duration,
    ) -> Result<Sweep, ObjectError> {
        let others = self.name_log(log).await?;
        if !others.is_empty() {
            return Ok(Sweep::Shared(others));
        }
        let mut known: HashSet<String> = known.iter().map(|id| upload_text(*id)).collect();
        known.insert(upload_text(logs()));
        let mut swept = Swept::default();
        for purpose in [Purpose::File, Purpose::Fragment] {
            let root = root(&self.options.prefix, purpose);
            let is_litter =
                |found: &Found| found.age >= age && is_unknown(&found.key, &root, &known);
            swept.multiparts += self.remove_all(purpose, Call::all_multiparts, is_litter).await?;
            if purpose == Purpose::Fragment {
                swept.objects += self.remove_all(purpose, Call::all_objects, is_litter).await?;
            }
        }
        Ok(Sweep::Done(swept))
    }

    async fn remove_all(
        &self,
        purpose: Purpose,
        list: fn(Purpose, Option<&(String, String)>) -> Call,
        is_litter: impl Fn(&Found) -> bool,
    ) -> Result<u64, ObjectError> {
        let (mut removed, mut markers): (u64, Option<(String, String)>) = (0, None);
        loop {
            let page = self.call(list(purpose, markers.as_ref())).await?;
            let Page::Found(found, next) = page else { return Err(ObjectError::Unsure) };
            for one in found.into_iter().filter(&is_litter) {
                self.one(Call::remove(one)).await?;
                removed += 1;
            }
            match next {
                None => return Ok(removed),
                Some(next) if Some(&next) != markers.as_ref() => markers = Some(next),
                Some(_) => return Err(ObjectError::Unsure),
            }
        }
    }
}

/// Whether this is a key of this program's making, below `root`, and of no upload that is known.
fn is_unknown(key: &str, root: &str, known: &HashSet<String>) -> bool {
    let names = key.strip_prefix(root).and_then(|rest| rest.split_once('/'));
    let digits = |text: &str| {
        text.len() == 32 && text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
    };
    names.is_some_and(|(upload, name)| digits(upload) && digits(name) && !known.contains(upload))
}

/// The upload that is none, of which the names of logs are objects: no random number.
fn logs() -> TicketId {
    TicketId::from_random([0xff; 16])
}

const TEXT: &[u8] = b"This is the name of a server's logs (Incoming!!, bucket-log in its storage directory). Where the logs of \
another name lie below the same prefix, nothing is removed by age. Delete it when those logs are lost.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_its_own_making_are_litter() {
        let (known, lost) = (TicketId::from_random([1; 16]), TicketId::from_random([2; 16]));
        let set = HashSet::from([upload_text(known)]);
        let check = |key: &str, expected: bool| {
            assert_eq!(is_unknown(key, "p/parts/", &set), expected, "{key}");
        };
        let (name, lost) = ("ab".repeat(16), upload_text(lost));
        check(&format!("p/parts/{lost}/{name}"), true);
        check(&format!("p/parts/{}/{name}", upload_text(known)), false);
        check(&format!("p/files/{lost}/{name}"), false);
        check(&format!("q/parts/{lost}/{name}"), false);
        check(&format!("parts/{lost}/{name}"), false);
        check(&format!("p/parts/{lost}/{name}/x"), false);
        check(&format!("p/parts/{lost}/{}", "AB".repeat(16)), false);
        check(&format!("p/parts/{lost}/x"), false);
        check(&format!("p/parts/holiday/{name}"), false);
        check(&format!("p/parts/{lost}"), false);
    }
}
