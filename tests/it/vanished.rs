//! Protects uploads whose storage directory is not where it was: nothing is said to be unknown that may
//! lie elsewhere, nothing is acknowledged that went with it, and the balancer is told.

use crate::client::Ask;
use crate::server::Running;
use incoming::config::Ack;
use serde_json::json;

#[tokio::test]
async fn a_directory_that_is_renamed_away_is_not_empty() {
    let server = Running::start().await;
    let id = {
        let upload = server.lonely_ticket().await;
        upload.put(0, b"hello", 10).await.expect(200);
        upload.id.clone()
    };
    // Only the disk knows of it now.
    let server = server.restart().await;
    let (here, away) = (server.storage(), server.directory.path().join("away"));
    std::fs::rename(&here, &away).unwrap();
    let upload = server.upload(&id);
    upload.ask("GET").await.problem(500, "fault", 16);
    upload.put(5, b"world", 10).await.problem(500, "fault", 16);
    let ready = Ask::new("GET", "/readyz");
    server.back(&ready).await.expect(503);
    std::fs::rename(&away, &here).unwrap();
    server.back(&ready).await.expect(200);
    assert_eq!(upload.received().await, json!([[0, 5]]));
    upload.put(5, b"world", 10).await.expect(200);
}

#[tokio::test]
async fn nothing_is_acknowledged_that_went_with_its_directory() {
    for ack in [Ack::Durable, Ack::Written] {
        let server = Running::start_with(|settings| settings.ack = ack).await;
        let upload = server.lonely_ticket().await;
        upload.put(0, b"hello", 20).await.expect(200);
        std::fs::remove_dir_all(server.storage()).unwrap();
        upload.put(5, b"world", 20).await.problem(500, "fault", 16);
        upload.put(5, b"world", 20).await.problem(500, "fault", 16);
    }
}
