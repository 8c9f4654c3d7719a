//! The operator's token, the overview and the settings: what they show, and to whom.

use crate::backend::Backend;
use crate::client::{Ask, Reply};
use crate::server::Running;
use crate::until;
use incoming::config::Secret;
use serde_json::{Value, json};

const OPERATOR: &str = "Bearer operator";
const WEB_APP: &str = "Bearer app";

async fn start() -> Running {
    Running::start_with(|settings| {
        settings.backend_token = Some(Secret::new("app"));
        settings.operator_token = Some(Secret::new("operator"));
    })
    .await
}

async fn call(server: &Running, token: &str, method: &str, path: &str) -> Reply {
    let ask = Ask::new(method, &format!("/incoming/backend/{path}"));
    server.back(&ask.header("Authorization", token)).await
}

async fn overview(server: &Running, token: &str) -> Value {
    call(server, token, "GET", "overview").await.expect(200).json()
}

/// A ticket of the web app, with a secret.
async fn ticket(server: &Running, url: &str) -> String {
    let path = format!("new_upload?signalFinishURL={url}&backendSecret=s3cret");
    call(server, WEB_APP, "POST", &path).await.expect(200).text()
}

#[tokio::test]
async fn issue_17_the_operator_cancels_and_retries_without_the_secret_and_issues_nothing() {
    let server = start().await;
    let backend = Backend::start().await;
    let id = ticket(&server, &backend.url()).await;
    for path in ["uploads", "overview", "config", &*format!("uploads/{id}")] {
        call(&server, OPERATOR, "GET", path).await.expect(200);
        call(&server, "Bearer wrong", "GET", path).await.expect(401);
    }
    let metrics = Ask::new("GET", "/metrics").header("Authorization", OPERATOR);
    server.back(&metrics).await.expect(200);
    for path in [
        "new_upload?signalFinishURL=http://127.0.0.1:9/",
        &*format!("finish_upload?id={id}&backendSecret=s3cret"),
    ] {
        let refused = call(&server, OPERATOR, "POST", path).await;
        assert_eq!(refused.status, 403, "{path}");
        assert!(refused.text().contains("operator token"), "{}", refused.text());
    }
    // The web app needs the secret, as ever.
    call(&server, WEB_APP, "POST", &format!("cancel_upload?id={id}")).await.expect(403);
    call(&server, OPERATOR, "POST", &format!("retry_handover?id={id}")).await.expect(412);
    call(&server, OPERATOR, "POST", &format!("cancel_upload?id={id}")).await.expect(200);
    let shown = call(&server, OPERATOR, "GET", &format!("uploads/{id}")).await.json();
    assert_eq!(shown["state"], "cancelled");
    assert_eq!(shown["reason"], "cancelled by the operator");
    let none = "00000000-0000-4000-8000-000000000000";
    for path in ["cancel_upload", "retry_handover"] {
        let unknown = call(&server, OPERATOR, "POST", &format!("{path}?id={none}")).await;
        assert_eq!(unknown.status, 400, "{}", unknown.text());
    }
}

#[tokio::test]
async fn issue_17_without_an_operator_token_the_overview_is_shown_and_the_settings_are_not() {
    let server = Running::start().await;
    let shown = server.back(&Ask::new("GET", "/incoming/backend/overview")).await.expect(200);
    assert_eq!(shown.json()["operator"], false);
    let refused = server.back(&Ask::new("GET", "/incoming/backend/config")).await;
    assert!(refused.status == 403 && refused.text().contains("operator_token"));
    let server = start().await;
    assert_eq!(overview(&server, WEB_APP).await["operator"], false);
    assert_eq!(overview(&server, OPERATOR).await["operator"], true);
    call(&server, WEB_APP, "GET", "config").await.expect(403);
}

/// The token of the operator alone guards nothing: who called before calls still, and what is no token is no one's.
#[tokio::test]
async fn issue_17_an_operator_token_beside_no_backend_token() {
    let server = Running::start_with(|settings| {
        settings.operator_token = Some(Secret::new("operator"));
    })
    .await;
    server.call("new_upload", &[("signalFinishURL", "http://127.0.0.1:9/")]).await.expect(200);
    call(&server, "Bearer other", "GET", "uploads").await.expect(200);
    call(&server, "Bearer other", "GET", "config").await.expect(403);
    call(&server, OPERATOR, "GET", "config").await.expect(200);
    // A name that was pointed here is refused with the token too.
    let evil = Ask::new("GET", "/incoming/backend/overview").header("Authorization", OPERATOR);
    server.back(&evil.header("Host", "evil.example")).await.expect(403);
}

