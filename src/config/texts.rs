//! Kinds of longer texts: addresses, networks, hosts, URLs, names, secrets. Pure; nothing is asked of the machine.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hyper::header::HeaderName;
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::kind::{Kind, quoted, quotes};
use super::types::{CallbackRule, CreateSecret, Secret};
use crate::core::callback::CallbackUrl;
use crate::core::host::{HostPort, is_dns_name};
use crate::core::signing::{self, SigningSecrets, UrlSecrets, UrlSecretsError};
use crate::net::{Address, AddressError};

pub(super) const ADDRESS: Kind<Address, AddressError> = text("ADDRESS", Address::from_str);

pub(super) const PATH: Kind<PathBuf> = quotes(
    "PATH",
    |path| quoted(Path::display(path)),
    |text| (!text.is_empty()).then(|| text.into()).ok_or("must be a path (text, not empty)"),
);

/// A name or a number, as text.
pub(super) const GROUP: Kind<String> = Kind {
    bare: true,
    ..text("GROUP", |text| {
        (!text.is_empty()).then(|| text.to_owned()).ok_or("must be a name or a number")
    })
};

/// A log filter, as [`parse_filter`] has it.
pub(super) const FILTER: Kind<String> =
    text("FILTER", |text| parse_filter(text).map(|_| text.to_owned()));

/// A network, or a single address as a network of one.
pub(super) const NETWORK: Kind<IpNet> = text("CIDR", |text| {
    let address = text.parse().map(|ip: IpAddr| IpNet::from(ip.to_canonical()));
    let network = address.or_else(|_| text.parse().map(|network: IpNet| plain(network.trunc())));
    network.map_err(|_| "must be an IP address or a CIDR, such as 10.0.0.0/8 or ::1")
});

/// A network, an address or a host name that handovers may call.
pub(super) const CALLBACK_RULE: Kind<CallbackRule> = text("HOST", |text| {
    let network = (NETWORK.read)(text).ok().map(CallbackRule::Net);
    let rule = network.or_else(|| dns_host(text).map(CallbackRule::Host));
    rule.ok_or("must be a host name, an IP address or a CIDR, without scheme, port or wildcard")
});

/// A host name as `Host` may have it, without its port.
pub(super) const HOST_NAME: Kind<String> = text("NAME", |text| {
    dns_host(text).ok_or(
        "must be a host name, without scheme, port or wildcard; addresses are always allowed",
    )
});

/// A name that a certificate can be ordered for without a word to a name server: no address, no wildcard.
pub(super) const DOMAIN: Kind<String> = text("NAME", |text| {
    dns_host(text)
        .ok_or("must be a host name, such as upload.example.org, no wildcard and no address")
});

/// A host name or an address, and a port where one is written: what stands in a URL.
pub(super) const HOST: Kind<HostPort> = text("HOST", |text| {
    let text = text.to_ascii_lowercase();
    let read = url_host_port(&text).ok_or("must be HOST or HOST:PORT, without scheme and path")?;
    Ok(HostPort { host: read.host.to_owned(), port: read.port })
});

/// A mail address, as far as its form shows.
pub(super) const MAIL: Kind<String> = text("MAIL", |text| {
    let text = text.strip_prefix("mailto:").unwrap_or(text);
    let fits = text
        .split_once('@')
        .is_some_and(|(who, host)| !who.is_empty() && is_dns_name(host) && is_visible(text));
    fits.then(|| text.to_owned()).ok_or("must be a mail address, such as ops@example.org")
});

/// An origin as browsers send it: lower case, without the scheme's own port; or `*`.
pub(super) const ORIGIN: Kind<String> = text("ORIGIN", |text| {
    const RIGHT: &str = "must be * or an origin such as https://app.example.org, without a path";
    if text == "*" {
        return Ok(text.into());
    }
    let lower = text.to_ascii_lowercase();
    let (scheme, authority) = lower.split_once("://").ok_or(RIGHT)?;
    let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c));
    let HostPort { host, port } = url_host_port(authority).filter(|_| scheme_fits).ok_or(RIGHT)?;
    let port = port.filter(|port| !matches!((scheme, port), ("http", 80) | ("https", 443)));
    Ok(format!("{scheme}://{}", HostPort { host, port }))
});

/// An https URL.
pub(super) const HTTPS_URL: Kind<String> = text("URL", |text| {
    let fits = text.starts_with("https://") && is_url(text);
    fits.then(|| text.to_owned()).ok_or("must be an https URL")
});

/// An http or https URL without query, fragment and a slash at its end.
pub(super) const HTTP_URL: Kind<String> = text("URL", |text| {
    let fits = is_url(text) && !text.contains(['?', '#', '"', '<', '>', '\\']);
    fits.then(|| text.trim_end_matches('/').to_owned())
        .ok_or("must be an http or https URL, such as https://upload.example.org/incoming/frontend")
});

/// The scheme, host and port of a store.
pub(super) const ENDPOINT: Kind<String> = text("URL", |text| {
    let url = (HTTP_URL.read)(text).ok().filter(|url| url.matches('/').count() == 2);
    url.ok_or("must be http://HOST:PORT or https://HOST:PORT, without a path")
});

