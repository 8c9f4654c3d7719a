//! Values from text: sizes, durations, modes, networks, origins. Pure; each error is the text that
//! says what would be right.

use std::net::IpAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use hyper::header::HeaderName;
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use super::raw::Raw;
use super::types::{Ack, CallbackRule, CreateSecret, LogFormat, Secret};
use crate::core::callback::CallbackUrl;
use crate::core::host::{HostPort, is_dns_name};
use crate::core::signing::{self, SigningSecrets, UrlSecrets};
use crate::net::{Address, AddressError, InterimTo};

/// The longest duration taken: a hundred years is "for ever" to any upload, and stays far from the
/// end of every clock's range.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// The units of sizes, in lower case.
const UNITS: [(&str, u64); 12] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("pib", 1 << 50),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("pb", 1_000_000_000_000_000),
];

/// What is right for a size.
const A_SIZE: &str = "must be a whole number of bytes or one with a unit \
                      (B, KB, MB, GB, TB, PB = powers of 1000; KiB, MiB, GiB, TiB, PiB = of 1024), \
                      such as 8MiB";
/// What is right for a duration.
const A_DURATION: &str =
    "must be a time with units, such as 500ms, 30s, 10m, 12h, 7d or \"1h 30m\"";
/// What is right for a mode. A bare integer is refused, since 640 and 0o640 look alike and are not.
const A_MODE: &str = "must be a string of octal digits up to 0777, such as \"0640\"";

/// A size in bytes. Public for flags that are not settings.
///
/// # Errors
/// The text says what would be right.
pub fn size_text(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let (Ok(number), Some(factor)) = (number.parse::<u64>(), factor) else {
        return Err(A_SIZE.into());
    };
    // Offsets are signed in the file system's interface, so no size beyond them makes sense.
    number
        .checked_mul(factor)
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(|| "must be less than 8EiB".into())
}

/// A duration, which may be zero. Public for flags that are not settings.
///
/// # Errors
/// The text says what would be right.
pub fn duration_text(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("must be at most a hundred years".into()),
        Err(_) => Err(format!("{A_DURATION}, or a bare 0")),
    }
}

pub(super) fn size(raw: &Raw) -> Result<u64, String> {
    match raw {
        Raw::Text(text) => size_text(text),
        Raw::Integer(number) => u64::try_from(*number).map_err(|_| A_SIZE.into()),
        _ => Err(A_SIZE.into()),
    }
}

/// A limit in bytes: a size from 1, or `none`.
pub(super) fn limit(raw: &Raw) -> Result<Option<u64>, String> {
    match raw {
        Raw::Text(text) if text == "none" => Ok(None),
        raw => match size(raw) {
            Ok(1..) => Ok(size(raw).ok()),
            Ok(0) => Err("must be at least 1 byte; for no limit write none".into()),
            Err(right) => Err(format!("{right}, or none")),
        },
    }
}

/// A rate in bytes per second: a size, with or without `/s`.
pub(super) fn rate(raw: &Raw) -> Result<u64, String> {
    match raw {
        Raw::Text(text) => size_text(text.strip_suffix("/s").unwrap_or(text)),
        raw => size(raw),
    }
}

/// A size from 1.
pub(super) fn positive_size(raw: &Raw) -> Result<u64, String> {
    size(raw).and_then(|bytes| match bytes {
        0 => Err("must be at least 1 byte".into()),
        bytes => Ok(bytes),
    })
}

