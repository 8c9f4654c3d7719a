//! Protects cancelling: the bytes go, the backend learns of it exactly when it should, and what is
//! over says so.

use crate::backend::{Backend, Script};
use crate::client::Ask;
use crate::content::content;
use crate::server::Running;
use serde_json::json;

#[tokio::test]
async fn the_backend_is_told() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let params = [("backendSecret", "s"), ("metadata", "m"), ("digest", "sha-256")];
    let upload = server.ticket_with(&backend.url(), &params).await;
    upload.bind(r#"{"name": "film.mp4", "length": 100000}"#).await.expect(200);
    upload.put(0, &content(50, 50_000), 100_000).await.expect(200);
    assert_eq!(server.traces(&upload.id), ["ID.journal", "ID.part"]);
    let target =
        format!("{}?reason=no+longer+%E2%80%AE%22n%C3%B6tig%22%0d%0a%E2%81%A9", upload.url);
    let status = server.front(&Ask::new("DELETE", &target)).await.expect(200).json();
    assert_eq!(status["state"], "cancelled");
    assert_eq!(status["reason"], "no longer \"nötig\"");
    assert_eq!(server.traces(&upload.id), ["ID.journal"], "the bytes are gone");
    let calls = backend.calls_for(&upload.id, 1).await;
    let call = &calls[0];
    for (name, value) in [
        ("id", &*upload.id),
        ("filename", ""),
        ("filenameFromBrowser", "film.mp4"),
        ("backendSecret", "s"),
        ("cancelled", "yes"),
        ("cancelReason", "no longer \"nötig\""),
        ("length", "100000"),
        ("metadata", "m"),
        ("attempt", "1"),
    ] {
        assert_eq!(call.field(name), value, "{name}");
    }
    assert_eq!(call.header("idempotency-key"), Some(&*upload.id));

    upload.put(50_000, b"more", 100_000).await.problem(410, "upload-over", 8);
    upload.put(0, &content(50, 100), 100_000).await.problem(410, "upload-over", 8);
    let bind = upload.bind(r#"{"length": 100000}"#).await;
    bind.problem(410, "upload-over", 8);
    assert_eq!(bind.json()["upload"]["state"], "cancelled");
    // Whoever repeats it learns how things stand, and nobody is told twice.
    upload.ask("DELETE").await.expect(200);
    assert_eq!(upload.status().await["state"], "cancelled");
    assert_eq!(backend.calls_for(&upload.id, 1).await.len(), 1);
}

#[tokio::test]
async fn the_browser_need_not_give_a_reason() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    upload.ask("DELETE").await.expect(200);
    let calls = backend.calls_for(&upload.id, 1).await;
    assert!(!calls[0].field("cancelReason").is_empty());
    assert_eq!(calls[0].field("cancelled"), "yes");
}

#[tokio::test]
async fn any_sign_of_the_backend_ends_the_telling() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let scripts = [
        vec![Script::Answer(204, "")],
        vec![Script::Answer(200, "whatever")],
        vec![Script::Answer(404, "no such thing")],
        vec![Script::Answer(410, "")],
        vec![Script::Answer(500, "done"), Script::Answer(202, "")],
        vec![Script::Redirect("/".into()), Script::Answer(200, "")],
    ];
    let mut uploads = Vec::new();
    for script in scripts {
        let upload = server.ticket(&backend).await;
        let count = script.len();
        backend.answer_for(&upload.id, script);
        upload.ask("DELETE").await.expect(200);
        uploads.push((upload, count));
    }
    for (upload, count) in &uploads {
        backend.calls_for(&upload.id, *count).await;
    }
    crate::until("nothing is owed", async || {
        let metrics = server.back(&Ask::new("GET", "/metrics")).await.text();
        metrics.contains("incoming_handovers_owed 0\n").then_some(())
    })
    .await;
    for (upload, count) in &uploads {
        assert_eq!(backend.calls_for(&upload.id, *count).await.len(), *count);
        assert_eq!(upload.status().await["state"], "cancelled");
    }
}

#[tokio::test]
async fn telling_in_vain_never_makes_it_failed() {
    let server = Running::start_with(|settings| {
        settings.handover_retry_for = std::time::Duration::ZERO;
    })
    .await;
    let nobody = Backend::url_of(Backend::nobody().await);
    let upload = server.ticket_with(&nobody, &[]).await;
    upload.ask("DELETE").await.expect(200);
    crate::until("the telling is given up", async || {
        let metrics = server.back(&Ask::new("GET", "/metrics")).await.text();
        let given_up = metrics.contains("incoming_handovers_owed 0\n");
        (given_up && metrics.contains("incoming_handover_calls_unanswered_total 1\n")).then_some(())
    })
    .await;
    assert_eq!(upload.status().await["state"], "cancelled");
}

#[tokio::test]
async fn cancelled_by_the_backend_itself() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let upload = server.ticket_with(&backend.url(), &[("backendSecret", "s")]).await;
    upload.put(0, b"some bytes", 100).await.expect(200);
    let params = [("id", &*upload.id), ("backendSecret", "s")];
    assert_eq!(server.call("cancel_upload", &params).await.expect(200).text(), "ok");
    assert_eq!(server.call("cancel_upload", &params).await.expect(200).text(), "ok");
    assert_eq!(server.call("finish_upload", &params).await.status, 412);
    assert_eq!(upload.status().await["state"], "cancelled");
    assert_eq!(server.traces(&upload.id), ["ID.journal"]);
    upload.put(10, b"more", 100).await.problem(410, "upload-over", 8);
    // Not even after a restart is it told what it said itself.
    let server = server.restart().await;
    let other = server.ticket(&backend).await;
    other.put_whole(b"x").await.expect(200);
    other.reaches("finished").await;
    assert!(backend.calls().iter().all(|call| call.field("id") == other.id));
}

#[tokio::test]
async fn too_late_is_said_so() {
    let backend = Backend::start().await;
    backend.answer([Script::Answer(200, "wait")]);
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    upload.put_whole(b"x").await.expect(200);
    let reply = upload.ask("DELETE").await;
    reply.problem(412, "wrong-state", 10);
    assert_eq!(reply.json()["upload"]["state"], "handing_over");
    assert_eq!(server.call("cancel_upload", &[("id", &upload.id)]).await.status, 412);
    backend.calls_for(&upload.id, 1).await;
    server.call("finish_upload", &[("id", &upload.id)]).await.expect(200);
    let reply = upload.ask("DELETE").await;
    reply.problem(410, "upload-over", 8);
    assert_eq!(reply.json()["upload"]["state"], "finished");
    assert_eq!(server.call("cancel_upload", &[("id", &upload.id)]).await.status, 412);
    assert_eq!(upload.status().await["state"], "finished");
}

#[tokio::test]
async fn chunks_in_flight_end() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let file = content(51, 100_000);
    let mut conn = upload.stalled(0, &file, 30_000, 100_000).await;
    upload.in_flight(1).await;
    upload.ask("DELETE").await.expect(200);
    let reply = conn.reply("PUT").await.unwrap();
    reply.problem(410, "upload-over", 8);
    assert_eq!(reply.json()["upload"]["state"], json!("cancelled"));
    upload.in_flight(0).await;
    assert_eq!(server.traces(&upload.id), ["ID.journal"]);
}
