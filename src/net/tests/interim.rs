//! Interim answers stand before the answer and before `100 Continue`, whole, whatever the socket takes at once.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use hyper::HeaderMap;
use hyper::header::{HeaderValue, LOCATION};
use hyper::server::conn::http1;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::*;
use crate::net::interim::InterimAnswers;
use crate::net::io::AboveTls;
use crate::net::timeouts::ConnectionTimeouts;

const STATUS: &str = "104 Upload Resumption Supported";
const INTERIM: &str = "http/1.1 104 upload resumption supported\r\nlocation: /there\r\n\r\n";

pub(super) fn headers() -> HeaderMap {
    HeaderMap::from_iter([(LOCATION, HeaderValue::from_static("/there"))])
}

/// Reads until what came ends so; as lower case.
async fn read_until<IO: AsyncReadExt + Unpin>(io: &mut IO, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        read.push(timeout(LONG, io.read_u8()).await.expect("it comes").unwrap());
    }
    String::from_utf8(read).unwrap().to_lowercase()
}

/// A request waits for its interim answer and for `100 Continue`, and gets both, in this order.
async fn asks_before_it_sends<IO: AsyncReadExt + AsyncWriteExt + Unpin>(mut io: IO) {
    for text in ["first", "second"] {
        let request = format!(
            "PUT /interim HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        io.write_all(request.as_bytes()).await.unwrap();
        io.flush().await.unwrap();
        assert_eq!(read_until(&mut io, "\r\n\r\n").await, INTERIM);
        assert_eq!(read_until(&mut io, "\r\n\r\n").await, "http/1.1 100 continue\r\n\r\n");
        io.write_all(text.as_bytes()).await.unwrap();
        io.flush().await.unwrap();
        assert_eq!(read_answer(&mut io).await.1, text);
    }
}

#[tokio::test]
async fn comes_before_100_continue() {
    let server = TestServer::open(options(), None);
    asks_before_it_sends(server.tcp().await).await;
    let (server, cert, _dir) = tls_server(options());
    asks_before_it_sends(server.tls(&cert, "http/1.1").await).await;
    server.close().await;
}

#[tokio::test]
async fn http_1_0_gets_none() {
    let server = TestServer::open(options(), None);
    let mut io = server.tcp().await;
    io.write_all(b"PUT /interim HTTP/1.0\r\ncontent-length: 4\r\n\r\nbody").await.unwrap();
    let (head, body) = read_answer(&mut io).await;
    assert!(head.starts_with("http/1.0 200") && body == "body", "{head}{body}");
    ends(&mut io).await;
}

/// The connection's clock ends the wait for a peer that reads nothing.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_not_waited_for() {
    let (near, _far) = tokio::io::duplex(16);
    let limits = Limits { stalled_write: Duration::from_secs(30), ..options().limits };
    let timeouts = ConnectionTimeouts::new(Protocol::Http1, limits, Instant::now());
    let answers = InterimAnswers::default();
    let mut io = AboveTls::new(near, Arc::clone(&timeouts), None);
    io = io.with_interim(Some(answers.clone()));
    let _request = timeouts.begin();
    let headers = headers();
    let mut sending = pin!(answers.send(STATUS, &headers));
    let begun = Instant::now();
    let mut flush = pin!(async { io.flush().await });
    tokio::select! { biased;
        () = &mut sending => panic!("not all of it was taken"),
        _ = &mut flush => panic!("it waits for the peer"),
        _ = timeouts.clock() => {}
    }
    assert_eq!(begun.elapsed(), limits.stalled_write);
}

/// What sends interim answers, and the connection that writes them.
fn connection(near: DuplexStream) -> (InterimAnswers, AboveTls<DuplexStream>) {
    let answers = InterimAnswers::default();
    let timeouts = ConnectionTimeouts::new(Protocol::Http1, options().limits, Instant::now());
    let io = AboveTls::new(near, timeouts, None).with_interim(Some(answers.clone()));
    (answers, io)
}

#[tokio::test]
async fn one_whose_handler_is_gone_is_not_sent() {
    let (near, mut far) = tokio::io::duplex(1 << 10);
    let (answers, mut io) = connection(near);
    {
        let headers = headers();
        let mut sending = pin!(answers.send(STATUS, &headers));
        assert!(poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_pending())).await);
    }
    io.flush().await.unwrap();
    io.write_all(b"answer").await.unwrap();
    drop(io);
    let mut read = String::new();
    far.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "answer");
}

