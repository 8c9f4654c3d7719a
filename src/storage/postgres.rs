//! The logs of all uploads in PostgreSQL, which several servers share.
//!
//! Each call is one statement and one round trip; its transaction is the decision. Statements are unnamed and leave nothing
//! in the session, so that a pooler in transaction mode may be between. Appends to one upload go over one connection, in
//! order; connections are pipelined, and a few of them are enough.
//!
//! Durability: an append that was answered is on the disk of the primary, and on that of its synchronous standbys
//! (`synchronous_commit` is checked: [`PostgresLog::examine`]). A failover to an asynchronous standby may lose appends that
//! were answered; that is noticed, since those that follow have other tags.

mod agenda;
mod connection;
mod health;
mod schema;
mod servers;
mod timeline;
mod tls;
mod value;

#[cfg(test)]
mod tests;

pub use agenda::PostgresAgenda;
pub use health::{Database, PostgresFault};
pub use schema::{SCHEMA_SQL, SchemaError, Tables};

use crate::core::id::TicketId;
use crate::core::piece_event::ObjectEvent;
use crate::core::state::StateName;
use crate::storage::event_log::{Append, Appended, EventLog, LogError, LogRead, Marks, Seen, Tag};
use crate::storage::local::format::object_event::{decode_all, encode};
use connection::{Connection, Parameters};
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;
use timeline::Timelines;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use value::Id;

/// A database is not as it is asked for.
#[derive(Debug, thiserror::Error)]
#[error("invalid database URL: {0}")]
pub struct InvalidUrl(String);

/// How TLS is spoken to a database, by the `sslmode` of its URL, as libpq does.
#[derive(Clone, Debug, Default)]
pub struct PostgresTls {
    /// For `verify-ca` and `verify-full`: the certificate is checked, always with its name.
    pub checked: Option<Arc<ClientConfig>>,
    /// For `prefer` and `require`: it is not.
    pub unchecked: Option<Arc<ClientConfig>>,
}

/// The logs in one database. Clones share their connections.
#[derive(Clone)]
pub struct PostgresLog {
    connections: Arc<Connections>,
}

/// A connection answers in order, so what may take long stands before no append.
struct Connections {
    /// The logs of uploads: each over one of these.
    uploads: Box<[Connection]>,
    /// A few rows of what is due, and whether the database is well.
    agenda: Connection,
    /// What goes over all uploads.
    scans: Connection,
    /// The report of a server, whose table is for people alone: they may lock it.
    report: Connection,
}

impl PostgresLog {
    /// Connects to nothing yet. `url` is `postgres://user:password@host[,host]/database?…`; of several hosts the latest
    /// primary is used: one that takes writes, and is on no earlier timeline than another that was seen. `connections` are
    /// for uploads; three more are for all else.
    ///
    /// # Errors
    /// What is wrong with the URL, without its password.
    pub fn new(url: &str, tls: &PostgresTls, connections: usize) -> Result<Self, InvalidUrl> {
        let timelines = Arc::new(Timelines::default());
        let of = || Connection::new(url, tls, Arc::clone(&timelines));
        let uploads: Result<_, _> = (0..connections.max(1)).map(|_| of()).collect();
        let (agenda, scans, report) = (of()?, of()?, of()?);
        let connections = Connections { uploads: uploads?, agenda, scans, report };
        Ok(Self { connections: Arc::new(connections) })
    }

    /// The connection for an upload.
    fn of(&self, id: TicketId) -> &Connection {
        let uploads = &self.connections.uploads;
        &uploads[usize::from(id.as_bytes()[15]) % uploads.len()]
    }
}

impl EventLog for PostgresLog {
    async fn create(&self, id: TicketId, append: Append) -> Result<Appended, LogError> {
        let (key, tag, body) = (Id(*id.as_bytes()), append.tag.0.cast_signed(), bytes(&append));
        let parameters: Parameters<'_> =
            &[(&key, Type::UUID), (&tag, Type::INT8), (&body, Type::BYTEA)];
        let rows = match append.marks.map(Columns::of) {
            Some(marks) => self.of(id).rows(CREATE_MARKED, &marks.behind(parameters)).await?,
            None => self.of(id).rows(CREATE, parameters).await?,
        };
        Ok(appended(&rows, Seen { seq: 1, tag: append.tag }))
    }

