//! One backend must not delay another's handovers: places for calls are shared fairly among destinations.

use crate::backend::{Backend, Script};
use crate::server::Running;
use crate::until;
use std::iter::repeat_n;

/// Backends that take calls and never answer.
async fn dead(count: usize) -> Vec<Backend> {
    let mut backends = Vec::new();
    for _ in 0..count {
        let backend = Backend::start().await;
        backend.answer(repeat_n(Script::Silence, 64));
        backends.push(backend);
    }
    backends
}

/// An upload that is complete, so that its handover is due; gives its id.
async fn completed(server: &Running, backend: &Backend) -> String {
    let upload = server.ticket(backend).await;
    upload.bind(r#"{"length": 0}"#).await.expect(200);
    upload.id
}

fn calls(backends: &[Backend]) -> usize {
    backends.iter().map(|backend| backend.calls().len()).sum()
}

#[tokio::test]
async fn issue_13_two_backends_beside_a_hundred_dead_ones_are_called() {
    let dead = dead(100).await;
    let good = [Backend::start().await, Backend::start().await];
    let server = Running::start().await;
    for _ in 0..3 {
        for backend in &dead {
            completed(&server, backend).await;
        }
    }
    // As many calls as there could be at once, of all backends, before they were fair.
    until("128 calls that nobody answers", async || (calls(&dead) >= 128).then_some(())).await;
    let mut ids = Vec::new();
    for backend in &good {
        for _ in 0..20 {
            ids.push(completed(&server, backend).await);
        }
    }
    for id in &ids {
        server.upload(id).reaches("finished").await;
    }
    // A notice of a cancelled upload goes the same way.
    let upload = server.ticket(&good[0]).await;
    upload.ask("DELETE").await.expect(200);
    assert_eq!(good[0].calls_for(&upload.id, 1).await[0].field("cancelled"), "yes");
    // None of the calls that nobody answers had to end for that: their time-out is longer than this test.
    for backend in &dead {
        let count = backend.calls().len();
        assert!((1..=3).contains(&count), "{count} calls to a backend that never answered");
    }
}

#[tokio::test]
async fn issue_13_one_destination_has_sixteen_calls_at_once_at_most() {
    let (many, other) = (Backend::start().await, Backend::start().await);
    let server = Running::start().await;
    // It answers once, so it gets all that a backend may have; then it hangs.
    let first = completed(&server, &many).await;
    server.upload(&first).reaches("finished").await;
    many.answer(repeat_n(Script::Silence, 300));
    for _ in 0..60 {
        completed(&server, &many).await;
    }
    until("sixteen calls more", async || (many.calls().len() >= 17).then_some(())).await;
    let id = completed(&server, &other).await;
    server.upload(&id).reaches("finished").await;
    assert_eq!(many.calls().len(), 17);
    let metrics = server.back(&crate::client::Ask::new("GET", "/metrics")).await.expect(200).text();
    let shows = |line: &str| metrics.lines().any(|found| found == line);
    assert!(shows("incoming_handover_calls_running 16"), "{metrics}");
    assert!(shows("incoming_handover_calls_waiting 44"), "{metrics}");
}
