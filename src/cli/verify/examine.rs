//! One upload of a storage directory: its journal is replayed as the server replays it, and what that
//! says is held against what lies there.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use sha2::Digest as _;

use super::finding::{Finding, Kind};
use crate::core::event::Durability;
use crate::core::id::TicketId;
use crate::core::retry::LastCall;
use crate::core::time::Uptime;
use crate::core::upload::{Phase, Upload};
use crate::storage::local::files::Files;
use crate::storage::local::format::replay::{JournalState, Replayed, Unreadable};
use crate::storage::local::format::tail::Tail;
use crate::storage::local::integrity::{self, Mismatch, Siblings};
use crate::storage::local::journal_files::JournalFiles;
use crate::storage::local::journals::LocalJournals;
use crate::storage::local::store::LocalStore;

/// A storage directory that is looked at.
pub(super) struct StoredUploads {
    pub(super) store: LocalStore,
    pub(super) journals: LocalJournals,
    ack: Durability,
}

/// How closely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Journals are read; of files what the directory says.
    Names,
    /// Files are read.
    Bytes,
}

impl StoredUploads {
    /// Errors: no storage directory, or one that cannot be read.
    pub(super) fn open(dir: &Path, ack: Durability) -> io::Result<Self> {
        let store = LocalStore::look(dir)?;
        let journals = LocalJournals::open(store.directory())?;
        Ok(Self { store, journals, ack })
    }

    /// What seems wrong with an upload at this moment. `bytes` counts what is read of files. Blocks.
    pub(super) fn upload(&self, id: TicketId, depth: Depth, bytes: &mut u64) -> Vec<Finding> {
        let read = || -> io::Result<Option<Result<(JournalState, Tail), Unreadable>>> {
            let Some(journal) = self.journals.read(id)? else { return Ok(None) };
            JournalState::read_whole(journal, id, NOW).map(Some)
        };
        let read = match read() {
            Ok(Some(read)) => read,
            // It was over, and has been forgotten meanwhile.
            Ok(None) => return Vec::new(),
            Err(error) => {
                return vec![Finding::new(id, Kind::JournalUnreadable, error.to_string())];
            }
        };
        let (mut replayed, tail) = match read {
            Ok((state, tail)) => (state.seen_in(self.store.run()), tail),
            Err(error @ (Unreadable::Blank | Unreadable::Unborn)) => {
                return vec![self.unborn(id, error)];
            }
            Err(error) => {
                return vec![Finding::new(id, Kind::JournalUnreadable, error.to_string())];
            }
        };
        let mut examination = Examination { stored: self, id, depth, bytes, found: Vec::new() };
        examination.journal(tail, &replayed);
        if let Err(error) = integrity::await_rename(&self.store, id, &mut replayed.upload) {
            examination.add(Kind::PartUnreadable, error.to_string());
        }
        examination.bytes_of(&replayed.upload);
        examination.found
    }

