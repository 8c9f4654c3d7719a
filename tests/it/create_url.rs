//! Protects the call of `create_url`: what a web app may answer, who may be called, what it is told, and the bounds.

use crate::backend::{Backend, Script};
use crate::client::{Ask, Conn};
use crate::server::Running;
use crate::until;
use incoming::config::{CallbackRule, CreateSecret, Secret, Settings};
use incoming::core::callback::CallbackUrl;
use incoming::core::signing::SigningSecrets;
use serde_json::json;
use std::time::Duration;

/// A creation in the dialect of tus.
fn creation() -> Ask {
    Ask::new("POST", "/incoming/frontend/tus")
        .header("Tus-Resumable", "1.0.0")
        .header("Upload-Length", "10")
}

async fn server(web_app: &Backend, change: impl FnOnce(&mut Settings)) -> Running {
    let url = CallbackUrl::parse(web_app.url()).unwrap();
    Running::start_with(|settings| {
        settings.create_url = Some(url);
        change(settings);
    })
    .await
}

fn text(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

#[tokio::test]
async fn the_web_app_names_a_ticket_or_describes_one() {
    let web_app = Backend::start().await;
    let server = server(&web_app, |_| {}).await;
    for form in ["{id}", "\"{id}\"\n", "\u{FEFF}{id}\r\n", r#"{"id": "{id}", "more": []}"#] {
        let id = server.ticket(&web_app).await.id;
        web_app.answer([Script::Answer(200, text(form.replace("{id}", &id)))]);
        let reply = server.front(&creation()).await.expect(201);
        let location = format!("/incoming/frontend/tus/{id}");
        assert_eq!(reply.header("location"), Some(&*location), "{form}");
    }
    let wish = json!({"signalFinishURL": web_app.url(), "metadata": "m", "name": "a/b.txt"});
    web_app.answer([Script::Answer(201, text(wish.to_string()))]);
    let reply = server.front(&creation()).await.expect(201);
    let id = reply.header("location").unwrap().rsplit('/').next().unwrap().to_owned();
    server.upload(&id).put_whole(b"0123456789").await.expect(200);
    let call = &web_app.calls_for(&id, 1).await[0];
    assert_eq!((call.field("metadata"), call.field("filenameFromBrowser")), ("m", "b.txt"));
}

#[tokio::test]
async fn what_is_no_ticket_is_for_the_operator_and_later() {
    let web_app = Backend::start().await;
    let server =
        server(&web_app, |settings| settings.create_timeout = Duration::from_millis(300)).await;
    let elsewhere = Backend::start().await;
    for script in [
        Script::Answer(200, "done"),
        Script::Answer(200, ""),
        Script::Answer(200, "{\"id\": 7}"),
        Script::Answer(200, "{\"signalFinishURL\": \"nonsense\"}"),
        Script::Answer(500, "a trace of the stack"),
        Script::Redirect(elsewhere.url()),
        Script::Raw(b"not HTTP"),
        Script::Silence,
    ] {
        web_app.answer([script.clone()]);
        let reply = server.front(&creation()).await;
        let detail = reply.problem(503, "unavailable", 14);
        assert!(reply.header("retry-after").is_some(), "{script:?}");
        assert!(!detail.contains("stack") && !detail.contains("nonsense"), "{detail}");
    }
    assert!(elsewhere.calls().is_empty(), "a redirect was followed");
    // A ticket that there is not.
    web_app.answer([Script::Answer(200, "00000000-0000-4000-8000-000000000000")]);
    server.front(&creation()).await.problem(404, "unknown-upload", 4);
}

#[tokio::test]
async fn refusals_keep_their_status_unless_a_client_would_repeat_them() {
    let web_app = Backend::start().await;
    let server = server(&web_app, |_| {}).await;
    for (answered, expected) in
        [(401, 401), (404, 404), (413, 413), (422, 422), (409, 400), (410, 400)]
    {
        web_app.answer([Script::Answer(answered, "no")]);
        assert_eq!(server.front(&creation()).await.problem(expected, "refused", 18), "no");
    }
    // tus-js-client never repeats 429, and the IETF's clients do.
    web_app.answer([Script::Answer(429, "slowly"), Script::Answer(429, "slowly")]);
    assert_eq!(server.front(&creation()).await.problem(503, "too-many", 13), "slowly");
    let resumable = Ask::new("POST", "/incoming/frontend/resumable")
        .header("Upload-Complete", "?0")
        .header("Upload-Length", "10");
    let reply = server.front(&resumable).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("2")));
    assert_eq!(web_app.calls().last().unwrap().field("dialect"), "resumable");
    // A page is not for the client.
    web_app.answer([Script::Raw(
        b"HTTP/1.1 403 X\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n<h1>x",
    )]);
    let detail = server.front(&creation()).await.problem(403, "refused", 18);
    assert!(!detail.contains('<'), "{detail}");
}

