//! Peers that are silent, stall, or read nothing: their connections end.

use super::*;

#[tokio::test]
async fn an_idle_http2_connection_ends_in_good_order() {
    let mut options = options();
    options.limits.idle = SHORT;
    let (server, cert, _dir) = tls_server(options);
    let io = TokioIo::new(server.tls(&cert, "h2").await);
    let (mut send, conn) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let conn = tokio::spawn(conn);
    let request = Request::get("https://localhost/gate").body(Full::<Bytes>::default()).unwrap();
    let answer = tokio::spawn(async move { (send.send_request(request).await, send) });
    // A request that takes longer than the idle limit is not idle.
    tokio::time::sleep(SHORT * 4).await;
    server.gate.add_permits(1);
    let (answer, _send) = answer.await.unwrap();
    let body = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "through");
    timeout(LONG, conn).await.expect("the connection ends").unwrap().unwrap();
    assert_eq!(server.stats.overdue.get(), 0);
}

#[tokio::test]
async fn an_http2_peer_that_lets_no_answer_through_ends() {
    let mut options = options();
    options.limits.stalled_write = SHORT;
    let (server, cert, _dir) = tls_server(options);
    let io = TokioIo::new(server.tls(&cert, "h2").await);
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    // Its connection is well all the time: pings and settings are answered.
    let (mut send, conn) = builder.initial_stream_window_size(0).handshake(io).await.unwrap();
    let conn = tokio::spawn(conn);
    let ask = |path: &str| {
        Request::get(format!("https://localhost{path}")).body(Full::<Bytes>::default())
    };
    // While something is being served nobody waits for the peer.
    let served = send.send_request(ask("/gate").unwrap());
    let unread = send.send_request(ask("/peer").unwrap()).await.unwrap();
    tokio::time::sleep(SHORT * 4).await;
    assert_eq!((server.stats.overdue.get(), server.stats.http2.now()), (0, 1));
    server.gate.add_permits(1);
    let served = served.await.unwrap();
    becomes(1, || server.stats.overdue.get()).await;
    becomes(0, || server.stats.http2.now()).await;
    drop((unread, served));
    let _ = timeout(LONG, conn).await.expect("the connection ends");
}

#[tokio::test]
async fn silent_stalled_and_half_said_connections_end() {
    let mut options = options();
    options.limits.first_byte = SHORT;
    options.limits.head = SHORT * 3;
    options.limits.idle = SHORT;
    options.handshake = SHORT * 10;
    let server = TestServer::open(options.clone(), None);
    let mut silent = server.tcp().await;
    ends(&mut silent).await;
    assert_eq!(server.stats.overdue.get(), 1);

    let mut half = server.tcp().await;
    half.write_all(b"GET /echo HTTP/1.1\r\nho").await.unwrap();
    ends(&mut half).await;
    assert_eq!(server.stats.overdue.get(), 2);

    let mut idle = server.tcp().await;
    idle.write_all(&get("/peer")).await.unwrap();
    read_answer(&mut idle).await;
    ends(&mut idle).await;
    assert_eq!((server.stats.overdue.get(), server.stats.http1.total()), (2, 3));

    let (server, cert, _dir) = tls_server(options);
    let mut stalled = server.tcp().await;
    stalled.write_all(&[22, 3, 1]).await.unwrap();
    ends(&mut stalled).await;
    let mut plain = server.tcp().await;
    plain.write_all(&get("/peer")).await.unwrap();
    let mut alert = Vec::new();
    timeout(LONG, plain.read_to_end(&mut alert)).await.unwrap().unwrap();
    becomes(2, || server.stats.tls_failures.get()).await;
    // The handshake's end begins the limit of the first byte.
    let mut quiet = server.tls(&cert, "h2").await;
    let mut greeting = Vec::new();
    let _ = timeout(LONG, quiet.read_to_end(&mut greeting)).await.expect("it ends");
    assert_eq!(server.stats.overdue.get(), 1);
}

#[tokio::test]
async fn a_peer_that_reads_nothing_ends() {
    let mut options = options();
    options.limits.stalled_write = SHORT;
    let server = TestServer::open(options, None);
    let mut io = server.tcp().await;
    let request = format!("PUT /echo HTTP/1.1\r\nhost: here\r\ncontent-length: {REST}\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    io.write_all(&vec![1; REST]).await.unwrap();
    becomes(1, || server.stats.overdue.get()).await;
    becomes(0, || server.stats.http1.now()).await;
}
