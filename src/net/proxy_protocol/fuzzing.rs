//! The fuzz target of PROXY headers: each is read as a second, plainer reading of the same bytes has it, and
//! nothing after it is touched.

use super::{FIXED_BYTES, HeaderSource, MOST_BYTES, ReadError, SIGNATURE, read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// A connection that begins with these bytes and then ends.
pub fn header(data: &[u8]) {
    let mut left = data;
    // Bytes in memory are never waited for.
    let source = {
        let reading = pin!(read(&mut left));
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(source) = reading.poll(&mut context) else { panic!("waits for memory") };
        source
    };
    let expected = plainly(data);
    match source {
        Ok(source) => {
            assert_eq!(Some(source), expected.map(|(source, _)| source));
            assert_eq!(data.len() - left.len(), expected.map_or(0, |(_, bytes)| bytes));
        }
        Err(error) => {
            assert_eq!(expected, None, "{error}");
            assert_eq!(matches!(error, ReadError::Silent), data.is_empty());
            assert!(error.to_string().len() < 200);
        }
    }
}

/// What a header says and how long it is, by the tables of the specification.
fn plainly(data: &[u8]) -> Option<(HeaderSource, usize)> {
    if data.len() < FIXED_BYTES || !data.starts_with(&SIGNATURE) {
        return None;
    }
    let bytes = FIXED_BYTES + usize::from(data[14]) * 256 + usize::from(data[15]);
    if bytes > FIXED_BYTES + MOST_BYTES || data.len() < bytes || data[12] >> 4 != 2 {
        return None;
    }
    let source = match data[12] & 15 {
        0 => HeaderSource::Local,
        1 => match (data[13] >> 4, data[13] & 15) {
            (0, 0) | (3, 1 | 2) => HeaderSource::Unknown,
            (1, 1 | 2) if bytes >= FIXED_BYTES + 12 => {
                let ip = Ipv4Addr::new(data[16], data[17], data[18], data[19]);
                address(ip.into(), [data[24], data[25]])
            }
            (2, 1 | 2) if bytes >= FIXED_BYTES + 36 => {
                let bits = data[16..32].iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte));
                address(Ipv6Addr::from_bits(bits).into(), [data[48], data[49]])
            }
            _ => return None,
        },
        _ => return None,
    };
    Some((source, bytes))
}

fn address(ip: IpAddr, port: [u8; 2]) -> HeaderSource {
    let ip = ip.to_canonical();
    if ip.is_unspecified() {
        return HeaderSource::Unknown;
    }
    HeaderSource::Address(SocketAddr::new(ip, u16::from(port[0]) * 256 + u16::from(port[1])))
}
