//! Requests and answers, early ones too; permits and memory of connections.

use tokio::net::UnixStream;

use super::*;

/// An upload that is refused in mid-body and only then goes on, slowly.
async fn refused_upload<IO>(io: IO, path: &str) -> (String, String)
where
    IO: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let mut io = io;
    let head = format!("PUT {path} HTTP/1.1\r\nhost: here\r\ncontent-length: {REST}\r\n\r\n");
    io.write_all(head.as_bytes()).await.unwrap();
    io.write_all(&[1; 1000]).await.unwrap();
    let mut first = [0; 12];
    timeout(LONG, io.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 413");
    // The answer stands; the client has not noticed and sends all the same.
    for _ in 0..64 {
        io.write_all(&vec![1; (REST - 1000) / 64]).await.expect("no reset while it sends");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    io.write_all(&[1; (REST - 1000) % 64]).await.unwrap();
    io.flush().await.unwrap();
    let answer = read_answer(&mut io).await;
    ends(&mut io).await;
    answer
}

#[tokio::test]
async fn plain_http1_echoes_and_keeps_the_connection() {
    let server = TestServer::open(options(), None);
    let mut io = server.tcp().await;
    for text in ["first", "second"] {
        let length = text.len();
        let request =
            format!("PUT /echo HTTP/1.1\r\nhost: here\r\ncontent-length: {length}\r\n\r\n{text}");
        io.write_all(request.as_bytes()).await.unwrap();
        let (head, body) = read_answer(&mut io).await;
        assert!(head.starts_with("http/1.1 200 ok") && body == text, "{head}{body}");
    }
    io.write_all(&get("/peer")).await.unwrap();
    let local = io.local_addr().unwrap();
    let peer = Peer {
        address: PeerAddress::Ip(local),
        tls: false,
        client_certificate: None,
        protocol: Protocol::Http1,
    };
    assert_eq!(read_answer(&mut io).await.1, format!("{peer:?}"));
    assert_eq!((server.stats.http1.now(), server.stats.http2.total()), (1, 0));
    let took = server.close().await;
    assert!(took < LONG / 2, "an idle connection ends at once: {took:?}");
    ends(&mut io).await;
}

#[tokio::test]
async fn a_client_that_ends_its_direction_gets_its_answer() {
    let server = TestServer::open(options(), None);
    let mut io = server.tcp().await;
    io.write_all(&get("/gate")).await.unwrap();
    io.shutdown().await.unwrap();
    server.gate.add_permits(1);
    assert_eq!(read_answer(&mut io).await.1, "through");
    ends(&mut io).await;
}

#[tokio::test]
async fn an_early_answer_arrives_while_the_service_reads_on() {
    let server = TestServer::open(options(), None);
    let (head, body) = refused_upload(server.tcp().await, "/refuse-and-read").await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body, "no".repeat(1000));
    timeout(LONG, server.gate.acquire()).await.expect("the whole body was read").unwrap().forget();
    let (server, cert, _dir) = tls_server(options());
    let io = server.tls(&cert, "http/1.1").await;
    assert_eq!(refused_upload(io, "/refuse-and-read").await.1, "no".repeat(1000));
    server.close().await;
}

#[tokio::test]
async fn an_early_answer_arrives_although_the_body_is_dropped() {
    let server = TestServer::open(options(), None);
    let (head, body) = refused_upload(server.tcp().await, "/no").await;
    assert!(head.contains("connection: close") && body == "no".repeat(1000), "{head}");
    let (server, cert, _dir) = tls_server(options());
    let io = server.tls(&cert, "http/1.1").await;
    assert_eq!(refused_upload(io, "/no").await.1, "no".repeat(1000));
}

#[tokio::test]
async fn a_refusal_before_100_continue_costs_no_body() {
    let server = TestServer::open(options(), None);
    let mut io = server.tcp().await;
    let head =
        "PUT /no HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    io.write_all(head.as_bytes()).await.unwrap();
    let (head, _) = read_answer(&mut io).await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
    ends(&mut io).await;
}

#[tokio::test]
async fn no_more_connections_than_permits() {
    let server = TestServer::open(Options { max_connections: 1, ..options() }, None);
    let mut first = server.tcp().await;
    first.write_all(&get("/peer")).await.unwrap();
    read_answer(&mut first).await;
    let mut second = server.tcp().await;
    second.write_all(&get("/peer")).await.unwrap();
    assert!(timeout(SHORT, second.read_u8()).await.is_err());
    assert_eq!((server.stats.accepted.now(), server.stats.accepted.total()), (1, 1));
    drop(first);
    read_answer(&mut second).await;
    assert_eq!(server.stats.accepted.total(), 2);
    server.close().await;
}

#[tokio::test]
async fn a_unix_socket_serves_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.sock");
    let server = TestServer::open_at(&Address::Unix(path.clone()), options(), None);
    let mut io = UnixStream::connect(&path).await.unwrap();
    io.write_all(&get("/peer")).await.unwrap();
    assert!(read_answer(&mut io).await.1.contains("address: unix"));
    assert_eq!(refused_upload(io_again(&path).await, "/no").await.1, "no".repeat(1000));
    server.close().await;
    ends(&mut io).await;
    assert!(!path.exists());
}

async fn io_again(path: &Path) -> UnixStream {
    UnixStream::connect(path).await.unwrap()
}

#[tokio::test]
async fn unread_bytes_count_until_their_body_is_gone() {
    let mut options = options();
    (options.limits.idle, options.limits.closing) = (SHORT, SHORT);
    let memory = Arc::clone(&options.memory);
    let all = memory.left();
    let server = TestServer::open(options, None);
    let mut client = server.tcp().await;
    client
        .write_all(b"PUT /keep HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        .await
        .unwrap();
    let mut answer = Vec::new();
    client.shutdown().await.unwrap();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 413"));
    drop(client);
    becomes(0, || server.stats.accepted.now()).await;
    assert!(memory.left() < all, "the body is still held");
    server.gate.add_permits(1);
    becomes(all, || memory.left()).await;
}
