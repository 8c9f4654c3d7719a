//! Accepts connections until told to stop, then lets them end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::HttpService;
use super::conn::{self, Shared};
use super::workers::{RoundRobin, Workers};
use super::{Listener, Options, Peer, ProxyProtocol, Stats};
use crate::engine::deadline::within;
use crate::tls::TlsReload;

/// How long connections may take to be dropped once their grace is over. A task is dropped when its
/// worker next looks at it; one that never does is left behind.
const CUT: Duration = Duration::from_secs(1);

/// How a listener is served.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Certificates; none: plain HTTP/1.1.
    pub tls: Option<Arc<TlsReload>>,
    /// Who says who the clients are, before anything else; none: the clients themselves connect.
    pub proxy_protocol: Option<Arc<ProxyProtocol>>,
    /// Limits and knobs.
    pub options: Arc<Options>,
    /// Where connections are counted.
    pub stats: Arc<Stats>,
    /// Cancelled to shut down.
    pub drain: CancellationToken,
}

/// Serves a listener until `setup.drain` is cancelled and its connections have ended.
///
/// Connections are accepted on the runtime that polls this (the one `listener` was bound on) and
/// dealt to `workers` in turn; `make` is called once for each, there, when the peer is known.
///
/// The service's future is dropped when the client goes away, so work that must not stop half-way
/// belongs in a task of its own. A request's body may be read on after its answer was given; on
/// HTTP/1.1 the connection then stays until the body ends or is dropped, and a dropped one is read
/// on and thrown away within [`Options::linger`] so that the answer arrives. Whoever reads on keeps the
/// request's extensions as long as its body: they hold the memory that its unread bytes take.
///
/// At drain the listening socket closes at once, idle connections end, running requests go on for
/// [`Options::shutdown_grace`] at most, and what is left then is dropped.
///
/// Cancel: all connections are dropped where they stand.
pub fn serve<M, S>(
    listener: Listener,
    setup: Setup,
    workers: &Workers,
    make: M,
) -> impl Future<Output = ()> + Send + use<M, S>
where
    M: Fn(&Peer) -> S + Clone + Send + Sync + 'static,
    S: HttpService,
{
    let Setup { tls, proxy_protocol, options, stats, drain } = setup;
    let cut = CancellationToken::new();
    let tasks = TaskTracker::new();
    let shared = Arc::new(Shared { tls, proxy_protocol, options, stats, drain, cut, tasks });
    let round_robin = workers.round_robin();
    async move {
        let _dropped = shared.cut.clone().drop_guard();
        accept_all(listener, &shared, &round_robin, make).await;
        end_all(&shared).await;
    }
}

/// Accepts until the drain; the listener closes with its end.
async fn accept_all<M, S>(
    listener: Listener,
    shared: &Arc<Shared>,
    round_robin: &RoundRobin,
    make: M,
) where
    M: Fn(&Peer) -> S + Clone + Send + Sync + 'static,
    S: HttpService,
{
    let permits = Arc::new(Semaphore::new(shared.options.max_connections));
    let next = async || {
        // The permit first: a connection that cannot be served yet waits in the kernel's queue,
        // where it costs us nothing.
        let permit = Arc::clone(&permits).acquire_owned().await.expect("permits are never closed");
        (listener.accept(&shared.stats).await, permit)
    };
    while let Some((accepted, permit)) = shared.drain.run_until_cancelled(next()).await {
        let shared = Arc::clone(shared);
        let make = make.clone();
        let tasks = shared.tasks.clone();
        let serving = conn::serve(accepted, permit, shared, make);
        tasks.spawn_on(serving, &round_robin.next());
    }
}

async fn end_all(shared: &Shared) {
    shared.tasks.close();
    if within(shared.options.shutdown_grace.time(), shared.tasks.wait()).await.is_ok() {
        return;
    }
    tracing::warn!(part = "connections", tasks = shared.tasks.len(), "shutdown timed out");
    shared.cut.cancel();
    if timeout(CUT, shared.tasks.wait()).await.is_err() {
        tracing::error!(part = "connections", tasks = shared.tasks.len(), "shutdown timed out");
    }
}
