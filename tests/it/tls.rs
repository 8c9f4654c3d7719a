//! Protects the server's own TLS: both protocols by ALPN, certificates that change while it runs,
//! and one refused HTTP/2 stream that leaves its neighbours alone.

use crate::backend::Backend;
use crate::client::{Ask, Conn, Place, Reply};
use crate::content::{content, sha256};
use crate::server::Running;
use crate::{in_time, until};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use incoming::config::Settings;
use incoming::tls::CertificateFiles;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority and what it vouches for.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes its own certificate into a file.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.0.pem()).unwrap();
    }

    /// Writes a certificate and its key into files; answers the certificate.
    pub fn issue(&self, folder: &Path, name: &str) -> CertificateDer<'static> {
        self.issue_until(folder, name, 4096)
    }

    /// As [`Self::issue`], good until the first day of this year.
    pub fn issue_until(&self, folder: &Path, name: &str, year: i32) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let names = ["server.test", "localhost", "127.0.0.1", "127.0.0.2"].map(str::to_owned);
        let mut params = CertificateParams::new(names.to_vec()).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let cert = params.signed_by(&key, &self.0).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), cert.pem()).unwrap();
        cert.der().clone()
    }

    pub fn client(&self, protocols: &[&str], identity: Option<(&Path, &str)>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((folder, name)) => {
                let cert =
                    CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

pub fn files(folder: &Path) -> CertificateFiles {
    CertificateFiles { cert: folder.join("server.pem"), key: folder.join("server.key") }
}

/// Serves the public or shared listener with this certificate.
pub fn certify(settings: &mut Settings, files: CertificateFiles) {
    (settings.tls_cert, settings.tls_key) = (vec![files.cert], vec![files.key]);
}

/// The same for a backend listener of its own.
pub fn certify_backend(settings: &mut Settings, files: CertificateFiles) {
    (settings.backend_tls_cert, settings.backend_tls_key) = (Some(files.cert), Some(files.key));
}

pub async fn connect(
    place: &Place,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let Place::Tcp(address) = place else { panic!("TLS is tested over TCP") };
    handshake(TcpStream::connect(address).await?, config).await
}

pub async fn handshake(
    stream: TcpStream,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("server.test").unwrap();
    in_time("a handshake", TlsConnector::from(config).connect(name, stream)).await
}

/// An HTTP/2 connection.
#[derive(Clone)]
pub struct Http2(SendRequest<Full<Bytes>>);

impl Http2 {
    pub async fn open(place: &Place, config: Arc<ClientConfig>) -> Self {
        let stream = connect(place, config).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let (sender, conn) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(conn);
        Self(sender)
    }

    pub async fn ask(&self, ask: &Ask) -> Reply {
        let mut request = Request::builder().method(&*ask.method).uri(match ask.target.get(..1) {
            Some("/") => format!("https://server.test{}", ask.target),
            _ => ask.target.clone(),
        });
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::from(ask.body.clone())).unwrap();
        let mut sender = self.0.clone();
        let exchange = async {
            sender.ready().await.unwrap();
            let reply = sender.send_request(request).await.unwrap();
            let (head, body) = reply.into_parts();
            let headers = head.headers.iter();
            let headers = headers.map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            });
            Reply {
                status: head.status.as_u16(),
                headers: headers.collect(),
                body: body.collect().await.unwrap().to_bytes().to_vec(),
                interim: Vec::new(),
            }
        };
        in_time("an HTTP/2 request", exchange).await
    }
}

pub async fn start(
    authority: &Authority,
    folder: &Path,
    change: impl FnOnce(&mut Settings),
) -> Running {
    authority.issue(folder, "server");
    Running::start_with(|settings| {
        certify(settings, files(folder));
        change(settings);
    })
    .await
}

