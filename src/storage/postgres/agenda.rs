//! What is due for uploads, in their rows: taken by `FOR UPDATE SKIP LOCKED` and for a time by the database's clock.

use super::connection::Parameters;
use super::value::Id;
use super::{HOLD, PostgresLog, state_number};
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::core::time::Uptime;
use crate::storage::agenda::{Agenda, Census, Taken, Work};
use crate::storage::clock::Clock;
use crate::storage::event_log::{CallMarks, LogError};
use crate::storage::promised::Promised;
use crate::storage::servers::{KnownServer, ServerReport};
use crate::storage::store::Unready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

/// The work of the servers that share a database, for one of them.
pub struct PostgresAgenda {
    pub(super) log: PostgresLog,
    /// Names this server; the same as in its holds.
    pub(super) server: u64,
    clock: Arc<dyn Clock>,
    /// The count of all servers less this one's time since boot, at the last beat.
    ahead_ms: AtomicU64,
    /// Whether the database refuses this server's report, so that this is told once.
    pub(super) unreported: AtomicBool,
}

impl PostgresAgenda {
    /// Of the server that calls itself `server`. It knows no time before [`Agenda::beat`].
    pub fn new(log: PostgresLog, server: u64, clock: Arc<dyn Clock>) -> Self {
        Self { log, server, clock, ahead_ms: AtomicU64::new(0), unreported: AtomicBool::new(false) }
    }

    /// The same over other connections.
    #[must_use]
    pub fn over(self, log: PostgresLog) -> Self {
        Self { log, ..self }
    }

