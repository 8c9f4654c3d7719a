//! Who the client of a request is, where trusted proxies speak for it: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! Promise: nobody but a trusted proxy is believed, and no further than the last one of them: each names who
//! connected to it, so the list is read from its end, and the first that is no trusted proxy is the client. What
//! follows from a header that breaks its grammar, or from two that name different clients, is an error and never a
//! choice. Absent: `proto`, `host`, `by`, `X-Forwarded-Proto` and `X-Forwarded-Host`, since nothing here is decided by
//! them: the server writes no absolute URL.

use super::header::text;
use super::problem::Problem;
use super::reply::shown;
use hyper::header::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Who sent a request, as far as those know who are believed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// From this address; an IPv4 one is never mapped to IPv6.
    At(IpAddr),
    /// A trusted proxy brings it and does not say from where.
    Unknown,
}

/// As logs show it.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// The client that headers name on a connection from `peer`; `None`: no header speaks of it, and the peer itself is
/// the client, trusted or not.
///
/// # Errors
/// A trusted proxy sent what breaks the grammar, or both headers and they lead to different clients. Where a proxy sets
/// one and passes on the other, it is the client who wrote the other, and nothing tells which that is.
pub fn named(
    trusted: &[IpNet],
    peer: IpAddr,
    headers: &HeaderMap,
) -> Result<Option<Client>, Problem> {
    if !contains(trusted, peer) {
        return Ok(None);
    }
    let standard = resolved(trusted, headers, "Forwarded", read_forwarded)?;
    let common = resolved(trusted, headers, "X-Forwarded-For", read_x_forwarded_for)?;
    match (standard, common) {
        (Some(one), Some(other)) if one != other => Err(Problem::bad_request(
            "headers Forwarded and X-Forwarded-For name different clients: the proxy must remove the one that it \
             does not set",
        )),
        (Some(client), _) | (None, Some(client)) => Ok(Some(client)),
        (None, None) => Ok(None),
    }
}

/// Whether one of these networks has the address.
pub fn contains(nets: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    nets.iter().any(|net| net.contains(&address))
}

/// One hop of the list: who connected.
type Hop = Client;
/// What reads one line of a header into hops; its error is why it does not.
type Reader = fn(&str) -> Result<Vec<Result<Hop, &'static str>>, &'static str>;

/// The client by one header; `None` where it does not come.
fn resolved(
    trusted: &[IpNet],
    headers: &HeaderMap,
    name: &str,
    read: Reader,
) -> Result<Option<Client>, Problem> {
    let mut first = None;
    let lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    for line in lines.iter().rev() {
        let line = text(name, line)?;
        let bad = |why| Problem::bad_request(format!("header {name} {}: {why}", shown(line)));
        for hop in read(line).map_err(bad)?.into_iter().rev() {
            let hop = hop.map_err(bad)?;
            match hop {
                Client::At(address) if contains(trusted, address) => first = Some(hop),
                Client::At(_) | Client::Unknown => return Ok(Some(hop)),
            }
        }
    }
    // Proxies all the way: the first of them speaks for itself.
    Ok(first)
}

/// `X-Forwarded-For`: addresses separated by commas. What stands before the client is not looked at, and may be
/// anything.
fn read_x_forwarded_for(line: &str) -> Result<Vec<Result<Hop, &'static str>>, &'static str> {
    let hop = |text: &str| {
        let text = text.trim();
        // IPv6 comes without brackets where no port follows.
        match text.parse::<Ipv6Addr>() {
            Ok(address) => Ok(Client::At(IpAddr::V6(address).to_canonical())),
            Err(_) => node(text).ok_or("expected addresses separated by commas"),
        }
    };
    Ok(line.split(',').map(hop).collect())
}