/// A URL that is called, without credentials.
pub(super) const CALLBACK_URL: Kind<CallbackUrl> = quotes(
    "URL",
    |url| quoted(url.as_str()),
    |text| {
        let url = CallbackUrl::parse(text.to_owned()).ok();
        let url = url.filter(|url| url.target().is_ok_and(|to| to.credentials.is_none()));
        url.ok_or("must be an http or https URL without user name and password")
    },
);

/// A header of a client that may be passed on: none that says how the message itself is framed.
pub(super) const HEADER: Kind<String> = text("NAME", |text| {
    let name = HeaderName::from_bytes(text.as_bytes()).ok().map(|name| name.to_string());
    let name = name.filter(|name| !FRAMING.contains(&&**name));
    name.ok_or("must be the name of a header that says who the client is")
});

/// The name of a bucket. Source: Amazon S3, "general purpose bucket naming rules"; older stores take underscores too.
pub(super) const BUCKET: Kind<String> = text("NAME", |text| {
    let fits = (3..=255).contains(&text.len()) && consists_of(text, b"-._");
    fits.then(|| text.to_owned())
        .ok_or("must be the name of a bucket: letters, digits, - . and _, at least 3")
});

/// What all keys begin with: with a slash at its end, and none at its beginning.
pub(super) const PREFIX: Kind<String> = text("PREFIX", |text| {
    let text = text.trim_end_matches('/');
    let fits = (1..=512).contains(&text.len()) && !text.starts_with('/');
    let fits = fits && consists_of(text, b"-._/");
    fits.then(|| format!("{text}/")).ok_or("must be letters, digits, - . _ and /, not / first")
});

/// A region, or another word of visible characters.
pub(super) const VISIBLE: Kind<String> = text("NAME", |text| {
    let right = "must be visible ASCII characters, at least one, no spaces";
    is_visible(text).then(|| text.to_owned()).ok_or(right)
});

/// A secret. It has to travel in an `Authorization` header, so it must be visible ASCII; an empty one would protect
/// nothing and most likely is a variable left unset.
pub(super) const SECRET: Kind<Secret> = secret("SECRET", |text| {
    let right = "must be a string of visible ASCII characters, at least one, no spaces";
    is_visible(text).then(|| Secret::new(text)).ok_or(right)
});
pub(super) const TOKEN: Kind<Secret> = Kind { name: "TOKEN", ..SECRET };

/// A secret that is sent, or one that signs.
pub(super) const CREATE_SECRET: Kind<CreateSecret, String> = secret("SECRET", |text| {
    if text.trim_ascii_start().starts_with(signing::PREFIX) {
        let signing = SigningSecrets::parse(text).map(CreateSecret::Signing);
        return signing.map_err(|error| error.to_string());
    }
    (SECRET.read)(text).map(CreateSecret::Sent).map_err(str::to_owned)
});

/// A URL and the secrets of what is called below it.
pub(super) const URL_SECRETS: Kind<UrlSecrets, UrlSecretsError> =
    secret("URL SECRET", UrlSecrets::parse);

const fn text<T: Display, E>(name: &'static str, read: fn(&str) -> Result<T, E>) -> Kind<T, E> {
    quotes(name, |value| quoted(value), read)
}

const fn secret<T, E>(name: &'static str, read: fn(&str) -> Result<T, E>) -> Kind<T, E> {
    Kind { secret: true, ..quotes(name, |_| String::new(), read) }
}

/// The filter that `filter` says, wherever it comes from. A lone word must be a level: as a filter it
/// would be a module's name and silence everything else, which is never meant by a mistyped `info`.
///
/// # Errors
/// What it must be.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, &'static str> {
    let is_directive = |it: &str| it.contains(['=', '[']) || it.parse::<LevelFilter>().is_ok();
    // Names of modules are ASCII, and the parser of filters panics on much that is not.
    if !filter.is_ascii() || !filter.split(',').all(|it| !it.is_empty() && is_directive(it)) {
        return Err(FILTER_IS);
    }
    // A few characters of a regular expression may take gigabytes and minutes.
    EnvFilter::builder().with_regex(false).parse(filter).map_err(|_| FILTER_IS)
}

/// A network of IPv4-mapped addresses as the IPv4 network that it is.
fn plain(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let v4 = mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(96));
    let v4 = v4.and_then(|(address, length)| ipnet::Ipv4Net::new(address, length).ok());
    v4.map_or(network, IpNet::V4)
}

/// A host name, in lower case and without a final dot; no address.
fn dns_host(text: &str) -> Option<String> {
    let host = text.trim_end_matches('.').to_ascii_lowercase();
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (is_dns_name(&host) && !numeric).then_some(host)
}

/// A host of DNS or an IPv6 address as it stands in a URL, with a port that can be connected to where one is written.
fn url_host_port(text: &str) -> Option<HostPort<&str>> {
    let read = HostPort::parse(text).ok()?;
    (read.is_dns_or_ipv6() && read.port != Some(0) && !text.ends_with(':')).then_some(read)
}

/// Whether it is an http or https URL as far as its host and its characters show.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split('/').next());
    host.is_some_and(|host| url_host_port(host).is_some()) && is_visible(text)
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn consists_of(text: &str, beside: &[u8]) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || beside.contains(&byte))
}

/// What a log filter must be.
const FILTER_IS: &str = "must be error, warn, info, debug, trace or off, or directives such as \
                         \"info,incoming=debug\"";

/// Headers that say how a message itself is framed.
const FRAMING: [&str; 13] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
