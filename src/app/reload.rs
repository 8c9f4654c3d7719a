//! What a hang-up signal changes while the server runs.

use super::manager::Manager;
use crate::net::TlsReload;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Waits for `stop`; a hang-up signal meanwhile reloads certificates.
pub(super) async fn hangups(
    reloads: &[Arc<TlsReload>],
    manager: &Manager,
    status: &str,
    stop: &CancellationToken,
) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return stop.cancelled().await };
    while stop.run_until_cancelled(hangup.recv()).await.is_some() {
        manager.reloading();
        for reload in reloads {
            match reload.reload() {
                Ok(()) => tracing::info!("certificates reloaded"),
                Err(error) => {
                    tracing::error!(%error, "certificates not reloaded, the old ones stay")
                }
            }
        }
        manager.ready(&status);
    }
}