/// `Forwarded`: elements separated by commas, of pairs separated by semicolons. All of a line must be well-formed: a
/// quotation mark of the client's could else swallow what a proxy added.
fn read_forwarded(line: &str) -> Result<Vec<Result<Hop, &'static str>>, &'static str> {
    let mut hops = Vec::new();
    let (mut rest, mut hop, mut pairs) = (line, None, 0);
    loop {
        rest = rest.trim_start_matches(BLANK);
        let end = rest.find(|c| !is_token(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if !name.is_empty() {
            let (value, after) = value(after.strip_prefix('=').ok_or("expected NAME=VALUE")?)?;
            pairs += 1;
            if name.eq_ignore_ascii_case("for") {
                let named = node(&value).ok_or("for= holds no address")?;
                if hop.replace(named).is_some() {
                    return Err("for= comes twice in one element");
                }
            }
            rest = after.trim_start_matches(BLANK);
        }
        let Some(separator) = rest.chars().next().filter(|c| matches!(c, ',' | ';')) else { break };
        rest = &rest[1..];
        if separator == ',' {
            hops.push(element(pairs, &mut hop)?);
            pairs = 0;
        }
    }
    if !rest.is_empty() {
        return Err("expected NAME=VALUE;NAME=VALUE, ...");
    }
    hops.push(element(pairs, &mut hop)?);
    Ok(hops)
}

/// The hop of an element that has ended. One that does not say whom it forwards for hides it.
fn element(pairs: usize, hop: &mut Option<Hop>) -> Result<Result<Hop, &'static str>, &'static str> {
    if pairs == 0 {
        return Err("an element is empty");
    }
    Ok(Ok(hop.take().unwrap_or(Client::Unknown)))
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> Result<(String, &str), &'static str> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return if value.is_empty() { Err("a value is empty") } else { Ok((value.into(), after)) };
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => value.push(letters.next().ok_or("a quoted value does not end")?.1),
            letter => value.push(letter),
        }
    }
    Err("a quoted value does not end")
}

/// A node: `IPv4`, `[IPv6]`, each with a port or without, `unknown`, or `_hidden`. Source: RFC 7239, section 6.
fn node(text: &str) -> Option<Client> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inner, after)) => {
            let address = IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?).to_canonical();
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
            (Client::At(address), port)
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            let hidden = host.eq_ignore_ascii_case("unknown") || is_hidden(host);
            if hidden {
                (Client::Unknown, port)
            } else {
                (Client::At(IpAddr::V4(host.parse().ok()?)), port)
            }
        }
    };
    let digits = |port: &str| {
        port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
    };
    port.is_none_or(|port| digits(port) || is_hidden(port)).then_some(host)
}

/// A name that a proxy made up so as not to tell.
fn is_hidden(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    text.strip_prefix('_').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(allowed))
}

/// Source: RFC 9110, section 5.6.2.
fn is_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter)
}