/// A whole number within bounds.
pub(super) fn count<N: TryFrom<u64>, const LEAST: u64, const MOST: u64>(
    raw: &Raw,
) -> Result<N, String> {
    let number = match raw {
        Raw::Text(text) => text.parse().ok(),
        Raw::Integer(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    number
        .filter(|number| (LEAST..=MOST).contains(number))
        .and_then(|number| N::try_from(number).ok())
        .ok_or_else(|| format!("must be a whole number from {LEAST} to {MOST}"))
}

/// A number of threads; the words of the default are the cores that the process may use.
pub(super) fn workers(raw: &Raw) -> Result<usize, String> {
    match raw {
        Raw::Text(text) if text == "one per CPU core" => {
            Ok(thread::available_parallelism().map_or(1, usize::from).min(1024))
        }
        raw => count::<usize, 1, 1024>(raw),
    }
}

/// A duration, which may be zero.
pub(super) fn duration(raw: &Raw) -> Result<Duration, String> {
    match raw {
        Raw::Integer(0) => Ok(Duration::ZERO),
        Raw::Text(text) => duration_text(text),
        _ => Err(format!("{A_DURATION} (in quotes), or a bare 0")),
    }
}

/// A duration, where zero would make the server useless.
pub(super) fn positive_duration(raw: &Raw) -> Result<Duration, String> {
    match duration(raw) {
        Ok(Duration::ZERO) => Err("must be longer than 0".into()),
        Ok(duration) => Ok(duration),
        Err(_) => Err(A_DURATION.into()),
    }
}

/// A duration, which may be zero, or none.
pub(super) fn optional_duration(raw: &Raw) -> Result<Option<Duration>, String> {
    match raw {
        Raw::Text(text) if text == "none" => Ok(None),
        raw => duration(raw).map(Some).map_err(|right| format!("{right}, or none")),
    }
}

/// A file mode whose owner bits hold `OWNER`, without which the server itself could not work.
pub(super) fn mode<const OWNER: u32>(raw: &Raw) -> Result<u32, String> {
    let Raw::Text(text) = raw else { return Err(A_MODE.into()) };
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| octal && *mode <= 0o777);
    match mode {
        Some(mode) if mode & OWNER == OWNER => Ok(mode),
        Some(_) => Err(format!("must give the server access: at least {OWNER:04o}")),
        None => Err(A_MODE.into()),
    }
}

pub(super) fn flag(raw: &Raw) -> Result<bool, String> {
    match raw {
        Raw::Boolean(flag) => Ok(*flag),
        Raw::Text(text) if text == "true" => Ok(true),
        Raw::Text(text) if text == "false" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

/// A secret. It has to travel in an `Authorization` header, so it must be visible ASCII; an empty one would protect
/// nothing and most likely is a variable left unset.
pub(super) fn secret(raw: &Raw) -> Result<Secret, String> {
    let Raw::Secret(secret) = raw else { return Err("a secret must be a string in quotes".into()) };
    let text = secret.expose();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be visible ASCII characters, at least one, no spaces".into());
    }
    Ok(secret.clone())
}

/// A secret that is sent, or one that signs.
pub(super) fn create_secret(raw: &Raw) -> Result<CreateSecret, String> {
    match raw {
        Raw::Secret(text) if text.expose().trim_ascii_start().starts_with(signing::PREFIX) => {
            let signing =
                SigningSecrets::parse(text.expose()).map_err(|error| error.to_string())?;
            Ok(CreateSecret::Signing(signing))
        }
        _ => secret(raw).map(CreateSecret::Sent),
    }
}

/// A URL and the secrets of what is called below it.
pub(super) fn url_secrets(raw: &Raw) -> Result<UrlSecrets, String> {
    let Raw::Secret(text) = raw else { return Err("a secret must be a string in quotes".into()) };
    UrlSecrets::parse(text.expose()).map_err(|error| error.to_string())
}

/// A name or a number, as text.
pub(super) fn name(raw: &Raw) -> Result<String, String> {
    match raw {
        Raw::Integer(number) => Ok(number.to_string()),
        Raw::Text(text) if !text.is_empty() => Ok(text.clone()),
        _ => Err("must be a name or a number".into()),
    }
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must be a path (text, not empty)".into()) } else { Ok(text.into()) }
}

pub(super) fn address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error: AddressError| error.to_string())
}

pub(super) fn ack(text: &str) -> Result<Ack, String> {
    match text {
        "durable" => Ok(Ack::Durable),
        "written" => Ok(Ack::Written),
        _ => Err("must be durable or written".into()),
    }
}

pub(super) fn interim_to(text: &str) -> Result<InterimTo, String> {
    match text {
        "direct" => Ok(InterimTo::Direct),
        "always" => Ok(InterimTo::Always),
        "never" => Ok(InterimTo::Never),
        _ => Err("must be direct, always or never".into()),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be text or json".into()),
    }
}

/// A log filter, as [`filter_of`] has it.
pub(super) fn log_filter(filter: &str) -> Result<String, String> {
    filter_of(filter).map(|_| filter.to_owned())
}

/// What a log filter must be.
const FILTER_IS: &str = "must be error, warn, info, debug, trace or off, or directives such as \
                         \"info,incoming=debug\"";

/// The filter that `filter` says, wherever it comes from. A lone word must be a level: as a filter it
/// would be a module's name and silence everything else, which is never meant by a mistyped `info`.
///
/// # Errors
/// What it must be.
pub fn filter_of(filter: &str) -> Result<EnvFilter, String> {
    // Names of modules are ASCII, and the parser of filters panics on much that is not.
    if !filter.is_ascii() {
        return Err(FILTER_IS.into());
    }
    for directive in filter.split(',') {
        let level = directive.parse::<tracing_subscriber::filter::LevelFilter>();
        let targeted = directive.contains(['=', '[']);
        if directive.is_empty() || (level.is_err() && !targeted) {
            return Err(FILTER_IS.into());
        }
    }
    // A few characters of a regular expression may take gigabytes and minutes.
    EnvFilter::builder().with_regex(false).parse(filter).map_err(|_| FILTER_IS.into())
}

/// A network, or a single address as a network of one.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip.to_canonical()));
    }
    text.parse::<IpNet>()
        .map(|network| plain(network.trunc()))
        .map_err(|_| "must be an IP address or a CIDR, such as 10.0.0.0/8 or ::1".into())
}