    /// As [`StoredUploads::upload`], of a state that stands: a journal that moves on meanwhile is read again.
    pub(super) fn settled(&self, id: TicketId, depth: Depth, bytes: &mut u64) -> Vec<Finding> {
        let journal = || self.checksum(id).ok();
        let mut found = Vec::new();
        for _ in 0..LOOKS {
            let before = journal();
            found = self.upload(id, depth, bytes);
            if found.is_empty() || journal() == before {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        found
    }

    /// What tells one moment of a journal from another: its length and a checksum of it; `None` where there is none.
    fn checksum(&self, id: TicketId) -> io::Result<Option<(u64, u32)>> {
        let Some(mut journal) = self.journals.read(id)? else { return Ok(None) };
        let (mut length, mut checksum, mut buffer) = (0, 0, vec![0; 64 << 10]);
        loop {
            let count = journal.read(&mut buffer)?;
            if count == 0 {
                return Ok(Some((length, checksum)));
            }
            checksum = crc32c::crc32c_append(checksum, &buffer[..count]);
            length += count as u64;
        }
    }

    /// Bytes whose journal is not there, if that is still so.
    pub(super) fn orphan(&self, id: TicketId, kind: Kind) -> Option<Finding> {
        if self.journals.read(id).ok().flatten().is_some() {
            return None;
        }
        match kind {
            Kind::PartAlone => {
                let length = self.store.open(id).ok()??.length().unwrap_or(0);
                let detail = format!(
                    "a part of {length} bytes has no journal; the next start of a server removes it"
                );
                Some(Finding::new(id, kind, detail))
            }
            _ => {
                let length = self.store.published(id).ok()??;
                let detail = format!(
                    "a file of {length} bytes has no journal: left to the backend \
                     (removeFileWhenFinished=false), or its journal was lost; no server removes it"
                );
                Some(Finding::new(id, Kind::FileAlone, detail))
            }
        }
    }

    /// A journal without a ticket. The same rule as the server's: only where bytes may belong to it,
    /// or it is no trace of a power cut, is that damage.
    fn unborn(&self, id: TicketId, why: Unreadable) -> Finding {
        // What cannot be looked at may be there.
        let beside = Siblings {
            part: !matches!(self.store.open(id), Ok(None)),
            published: !matches!(self.store.published(id), Ok(None)),
        };
        if !integrity::is_forgotten(why, beside, self.ack) {
            let why = format!("{why}, but its part exists");
            return Finding::new(id, Kind::JournalUnreadable, why);
        }
        let why = format!("{why}: a ticket lost in a crash");
        Finding::new(id, Kind::JournalUnborn, why)
    }
}

/// The examination of one upload.
struct Examination<'a> {
    stored: &'a StoredUploads,
    id: TicketId,
    depth: Depth,
    bytes: &'a mut u64,
    found: Vec<Finding>,
}

impl Examination<'_> {
    fn add(&mut self, kind: Kind, detail: impl Into<String>) {
        self.found.push(Finding::new(self.id, kind, detail));
    }

    /// What the journal says of itself.
    fn journal(&mut self, tail: Tail, replayed: &Replayed) {
        let (valid, behind) = (replayed.valid_bytes, tail.bytes);
        match tail.hidden_record {
            Some(at) => self.add(
                Kind::JournalBroken,
                format!(
                    "the record at byte {valid} is damaged, and intact ones follow from byte \
                     {at} on: what they record is lost"
                ),
            ),
            None if behind > 0 => self.add(
                Kind::TornTail,
                format!("its last {behind} bytes are an incomplete record, as after a crash"),
            ),
            None => {}
        }
        if replayed.faulted {
            self.add(Kind::FaultNoted, "the server recorded that a write or sync failed");
        }
        let upload = &replayed.upload;
        let end = upload.received().end();
        if let Some(length) = upload.length().filter(|length| end > *length) {
            let why = format!("bytes up to {end} are claimed of a file of {length}");
            self.add(Kind::JournalContradicts, why);
        }
        let over = matches!(
            upload.phase(),
            Phase::HandingOver(_) | Phase::Finished { .. } | Phase::Failed { .. }
        );
        if over && !upload.is_complete() {
            let held = upload.received().bytes();
            let why = format!(
                "the journal says that the file is complete, but only {held} bytes \
                               are claimed"
            );
            self.add(Kind::JournalContradicts, why);
        }
    }

    /// What lies there of it.
    fn bytes_of(&mut self, upload: &Upload) {
        match upload.phase() {
            Phase::New | Phase::Uploading => {
                match integrity::check(&self.stored.store, self.id, upload) {
                    Ok(()) if self.depth == Depth::Bytes => self.read_part(upload),
                    Ok(()) => {}
                    Err(lack @ Mismatch::Unreadable(_)) => {
                        self.add(Kind::PartUnreadable, lack.to_string())
                    }
                    Err(lack @ Mismatch::Short { .. }) => {
                        self.add(Kind::PartShort, lack.to_string())
                    }
                    Err(lack @ Mismatch::NoPart) => self.add(Kind::PartMissing, lack.to_string()),
                }
            }
            Phase::HandingOver(calls) => {
                let confirmed = matches!(calls.last, LastCall::Begun | LastCall::Waiting { .. });
                let may_be_taken = calls.begun > 0 && (confirmed || !upload.removes_file());
                self.file(upload, calls.begun, may_be_taken);
                self.no_part();
            }
            Phase::Failed { calls, .. } => {
                self.file(upload, *calls, *calls > 0 && !upload.removes_file());
                self.no_part();
            }
            Phase::Finished { .. } => {
                if upload.removes_file()
                    && matches!(self.stored.store.published(self.id), Ok(Some(_)))
                {
                    self.add(Kind::BytesLeft, "finished, but its file is not removed yet");
                }
                self.no_part();
            }
            Phase::Cancelled { .. } => self.no_part(),
        }
    }

