//! One connection, from its accept to its end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::{ConnectionContext, HttpService, RequestBody};
use super::budget::Share;
use super::disconnect::PeerDisconnect;
use super::heads::UnsentHeads;
use super::interim::InterimAnswers;
use super::io::{AboveTls, BelowTls};
use super::listener::Accepted;
use super::options::Options;
use super::poll_loop::PollLoop;
use super::proxy_protocol::{self, HeaderWait, ProxyProtocol};
use super::sizes::Sizes;
use super::stats::Stats;
use super::timeouts::{ActiveRequest, ConnectionTimeouts, Overdue};
use super::timer::DeadlineTimer;
use super::{Peer, PeerAddress, Protocol};
use crate::engine::deadline::within;
use crate::tls::{CHALLENGE, ClientCertificate, TlsReload};

/// Bytes rustls holds of an answer that the socket does not take. 64 KiB, its own figure: larger than
/// any status, and what does not fit waits in hyper.
const TLS_SEND_BYTES: usize = 64 * 1024;

/// How long a connection that has sent nothing yet is still read once the drain began: long enough
/// for bytes that already lie in the socket.
const ARRIVING: Duration = Duration::from_millis(50);

/// What all connections of a listener share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) tls: Option<Arc<TlsReload>>,
    pub(super) proxy_protocol: Option<Arc<ProxyProtocol>>,
    pub(super) options: Arc<Options>,
    pub(super) stats: Arc<Stats>,
    /// Asks connections to end when their requests have.
    pub(super) drain: CancellationToken,
    /// Drops connections where they stand.
    pub(super) cut: CancellationToken,
    /// Owns the connections and their HTTP/2 streams.
    pub(super) tasks: TaskTracker,
}

impl Shared {
    /// How large the buffers and windows of a connection with this share are.
    fn sizes(&self, share: &Share) -> Sizes {
        Sizes::of(share.bytes(), &self.options.http1, &self.options.http2)
    }
}

/// Serves a connection until its end, on the runtime that polls this.
///
/// Cancel: the connection and the requests it is serving are dropped where they stand.
/// `permit` is given back with the last body that is still held, and so is the connection's memory: new
/// connections wait for both in the kernel's queue.
pub(super) async fn serve<M, S>(
    accepted: Accepted,
    permit: OwnedSemaphorePermit,
    shared: Arc<Shared>,
    make: M,
) where
    M: Fn(&Peer) -> S,
    S: HttpService,
{
    let _open = shared.stats.open(|stats| &stats.accepted);
    let mut peer = Peer {
        address: PeerAddress::Unix,
        tls: false,
        client_certificate: None,
        protocol: Protocol::Http1,
    };
    let lost = |error: std::io::Error| {
        shared.stats.accept_errors.inc();
        tracing::warn!(%error, "could not serve connection");
    };
    match accepted {
        Accepted::Tcp(stream, address) => {
            peer.address = PeerAddress::Ip(address);
            match TcpStream::from_std(stream) {
                Ok(stream) => choose(stream, permit, peer, &shared, make).await,
                Err(error) => lost(error),
            }
        }
        Accepted::Unix(stream) => match UnixStream::from_std(stream) {
            Ok(stream) => choose(stream, permit, peer, &shared, make).await,
            Err(error) => lost(error),
        },
    }
}