#[tokio::test]
async fn uploads_over_both_protocols() {
    let backend = Backend::start().await;
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = start(&authority, folder.path(), |_| {}).await;
    let file = content(80, 3_000_000);
    let length = Some(file.len() as u64);

    let upload = server.upload(&server.ticket(&backend).await.id);
    let stream = connect(&server.public, authority.client(&["http/1.1"], None)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut conn = Conn::over(stream);
    for (number, part) in file.chunks(500_000).enumerate() {
        conn.ask(&upload.chunk(number as u64 * 500_000, part, length)).await.unwrap().expect(200);
    }
    assert_eq!(backend.calls_for(&upload.id, 1).await[0].sha256, Some(sha256(&file)));

    // Six streams at once on one connection.
    let upload = server.upload(&server.ticket(&backend).await.id);
    let http2 = Http2::open(&server.public, authority.client(&["h2", "http/1.1"], None)).await;
    let put = |number: usize| {
        let part = &file[number * 500_000..(number + 1) * 500_000];
        let ask = upload.chunk(number as u64 * 500_000, part, length);
        let http2 = http2.clone();
        async move { http2.ask(&ask).await.expect(200) }
    };
    tokio::join!(put(5), put(3), put(1), put(0), put(2), put(4));
    assert_eq!(backend.calls_for(&upload.id, 1).await[0].sha256, Some(sha256(&file)));

    // A whole file without a word on its length.
    let upload = server.upload(&server.ticket(&backend).await.id);
    http2.ask(&Ask::new("PUT", &upload.url).body(&*file)).await.expect(200);
    assert_eq!(backend.calls_for(&upload.id, 1).await[0].sha256, Some(sha256(&file)));
}

/// An answer to HEAD has no body, on HTTP/2 neither; a client that gets one gives up the stream.
#[tokio::test]
async fn head_has_headers_only() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = start(&authority, folder.path(), |_| {}).await;
    let url = server.lonely_ticket().await.url;
    let http2 = Http2::open(&server.public, authority.client(&["h2"], None)).await;
    for target in [&*url, "/incoming/frontend/incoming.js"] {
        let got = http2.ask(&Ask::new("GET", target)).await.expect(200);
        let head = http2.ask(&Ask::new("HEAD", target)).await.expect(200);
        assert!(head.body.is_empty());
        assert_eq!(head.header("content-length"), got.header("content-length"));
        assert_eq!(head.header("upload-offset"), got.header("upload-offset"));
    }
}

#[tokio::test]
async fn without_a_word_on_protocols_it_is_http1_and_plain_text_gets_nowhere() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = start(&authority, folder.path(), |_| {}).await;
    let stream = connect(&server.public, authority.client(&[], None)).await.unwrap();
    let mut conn = Conn::over(stream);
    conn.ask(&Ask::new("GET", "/incoming/frontend/incoming.js")).await.unwrap().expect(200);
    let mut plain = Conn::open(&server.public).await;
    assert!(plain.ask(&Ask::new("GET", "/incoming/frontend/incoming.js")).await.is_err());
}

/// What HTTP/1.1 says in Host stands in `:authority`; two words on it must not differ.
#[tokio::test]
async fn a_stream_names_one_host() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = start(&authority, folder.path(), |_| {}).await;
    let url = server.lonely_ticket().await.url;
    let http2 = Http2::open(&server.public, authority.client(&["h2"], None)).await;
    let get = |place: &str| Ask::new("GET", &format!("https://{place}{url}"));
    let hosted = |host: &str| Ask::new("GET", &url).header("Host", host);
    for (ask, named) in [
        (get("user@server.test"), "user@server.test"),
        (get("server.test:99999"), "server.test:99999"),
        (hosted("other.test"), "other.test"),
        (hosted("server.test:80"), "server.test:80"),
        (hosted("server.test, other.test"), "server.test, other.test"),
        (hosted("server.test").header("Host", "server.test"), "Host"),
    ] {
        let detail = http2.ask(&ask).await.problem(400, "bad-request", 1);
        assert!(detail.contains(named), "{ask:?}: {detail}");
    }
    for ask in
        [get("server.test"), get("[::1]:4000"), hosted("Server.Test"), hosted("server.test:443")]
    {
        http2.ask(&ask).await.expect(200);
    }
}

#[tokio::test]
async fn a_refused_stream_leaves_the_others_alone() {
    let backend = Backend::start().await;
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = start(&authority, folder.path(), |_| {}).await;
    let upload = server.upload(&server.ticket(&backend).await.id);
    let http2 = Http2::open(&server.public, authority.client(&["h2"], None)).await;
    let file = content(81, 8 << 20);
    let absent = "/incoming/frontend/uploads/00000000-0000-4000-8000-000000000000";
    let refused = async || {
        for _ in 0..3 {
            let ask = Ask::new("PUT", absent).body(&*file);
            let reply = http2.ask(&ask).await;
            reply.problem(404, "unknown-upload", 4);
            assert_eq!(reply.header("connection"), None);
        }
    };
    let taken = async || {
        for (number, part) in file.chunks(1 << 20).enumerate() {
            let ask = upload.chunk((number << 20) as u64, part, Some(8 << 20));
            http2.ask(&ask).await.expect(200);
        }
    };
    tokio::join!(refused(), taken());
    assert_eq!(backend.calls_for(&upload.id, 1).await[0].sha256, Some(sha256(&file)));
}

