//! A log in memory as several servers of one process use it, with what is due, by a clock of its own. It can be down.

use super::event_log::MemoryEventLog;
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::core::time::Uptime;
use crate::storage::agenda::{Agenda, Census, Taken, Work};
use crate::storage::event_log::{Append, Appended, CallMarks, EventLog, LogError, LogRead, Seen};
use crate::storage::promised::Promised;
use crate::storage::servers::{KnownServer, ServerReport};
use crate::storage::store::Unready;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// One server's way to it. Clones are the same server.
#[derive(Clone)]
pub struct SharedLog {
    shared: Arc<Shared>,
    server: u64,
}

struct Shared {
    log: Mutex<MemoryEventLog>,
    now_ms: AtomicU64,
    began: Instant,
    is_down: AtomicBool,
}

impl SharedLog {
    /// An empty one, whose clock shows this and goes on as tokio's; for a server of this name.
    pub fn new(now_ms: u64, server: u64) -> Self {
        let (log, is_down) = (Mutex::default(), AtomicBool::new(false));
        let shared = Shared { log, now_ms: AtomicU64::new(now_ms), began: Instant::now(), is_down };
        Self { shared: Arc::new(shared), server }
    }

    /// The same for another server.
    #[must_use]
    pub fn server(&self, server: u64) -> Self {
        Self { shared: Arc::clone(&self.shared), server }
    }

    /// Its clock goes on, by more than the time that passes anyway.
    pub fn pass(&self, time: Duration) {
        self.shared.now_ms.fetch_add(ms(time), Ordering::Relaxed);
    }

    /// It gives no answers from now on, or does again.
    pub fn set_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, Ordering::Relaxed);
    }

    /// What it holds, whether it is down or not.
    pub fn inner(&self) -> MutexGuard<'_, MemoryEventLog> {
        self.shared.log.lock().expect("no holder of this lock panics")
    }

    fn now_ms(&self) -> u64 {
        self.shared.now_ms.load(Ordering::Relaxed) + ms(self.shared.began.elapsed())
    }

    fn ask<T>(&self, act: impl FnOnce(&mut MemoryEventLog) -> T) -> Result<T, LogError> {
        if self.shared.is_down.load(Ordering::Relaxed) {
            return Err(LogError::Unsure);
        }
        Ok(act(&mut self.inner()))
    }

    fn promise<'a, T>(
        &self,
        act: impl FnOnce(&mut MemoryEventLog) -> T,
    ) -> Promised<'a, Result<T, LogError>> {
        Promised::ready(self.ask(act))
    }
}

impl EventLog for SharedLog {
    async fn create(&self, id: TicketId, append: Append) -> Result<Appended, LogError> {
        self.ask(|log| log.create(id, append))
    }

    async fn read(&self, id: TicketId, seen: Option<Seen>) -> Result<LogRead, LogError> {
        self.ask(|log| log.read(id, seen))
    }

    async fn append(&self, id: TicketId, seen: Seen, append: Append) -> Result<Appended, LogError> {
        self.ask(|log| log.append(id, seen, append))
    }

    async fn hold(&self, id: TicketId, holder: u64, time: Duration) -> Result<bool, LogError> {
        self.ask(|log| log.hold(id, holder, self.now_ms(), ms(time)))
    }

    async fn remove(&self, id: TicketId, seen: Seen) -> Result<Appended, LogError> {
        self.ask(|log| log.remove(id, seen))
    }
}

impl Agenda for SharedLog {
    fn beat(&self) -> Promised<'_, Result<(), LogError>> {
        self.promise(|_| ())
    }

    fn now(&self) -> Uptime {
        Uptime(self.now_ms())
    }

    fn take(
        &self,
        work: Work,
        limit: usize,
        time: Duration,
    ) -> Promised<'_, Result<Vec<Taken>, LogError>> {
        self.promise(|log| log.take(work, limit, self.server, (self.now_ms(), ms(time))))
    }

    fn looked(&self, taken: Taken, next: Uptime) -> Promised<'_, Result<(), LogError>> {
        self.promise(|log| log.looked(taken, self.server, next))
    }

    fn hold_for(
        &self,
        work: Work,
        id: TicketId,
        time: Duration,
    ) -> Promised<'_, Result<bool, LogError>> {
        self.promise(|log| match work {
            Work::Look => log.hold(id, self.server, self.now_ms(), ms(time)),
            Work::Call => log.hold_call(id, self.server, self.now_ms(), ms(time)),
        })
    }

    fn end_call(
        &self,
        id: TicketId,
        next: Option<CallMarks>,
    ) -> Promised<'_, Result<(), LogError>> {
        self.promise(|log| log.end_call(id, self.server, next))
    }

    fn release(&self) -> Promised<'_, Result<(), LogError>> {
        self.promise(|log| log.release(self.server))
    }

    fn states(
        &self,
        ids: Vec<TicketId>,
    ) -> Promised<'_, Result<Vec<(TicketId, StateName)>, LogError>> {
        self.promise(|log| ids.into_iter().filter_map(|id| Some((id, log.state(id)?))).collect())
    }

    fn page(
        &self,
        state: Option<StateName>,
        after: Option<TicketId>,
        limit: usize,
    ) -> Promised<'_, Result<Vec<TicketId>, LogError>> {
        self.promise(|log| log.page(state, after, limit))
    }

    fn census(&self) -> Promised<'_, Result<Census, LogError>> {
        self.promise(|log| log.census())
    }

    fn hurry(&self, by: Duration) -> Promised<'_, Result<(), LogError>> {
        self.promise(|log| log.hurry(by))
    }

    fn report(&self, report: ServerReport) -> Promised<'_, Result<Vec<KnownServer>, LogError>> {
        self.promise(|log| log.report(self.server, self.now_ms(), report.bounded()))
    }

    fn hurry_calls(&self, within: Duration) -> Promised<'_, Result<(), LogError>> {
        self.promise(|log| log.hurry_calls(within))
    }

    fn well(&self) -> Promised<'_, Result<(), Unready>> {
        Promised::ready(self.ask(|_| ()).map_err(|error| Unready::Log(error.to_string().into())))
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn passes_the_suite_of_agendas() {
        let log = SharedLog::new(1_000_000, 1);
        let other = log.server(2);
        let pass = async |time| log.pass(time);
        crate::storage::agenda::conformance::check(&log, [&log, &other], [7; 15], pass).await;
    }
}