/// Half of one was sent when its handler went away: what follows stands behind the other half.
#[tokio::test]
async fn one_that_has_begun_ends() {
    let (near, mut far) = tokio::io::duplex(20);
    let (answers, mut io) = connection(near);
    {
        let headers = headers();
        let mut sending = pin!(answers.send(STATUS, &headers));
        assert!(poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_pending())).await);
        let flushed = poll_fn(|cx| Poll::Ready(Pin::new(&mut io).poll_flush(cx).is_pending()));
        assert!(flushed.await, "there is room for 20 bytes");
    }
    let answering = async {
        io.write_all(b"answer").await.unwrap();
        drop(io);
    };
    let mut read = String::new();
    let (_, read_all) = tokio::join!(answering, far.read_to_string(&mut read));
    read_all.unwrap();
    assert_eq!(read.to_lowercase(), format!("{INTERIM}answer"));
}

/// A socket that takes so many bytes at a time, in turn; 0: none yet.
struct Trickle {
    io: DuplexStream,
    steps: Vec<usize>,
    turn: usize,
}

impl AsyncRead for Trickle {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, out)
    }
}

impl AsyncWrite for Trickle {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.turn += 1;
        let step = self.steps[self.turn % self.steps.len()];
        if step == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let most = step.min(bytes.len());
        Pin::new(&mut self.io).poll_write(cx, &bytes[..most])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[derive(Clone, Debug)]
struct Case {
    interim: bool,
    expects: bool,
    chunked: bool,
    body: usize,
}

impl Case {
    fn any() -> impl Strategy<Value = Self> {
        let body = prop_oneof![Just(0), 1..40usize, 1..30_000usize];
        let flags = (any::<bool>(), any::<bool>(), any::<bool>());
        (flags, body).prop_map(|((interim, expects, chunked), body)| Self {
            interim,
            expects,
            chunked,
            body,
        })
    }

    fn request(&self) -> String {
        let body = "x".repeat(self.body);
        let path = if self.interim { "interim" } else { "echo" };
        let expect = if self.expects { "expect: 100-continue\r\n" } else { "" };
        let (framing, body) = match (self.chunked, self.body) {
            (true, 0) => ("transfer-encoding: chunked".to_owned(), "0\r\n\r\n".to_owned()),
            (true, bytes) => {
                let chunks = format!("{bytes:x}\r\n{body}\r\n0\r\n\r\n");
                ("transfer-encoding: chunked".to_owned(), chunks)
            }
            (false, bytes) => (format!("content-length: {bytes}"), body),
        };
        format!("PUT /{path} HTTP/1.1\r\nhost: here\r\n{expect}{framing}\r\n\r\n{body}")
    }

    fn answer(&self) -> String {
        let interim = if self.interim { INTERIM } else { "" };
        let goes_on = self.expects && (self.chunked || self.body > 0);
        let goes_on = if goes_on { "http/1.1 100 continue\r\n\r\n" } else { "" };
        let (length, body) = (self.body, "x".repeat(self.body));
        let head = format!("http/1.1 200 ok\r\ncontent-length: {length}\r\n\r\n");
        format!("{interim}{goes_on}{head}{body}")
    }
}

async fn serve_cases(cases: &[Case], steps: Vec<usize>, room: usize, cut: usize) -> String {
    let (near, far) = tokio::io::duplex(room);
    let answers = InterimAnswers::default();
    let timeouts = ConnectionTimeouts::new(Protocol::Http1, options().limits, Instant::now());
    let io = AboveTls::new(Trickle { io: near, steps, turn: 0 }, timeouts, None);
    let io = TokioIo::new(io.with_interim(Some(answers.clone())));
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let answers = answers.clone();
        async move {
            if request.uri().path() == "/interim" {
                answers.send(STATUS, &headers()).await;
            }
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Ok::<_, Infallible>(Response::new(Full::new(body)))
        }
    });
    let serving = http1::Builder::new()
        .half_close(true)
        .auto_date_header(false)
        .serve_connection(io, service);
    let (mut read, mut write) = tokio::io::split(far);
    let sent: String = cases.iter().map(Case::request).collect();
    let sends = async {
        for piece in sent.as_bytes().chunks(cut) {
            write.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        write.shutdown().await.unwrap();
    };
    let reads = async {
        let mut all = String::new();
        read.read_to_string(&mut all).await.unwrap();
        all.to_lowercase()
    };
    let all = async { tokio::join!(serving, sends, reads) };
    let (served, (), all) = timeout(LONG, all).await.expect("nothing waits for ever");
    served.unwrap();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn pipelined_requests_get_their_own(
        cases in prop::collection::vec(Case::any(), 1..6),
        steps in prop::collection::vec(0..300usize, 1..6),
        room in 1..5000usize,
        cut in 1..4000usize,
    ) {
        // One that takes nothing for ever is another test.
        let steps: Vec<_> = steps.into_iter().chain([7]).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let expected: String = cases.iter().map(Case::answer).collect();
        let found = runtime.block_on(serve_cases(&cases, steps, room, cut));
        prop_assert_eq!(found, expected);
    }
}