/// Hears who is there, then chooses TLS or plain by the set-up, and the protocol by ALPN.
async fn choose<IO, M, S>(
    mut io: IO,
    permit: OwnedSemaphorePermit,
    mut peer: Peer,
    shared: &Shared,
    make: M,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    M: Fn(&Peer) -> S,
    S: HttpService,
{
    let (options, protocol) = (&shared.options, shared.proxy_protocol.as_deref());
    let wait = HeaderWait {
        within: options.limits.first_byte,
        stats: &shared.stats,
        drain: &shared.drain,
    };
    let client = proxy_protocol::client(&mut io, peer.address, protocol, &wait).await;
    let Some(client) = client else { return };
    peer.address = client;
    let Some(mut share) = options.memory.share(Sizes::most_http1(&options.http1)) else {
        shared.stats.accept_errors.inc();
        tracing::warn!(address = ?peer.address, "connection refused: receive_memory is used up");
        return;
    };
    let io = BelowTls::new(io, options.linger);
    let Some(tls) = &shared.tls else {
        let service = make(&peer);
        return serve_http(io, peer, shared, (share, permit), service).await;
    };
    let io = io.with_read_ahead(shared.sizes(&share).read_ahead);
    let began = Instant::now();
    let Some(stream) = shake_hands(io, tls, shared, &peer).await else { return };
    let session = stream.get_ref().1;
    peer.tls = true;
    peer.client_certificate = ClientCertificate::of(tls, session.peer_certificates());
    if session.alpn_protocol() == Some(b"h2") {
        peer.protocol = Protocol::Http2;
        share.grow(Sizes::most_http2(&options.http2, began.elapsed()));
    }
    let service = make(&peer);
    serve_http(stream, peer, shared, (share, permit), service).await;
}

async fn shake_hands<IO: AsyncRead + AsyncWrite + Unpin>(
    io: BelowTls<IO>,
    tls: &TlsReload,
    shared: &Shared,
    peer: &Peer,
) -> Option<TlsStream<BelowTls<IO>>> {
    let accept = TlsAcceptor::from(tls.current())
        .accept_with(io, |session| session.set_buffer_limit(Some(TLS_SEND_BYTES)));
    let accept = within(shared.options.handshake, accept);
    match shared.drain.run_until_cancelled(accept).await? {
        // Whoever came for a proof alone has it now.
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(CHALLENGE) => return None,
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => tracing::debug!(address = ?peer.address, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(address = ?peer.address, "TLS handshake timed out"),
    }
    shared.stats.tls_failures.inc();
    None
}

/// Serves HTTP on a connection until its end, as `peer.protocol` says.
async fn serve_http<IO, S>(
    io: IO,
    peer: Peer,
    shared: &Shared,
    held: (Share, OwnedSemaphorePermit),
    service: S,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    let protocol = peer.protocol;
    let _open = match protocol {
        Protocol::Http1 => shared.stats.open(|stats| &stats.http1),
        Protocol::Http2 => shared.stats.open(|stats| &stats.http2),
    };
    let sizes = shared.sizes(&held.0);
    let timeouts = ConnectionTimeouts::new(protocol, shared.options.limits, Instant::now());
    let disconnect = (protocol == Protocol::Http1).then(PeerDisconnect::default);
    let interim = (protocol == Protocol::Http1).then(InterimAnswers::default);
    let io = AboveTls::new(io, Arc::clone(&timeouts), disconnect.clone())
        .in_steps(protocol == Protocol::Http1);
    let heads = (protocol == Protocol::Http2).then(Arc::<UnsentHeads>::default);
    let io = TokioIo::new(io.with_interim(interim.clone()).with_heads(heads.clone()));
    let tasks = shared.tasks.clone();
    let tls = peer.tls;
    let context = ConnectionContext { protocol, tls, disconnect, interim, tasks, _held: held };
    let service = requests(service, context, Arc::clone(&timeouts), heads);
    match protocol {
        Protocol::Http1 => {
            let conn = http1_builder(&shared.options, sizes).serve_connection(io, service);
            let graceful = |conn: Pin<&mut PollLoop<_>>| {
                http1::Connection::graceful_shutdown(conn.get_mut().inner());
            };
            drive(PollLoop::new(conn), graceful, &timeouts, shared, &peer).await;
        }
        Protocol::Http2 => {
            let streams = Streams(shared.tasks.clone());
            let builder = http2_builder(&shared.options, sizes, streams);
            let conn = builder.serve_connection(io, service);
            drive(conn, http2::Connection::graceful_shutdown, &timeouts, shared, &peer).await;
        }
    }
}

/// Polls a connection to its end, beside its timeouts and the two signals to end.
async fn drive<C, G>(
    conn: C,
    graceful: G,
    timeouts: &Arc<ConnectionTimeouts>,
    shared: &Shared,
    peer: &Peer,
) where
    C: Future<Output = hyper::Result<()>>,
    G: Fn(Pin<&mut C>),
{
    let mut conn = pin!(conn);
    let mut clock = timeouts.clock();
    let mut draining = false;
    let mut certificate = peer.client_certificate.clone();
    loop {
        // The connection comes first: the clock then sees what it has just done.
        let overdue = tokio::select! { biased;
            ended = conn.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(address = ?peer.address, %error, "connection failed");
                }
                return;
            }
            () = shared.cut.cancelled() => return,
            () = shared.drain.cancelled(), if !draining => {
                draining = true;
                // A request may have arrived that was not read yet.
                let arriving = timeout(ARRIVING, conn.as_mut());
                if timeouts.is_silent() && (arriving.await.is_ok() || timeouts.is_silent()) {
                    return;
                }
                graceful(conn.as_mut());
                continue;
            }
            () = ended(certificate.as_ref()), if certificate.is_some() => {
                certificate = None;
                timeouts.closing(Instant::now());
                graceful(conn.as_mut());
                continue;
            }
            overdue = &mut clock => overdue,
        };
        tracing::debug!(address = ?peer.address, reason = %overdue, "connection closed by a time limit");
        match overdue {
            Overdue::Idle => {
                timeouts.closing(Instant::now());
                graceful(conn.as_mut());
            }
            Overdue::FirstByte | Overdue::Head | Overdue::Write | Overdue::Closing => {
                shared.stats.overdue.inc();
                return;
            }
        }
    }
}

