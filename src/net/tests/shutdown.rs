//! What a drain lets end, and when its grace is over.

use super::*;

#[tokio::test]
async fn drain_lets_a_running_request_end() {
    let server = TestServer::open(options(), None);
    let mut io = server.tcp().await;
    let mut silent = server.tcp().await;
    io.write_all(&get("/gate")).await.unwrap();
    becomes(2, || server.stats.accepted.now()).await;
    server.drain.cancel();
    ends(&mut silent).await;
    let Address::Tcp(address) = server.address else { panic!() };
    let begun = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(begun.elapsed() < LONG, "the socket closes");
        tokio::task::yield_now().await;
    }
    assert!(!server.serving.is_finished());
    server.gate.add_permits(1);
    let (head, body) = read_answer(&mut io).await;
    assert!(head.contains("connection: close") && body == "through", "{head}{body}");
    ends(&mut io).await;
    server.close().await;
}

#[tokio::test]
async fn grace_has_an_end() {
    let server = TestServer::open(Options { shutdown_grace: Grace::new(SHORT), ..options() }, None);
    let mut io = server.tcp().await;
    io.write_all(&get("/gate")).await.unwrap();
    becomes(1, || server.stats.http1.now()).await;
    let stats = Arc::clone(&server.stats);
    assert!(server.close().await < LONG / 2);
    assert_eq!((stats.accepted.now(), stats.http1.now()), (0, 0));
    let mut rest = Vec::new();
    let _ = timeout(LONG, io.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}
