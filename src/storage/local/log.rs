//! Appending to one journal: whole records at a known end, and nothing after a failure.
//!
//! A full disk is not a failure: what was half written is cut off and the same log goes on. After
//! any other failed write, and after any failed sync, the log refuses everything.

use super::format::record::{MAGIC, Record, encode};
use super::format::replay::Replayed;
use crate::core::event::{Event, Ticket};
use crate::core::id::RunIdentity;
use crate::core::id::TicketId;
use crate::storage::local::journal_files::{JournalFile, JournalFiles, SyncWhen};
use std::io;

/// The end of one journal, where records are appended.
pub struct Log {
    id: TicketId,
    /// `None` until it is opened.
    file: Option<Box<dyn JournalFile>>,
    end: u64,
    state: State,
    /// This run, while it is to be noted before anything else.
    run: Option<RunIdentity>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The file may be longer than `end`: a torn tail that has to go before the first append.
    Torn,
    Good,
    Failed,
}

/// An append or sync did not happen.
#[derive(Debug)]
pub enum LogError {
    /// The disk is full; the log is as it was and may be tried again.
    NoSpace,
    /// The disk failed, now or earlier; the log takes nothing more.
    Fault(io::Error),
}

/// Makes the journal of a fresh ticket.
///
/// Answers its bytes.
///
/// Durability: as `sync` says. Errors: [`LogError::NoSpace`] leaves nothing behind.
pub fn create(store: &dyn JournalFiles, ticket: &Ticket, sync: SyncWhen) -> Result<u64, LogError> {
    let mut bytes = MAGIC.to_vec();
    encode(&Record::Event(Event::Created(Box::new(ticket.clone()))), &mut bytes);
    store.create(ticket.id, &bytes, sync).map_err(LogError::from)?;
    Ok(bytes.len() as u64)
}

impl Log {
    /// The journal of `id`, to be appended to behind its `valid_bytes`. `run` is noted before the first records, where it
    /// is given. Nothing is opened.
    pub fn new(id: TicketId, valid_bytes: u64, run: Option<RunIdentity>) -> Self {
        Self { id, file: None, end: valid_bytes, state: State::Torn, run }
    }

    /// As [`Log::new`], of a journal that was just made with so many bytes.
    pub fn begun(id: TicketId, bytes: u64, now: RunIdentity) -> Self {
        Self { state: State::Good, ..Self::new(id, bytes, Some(now)) }
    }

    /// As [`Log::new`], of a journal that was replayed in the run `now`.
    pub fn of(id: TicketId, replayed: &Replayed, now: RunIdentity) -> Self {
        let is_new = replayed.run != Some(now) || replayed.faulted;
        Self::new(id, replayed.valid_bytes, is_new.then_some(now))
    }

