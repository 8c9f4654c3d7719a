//! Values from text: modes, networks, hosts, URLs, secrets. Pure; each error is the text that says what would be right.

use std::net::IpAddr;
use std::path::PathBuf;
use std::thread;

use clap::ValueEnum;
use hyper::header::HeaderName;
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::types::{CallbackRule, CreateSecret, Secret};
use crate::core::callback::CallbackUrl;
use crate::core::host::{HostPort, is_dns_name};
use crate::core::signing::{self, SigningSecrets, UrlSecrets};
use crate::net::{Address, AddressError};

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

/// A whole number within bounds.
pub(super) fn count<N: TryFrom<u64>, const LEAST: u64, const MOST: u64>(
    text: &str,
) -> Result<N, String> {
    let number = text.parse::<u64>().ok().filter(|number| (LEAST..=MOST).contains(number));
    let number = number.and_then(|number| N::try_from(number).ok());
    number.ok_or_else(|| format!("must be a whole number from {LEAST} to {MOST}"))
}

/// A number of threads; the words of the default are the cores that the process may use.
pub(super) fn workers(text: &str) -> Result<usize, String> {
    match text {
        "one per CPU core" => Ok(thread::available_parallelism().map_or(1, usize::from).min(1024)),
        number => count::<usize, 1, 1024>(number),
    }
}

/// A file mode whose owner bits hold `OWNER`, without which the server itself could not work.
pub(super) fn mode<const OWNER: u32>(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = digits.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| octal && *mode <= 0o777);
    match mode {
        Some(mode) if mode & OWNER == OWNER => Ok(mode),
        Some(_) => Err(format!("must give the server access: at least {OWNER:04o}")),
        // A bare integer is none: 640 and 0o640 look alike and are not.
        None => Err("must be a string of octal digits up to 0777, such as \"0640\"".into()),
    }
}

pub(super) fn flag(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".into())
}

/// One of the words of a type.
pub(super) fn word<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let words: Vec<String> = T::value_variants().iter().map(word_of).collect();
        format!("must be one of {}", words.join(", "))
    })
}

/// The word for a value.
pub(crate) fn word_of<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().map(|word| word.get_name().to_owned()).unwrap_or_default()
}

/// A secret. It has to travel in an `Authorization` header, so it must be visible ASCII; an empty one would protect
/// nothing and most likely is a variable left unset.
pub(super) fn secret(text: &str) -> Result<Secret, String> {
    match visible(text) {
        Ok(text) => Ok(Secret::new(text)),
        Err(_) => {
            Err("must be a string of visible ASCII characters, at least one, no spaces".into())
        }
    }
}

/// A secret that is sent, or one that signs.
pub(super) fn create_secret(text: &str) -> Result<CreateSecret, String> {
    if !text.trim_ascii_start().starts_with(signing::PREFIX) {
        return secret(text).map(CreateSecret::Sent);
    }
    let signing = SigningSecrets::parse(text).map_err(|error| error.to_string())?;
    Ok(CreateSecret::Signing(signing))
}

/// A URL and the secrets of what is called below it.
pub(super) fn url_secrets(text: &str) -> Result<UrlSecrets, String> {
    UrlSecrets::parse(text).map_err(|error| error.to_string())
}

/// A region, or another word of visible characters.
pub(super) fn visible(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if_right(fits, text, "must be visible ASCII characters, at least one, no spaces")
}

/// A name or a number, as text.
pub(super) fn group(text: &str) -> Result<String, String> {
    if_right(!text.is_empty(), text, "must be a name or a number")
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if_right(!text.is_empty(), text, "must be a path (text, not empty)").map(PathBuf::from)
}

pub(super) fn address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error: AddressError| error.to_string())
}

/// A log filter, as [`filter_of`] has it.
pub(super) fn log_filter(filter: &str) -> Result<String, String> {
    filter_of(filter).map(|_| filter.to_owned())
}

/// The filter that `filter` says, wherever it comes from. A lone word must be a level: as a filter it
/// would be a module's name and silence everything else, which is never meant by a mistyped `info`.
///
/// # Errors
/// What it must be.
pub fn filter_of(filter: &str) -> Result<EnvFilter, String> {
    let is_directive = |it: &str| it.contains(['=', '[']) || it.parse::<LevelFilter>().is_ok();
    // Names of modules are ASCII, and the parser of filters panics on much that is not.
    if !filter.is_ascii() || !filter.split(',').all(|it| !it.is_empty() && is_directive(it)) {
        return Err(FILTER_IS.into());
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
    let right = "must be a host name, an IP address or a CIDR, without scheme, port or wildcard";
    network(text)
        .map(CallbackRule::Net)
        .or_else(|_| dns_host(text).map(CallbackRule::Host).ok_or_else(|| right.into()))
}

/// A host name as `Host` may have it, without its port.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    let right =
        "must be a host name, without scheme, port or wildcard; addresses are always allowed";
    dns_host(text).ok_or_else(|| right.into())
}

