//! What those who look after a server are shown of it.

use super::sockets::Socket;
use crate::engine::Engine;
use crate::metrics::Sources;
use crate::net::{Memory, Stats, TlsReload, Workers};
use crate::telemetry;
use crate::wire::refusals::Refusals;
use crate::wire::{Beside, Surface, Turn};
use std::sync::Arc;
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
        certificate_ends: Arc::new(move || {
            certificates.iter().filter_map(|(_, tls)| tls.ends()).min()
        }),
        log: telemetry::log_filter(),
    }
}

fn word(surface: Surface) -> &'static str {
    match surface {
        Surface::Public => "public",
        Surface::Backend => "backend",
        Surface::Shared => "shared",
    }
}
