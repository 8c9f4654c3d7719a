//! From settings to the bucket and the log that they name, and whether both do what a server needs of them.

use super::StartError;
use super::bucket_health::BucketHealth;
use super::bucket_sweep::BucketSweep;
use crate::client::{ObjectTransport, Patience};
use crate::config::{JournalKind, Settings, StoreKind};
use crate::core::grid::Grid;
use crate::core::object_command::ObjectLimits;
use crate::core::upload::Upload;
use crate::engine::objects::storage::{BucketStorage, LinkTo, Place, Surroundings};
use crate::engine::objects::{ObjectEngine, ObjectTuning, SharedBacking, SharedClock};
use crate::engine::{self, Engine};
use crate::storage::clock::{Clock as _, SystemClock};
use crate::storage::event_log::EventLog;
use crate::storage::journal::Journal;
use crate::storage::local::blocking::Blocking;
use crate::storage::local::event_log::LocalEventLog;
use crate::storage::local::log_name::log_name;
use crate::storage::local::storage::LocalStorage;
use crate::storage::objects::OrphanRule;
use crate::storage::postgres::{
    Database, InvalidUrl, PostgresFault, PostgresLog, PostgresTls, SchemaError, Tables,
};
use crate::storage::promised::Promised;
use crate::storage::s3::{Credentials, LogName, Naming, ProbeErrors, S3Bucket, S3Options};
use crate::tls::{NoRoots, Trust, client_config, machine_roots};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// What the settings name cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ObjectStorageError {
    /// The bucket, or what is asked of it.
    #[error("s3_bucket {0:?}: {1}")]
    Bucket(String, ProbeErrors),
    /// The URL of the store makes no host.
    #[error("s3_endpoint {0:?}: no URL of a store")]
    Endpoint(String),
    /// The URL of the database.
    #[error("postgres_url: {0}")]
    Url(#[from] InvalidUrl),
    /// The database.
    #[error("postgres_url: {0}")]
    Database(#[from] PostgresFault),
    /// Its tables.
    #[error("postgres_url: {0}")]
    Schema(#[from] SchemaError),
    /// TLS to either.
    #[error("{0}")]
    Roots(#[from] NoRoots),
    /// TLS refuses its settings.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(io::Error),
    /// The system gives no thread to ask the database from.
    #[error("cannot ask the database: {0}")]
    Start(io::Error),
}

impl ObjectStorageError {
    /// Whether it may be otherwise in a moment: the database starts, or fails over.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Database(PostgresFault::Unreachable(_) | PostgresFault::ReadOnly) => true,
            Self::Schema(SchemaError::Database(_)) => true,
            Self::Database(_)
            | Self::Schema(_)
            | Self::Bucket(..)
            | Self::Endpoint(_)
            | Self::Url(_)
            | Self::Roots(_)
            | Self::Tls(_)
            | Self::Random(_)
            | Self::Start(_) => false,
        }
    }
}

/// Tries the bucket and the database that the settings name, makes the tables where there are none, and says in a few
/// lines what was found; and all that does not do.
pub async fn probe(settings: &Settings) -> (Vec<String>, Vec<ObjectStorageError>) {
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    if settings.store == StoreKind::S3 {
        match probe_bucket(settings).await {
            Ok(found) => lines.extend(found),
            Err(found) => errors.extend(found),
        }
    }
    if settings.journal == JournalKind::Postgres {
        let (found, wrong) = probe_database(settings).await;
        lines.extend(found);
        errors.extend(wrong);
    }
    (lines, errors)
}

/// All that is wrong with the database, as far as it can be asked.
async fn probe_database(settings: &Settings) -> (Vec<String>, Vec<ObjectStorageError>) {
    let log = match log(settings) {
        Ok(log) => log,
        Err(error) => return (Vec::new(), vec![error]),
    };
    let mut errors: Vec<ObjectStorageError> = Vec::new();
    let examined = match log.examine().await {
        Ok(database) => Some(database),
        Err(
            fault @ (PostgresFault::Unreachable(_)
            | PostgresFault::Refused(_)
            | PostgresFault::Foreign),
        ) => return (Vec::new(), vec![fault.into()]),
        Err(
            fault
            @ (PostgresFault::ReadOnly | PostgresFault::NotDurable(_) | PostgresFault::NoSync),
        ) => {
            errors.push(fault.into());
            None
        }
    };
    errors.extend(log.check_rights(Tables::All).await.err().map(ObjectStorageError::from));
    let Some(database) = examined.filter(|_| errors.is_empty()) else {
        return (Vec::new(), errors);
    };
    if let Err(error) = log.prepare().await {
        return (Vec::new(), vec![error.into()]);
    }
    let mut lines = vec![format!("database: PostgreSQL {}, tables in place", database.version)];
    if database.may_lose_by_failover {
        lines.push(
            "warning: a failover may lose acknowledged bytes: standbys are connected, and \
             synchronous_standby_names is empty"
                .to_owned(),
        );
    }
    (lines, Vec::new())
}

async fn probe_bucket(settings: &Settings) -> Result<[String; 2], Vec<ObjectStorageError>> {
    let since = Instant::now();
    let rule = match open_bucket(settings).await {
        Ok((_, rule)) => rule,
        Err(ObjectStorageError::Bucket(name, ProbeErrors(all))) => {
            let of = |it| ObjectStorageError::Bucket(name.clone(), ProbeErrors(vec![it]));
            return Err(all.into_iter().map(of).collect());
        }
        Err(error) => return Err(vec![error]),
    };
    let took = since.elapsed().as_millis();
    let name = settings.s3_bucket.as_deref().unwrap_or_default();
    let orphans = match rule {
        OrphanRule::Dropped => "the store drops them",
        OrphanRule::Refused => "the store refuses it; such files are copied once",
    };
    Ok([
        format!("bucket {name}: all that is needed may be done there ({took} ms for 13 requests)"),
        format!("parts that a completed multipart upload does not name: {orphans}"),
    ])
}

/// The engine over the bucket, with logs as files in `directory`. The bucket is tried first; `/readyz` says how it is.
///
/// # Errors
/// The settings make no bucket that does what is needed, or the directory cannot be used.
pub(super) fn open_engine(
    settings: &Settings,
    options: engine::options::Options,
    storage: Arc<LocalStorage>,
    directory: &Path,
) -> Result<Arc<Engine>, StartError> {
    let failed = |what| move |error| StartError::new(what, error);
    let logs = LocalEventLog::open(directory, Blocking::Threads).map_err(failed("storage_dir"))?;
    let fresh = SystemClock.random().map_err(failed("random numbers"))?;
    let name = LogName(log_name(directory, fresh).map_err(failed("storage_dir"))?);
    let time = Arc::clone(&storage);
    let clock = SharedClock::counting(Arc::new(SystemClock), move || time.now());
    let ids = logs.clone();
    let place = Place::Directory {
        time: storage.clone(),
        directory: storage,
        ids: Box::new(move || {
            let ids = ids.clone();
            Promised::later(async move { ids.ids().await })
        }),
    };
    let server = server_number().map_err(failed("random numbers"))?;
    assemble(settings, options, Server { log: logs, name, server, clock, place })
}

/// What one server over a log is made of.
pub(super) struct Server<L> {
    pub(super) log: L,
    /// Names the log in the bucket.
    pub(super) name: LogName,
    /// Names the server in holds.
    pub(super) server: u64,
    pub(super) clock: SharedClock,
    pub(super) place: Place,
}

/// Tries the bucket, and makes the engine over it.
pub(super) fn assemble<L: EventLog + 'static>(
    settings: &Settings,
    mut options: engine::options::Options,
    server: Server<L>,
) -> Result<Arc<Engine>, StartError> {
    let Server { log, name, server, clock, place } = server;
    let rule = try_at_start(settings)?;
    let (bucket, bucket_options) =
        bucket(settings).map_err(|error| StartError::new("store", error))?;
    let bucket = Arc::new(bucket.with_orphan_rule(rule.unwrap_or(OrphanRule::Refused)));
    let sweep = Arc::new(BucketSweep { bucket: Arc::clone(&bucket), log: name });
    let health = Arc::new(BucketHealth::new(Arc::clone(&bucket), rule.is_some()));
    let grid = Grid::for_file(None, Some(u64::MAX), settings.s3_part_size);
    let most = grid.map_or(u64::MAX, Grid::capacity);
    options.limits.grid_bytes = Some(most);
    let limits = options.limits;
    let object_limits = ObjectLimits { limits, part_bytes: settings.s3_part_size };
    let options = engine::options::SharedOptions::from(options);
    let (rules, now) = (options.clone(), clock.clone());
    let marking = move |before: Option<&Upload>, after: &Upload| {
        let jitter = SystemClock.jitter();
        engine::agenda::marks(&rules.load(), before, after, now.now().uptime, jitter)
    };
    let is_shared = matches!(place, Place::Shared(_));
    let backing = SharedBacking::new(log, Arc::clone(&bucket), clock, object_limits);
    let multipart_lifetime = settings.s3_multipart_lifetime;
    let tuning = ObjectTuning { multipart_lifetime, ..TUNING };
    let objects = ObjectEngine::new(backing, server, tuning);
    let objects = if is_shared { objects.marking(Box::new(marking)) } else { objects };
    let beside = Surroundings {
        place,
        address: Box::new(move |key| bucket_options.address(key)),
        link: settings.s3_presign.map(|lasts| {
            Box::new(move |key| {
                let bucket = Arc::clone(&bucket);
                Promised::later(async move { bucket.link(key, lasts).await })
            }) as Box<LinkTo>
        }),
        sweep: Box::new(move |known| {
            let sweep = Arc::clone(&sweep);
            Promised::later(async move { sweep.run(known).await })
        }),
        health: Box::new(move || {
            let health = Arc::clone(&health);
            Promised::later(async move { health.check().await })
        }),
        memory_bytes: settings.part_memory,
        requests_of_one: settings.s3_requests / REQUESTS_OF_ONE,
    };
    let storage = BucketStorage::new(objects, beside);
    Ok(Engine::new(options, storage.clone(), storage, Arc::new(SystemClock)))
}

