//! Protects the backend surface from web pages: what a browser sends for a page of another origin, or of a name that was
//! pointed here, is refused before its body is read and changes nothing; what programs send is served.

use crate::backend::Backend;
use crate::client::{Ask, Conn};
use crate::server::Running;
use incoming::config::{Address, Secret};

const FORM: &str = "signalFinishURL=http%3A%2F%2Fevil.example%2F&idleTimeout=24h";

fn form() -> Ask {
    Ask::new("POST", "/incoming/backend/new_upload")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(FORM)
}

/// Each call of the surface, by both prefixes, with a method that it knows.
fn calls() -> Vec<Ask> {
    let id = "00000000-0000-4000-8000-000000000000";
    let shown = format!("uploads/{id}");
    let mut calls = vec![Ask::new("GET", "/metrics")];
    for prefix in ["/incoming/backend/", "/incoming/0.1/backend/"] {
        for path in ["uploads", &*shown, "log", "overview", "config", "", "page.js", "page.css"] {
            calls.push(Ask::new("GET", &format!("{prefix}{path}")));
        }
        for path in ["new_upload", "cancel_upload", "finish_upload", "retry_handover"] {
            calls.push(Ask::new("POST", &format!("{prefix}{path}")).body(FORM));
        }
        calls.push(Ask::new("POST", &format!("{prefix}log?filter=off")));
    }
    calls
}

async fn uploads(server: &Running) -> usize {
    let list = server.back(&Ask::new("GET", "/incoming/backend/uploads")).await.expect(200);
    list.json()["uploads"].as_array().unwrap().len()
}

#[tokio::test]
async fn issue_13_a_page_of_another_site_reaches_nothing() {
    let server = Running::start().await;
    let port = server.backend_port();
    let evil = [
        ("Host".to_owned(), format!("evil.example:{port}")),
        ("Origin".to_owned(), "http://evil.example".to_owned()),
        ("Origin".to_owned(), "null".to_owned()),
        ("Origin".to_owned(), format!("http://evil.example:{port}")),
        ("Sec-Fetch-Site".to_owned(), "cross-site".to_owned()),
        ("Sec-Fetch-Site".to_owned(), "same-site".to_owned()),
    ];
    for call in calls() {
        for (name, value) in &evil {
            let reply = server.back(&call.clone().header(name, value)).await;
            assert_eq!(reply.status, 403, "{} {name}: {}", call.target, reply.text());
            let text = reply.text();
            assert!(text.contains(&format!("header {name} \"{value}\"")), "{text}");
            assert_eq!(reply.header("access-control-allow-origin"), None);
        }
    }
    // All that the issue's form has, and as JSON.
    let all = form()
        .header("Host", &format!("evil.example:{port}"))
        .header("Origin", "http://evil.example")
        .header("Sec-Fetch-Site", "cross-site");
    server.back(&all).await.expect(403);
    let problem = server.back(&all.header("Accept", "application/json")).await;
    problem.problem(403, "forbidden", 3);
    assert_eq!(uploads(&server).await, 0);
    let log = Ask::new("GET", "/incoming/backend/log");
    assert_eq!(server.back(&log).await.status, 412, "a server inside of a test has no log");
    // Rebinding: a page of its own origin reads, over plain HTTP without any Sec-Fetch-Site.
    let own = format!("evil.example:{port}");
    let rebound = form().header("Host", &own).header("Origin", &format!("http://{own}"));
    let text = server.back(&rebound).await.expect(403).text();
    assert!(text.contains("backend_hosts"), "{text}");
    assert_eq!(uploads(&server).await, 0);
    // Health tells nothing that a page could use, and balancers ask by all kinds of names.
    for path in ["/healthz", "/readyz"] {
        let ask = Ask::new("GET", path).header("Host", "evil.example");
        server.back(&ask.header("Origin", "http://evil.example")).await.expect(200);
    }
}

/// A preflight learns nothing and allows nothing.
#[tokio::test]
async fn issue_13_there_is_no_preflight() {
    let server = Running::start().await;
    let ask = Ask::new("OPTIONS", "/incoming/backend/new_upload")
        .header("Origin", "http://evil.example")
        .header("Sec-Fetch-Site", "cross-site")
        .header("Access-Control-Request-Method", "POST");
    let reply = server.back(&ask).await.expect(405);
    assert!(reply.headers.iter().all(|(name, _)| !name.starts_with("access-control-")));
}