/// A name that a certificate can be ordered for without a word to a name server: no address, no wildcard.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let right = "must be a host name, such as upload.example.org, no wildcard and no address";
    dns_host(text).ok_or_else(|| right.into())
}

/// A host name, in lower case and without a final dot; no address.
fn dns_host(text: &str) -> Option<String> {
    let host = text.trim_end_matches('.').to_ascii_lowercase();
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (is_dns_name(&host) && !numeric).then_some(host)
}

/// A mail address, as far as its form shows.
pub(super) fn mail(text: &str) -> Result<String, String> {
    let text = text.strip_prefix("mailto:").unwrap_or(text);
    let fits = text.split_once('@').is_some_and(|(who, host)| {
        !who.is_empty()
            && is_dns_name(&host.to_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_graphic())
    });
    if_right(fits, text, "must be a mail address, such as ops@example.org")
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
    let HostPort { host, port } = url_host_port(authority).filter(|_| scheme_fits).ok_or(RIGHT)?;
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

/// A host of DNS or an IPv6 address as it stands in a URL, with a port that can be connected to where one is written.
fn url_host_port(text: &str) -> Option<HostPort<&str>> {
    let read = HostPort::parse(text).ok()?;
    (read.is_dns_or_ipv6() && read.port != Some(0) && !text.ends_with(':')).then_some(read)
}

/// An https URL.
pub(super) fn https_url(text: &str) -> Result<String, String> {
    if_right(text.starts_with("https://") && is_url(text), text, "must be an https URL")
}

/// An http or https URL without query, fragment and a slash at its end.
pub(super) fn http_url(text: &str) -> Result<String, String> {
    let fits = is_url(text) && !text.contains(['?', '#', '"', '<', '>', '\\']);
    let right =
        "must be an http or https URL, such as https://upload.example.org/incoming/frontend";
    if_right(fits, text.trim_end_matches('/'), right)
}

/// The scheme, host and port of a store.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let url = http_url(text).ok().filter(|url| url.matches('/').count() == 2);
    let right = "must be http://HOST:PORT or https://HOST:PORT, without a path";
    url.ok_or_else(|| right.into())
}

/// Whether it is an http or https URL as far as its host and its characters show.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split('/').next());
    host.is_some_and(|host| host_port(host).is_ok()) && visible(text).is_ok()
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
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    let name = name.filter(|name| !FRAMING.contains(&name.as_str()));
    let right = "must be the name of a header that says who the client is";
    name.map(|name| name.to_string()).ok_or_else(|| right.into())
}

/// The name of a bucket. Source: Amazon S3, "general purpose bucket naming rules"; older stores take underscores too.
pub(super) fn bucket(text: &str) -> Result<String, String> {
    let fits = (3..=255).contains(&text.len()) && consists_of(text, b"-._");
    if_right(fits, text, "must be the name of a bucket: letters, digits, - . and _, at least 3")
}

/// What all keys begin with: with a slash at its end, and none at its beginning.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    let fits = (1..=512).contains(&text.len()) && !text.starts_with('/');
    let fits = fits && consists_of(text, b"-._/");
    if_right(fits, &format!("{text}/"), "must be letters, digits, - . _ and /, not / first")
}

fn consists_of(text: &str, beside: &[u8]) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || beside.contains(&byte))
}

