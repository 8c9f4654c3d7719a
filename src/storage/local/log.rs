//! Appending to one journal: whole records at a known end, and nothing after a failure.
//!
//! A full disk is not a failure: what was half written is cut off and the same log goes on. After
//! any other failed write, and after any failed sync, the log refuses everything.

use super::format::record::{MAGIC, Record, encode};
use crate::core::event::{Event, Ticket};
use crate::core::id::TicketId;
use crate::storage::journal::{JournalFile, JournalStore, SyncWhen};
use std::io;

/// The end of one journal, open for appending.
pub struct Log {
    file: Box<dyn JournalFile>,
    end: u64,
    state: State,
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
/// Durability: as `sync` says. Errors: [`LogError::NoSpace`] leaves nothing behind.
pub fn create(store: &dyn JournalStore, ticket: &Ticket, sync: SyncWhen) -> Result<(), LogError> {
    let mut bytes = MAGIC.to_vec();
    encode(&Record::Event(Event::Created(Box::new(ticket.clone()))), &mut bytes);
    store.create(ticket.id, &bytes, sync).map_err(LogError::from)
}

impl Log {
    /// Opens the journal of `id` for appending behind its `valid_bytes`.
    pub fn open(store: &dyn JournalStore, id: TicketId, valid_bytes: u64) -> io::Result<Self> {
        Ok(Self { file: store.open(id)?, end: valid_bytes, state: State::Torn })
    }

    /// Appends `records`, in order, in one write. Not durable until [`Log::sync`].
    ///
    /// Errors: [`LogError::NoSpace`] when the disk is full, with nothing appended;
    /// [`LogError::Fault`] otherwise, and ever after.
    pub fn append(&mut self, records: &[Record]) -> Result<(), LogError> {
        self.check()?;
        let mut bytes = Vec::with_capacity(records.len() * 48);
        for record in records {
            encode(record, &mut bytes);
        }
        if self.state == State::Torn {
            self.cut()?;
        }
        match self.file.write_at(&bytes, self.end) {
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
        self.file = file;
        self.end = end;
    }

    /// Makes everything appended durable.
    ///
    /// Errors: [`LogError::Fault`]; it is not known what is durable then, so the log is over.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.check()?;
        self.file.sync().map_err(|error| {
            self.state = State::Failed;
            LogError::Fault(error)
        })
    }

    /// Where the next record will begin, in bytes from the start of the journal.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Notes that a write or sync of the upload's bytes failed. Best effort: the disk is failing.
    pub fn note_fault(&mut self) {
        if self.append(&[Record::Faulted]).and_then(|()| self.sync()).is_err() {
            tracing::debug!("could not record the fault in the journal");
        }
    }

    fn cut(&mut self) -> Result<(), LogError> {
        self.file.truncate(self.end).map_err(|error| {
            self.state = State::Failed;
            LogError::Fault(error)
        })?;
        self.state = State::Good;
        Ok(())
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
        let mut log = Log::open(&store, id, 4).unwrap();
        let at = Stamp { date: Timestamp(7), uptime: Uptime(9) };
        let record = Record::Event(Event::Published { at });
        store.fail_next(id, 5, io::ErrorKind::StorageFull);
        assert!(matches!(log.append(std::slice::from_ref(&record)), Err(LogError::NoSpace)));
        assert_eq!(store.live(id).unwrap(), b"head");
        log.append(std::slice::from_ref(&record)).unwrap();
        let held = store.live(id).unwrap();
        assert_eq!(decode(&held[4..]).unwrap().0, record);
        store.fail_next(id, 5, io::ErrorKind::Other);
        assert!(matches!(log.append(std::slice::from_ref(&record)), Err(LogError::Fault(_))));
        assert!(matches!(log.append(std::slice::from_ref(&record)), Err(LogError::Fault(_))));
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
        let mut log = Log::open(&store, id, 4).unwrap();
        log.append(&[Record::Synced { before: 4 }]).unwrap();
        let held = store.live(id).unwrap();
        assert_eq!(decode(&held[4..]).unwrap(), (Record::Synced { before: 4 }, held.len() - 4));
    }
}
