//! The fuzz target of headers that name the client: only the address that the nearest proxies vouch for opens the
//! backend surface, by a second reading that splits where the first one walks.

use super::lines;
use crate::wire::access::Access;
use crate::wire::{Caller, Surface};
use hyper::header::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A peer, and lines of `X-Forwarded-For`, `Forwarded`, or of one and the same of the other.
pub fn forwarded(data: &[u8]) {
    let (choice, data) = data.split_first().unwrap_or((&0, &[]));
    let peers = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "8.8.8.8"];
    let peer: IpAddr = peers[usize::from(choice % 5)].parse().expect("an address");
    let text = String::from_utf8_lossy(data);
    let Some(common) = lines("x-forwarded-for", data) else { return };
    let Some(standard) = lines("forwarded", data) else { return };
    if !peer.to_canonical().is_loopback() {
        // Whatever an untrusted peer sends, it is identified by where it is.
        let expected = allowed(peer);
        assert_eq!([opened(peer, &common), opened(peer, &standard)], [expected; 2], "{text:?}");
        return;
    }
    // The lines from the last one; one that is not plain text is none that could be read.
    let plain = |line: &str| line.chars().all(|c| matches!(c, ' '..='~' | '\t'));
    let hops = |read: fn(&str) -> Vec<Hop>| {
        let lines = text.split('\n').rev();
        first_foreign(lines.flat_map(|line| if plain(line) { read(line) } else { vec![None] }))
    };
    let by_common = hops(|line| line.split(',').rev().map(node).collect());
    assert_eq!(opened(peer, &common), by_common, "X-Forwarded-For {text:?}");
    if !text.contains('"') {
        assert_eq!(opened(peer, &standard), hops(elements), "Forwarded {text:?}");
    }
    // Both open the door only where each of them does, and they agree.
    let mut both = standard.clone();
    both.extend(common.clone());
    let each = opened(peer, &common) && opened(peer, &standard);
    assert!(each || !opened(peer, &both), "{text:?}");
    same_in_both(peer, &text);
}

/// A list of addresses says the same in either header, quoted in any way.
fn same_in_both(peer: IpAddr, text: &str) {
    let named: Vec<IpAddr> =
        text.split([',', '\n']).filter_map(|t| t.trim().parse().ok()).collect();
    if named.is_empty() {
        return;
    }
    let join = |items: Vec<String>| items.join(", ");
    let common = join(named.iter().map(ToString::to_string).collect());
    let quoted = |address: &IpAddr| {
        let node = match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        let escaped: String = node.chars().flat_map(|letter| ['\\', letter]).collect();
        format!("by=\", for=10.0.0.1\";For=\"{escaped}\" ; proto=https")
    };
    let standard = join(named.iter().map(quoted).collect());
    let common = lines("x-forwarded-for", common.as_bytes()).expect("plain text");
    let standard = lines("forwarded", standard.as_bytes()).expect("plain text");
    assert_eq!(opened(peer, &common), opened(peer, &standard), "{text:?}");
    let mut both = common;
    both.extend(standard.clone());
    assert_eq!(opened(peer, &both), opened(peer, &standard), "{text:?}");
}

fn opened(peer: IpAddr, headers: &HeaderMap) -> bool {
    let net = |text: &str| text.parse::<IpNet>().expect("a network");
    let access = Access {
        allow: Some(vec![net("10.0.0.0/8"), net("fd00::/8")]),
        trusted_proxies: vec![net("127.0.0.0/8"), net("::1/128")],
        ..Access::default()
    };
    let caller = Caller { address: Some(peer), ..Caller::unix() };
    access.check_address(Surface::Shared, &caller, headers).is_ok()
}

fn allowed(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets()[0] == 10,
        IpAddr::V6(v6) => v6.octets()[0] == 0xfd,
    }
}

/// What a hop is: an address, or nothing that could be one.
type Hop = Option<IpAddr>;

/// Whether the first hop, from the end, that is not the proxies' own is there and allowed.
fn first_foreign(mut hops: impl Iterator<Item = Hop>) -> bool {
    let foreign = hops.find(|hop| !hop.is_some_and(|address| address.to_canonical().is_loopback()));
    foreign.flatten().is_some_and(allowed)
}

fn node(text: &str) -> Hop {
    let text = text.trim();
    text.parse().ok().or_else(|| with_port(text))
}

/// An address as RFC 7239 has it.
fn with_port(text: &str) -> Hop {
    let (host, port) = match text.rfind([']', ':']) {
        Some(at) if text.as_bytes()[at] == b':' => (&text[..at], &text[at + 1..]),
        _ => (text, "0"),
    };
    let digits = port.len() <= 5 && port.parse::<u16>().is_ok() && !port.starts_with('+');
    let hidden = port.len() > 1
        && port.starts_with('_')
        && port[1..].chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    let address = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    address.filter(|_| digits || hidden)
}

/// The hops of one line of `Forwarded` without quotation marks, from its end; a line that breaks the grammar has one
/// that is no address.
fn elements(line: &str) -> Vec<Hop> {
    let blank = [' ', '\t'];
    let token = |text: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
    };
    let element = |text: &str| -> Result<Hop, ()> {
        let pairs = text.split(';').map(|pair| pair.trim_matches(blank)).filter(|p| !p.is_empty());
        let (mut hop, mut count) = (None, 0);
        for pair in pairs {
            let (name, value) = pair.split_once('=').ok_or(())?;
            if !token(name) || !token(value) {
                return Err(());
            }
            count += 1;
            if name.eq_ignore_ascii_case("for") && hop.replace(value).is_some() {
                return Err(());
            }
        }
        if count == 0 {
            return Err(());
        }
        let Some(value) = hop else { return Ok(None) };
        let hidden = value.eq_ignore_ascii_case("unknown")
            || (value.len() > 1
                && value.starts_with('_')
                && value[1..].chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)));
        // A token has no colon and no brackets: IPv4 alone.
        match value.parse::<Ipv4Addr>() {
            Ok(address) => Ok(Some(address.into())),
            Err(_) if hidden => Ok(None),
            Err(_) => Err(()),
        }
    };
    let read: Result<Vec<Hop>, ()> = line.split(',').rev().map(element).collect();
    read.unwrap_or_else(|()| vec![None])
}