    fn no_part(&mut self) {
        if !matches!(self.stored.store.open(self.id), Ok(None)) {
            self.add(Kind::BytesLeft, "its part is no longer needed and not removed yet");
        }
    }

    /// The published file, which the backend may have taken if it was called.
    fn file(&mut self, upload: &Upload, calls: u32, may_be_taken: bool) {
        let length = match self.stored.store.published(self.id) {
            Ok(Some(length)) => length,
            Ok(None) if may_be_taken => {
                return self.add(
                    Kind::FileTaken,
                    format!(
                        "its file is missing; the backend was called {calls} times and may \
                             have moved it"
                    ),
                );
            }
            Ok(None) => {
                let why = match calls {
                    0 => "the published file is missing, and the backend was not called yet"
                        .to_owned(),
                    calls => format!("the published file is missing after {calls} failed calls"),
                };
                return self.add(Kind::FileMissing, why);
            }
            Err(error) => return self.add(Kind::FileUnreadable, error.to_string()),
        };
        if let Some(wanted) = upload.length().filter(|wanted| *wanted != length) {
            let why = format!("the published file has {length} bytes, the journal says {wanted}");
            self.add(Kind::FileLength, why);
        } else if self.depth == Depth::Bytes {
            self.read_file(upload);
        }
    }

    /// Every acknowledged byte of the part.
    fn read_part(&mut self, upload: &Upload) {
        let part = match self.stored.store.open(self.id) {
            Ok(Some(part)) => part,
            // In its place meanwhile, or nothing is claimed.
            Ok(None) => return,
            Err(error) => return self.add(Kind::PartUnreadable, error.to_string()),
        };
        let mut buffer = vec![0; READ_BYTES];
        for extent in upload.received().as_slice() {
            let mut at = extent.start();
            while at < extent.end() {
                let left = usize::try_from(extent.end() - at).unwrap_or(READ_BYTES);
                let piece = &mut buffer[..left.min(READ_BYTES)];
                if let Err(error) = part.read_at(piece, at) {
                    return self.add(Kind::PartUnreadable, format!("from byte {at} on: {error}"));
                }
                at += piece.len() as u64;
                *self.bytes += piece.len() as u64;
            }
        }
    }

    /// The whole file, and its digest where one was recorded.
    fn read_file(&mut self, upload: &Upload) {
        let mut hash = sha2::Sha256::new();
        let mut read = || -> io::Result<()> {
            let mut file = self.stored.store.read(self.id, 0)?;
            let mut buffer = vec![0; READ_BYTES];
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(()),
                    count => {
                        *self.bytes += count as u64;
                        // Hashing costs more than reading.
                        if upload.sha256().is_some() {
                            hash.update(&buffer[..count]);
                        }
                    }
                }
            }
        };
        match read() {
            // The backend has taken it meanwhile; the second examination would say if not.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.add(Kind::FileUnreadable, error.to_string()),
            Ok(()) => {
                let found: [u8; 32] = hash.finalize().into();
                if upload.sha256().is_some_and(|recorded| *recorded != found) {
                    self.add(
                        Kind::DigestMismatch,
                        "the published file has another SHA-256 than was recorded",
                    );
                }
            }
        }
    }
}

/// No matter which: nothing here looks at times.
const NOW: Uptime = Uptime(u64::MAX);
/// Bytes of a file read at a time.
const READ_BYTES: usize = 1 << 20;
/// How often an upload is looked at that changes all the time.
const LOOKS: u32 = 5;
/// Between two such looks.
const PAUSE: Duration = Duration::from_millis(100);