async fn ended(certificate: Option<&ClientCertificate>) {
    match certificate {
        Some(certificate) => certificate.ended().await,
        None => std::future::pending().await,
    }
}

/// The service as hyper calls it: each request gets a body that holds the context of its connection, and is tracked in `timeouts`
/// from its head to the end of its answer.
fn requests<S: HttpService>(
    service: S,
    context: ConnectionContext,
    timeouts: Arc<ConnectionTimeouts>,
    heads: Option<Arc<UnsentHeads>>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<TrackedBody<S::Sent>>,
    Error = Infallible,
    Future: Send,
> {
    let context = Arc::new(context);
    service_fn(move |request| {
        let mut running = timeouts.begin();
        let answer = service.call(RequestBody::attach(request, &context));
        let heads = heads.clone();
        async move {
            let answer = answer.await?;
            running.answered();
            if let Some(heads) = heads {
                heads.hand_on(answer.headers()).await;
            }
            Ok(answer.map(|body| TrackedBody { body, running }))
        }
    })
}

/// The body of an answer, with the mark of its request: each look for a next frame is noted.
struct TrackedBody<B> {
    body: B,
    running: ActiveRequest,
}

impl<B: Body + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.get_mut();
        this.running.took();
        Pin::new(&mut this.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// HTTP/1.1 with every knob set by hand.
fn http1_builder(options: &Options, sizes: Sizes) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // `ConnectionTimeouts` tells more cases apart than this single one.
        .header_read_timeout(None)
        // A client that ends its direction after the request still gets the answer. Whether one has
        // vanished meanwhile is looked at for those who ask (`io/above.rs`).
        .half_close(true)
        .keep_alive(true)
        .max_buf_size(sizes.http1_buffer)
        .max_headers(options.http1.max_headers)
        .max_header_size(options.http1.max_head_bytes)
        // An answer leaves at once; a client waits for each acknowledgement.
        .pipeline_flush(false)
        // Head and body in one system call without a copy; sockets and rustls both can.
        .writev(true)
        .auto_date_header(true)
        // Names are lower-case as in HTTP/2, and requests are taken by the letter of RFC 9112.
        .title_case_headers(false)
        .preserve_header_case(false)
        .ignore_invalid_headers(false)
        .allow_multiple_spaces_in_request_line_delimiters(false);
    builder
}

/// HTTP/2 with every knob set by hand.
fn http2_builder(options: &Options, sizes: Sizes, streams: Streams) -> http2::Builder<Streams> {
    let knobs = &options.http2;
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(DeadlineTimer)
        // Windows as large as `Sizes` says: the adaptive ones start at 64 KiB, ping to grow, end at 16 MiB and know no budget.
        .adaptive_window(false)
        .initial_stream_window_size(sizes.stream_window)
        .initial_connection_window_size(sizes.connection_window)
        .max_concurrent_streams(knobs.max_streams)
        .max_frame_size(knobs.max_frame_bytes)
        .max_header_list_size(knobs.max_header_bytes)
        .header_table_size(knobs.header_table_bytes)
        .max_send_buf_size(knobs.send_buffer_bytes)
        .keep_alive_interval(knobs.ping_after)
        .keep_alive_timeout(knobs.ping_timeout)
        .max_pending_accept_reset_streams(knobs.max_unseen_resets)
        .max_local_error_reset_streams(knobs.max_late_frames)
        .auto_date_header(true);
    builder
}

/// Spawns HTTP/2 streams on the connection's own runtime; the tracker joins them.
#[derive(Clone)]
struct Streams(TaskTracker);

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}
