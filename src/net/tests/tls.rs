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

/// A client whose handshake takes long may send further ahead.
#[tokio::test]
async fn issue_19_a_far_client_gets_a_large_window() {
    let (server, cert, _dir) = tls_server(options());
    let (near, far) = tokio::io::duplex(64 << 10);
    let (mut from_client, mut to_client) = tokio::io::split(far);
    let (mut from_server, mut to_server) = server.tcp().await.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    tokio::spawn(async move {
        // All but the first message comes late.
        let mut hello = vec![0; 64 << 10];
        let read = from_client.read(&mut hello).await?;
        to_server.write_all(&hello[..read]).await?;
        tokio::time::sleep(SHORT * 2).await;
        tokio::io::copy(&mut from_client, &mut to_server).await
    });
    let io = connect_tls(&cert, "h2", near).await;
    let (send, conn) = h2::client::Builder::new()
        .max_send_buffer_size(1 << 30)
        .handshake::<_, Bytes>(io)
        .await
        .unwrap();
    let conn = tokio::spawn(conn);
    let request = Request::put("https://localhost/echo").body(()).unwrap();
    let (_answer, mut stream) = send.ready().await.unwrap().send_request(request, false).unwrap();
    stream.reserve_capacity(1 << 30);
    let near_window = options().http2.near_window_bytes as usize;
    // More than all streams of a near connection have; what the server announces comes bit by bit.
    while stream.capacity() <= near_window {
        let more = std::future::poll_fn(|cx| stream.poll_capacity(cx));
        timeout(LONG, more).await.expect("the window opens").unwrap().unwrap();
    }
    conn.abort();
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