/// Draws what a server is called by others.
pub(super) fn server_number() -> io::Result<u64> {
    let [a, b, c, d, e, f, g, h, ..] = SystemClock.random()?;
    Ok(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// Tries the bucket before anything else begins; waits for it at most [`AT_START`]. A store that is away, busy or late
/// refuses no start: it may be back before anyone looks. Answers what the store does with parts that a list leaves out, if
/// it could be asked.
///
/// # Errors
/// What stays wrong until a setting or a right is changed.
fn try_at_start(settings: &Settings) -> Result<Option<OrphanRule>, StartError> {
    let failed = |error| StartError::new("store", error);
    // Its connections end with it: the server has a runtime of its own for those that stay.
    let trial = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().map_err(ObjectStorageError::Random)?;
        runtime.block_on(async { timeout(AT_START, open_bucket(settings)).await }).ok().transpose()
    };
    let tried = std::thread::scope(|scope| scope.spawn(trial).join());
    match tried.unwrap_or(Ok(None)) {
        Ok(Some((_, rule))) => Ok(Some(rule)),
        Ok(None) => {
            let error = format!("no answer within {} s", AT_START.as_secs());
            tracing::warn!(error, "bucket cannot be used yet");
            Ok(None)
        }
        Err(ObjectStorageError::Bucket(_, error)) if !error.are_definite() => {
            tracing::warn!(%error, "bucket cannot be used yet");
            Ok(None)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The bucket, tried.
async fn open_bucket(settings: &Settings) -> Result<(S3Bucket, OrphanRule), ObjectStorageError> {
    let (bucket, options) = bucket(settings)?;
    let name = options.bucket;
    let random = SystemClock.random().map_err(ObjectStorageError::Random)?;
    let probed = bucket.probe(SystemClock.date(), random).await;
    let rule = probed.map_err(|error| ObjectStorageError::Bucket(name, error))?;
    Ok((bucket, rule))
}

/// The bucket, of which nothing was asked yet.
fn bucket(settings: &Settings) -> Result<(S3Bucket, S3Options), ObjectStorageError> {
    let options = bucket_options(settings)?;
    let tls = match options.tls {
        true => Some(client_config(Trust::Roots(machine_roots()?), None, b"http/1.1", SESSIONS)?),
        false => None,
    };
    let credentials = match (&settings.s3_access_key, &settings.s3_secret_key) {
        (Some(access_key), Some(secret)) => Credentials::Keys {
            access_key: access_key.clone(),
            secret_key: secret.expose().to_owned(),
        },
        _ => Credentials::Environment,
    };
    let transport = Arc::new(ObjectTransport::new(tls, PATIENCE));
    Ok((S3Bucket::new(options.clone(), credentials, transport), options))
}

fn bucket_options(settings: &Settings) -> Result<S3Options, ObjectStorageError> {
    let region = &settings.s3_region;
    let url = settings.s3_endpoint.clone();
    let url = url.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    let (tls, host) = match url.split_once("://") {
        Some(("https", host)) => (true, host),
        Some((_, host)) => (false, host),
        None => return Err(ObjectStorageError::Endpoint(url)),
    };
    // Nobody names the port of the scheme in the header Host, which is signed.
    let host = host.strip_suffix(if tls { ":443" } else { ":80" }).unwrap_or(host);
    let authority = host.parse().map_err(|_| ObjectStorageError::Endpoint(url.clone()))?;
    let in_path = settings.s3_path_style.unwrap_or_else(|| settings.s3_endpoint.is_some());
    Ok(S3Options {
        tls,
        authority,
        region: region.clone(),
        bucket: settings.s3_bucket.clone().unwrap_or_default(),
        naming: if in_path { Naming::Path } else { Naming::Host },
        prefix: settings.s3_prefix.clone().unwrap_or_default(),
        requests: settings.s3_requests,
        page: PAGE,
    })
}

/// The log, whose tables are there, and what was found of its database.
pub(super) async fn open_log(
    settings: &Settings,
) -> Result<(PostgresLog, Database), ObjectStorageError> {
    let log = log(settings)?;
    let database = log.examine().await?;
    log.prepare().await?;
    Ok((log, database))
}

/// The log, of which nothing was asked yet.
pub(super) fn log(settings: &Settings) -> Result<PostgresLog, ObjectStorageError> {
    let config = |trust| client_config(trust, None, b"postgresql", SESSIONS);
    let tls = PostgresTls {
        checked: machine_roots().ok().map(|roots| config(Trust::Roots(roots))).transpose()?,
        unchecked: Some(config(Trust::Any)?),
    };
    let url = settings.postgres_url.as_ref().map_or("", |url| url.expose());
    Ok(PostgresLog::new(url, &tls, settings.postgres_connections)?)
}

/// The start waits for the bucket at most so long.
const AT_START: Duration = Duration::from_secs(5);
/// How long things may take.
const TUNING: ObjectTuning = ObjectTuning {
    multipart_lifetime: Duration::from_secs(20 * 3600),
    hold: engine::agenda::HOLD,
    call_hold: Duration::from_secs(90),
    second_look: Duration::from_secs(60),
    pause: Duration::from_millis(300),
    tries: 5,
};
/// One upload has one in so many of the requests at once to store its bytes.
const REQUESTS_OF_ONE: usize = 4;
/// A store answers, or is given up.
const PATIENCE: Patience =
    Patience { still: Duration::from_secs(10), whole: Duration::from_secs(60) };
/// TLS sessions remembered.
const SESSIONS: usize = 64;
/// Entries of one page of a list, the most that stores give.
const PAGE: u32 = 1000;