    /// What the database is called by those who share it.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn cluster(&self) -> Result<[u8; 16], LogError> {
        let rows = self.rows(CLUSTER, &[]).await?;
        let Id(name) = first(&rows, 0)?;
        Ok(name)
    }

    fn own_ms(&self) -> u64 {
        u64::try_from(self.clock.since_boot().as_millis()).unwrap_or(u64::MAX)
    }

    async fn rows(
        &self,
        statement: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, LogError> {
        self.log.connections.agenda.rows(statement, parameters).await
    }

    /// As [`Self::rows`], of a statement that goes over all uploads.
    async fn scan(
        &self,
        statement: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, LogError> {
        self.log.connections.scans.rows(statement, parameters).await
    }
}

impl Agenda for PostgresAgenda {
    fn beat(&self) -> Promised<'_, Result<(), LogError>> {
        Promised::later(async move {
            let longest = millis(LONGEST_BEAT);
            let rows = self.rows(BEAT, &[(&longest, Type::INT8)]).await?;
            let now: i64 = first(&rows, 0)?;
            // As of some moment of the round trip; all servers are as exact.
            let ahead = now.cast_unsigned().wrapping_sub(self.own_ms());
            self.ahead_ms.store(ahead, Ordering::Relaxed);
            Ok(())
        })
    }

    fn now(&self) -> Uptime {
        Uptime(self.own_ms().wrapping_add(self.ahead_ms.load(Ordering::Relaxed)))
    }

    fn take(
        &self,
        work: Work,
        limit: usize,
        time: Duration,
    ) -> Promised<'_, Result<Vec<Taken>, LogError>> {
        Promised::later(async move {
            let (server, time) = (self.server.cast_signed(), millis(time));
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let parameters: Parameters<'_> =
                &[(&server, Type::INT8), (&time, Type::INT8), (&limit, Type::INT8)];
            let statement = match work {
                Work::Look => TAKE_LOOK,
                Work::Call => TAKE_CALL,
            };
            let rows = self.rows(statement, parameters).await?;
            rows.iter().map(|row| Ok(Taken { id: id(row)?, due: uptime(row, 1)? })).collect()
        })
    }

    fn looked(&self, taken: Taken, next: Uptime) -> Promised<'_, Result<(), LogError>> {
        Promised::later(async move {
            let (key, server) = (Id(*taken.id.as_bytes()), self.server.cast_signed());
            let (due, next) = (bigint(taken.due), bigint(next));
            let parameters: Parameters<'_> = &[
                (&key, Type::UUID),
                (&server, Type::INT8),
                (&due, Type::INT8),
                (&next, Type::INT8),
            ];
            self.rows(LOOKED, parameters).await.map(drop)
        })
    }

    fn hold_for(
        &self,
        work: Work,
        id: TicketId,
        time: Duration,
    ) -> Promised<'_, Result<bool, LogError>> {
        Promised::later(async move {
            let (key, server, ms) = (Id(*id.as_bytes()), self.server.cast_signed(), millis(time));
            let parameters: Parameters<'_> =
                &[(&key, Type::UUID), (&server, Type::INT8), (&ms, Type::INT8)];
            let statement = match work {
                Work::Look => HOLD,
                Work::Call => HOLD_CALL,
            };
            Ok(!self.rows(statement, parameters).await?.is_empty())
        })
    }

    fn end_call(
        &self,
        id: TicketId,
        next: Option<CallMarks>,
    ) -> Promised<'_, Result<(), LogError>> {
        Promised::later(async move {
            let (key, server) = (Id(*id.as_bytes()), self.server.cast_signed());
            let since = next.map(|next| bigint(next.since));
            let due = next.map(|next| bigint(next.due));
            let parameters: Parameters<'_> = &[
                (&key, Type::UUID),
                (&server, Type::INT8),
                (&since, Type::INT8),
                (&due, Type::INT8),
            ];
            self.rows(END_CALL, parameters).await.map(drop)
        })
    }

    fn release(&self) -> Promised<'_, Result<(), LogError>> {
        Promised::later(async move {
            let server = self.server.cast_signed();
            self.rows(RELEASE, &[(&server, Type::INT8)]).await.map(drop)
        })
    }

    fn states(
        &self,
        ids: Vec<TicketId>,
    ) -> Promised<'_, Result<Vec<(TicketId, StateName)>, LogError>> {
        Promised::later(async move {
            let ids: Vec<Id> = ids.iter().map(|id| Id(*id.as_bytes())).collect();
            let rows = self.rows(STATES, &[(&ids, Type::UUID_ARRAY)]).await?;
            rows.iter().map(|row| Ok((id(row)?, state(row, 1)?))).collect()
        })
    }

    fn page(
        &self,
        state: Option<StateName>,
        after: Option<TicketId>,
        limit: usize,
    ) -> Promised<'_, Result<Vec<TicketId>, LogError>> {
        Promised::later(async move {
            let after = Id(after.map_or([0; 16], |id| *id.as_bytes()));
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = match state.map(state_number) {
                Some(state) => {
                    let parameters: Parameters<'_> =
                        &[(&after, Type::UUID), (&limit, Type::INT8), (&state, Type::INT2)];
                    self.scan(PAGE_OF_STATE, parameters).await?
                }
                None => {
                    let parameters: Parameters<'_> = &[(&after, Type::UUID), (&limit, Type::INT8)];
                    self.scan(PAGE, parameters).await?
                }
            };
            rows.iter().map(id).collect()
        })
    }

    fn census(&self) -> Promised<'_, Result<Census, LogError>> {
        Promised::later(async move {
            let rows = self.scan(CENSUS, &[]).await?;
            let mut census = Census::default();
            for row in &rows {
                let count = |at: usize| -> Result<u64, LogError> {
                    let count: i64 = row.try_get(at).map_err(unreadable)?;
                    Ok(count.cast_unsigned())
                };
                census.states[state(row, 0)? as usize] += count(1)?;
                census.open += count(2)?;
                census.calls += count(3)?;
                let oldest: Option<i64> = row.try_get(4).map_err(unreadable)?;
                let oldest = oldest.map(|ms| Uptime(ms.cast_unsigned()));
                census.oldest_call = census.oldest_call.into_iter().chain(oldest).min();
            }
            Ok(census)
        })
    }

    fn hurry(&self, by: Duration) -> Promised<'_, Result<(), LogError>> {
        Promised::later(async move {
            let by = millis(by);
            self.scan(HURRY, &[(&by, Type::INT8)]).await.map(drop)
        })
    }

    fn report(&self, report: ServerReport) -> Promised<'_, Result<Vec<KnownServer>, LogError>> {
        Promised::later(self.report_server(report))
    }

    fn hurry_calls(&self, within: Duration) -> Promised<'_, Result<(), LogError>> {
        Promised::later(async move {
            let within = millis(within);
            self.scan(HURRY_CALLS, &[(&within, Type::INT8)]).await.map(drop)
        })
    }

    fn well(&self) -> Promised<'_, Result<(), Unready>> {
        Promised::later(async move {
            self.log.examine().await.map_err(|fault| unready(&fault))?;
            self.log.check_version().await.map_err(|error| unready(&error))
        })
    }
}

fn unready(why: &dyn std::fmt::Display) -> Unready {
    Unready::Log(why.to_string().into())
}

pub(super) fn unreadable(_: tokio_postgres::Error) -> LogError {
    LogError::Unreadable
}