/// The page has no secret in it and no power: it is served without a token, and lets a browser run and reach nothing else.
#[tokio::test]
async fn issue_17_the_page_is_served_without_a_token_and_runs_nothing_but_itself() {
    let server = start().await;
    for (path, media_type) in [
        ("", "text/html; charset=utf-8"),
        ("page.css", "text/css; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
        ("api.js", "text/javascript; charset=utf-8"),
    ] {
        for prefix in ["/incoming/backend/", "/incoming/0.1/backend/"] {
            let page = server.back(&Ask::new("GET", &format!("{prefix}{path}"))).await.expect(200);
            assert_eq!(page.header("content-type"), Some(media_type));
            for (name, value) in [
                ("cache-control", "no-store"),
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("referrer-policy", "no-referrer"),
                ("cross-origin-opener-policy", "same-origin"),
                ("cross-origin-resource-policy", "same-origin"),
            ] {
                assert_eq!(page.header(name), Some(value), "{path}: {name}");
            }
            let policies =
                page.headers.iter().filter(|(name, _)| name == "content-security-policy");
            let policies: Vec<_> = policies.map(|(_, value)| value.as_str()).collect();
            assert_eq!(policies.len(), 1, "{policies:?}");
            assert!(policies[0].starts_with("default-src 'none'; script-src 'self'; "));
            assert!(
                !policies[0].contains("unsafe") && policies[0].contains("frame-ancestors 'none'")
            );
            assert_eq!(page.header("set-cookie"), None);
            assert_eq!(page.header("access-control-allow-origin"), None);
            assert!(!page.text().contains("Bearer operator"));
        }
    }
    let head = server.back(&Ask::new("HEAD", "/incoming/backend/")).await.expect(200);
    assert!(head.text().is_empty());
    let moved = server.back(&Ask::new("GET", "/incoming/backend")).await.expect(308);
    assert_eq!(moved.header("location"), Some("backend/"));
    let posted = server.back(&Ask::new("POST", "/incoming/backend/")).await.expect(405);
    assert_eq!(posted.header("allow"), Some("GET, HEAD"));
    // Not where clients are.
    server.front(&Ask::new("GET", "/incoming/backend/")).await.expect(404);
}

#[tokio::test]
async fn issue_17_the_page_is_switched_off_and_obeys_the_rules_of_the_surface() {
    let off = Running::start_with(|settings| settings.backend_page = false).await;
    for path in ["", "/", "/page.js"] {
        off.back(&Ask::new("GET", &format!("/incoming/backend{path}"))).await.expect(404);
    }
    off.back(&Ask::new("GET", "/incoming/backend/overview")).await.expect(200);
    let elsewhere = Running::start_with(|settings| {
        settings.backend_allow = vec!["192.0.2.0/24".parse().unwrap()];
        settings.backend_token = Some(Secret::new("t"));
    })
    .await;
    let refused = elsewhere.back(&Ask::new("GET", "/incoming/backend/")).await.expect(403);
    assert!(refused.text().contains("this address"), "{}", refused.text());
}

#[tokio::test]
async fn issue_17_the_settings_are_shown_without_secrets() {
    let server = start().await;
    let text = call(&server, OPERATOR, "GET", "config").await.expect(200).text();
    assert!(text.contains("# operator_token is set and not shown\n"), "{text}");
    assert!(text.contains("\nbackend_listen = \"127.0.0.2:0\"\n"), "{text}");
    let ask = Ask::new("GET", "/incoming/backend/config").header("Authorization", OPERATOR);
    let json = server.back(&ask.header("Accept", "application/json")).await.expect(200).json();
    assert_eq!(json, json!({ "settings": text }));
}

#[tokio::test]
async fn issue_17_the_overview_shows_uploads_handovers_and_the_server() {
    let server = start().await;
    let shown = overview(&server, OPERATOR).await;
    let one = &shown["servers"][0];
    assert_eq!(shown["servers"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&shown["shared"], &one["id"], &one["seen_s"]),
        (&json!(false), &json!(null), &json!(null))
    );
    assert!(one["address"].as_str().unwrap().starts_with("127.0.0.2:"), "{one}");
    assert_eq!(one["load"]["chunks"], 0);
    assert_eq!(one["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&one["state"], &one["problems"]), (&json!("ready"), &json!([])));
    assert!(one["disk"]["free"].as_u64().unwrap() > 0 && one["disk"]["min_free"] == 0);
    assert!(one["connections"]["http1"].as_u64().unwrap() >= 1);
    assert!(one["connections"]["max"].as_u64().unwrap() > 1 && one["memory"]["max"] != 0);
    assert_eq!((&one["certificates"], &one["rates"]["step_s"]), (&json!([]), &json!(1)));
    assert_eq!(shown["uploads"]["uploading"], 0);
    assert!(shown["uploads"]["max"].as_u64().unwrap() > 0);

    // A backend that cannot be reached: its host is shown, and nothing else of its URL.
    let id = ticket(&server, "http://user:pass@127.0.0.1:9/path?query").await;
    let upload = server.upload(&id);
    upload.bind(r#"{"name": "<script>\u202e.txt", "length": 10}"#).await.expect(200);
    upload.put(0, b"hello", 10).await.expect(200);
    let live = until("the upload is shown", async || {
        let shown = overview(&server, OPERATOR).await;
        (shown["live"]["count"] == 1 && shown["live"]["uploads"][0]["acknowledged"] == 5)
            .then(|| shown["live"]["uploads"][0].clone())
    })
    .await;
    assert_eq!((&live["id"], &live["length"]), (&json!(id), &json!(10)));
    assert_eq!(live["name"], "<script>.txt");
    upload.put(5, b"world", 10).await.expect(200);
    let (call, text) = until("a call has failed", async || {
        let shown = overview(&server, OPERATOR).await;
        let call = shown["handovers"]["calls"][0].clone();
        (!call["error"].is_null()).then(|| (call, shown.to_string()))
    })
    .await;
    assert_eq!((&call["id"], &call["kind"]), (&json!(id), &json!("handover")));
    assert_eq!((&call["host"], &call["name"]), (&json!("127.0.0.1:9"), &json!("<script>.txt")));
    assert!(call["attempts"].as_u64().unwrap() >= 1);
    assert!(
        !text.contains("query") && !text.contains("pass") && !text.contains("s3cret"),
        "{text}"
    );
    until("its bytes are in the rates", async || {
        let shown = overview(&server, OPERATOR).await;
        let received = shown["servers"][0]["rates"]["received"].as_array().unwrap();
        (received.iter().filter_map(Value::as_u64).sum::<u64>() == 10).then_some(())
    })
    .await;
}
