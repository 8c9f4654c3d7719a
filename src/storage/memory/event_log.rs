//! A shared log in memory, for tests: many servers append to it, and it can be set back as by a failover that loses
//! commits. Every call has its effect at once; who delays or loses requests and answers does that around it.

mod agenda;
mod servers;

use crate::core::id::TicketId;
use crate::storage::event_log::{Append, Appended, LogRead, Marks, Seen};
use servers::Reported;
use std::collections::BTreeMap;

/// The logs of all uploads, with their holds; and what servers have said of themselves.
#[derive(Default)]
pub struct MemoryEventLog {
    logs: BTreeMap<TicketId, Log>,
    servers: BTreeMap<u64, Reported>,
}

#[derive(Default)]
struct Log {
    appends: Vec<Append>,
    /// Who holds it, until when.
    hold: Option<(u64, u64)>,
    /// Who calls its backend, until when.
    call_hold: Option<(u64, u64)>,
    marks: Option<Marks>,
}

impl Log {
    /// What is read back has no marks.
    fn push(&mut self, append: Append) {
        self.marks = append.marks.or(self.marks);
        self.appends.push(Append { marks: None, ..append });
    }
}

impl MemoryEventLog {
    /// Begins a log.
    pub fn create(&mut self, id: TicketId, append: Append) -> Appended {
        if self.logs.contains_key(&id) {
            return Appended::Behind;
        }
        let at = Seen { seq: 1, tag: append.tag };
        self.logs.entry(id).or_default().push(append);
        Appended::At(at)
    }

    /// What lies behind `seen`; the whole log where that is `None`.
    pub fn read(&self, id: TicketId, seen: Option<Seen>) -> LogRead {
        let Some(log) = self.logs.get(&id) else { return LogRead::Unknown };
        let Some(seen) = seen else { return LogRead::More(log.appends.clone()) };
        let known = log.appends.get(index(seen)).is_some_and(|append| append.tag == seen.tag);
        if known {
            LogRead::More(log.appends[index(seen) + 1..].to_vec())
        } else {
            LogRead::OtherHistory
        }
    }

    /// Appends directly behind `seen`.
    pub fn append(&mut self, id: TicketId, seen: Seen, append: Append) -> Appended {
        if self.head(id) != Some(seen) {
            return Appended::Behind;
        }
        let at = Seen { seq: seen.seq + 1, tag: append.tag };
        if let Some(log) = self.logs.get_mut(&id) {
            log.push(append);
        }
        Appended::At(at)
    }

    /// Takes or renews the hold at `now_ms`; answers whether it was free.
    pub fn hold(&mut self, id: TicketId, holder: u64, now_ms: u64, time_ms: u64) -> bool {
        let Some(log) = self.logs.get_mut(&id) else { return false };
        let held = log.hold.filter(|(_, until)| *until > now_ms);
        let own_until = match held {
            Some((by, _)) if by != holder => return false,
            Some((_, until)) => until,
            None => 0,
        };
        // Other work of the same server may have taken it for longer.
        log.hold = Some((holder, own_until.max(now_ms + time_ms)));
        true
    }

    /// Removes the log, if nothing stands behind `seen`.
    pub fn remove(&mut self, id: TicketId, seen: Seen) -> Appended {
        if self.head(id) != Some(seen) {
            return Appended::Behind;
        }
        self.logs.remove(&id);
        Appended::At(seen)
    }

    /// The last append.
    pub fn head(&self, id: TicketId) -> Option<Seen> {
        let log = self.logs.get(&id)?;
        log.appends.last().map(|last| Seen { seq: log.appends.len() as u64, tag: last.tag })
    }

    /// All logs that there are.
    pub fn ids(&self) -> Vec<TicketId> {
        self.logs.keys().copied().collect()
    }

    /// The log ends with its append number `seq` again, which is 1 at least.
    pub fn set_back(&mut self, id: TicketId, seq: u64) {
        if let Some(log) = self.logs.get_mut(&id) {
            log.appends.truncate(usize::try_from(seq).unwrap_or(usize::MAX).max(1));
        }
    }
}

fn index(seen: Seen) -> usize {
    usize::try_from(seen.seq - 1).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::Event;
    use crate::core::piece_event::ObjectEvent;
    use crate::storage::event_log::Tag;
    use std::sync::Arc;

    fn digested(byte: u8) -> ObjectEvent {
        ObjectEvent::Upload(Event::Digested { sha256: [byte; 32] })
    }

    fn append(tag: u64) -> Append {
        Append { tag: Tag(tag), events: Arc::from([digested(0)]), marks: None }
    }

    #[test]
    fn one_append_stands_at_one_place() {
        let (id, mut log) = (TicketId::from_random([1; 16]), MemoryEventLog::default());
        assert!(matches!(log.read(id, None), LogRead::Unknown));
        log.create(id, append(10));
        let first = log.head(id).unwrap();
        let Appended::At(second) = log.append(id, first, append(20)) else { panic!("behind") };
        assert_eq!(log.append(id, first, append(30)), Appended::Behind);
        // The same again, as after an answer that was lost.
        assert_eq!(log.append(id, first, append(20)), Appended::Behind);
        let LogRead::More(more) = log.read(id, Some(first)) else { panic!("nothing") };
        assert_eq!(more.iter().map(|append| append.tag).collect::<Vec<_>>(), [Tag(20)]);
        assert_eq!(log.remove(id, first), Appended::Behind);
        // A failover has lost the second; another one takes its place.
        log.set_back(id, 1);
        assert!(matches!(log.read(id, Some(second)), LogRead::OtherHistory));
        assert_eq!(log.append(id, second, append(40)), Appended::Behind);
        assert!(matches!(log.append(id, first, append(50)), Appended::At(_)));
        assert!(matches!(log.read(id, Some(second)), LogRead::OtherHistory));
    }

    #[test]
    fn a_hold_ends_by_itself() {
        let (id, mut log) = (TicketId::from_random([1; 16]), MemoryEventLog::default());
        log.create(id, append(10));
        assert!(log.hold(id, 1, 100, 50));
        assert!(!log.hold(id, 2, 149, 50));
        assert!(log.hold(id, 1, 149, 50));
        assert!(log.hold(id, 1, 150, 5), "it does not become shorter");
        assert!(!log.hold(id, 2, 198, 50));
        assert!(log.hold(id, 2, 199, 50));
    }
}