fn first<T: for<'a> tokio_postgres::types::FromSql<'a>>(
    rows: &[Row],
    at: usize,
) -> Result<T, LogError> {
    rows.first().and_then(|row| row.try_get(at).ok()).ok_or(LogError::Unreadable)
}

fn id(row: &Row) -> Result<TicketId, LogError> {
    let Id(id) = row.try_get(0).map_err(unreadable)?;
    TicketId::from_bytes(id).map_err(|_| LogError::Unreadable)
}

fn uptime(row: &Row, at: usize) -> Result<Uptime, LogError> {
    let ms: i64 = row.try_get(at).map_err(unreadable)?;
    Ok(Uptime(ms.cast_unsigned()))
}

fn state(row: &Row, at: usize) -> Result<StateName, LogError> {
    let number: i16 = row.try_get(at).map_err(unreadable)?;
    let found = StateName::ALL.into_iter().find(|state| state_number(*state) == number);
    found.ok_or(LogError::Unreadable)
}

pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// A moment that never comes is the last one that the database knows.
pub(super) fn bigint(at: Uptime) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// Longer than a server that runs is silent. A pause that is longer counts as time in which none ran.
const LONGEST_BEAT: Duration = Duration::from_secs(60);

const CLUSTER: &str = "SELECT cluster FROM incoming.meta";
const BEAT: &str = "UPDATE incoming.meta SET beat = greatest(beat, now()), idle_ms = idle_ms + \
    CASE WHEN now() - beat > $1 * interval '1 millisecond' \
    THEN floor(extract(epoch FROM now() - beat) * 1000)::bigint ELSE 0 END \
    RETURNING floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint - idle_ms";
const TAKE_LOOK: &str = "UPDATE incoming.upload SET held_by = $1, \
    held_until = now() + $2 * interval '1 millisecond' WHERE id IN ( \
    SELECT id FROM incoming.upload WHERE due <= (SELECT \
    floor(extract(epoch FROM now()) * 1000)::bigint - idle_ms FROM incoming.meta) \
    AND (held_until IS NULL OR held_until <= now()) \
    ORDER BY due LIMIT $3 FOR UPDATE SKIP LOCKED) RETURNING id, due";
const TAKE_CALL: &str = "UPDATE incoming.upload SET call_by = $1, \
    call_until = now() + $2 * interval '1 millisecond' WHERE id IN ( \
    SELECT id FROM incoming.upload WHERE call_due <= (SELECT \
    floor(extract(epoch FROM now()) * 1000)::bigint - idle_ms FROM incoming.meta) \
    AND (call_until IS NULL OR call_until <= now()) \
    ORDER BY call_due LIMIT $3 FOR UPDATE SKIP LOCKED) RETURNING id, call_due";
const LOOKED: &str = "UPDATE incoming.upload SET held_until = NULL, \
    due = CASE WHEN due = $3 THEN $4 ELSE due END WHERE id = $1 AND held_by = $2";
const HOLD_CALL: &str = "UPDATE incoming.upload SET call_by = $2, \
    call_until = now() + $3 * interval '1 millisecond' WHERE id = $1 \
    AND (call_by = $2 OR call_until IS NULL OR call_until <= now()) RETURNING seq";
const END_CALL: &str = "UPDATE incoming.upload SET call_until = NULL, \
    call_due = CASE WHEN call_since = $3 THEN greatest(call_due, $4) ELSE call_due END \
    WHERE id = $1 AND call_by = $2";
const RELEASE: &str = "UPDATE incoming.upload SET \
    held_until = CASE WHEN held_by = $1 THEN NULL ELSE held_until END, \
    call_until = CASE WHEN call_by = $1 THEN NULL ELSE call_until END \
    WHERE (held_by = $1 AND held_until > now()) OR (call_by = $1 AND call_until > now())";
const STATES: &str = "SELECT id, state FROM incoming.upload WHERE id = ANY($1)";
const PAGE: &str = "SELECT id FROM incoming.upload WHERE id > $1 ORDER BY id LIMIT $2";
const PAGE_OF_STATE: &str =
    "SELECT id FROM incoming.upload WHERE state = $3 AND id > $1 ORDER BY id LIMIT $2";
const CENSUS: &str = "SELECT state, count(*), count(*) FILTER (WHERE occupies), \
    count(call_due), min(call_since) FROM incoming.upload GROUP BY state";
const HURRY: &str = "UPDATE incoming.upload SET due = greatest(due - $1, 0)";
const HURRY_CALLS: &str =
    "UPDATE incoming.upload SET call_due = call_since + $1 WHERE call_due > call_since + $1";