/// A stream that breaks off keeps its prefix, as a connection does.
#[tokio::test]
async fn a_broken_connection_keeps_the_good_prefix() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = start(&authority, folder.path(), |_| {}).await;
    let id = server.lonely_ticket().await.id;
    let upload = server.upload(&id);
    let file = content(82, 100_000);
    let stream = connect(&server.public, authority.client(&["http/1.1"], None)).await.unwrap();
    let mut conn = Conn::over(stream);
    conn.send(&upload.chunk(0, &file, Some(100_000)).head()).await.unwrap();
    conn.send(&file[..60_000]).await.unwrap();
    drop(conn);
    let http2 = Http2::open(&server.public, authority.client(&["h2"], None)).await;
    until("the prefix is known", async || {
        let status = http2.ask(&Ask::new("GET", &upload.url)).await.expect(200).json();
        (status["received"] == serde_json::json!([[0, 60_000]])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn certificates_change_while_it_runs() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = start(&authority, folder.path(), |_| {}).await;
    let shown = async || {
        let stream = connect(&server.public, authority.client(&["h2"], None)).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let mut old = Conn::over(connect(&server.public, authority.client(&[], None)).await.unwrap());
    let script = Ask::new("GET", "/incoming/frontend/incoming.js");
    old.ask(&script).await.unwrap().expect(200);
    // A broken pair meanwhile is not taken.
    std::fs::write(folder.path().join("server.pem"), "half a certi").unwrap();
    shown().await;
    let renewed = authority.issue(folder.path(), "server");
    until("the new certificate", async || (shown().await == renewed).then_some(())).await;
    old.ask(&script).await.unwrap().expect(200);
}

#[tokio::test]
async fn backends_prove_themselves_where_that_is_asked_for() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("ca.pem"), authority.0.pem()).unwrap();
    authority.issue(folder.path(), "app");
    let server = start(&authority, folder.path(), |settings| {
        settings.backend_tls_cert = settings.tls_cert.pop();
        settings.backend_tls_key = settings.tls_key.pop();
        settings.backend_tls_client_ca = Some(folder.path().join("ca.pem"));
    })
    .await;
    let list = Ask::new("GET", "/incoming/backend/uploads");
    let known = authority.client(&["h2"], Some((folder.path(), "app")));
    Http2::open(&server.backend, known).await.ask(&list).await.expect(200);
    let unknown = connect(&server.backend, authority.client(&[], None)).await.unwrap();
    if let Ok(reply) = Conn::over(unknown).ask(&list).await {
        assert_eq!(reply.status, 403);
    }
    let untrusted = Authority::new();
    untrusted.issue(folder.path(), "untrusted");
    let forged = authority.client(&[], Some((folder.path(), "untrusted")));
    if let Ok(stream) = connect(&server.backend, forged).await {
        let reply = Conn::over(stream).ask(&list).await;
        assert!(reply.is_err() || reply.is_ok_and(|reply| reply.status == 403));
    }
}

/// Also on a connection that began before the CA was taken away, and with the session of such a one.
#[tokio::test]
async fn issue_13_an_authority_that_is_taken_away_lets_nobody_in_any_more() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = folder.path().join("ca.pem");
    authority.write(&ca);
    authority.issue(folder.path(), "app");
    let server = start(&authority, folder.path(), |settings| {
        settings.backend_tls_cert = settings.tls_cert.pop();
        settings.backend_tls_key = settings.tls_key.pop();
        settings.backend_tls_client_ca = Some(ca.clone());
    })
    .await;
    let list = Ask::new("GET", "/incoming/backend/uploads");
    let known = authority.client(&["http/1.1"], Some((folder.path(), "app")));
    let mut open = Conn::over(connect(&server.backend, Arc::clone(&known)).await.unwrap());
    open.ask(&list).await.unwrap().expect(200);
    Authority::new().write(&ca);
    let refused = until("the CA is gone", async || {
        let reply = open.ask(&list).await.unwrap();
        (reply.status == 403).then_some(reply)
    });
    let text = refused.await.text();
    assert!(text.contains("backend_tls_client_ca"), "{text}");
    // The client is made to connect again, which it cannot.
    assert!(open.ask(&list).await.is_err());
    if let Ok(stream) = connect(&server.backend, known).await {
        assert!(Conn::over(stream).ask(&list).await.is_err());
    }
}

/// A body of unknown length that breaks off is no whole file, whatever the reset says.
#[tokio::test]
async fn a_reset_stream_is_never_the_end_of_a_file() {
    for reason in [h2::Reason::NO_ERROR, h2::Reason::CANCEL] {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let server = start(&authority, folder.path(), |_| {}).await;
        let upload = server.lonely_ticket().await;
        let stream = connect(&server.public, authority.client(&["h2"], None)).await.unwrap();
        let (sender, conn) = h2::client::handshake(stream).await.unwrap();
        let conn = tokio::spawn(conn);
        let mut sender = sender.ready().await.unwrap();
        let uri = format!("https://server.test{}", upload.url);
        let request = Request::builder().method("PUT").uri(uri).body(()).unwrap();
        let (_answer, mut body) = sender.send_request(request, false).unwrap();
        body.send_data(Bytes::from(vec![7; 10_000]), false).unwrap();
        upload.bytes_read(10_000).await;
        body.send_reset(reason);
        upload.in_flight(0).await;
        let status = until("the prefix is counted", async || {
            let status = upload.shown().await;
            (status["received"] == json!([[0, 10_000]])).then_some(status)
        })
        .await;
        assert_eq!((&status["state"], &status["length"]), (&json!("uploading"), &json!(null)));
        conn.abort();
    }
}
