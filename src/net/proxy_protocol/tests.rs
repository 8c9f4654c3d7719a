//! What is believed of a PROXY header, from whom, and that nobody is waited for without end.

use super::*;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncWriteExt, ReadBuf};

const V4: &[u8] = &[192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];

fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, rest].concat()
}

fn v6(ip: &str) -> Vec<u8> {
    let ip: Ipv6Addr = ip.parse().unwrap();
    [&ip.octets()[..], &[0; 16], &[0x1f, 0x90, 0, 80]].concat()
}

/// What a connection with these bytes says, and what is left of them.
async fn source(data: &[u8]) -> (Result<HeaderSource, String>, usize) {
    let mut left = data;
    let source = read(&mut left).await.map_err(|error| error.to_string());
    (source, left.len())
}

#[tokio::test]
async fn headers() {
    let check = async |data: Vec<u8>, expected: HeaderSource| {
        let followed = [&data[..], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(source(&followed).await, (Ok(expected), 16), "{data:?}");
    };
    let at = |text: &str| HeaderSource::Address(text.parse().unwrap());
    check(header(0x21, 0x11, V4), at("192.0.2.7:8080")).await;
    check(header(0x21, 0x12, V4), at("192.0.2.7:8080")).await;
    check(header(0x21, 0x21, &v6("2001:db8::7")), at("[2001:db8::7]:8080")).await;
    check(header(0x21, 0x21, &v6("::ffff:192.0.2.7")), at("192.0.2.7:8080")).await;
    // TLVs, well formed or not, are skipped.
    check(header(0x21, 0x11, &[V4, &[4, 0, 1, 0, 0xee, 0xff]].concat()), at("192.0.2.7:8080"))
        .await;
    check(header(0x21, 0x11, &[V4, &vec![0; MOST_BYTES - 12]].concat()), at("192.0.2.7:8080"))
        .await;
    check(header(0x21, 0x00, &[]), HeaderSource::Unknown).await;
    check(header(0x21, 0x31, &[0; 216]), HeaderSource::Unknown).await;
    check(header(0x21, 0x11, &[0; 12]), HeaderSource::Unknown).await;
    check(header(0x21, 0x21, &[0; 36]), HeaderSource::Unknown).await;
    // LOCAL says nothing, whatever comes with it.
    check(header(0x20, 0x00, &[]), HeaderSource::Local).await;
    check(header(0x20, 0x11, V4), HeaderSource::Local).await;
    check(header(0x20, 0xff, &[1]), HeaderSource::Local).await;
}

#[tokio::test]
async fn what_is_none_is_refused() {
    let check = async |data: &[u8], expected: &str| {
        let (source, _) = source(data).await;
        assert!(
            source.as_ref().is_err_and(|error| error.contains(expected)),
            "{data:?}: {source:?}"
        );
    };
    check(b"", "ended").await;
    check(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", "version 2").await;
    check(b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 80\r\n", "version 2").await;
    check(b"\r\n\r\nG", "version 2").await;
    check(&header(0x11, 0x11, V4), "0x11").await;
    check(&header(0x22, 0x11, V4), "0x22").await;
    check(&header(0x21, 0x10, V4), "family 0x10").await;
    check(&header(0x21, 0x13, V4), "family 0x13").await;
    check(&header(0x21, 0x41, V4), "family 0x41").await;
    check(&header(0x21, 0x11, &V4[..11]), "11 bytes are too few").await;
    check(&header(0x21, 0x21, V4), "too few").await;
    check(&header(0x21, 0x11, &vec![0; MOST_BYTES + 1]), "more than 2048").await;
    let whole = header(0x21, 0x11, V4);
    for cut in 1..whole.len() {
        check(&whole[..cut], "").await;
    }
}

/// A listener that asks for the protocol, where it does.
struct Listening {
    protocol: Option<ProxyProtocol>,
    within: Duration,
    stats: Stats,
    drain: CancellationToken,
}

impl Listening {
    fn new(trusted: Option<&[&str]>, within: Duration) -> Self {
        let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect();
        Self {
            protocol: trusted.map(|trusted| ProxyProtocol::new(nets(trusted))),
            within,
            stats: Stats::default(),
            drain: CancellationToken::new(),
        }
    }

    async fn client<IO: AsyncRead + Unpin>(
        &self,
        io: &mut IO,
        peer: PeerAddress,
    ) -> Option<PeerAddress> {
        let wait = HeaderWait { within: self.within, stats: &self.stats, drain: &self.drain };
        client(io, peer, self.protocol.as_ref(), &wait).await
    }
}

#[tokio::test]
async fn only_a_trusted_peer_is_believed() {
    let ip = |text: &str| PeerAddress::Ip(text.parse().unwrap());
    let check = async |trusted: Option<&[&str]>, peer, data: &[u8], expected: Result<_, _>| {
        let listening = Listening::new(trusted, Duration::from_secs(60));
        let client = listening.client(&mut &data[..], peer).await;
        assert_eq!(client, expected.ok(), "{trusted:?} {peer:?} {data:?}");
        for why in HeaderFailure::ALL {
            let count = u64::from(expected == Err(why));
            assert_eq!(
                listening.stats.header_failures(why).get(),
                count,
                "{why:?} {peer:?} {data:?}"
            );
        }
        // The system gave these connections, and no limit ended them.
        assert_eq!((listening.stats.accept_errors.get(), listening.stats.overdue.get()), (0, 0));
    };
    let (proxy, untrusted) = (ip("10.0.0.1:5"), ip("192.0.2.1:5"));
    let named = header(0x21, 0x11, V4);
    let ten: Option<&[&str]> = Some(&["10.0.0.0/8"]);
    check(None, untrusted, b"", Ok(untrusted)).await;
    check(ten, proxy, &named, Ok(ip("192.0.2.7:8080"))).await;
    check(ten, untrusted, &named, Err(HeaderFailure::UntrustedPeer)).await;
    check(Some(&[]), proxy, &named, Err(HeaderFailure::UntrustedPeer)).await;
    check(ten, PeerAddress::Unknown, &named, Err(HeaderFailure::UntrustedPeer)).await;
    check(Some(&[]), PeerAddress::Unix, &named, Ok(ip("192.0.2.7:8080"))).await;
    check(ten, proxy, &header(0x20, 0, &[]), Ok(proxy)).await;
    check(ten, PeerAddress::Unix, &header(0x20, 0, &[]), Ok(PeerAddress::Unix)).await;
    check(ten, proxy, &header(0x21, 0, &[]), Ok(PeerAddress::Unknown)).await;
    let malformed = Err(HeaderFailure::Malformed);
    check(ten, proxy, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", malformed).await;
    check(ten, proxy, &named[..20], malformed).await;
    check(ten, proxy, b"", Err(HeaderFailure::Silent)).await;
}

/// A peer that resets its connection.
struct Reset;

impl AsyncRead for Reset {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()))
    }
}

/// Balancers check so whether the server is there: they say nothing and end with a RST.
#[tokio::test]
async fn who_resets_before_the_first_byte_was_silent() {
    let check = async |sent: &[u8], expected| {
        let listening = Listening::new(Some(&["10.0.0.0/8"]), Duration::from_secs(60));
        let peer = PeerAddress::Ip("10.0.0.1:5".parse().unwrap());
        assert_eq!(listening.client(&mut sent.chain(Reset), peer).await, None, "{sent:?}");
        for why in HeaderFailure::ALL {
            let count = u64::from(expected == why);
            assert_eq!(listening.stats.header_failures(why).get(), count, "{why:?} {sent:?}");
        }
    };
    check(b"", HeaderFailure::Silent).await;
    check(b"\r", HeaderFailure::Malformed).await;
    check(&header(0x21, 0x11, V4)[..20], HeaderFailure::Malformed).await;
}

#[tokio::test(start_paused = true)]
async fn a_header_has_a_deadline_as_a_whole() {
    let (mut near, mut far) = tokio::io::duplex(64);
    let listening = Listening::new(Some(&["10.0.0.0/8"]), Duration::from_secs(10));
    let peer = PeerAddress::Ip("10.0.0.1:5".parse().unwrap());
    let begun = tokio::time::Instant::now();
    let slow = async {
        for byte in header(0x21, 0x11, V4) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if far.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    };
    let (client, ()) = tokio::join!(
        async {
            let end = listening.client(&mut near, peer).await;
            drop(near);
            end
        },
        slow
    );
    assert_eq!(client, None);
    assert_eq!(begun.elapsed().as_secs(), 11, "the sender noticed with its next byte");
    assert_eq!(listening.stats.overdue.get(), 1);
    let failures = HeaderFailure::ALL.map(|why| listening.stats.header_failures(why).get());
    assert_eq!((listening.stats.accept_errors.get(), failures), (0, [0; 3]), "counted once");
}