/// A network of IPv4-mapped addresses as the IPv4 network that it is.
fn plain(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let v4 = mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(96));
    let v4 = v4.and_then(|(address, length)| ipnet::Ipv4Net::new(address, length).ok());
    v4.map_or(network, IpNet::V4)
}

/// A network, an address or a host name that handovers may call.
pub(super) fn callback_rule(text: &str) -> Result<CallbackRule, String> {
    if let Ok(network) = network(text) {
        return Ok(CallbackRule::Net(network));
    }
    let host = text.trim_end_matches('.').to_ascii_lowercase();
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_dns_name(&host) && !numeric {
        return Ok(CallbackRule::Host(host));
    }
    Err("must be a host name, an IP address or a CIDR, without scheme, port or wildcard".into())
}

/// An origin as browsers send it: lower case, without the scheme's own port; or `*`.
pub(super) fn origin(text: &str) -> Result<String, String> {
    const RIGHT: &str = "must be * or an origin such as https://app.example.org, without a path";
    if text == "*" {
        return Ok(text.into());
    }
    let lower = text.to_ascii_lowercase();
    let (scheme, authority) = lower.split_once("://").ok_or(RIGHT)?;
    let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c));
    let Some(HostPort { host, port }) = url_host_port(authority) else { return Err(RIGHT.into()) };
    if !scheme_fits {
        return Err(RIGHT.into());
    }
    let port = port.filter(|port| !matches!((scheme, port), ("http", 80) | ("https", 443)));
    Ok(format!("{scheme}://{}", HostPort { host, port }))
}

/// A host name or an address, and a port where one is written: what stands in a URL.
pub(super) fn host_port(text: &str) -> Result<HostPort, String> {
    const RIGHT: &str = "must be HOST or HOST:PORT, without scheme and path";
    let text = text.to_ascii_lowercase();
    let HostPort { host, port } = url_host_port(&text).ok_or(RIGHT)?;
    Ok(HostPort { host: host.to_owned(), port })
}

/// A host name as `Host` may have it, without its port.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    match callback_rule(text) {
        Ok(CallbackRule::Host(host)) => Ok(host),
        Ok(CallbackRule::Net(_)) => Err("must be a host name; addresses are always allowed".into()),
        Err(_) => Err("must be a host name, without scheme, port or wildcard".into()),
    }
}

/// A name that a certificate can be ordered for without a word to a name server: no address, no wildcard.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let host = text.trim_end_matches('.').to_ascii_lowercase();
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_dns_name(&host) && !numeric {
        return Ok(host);
    }
    Err("must be a host name, such as upload.example.org, no wildcard and no address".into())
}

/// A mail address, as far as its form shows.
pub(super) fn mail(text: &str) -> Result<String, String> {
    let text = text.strip_prefix("mailto:").unwrap_or(text);
    let fits = text.split_once('@').is_some_and(|(who, host)| {
        !who.is_empty()
            && is_dns_name(&host.to_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_graphic())
    });
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must be a mail address, such as ops@example.org".into())
    }
}

/// An https URL.
pub(super) fn https_url(text: &str) -> Result<String, String> {
    const RIGHT: &str = "must be an https URL";
    let rest = text.strip_prefix("https://").ok_or(RIGHT)?;
    let host = rest.split('/').next().unwrap_or_default();
    host_port(host).map_err(|_| RIGHT)?;
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.into())
    } else {
        Err(RIGHT.into())
    }
}

/// An http or https URL without query, fragment and a slash at its end.
pub(super) fn http_url(text: &str) -> Result<String, String> {
    const RIGHT: &str =
        "must be an http or https URL, such as https://upload.example.org/incoming/frontend";
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split('/').next()).ok_or(RIGHT)?;
    host_port(host).map_err(|_| RIGHT)?;
    if text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\".contains(&byte)) {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err(RIGHT.into())
    }
}

/// A URL that is called, without credentials.
pub(super) fn callback_url(text: &str) -> Result<CallbackUrl, String> {
    const RIGHT: &str = "must be an http or https URL without user name and password";
    let url = CallbackUrl::parse(text.to_owned()).map_err(|_| RIGHT)?;
    let credentials = url.target().map_err(|_| RIGHT)?.credentials.is_some();
    if credentials { Err(RIGHT.into()) } else { Ok(url) }
}

/// A header of a client that may be passed on: none that says how the message itself is framed.
pub(super) fn forward_header(text: &str) -> Result<String, String> {
    const RIGHT: &str = "must be the name of a header that says who the client is";
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
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| RIGHT)?;
    if FRAMING.contains(&name.as_str()) { Err(RIGHT.into()) } else { Ok(name.to_string()) }
}

/// A host of DNS or an IPv6 address as it stands in a URL, with a port that can be connected to where one is written.
fn url_host_port(text: &str) -> Option<HostPort<&str>> {
    let read = HostPort::parse(text).ok()?;
    (read.is_dns_or_ipv6() && read.port != Some(0) && !text.ends_with(':')).then_some(read)
}

#[cfg(test)]
mod tests;
