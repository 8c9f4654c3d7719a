//! ALPN, client certificates, and certificates that change.

use super::*;

#[tokio::test]
async fn alpn_chooses_the_protocol() {
    let (server, cert, _dir) = tls_server(options());
    let mut io = server.tls(&cert, "http/1.1").await;
    io.write_all(&get("/peer")).await.unwrap();
    let (_, peer) = read_answer(&mut io).await;
    assert!(peer.contains("tls: true") && peer.contains("protocol: Http1"), "{peer}");

    let io = TokioIo::new(server.tls(&cert, "h2").await);
    let (mut send, conn) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let conn = tokio::spawn(conn);
    let request = |path: &str, body: Vec<u8>| {
        let uri = format!("https://localhost{path}");
        Request::put(uri).body(Full::new(Bytes::from(body))).unwrap()
    };
    let answer = send.send_request(request("/peer", Vec::new())).await.unwrap();
    let peer = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&peer).contains("protocol: Http2"), "{peer:?}");
    let large = vec![7; 3 << 20];
    let answer = send.send_request(request("/echo", large.clone())).await.unwrap();
    assert!(answer.into_body().collect().await.unwrap().to_bytes() == large);
    // A refusal leaves the other streams alone, however much was under way.
    let refused = send.send_request(request("/no", large.clone())).await.unwrap();
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let answer = send.send_request(request("/echo", large.clone())).await.unwrap();
    assert!(answer.into_body().collect().await.unwrap().to_bytes() == large);
    assert_eq!((server.stats.http1.total(), server.stats.http2.now()), (1, 1));
    server.close().await;
    conn.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_bad_new_certificate_leaves_the_old_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let files = certificate(dir.path());
    let CertificateFiles { cert, key } = files.pairs[0].clone();
    let tls = Arc::new(TlsReload::load(files.clone()).unwrap());
    let old = tls.current();
    std::fs::write(&cert, "-----BEGIN NOTHING-----").unwrap();
    let error = tls.reload().await.unwrap_err().to_string();
    assert!(error.contains(cert.to_str().unwrap()), "{error}");
    assert!(Arc::ptr_eq(&tls.current(), &old));

    let kept = std::fs::read(&key).unwrap();
    certificate(dir.path());
    std::fs::write(&key, kept).unwrap();
    let error = tls.reload().await.unwrap_err().to_string();
    assert!(error.contains("key.pem"), "{error}");
    assert!(Arc::ptr_eq(&tls.current(), &old));

    let stop = CancellationToken::new();
    let watching = tokio::spawn(Arc::clone(&tls).watch(SHORT / 10, stop.clone()));
    tokio::time::sleep(SHORT).await;
    assert!(Arc::ptr_eq(&tls.current(), &old));
    certificate(dir.path());
    let begun = Instant::now();
    while Arc::ptr_eq(&tls.current(), &old) {
        assert!(begun.elapsed() < LONG, "the watch takes what is good again");
        tokio::time::sleep(SHORT / 10).await;
    }
    stop.cancel();
    watching.await.unwrap();

    std::fs::remove_file(&key).unwrap();
    let error = TlsReload::load(files).unwrap_err().to_string();
    assert!(error.contains("key.pem") && error.contains("No such file"), "{error}");
}

#[tokio::test]
async fn a_client_ca_lets_in_only_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = certificate(dir.path());
    let cert = files.pairs[0].cert.clone();
    files.client_ca = Some(cert.clone());
    let tls = Arc::new(TlsReload::load(files.clone()).unwrap());
    let server = TestServer::open(options(), Some(tls));
    let mut untrusted = server.tls(&cert, "http/1.1").await;
    // TLS 1.3: the client learns of its refusal only after it believes the handshake done.
    let _ = untrusted.write_all(&get("/peer")).await;
    assert!(timeout(LONG, untrusted.read_u8()).await.unwrap().is_err());
    becomes(1, || server.stats.tls_failures.get()).await;
    assert_eq!(server.stats.http1.total(), 0);
}