fn if_right(fits: bool, text: &str, right: &str) -> Result<String, String> {
    if fits { Ok(text.to_owned()) } else { Err(right.to_owned()) }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;
    use crate::config::{Ack, LogFormat};

    /// `right`: texts, and what is read from each.
    fn check<T: Debug, S: Debug + PartialEq<str>>(
        read: fn(&str) -> Result<T, String>,
        show: fn(&T) -> S,
        right: &[(&str, &str)],
        wrong: &[&str],
    ) {
        for (text, expected) in right {
            let value = read(text).unwrap_or_else(|error| panic!("{text:?} {error}"));
            assert_eq!(show(&value), **expected, "{text:?}");
        }
        for text in wrong.iter().chain(&[""]) {
            assert!(read(text).is_err(), "{text:?} is {:?}", read(text));
        }
    }

    #[test]
    fn numbers_and_words() {
        let (yes, no) = (&["yes", "1", "True"], &["0", "65", "x", "-1", "1.0"]);
        check(flag, bool::to_string, &[("true", "true"), ("false", "false")], yes);
        check(count::<u32, 1, 64>, u32::to_string, &[("1", "1"), ("64", "64")], no);
        check(workers, usize::to_string, &[("3", "3")], &["0", "1025", "two"]);
        check(word::<Ack>, word_of, &[("durable", "durable")], &["Durable", "maybe"]);
        check(word::<LogFormat>, word_of, &[("json", "json"), ("text", "text")], &["xml"]);
        assert_eq!(word::<Ack>("maybe"), Err("must be one of durable, written".into()));
        let modes = [("0640", "640"), ("640", "640"), ("0o640", "640"), ("0777", "777")];
        let wrong = ["0o", "+640", "648", "0440", "1777", "rw-r-----", "0x1f"];
        check(mode::<0o600>, |mode| format!("{mode:o}"), &modes, &wrong);
        check(group, String::clone, &[("33", "33"), ("www-data", "www-data")], &[]);
        check(path, |path| path.display().to_string(), &[("a b", "a b")], &[]);
        let wrong = ["two words", "zwölf", "line\n"];
        check(secret, |it| it.expose().to_owned(), &[("s3cr3t~!", "s3cr3t~!")], &wrong);
    }

    #[test]
    fn log_filters() {
        // Values of fields are taken as they stand: the last one is no regular expression.
        let right = [
            "info",
            "off",
            "WARN",
            "info,incoming=debug",
            "warn,incoming::wire=trace",
            "info,[{upload=(}]=debug",
        ];
        let wrong = ["verbose", "info,", "incoming=loud", "inof", "Gg\u{8d}G\u{8d}[]:", "[ü]=info"];
        check(log_filter, String::clone, &right.map(|text| (text, text)), &wrong);
    }

    #[test]
    fn networks() {
        let right = [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("::1", "::1/128"),
            ("fd00::/8", "fd00::/8"),
            // Addresses are judged in their IPv4 form; an IPv4-mapped network would never match.
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ];
        let wrong = ["10.0.0.0/33", "host", "10.0.0", "*"];
        check(network, IpNet::to_string, &right, &wrong);
    }

    #[test]
    fn hosts() {
        let names = [("App.Example.ORG.", "app.example.org"), ("localhost", "localhost")];
        let names = [&names[..], &[("web_1", "web_1")]].concat();
        let networks = [("10.0.0.0/8", "10.0.0.0/8"), ("::1", "::1/128")];
        let wrong = ["*.example.org", "http://a", "a:80", "1.2.3.256", "-a", "a..b", "a b"];
        let rule = CallbackRule::to_string;
        check(callback_rule, rule, &[&names[..], &networks].concat(), &wrong);
        for read in [domain, host_name] {
            check(read, String::clone, &names, &[&wrong[..], &["10.0.0.1", "::1"]].concat());
        }
        let right = [
            ("Upload.Example.org", "upload.example.org"),
            ("upload.example.org:8443", "upload.example.org:8443"),
            ("10.0.0.1:443", "10.0.0.1:443"),
            ("[::1]", "[::1]"),
            ("[::1]:443", "[::1]:443"),
        ];
        let wrong = [":443", "a:", "a:0", "a:70000", "a:+1", "https://a", "a/b", "::1", "u@a"];
        check(host_port, HostPort::to_string, &right, &[&wrong[..], &["a b", "[a]"]].concat());
        let right =
            [("ops@example.org", "ops@example.org"), ("mailto:ops@example.org", "ops@example.org")];
        let wrong = ["ops", "@example.org", "ops@", "a b@example.org", "ops@a/b", "a@b@c"];
        check(mail, String::clone, &right, &wrong);
    }

    #[test]
    fn urls_and_origins() {
        let right = [
            ("*", "*"),
            ("HTTPS://App.Example.org:443", "https://app.example.org"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://[::1]:80", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
        ];
        let wrong = [
            "example.org",
            "https://",
            "https://a/",
            "https://a/b",
            "https://*.a",
            "https://a:x",
            "https://a:0",
            "https://u@a",
            "null",
            "1a://b",
            "http://[::g]",
        ];
        check(origin, String::clone, &right, &wrong);
        let right = [("https://a:14000/d/", "https://a:14000/d/")];
        check(https_url, String::clone, &right, &["http://a/", "https://", "https://a b/", "a.b"]);
        let right =
            [("https://a.b/c", "https://a.b/c"), ("http://[::1]:4000/x/", "http://[::1]:4000/x")];
        let wrong =
            ["a.b", "ftp://a/b", "https://a/b?c", "https://a/b#c", "https://a b", "https://a:0/"];
        check(http_url, String::clone, &right, &wrong);
        let wrong = ["a:9000", "http://a/b", "http://", "ftp://a", "http://u:p@a"];
        check(endpoint, String::clone, &[("http://a:9000/", "http://a:9000")], &wrong);
        let right = [("http://127.0.0.1:8000/t?f=i", "http://127.0.0.1:8000/t?f=i")];
        let shown = |url: &CallbackUrl| url.as_str().to_owned();
        check(callback_url, shown, &right, &["http://u:p@a/", "/tickets", "http://"]);
        let wrong = ["Host", "content-length", "Transfer-Encoding", "a b"];
        check(forward_header, String::clone, &[("X-User", "x-user")], &wrong);
        check(
            prefix,
            String::clone,
            &[("a/b", "a/b/"), ("a/b//", "a/b/")],
            &["/", "/a", "a b", "ä"],
        );
        check(bucket, String::clone, &[("a.b-c_1", "a.b-c_1")], &["ab", "a/b", "a b"]);
    }
}