    async fn read(&self, id: TicketId, seen: Option<Seen>) -> Result<LogRead, LogError> {
        let from = seen.map_or(1, |seen| seen.seq);
        let (key, first) = (Id(*id.as_bytes()), from.cast_signed());
        let parameters: Parameters<'_> = &[(&key, Type::UUID), (&first, Type::INT8)];
        let rows = self.of(id).rows(READ, parameters).await?;
        read_of(&rows, from, seen).inspect_err(|error| {
            tracing::error!(upload = %id.short(), %error, "upload cannot be read from the database");
        })
    }

    async fn append(&self, id: TicketId, seen: Seen, append: Append) -> Result<Appended, LogError> {
        let (key, seq, tag) =
            (Id(*id.as_bytes()), seen.seq.cast_signed(), seen.tag.0.cast_signed());
        let (own, body) = (append.tag.0.cast_signed(), bytes(&append));
        let parameters: Parameters<'_> = &[
            (&key, Type::UUID),
            (&seq, Type::INT8),
            (&tag, Type::INT8),
            (&own, Type::INT8),
            (&body, Type::BYTEA),
        ];
        let rows = match append.marks.map(Columns::of) {
            Some(marks) => self.of(id).rows(APPEND_MARKED, &marks.behind(parameters)).await?,
            None => self.of(id).rows(APPEND, parameters).await?,
        };
        Ok(appended(&rows, Seen { seq: seen.seq + 1, tag: append.tag }))
    }

    async fn hold(&self, id: TicketId, holder: u64, time: Duration) -> Result<bool, LogError> {
        let (key, holder) = (Id(*id.as_bytes()), holder.cast_signed());
        let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let parameters: Parameters<'_> =
            &[(&key, Type::UUID), (&holder, Type::INT8), (&ms, Type::INT8)];
        Ok(!self.of(id).rows(HOLD, parameters).await?.is_empty())
    }

    async fn remove(&self, id: TicketId, seen: Seen) -> Result<Appended, LogError> {
        let (key, seq, tag) =
            (Id(*id.as_bytes()), seen.seq.cast_signed(), seen.tag.0.cast_signed());
        let parameters: Parameters<'_> =
            &[(&key, Type::UUID), (&seq, Type::INT8), (&tag, Type::INT8)];
        let rows = self.of(id).rows(REMOVE, parameters).await?;
        Ok(appended(&rows, seen))
    }
}

/// Marks as they stand in a row.
struct Columns {
    state: i16,
    occupies: bool,
    due: i64,
    call_since: Option<i64>,
    call_due: Option<i64>,
}

impl Columns {
    fn of(marks: Marks) -> Self {
        let Marks { state, occupies, due, call } = marks;
        let (call_since, call_due) = (call.map(|it| it.since), call.map(|it| it.due));
        Self {
            state: state_number(state),
            occupies,
            due: agenda::bigint(due),
            call_since: call_since.map(agenda::bigint),
            call_due: call_due.map(agenda::bigint),
        }
    }

    /// These as the next parameters of a statement.
    fn behind<'a>(&'a self, parameters: Parameters<'a>) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
        let own: [(&'a (dyn ToSql + Sync), Type); 5] = [
            (&self.state, Type::INT2),
            (&self.occupies, Type::BOOL),
            (&self.due, Type::INT8),
            (&self.call_since, Type::INT8),
            (&self.call_due, Type::INT8),
        ];
        parameters.iter().cloned().chain(own).collect()
    }
}

/// How the tables name a state. Never changed.
fn state_number(state: StateName) -> i16 {
    match state {
        StateName::New => 0,
        StateName::Uploading => 1,
        StateName::HandingOver => 2,
        StateName::Finished => 3,
        StateName::Cancelled => 4,
        StateName::Failed => 5,
    }
}

/// One row: it was done.
fn appended(rows: &[Row], at: Seen) -> Appended {
    if rows.is_empty() { Appended::Behind } else { Appended::At(at) }
}

fn bytes(append: &Append) -> Vec<u8> {
    let mut bytes = Vec::new();
    append.events.iter().for_each(|event: &ObjectEvent| encode(event, &mut bytes));
    bytes
}