const BLANK: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderName;

    const TRUSTED: [&str; 3] = ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"];

    /// What headers say on a connection from 127.0.0.1: an address, "unknown", "none", or "bad".
    fn said(lines: &[(&'static str, &str)]) -> String {
        let trusted: Vec<IpNet> = TRUSTED.iter().map(|net| net.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        match named(&trusted, "127.0.0.1".parse().unwrap(), &headers) {
            Ok(Some(client)) => format!("{client:?}"),
            Ok(None) => "none".into(),
            Err(_) => "bad".into(),
        }
    }

    #[test]
    fn x_forwarded_for() {
        let check = |lines: &[&str], expected: &str| {
            let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            assert_eq!(said(&lines), expected, "{lines:?}");
        };
        check(&[], "none");
        check(&["192.0.2.1"], "192.0.2.1");
        check(&["192.0.2.1, 10.0.0.1 ,10.0.0.2"], "192.0.2.1");
        check(&["192.0.2.1", "10.0.0.1"], "192.0.2.1");
        check(&["nonsense, 192.0.2.1"], "192.0.2.1");
        check(&["10.0.0.1, 10.0.0.2"], "10.0.0.1");
        check(&["::ffff:10.0.0.1, 10.0.0.2"], "10.0.0.1");
        check(&["2001:db8::1"], "2001:db8::1");
        check(&["[2001:db8::1]:443"], "2001:db8::1");
        check(&["192.0.2.1:80"], "192.0.2.1");
        check(&["192.0.2.1, unknown"], "unknown");
        for bad in [
            "",
            ",192.0.2.1,",
            "192.0.2.1, nonsense",
            "192.0.2.1:",
            "192.0.2.1:x",
            "[::1",
            "1.2.3",
            "a@::1",
            "192.0.2.1 10.0.0.1",
            "\u{e4}",
        ] {
            check(&[bad], "bad");
        }
        check(&["nonsense", "10.0.0.1"], "bad");
    }

    #[test]
    fn forwarded() {
        let check = |lines: &[&str], expected: &str| {
            let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
            assert_eq!(said(&lines), expected, "{lines:?}");
        };
        check(&["for=192.0.2.1"], "192.0.2.1");
        check(&["For=\"[2001:db8::1]:4711\";Proto=https;by=203.0.113.43"], "2001:db8::1");
        check(&["for=192.0.2.1;proto=http, FOR=10.0.0.1 , for=\"10.0.0.2:_x\""], "192.0.2.1");
        check(&["for=192.0.2.1", "for=10.0.0.1"], "192.0.2.1");
        check(&["for=evil, for=192.0.2.1"], "bad");
        check(&["for=192.0.2.1;host=\"a,b;c=\\\"d\""], "192.0.2.1");
        check(&["for=\"192.0.2.\\1\""], "192.0.2.1");
        check(&["proto=https;for=unknown"], "unknown");
        check(&["for=_secret"], "unknown");
        check(&["for=192.0.2.1, proto=https"], "unknown");
        check(&["for=192.0.2.1; proto=https ;"], "192.0.2.1");
        for bad in [
            "",
            ",",
            "for",
            "for=",
            "for=\"",
            "for=\"192.0.2.1",
            "for=192.0.2.1,",
            "for=192.0.2.1;for=10.0.0.1",
            "for=192.0.2.1:80",
            "for=[2001:db8::1]",
            "for=\"2001:db8::1\"",
            "for=\"192.0.2.1\"x",
            "for =192.0.2.1",
            "for=192.0.2.1 for=10.0.0.1",
            "for=_",
            "for=nonsense",
            "for=\"192.0.2.1\\",
            "=x",
            "for=\u{e4}",
        ] {
            check(&[bad], "bad");
        }
        // What a client left open takes nothing in of what a proxy appends as a line of its own, nor in the same one.
        check(&["for=\"", "for=192.0.2.1"], "192.0.2.1");
        check(&["for=\", for=192.0.2.1"], "bad");
    }

    #[test]
    fn both_must_agree() {
        let check = |forwarded: &str, common: &str, expected: &str| {
            let lines = [("forwarded", forwarded), ("x-forwarded-for", common)];
            assert_eq!(said(&lines), expected, "{lines:?}");
        };
        check("for=192.0.2.1;proto=https", "192.0.2.1", "192.0.2.1");
        check("for=192.0.2.1, for=10.0.0.1", "192.0.2.1", "192.0.2.1");
        check("for=192.0.2.1", "192.0.2.2", "bad");
        check("for=unknown", "192.0.2.2", "bad");
        check("for=192.0.2.1", "nonsense", "bad");
        check("nonsense", "192.0.2.1", "bad");
    }

    #[test]
    fn others_are_not_believed() {
        let trusted: Vec<IpNet> = TRUSTED.iter().map(|net| net.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("nonsense"));
        headers.append("forwarded", HeaderValue::from_static("for=10.0.0.1"));
        let named = |peer: &str| named(&trusted, peer.parse().unwrap(), &headers);
        assert!(matches!(named("192.0.2.1"), Ok(None)));
        assert!(named("::ffff:127.0.0.1").is_err());
    }
}
