//! Protects what brings browsers to https and keeps them there: the listener that redirects, HSTS.

use crate::client::{Ask, Conn, Place, Reply, ask};
use crate::server::Running;
use crate::tls::{Authority, certify, files};
use crate::until;
use std::path::Path;
use std::time::Duration;

struct Ground {
    server: Running,
    authority: Authority,
    plain: Place,
    folder: tempfile::TempDir,
}

impl Ground {
    async fn new(change: impl FnOnce(&mut incoming::config::Settings)) -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        authority.issue(folder.path(), "server");
        let socket = folder.path().join("plain.sock");
        let server = Running::start_with(|settings| {
            certify(settings, files(folder.path()));
            settings.redirect_listen = Some(incoming::config::Address::Unix(socket.clone()));
            change(settings);
        })
        .await;
        Self { server, authority, plain: Place::Unix(socket), folder }
    }

    /// The port of https.
    fn port(&self) -> u16 {
        let Place::Tcp(address) = self.server.public else { panic!("TLS is tested over TCP") };
        address.port()
    }

    async fn secure(&self, place: &Place, request: &Ask) -> Reply {
        let client = self.authority.client(&[], Some((self.folder.path(), "server")));
        let stream = crate::tls::connect(place, client).await.unwrap();
        Conn::over(stream).ask(request).await.unwrap()
    }
}

#[tokio::test]
async fn plain_http_is_sent_to_https() {
    let ground = Ground::new(|_| {}).await;
    let target = "/incoming/frontend/incoming.js?x=1";
    let get = Ask::new("GET", target).header("Host", "upload.example:80");
    let reply = ask(&ground.plain, &get).await.expect(308);
    let location = format!("https://upload.example:{}{target}", ground.port());
    assert_eq!(reply.header("location"), Some(&*location));
    // It is where it says.
    ground.secure(&ground.server.public, &Ask::new("GET", target)).await.expect(200);
    // Nothing else is there, and what clients say is not repeated.
    ask(&ground.plain, &Ask::new("GET", "/healthz")).await.expect(308);
    let post = Ask::new("POST", "/incoming/backend/new_upload?signalFinishURL=http://a");
    ask(&ground.plain, &post).await.expect(308);
    for host in ["evil.example/x", "user@evil.example", "a,b", "<script>"] {
        let reply = ask(&ground.plain, &Ask::new("GET", "/").header("Host", host)).await;
        assert_eq!((reply.status, reply.header("location")), (400, None), "{host}");
    }
    // It tells nobody to stay: over plain HTTP anybody could have said so.
    assert_eq!(reply.header("strict-transport-security"), None);
}

#[tokio::test]
async fn an_upload_that_came_to_the_wrong_door_hears_so() {
    let ground = Ground::new(|settings| {
        let (host, port) = ("own.example".into(), Some(443));
        settings.redirect_host = Some(incoming::core::host::HostPort { host, port });
    })
    .await;
    let put = Ask::new("PUT", "/incoming/frontend/uploads/x").body(vec![7; 3 << 20]);
    let mut conn = Conn::open(&ground.plain).await;
    let reply = conn.ask(&put).await.unwrap().expect(308);
    assert_eq!(reply.header("location"), Some("https://own.example/incoming/frontend/uploads/x"));
    assert_eq!(reply.header("connection"), Some("close"));
}

/// Connections of other clients on the plain port are few and end; uploads have places of their own.
#[tokio::test]
async fn a_full_plain_port_takes_nothing_from_uploads() {
    let ground = Ground::new(|settings| settings.max_connections = 2).await;
    let _silent = [Conn::open(&ground.plain).await, Conn::open(&ground.plain).await];
    let script = Ask::new("GET", "/incoming/frontend/incoming.js");
    ground.secure(&ground.server.public, &script).await.expect(200);
    let mut waiting = Conn::open(&ground.plain).await;
    waiting.send(&script.head()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), waiting.reply("GET")).await;
    assert!(early.is_err(), "more connections than allowed: {early:?}");
    drop(_silent);
    waiting.reply("GET").await.unwrap().expect(308);
}

#[tokio::test]
async fn browsers_are_told_to_stay_over_tls_alone() {
    let told = |reply: &Reply| reply.header("strict-transport-security").map(str::to_owned);
    let ground = Ground::new(|settings| {
        settings.hsts = Some(Duration::from_secs(180 * 24 * 3600));
        settings.backend_tls_cert = settings.tls_cert.first().cloned();
        settings.backend_tls_key = settings.tls_key.first().cloned();
    })
    .await;
    for (method, target, status) in [
        ("GET", "/incoming/frontend/incoming.js", 200),
        ("GET", "/nothing", 404),
        ("OPTIONS", "/incoming/frontend/uploads/00000000-0000-4000-8000-000000000000", 204),
    ] {
        let reply = ground.secure(&ground.server.public, &Ask::new(method, target)).await;
        assert_eq!((reply.status, told(&reply).as_deref()), (status, Some("max-age=15552000")));
    }
    let list = Ask::new("GET", "/incoming/backend/uploads");
    let reply = ground.secure(&ground.server.backend, &list).await.expect(200);
    assert_eq!(told(&reply), None);
    let get = Ask::new("GET", "/").header("Host", "a.example");
    assert_eq!(told(&ask(&ground.plain, &get).await.expect(308)), None);

    let ground = Ground::new(|_| {}).await;
    let script = Ask::new("GET", "/incoming/frontend/incoming.js");
    let reply = ground.secure(&ground.server.public, &script).await.expect(200);
    assert_eq!(told(&reply), None);
}

#[tokio::test]
async fn the_plain_port_closes_with_the_server() {
    let mut ground = Ground::new(|_| {}).await;
    let Place::Unix(socket) = ground.plain.clone() else { unreachable!() };
    let exists = |socket: &Path| socket.exists();
    assert!(exists(&socket));
    ground.server.stop().await;
    until("the socket is gone", async || (!exists(&socket)).then_some(())).await;
}
