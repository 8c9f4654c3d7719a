//! One of several servers over a database: its start.

use super::StartError;
use super::object_storage::{ObjectStorageError, Server, assemble, log, open_log, server_number};
use crate::config::Settings;
use crate::engine::objects::SharedClock;
use crate::engine::objects::storage::Place;
use crate::engine::{self, Engine};
use crate::storage::agenda::Agenda as _;
use crate::storage::clock::SystemClock;
use crate::storage::postgres::{PostgresAgenda, PostgresFault};
use crate::storage::s3::LogName;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The engine over the bucket and the database, beside other servers. Waits for the database for a while, and makes the
/// tables where there are none; then the bucket is tried.
///
/// # Errors
/// The settings make no bucket that does what is needed, or the database cannot be used.
pub(super) fn open_engine(
    settings: &Settings,
    options: engine::options::Options,
) -> Result<Arc<Engine>, StartError> {
    let failed = |error| StartError::new("journal", error);
    let server = server_number().map_err(|error| StartError::new("random numbers", error))?;
    let (agenda, name) = first_beat(settings, server).map_err(failed)?;
    let log = log(settings).map_err(failed)?;
    let agenda = Arc::new(agenda.over(log.clone()));
    let time = Arc::clone(&agenda);
    let clock = SharedClock::counting(Arc::new(SystemClock), move || time.now());
    let place = Place::Shared(agenda);
    assemble(settings, options, Server { log, name, server, clock, place })
}

/// What is due, with the clock that all share, and the name of the database.
type Begun = (PostgresAgenda, LogName);

/// Waits for the database, sees to its tables and reads its clock: in a thread of its own, since the start has no runtime
/// to wait on.
fn first_beat(settings: &Settings, server: u64) -> Result<Begun, ObjectStorageError> {
    let settings = settings.clone();
    let begin = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(ObjectStorageError::Start)?.block_on(async move {
            let end = Instant::now() + DATABASE_WAIT;
            let mut waits = false;
            loop {
                let error = match try_first_beat(&settings, server).await {
                    Ok(begun) => return Ok(begun),
                    Err(error) if !error.may_pass() || Instant::now() >= end => return Err(error),
                    Err(error) => error,
                };
                if !std::mem::replace(&mut waits, true) {
                    tracing::warn!(%error, "waiting for the database");
                }
                tokio::time::sleep(DATABASE_PAUSE).await;
            }
        })
    };
    let thread = std::thread::Builder::new().name("incoming-start".into()).spawn(begin);
    let lost = |_| ObjectStorageError::Start(io::Error::other("it panicked"));
    thread.map_err(ObjectStorageError::Start)?.join().map_err(lost)?
}

async fn try_first_beat(settings: &Settings, server: u64) -> Result<Begun, ObjectStorageError> {
    let (log, database) = open_log(settings).await?;
    if database.may_lose_by_failover {
        tracing::warn!(
            "a failover may lose acknowledged bytes: standbys are connected, and synchronous_standby_names is empty"
        );
    }
    let agenda = PostgresAgenda::new(log, server, Arc::new(SystemClock));
    let foreign = |_| PostgresFault::Foreign;
    agenda.beat().await.map_err(foreign)?;
    let name = agenda.cluster().await.map_err(foreign)?;
    Ok((agenda, LogName(name)))
}

/// A start waits so long for a database that starts or fails over.
const DATABASE_WAIT: Duration = Duration::from_secs(15);
const DATABASE_PAUSE: Duration = Duration::from_millis(300);
