//! The row of each server: renewed, and all of them read, by one statement.

use super::agenda::{PostgresAgenda, millis, unreadable};
use super::connection::{Parameters, StatementError, text};
use crate::core::time::Timestamp;
use crate::storage::event_log::LogError;
use crate::storage::servers::{
    AWAY, AWAY_KEPT, KnownServer, LISTED, REPLACED_AFTER, STOPPED_KEPT, ServerLoad, ServerReport,
    ServerState,
};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

impl PostgresAgenda {
    /// # Errors
    /// There is no answer, or the database refuses it: this is in the log then, once.
    pub(super) async fn report_server(
        &self,
        report: ServerReport,
    ) -> Result<Vec<KnownServer>, LogError> {
        let ServerReport { name, address, version, uptime, state, problems, load } =
            report.bounded();
        let (server, uptime, state) =
            (self.server.cast_signed(), millis(uptime), state_number(state));
        let (chunks, connections) = (load.chunks.cast_signed(), load.connections.cast_signed());
        let received = load.received_per_s.cast_signed();
        let acknowledged = load.acknowledged_per_s.cast_signed();
        let [replaced, stopped, away] = [REPLACED_AFTER, STOPPED_KEPT, AWAY_KEPT].map(millis);
        let silent = millis(AWAY);
        let listed = i64::try_from(LISTED).unwrap_or(i64::MAX);
        let parameters: Parameters<'_> = &[
            (&server, Type::INT8),
            (&name, Type::TEXT),
            (&address, Type::TEXT),
            (&version, Type::TEXT),
            (&uptime, Type::INT8),
            (&state, Type::INT2),
            (&problems, Type::TEXT_ARRAY),
            (&chunks, Type::INT8),
            (&connections, Type::INT8),
            (&received, Type::INT8),
            (&acknowledged, Type::INT8),
            (&replaced, Type::INT8),
            (&stopped, Type::INT8),
            (&away, Type::INT8),
            (&listed, Type::INT8),
            (&silent, Type::INT8),
        ];
        let rows = match self.log.connections.report.query(REPORT, parameters).await {
            Ok(rows) => rows,
            Err(error) => {
                self.log_refused(&error);
                return Err(LogError::Unsure);
            }
        };
        self.unreported.store(false, Ordering::Relaxed);
        rows.iter().map(known).collect::<Result<_, _>>().map_err(unreadable)
    }

    /// A database that does not answer has a line of its own.
    fn log_refused(&self, error: &StatementError) {
        let StatementError::Statement(refused) = error else { return };
        if refused.code().is_some() && !self.unreported.swap(true, Ordering::Relaxed) {
            let error = text(error);
            tracing::warn!(error, "the database takes no report of this server");
        }
    }
}

fn known(row: &Row) -> Result<KnownServer, tokio_postgres::Error> {
    let number = |at: usize| row.try_get::<_, i64>(at).map(i64::cast_unsigned);
    // Of a clock that was set back.
    let since = |at: usize| row.try_get::<_, i64>(at).map(|ms| u64::try_from(ms).unwrap_or(0));
    let report = ServerReport {
        name: row.try_get(1)?,
        address: row.try_get(2)?,
        version: row.try_get(3)?,
        uptime: Duration::from_millis(since(5)?),
        state: state(row.try_get(7)?),
        problems: row.try_get(8)?,
        load: ServerLoad {
            chunks: number(9)?,
            connections: number(10)?,
            received_per_s: number(11)?,
            acknowledged_per_s: number(12)?,
        },
    };
    let (started, silent) = (Timestamp(since(4)?), Duration::from_millis(since(6)?));
    Ok(KnownServer { number: number(0)?, started, silent, report })
}

/// How the table names a state. Never changed.
fn state_number(state: ServerState) -> i16 {
    match state {
        ServerState::Ready => 0,
        ServerState::NotReady => 1,
        ServerState::Stopping => 2,
        ServerState::Stopped => 3,
    }
}

/// One that a later version has brought is not ready.
fn state(number: i16) -> ServerState {
    match number {
        0 => ServerState::Ready,
        2 => ServerState::Stopping,
        3 => ServerState::Stopped,
        _ => ServerState::NotReady,
    }
}

/// A row of another server is never waited for. What is read is as it was before, but for this server's own row.
const REPORT: &str = "WITH own AS (INSERT INTO incoming.server (id, name, address, version, \
    started, seen, state, problems, chunks, connections, received, acknowledged) \
    VALUES ($1, $2, $3, $4, now() - $5 * interval '1 millisecond', now(), $6, $7, $8, $9, $10, $11) \
    ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, state = excluded.state, \
    problems = excluded.problems, chunks = excluded.chunks, connections = excluded.connections, \
    received = excluded.received, acknowledged = excluded.acknowledged RETURNING *), \
    gone AS (DELETE FROM incoming.server WHERE id IN (SELECT id FROM incoming.server \
    WHERE id <> $1 AND seen < now() - interval '1 millisecond' * CASE \
    WHEN name = $2 AND address = $3 THEN $12 WHEN state = 3 THEN $13 ELSE $14 END \
    ORDER BY id FOR UPDATE SKIP LOCKED) RETURNING id), \
    known AS (SELECT * FROM own UNION ALL SELECT * FROM incoming.server \
    WHERE id <> $1 AND id NOT IN (SELECT id FROM gone)) \
    SELECT id, name, address, version, floor(extract(epoch FROM started) * 1000)::bigint, \
    floor(extract(epoch FROM seen - started) * 1000)::bigint, \
    floor(extract(epoch FROM now() - seen) * 1000)::bigint, \
    state, problems, chunks, connections, received, acknowledged FROM known \
    ORDER BY id <> $1, state = 3, seen < now() - interval '1 millisecond' * $16, name, address, started LIMIT $15";