/// The appends from the number `from` on. The row that was seen comes along: another tag there, or none, is another history.
fn read_of(rows: &[Row], from: u64, seen: Option<Seen>) -> Result<LogRead, LogError> {
    let unreadable = |_| LogError::Unreadable;
    let Some(last) = rows.last() else { return Ok(LogRead::Unknown) };
    let head = Seen {
        seq: last.try_get::<_, i64>(0).map_err(unreadable)?.cast_unsigned(),
        tag: Tag(last.try_get::<_, i64>(1).map_err(unreadable)?.cast_unsigned()),
    };
    let mut appends = Vec::with_capacity(rows.len());
    for (row, seq) in rows.iter().zip(from..) {
        let Some(found) = row.try_get::<_, Option<i64>>(2).map_err(unreadable)? else {
            // Only the row of the upload: the log ends before what was seen.
            return if seen.is_some() {
                Ok(LogRead::OtherHistory)
            } else {
                Err(LogError::Unreadable)
            };
        };
        let tag = Tag(row.try_get::<_, i64>(3).map_err(unreadable)?.cast_unsigned());
        if found.cast_unsigned() != seq {
            return Err(LogError::Unreadable);
        }
        if seen.is_some_and(|seen| seen.seq == seq && seen.tag != tag) {
            return Ok(LogRead::OtherHistory);
        }
        let body: &[u8] = row.try_get(4).map_err(unreadable)?;
        let events = decode_all(body).map_err(|_| LogError::Unreadable)?;
        appends.push(Append { tag, events: Arc::from(events), marks: None });
    }
    let ends = appends.last().map(|last| last.tag) == Some(head.tag);
    if !ends || head.seq != from + appends.len() as u64 - 1 {
        return Err(LogError::Unreadable);
    }
    if seen.is_some() {
        appends.remove(0);
    }
    Ok(LogRead::More(appends))
}

const CREATE: &str = "WITH made AS (INSERT INTO incoming.upload (id, seq, tag) VALUES ($1, 1, $2) \
    ON CONFLICT (id) DO NOTHING RETURNING id) \
    INSERT INTO incoming.record (upload, seq, tag, body) SELECT id, 1, $2, $3 FROM made RETURNING seq";
const CREATE_MARKED: &str = "WITH made AS (INSERT INTO incoming.upload \
    (id, seq, tag, state, occupies, due, call_since, call_due) \
    VALUES ($1, 1, $2, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING RETURNING id) \
    INSERT INTO incoming.record (upload, seq, tag, body) SELECT id, 1, $2, $3 FROM made RETURNING seq";
/// A rival that was first leaves no row.
const APPEND: &str = "WITH moved AS (UPDATE incoming.upload SET seq = seq + 1, tag = $4 \
    WHERE id = $1 AND seq = $2 AND tag = $3 RETURNING seq) \
    INSERT INTO incoming.record (upload, seq, tag, body) SELECT $1, seq, $4, $5 FROM moved RETURNING seq";
const APPEND_MARKED: &str = "WITH moved AS (UPDATE incoming.upload SET seq = seq + 1, tag = $4, \
    state = $6, occupies = $7, due = $8, call_since = $9, call_due = $10 \
    WHERE id = $1 AND seq = $2 AND tag = $3 RETURNING seq) \
    INSERT INTO incoming.record (upload, seq, tag, body) SELECT $1, seq, $4, $5 FROM moved RETURNING seq";
const READ: &str = "SELECT u.seq, u.tag, r.seq, r.tag, r.body FROM incoming.upload u \
    LEFT JOIN incoming.record r ON r.upload = u.id AND r.seq >= $2 WHERE u.id = $1 ORDER BY r.seq";
const HOLD: &str = "UPDATE incoming.upload SET held_by = $2, held_until = greatest( \
    CASE WHEN held_by = $2 THEN held_until END, now() + $3 * interval '1 millisecond') \
    WHERE id = $1 AND (held_by = $2 OR held_until IS NULL OR held_until <= now()) RETURNING seq";
const REMOVE: &str =
    "DELETE FROM incoming.upload WHERE id = $1 AND seq = $2 AND tag = $3 RETURNING seq";