    /// Opens the journal for appending, unless it is open.
    pub fn open(&mut self, store: &dyn JournalFiles) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(store.open(self.id)?);
        }
        Ok(())
    }

    /// Appends `records`, which are encoded, in one write, to a log that is open. Not durable until [`Log::sync`].
    ///
    /// Errors: [`LogError::NoSpace`] when the disk is full, with nothing appended;
    /// [`LogError::Fault`] otherwise, and ever after.
    pub fn append(&mut self, records: &[u8]) -> Result<(), LogError> {
        if let Some(run) = self.run {
            let mut bytes = Vec::with_capacity(records.len() + 48);
            encode(&Record::Run(run), &mut bytes);
            bytes.extend_from_slice(records);
            self.write(&bytes)?;
        } else {
            self.write(records)?;
        }
        self.run = None;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        self.check()?;
        if self.state == State::Torn {
            self.cut()?;
        }
        let end = self.end;
        match self.file()?.write_at(bytes, end) {
            Ok(()) => {
                self.end += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                let error = LogError::from(error);
                match error {
                    LogError::NoSpace => self.cut()?,
                    LogError::Fault(_) => self.state = State::Failed,
                }
                Err(error)
            }
        }
    }

    /// The journal was replaced by `file`, which says the same in `end` bytes: what comes is appended there.
    pub fn moved(&mut self, file: Box<dyn JournalFile>, end: u64) {
        self.file = Some(file);
        self.end = end;
    }

    /// Makes everything appended durable.
    ///
    /// Errors: [`LogError::Fault`]; it is not known what is durable then, so the log is over.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.check()?;
        self.file()?.sync().map_err(|error| {
            self.state = State::Failed;
            LogError::Fault(error)
        })
    }

    /// Where the next record will begin, in bytes from the start of the journal.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Notes that a write or sync of the upload's bytes failed, as the last record of this log: what a chunk beside it
    /// claims must not follow. Best effort: the disk is failing.
    pub fn note_fault(&mut self, store: &dyn JournalFiles) {
        let mut bytes = Vec::new();
        encode(&Record::Faulted, &mut bytes);
        // Also where nothing was appended yet: ranges of an earlier process may be unsynced.
        let opened = self.open(store).map_err(LogError::from);
        if opened.and_then(|()| self.write(&bytes)).and_then(|()| self.sync()).is_err() {
            tracing::debug!("could not record the fault in the journal");
        }
        self.state = State::Failed;
    }

    fn cut(&mut self) -> Result<(), LogError> {
        let end = self.end;
        self.file()?.truncate(end).map_err(|error| {
            self.state = State::Failed;
            LogError::Fault(error)
        })?;
        self.state = State::Good;
        Ok(())
    }

    fn file(&mut self) -> Result<&mut dyn JournalFile, LogError> {
        match &mut self.file {
            Some(file) => Ok(&mut **file),
            None => Err(LogError::Fault(io::Error::other("the journal is not open"))),
        }
    }

    fn check(&self) -> Result<(), LogError> {
        match self.state {
            State::Torn | State::Good => Ok(()),
            State::Failed => Err(LogError::Fault(io::Error::other(
                "an earlier write or sync of this journal failed",
            ))),
        }
    }
}

impl From<io::Error> for LogError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A journal that may not grow (RLIMIT_FSIZE) is as good as a full disk: it is whole, and takes no more.
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoSpace,
            _ => Self::Fault(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::{Stamp, Timestamp, Uptime};
    use crate::storage::local::format::record::decode;
    use crate::storage::memory::journals::MemoryJournals;

    #[test]
    fn a_full_disk_leaves_the_log_whole_and_a_fault_ends_it() {
        let store = MemoryJournals::default();
        let id = TicketId::from_random([1; 16]);
        store.create(id, b"head", SyncWhen::Now).unwrap();
        let mut log = Log::new(id, 4, None);
        log.open(&store).unwrap();
        let at = Stamp { date: Timestamp(7), uptime: Uptime(9) };
        let record = Record::Event(Event::Published { at });
        let mut record_bytes = Vec::new();
        encode(&record, &mut record_bytes);
        store.fail_next(id, 5, io::ErrorKind::StorageFull);
        assert!(matches!(log.append(&record_bytes), Err(LogError::NoSpace)));
        assert_eq!(store.live(id).unwrap(), b"head");
        log.append(&record_bytes).unwrap();
        let held = store.live(id).unwrap();
        assert_eq!(decode(&held[4..]).unwrap().0, record);
        let mut noting = Log::new(id, held.len() as u64, None);
        noting.note_fault(&store);
        let noted = store.live(id).unwrap();
        assert_eq!(decode(&noted[held.len()..]).unwrap().0, Record::Faulted);
        assert!(matches!(noting.append(&record_bytes), Err(LogError::Fault(_))));
        assert_eq!(store.live(id).unwrap(), noted, "nothing follows it");
        store.fail_next(id, 5, io::ErrorKind::Other);
        assert!(matches!(log.append(&record_bytes), Err(LogError::Fault(_))));
        assert!(matches!(log.append(&record_bytes), Err(LogError::Fault(_))));
        assert!(matches!(log.sync(), Err(LogError::Fault(_))));
    }

    #[test]
    fn a_torn_tail_is_cut_before_the_first_append() {
        let store = MemoryJournals::default();
        let id = TicketId::from_random([1; 16]);
        store
            .create(
                id,
                b"head and a torn tail that is quite long, longer than a record",
                SyncWhen::Now,
            )
            .unwrap();
        let mut log = Log::new(id, 4, None);
        log.open(&store).unwrap();
        let mut synced = Vec::new();
        encode(&Record::Synced { before: 4 }, &mut synced);
        log.append(&synced).unwrap();
        let held = store.live(id).unwrap();
        assert_eq!(decode(&held[4..]).unwrap(), (Record::Synced { before: 4 }, held.len() - 4));
    }
}