#[tokio::test]
async fn the_web_app_is_told_who_asks_and_by_whom() {
    let web_app = Backend::start().await;
    let server = server(&web_app, |settings| {
        settings.create_secret = Some(CreateSecret::Sent(Secret::new("hush")));
        settings.create_forward_headers = vec!["authorization".into(), "x-user".into()];
    })
    .await;
    let ask = creation()
        .header("Authorization", "Bearer of the user")
        .header("X-User", "7")
        .header("Cookie", "a=b")
        .header("Origin", "https://page.example");
    web_app.answer([Script::Answer(403, "no")]);
    server.front(&ask).await.problem(403, "refused", 18);
    let call = &web_app.calls()[0];
    assert_eq!(
        (call.field("createSecret"), call.field("origin")),
        ("hush", "https://page.example")
    );
    assert_eq!(call.field("client"), "127.0.0.1");
    assert_eq!(call.header("authorization"), Some("Bearer of the user"));
    assert_eq!((call.header("x-user"), call.header("cookie")), (Some("7"), None));
    assert_eq!(call.header("host"), Some(web_app.url().split('/').nth(2).unwrap()));
}

#[tokio::test]
async fn a_call_is_signed_in_place_of_a_secret_that_is_sent() {
    let web_app = Backend::start().await;
    let secrets = SigningSecrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let signing = secrets.clone();
    let server = server(&web_app, |settings| {
        settings.create_secret = Some(CreateSecret::Signing(signing));
        // A client's own are not passed off as the server's.
        settings.create_forward_headers = vec!["webhook-signature".into()];
    })
    .await;
    web_app.answer([Script::Answer(403, "no"), Script::Answer(403, "no")]);
    for _ in 0..2 {
        let ask = creation().header("webhook-signature", "v1,AAAA");
        server.front(&ask).await.problem(403, "refused", 18);
    }
    let calls = web_app.calls();
    for call in &calls {
        let header = |name: &str| call.header(&format!("webhook-{name}")).unwrap();
        let seconds = header("timestamp").parse().unwrap();
        assert!(secrets.verify(header("id"), seconds, &call.body, header("signature")));
        assert!(call.fields.iter().all(|(name, _)| name != "createSecret"));
        let names = call.headers.iter().filter(|(name, _)| name == "webhook-signature");
        assert_eq!(names.count(), 1);
    }
    assert_ne!(calls[0].header("webhook-id"), calls[1].header("webhook-id"));
}

#[tokio::test]
async fn only_who_may_be_called_is_called() {
    let web_app = Backend::start().await;
    let server = server(&web_app, |settings| {
        settings.callback_allow = vec![CallbackRule::Host("app.example".into())];
    })
    .await;
    server.front(&creation()).await.problem(503, "unavailable", 14);
    assert!(web_app.calls().is_empty());
}

/// Each address has half of what is free, so that one which opens creations for a slow web app leaves some to others.
#[tokio::test]
async fn issue_15_many_creations_wait_for_a_slow_web_app_and_leave_some_to_others() {
    let web_app = Backend::start().await;
    web_app.answer((0..32 + 16 + 8).map(|_| Script::Silence));
    let server = server(&web_app, |settings| {
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let creation_of = |client: &str| creation().header("X-Forwarded-For", client);
    let (mut waiting, mut expected) = (Vec::new(), 0);
    for (client, share) in [("192.0.2.1", 32), ("2001:db8::1", 16), ("192.0.2.3", 8)] {
        for _ in 0..share {
            let mut conn = Conn::open(&server.public).await;
            conn.send(&creation_of(client).head()).await.unwrap();
            waiting.push(conn);
        }
        expected += share;
        until("all are asked for", async || (web_app.calls().len() == expected).then_some(()))
            .await;
        let reply = server.front(&creation_of(client)).await;
        assert!(reply.problem(503, "unavailable", 14).contains("many uploads"), "{reply:?}");
    }
    // Another address of the second one's network.
    server.front(&creation_of("2001:db8::2")).await.problem(503, "unavailable", 14);
    assert_eq!(web_app.calls().len(), expected);
    // Who goes away makes room for others.
    drop(waiting);
    until("there is room", async || {
        web_app.answer([Script::Answer(403, "no")]);
        (server.front(&creation_of("192.0.2.1")).await.status == 403).then_some(())
    })
    .await;
}
