//! What those who look after a server are shown of it.

use super::sockets::Socket;
use crate::engine::Engine;
use crate::metrics::Sources;
use crate::net::{Memory, Stats, TlsReload, Workers};
use crate::telemetry;
use crate::wire::refusals::Refusals;
use crate::wire::{Beside, Surface, Turn};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;
use tokio::runtime::Handle;

/// The rooms of a server that have something to show.
pub(super) struct Shown<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) net: &'a Arc<Stats>,
    pub(super) memory: &'a Arc<Memory>,
    pub(super) sockets: &'a [Socket],
    pub(super) workers: &'a Workers,
    pub(super) backend_workers: &'a Workers,
    pub(super) max_connections: usize,
}

/// Metrics, health and the log's filter. Must be called on the runtime that accepts.
pub(super) fn beside(shown: &Shown<'_>) -> Beside {
    let refusals = Arc::new(Refusals::default());
    let certificates: Vec<(&'static str, Arc<TlsReload>)> = shown
        .sockets
        .iter()
        .filter_map(|socket| Some((word(socket.surface), Arc::clone(socket.tls.as_ref()?))))
        .collect();
    let sources = Sources {
        engine: Arc::clone(shown.engine),
        net: Arc::clone(shown.net),
        memory: Arc::clone(shown.memory),
        refusals: Arc::clone(&refusals),
        certificates: certificates.clone(),
        max_connections: shown.max_connections,
        started: SystemTime::now(),
    };
    let workers = shown.workers.runtimes().chain(shown.backend_workers.runtimes());
    let turns = workers.map(|(name, runtime)| Turn::new(name.to_owned(), runtime.clone()));
    let main = Turn::new("main".into(), Handle::current());
    let loops = std::iter::once(main).chain(turns).collect();
    Beside {
        metrics: Arc::new(move |scrape| sources.render(scrape)),
        refusals,
        loops,
        unready: Arc::new(move || {
            let ends = certificates.iter().filter_map(|(_, tls)| tls.ends()).min();
            let expired = ends.is_some_and(|ends| ends <= SystemTime::now());
            let expired = expired.then(|| "a certificate has expired".to_owned());
            expired.into_iter().chain(threads_missing()).collect()
        }),
        notes: Arc::new(|| telemetry::log_trouble().into_iter().collect()),
        log: telemetry::log_filter(),
    }
}

/// Why the system gives the process no thread, if it gives none: what waits for the disk waits for the few there are.
fn threads_missing() -> Option<String> {
    let thread = thread::Builder::new().name("incoming-probe".into()).spawn(|| ());
    match thread.map(thread::JoinHandle::join) {
        Ok(_) => None,
        Err(error) => Some(format!(
            "the system gives no thread ({error}): raise the limit of processes (ulimit -u, TasksMax, pids.max)"
        )),
    }
}

fn word(surface: Surface) -> &'static str {
    match surface {
        Surface::Public => "public",
        Surface::Backend => "backend",
        Surface::Shared => "shared",
    }
}