#[tokio::test]
async fn issue_13_the_refusal_does_not_wait_for_the_body() {
    let server = Running::start().await;
    let mut conn = Conn::open(&server.backend).await;
    let head = "POST /incoming/backend/new_upload HTTP/1.1\r\nHost: localhost\r\n\
                Origin: http://evil.example\r\nContent-Length: 1000\r\n\r\n";
    conn.send(head.as_bytes()).await.unwrap();
    let reply = conn.reply("POST").await.unwrap().expect(403);
    assert_eq!(reply.header("connection"), Some("close"));
}

/// Programs send none of this; what they do send is no reason to refuse them.
#[tokio::test]
async fn issue_13_web_apps_call_as_they_always_did() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let port = server.backend_port();
    let form = || {
        Ask::new("POST", "/incoming/0.1/backend/new_upload")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(format!("signalFinishURL={}", backend.url()))
    };
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let hosts = ["localhost", "incoming.localhost", "127.0.0.1", "[::1]", &*machine];
    for host in hosts {
        let ask = form().header("Host", &format!("{host}:{port}"));
        server.back(&ask).await.expect(200);
    }
    // As curl, Python's requests and urllib, PHP, Go and Node send it; the last adds a mode.
    for headers in [
        &[("User-Agent", "curl/8.14.1"), ("Accept", "*/*")][..],
        &[("User-Agent", "python-requests/2.32"), ("Accept-Encoding", "gzip, deflate")],
        &[("User-Agent", "Python-urllib/3.11"), ("Connection", "close")],
        &[("User-Agent", "Go-http-client/1.1"), ("Accept-Encoding", "gzip")],
        &[("Accept-Language", "*"), ("Sec-Fetch-Mode", "cors"), ("User-Agent", "node")],
    ] {
        let ask = headers.iter().fold(form(), |ask, (name, value)| ask.header(name, value));
        server.back(&ask).await.expect(200);
    }
    // A tool of the backend's own origin, in a browser, and an address that somebody typed.
    let own = format!("http://localhost:{port}");
    let host = format!("localhost:{port}");
    let tool = form().header("Host", &host).header("Origin", &own);
    server.back(&tool.header("Sec-Fetch-Site", "same-origin")).await.expect(200);
    let typed = Ask::new("GET", "/metrics").header("Sec-Fetch-Site", "none");
    server.back(&typed).await.expect(200);
    // HTTP/1.0 need not name a host.
    let mut conn = Conn::open(&server.backend).await;
    conn.send(b"GET /incoming/backend/uploads HTTP/1.0\r\n\r\n").await.unwrap();
    conn.reply("GET").await.unwrap().expect(200);
}

#[tokio::test]
async fn issue_13_other_names_are_allowed_by_setting_token_or_socket() {
    let list = || Ask::new("GET", "/incoming/backend/uploads").header("Host", "app.internal:4001");
    let named = Running::start_with(|s| s.backend_hosts = vec!["app.internal".into()]).await;
    named.back(&list()).await.expect(200);
    named.back(&Ask::new("GET", "/metrics").header("Host", "other.internal")).await.expect(403);
    let token = Running::start_with(|s| s.backend_token = Some(Secret::new("t"))).await;
    token.back(&list().header("Authorization", "Bearer t")).await.expect(200);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b.sock");
    let unix = Running::start_with(|s| s.backend_listen = Address::Unix(path)).await;
    unix.back(&list()).await.expect(200);
    // Not even there for a page, which a proxy may bring.
    unix.back(&list().header("Origin", "http://evil.example")).await.expect(403);
}

/// A proxy on this machine that passes on everything would let everybody in as itself.
#[tokio::test]
async fn issue_13_a_forgotten_proxy_does_not_open_the_shared_socket() {
    let server = Running::start_with(|s| s.backend_listen = s.listen.clone()).await;
    server.front(&Ask::new("GET", "/incoming/backend/uploads")).await.expect(200);
    for (name, value) in [
        ("X-Forwarded-For", "8.8.8.8"),
        ("X-Forwarded-Proto", "https"),
        ("Forwarded", "for=127.0.0.1"),
        ("Via", "1.1 a"),
        ("X-Real-IP", "8.8.8.8"),
        ("Sec-Fetch-Site", "same-origin"),
    ] {
        for call in calls() {
            let reply = server.front(&call.clone().header(name, value)).await.expect(403);
            let text = reply.text();
            assert!(text.contains("trusted_proxies") && text.contains("backend_token"), "{text}");
        }
    }
    // Uploads do not care.
    let upload = server.lonely_ticket().await;
    server.front(&Ask::new("GET", &upload.url).header("X-Real-IP", "8.8.8.8")).await.expect(200);
    server.front(&Ask::new("GET", &upload.url).header("Host", "evil.example")).await.expect(200);
}
