//! The operator's view of the running server: `overview` as JSON, and the settings in force.
//!
//! A request formats what tasks have sampled, so its work does not grow with the number of uploads, and it waits for no
//! disk but at its first call.

use super::access::Role;
use super::admin::{CurrentFilter, ServerFigures};
use super::backend::Form;
use super::problem::{Code, Problem};
use super::reply::{json_answer, text_answer};
use super::servers::{Condition, ServerBody, date};
use super::{Answer, Exchange, Wire};
use crate::core::host::bracketed;
use crate::core::state::StateName;
use crate::engine::delivery::CallKind;
use crate::engine::delivery::outbox::PendingCall;
use crate::engine::health::SingleFlight;
use crate::engine::overview::{LiveUpload, Overview};
use crate::storage::servers::ServerState;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::time::timeout;

/// What the disk was found to be like, and when.
#[derive(Clone, Debug)]
pub(super) struct Health {
    at: Instant,
    problems: Vec<String>,
    free_bytes: Option<u64>,
}

/// The last health that was found; one search runs at a time.
#[derive(Default)]
pub(super) struct HealthCache {
    latest: Mutex<Option<Health>>,
    search: SingleFlight<()>,
}

impl HealthCache {
    fn latest(&self) -> Option<Health> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Serialize)]
struct OverviewBody {
    operator: bool,
    shared: bool,
    servers: Vec<ServerBody<DetailBody>>,
    uploads: BTreeMap<&'static str, u64>,
    live: LiveBody,
    handovers: HandoversBody,
}

/// What is known of the server that answers alone.
#[derive(Serialize)]
struct DetailBody {
    notes: Vec<String>,
    rates: RatesBody,
    disk: DiskBody,
    connections: ConnectionsBody,
    memory: MemoryBody,
    certificates: Vec<CertificateBody>,
    log: Option<LogBody>,
}

#[derive(Serialize)]
struct RatesBody {
    step_s: u32,
    received: Vec<u64>,
    acknowledged: Vec<u64>,
}

#[derive(Serialize)]
struct DiskBody {
    free: Option<u64>,
    reserved: u64,
    min_free: u64,
    sync_ms: Option<f64>,
    sync_errors: u64,
}

#[derive(Serialize)]
struct ConnectionsBody {
    http1: u64,
    http2: u64,
    handshake: u64,
    max: u64,
}

#[derive(Serialize)]
struct MemoryBody {
    used: u64,
    max: u64,
}

#[derive(Serialize)]
struct CertificateBody {
    listener: &'static str,
    expires: String,
    days: i64,
}

#[derive(Serialize)]
struct LogBody {
    filter: String,
    until: Option<String>,
}

#[derive(Serialize)]
struct LiveBody {
    count: usize,
    uploads: Vec<UploadBody>,
}

#[derive(Serialize)]
struct UploadBody {
    id: String,
    name: Option<String>,
    length: Option<u64>,
    acknowledged: u64,
    under_way: u64,
    bytes_per_s: u64,
    chunks: u64,
    idle_s: u64,
}

#[derive(Serialize)]
struct HandoversBody {
    count: usize,
    running: u64,
    calls: Vec<CallBody>,
}

#[derive(Serialize)]
struct CallBody {
    id: String,
    name: Option<Box<str>>,
    kind: &'static str,
    host: String,
    attempts: u32,
    pending_s: u64,
    next_s: Option<u64>,
    error: Option<Box<str>>,
}

impl Wire {
    pub(super) async fn overview(self: &Arc<Self>, role: Role) -> Answer {
        let health = self.known_health().await;
        let overview = self.engine.overview().await;
        let detail = self.detail(health.as_ref().and_then(|it| it.free_bytes), &overview);
        json_answer(&OverviewBody {
            operator: role == Role::Operator,
            shared: self.engine.is_shared(),
            servers: self.server_bodies(self.condition(health), detail),
            uploads: self.counts(),
            live: LiveBody {
                count: overview.live_count,
                uploads: overview.live.iter().map(upload_body).collect(),
            },
            handovers: HandoversBody {
                count: overview.pending_count,
                running: self.engine.stats().calls_running.count(),
                calls: overview.pending.iter().map(call_body).collect(),
            },
        })
    }

    /// The settings in force, as `check-config` prints them.
    pub(super) fn config(
        &self,
        role: Role,
        exchange: &Exchange,
        form: Form,
    ) -> Result<Answer, Problem> {
        if role != Role::Operator {
            return Err(Problem::new(
                Code::Forbidden,
                "the settings are shown with the operator token only (operator_token)",
            ));
        }
        let settings = &exchange.options.settings;
        Ok(match form {
            Form::Text => text_answer(settings.to_string()),
            Form::Json => json_answer(&serde_json::json!({ "settings": **settings })),
        })
    }

