//! Protects what time does: idle tickets end and are told, what is over is forgotten, and nothing
//! else ever goes.

use crate::backend::{Backend, Script};
use crate::server::Running;
use crate::until;
use std::time::Duration;

#[tokio::test]
async fn idle_uploads_are_cancelled_and_told() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| settings.max_idle = Duration::from_secs(1)).await;
    let (fresh, begun) = (server.ticket(&backend).await, server.ticket(&backend).await);
    begun.put(0, b"some bytes", 100).await.expect(200);
    // Handed over, however long it takes, is not idle.
    let waiting = server.ticket(&backend).await;
    backend.answer_for(&waiting.id, [Script::Answer(200, "wait")]);
    waiting.put_whole(b"whole").await.expect(200);
    for upload in [&fresh, &begun] {
        let status = upload.reaches("cancelled").await;
        assert_eq!(status["reason"], "upload timed out");
        let calls = backend.calls_for(&upload.id, 1).await;
        assert_eq!(calls[0].field("cancelled"), "yes");
        assert_eq!(calls[0].field("cancelReason"), "upload timed out");
        assert_eq!(calls[0].field("filename"), "");
        assert_eq!(server.traces(&upload.id), ["ID.journal"], "the bytes are gone");
        upload.put(10, b"more", 100).await.problem(410, "upload-over", 8);
    }
    assert_eq!(waiting.status().await["state"], "handing_over");
    assert!(waiting.file().exists());
}

#[tokio::test]
async fn a_ticket_may_have_its_own_patience() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let patient = server.ticket(&backend).await;
    let hasty = server.ticket_with(&backend.url(), &[("idleTimeout", "1s")]).await;
    hasty.reaches("cancelled").await;
    assert_eq!(patient.status().await["state"], "new");
}

/// A body under way keeps its upload, however slowly it comes.
#[tokio::test]
async fn a_chunk_in_flight_is_not_idle() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| settings.max_idle = Duration::from_secs(1)).await;
    let upload = server.ticket(&backend).await;
    let mut conn = upload.stalled(0, b"0123456789", 5, 10).await;
    upload.in_flight(1).await;
    // A ticket that is younger ends first.
    server.ticket(&backend).await.reaches("cancelled").await;
    conn.send(b"56789").await.unwrap();
    conn.reply("PUT").await.unwrap().expect(200);
    upload.reaches("finished").await;
}

#[tokio::test]
async fn what_is_over_is_readable_for_a_while_and_then_forgotten() {
    let backend = Backend::start().await;
    let server =
        Running::start_with(|settings| settings.retain_finished = Duration::from_secs(2)).await;
    let finished = server.ticket(&backend).await;
    finished.put_whole(b"x").await.expect(200);
    finished.reaches("finished").await;
    let kept = server.ticket_with(&backend.url(), &[("removeFileWhenFinished", "false")]).await;
    kept.put_whole(b"kept").await.expect(200);
    kept.reaches("finished").await;
    let cancelled = server.ticket(&backend).await;
    cancelled.ask("DELETE").await.expect(200);
    assert_eq!(cancelled.status().await["state"], "cancelled");
    for upload in [&finished, &kept, &cancelled] {
        until("it is forgotten", async || (upload.ask("GET").await.status == 404).then_some(()))
            .await;
    }
    until("the journals are gone", async || {
        let gone =
            [&finished, &cancelled].iter().all(|upload| server.traces(&upload.id).is_empty());
        (gone && server.traces(&kept.id) == ["files/ID"]).then_some(())
    })
    .await;
    assert_eq!(
        std::fs::read(kept.file()).unwrap(),
        b"kept",
        "the backend's file is not ours to remove"
    );
}

#[tokio::test]
async fn a_failed_handovers_file_goes_at_the_end_of_its_retention() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| {
        settings.handover_retry_for = Duration::ZERO;
        settings.failed_retention = Duration::from_secs(1);
    })
    .await;
    let upload = server.ticket_with(&backend.url(), &[("removeFileWhenFinished", "false")]).await;
    backend.answer_for(&upload.id, [Script::Answer(500, "")]);
    upload.put_whole(b"x").await.expect(200);
    upload.reaches("failed").await;
    until("it is forgotten", async || (upload.ask("GET").await.status == 404).then_some(())).await;
    until("nothing is left", async || server.traces(&upload.id).is_empty().then_some(())).await;
}
