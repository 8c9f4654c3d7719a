//! Whether a database keeps what it acknowledges.

use super::PostgresLog;
use super::connection::{StatementError, text};
use crate::core::time::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// As the server says it.
    pub version: String,
    /// Standbys that a failover could lead to are connected, and none of them is waited for: a failover may lose what was
    /// acknowledged.
    pub may_lose_by_failover: bool,
}

/// A database that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostgresFault {
    /// No answer.
    #[error("{0}")]
    Unreachable(String),
    /// It answers that it lets this role do nothing: a wrong password, or no such database.
    #[error("{0}")]
    Refused(String),
    /// It takes no writes: a standby, or set so.
    #[error("the database is read-only (a standby?): name the primary, or all of its hosts")]
    ReadOnly,
    /// Commits are answered before they are on the disk.
    #[error(
        "synchronous_commit is {0} for this role, which loses acknowledged bytes in a crash: ALTER ROLE … SET \
         synchronous_commit = on"
    )]
    NotDurable(String),
    /// Nothing is.
    #[error("fsync is off on the database server, which loses acknowledged bytes in a crash")]
    NoSync,
    /// Its answer is not understood.
    #[error("the database answers otherwise than PostgreSQL")]
    Foreign,
}

impl PostgresLog {
    /// Looks whether the database keeps what it acknowledges.
    ///
    /// # Errors
    /// It does not, or does not answer.
    pub async fn examine(&self) -> Result<Database, PostgresFault> {
        let rows = self.connections.agenda.query(EXAMINE, &[]).await;
        let rows = rows.map_err(|error| fault(&error))?;
        let row = rows.first().ok_or(PostgresFault::Foreign)?;
        judged(row).map_err(|_| PostgresFault::Foreign)?
    }

    /// The database's clock, which all servers share; also whether it answers, for health checks.
    ///
    /// # Errors
    /// It does not.
    pub async fn date(&self) -> Result<Timestamp, PostgresFault> {
        let rows = self.connections.agenda.query(DATE, &[]).await;
        let rows = rows.map_err(|error| PostgresFault::Unreachable(text(&error)))?;
        let ms: Option<i64> = rows.first().and_then(|row| row.try_get(0).ok());
        ms.map(|ms| Timestamp(ms.cast_unsigned())).ok_or(PostgresFault::Foreign)
    }
}

fn fault(error: &StatementError) -> PostgresFault {
    let code = match error {
        StatementError::Connect(error) | StatementError::Statement(error) => error.code(),
        StatementError::Timeout | StatementError::Superseded { .. } => None,
    };
    // Classes 28 and 3D (PostgreSQL, appendix A).
    match code.map(SqlState::code) {
        Some(code) if code.starts_with("28") || code.starts_with("3D") => {
            PostgresFault::Refused(text(error))
        }
        Some(_) | None => PostgresFault::Unreachable(text(error)),
    }
}

fn judged(row: &Row) -> Result<Result<Database, PostgresFault>, tokio_postgres::Error> {
    let setting = |at: usize| row.try_get::<_, String>(at);
    let standbys: i64 = row.try_get(5)?;
    let database = Database {
        version: setting(0)?,
        may_lose_by_failover: standbys > 0 && setting(4)?.is_empty(),
    };
    if setting(1)? != "off" {
        return Ok(Err(PostgresFault::ReadOnly));
    }
    let commit = setting(2)?;
    // `local` waits for this machine's disk alone, which is all there is without standbys.
    if commit == "off" || (commit == "local" && standbys > 0 && !setting(4)?.is_empty()) {
        return Ok(Err(PostgresFault::NotDurable(commit)));
    }
    if setting(3)? != "on" {
        return Ok(Err(PostgresFault::NoSync));
    }
    Ok(Ok(database))
}

const DATE: &str = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
const EXAMINE: &str = "SELECT current_setting('server_version'), \
    current_setting('transaction_read_only'), current_setting('synchronous_commit'), \
    current_setting('fsync'), current_setting('synchronous_standby_names'), \
    (SELECT count(*) FROM pg_stat_replication)";