    fn counts(&self) -> BTreeMap<&'static str, u64> {
        let stats = self.engine.stats();
        let states =
            StateName::ALL.iter().map(|state| (state.word(), stats.uploads.of(*state).count()));
        let open = ("open", stats.uploads_open.count());
        states.chain([open, ("max", self.engine.options().max_uploads)]).collect()
    }

    /// Whether this server takes uploads, and why not.
    pub(super) fn condition(&self, health: Option<Health>) -> Condition {
        let stopping = self.engine.draining().is_cancelled();
        let unknown = || vec!["the disk has not answered yet".to_owned()];
        let problems = health.map_or_else(unknown, |health| health.problems);
        let state = match (stopping, problems.is_empty()) {
            (true, _) => ServerState::Stopping,
            (false, true) => ServerState::Ready,
            (false, false) => ServerState::NotReady,
        };
        (state, problems)
    }

    fn detail(&self, free: Option<u64>, overview: &Overview) -> DetailBody {
        let figures = (self.hooks.figures)();
        let ServerFigures { http1, http2, accepted, max_connections, .. } = figures;
        let stats = self.engine.stats();
        DetailBody {
            notes: (self.hooks.notes)(),
            rates: RatesBody {
                step_s: 1,
                received: overview.seconds.iter().map(|second| second.received).collect(),
                acknowledged: overview.seconds.iter().map(|second| second.acknowledged).collect(),
            },
            disk: DiskBody {
                free,
                reserved: self.engine.reserved_bytes(),
                min_free: self.engine.options().min_free_bytes,
                sync_ms: overview.sync_time.map(crate::core::time::ms),
                sync_errors: stats.disk_syncs.errors.get(),
            },
            connections: ConnectionsBody {
                http1,
                http2,
                handshake: accepted.saturating_sub(http1 + http2),
                max: max_connections,
            },
            memory: MemoryBody { used: figures.memory_used_bytes, max: figures.memory_max_bytes },
            certificates: figures.certificates.into_iter().map(certificate_body).collect(),
            log: self.hooks.log.as_ref().map(|log| {
                let CurrentFilter { filter, until } = log.current();
                LogBody { filter, until: until.map(date) }
            }),
        }
    }

    /// What `/readyz` would say, at most some seconds old where the disk answers. The first call waits for it a while.
    pub(super) async fn known_health(self: &Arc<Self>) -> Option<Health> {
        let known = self.health.latest();
        if known.as_ref().is_some_and(|health| health.at.elapsed() < HEALTH_HOLDS) {
            return known;
        }
        let wire = Arc::clone(self);
        let search = self.health.search.ask(|| {
            tokio::spawn(async move {
                let (problems, free_bytes) =
                    tokio::join!(wire.unready(), timeout(FIRST_HEALTH, wire.engine.free_bytes()));
                let free_bytes = free_bytes.ok().flatten();
                let found = Health { at: Instant::now(), problems, free_bytes };
                *wire.health.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
            })
        });
        if known.is_some() {
            return known;
        }
        // It goes on where nothing waits for it any more.
        let _ = timeout(FIRST_HEALTH, search).await;
        self.health.latest()
    }
}

fn upload_body(upload: &LiveUpload) -> UploadBody {
    UploadBody {
        id: upload.id.to_string(),
        name: upload.name.clone(),
        length: upload.length,
        acknowledged: upload.acknowledged,
        under_way: upload.under_way,
        bytes_per_s: upload.bytes_per_s,
        chunks: upload.chunks,
        idle_s: upload.idle.as_secs(),
    }
}

fn call_body(call: &PendingCall) -> CallBody {
    let (host, port) = call.destination.parts();
    CallBody {
        id: call.id.to_string(),
        name: call.name.clone(),
        kind: match call.kind {
            CallKind::Handover => "handover",
            CallKind::CancelNotice => "cancel_notice",
        },
        host: format!("{}:{port}", bracketed(host)),
        attempts: call.attempts,
        pending_s: call.pending.as_secs(),
        next_s: call.next.map(|next| next.as_secs()),
        error: call.reason.clone(),
    }
}

fn certificate_body((listener, ends): (&'static str, SystemTime)) -> CertificateBody {
    let days = |time: Duration| i64::try_from(time.as_secs() / 86_400).unwrap_or(i64::MAX);
    let days = match ends.duration_since(SystemTime::now()) {
        Ok(left) => days(left),
        Err(since) => -days(since.duration()) - 1,
    };
    CertificateBody { listener, expires: date(ends), days }
}

/// How long what was found of the disk is shown before it is asked again: each time writes and syncs a small file.
const HEALTH_HOLDS: Duration = Duration::from_secs(10);
/// How long the first overview waits for the disk.
const FIRST_HEALTH: Duration = Duration::from_secs(1);
